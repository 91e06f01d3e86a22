# A multiboot kernel whose C code is main.c's kernel_main.
.section .headers, "a"
.align 4
.long 0x1BADB002, 0, -0x1BADB002

.text
.globl _start
.type _start, @function
_start:
    mov $stack, %esp
    call kernel_main
    cli
1:  hlt
    jmp 1b
.size _start, . - _start

.bss
.align 16
.skip 4096
stack:
