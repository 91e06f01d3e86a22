"""Breakpoints that must stop at the same places on every flavour of KVM, whatever holds them."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop, ErrorStop, HaltedStop
from kvmdbg.errors import NotSupportedHere, UsageError
from tests.core.conftest import Boot, take_debug_registers

pytestmark = pytest.mark.kvm
HELD = pytest.mark.parametrize("registers_taken", [False, True], ids=["first four", "beyond four"])
BITS = pytest.mark.parametrize("bits", [16, 32, 64])


def start(boot: Boot, code: bytes, bits: int, registers_taken: bool, **options: object) -> Session:
    dbg = boot(code, bits, **options)
    if registers_taken:
        take_debug_registers(dbg)
    return dbg


def pcs(dbg: Session, most: int = 50) -> list[int]:
    """Where it stops until it halts."""
    found = []
    for _ in range(most):
        stop = dbg.run(timeout=20)
        if isinstance(stop, HaltedStop):
            return found
        assert isinstance(stop, BreakpointStop), stop.describe()
        found.append(stop.pc)
    raise AssertionError(f"no halt after {found}")


@BITS
def test_any_number(boot: Boot, bits: int) -> None:
    dbg = boot(b"\x90" * 40 + b"\xf4", bits)
    for offset in range(0, 40, 2):
        dbg.break_at(0x1000 + offset)
    before = dbg.physical.read(0x1000, 41)
    assert pcs(dbg) == [0x1000 + offset for offset in range(0, 40, 2)]
    assert dbg.physical.read(0x1000, 41) == before
    assert all(point.hits == 1 for point in dbg.breakpoints)


@BITS
@HELD
def test_next_instruction_and_itself_and_two_at_one(boot: Boot, bits: int, registers_taken: bool) -> None:
    dbg = start(boot, b"\x90\x90\x90\xf4", bits, registers_taken)
    first, second, again = dbg.break_at(0x1001), dbg.break_at(0x1002), dbg.break_at(0x1002)
    stop = dbg.run(timeout=20)
    assert stop.breakpoints == (first,)
    stop = dbg.run(timeout=20)
    assert stop.breakpoints == (second, again)
    assert isinstance(dbg.run(timeout=20), HaltedStop)


@BITS
@HELD
def test_a_hlt(boot: Boot, bits: int, registers_taken: bool) -> None:
    """Behind the stop the guest halts, although a trap may be that same byte."""
    dbg = start(boot, b"\x90\xf4", bits, registers_taken)
    dbg.break_at(0x1001)
    assert pcs(dbg) == [0x1001]
    assert dbg.regs.pc == 0x1002


@BITS
@HELD
def test_an_instruction_that_jumps_to_itself(boot: Boot, bits: int, registers_taken: bool) -> None:
    dbg = start(boot, b"\x90\xeb\xfe", bits, registers_taken)
    point = dbg.break_at(0x1001)
    for hits in range(1, 5):
        assert dbg.run(timeout=20).pc == 0x1001
        assert point.hits == hits


@HELD
def test_condition_ignore_temporary_disable(boot: Boot, registers_taken: bool) -> None:
    # mov cx, 20; again: inc ax; loop again; hlt
    dbg = start(boot, bytes.fromhex("b91400 40 e2fd f4"), 16, registers_taken)
    conditional = dbg.break_at(0x1003, when="$cx == 5")
    stop = dbg.run(timeout=20)
    assert (stop.pc, dbg.regs.cx) == (0x1003, 5)
    assert conditional.hits == 1
    conditional.enabled = False
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    dbg.restart()
    ignoring = dbg.break_at(0x1004, ignore=3)
    temporary = dbg.break_at(0x1003, temporary=True)
    assert dbg.run(timeout=20).breakpoints == (temporary,)
    assert temporary not in list(dbg.breakpoints)
    assert dbg.run(timeout=20).pc == 0x1004
    assert (dbg.regs.ax, ignoring.hits) == (4, 4)


def test_a_condition_that_fails_stops_with_the_reason(boot: Boot) -> None:
    dbg = boot(b"\x90\x90\xf4")
    dbg.break_at(0x1001, when="*(u8*)phys:0x7fffffff == 1")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, ErrorStop)
    assert "0x7fffffff" in stop.describe()


@HELD
def test_before_the_code_is_there(boot: Boot, registers_taken: bool) -> None:
    """The guest copies code to 0x3000 and runs it: the breakpoint was there first."""
    # mov si, 0x1010; mov di, 0x3000; mov cx, 4; rep movsb; mov bx, 0x3000; jmp bx; data: inc ax; inc ax; inc ax; hlt
    code = bytes.fromhex("be1010 bf0030 b90400 f3a4 bb0030 ffe3") + b"\x40\x40\x40\xf4"
    dbg = start(boot, code, 16, registers_taken)
    dbg.break_at(0x3001)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, BreakpointStop)
    assert (stop.pc, dbg.regs.ax) == (0x3001, 1)
    assert dbg.physical.read(0x3000, 4) == b"\x40\x40\x40\xf4"


@HELD
def test_self_modifying_code(boot: Boot, registers_taken: bool) -> None:
    """The guest writes over the instruction under the breakpoint; the new one runs, and the breakpoint stays."""
    # mov byte [0x1008], 0x43; nop; nop; nop; there: inc ax (becomes inc bx); hlt
    code = bytes.fromhex("c606081043 909090 40 f4")
    dbg = start(boot, code, 16, registers_taken)
    dbg.break_at(0x1008)
    stop = dbg.run(timeout=20)
    assert stop.pc == 0x1008
    assert dbg.physical.read(0x1008, 1) == b"\x43"
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert (dbg.regs.ax, dbg.regs.bx) == (0, 1)


@HELD
def test_another_view_of_the_same_code(boot: Boot, registers_taken: bool) -> None:
    """A linear breakpoint stops at its own address only; a physical one in every view."""
    # inc eax; mov rbx, 0x401009; jmp rbx -> code at 0x1009 through 4 MiB; inc eax; hlt
    code = bytes.fromhex("ffc0 bb09104000 ffe3") + bytes.fromhex("ffc0 f4")
    for where, expected in (("0x1009", []), ("0x401009", [0x401009]), ("phys:0x1009", [0x401009])):
        dbg = start(boot, code, 64, registers_taken)
        walk = dbg.translate(0x400000)
        entry = walk.entries[-1]
        dbg.physical.write(entry.address, (0x87).to_bytes(8, "little"))  # 4 MiB now shows 0
        dbg.regs.cr3 = dbg.regs.cr3
        dbg.break_at(where)
        assert pcs(dbg) == expected, where


@HELD
@pytest.mark.parametrize("trap", [0xCC, 0xF1], ids=["int3", "int1"])
def test_a_trap_of_the_guests_own_goes_to_the_guest(boot: Boot, trap: int, registers_taken: bool) -> None:
    """Real mode: the handler runs, and breakpoints in it and behind it stop.

    QEMU's SVM loses int1 and the instruction behind it, debugger or not: there the
    guest must go the same way as when it runs free.
    """
    vector = 3 if trap == 0xCC else 1
    dbg = boot(bytes((0x90, trap, 0x40, 0xF4)), 16, firmware="none")  # whose handler of #UD would only return

    def handler() -> None:
        dbg.physical.write(vector * 4, bytes.fromhex("00200000"))
        dbg.physical.write(0x2000, b"\x43\xcf")  # inc bx; iret

    handler()
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    free = (dbg.regs.ax, dbg.regs.bx)
    assert free == (1, 1) or trap == 0xF1
    dbg.restart()
    handler()
    if registers_taken:
        take_debug_registers(dbg)
    dbg.break_at(0x2000)
    dbg.break_at(0x1002)
    assert pcs(dbg) == ([0x2000, 0x1002] if free == (1, 1) else [])
    assert (dbg.regs.ax, dbg.regs.bx) == free


def gate64(offset: int) -> bytes:
    return (offset & 0xFFFF).to_bytes(2, "little") + b"\x08\x00\x00\x8e" + (offset >> 16).to_bytes(10, "little")


@HELD
def test_an_int3_of_the_guests_own_in_long_mode(boot: Boot, registers_taken: bool) -> None:
    dbg = start(boot, bytes.fromhex("90 cc ffc0 f4"), 64, registers_taken)
    dbg.regs.set("idtr_base", 0x8000)
    dbg.regs.set("idtr_limit", 0xFFF)
    dbg.physical.write(0x8000 + 3 * 16, gate64(0x2000))
    dbg.physical.write(0x2000, bytes.fromhex("ffc3 48cf"))  # inc ebx; iretq
    dbg.break_at(0x2002)
    dbg.break_at(0x1002)
    assert pcs(dbg) == [0x2002, 0x1002]
    assert (dbg.regs.eax, dbg.regs.ebx) == (1, 1)


@HELD
def test_reads_never_show_a_trap_while_it_runs(boot: Boot, registers_taken: bool) -> None:
    dbg = start(boot, b"\xeb\xfe" + b"\x90" * 8 + b"\xf4", 16, registers_taken)
    for offset in range(2, 8):
        dbg.break_at(0x1000 + offset)
    dbg.resume()
    try:
        assert dbg.physical.read(0x1000, 11) == b"\xeb\xfe" + b"\x90" * 8 + b"\xf4"
    finally:
        dbg.interrupt()


@HELD
def test_data_on_the_page_of_the_code(boot: Boot, registers_taken: bool) -> None:
    """A push and a store on the breakpoint's page still do what they should."""
    # mov sp, 0x1100; push 0x1234; pop cx; mov [0x10f0], cx; there: inc ax; hlt
    dbg = start(boot, bytes.fromhex("bc0011 683412 59 890ef010 40 f4"), 16, registers_taken)
    dbg.break_at(0x100B)
    assert pcs(dbg) == [0x100B]
    assert dbg.physical.read(0x10F0, 2) == b"\x34\x12"
    assert dbg.physical.read(0x10FE, 2) == b"\x34\x12"


def test_a_breakpoint_on_the_first_instruction_of_a_fresh_guest(boot: Boot) -> None:
    dbg = boot(b"\x90\xf4")
    dbg.break_at(0x1000)
    assert pcs(dbg) == [0x1000]


def test_a_rep_instruction_is_one_hit(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("b90800 bf0050 f3aa f4"))
    point = dbg.break_at(0x1006)
    assert pcs(dbg) == [0x1006]
    assert point.hits == 1


@HELD
def test_before_paging_maps_it(boot: Boot, registers_taken: bool) -> None:
    """A breakpoint on an address that the guest's page tables only map later."""
    # mov dword [rdi], 0x87; mov rax, cr3; mov cr3, rax; mov ebx, 0x80001020; jmp rbx; 0x1020: inc eax; hlt
    code = bytes.fromhex("c70787000000 0f20d8 0f22d8 bb20100080 ffe3").ljust(0x20, b"\x90") + b"\xff\xc0\xf4"
    dbg = start(boot, code, 64, registers_taken)
    entry = dbg.translate(0x80000000).entries[-1]
    dbg.physical.write(entry.address, bytes(8))
    assert dbg.translate(0x80001020).physical is None
    dbg.regs.rdi = entry.address
    dbg.break_at(0x80001020)
    assert pcs(dbg) == [0x80001020]


# endbr64, endbr32, fences with and without prefixes, a no-operation: a KVM in software may run them on the CPU itself.
NATIVE = ["f30f1efa", "f30f1efb", "0faee8", "0faef0", "0faef8", "2e0faee8", "0f1d07"]
NATIVE_64 = ["480faee8", "0f01f8", "0fae042500200000"]
"""Also swapgs and fxsave [0x2000]."""


@HELD
@pytest.mark.parametrize(
    ("bits", "code"), [(bits, code) for bits in (16, 32, 64) for code in NATIVE] + [(64, code) for code in NATIVE_64]
)
def test_the_instruction_behind_one_that_runs_natively(boot: Boot, bits: int, code: str, registers_taken: bool) -> None:
    insn = bytes.fromhex(code)
    dbg = start(boot, b"\x90" + insn * 2 + b"\xfc\xfc\xf4", bits, registers_taken)  # two cld
    first, second, third = 0x1001, 0x1001 + len(insn), 0x1001 + 2 * len(insn)
    for address in (first, second, third):
        dbg.break_at(address)
    assert pcs(dbg) == [first, second, third]
    dbg.restart()
    assert [dbg.step().pc for _ in range(4)] == [first, second, third, third + 1]


# At 0x7c00 it copies itself to 0x600 and goes on there: xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7c00;
# mov si, 0x7c00; mov di, 0x600; mov cx, 64; cld; rep movsw; jmp 0:0x61e;
# at 0x61e: call work; call work; hlt; at 0x625: work: inc word [0x62a]; ret; at 0x62a: dw 0
COPIES_ITSELF = bytes.fromhex(
    "31c0 8ed8 8ec0 8ed0 bc007c be007c bf0006 b94000 fc f3a5 ea1e060000 9090 e80400 e80100 f4 ff062a06 c3 0000"
)


@pytest.mark.parametrize("hold", ["register", "stepping"])
def test_a_guest_that_copies_itself(boot: Boot, hold: str) -> None:
    """It would copy a planted trap; where breakpoints are held otherwise it does not."""
    dbg = boot(COPIES_ITSELF, load=0x7C00)
    if hold == "register" and not dbg.guest.host.profile.kernel_execute_dr:
        with pytest.raises(NotSupportedHere, match="do not fire"):
            dbg.breakpoint_hold = hold
        return
    dbg.breakpoint_hold = hold
    point = dbg.break_at(0x7C25)  # where work lies before it is copied
    moved = dbg.break_at(0x625)
    assert pcs(dbg) == [0x625, 0x625]
    assert dbg.physical.read(0x62A, 2) == b"\2\0"
    assert (point.hits, moved.hits) == (0, 2)
    assert moved.held_by == {"register": "debug register", "stepping": "stepping"}[hold]


def test_the_way_of_holding_is_refused_with_the_reason(boot: Boot) -> None:
    dbg = boot(b"\x90" * 8 + b"\xf4")
    with pytest.raises(UsageError, match="the ways are auto, register, stepping, planted"):
        dbg.breakpoint_hold = "somehow"
    for address in range(0x1000, 0x1004):
        dbg.break_at(address)
    if dbg.guest.host.profile.kernel_execute_dr:
        dbg.breakpoint_hold = "register"
        with pytest.raises(NotSupportedHere, match="there are four debug registers, and more breakpoints"):
            dbg.break_at(0x1004)
        with pytest.raises(NotSupportedHere, match="a linear address"):
            dbg.breakpoints.delete(1)
            dbg.break_at("phys:0x1004")
    dbg.breakpoint_hold = "planted"
    assert pcs(dbg)[-1] == 0x1003
    assert all(point.held_by.endswith("trap") for point in dbg.breakpoints)
