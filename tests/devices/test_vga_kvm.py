"""The VGA adapter's memory as a guest meets it: planes at 0xA0000 or where text is, and RAM there otherwise."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.devices.vga import Vga
from kvmdbg.engine import stops
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

TURNED_ON = """
    mov dx, 0x3ce; mov ax, 0x0506; out dx, ax     # 64 KiB at 0xa0000, graphics
    mov ax, 0x0005; out dx, ax                    # write mode 0
    mov dx, 0x3c4; mov ax, 0x0604; out dx, ax     # planes
    push 0xa000; push 0xa000; pop es; pop ds
"""
PLANES = (
    TURNED_ON
    + """
    mov ax, 0x0302; out dx, ax                    # planes 0 and 1
    xor di, di; cld
    mov al, 0x55; mov cx, 8; rep stosb
    mov si, 16; mov word ptr [si], 0x1234
    mov dx, 0x3ce; mov ax, 0x0104; out dx, ax     # read plane 1
    mov bx, [si]
    mov ax, 0x0204; out dx, ax                    # plane 2
    mov cx, [si]
    mov ax, 0x0105; out dx, ax                    # write mode 1: what was read last
    xor si, si; mov al, [si]; mov di, 100; mov [di], al
    mov si, 0; mov di, 200; mov cx, 4; rep movsb
    mov dx, 0x3f8; mov al, 'k'; out dx, al
    hlt
"""
)


def adapter(dbg: Session) -> Vga:
    return next(one for one in dbg.devices if isinstance(one, Vga))


def test_planes_are_written_and_read(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PLANES)
    assert isinstance(dbg.run(timeout=20), stops.HaltedStop)
    plane = adapter(dbg).planes.plane
    assert [plane(n, 0, 9) for n in range(3)] == [b"\x55" * 8 + b"\0"] * 2 + [bytes(9)]
    assert (plane(1, 16, 2), plane(0, 100, 1), plane(3, 100, 1), plane(1, 200, 5)) == (
        b"\x34\x12", b"\x55", b"\0", b"\x55" * 4 + b"\0",
    )  # fmt: skip
    assert (dbg.regs.bx, dbg.regs.cx, dbg.output) == (0x1234, 0, b"k")
    assert dbg.physical.read(0xA0000, 4) == bytes(4)


def test_a_snapshot_has_the_planes_and_where_they_are(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PLANES)
    dbg.snapshots.save("first")
    dbg.run(timeout=20)
    dbg.snapshots.save("then")
    dbg.snapshots.restore("first")
    assert adapter(dbg).is_text and not dbg.machine.memory.is_covered(0xA0000)
    dbg.snapshots.restore("then")
    assert adapter(dbg).planes.plane(1, 16, 2) == b"\x34\x12" and dbg.machine.memory.is_covered(0xA0000)
    dbg.snapshots.restore("first")
    assert isinstance(dbg.run(timeout=20), stops.HaltedStop) and dbg.regs.bx == 0x1234


def test_steps_through_planes_do_the_same(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PLANES)
    while not isinstance(stop := dbg.step(), stops.HaltedStop):
        assert not stop.is_error
    assert adapter(dbg).planes.plane(1, 200, 5) == b"\x55" * 4 + b"\0" and dbg.regs.bx == 0x1234


def test_accesses_to_planes_are_exits_that_can_be_caught(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PLANES)
    dbg.catch("mmio", when="$address == 0xa0010")
    stop = dbg.run(timeout=20)
    assert stop.describe() == "catchpoint 1: mmio write 0xa0010, 2 bytes, data 0x1234"


MODE_13 = """
    push 0xa000; push 0xa000; pop es; pop ds
    mov dx, 0x3c4; mov ax, 0x0e04; out dx, ax
    mov dx, 0x3ce; mov ax, 0x0506; out dx, ax
    mov di, 5; mov byte ptr [di], 0x42
    hlt
    mov dx, 0x3c4; mov ax, 0x0604; out dx, ax
    mov dx, 0x3ce; mov ax, 0x0104; out dx, ax
    mov di, 1; mov bl, [di]
    hlt
"""


def test_256_colours_are_plain_memory_until_chain_4_is_switched_off(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=MODE_13)
    dbg.run(timeout=20)
    assert dbg.physical.read(0xA0005, 1) == b"\x42" and not dbg.exits.by_reason.get("mmio")
    dbg.run(timeout=20)
    assert dbg.regs.bl == 0x42


def test_a_font_is_loaded_where_the_text_is(kvm_guest: Guests) -> None:
    """As kernels do that leave the graphics controller's window alone: text is there again behind it."""
    dbg = kvm_guest(
        asm="""
        push 0xb800; pop ds; mov word ptr [0], 0x1f41
        mov dx, 0x3c4; mov ax, 0x0402; out dx, ax; mov ax, 0x0704; out dx, ax
        mov dx, 0x3ce; mov ax, 0x0204; out dx, ax; mov ax, 0x0005; out dx, ax; mov ax, 0x0c06; out dx, ax
        mov byte ptr [0x41 * 32], 0x3c; mov word ptr [0], 0x8181; mov bl, [0x41 * 32]
        mov dx, 0x3c4; mov ax, 0x0302; out dx, ax; mov ax, 0x0204; out dx, ax
        mov dx, 0x3ce; mov ax, 0x0004; out dx, ax; mov ax, 0x1005; out dx, ax; mov ax, 0x0e06; out dx, ax
        mov cx, [0]; hlt
        """
    )
    assert isinstance(dbg.run(timeout=20), stops.HaltedStop)
    plane = adapter(dbg).planes.plane
    assert (plane(2, 0x41 * 32, 1), plane(2, 0, 2), plane(0, 0, 2)) == (b"\x3c", b"\x81\x81", b"\0\0")
    assert (dbg.regs.bl, dbg.regs.cx) == (0x3C, 0x1F41)
    assert dbg.physical.read(0xB8000 + 0x41 * 32, 1) == b" "
