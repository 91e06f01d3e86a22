"""The code of the BIOS, at F000:0000: for each interrupt a few bytes that write to a port and return.

What a service does is done by the host when its stub writes to PORT; where a stub has more code, that is what has to be
done by the CPU: waiting for an interrupt (``sti; hlt``), calling a handler of the guest's (1Ch, 4Ah, 1Bh, 15h/4F, the
mouse's), and the end of interrupt for the 8259. A service that is to be called again sets the carry flag; what callers
see of the flags is in the frame on the stack.
"""

from __future__ import annotations

SEGMENT, BASE, SIZE = 0xF000, 0xF0000, 0x10000
PORT = 0xEC
"""Nothing on a PC has it. Writes by other code than the ROM's go nowhere."""
STUBS, SHARED = 0x1000, 0x2000
POST, RESET, DATE, MODEL = 0xE05B, 0xFFF0, 0xFFF5, 0xFFFE
CONFIGURATION, DISKETTE, FIXED_DISKS, BOOT_TARGET = 0x0100, 0x0110, 0x0120, 0x0140
"""Tables: of int 15h/C0, of int 1Eh, of int 41h and 46h (16 bytes each), and where int 19h jumps to."""
VIDEO_PARAMETERS, VIDEO_FUNCTIONS = 0x0150, 0x0160
WINDOW_FUNCTION = 0x0170
"""Where VESA's mode information points, for those who move the window by a far call."""
FONT_OF = {16: 0x4000, 14: 0x5000, 8: 0x6000}
"""Where the characters lie, by their height; the lower half of 8 lines is at OLD_FONT as well."""
OLD_FONT = 0xFA6E
ACPI = 0x8000
"""The tables of ACPI, where there are any."""
POINTERS = {
    0x1D: VIDEO_PARAMETERS,
    0x1E: DISKETTE,
    0x1F: FONT_OF[8] + 0x400,
    0x41: FIXED_DISKS,
    0x43: FONT_OF[16],
    0x46: FIXED_DISKS + 16,
}
"""Vectors that are pointers to tables, and no code."""
ALIGN = 16

_OUT = bytes((0xE6, PORT))
_IRET = b"\xcf"
_EOI = bytes.fromhex("b020 e620")  # mov al, 20h; out 20h, al
_BOTH_EOI = bytes.fromhex("b020 e6a0 e620")
_ALL, _NO_MORE = bytes.fromhex("60 1e 06"), bytes.fromhex("07 1f 61")  # pusha, push ds, push es; pop them
_MASTER = _OUT + b"\x50" + _EOI + b"\x58" + _IRET  # push ax; EOI; pop ax
_SLAVE = _OUT + b"\x50" + _BOTH_EOI + b"\x58" + _IRET
_ENTRY = b"\x90"
"""A nop: what waits comes back behind it, so that what is held at the entry meets each call once."""
_AGAIN = _ENTRY + _OUT + bytes.fromhex("7304 fb f4 ebf8") + _IRET  # jnc done; sti; hlt; jmp to the out
_SPIN = _ENTRY + _OUT + bytes.fromhex("7304 fb 90 ebf8") + _IRET  # the same with nop in place of hlt
_TIMER = _OUT + _ALL + b"\xcd\x1c" + _EOI + _NO_MORE + _IRET
_KEYBOARD = (
    bytes.fromhex("50 e460 b44f f9 cd15 7306")  # push ax; in al, 60h; mov ah, 4Fh; stc; int 15h; jnc end
    + _OUT
    + bytes.fromhex("730a 3c37 7404 cd1b eb02 cd05")  # jnc end; int 5 of the key of print screen, else int 1Bh
    + _EOI
    + b"\x58"
    + _IRET
)
_CLOCK = _OUT + _ALL + bytes.fromhex("7302 cd4a") + _BOTH_EOI + _NO_MORE + _IRET  # jnc; int 4Ah: the alarm
_COPROCESSOR = _OUT + bytes.fromhex("50 30c0 e6f0") + _BOTH_EOI + bytes.fromhex("58 cd02") + _IRET
_PACKET = (
    bytes.fromhex("68c09f 1f 31c0")  # push the EBDA's segment; pop ds; xor ax, ax
    + bytes.fromhex("a02800 50 a02900 50 a02a00 50")  # push its three bytes as words
    + bytes.fromhex("6a00 fb ff1e2200 fa 83c408")  # push 0; sti; call far [22h]; cli; add sp, 8
)
_MOUSE = _OUT + _ALL + bytes((0x73, len(_PACKET))) + _PACKET + _BOTH_EOI + _NO_MORE + _IRET  # jnc: none is complete
_NO_SYSTEM = _OUT + bytes.fromhex("fb f4 ebfc")  # sti; hlt; again
_BOOT = (
    bytes.fromhex("fa 31c0 8ed0 bc007c 8ed8 8ec0 fb")  # cli; ss:sp = 0:7C00; ds, es = 0; sti
    + _OUT
    + bytes.fromhex("7205 2eff2e")  # jc none; jmp far [cs:BOOT_TARGET]
    + BOOT_TARGET.to_bytes(2, "little")
    + bytes.fromhex("cd18 ebfe")  # none: int 18h
)
_POST = bytes.fromhex("fa fc") + _OUT + bytes.fromhex("cd19 ebfe")  # cli; cld; …; int 19h
_NOTHING = _IRET
_WINDOW = bytes.fromhex("b8054f cd10 cb")  # mov ax, 4F05h; int 10h; retf

