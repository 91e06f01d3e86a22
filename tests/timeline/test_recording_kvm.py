"""What is recorded of a guest makes a fresh one of the same image do the same, register by register at every exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg import Session
from kvmdbg.engine import stops
from kvmdbg.errors import NotSupportedHere, SessionStateError, UsageError
from kvmdbg.record import replace
from kvmdbg.timeline.log import Access, Arrival, Kick, Log, Poke

pytestmark = pytest.mark.kvm

GUESTS = Path(__file__).resolve().parents[2] / "guests"
ECHO = bytes.fromhex("e464 a801 74fa e460 e6e9 a20050 fe060150 ebed")
"""again: in al, 0x64; test al, 1; jz again; in al, 0x60; out 0xe9, al; mov [0x5000], al; inc byte [0x5001];
jmp again"""
Open = Callable[..., Session]
States = list[dict[str, int]]


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Open]:
    """Sessions on a guest that sends the keyboard's scan codes to port 0xE9, for ever."""
    path = tmp_path / "echo.bin"
    path.write_bytes(ECHO)
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(
            kvmdbg.open(path, format="flat", load=0x1000, memory="1M", **options)
        )


def states_of(dbg: Session) -> States:
    """Gets all registers at each exit from now on."""
    states: States = []

    @dbg.on.exit("any", when="before")
    def note(event: kvmdbg.engine.hook_calls.Event) -> None:  # type: ignore[name-defined]
        states.append(event.regs.snapshot())

    return states


def replayed(dbg: Session, log: Log) -> States:
    states = states_of(dbg)
    stop = dbg.replay(log)
    assert isinstance(stop, stops.ReplayedStop), stop.describe()
    assert log.end is not None
    assert stop.pc == log.end.pc
    return states


def typed(dbg: Session) -> tuple[Log, States]:
    """A run with two keys and a change of memory and registers in between, at a place that no exit marks."""
    states = states_of(dbg)
    with dbg.record() as log:
        dbg.run(exits=10)
        dbg.press("a")
        dbg.run(exits=2)
        point = dbg.break_at(0x100A)  # mov [0x5000], al
        dbg.run()
        dbg.breakpoints.discard(point)
        dbg.step()
        dbg.physical.write(0x5001, b"\x40")
        dbg.regs.rbx = 0x1234
        dbg.press("b")
        dbg.run(exits=12)
    return log, states


def test_keys_and_a_change(echo: Open) -> None:
    first, second = echo(), echo()
    log, states = typed(first)
    assert [one.data for one in log.entries if isinstance(one, Arrival) and one.how == "press"] == ["a", "b"]
    (poke,) = (one for one in log.entries if isinstance(one, Poke))
    assert set(poke.change.vcpu) == {"regs"}
    assert [address for address, _ in poke.change.memory] == [0x5000]
    assert replayed(second, log) == states
    assert second.physical.read(0, 0x100000) == first.physical.read(0, 0x100000)
    assert second.regs.snapshot() == first.regs.snapshot()
    assert second.regs.rbx == 0x1234
    assert second.output == first.output
    ours, theirs = (dict(dbg.machine.bus.save()) for dbg in (second, first))
    del ours["cmos"], theirs["cmos"]  # each has the date of its own start
    assert ours == theirs


def test_a_stop_alone_changes_nothing(echo: Open) -> None:
    first = echo()
    with first.record() as log:
        for _ in range(3):
            first.run(exits=2)
        first.step(5)
    assert not any(isinstance(one, Poke) for one in log.entries)
    assert sum(isinstance(one, Kick) for one in log.entries) == 5  # the last one at the end


def test_what_has_arrived_and_was_not_read(echo: Open) -> None:
    first, second = echo(), echo()
    with first.record() as log:
        first.run(exits=2)
        first.press("a")
        first.uart.feed(b"unread")
    replayed(second, log)
    assert second.devices[0].save() == first.devices[0].save()
    second.run(exits=4)
    assert second.memory[0x5000] == 0x1E


def test_all_is_as_before_when_recording_and_replaying_end(echo: Open) -> None:
    first, second = echo(), echo()
    log, _ = typed(first)
    first.hooks.remove("note")
    second.replay(log)
    for dbg in (first, second):
        dbg.run(exits=3)
        assert not dbg.judge.observes_port(0xE9, 1)
        assert not dbg.judge.observed


def test_memory_tells_moments_apart_whose_registers_are_the_same(boot: Open) -> None:
    """again: inc word [0x5000]; cmp ax, ax; jmp again"""
    first, second = (boot(bytes.fromhex("ff060050 39c0 ebf8")) for _ in range(2))
    with first.record() as log:
        point = first.break_at(0x1006, when="*(u16*)0x5000 == 5")
        first.run()
        first.physical.write(0x5000, b"\x10")
        point.enabled = False
        first.break_at(0x1006, when="*(u16*)0x5000 == 0x13")
        first.run()
    replayed(second, log)
    assert second.memory[0x5000] == 0x13


def test_what_has_no_place_in_the_run_makes_a_recording_that_is_refused(echo: Open) -> None:
    first = echo()
    with first.record() as log:
        first.resume()
        first.physical.write(0x6000, b"late")
        first.interrupt()
    with pytest.raises(UsageError, match="memory was written while the guest ran"):
        echo().replay(log)
    other = echo()
    other.on.insn(0x100A, name="writer")(lambda event: event.memory.write(0x6000, b"here"))
    with other.record() as log:
        other.press("a")
        other.run(exits=8)
    with pytest.raises(UsageError, match="a hook has changed memory elsewhere"):
        echo().replay(log)


def test_it_goes_on_live_from_the_end(echo: Open) -> None:
    first, second = echo(), echo()
    log, _ = typed(first)
    second.replay(log)
    second.press("c")
    first.press("c")
    first.run(exits=30)
    second.run(exits=30)
    assert second.regs.snapshot() == first.regs.snapshot()
    assert second.physical.read(0x5000, 2) == first.physical.read(0x5000, 2)


def test_another_input_is_told_where_it_shows(echo: Open) -> None:
    log, _ = typed(echo())
    at = next(n for n, one in enumerate(log.entries) if isinstance(one, Access) and one.value == 0x1E)  # "a"
    entry = log.entries[at]
    assert isinstance(entry, Access)
    log.entries[at] = replace(entry, value=0x1F)
    stop = echo().replay(log)
    assert isinstance(stop, stops.DivergedStop)
    before = sum(isinstance(one, Access) for one in log.entries[: at + 1])
    assert (stop.at.accesses, stop.wanted, stop.got) == (
        before, "out port 0xe9, 1 byte, value 0x1e", "out port 0xe9, 1 byte, value 0x1f"
    )  # fmt: skip


def test_other_registers_are_told_at_the_next_access(echo: Open) -> None:
    log, _ = typed(echo())
    at = next(n for n, one in enumerate(log.entries) if isinstance(one, Poke))
    entry = log.entries[at]
    assert isinstance(entry, Poke)
    log.entries[at] = replace(entry, change=replace(entry.change, vcpu={}))
    stop = echo().replay(log)
    assert isinstance(stop, stops.DivergedStop)
    assert stop.at.accesses == entry.at.accesses
    assert "other registers" in stop.got


def test_what_hooks_answer_and_change(echo: Open) -> None:
    first, second = echo(), echo()
    states = states_of(first)

    @first.on.io_in(port=0x60, when="before")
    def answer(event: kvmdbg.engine.hook_calls.Event) -> int:  # type: ignore[name-defined]
        event.memory.write(0x6000, b"seen")
        event.regs.rcx = 77
        return 0x33

    with first.record() as log:
        first.press("a")
        first.run(exits=12)
    assert replayed(second, log) == states
    assert (second.regs.rcx, second.memory.read(0x6000, 4), second.memory[0x5000]) == (77, b"seen", 0x33)


def test_nothing_else_comes_in_meanwhile(echo: Open) -> None:
    log, _ = typed(echo())
    second = echo()
    point = second.break_at(0x100A)
    stop = second.replay(log)
    assert isinstance(stop, stops.BreakpointStop)
    with pytest.raises(UsageError, match="nothing else can come in"):
        second.press("x")
    with pytest.raises(SessionStateError), second.record():
        pass
    second.breakpoints.discard(point)
    assert isinstance(second.replay(log), stops.ReplayedStop)


def test_only_from_where_it_began(echo: Open) -> None:
    log, _ = typed(echo())
    second = echo()
    second.regs.rdx = 5
    with pytest.raises(UsageError, match="does not stand where the recording began"):
        second.replay(log)


def test_a_restart_spoils_it(echo: Open) -> None:
    first = echo()
    with first.record() as log:
        first.run(exits=3)
        first.restart()
    with pytest.raises(UsageError, match="was restarted"):
        first.replay(log)


def test_controllers_in_the_kernel_are_refused(echo: Open) -> None:
    with pytest.raises(NotSupportedHere, match="where kvmdbg does not see them"), echo(irqchip=True).record():
        pass


