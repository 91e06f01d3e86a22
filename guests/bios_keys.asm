; A boot sector that shows the keys that are pressed, with int 16h, until Esc; then it counts two ticks of the clock.
bits 16
org 0x7c00
        xor     ax, ax
        mov     ds, ax
key:    mov     ah, 0                   ; wait for a key
        int     0x16
        cmp     al, 27
        je      ticks
        mov     ah, 0x0e
        mov     bx, 7
        int     0x10
        jmp     key
ticks:  mov     eax, [0x46c]            ; the BIOS counts them here
        add     eax, 2
again:  hlt
        cmp     [0x46c], eax
        jb      again
        mov     ax, 0x5307              ; switch off
        mov     bx, 1
        mov     cx, 3
        int     0x15
        times   510 - ($ - $$) db 0
        dw      0xaa55
