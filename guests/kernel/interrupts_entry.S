/* One entry for each exception: all push a vector and an error code, then go the same way into interrupts.c.
   The .cfi lines tell debuggers where the interrupted code's registers are, so that they see through the trap. */
.text
.macro entry vector, has_error=0
.type vector_\vector, @function
vector_\vector:
    .cfi_startproc
    .cfi_signal_frame
    .cfi_def_cfa rsp, 8 + 8 * \has_error
    .cfi_offset rsp, 16
    .if !\has_error
    pushq $0
    .cfi_adjust_cfa_offset 8
    .endif
    pushq $\vector
    .cfi_adjust_cfa_offset 8
    jmp common
    .cfi_endproc
.size vector_\vector, . - vector_\vector
.endm

.irp vector, 0,1,2,3,4,5,6,7
entry \vector
.endr
entry 8, 1
entry 9
.irp vector, 10,11,12,13,14
entry \vector, 1
.endr
entry 15
entry 16
entry 17, 1

.type common, @function
common:
    .cfi_startproc
    .cfi_signal_frame
    .cfi_def_cfa rsp, 24
    .cfi_offset rsp, 16
    .irp register, rax,rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15
    push %\register
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset \register, 0
    .endr
    mov %rsp, %rdi
    cld
    call handle
    .irp register, r15,r14,r13,r12,r11,r10,r9,r8,rbp,rdi,rsi,rdx,rcx,rbx,rax
    pop %\register
    .cfi_adjust_cfa_offset -8
    .cfi_restore \register
    .endr
    add $16, %rsp
    .cfi_adjust_cfa_offset -16
    iretq
    .cfi_endproc
.size common, . - common

.section .rodata
.globl entries
.type entries, @object
entries:
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
.quad vector_\vector
.endr
.size entries, . - entries
.section .note.GNU-stack, "", @progbits
