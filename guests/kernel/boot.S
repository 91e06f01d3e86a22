/* kvmdbg starts ELF64 guests in long mode with the first memory mapped; all that is missing is a stack. */
.section .text.boot, "ax"
.globl _start
.type _start, @function
_start:
    .cfi_startproc
    .cfi_undefined rip
    cli
    lea stack_top(%rip), %rsp
    xor %ebp, %ebp
    call kernel_main
    hlt
    .cfi_endproc
.size _start, . - _start

.bss
.balign 16
stack:
.skip 16384
stack_top:
.section .note.GNU-stack, "", @progbits
