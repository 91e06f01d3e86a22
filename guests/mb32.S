# A multiboot kernel in 32-bit protected mode that calls func for ever; func stores the number of the call in counter.
# Its loader's magic and information structure are kept in magic and information.
.section .multiboot, "a"
.align 4
.long 0x1BADB002, 0x2, -(0x1BADB002 + 0x2)      # memory information wanted

.text
.globl _start, again, func, counter, magic, information
.type _start, @function
_start:
    cli
    mov $stack_top, %esp
    mov %eax, magic
    mov %ebx, information
    xor %ecx, %ecx
again:
    call func
    inc %ecx
    jmp again
.size _start, . - _start

.type func, @function
func:
    mov %ecx, counter
    ret
.size func, . - func

.bss
.align 16
.type counter, @object
counter: .skip 4
.size counter, 4
.type magic, @object
magic: .skip 4
.size magic, 4
.type information, @object
information: .skip 4
.size information, 4
.skip 4096
stack_top:
