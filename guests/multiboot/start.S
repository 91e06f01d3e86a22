# The two headers of the kernel in main.c, and its first instructions.
.section .headers, "a"
.align 8
.long 0x1BADB002, 7, -(0x1BADB002 + 7)      # multiboot: page-aligned modules, memory information, a screen

.align 8
header2:
.long 0xE85250D6, 0, header2_end - header2, -(0xE85250D6 + (header2_end - header2))
.align 8
.short 1, 0
.long 8 + 4 * 3, 3, 4, 6                    # information wanted: modules, memory, its map
.align 8
.short 4, 1
.long 12, 2                                 # the console: text on the screen will do
.align 8
.short 6, 0
.long 8                                     # page-aligned modules
.align 8
.short 7, 1
.long 8                                     # on EFI its services may stay
.align 8
.short 0, 0
.long 8
header2_end:

.text
.globl _start
.type _start, @function
_start:
    mov $stack_top, %esp
    push %ebx
    push %eax
    call kernel
    cli
1:  hlt
    jmp 1b
.size _start, . - _start

.bss
.align 16
.skip 8192
stack_top:
