"""Watchpoints on the real /dev/kvm: every kind, any length and number, whatever holds them."""

from __future__ import annotations

import pytest

from kvmdbg.engine.stops import BreakpointStop, HaltedStop, WatchpointStop
from tests.core.conftest import Boot, take_debug_registers

pytestmark = pytest.mark.kvm
BITS = pytest.mark.parametrize("bits", [16, 32, 64])
# mov al, 5; mov [rdi or bx], al; mov al, [rdi or bx]; hlt
TOUCH = bytes.fromhex("b005 8807 8a07 f4")


def touch(boot: Boot, bits: int):  # type: ignore[no-untyped-def]
    dbg = boot(TOUCH, bits, registers={"rbx": 0x9000, "rdi": 0x9000})
    dbg.physical.write(0x9000, b"\x03")
    return dbg


@BITS
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("write", [("write", 0x1002)]),
        ("read", [("read", 0x1004)]),
        ("access", [("write", 0x1002), ("read", 0x1004)]),
    ],
)
def test_kinds(boot: Boot, bits: int, kind: str, expected: list[tuple[str, int]]) -> None:
    dbg = touch(boot, bits)
    point = dbg.watch(0x9000, 1, kind)
    for access, instruction in expected:
        stop = dbg.run(timeout=20)
        assert isinstance(stop, WatchpointStop), stop.describe()
        assert (stop.kind, stop.address, stop.size, stop.instruction) == (access, 0x9000, 1, instruction)
        assert stop.breakpoints == (point,)
        assert stop.new == b"\x05"
        assert stop.old == (b"\x03" if access == "write" else b"\x05")
        assert stop.pc == instruction + 2
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert point.hits == len(expected)


@BITS
def test_stepping_meets_watchpoints(boot: Boot, bits: int) -> None:
    dbg = touch(boot, bits)
    dbg.watch(0x9000, 1, "access")
    assert [dbg.step().reason for _ in range(4)] == ["step", "watchpoint", "watchpoint", "halted"]


@BITS
def test_beyond_four_and_beyond_eight_bytes(boot: Boot, bits: int) -> None:
    dbg = touch(boot, bits)
    points = [dbg.watch(0x9100 + 8 * n, 8) for n in range(6)]
    wide = dbg.watch(0x8F80, 0x100)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop)
    assert stop.breakpoints == (wide,)
    assert (stop.address, stop.size, stop.old, stop.new) == (0x9000, 1, b"\x03", b"\x05")
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert [p.hits for p in points] == [0] * 6


def test_other_bytes_of_the_page_do_not_stop(boot: Boot) -> None:
    # mov cx, 100; again: mov [0x9004], cx; loop again; mov [0x9000], cx; hlt
    dbg = boot(bytes.fromhex("b96400 890e0490 e2fa 890e0090 f4"))
    point = dbg.watch(0x9000, 2)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop)
    assert (stop.address, point.hits, stop.instruction) == (0x9000, 1, 0x1009)
    assert dbg.physical.read(0x9004, 2) == b"\x01\x00"


def test_condition_on_old_and_new(boot: Boot) -> None:
    # mov cx, 10; again: mov [0x9000], cx; loop again; hlt
    dbg = boot(bytes.fromhex("b90a00 890e0090 e2fa f4"))
    dbg.watch("*(u16*)0x9000", when="$new == 4 && $old == 5")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop)
    assert (stop.old, stop.new, dbg.regs.cx) == (b"\x05\x00", b"\x04\x00", 4)


def test_physical_and_linear(boot: Boot) -> None:
    """The same bytes through another view: a physical watch sees them."""
    # mov byte [0x409000], 7 (rdi); hlt
    dbg = boot(bytes.fromhex("c60707 f4"), 64, memory="16M", registers={"rdi": 0x409000})
    entry = dbg.translate(0x400000).entries[-1]
    dbg.physical.write(entry.address, (0x87).to_bytes(8, "little"))  # 4 MiB shows 0
    dbg.watch("phys:0x9000", 1)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop)
    assert (stop.instruction, stop.new) == (0x1000, b"\x07")


@pytest.mark.parametrize("kind", ["write", "access"])
def test_code_and_data_on_one_page(boot: Boot, kind: str) -> None:
    # mov byte [0x1100], 7; mov al, [0x1100]; inc ax; hlt
    dbg = boot(bytes.fromhex("c606001107 a00011 40 f4"))
    dbg.watch(0x1100, 1, kind)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop)
    assert (stop.kind, stop.instruction, stop.new) == ("write", 0x1000, b"\x07")
    if kind == "access":
        stop = dbg.run(timeout=20)
        assert isinstance(stop, WatchpointStop)
        assert (stop.kind, stop.instruction) == ("read", 0x1005)
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert dbg.regs.ax == 8


