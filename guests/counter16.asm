; Writes 0, 1, 2, ... to port 0x10, 16 bits wide, for ever. Position-independent real mode.
; Start: --load 0x10000 --entry 0x1000:0.
bits 16
    xor ax, ax
loop:
    out 0x10, ax
    inc ax
    jmp loop
