"""The least description of an x86. Sources: gdb's features/i386/32bit-core.xml and 64bit-core.xml; SDM volume 1, figure
3-8; System V psABI for i386, table 2.14, and for x86-64, figure 3.36."""

from __future__ import annotations

import pytest

from gdbstub.registers import Description
from gdbstub.x86 import EFLAGS, I386, X86_64

GENERAL32 = "eax ecx edx ebx esp ebp esi edi".split()
GENERAL64 = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split()
BEHIND = "eflags cs ss ds es fs gs st0 st1 st2 st3 st4 st5 st6 st7 fctrl fstat ftag fiseg fioff foseg fooff fop".split()


def test_flags() -> None:
    assert {name: (first, last) for name, first, last in EFLAGS.fields} == {
        "CF": (0, 0), "PF": (2, 2), "AF": (4, 4), "ZF": (6, 6), "SF": (7, 7), "TF": (8, 8), "IF": (9, 9),
        "DF": (10, 10), "OF": (11, 11), "IOPL": (12, 13), "NT": (14, 14), "RF": (16, 16), "VM": (17, 17),
        "AC": (18, 18), "VIF": (19, 19), "VIP": (20, 20), "ID": (21, 21),
    }  # fmt: skip
    assert (EFLAGS.id, EFLAGS.size) == ("i386_eflags", 4)


@pytest.mark.parametrize(
    ("layout", "names", "size"),
    [(I386, [*GENERAL32, "eip", *BEHIND], 8 * 4 + 4), (X86_64, [*GENERAL64, "rip", *BEHIND], 16 * 8 + 8)],
)
def test_registers_in_gdbs_order(layout: Description, names: list[str], size: int) -> None:
    assert [one.name for one in layout.registers] == names
    assert layout.size == size + 7 * 4 + 8 * 10 + 8 * 4
    for part, name in (("pc", names[-24]), ("sp", names[-24][0] + "sp"), ("fp", names[-24][0] + "bp")):
        number = layout.named(part)
        assert number is not None and names[number] == name
        assert layout.registers[number].type == ("code_ptr" if part == "pc" else "data_ptr")


@pytest.mark.parametrize(
    ("layout", "order", "behind"),
    [
        (I386, GENERAL32, {"eip": 8, "eflags": 9}),
        (X86_64, ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", *GENERAL64[6:]], {"rip": 16, "eflags": 49}),
    ],
)
def test_numbers_of_dwarf(layout: Description, order: list[str], behind: dict[str, int]) -> None:
    wanted = {name: number for number, name in enumerate(order)} | behind
    assert {one.name: one.dwarf for one in layout.registers if one.dwarf is not None} == wanted