def test_going_back_while_recorded(echo: Open) -> None:
    first, second = echo(), echo()
    states = states_of(first)
    with first.record() as log:
        first.press("a")
        first.run(exits=4)
        first.snapshots.save("here")
        first.run(exits=5)
        first.snapshots.restore("here")
        first.run(exits=6)
        first.snapshots.restore("here")
    assert replayed(second, log) == states
    assert second.regs.snapshot() == first.regs.snapshot()
    ours, theirs = (dict(dbg.machine.bus.save()) for dbg in (second, first))
    del ours["cmos"], theirs["cmos"]  # each has the date of its own start
    assert ours == theirs


def test_a_change_where_a_kick_landed(echo: Open) -> None:
    first, second = echo(), echo()
    with first.record() as log:
        first.run(timeout=0.1)
        first.physical.write(0x5001, b"\x77")
        first.run(exits=3)
        first.run(timeout=0.1)
    assert log.accesses > 3
    replayed(second, log)
    assert second.regs.snapshot() == first.regs.snapshot()
    assert second.physical.read(0x5000, 2) == first.physical.read(0x5000, 2)


OWN_TRAP = bytes.fromhex("31c0 8ed8 8ed0 bc0070 c70604002010 c70606000000 680203 9d 40 41 680202 9d f4 fe060050 cf")
"""A handler of #DB, which counts at 0x5000; popf sets EFLAGS.TF: inc ax; inc cx; push; popf; hlt."""


@pytest.mark.parametrize("count", range(8, 18))
def test_a_change_where_the_guest_steps_itself(boot: Open, count: int) -> None:
    """No breakpoint comes to where its #DB waits."""
    first, second = boot(OWN_TRAP), boot(OWN_TRAP)
    with first.record() as log:
        first.step(count)
        behind_inc_ax = first.regs.pc == 0x101A and first.physical.read(0x5000, 1) == b"\0"  # 8 or 9 steps: mov ss
        first.physical.write(0x5001, b"\x77")
        first.regs.rbx = 0x1234
        first.run()
    assert not behind_inc_ax or [one.at.waits for one in log.entries if isinstance(one, Poke)] == [True]
    replayed(second, log)
    assert second.regs.snapshot() == first.regs.snapshot()
    assert second.physical.read(0x5000, 2) == first.physical.read(0x5000, 2) == b"\x04\x77"


@pytest.mark.parametrize("count", [4, 5])
def test_a_change_inside_a_repeated_instruction(boot: Open, count: int) -> None:
    """mov cx, 3000; mov di, 0x5000; cld; rep stosb, of which a step does a part; hlt"""
    code = bytes.fromhex("b9b80b bf0050 fc f3aa f4")
    first, second = boot(code), boot(code)
    with first.record() as log:
        first.step(count)
        assert 0 < first.regs.rcx < 3000
        first.regs.rax = 0x99
        first.run()
    replayed(second, log)
    assert second.physical.read(0x5000, 3000) == first.physical.read(0x5000, 3000)
    assert second.physical.read(0x5BB7, 1) == b"\x99"


def test_a_change_where_an_iret_has_set_the_resume_flag(boot: Open) -> None:
    """There no breakpoint in a debug register fires.

    mov sp, 0x7000; push dword 0x10002; push dword 0; push dword 0x1015; o32 iret; nop; inc bx; hlt"""
    code = bytes.fromhex("bc0070 666802000100 666a00 666815100000 66cf 90 43 f4")
    first, second = boot(code), boot(code)
    with first.record() as log:
        first.step(5)
        assert first.regs.pc == 0x1015
        first.regs.rbx = 0x1234
        first.run()
    replayed(second, log)
    assert second.regs.rbx == first.regs.rbx == 0x1235


def test_a_guest_that_halts_for_ever(boot: Open) -> None:
    """hlt; jmp to it"""
    first, second = (boot(bytes.fromhex("f4 ebfd")) for _ in range(2))
    with first.record() as log:
        for _ in range(3):
            first.run()
        first.regs.rax = 5
        first.run()
    replayed(second, log)
    assert second.regs.rax == 5
    assert log.end is not None
    log.end = replace(log.end, registers=b"others")
    second.restart()
    stop = second.replay(log)
    assert isinstance(stop, stops.DivergedStop)
    assert stop.got == "nothing: it halts again and again"