_SPECIAL: dict[int, bytes] = {
    0x02: _OUT + _IRET,
    0x05: _OUT + _IRET,
    0x08: _TIMER,
    0x09: _KEYBOARD,
    **dict.fromkeys((*range(0x0A, 0x10),), _MASTER),
    0x15: _SPIN,
    0x16: _AGAIN,
    0x21: _AGAIN,
    0x18: _NO_SYSTEM,
    0x19: _BOOT,
    0x1B: _NOTHING,
    0x1C: _NOTHING,
    0x4A: _NOTHING,
    0x70: _CLOCK,
    **dict.fromkeys(range(0x71, 0x78), _SLAVE),
    0x74: _MOUSE,
    0x75: _COPROCESSOR,
}


_PLAIN = _OUT + _IRET
_SHARED = {
    vector: stub
    for vector in range(256)
    if vector not in POINTERS
    and (stub := _SPECIAL.get(vector, _PLAIN)) in (_PLAIN, _NOTHING, _MASTER, _SLAVE)
    and not 0x10 <= vector <= 0x1A
}
"""Vectors with the same stub have it at one place, so that few have to be watched while the guest is stepped. Each
comes there by a segment and an offset of its own."""


def segment(vector: int) -> int:
    """The segment in the vector table."""
    return SEGMENT - vector if vector in _SHARED else SEGMENT


def _placed() -> tuple[dict[int, bytes], dict[int, int]]:
    """Code by its offset, and the offset of each vector's, in its own segment."""
    stubs = dict.fromkeys(_SHARED.values())
    shared = {stub: SHARED + number * ALIGN for number, stub in enumerate(stubs)}
    code = {offset: stub for stub, offset in shared.items()}
    at: dict[int, int] = {}
    offset = STUBS
    for vector in range(256):
        if vector in POINTERS:
            at[vector] = POINTERS[vector]
        elif vector in _SHARED:
            at[vector] = shared[_SHARED[vector]] + vector * 16
        else:
            stub = _SPECIAL.get(vector, _PLAIN)
            code[offset] = stub
            at[vector] = offset
            offset += -(-len(stub) // ALIGN) * ALIGN
    return code, at


CODE, ENTRIES = _placed()
POST_CALL = 0x100
"""In CALLS: not an interrupt, but the start after a reset."""


def _calls() -> dict[tuple[int, int], int]:
    found = {}
    for number in (*range(256), POST_CALL):
        offset = POST if number == POST_CALL else ENTRIES[number]
        base = segment(number) << 4
        stub = _POST if number == POST_CALL else CODE.get(base + offset - BASE, b"")
        at = stub.find(_OUT)
        if at >= 0:
            found[base, offset + at] = found[base, offset + at + len(_OUT)] = number
    return found


CALLS = _calls()
"""Which stub writes to the port, by the base of CS and rip there: at the ``out``, or behind it where this KVM has moved
on already."""


def image(model: int = 0xFC) -> bytes:
    """All 64 KiB of it."""
    rom = bytearray(SIZE)
    for offset, stub in {**CODE, POST: _POST, WINDOW_FUNCTION: _WINDOW}.items():
        rom[offset : offset + len(stub)] = stub
    rom[RESET : RESET + 5] = b"\xea" + POST.to_bytes(2, "little") + SEGMENT.to_bytes(2, "little")
    rom[DATE : DATE + 8] = b"01/01/25"
    rom[MODEL] = model
    return bytes(rom)


def vectors() -> bytes:
    """The interrupt vector table."""
    return b"".join(
        ENTRIES[vector].to_bytes(2, "little") + segment(vector).to_bytes(2, "little") for vector in range(256)
    )


def symbols() -> list[tuple[str, int, int]]:
    """(name, linear address, size) of the code."""
    found = [
        (f"bios_int_{vector:02x}h", BASE + offset, len(CODE[offset]))
        for vector, offset in ENTRIES.items()
        if offset in CODE and vector not in _SHARED
    ]
    found += [("bios_int", BASE + offset, len(stub)) for offset, stub in CODE.items() if offset >= SHARED]
    found.append(("bios_vesa_window", BASE + WINDOW_FUNCTION, len(_WINDOW)))
    return [*found, ("bios_post", BASE + POST, len(_POST)), ("bios_reset", BASE + RESET, 5)]
