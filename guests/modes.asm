; A boot sector that goes from real mode through 32-bit protected mode to long mode and says so on the serial port:
; "R", "P", "L", then halts; resumed, it goes back to real mode and begins again. Its page tables (4 KiB each, at
; 0x1000) map the first 2 MiB to themselves.
; modes.elf is the same code for its symbols (--symbols guests/modes.elf); modes.bin is what runs.
%ifidn __?OUTPUT_FORMAT?__, bin
org 0x7c00
%endif
section .text
global start, real_out, prot32, prot_out, long64, long_out, done, back32, back16, gdt, gdtr

PML4 equ 0x1000
PDPT equ 0x2000
PD equ 0x3000
COM1 equ 0x3f8

bits 16
start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov dx, COM1
    mov al, 'R'
real_out:
    out dx, al
    lgdt [gdtr]
    mov eax, cr0
    or eax, 1                   ; PE
    mov cr0, eax
    jmp 0x08:prot32

bits 32
prot32:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, 0x7c00
    mov dx, COM1
    mov al, 'P'
prot_out:
    out dx, al
    mov edi, PML4
    xor eax, eax
    mov ecx, 3 * 1024
    cld
    rep stosd
    mov dword [PML4], PDPT | 3
    mov dword [PDPT], PD | 3
    mov dword [PD], 0x83        ; 2 MiB page, writable, present
    mov eax, cr4
    or eax, 1 << 5              ; PAE
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, 0xc0000080         ; EFER
    rdmsr
    or eax, 1 << 8              ; LME
    wrmsr
    mov eax, cr0
    or eax, 1 << 31             ; PG
    mov cr0, eax
    jmp 0x18:long64

bits 64
long64:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, 0x7c00
    mov dx, COM1
    mov al, 'L'
long_out:
    out dx, al
done:
    hlt
    push 0x08                   ; resumed behind the halt: the same way back, and then once more from the start
    push back32
    retfq

bits 32
back32:
    mov eax, cr0
    and eax, ~(1 << 31)         ; PG
    mov cr0, eax
    mov ecx, 0xc0000080         ; EFER
    rdmsr
    and eax, ~(1 << 8)          ; LME
    wrmsr
    mov eax, 0x28
    mov ds, eax
    mov es, eax
    mov ss, eax
    jmp 0x20:back16

bits 16
back16:
    mov eax, cr0
    and eax, ~1                 ; PE
    mov cr0, eax
    jmp 0:start

align 8
gdt:
    dq 0
    dq 0x00cf9b000000ffff       ; 0x08: 32-bit code
    dq 0x00cf93000000ffff       ; 0x10: data
    dq 0x00af9b000000ffff       ; 0x18: 64-bit code
    dq 0x00009b000000ffff       ; 0x20: 16-bit code
    dq 0x000093000000ffff       ; 0x28: 16-bit data
gdtr:
    dw gdtr - gdt - 1
    dd gdt
    times 510-($-$$) db 0
    dw 0xaa55