def test_boot16_with_a_change_behind_a_breakpoint() -> None:
    """It makes no exit at all: where it was stopped is found by its state."""
    boot16 = partial(kvmdbg.open, GUESTS / "boot16.bin", irqchip="none")
    with boot16() as first, boot16() as second:
        counter = 0x7C28
        where = next(at for at in range(0x7C00, 0x7C30) if first.physical.read(at, 1) == b"\xc3")
        with first.record() as log:
            first.press("a")
            first.break_at(where, when="$ecx == 30")
            first.run()
            first.physical.write(counter + 0x100, b"changed")
            first.regs.rcx = 1000
            first.break_at(where, when="$ecx == 1020")
            first.run()
            first.step(3)
        assert any(isinstance(one, Poke) for one in log.entries)
        assert log.accesses == 0
        replayed(second, log)
        assert second.regs.snapshot() == first.regs.snapshot()
        assert second.physical.read(0, 0x10000) == first.physical.read(0, 0x10000)


@pytest.mark.parametrize("optimized", ["O0", "O2"])
def test_the_kernel(optimized: str) -> None:
    image = GUESTS / f"kernel-{optimized}.elf"
    with kvmdbg.open(image) as first, kvmdbg.open(image) as second:
        states = states_of(first)
        with first.record() as log:
            first.run(exits=5)
            first.press("a")
            first.uart.feed(b"hello")
            point = first.break_at("shrink")
            first.run(timeout=20)
            first.breakpoints.discard(point)
            first.physical.write(first.symbols["pages_given"] + 0x800, b"\x55")
            first.run(timeout=20)
        assert {type(one) for one in log.entries} == {Access, Arrival, Kick, Poke}
        assert replayed(second, log) == states
        assert second.output == first.output
        assert second.regs.snapshot() == first.regs.snapshot()


def test_the_time_stamp_counter_where_it_is_looked_at(boot: Open) -> None:
    """again: rdtsc; mov si, ax; xor eax, eax; cpuid; out 0x80, al; jmp again"""
    first, second = (boot(bytes.fromhex("0f31 89c6 6631c0 0fa2 e680 ebf3")) for _ in range(2))
    first.catch("rdtsc").enabled = True
    first.on.cpuid(when="before")(lambda event: (1, 2, 3, 4))
    with first.record() as log:
        for _ in range(3):
            first.run(exits=5)
        first.run(exits=1)
    assert [one.what for one in log.entries if isinstance(one, Access)][:2] == ["rdtsc", "cpuid leaf 0x0, sub-leaf 0x0"]
    replayed(second, log)
    assert second.regs.snapshot() == first.regs.snapshot()
    assert second.regs.rbx == 2


def test_the_time_stamp_counter_that_nobody_looks_at(boot: Open) -> None:
    """again: rdtsc; out 0x80, al; jmp again"""
    first, second = (boot(bytes.fromhex("0f31 e680 ebfa")) for _ in range(2))
    with first.record() as log:
        first.run(exits=50)
    stop = second.replay(log)
    assert isinstance(stop, stops.DivergedStop)


def test_mmio_strings_msrs_and_a_device_that_fails(boot: Open) -> None:
    """mov esi, [0x80000000]; mov edi, 0x3000; mov ecx, 4; mov edx, 0x60; rep insb; mov ecx, 0x1234; rdmsr;
    mov [0x80000000], eax; mov esi, 0x3000; mov ecx, 3; mov edx, 0xe9; rep outsb; in al, 0x71; hlt"""
    code = bytes.fromhex(
        "8b3500000080 bf00300000 b904000000 ba60000000 f36c b934120000 0f32 a300000080"
        "be00300000 b903000000 bae9000000 f36e e471 f4"
    )
    first, second = (boot(code, 32) for _ in range(2))
    first.on.mmio_read(0x80000000, when="before")(lambda event: 0x12345678)
    first.on.msr_read(0x1234, when="before")(lambda event: 0xABCD)
    cmos = next(device for device in first.devices if device.name == "cmos")
    cmos.read = lambda offset, size: 1 // 0  # type: ignore[method-assign]
    with first.record() as log:
        first.press("a")
        assert isinstance(first.run(), stops.ErrorStop)
        assert isinstance(first.run(), stops.HaltedStop)
    assert first.regs.esi == 0x3003
    second.on.msr_read(0x1234)(lambda event: None)  # has KVM exit there
    seen: list[stops.Stop] = []
    second.listeners.on_stop(seen.append)
    assert isinstance(second.replay(log), stops.ReplayedStop)
    assert any("device cmos failed" in stop.describe() for stop in seen)
    assert second.regs.snapshot() == first.regs.snapshot()
    assert second.memory.read(0x3000, 4) == first.memory.read(0x3000, 4) == b"\x1e\x9e\x9e\x9e"