@BITS
@pytest.mark.parametrize("kind", ["write", "access"])
def test_a_push(boot: Boot, bits: int, kind: str) -> None:
    dbg = boot(b"\x90\x50\x90\xf4", bits, registers={"rsp": 0x9008, "rax": 0x1234})  # nop; push ax; nop; hlt
    size = bits // 8
    dbg.watch(0x9008 - size, size, kind)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.kind, stop.instruction, stop.new) == ("write", 0x1001, (0x1234).to_bytes(size, "little"))
    assert dbg.regs.rsp == 0x9008 - size
    assert isinstance(dbg.run(timeout=20), HaltedStop)


def test_a_call_pushes(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("90 e80100 f4 f4"), registers={"rsp": 0x9008})
    dbg.watch(0x9006, 2)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop)
    assert (stop.instruction, stop.new, stop.pc) == (0x1001, b"\x04\x10", 0x1005)


@pytest.mark.parametrize("kind", ["write", "access"])
def test_rep_movs(boot: Boot, kind: str) -> None:
    # mov si, 0x8000; mov di, 0x9000; mov cx, 6; rep movsb; hlt
    dbg = boot(bytes.fromhex("be0080 bf0090 b90600 f3a4 f4"))
    dbg.physical.write(0x8000, b"abcdef")
    dbg.watch(0x9002, 2, kind)
    seen = []
    while isinstance(stop := dbg.run(timeout=20), WatchpointStop):
        seen.append((stop.kind, stop.instruction, stop.new))
    assert isinstance(stop, HaltedStop)
    assert seen[0][:2] == ("write", 0x1009)
    assert seen[-1][2] in (b"cd", b"d")
    assert len(seen) in (1, 2)
    assert dbg.physical.read(0x9000, 6) == b"abcdef"


@BITS
@pytest.mark.parametrize("kind", ["write", "read"])
def test_an_access_across_a_page(boot: Boot, bits: int, kind: str) -> None:
    code = bytes.fromhex("8907 8b07 f4")  # mov [rdi or bx], eax or ax; mov eax, [..]; hlt
    size = 2 if bits == 16 else 4
    at = 0x9000 - size // 2
    dbg = boot(code, bits, registers={"rax": 0x44332211, "rbx": at, "rdi": at})
    dbg.watch(0x8FFF, 2, kind)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert stop.instruction == (0x1000 if kind == "write" else 0x1002)
    dbg.breakpoints.clear()
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert dbg.physical.read(at, size) == (0x44332211).to_bytes(4, "little")[:size]
    assert dbg.regs.eax & (1 << 8 * size) - 1 == 0x44332211 & (1 << 8 * size) - 1


@pytest.mark.parametrize("kind", ["write", "access"])
def test_a_page_of_page_tables(boot: Boot, kind: str) -> None:
    """The guest changes an entry of its own tables, which the CPU walks all the time."""
    # mov qword [rdi], 0x87 ; mov rax, cr3; mov cr3, rax; mov al, [rbx]; hlt
    dbg = boot(bytes.fromhex("48c70787000000 0f20d8 0f22d8 8a03 f4"), 64)
    entry = dbg.translate(0x80000000).entries[-1]
    dbg.regs.rdi = entry.address
    dbg.regs.rbx = 0x80001000
    dbg.watch(entry.address, 8, kind)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.kind, stop.instruction) == ("write", 0x1000)
    assert int.from_bytes(stop.new, "little") & ~0x60 == 0x87
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert dbg.regs.al == 0x48


def test_read_watch_of_executed_code_and_of_the_instruction_itself(boot: Boot) -> None:
    """The page is withdrawn although the code runs in it: each instruction still runs once."""
    dbg = boot(bytes.fromhex("b90500 40 e2fd f4"))  # mov cx, 5; again: inc ax; loop again; hlt
    point = dbg.watch(0x1800, 4, "read")
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert (dbg.regs.ax, dbg.regs.cx, point.hits) == (5, 0, 0)


@pytest.mark.parametrize("kind", ["write", "read", "access"])
@pytest.mark.parametrize("beyond", [False, True], ids=["first four", "beyond four"])
def test_a_breakpoint_beside_a_watch_in_the_page_of_the_stack(boot: Boot, kind: str, beyond: bool) -> None:
    """The breakpoint is hit once, and passed, however the watchpoint is held; nothing here touches that page."""
    dbg = boot(b"\x90\x90\x90\x90\xf4", 32, registers={"rsp": 0x4800})
    if beyond:
        take_debug_registers(dbg)
    watch, here = dbg.watch(0x4000, 4, kind), dbg.break_at(0x1002)
    assert isinstance(dbg.run(timeout=20), BreakpointStop)
    assert isinstance(dbg.run(timeout=20), HaltedStop)
    assert (here.hits, watch.hits, dbg.regs.pc) == (1, 0, 0x1005)


