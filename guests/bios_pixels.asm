; A boot sector that draws the 256 colours of mode 13h in squares, and waits for a key.
bits 16
org 0x7c00
        mov     ax, 0x13
        int     0x10
        mov     ax, 0xa000
        mov     es, ax
        xor     di, di
        xor     dx, dx                  ; dx is the line
line:   xor     cx, cx                  ; cx the column
pixel:  mov     al, cl
        shr     al, 4
        mov     ah, dl
        and     ah, 0xf0
        or      al, ah
        cmp     cx, 256
        jb      .inside
        mov     al, 0
.inside:
        stosb
        inc     cx
        cmp     cx, 320
        jb      pixel
        inc     dx
        cmp     dx, 200
        jb      line
        mov     ah, 0
        int     0x16
        mov     ax, 3
        int     0x10
        cli
        hlt
        times   510 - ($ - $$) db 0
        dw      0xaa55
