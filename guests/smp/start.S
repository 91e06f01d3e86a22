# A multiboot kernel for several processors: main.c starts the others at `trampoline`, which lies at 0x8000 then.
.section .headers, "a"
.align 4
.long 0x1BADB002, 2, -(0x1BADB002 + 2)

.text
.globl _start, trampoline, trampoline_end
.type _start, @function
_start:
    mov $boot_stack, %esp
    push %ebx
    call boot_processor
    cli
1:  hlt
    jmp 1b
.size _start, . - _start

.code16
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + table - trampoline
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $8, $other
.align 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
table:
    .word 23
    .long 0x8000 + gdt - trampoline
trampoline_end:

.code32
.type other, @function
other:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $1, %eax
    lock xadd %eax, stacks_taken
    inc %eax
    shl $12, %eax
    lea stacks(%eax), %esp
    call other_processor
1:  hlt
    jmp 1b
.size other, . - other

.bss
.align 16
.skip 4096
boot_stack:
stacks_taken: .skip 4
.align 16
stacks: .skip 4096 * 16
