"""Exceptions caught by tables of handlers that the guest loads, and nothing that it can see of that."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import CaughtStop, HaltedStop, ShutdownStop
from kvmdbg.pytest_plugin import Guests
from tests.core.conftest import Boot, take_debug_registers

pytestmark = pytest.mark.kvm
HELD = pytest.mark.parametrize("registers_taken", [False, True], ids=["in registers", "planted"])


def catching(dbg: Session, registers_taken: bool) -> Session:
    if registers_taken:
        take_debug_registers(dbg)
    dbg.catch("exception")
    return dbg


@HELD
@pytest.mark.parametrize("prefixes", ["", "66", "2e", "6626", "266666"])
def test_a_table_loaded_by_an_instruction_with_prefixes(boot: Boot, prefixes: str, registers_taken: bool) -> None:
    # lidt [0x1080]; xor cx, cx; div cx; at 0x1080 the table's limit 0x3ff and base 0x3000
    code = bytes.fromhex(prefixes + "0f011e8010 31c9 f7f1").ljust(0x80, b"\x90") + bytes.fromhex("ff0300300000")
    dbg = catching(boot(code), registers_taken)
    dbg.physical.write(0x3000, (0x1100).to_bytes(4, "little"))
    dbg.physical.write(0x1100, b"\xf4")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, CaughtStop), stop.describe()
    assert (stop.pc, stop.exit.to_json()["vector"]) == (0x1100, 0)


@HELD
def test_a_table_in_protected_mode_entered_by_a_far_jump(kvm_guest: Guests, registers_taken: bool) -> None:
    dbg = kvm_guest(
        asm="""
        .code16
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        .byte 0x66, 0xea
        .long protected
        .word 8
        .code32
protected:
        mov ax, 16
        mov ss, ax
        mov ds, ax
        mov esp, 0x8000
        lidt [idtr]
bad:    ud2
handler: hlt
        .balign 8
gdt:    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:   .word 23
        .long gdt
idt:    .skip 6 * 8
        .word handler, 8, 0x8e00, 0
idtr:   .word 7 * 8 - 1
        .long idt
        """,
        mode="real",
    )
    stop = catching(dbg, registers_taken).run(timeout=20)
    assert isinstance(stop, CaughtStop), stop.describe()
    assert (stop.pc, stop.exit.to_json()["ip"]) == (dbg.symbols["handler"], dbg.symbols["bad"])
    assert isinstance(dbg.run(timeout=20), HaltedStop)


@HELD
def test_data_that_looks_like_such_an_instruction_stays_as_it_is(boot: Boot, registers_taken: bool) -> None:
    # mov si, 0x1020; mov cx, 32; xor ax, ax; again: add al, [si]; inc si; loop again; hlt
    code = bytes.fromhex("be2010 b92000 31c0 0204 46 e2fb f4").ljust(0x20, b"\0")
    data = bytes.fromhex("0f011e0010 660f011e0010 90 2e0f011f 0f0118 0f01180f0118 9090 f4")
    dbg = catching(boot(code + data), registers_taken)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.regs.al == sum(data) & 0xFF


@HELD
def test_vectors_that_lead_to_data_leave_it_as_it_is(boot: Boot, registers_taken: bool) -> None:
    """The first KiB of a guest that uses no interrupts may hold anything."""
    # mov si, 0x2000; mov cx, 32; xor ax, ax; again: add al, [si]; inc si; loop again; hlt
    dbg = catching(boot(bytes.fromhex("be0020 b92000 31c0 0204 46 e2fb f4")), registers_taken)
    dbg.physical.write(0, b"".join((0x2000 + n).to_bytes(4, "little") for n in range(32)))
    data = bytes.fromhex("ff" * 8 + "06" * 4 + "0000" * 10)
    dbg.physical.write(0x2000, data)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.regs.al == sum(data) & 0xFF


@HELD
def test_descriptors_on_the_page_of_the_instruction(boot: Boot, registers_taken: bool) -> None:
    """The CPU sets the accessed bit of a descriptor beside the LIDT."""
    # lgdt [0x1040]; mov eax, 16; mov ds, eax; lidt [0x1048]; hlt
    code = bytes.fromhex("0f011540100000 b810000000 8ed8 0f011d48100000 f4").ljust(0x40, b"\0")
    code += (23).to_bytes(2, "little") + (0x1050).to_bytes(6, "little")
    code += (0).to_bytes(2, "little") + (0x1068).to_bytes(6, "little")
    code += b"".join(one.to_bytes(8, "little") for one in (0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF))
    dbg = catching(boot(code, 32), registers_taken)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.physical.read(0x1050 + 16 + 5, 1) == b"\x93"


FAR_RETURN = """
        mov rsp, 0x9000
        lgdt [rip + gdtr]
        push 8
        lea rax, [rip + there]
        push rax
        retfq
there:  nop
        lidt [rip + idtr]
bad:    ud2
        .balign 8
gdt:    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdtr:   .word 23
        .quad gdt
idtr:   .word 255
        .quad idt
        .balign 4096
idt:    .skip 256
"""


@HELD
def test_an_exception_without_a_handler(kvm_guest: Guests, registers_taken: bool) -> None:
    """Nothing can tell of it but the end of the guest."""
    dbg = catching(kvm_guest(asm=FAR_RETURN, mode="long"), registers_taken)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, CaughtStop), stop.describe()
    assert (stop.pc, stop.exit.describe()) == (dbg.symbols["bad"], f"exception 6 (#UD) at {dbg.symbols['bad']:#x}")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, ShutdownStop), stop.describe()
    assert stop.pc == dbg.symbols["bad"]


def test_an_exception_without_a_handler_that_nobody_wants(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=FAR_RETURN, mode="long")
    dbg.catch("exception", vector=13)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, ShutdownStop), stop.describe()


def test_a_table_loaded_from_a_page_whose_reads_are_watched(boot: Boot) -> None:
    """The page was nobody's when the watchpoint was set: the CPU reads its table there all the same."""
    # lidt [0x1080]; xor cx, cx; div cx; at 0x1080 the table's limit 0x3ff and base 0x3000
    code = bytes.fromhex("0f011e8010 31c9 f7f1").ljust(0x80, b"\x90") + bytes.fromhex("ff0300300000")
    dbg = boot(code)
    dbg.physical.write(0x3000, (0x1100).to_bytes(4, "little"))
    dbg.physical.write(0x1100, b"\xf4")
    dbg.watch(0x3000, 4096, "read", when="0")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert stop.pc == 0x1101
