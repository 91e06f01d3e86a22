# A 64-bit kernel for the loader's identity map: prints a line on the serial port, then main calls func for ever, which
# stores the number of the call in counter.
.text
.globl _start, main, again, func, print, counter, message
.type _start, @function
_start:
    cli
    mov $stack_top, %esp
    call main
    hlt
.size _start, . - _start

.type main, @function
main:
    push %rbp
    mov %rsp, %rbp
    mov $message, %esi
    call print
    xor %ecx, %ecx
again:
    call func
    inc %rcx
    jmp again
.size main, . - main

.type func, @function
func:
    push %rbp
    mov %rsp, %rbp
    mov %rcx, counter
    pop %rbp
    ret
.size func, . - func

# The text at rsi, up to its NUL, on port 0x3f8.
.type print, @function
print:
    mov $0x3f8, %dx
1:  mov (%rsi), %al
    test %al, %al
    jz 2f
    out %al, %dx
    inc %rsi
    jmp 1b
2:  ret
.size print, . - print

.data
.type message, @object
message: .asciz "long mode\n"
.size message, . - message
.align 8
.type counter, @object
counter: .quad 0
.size counter, 8

.bss
.align 16
.skip 4096
stack_top:
