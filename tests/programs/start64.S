 .globl _start
 .text
_start: mov $stack_top, %rsp
 mov %cr4, %rax
 or $0x600, %rax
 mov %rax, %cr4
 call kmain
1: hlt
 jmp 1b
 .bss
 .balign 16
 .skip 4096
stack_top:
 .section .note.GNU-stack, "", @progbits
