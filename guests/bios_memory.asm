; A boot sector that prints the memory map of int 15h, AX=E820.
bits 16
org 0x7c00
start:  xor     ax, ax
        mov     ds, ax
        mov     es, ax
        xor     ebx, ebx
area:   mov     eax, 0xe820
        mov     edx, 0x534d4150         ; "SMAP"
        mov     ecx, 24
        mov     di, entry
        int     0x15
        jc      done
        push    ebx
        mov     eax, [entry + 4]        ; base
        call    hex
        mov     eax, [entry]
        call    hex
        call    space
        mov     eax, [entry + 12]       ; length
        call    hex
        mov     eax, [entry + 8]
        call    hex
        call    space
        mov     al, [entry + 16]        ; type
        add     al, '0'
        call    put
        mov     al, 13
        call    put
        mov     al, 10
        call    put
        pop     ebx
        test    ebx, ebx
        jnz     area
done:   cli
        hlt

hex:    mov     cx, 8
.digit: rol     eax, 4
        push    eax
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69
        das
        call    put
        pop     eax
        loop    .digit
        ret
space:  mov     al, ' '
put:    pusha
        mov     ah, 0x0e
        mov     bx, 7
        int     0x10
        popa
        ret

        times   510 - ($ - $$) db 0
        dw      0xaa55
entry   equ     0x8000
