; A boot sector that calls func for ever; func stores the number of the call in counter.
; boot16.elf is the same code for its symbols (--symbols guests/boot16.elf); boot16.bin is what runs.
bits 16
%ifidn __?OUTPUT_FORMAT?__, bin
org 0x7c00
%endif
section .text
global start, again, func, counter
start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    xor ecx, ecx
again:
    call func
    inc ecx
    jmp again
func:
    mov [counter], ecx
    ret
align 4
counter:
    dd 0
    times 510-($-$$) db 0
    dw 0xaa55
