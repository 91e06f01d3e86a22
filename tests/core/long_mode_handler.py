"""Assembly of guests in long mode with a handler of one exception."""

from __future__ import annotations


def with_handler(vector: int, body: str, handler: str) -> str:
    """``body`` runs with its stack at 0x7000 and an IDT that ends with the gate of ``vector``; for 64 KiB on."""
    return f"""
    .code64
        mov rsp, 0x7000
        lea rax, [rip + handler]
        mov rdi, offset idt + {vector} * 16
        mov [rdi], ax
        mov word ptr [rdi + 2], cs
        mov word ptr [rdi + 4], 0x8e00
        shr rax, 16
        mov [rdi + 6], ax
        shr rax, 16
        mov [rdi + 8], eax
        lidt [idtr]
        {body}
    handler:
        {handler}
        iretq
        .balign 8
    idtr: .word ({vector} + 1) * 16 - 1
        .quad idt
        .balign 16
    idt: .skip ({vector} + 1) * 16
    """
