; Firmware of 4 KiB: from the reset vector it goes to 32-bit protected mode, asks fw_cfg for the size of memory, makes its
; copy below 1 MiB writable, and says so on the serial port. Start it with --bios.
bits 16
BASE equ 0xff000            ; where the copy lies, of which offsets count
start:
    cli
    o32 lgdt [cs:gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 8:BASE + protected

bits 32
protected:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x80000
    mov esi, BASE + hello
    call say
    mov ax, 3               ; FW_CFG_RAM_SIZE
    mov dx, 0x510
    out dx, ax
    inc edx
    mov edi, 0x70000
    mov ecx, 8
    rep insb
    mov eax, [0x70000]
    shr eax, 20
    call say_number
    mov esi, BASE + memory
    call say

    mov byte [BASE + changed], '-' ; lost: it is ROM yet
    mov al, [BASE + changed]
    mov [0x70010], al
    mov eax, 0x80000058     ; PAM0 of the host bridge, at 0x59
    mov dx, 0xcf8
    out dx, eax
    mov al, 0x30
    mov dx, 0xcfd
    out dx, al
    mov byte [BASE + changed], 'b'
    mov esi, 0x70010
    mov byte [0x70011], 0
    call say
    mov esi, BASE + changed
    call say
stop:
    hlt
    jmp stop

say:                        ; the text at esi
    mov dx, 0x3f8
.next:
    lodsb
    test al, al
    jz .done
    out dx, al
    jmp .next
.done:
    ret

say_number:                 ; eax, in decimal
    mov ecx, 10
    xor edx, edx
    div ecx
    push edx
    test eax, eax
    jz .last
    call say_number
.last:
    pop eax
    add al, '0'
    mov dx, 0x3f8
    out dx, al
    ret

hello:   db "firmware of 4 KiB; memory: ", 0
memory:  db " MiB; ", 0
changed: db "a", 10, 0

align 8
gdt:
    dq 0
    dq 0x00cf9b000000ffff
    dq 0x00cf93000000ffff
gdtr:
    dw gdtr - gdt - 1
    dd BASE + gdt

    times 0xff0 - ($ - $$) db 0
bits 16
reset:
    jmp 0xff00:start
    times 16 - ($ - reset) db 0
