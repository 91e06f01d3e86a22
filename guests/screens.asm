; A boot sector that shows three screens, each until a key is pressed: text in colours, 256 colours (mode 13h), and
; 16 colours by planes (mode 12h). Then it is back in text, says so, and halts.

        bits 16
        org 0x7c00

        xor ax, ax
        mov ds, ax
        cld

text:   mov ax, 0xb800
        mov es, ax
        xor di, di
        mov ah, 0x10            ; blue, and each colour in turn on it
        mov si, hello
.next:  lodsb
        test al, al
        jz .shown
        stosw
        inc ah
        and ah, 0x1f
        or ah, 0x10
        jmp .next
.shown: call key

vga256: mov ax, 0x0013
        int 0x10
        mov ax, 0xa000
        mov es, ax
        xor di, di
        xor dx, dx              ; the line
.line:  mov cx, 320
.pixel: mov ax, cx
        xor ax, dx
        stosb
        loop .pixel
        inc dx
        cmp dx, 200
        jne .line
        call key

planes: mov ax, 0x0012
        int 0x10
        mov dx, 0x3c4           ; the sequencer's map mask
        mov al, 2
        out dx, al
        inc dx
        mov bl, 1
.plane: mov al, bl              ; plane n: stripes of 40 * 2^n lines
        out dx, al
        mov cl, bl
        xor ch, ch
        imul cx, cx, 40 * 80
        mov di, cx
        mov al, 0xff
        rep stosb
        shl bl, 1
        cmp bl, 4
        jbe .plane
        call key

        mov ax, 0x0003
        int 0x10
        mov si, done
.print: lodsb
        test al, al
        jz .stop
        mov ah, 0x0e
        int 0x10
        jmp .print
.stop:  cli
        hlt

key:    xor ah, ah
        int 0x16
        ret

hello:  db "colours of text", 0
done:   db "done", 0

        times 510 - ($ - $$) db 0
        dw 0xaa55
