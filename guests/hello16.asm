; Adds al and bl and prints the digit on the serial port: 12 bytes of real mode, position-independent.
; Start: --load 0x1000 --reg rax=2 --reg rbx=2. Prints "4" and a newline, then halts.
bits 16
    mov dx, 0x3f8
    add al, bl
    add al, '0'
    out dx, al
    mov al, `\n`
    out dx, al
    hlt