def test_breakpoints_and_watchpoints_together(boot: Boot) -> None:
    dbg = touch(boot, 16)
    take_debug_registers(dbg)
    dbg.break_at(0x1002)
    dbg.break_at(0x1004)
    dbg.watch(0x9000, 1)
    dbg.watch(0x1007, 1)  # on the page of the traps
    reasons = []
    while not isinstance(stop := dbg.run(timeout=20), HaltedStop):
        reasons.append((stop.reason, stop.pc))
    assert reasons == [("breakpoint", 0x1002), ("watchpoint", 0x1004)]


def test_a_symbol_has_its_own_length(boot: Boot) -> None:
    from kvmdbg.machine.image import Symbol

    dbg = touch(boot, 16)
    dbg.symbols.add([Symbol("flag", 0x9000, 1, "object"), Symbol("table", 0x9000, 64, "object")])
    assert dbg.watch("table").length == 64
    assert dbg.watch("*(u32*)0x9000").length == 4
    assert dbg.watch("flag").length == 1


# xor ax, ax; mov ss, ax; mov ds, ax; mov sp, 0x6002; mov word [0x5fff], 0xa2a1; push word 0x1234; hlt
OVERLAPPING = bytes.fromhex("31c0 8ed0 8ed8 bc0260 c706ff5fa1a2 683412 f4")


@pytest.mark.parametrize("kind", ["write", "access"])
@pytest.mark.parametrize(("address", "length"), [(0x5FFF, 2), (0x5FF1, 16)])
def test_the_watched_part_of_an_access(boot: Boot, address: int, length: int, kind: str) -> None:
    """What is told, and what conditions see, is of one range: the push writes 0x6000 and 0x6001."""
    dbg = boot(OVERLAPPING)
    point = dbg.watch(address, length, kind, when="$old == 0xa2 && $new == 0x34")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.address, stop.size, stop.old, stop.new) == (0x6000, 1, b"\xa2", b"\x34")
    assert point.hits == 1


def test_one_hit_of_a_write_across_pages(boot: Boot) -> None:
    dbg = boot(OVERLAPPING)
    point = dbg.watch(0x5FFF, 2)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.address, stop.size, stop.new, point.hits) == (0x5FFF, 2, b"\xa1\xa2", 1)


def test_two_watches_of_one_access(boot: Boot) -> None:
    dbg = boot(OVERLAPPING)
    dbg.physical.write(0x6001, b"\x77\x66\x55\x44")
    dbg.watch(0x5FFF, 2, when="$old == 0xa2 && $new == 0x34")
    dbg.watch(0x6001, 4, when="($old & 0xff) == 0x77 && ($new & 0xff) == 0x12")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert [point.number for point in stop.hits] == [1, 2]
    assert (stop.address, stop.size, stop.old, stop.new) == (0x6000, 1, b"\xa2", b"\x34")


def test_a_part_of_a_short_watch_gives_the_whole_value(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("c606016005 f4"))  # mov byte [0x6001], 5
    dbg.watch(0x6000, 4, when="$old == 0x11223344 && $new == 0x11220544")
    dbg.physical.write(0x6000, (0x11223344).to_bytes(4, "little"))
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.address, stop.size) == (0x6000, 4)


def test_the_watched_part_of_an_access_that_is_decoded_ahead(boot: Boot) -> None:
    """A watch in a page of paging structures steps."""
    dbg = boot(bytes.fromhex("66c7073412 f4"), 64)  # mov word [rdi], 0x1234
    at = dbg.regs.cr3 + 0x800
    dbg.regs.rdi = at - 1
    dbg.watch(at, 2, "access")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.address, stop.size, stop.old, stop.new) == (at, 1, b"\0", b"\x12")


def test_other_memory_in_the_place_of_what_is_watched_is_no_write(boot: Boot) -> None:
    """mov rax, cr3; mov qword [rax+0x2018], 0x83; invlpg [rdi]; add byte [rdi], 3; hlt"""
    dbg = boot(bytes.fromhex("0f20d8 48c7801820000083000000 0f013f 800703 f4"), 64, registers={"rdi": 0x600041})
    dbg.physical.write(0x41, b"\x46")
    dbg.watch(0x600041, 1)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.instruction, stop.old, stop.new) == (0x1011, b"\x46", b"\x49")
    assert isinstance(dbg.run(timeout=20), HaltedStop)
