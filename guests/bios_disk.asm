; A boot sector that reads its second sector by int 13h and prints what lies there. The file is its own disk.
bits 16
org 0x7c00
start:  xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     si, hello
        call    print
read:   mov     ax, 0x0201              ; read one sector
        mov     cx, 2                   ; cylinder 0, sector 2
        mov     dh, 0                   ; head 0; the BIOS gave the drive in dl
        mov     bx, second
        int     0x13
        jc      failed
        mov     si, second
        call    print
        jmp     stop
failed: mov     si, error
        call    print
stop:   cli
        hlt

print:  mov     ah, 0x0e                ; teletype
        mov     bx, 7
.next:  lodsb
        test    al, al
        jz      .end
        int     0x10
        jmp     .next
.end:   ret

hello:  db      "first sector", 13, 10, 0
error:  db      "disk error", 13, 10, 0
        times   510 - ($ - $$) db 0
        dw      0xaa55
second: db      "second sector", 13, 10, 0
