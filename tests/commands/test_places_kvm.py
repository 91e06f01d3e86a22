"""Where memory commands look: linear, physical and segmented addresses, with selectors of the GDT and of an LDT."""

from __future__ import annotations

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import UsageError
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

GUEST = """
main:
    lgdt gdtr
    mov ax, 0x28; lldt ax
    mov ax, 0x10; mov ds, ax
    mov ax, 0x0c; mov fs, ax
here: hlt
.balign 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x004093004000000f, 0
    .word 15, ldt; .byte 0, 0x82, 0, 0
gdtr: .word .-gdt-1; .long gdt
.balign 8
ldt: .quad 0, 0x0040930050000fff
"""
DATA = b"Some text in the segment\0"
PLACES = {"linear": "0x4010", "physical": "phys:0x4010", "GDT": "0x18:0x10", "flat": "$ds:0x4010"}
LDT = {"LDT": "0xc:0x10", "register": "$fs:0x10"}


def typed(dbg: Session, line: str) -> str:
    return "\n".join(result.plain(100) for result in Interpreter(dbg).execute(line))


@pytest.fixture
def dbg(kvm_guest: Guests) -> Session:
    dbg = kvm_guest(asm=GUEST, mode="prot")
    dbg.break_at("here")
    dbg.run()
    for at in (0x4010, 0x5010):
        dbg.physical.write(at, DATA)
    return dbg


@pytest.mark.parametrize("name", [*PLACES, *LDT])
def test_every_memory_command_takes_every_kind_of_address(dbg: Session, name: str) -> None:
    place = {**PLACES, **LDT}[name]
    at = 0x5010 if name in LDT else 0x4010
    assert typed(dbg, f"x/s {place}").endswith('"Some text in the segment"')
    assert f"{at:08x}  53 6f 6d 65" in typed(dbg, f"hexdump {place} 16")
    assert "Some text" in typed(dbg, f"strings {place} 64")
    assert f"{at + 5:#x}" in typed(dbg, f'find {place}, +64, "text"')
    assert typed(dbg, f"compare {place} phys:{at:#x} 25") == "25 bytes are the same."
    assert typed(dbg, f"checksum {place} 25") == typed(dbg, f"checksum {at:#x} 25")
    assert typed(dbg, f"telescope {place}").splitlines()[1].split() == [f"{at:#x}", "+0x0", "0x656d6f53"]
    assert "push    ebx" in typed(dbg, f"disassemble {place},+1")
    typed(dbg, f"fill {place} 4 0x41")
    assert dbg.physical.read(at, 5) == b"AAAA "
    typed(dbg, f"patch {place} 42 43")
    assert dbg.physical.read(at, 5) == b"BCAA "
    typed(dbg, "unpatch")
    assert dbg.physical.read(at, 5) == b"AAAA "


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("0x99:0", "no segment with the selector 0x99: it is beyond the GDT's limit, 0x2f"),
        ("0x14:0", "no segment with the selector 0x14: it is beyond the LDT's limit, 0xf"),
        ("0:0", "no segment with the selector 0x0: it is the null selector"),
        ("0x28:0", "the selector 0x28 is of no code or data segment: LDT, DPL 0"),
    ],
)
@pytest.mark.parametrize("command", ["x/xb", "hexdump", "break *", "info line", "translate"])
def test_a_selector_that_is_none_is_told(dbg: Session, command: str, place: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        typed(dbg, f"{command} {place}".replace("* ", "*"))
