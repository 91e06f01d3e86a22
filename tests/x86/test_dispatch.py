"""What the delivery of an event changes, or raises instead (Intel SDM volume 2A, INT n; volume 3A, chapter 6)."""

from __future__ import annotations

import pytest

from kvmdbg.x86.change import Change
from kvmdbg.x86.delivery import INT, INT1, INT3, INTERRUPT, INTO, Event, Refused, deliver
from kvmdbg.x86.exceptions import Dispatched, Shutdown, class_of, dispatch, following
from kvmdbg.x86.faults import CR4_SMAP, DE, DF, EFLAGS_AC, GP, NP, PF, SS, TS, UD, Fault
from kvmdbg.x86.modes import EFLAGS_VM
from tests.x86.cpu import Cpu
from tests.x86.states import PAGE_TABLE, descriptor, gate, segment
from tests.x86.test_delivery import prepared

IF, TF, NT, RF, AC = 1 << 9, 1 << 8, 1 << 14, 1 << 16, EFLAGS_AC
ALL_FLAGS = 0x8D5 | 2 | IF | TF | NT | AC
ACCESSED_CODE, ACCESSED_DATA = 11, 3


def changed(cpu: Cpu, event: Event) -> Change:
    found = deliver(cpu.state, event)
    assert isinstance(found, Change), found
    return found


def fault(cpu: Cpu, event: Event) -> tuple[int, int]:
    """Vector and error code of what the delivery raises."""
    found = deliver(cpu.state, event)
    assert isinstance(found, Fault), found
    return found.vector, found.error_code


def frame(change: Change, width: int, *, skip: int = 0) -> list[int]:
    """The words that were pushed, the first of them first; each is below the one before."""
    pushed = change.writes[: len(change.writes) - skip]
    at = pushed[0][0]
    for n, (linear, data) in enumerate(pushed):
        assert (linear, len(data)) == (at - n * width, width)
    return [int.from_bytes(data, "little") for _, data in pushed]


# --- real mode (volume 3A, 20.1.4)


def real() -> Cpu:
    cpu = Cpu("real").set(rip=0x1234, rsp=0xABCD0100, ss_base=0x2000, cs_selector=0x77, cs_base=0x770)
    cpu.ram.put(13 * 4, 0xF0001000, 4)
    return cpu


def test_real_mode_pushes_six_bytes_and_loads_the_vector() -> None:
    found = changed(real().set(rflags=ALL_FLAGS | RF), Event.exception(13, 0x18))
    assert frame(found, 2) == [ALL_FLAGS & 0xFFFF, 0x77, 0x1234]  # no error code
    assert found.writes[0][0] == 0x20FE
    assert found.regs == {"rip": 0x1000, "rsp": 0xABCD00FA, "rflags": ALL_FLAGS & ~(IF | TF | AC)}
    cs = found.segments["cs"]
    assert (cs.selector, cs.base, cs.limit, list(found.segments)) == (0xF000, 0xF0000, 0xFFFF, ["cs"])


def test_real_mode_software_interrupt_returns_behind_it() -> None:
    found = changed(real(), Event.software(13, 0x1236))
    assert frame(found, 2)[2] == 0x1236


def test_real_mode_stack_wraps_at_64_kib() -> None:
    found = changed(real().set(rsp=2), Event.interrupt(13))
    assert [linear for linear, _ in found.writes] == [0x2000, 0x11FFE, 0x11FFC]
    assert found.regs["rsp"] == 0xFFFC


@pytest.mark.parametrize(
    ("changes", "event", "expected"),
    [
        ({"idt_limit": 13 * 4 + 2}, Event.interrupt(13), (GP, 13 << 3 | 2 | 1)),
        ({"idt_limit": 13 * 4 + 2}, Event.software(13, 0), (GP, 13 << 3 | 2)),
        ({"rsp": 5}, Event.interrupt(13), (SS, 1)),
        ({"rsp": 0x100, "ss_limit": 0xFE}, Event.interrupt(13), (SS, 1)),
    ],
)
def test_real_mode_faults(changes: dict[str, int], event: Event, expected: tuple[int, int]) -> None:
    assert fault(real().set(**changes), event) == expected


def test_three_bytes_of_stack_in_real_mode_are_a_shutdown() -> None:
    found = dispatch(real().set(rsp=3).state, Event.exception(UD))
    assert isinstance(found, Shutdown) and [one.vector for one in found.faults] == [SS, SS, SS]


# --- protected mode


@pytest.mark.parametrize(("kind", "width", "flags_left"), [(14, 4, ~IF), (15, 4, ~0), (6, 2, ~IF), (7, 2, ~0)], ids=hex)
def test_gates_of_protected_mode(kind: int, width: int, flags_left: int) -> None:
    cpu = prepared("prot").set(rip=0x12345, rflags=ALL_FLAGS | RF)
    cpu.ram.put(13 * 8, gate(8, 0xA1500, kind))
    found = changed(cpu, Event.exception(13, 0x18))
    mask = (1 << 8 * width) - 1
    assert frame(found, width) == [one & mask for one in (ALL_FLAGS | RF, 8, 0x12345, 0x18)]
    offset = 0xA1500 if width == 4 else 0x1500
    assert found.regs == {
        "rip": offset, "rsp": 0x7000 - 4 * width, "rflags": ALL_FLAGS & ~(TF | NT) & flags_left,
    }  # fmt: skip
    assert list(found.segments) == ["cs"] and found.control == {}


@pytest.mark.parametrize(
    ("event", "code", "rf", "back"),
    [
        (Event.exception(UD), None, RF, 0x1000),
        (Event.exception(GP, 0x18), 0x18, RF, 0x1000),
        (Event.exception(DF), 0, 0, 0x1000),
        (Event.exception(1), None, 0, 0x1000),
        (Event.interrupt(32), None, 0, 0x1000),
        (Event.interrupt(13), None, 0, 0x1000),
        (Event.software(13, 0x1002), None, 0, 0x1002),
        (Event.software(3, 0x1001, INT3), None, 0, 0x1001),
        (Event.software(4, 0x1001, INTO), None, 0, 0x1001),
        (Event.software(1, 0x1001, INT1), None, 0, 0x1001),
        (Event(1, pushes_rf=True), None, RF, 0x1000),
    ],
)
def test_what_is_in_the_frame(event: Event, code: int | None, rf: int, back: int) -> None:
    expected = [2 | rf, 8, back] + ([] if code is None else [code])
    assert frame(changed(prepared("prot"), event), 4) == expected


def test_page_fault_loads_cr2() -> None:
    found = changed(prepared("prot"), Event.exception(PF, 2, 0xDEAD000))
    assert found.control == {"cr2": 0xDEAD000} and frame(found, 4)[3] == 2


def test_inner_handler_gets_the_stack_of_the_tss() -> None:
    cpu = prepared("prot", cpl=3).set(rsp=0x5555, rip=0x1003)
    cpu.entry(8, descriptor(10))  # not accessed yet
    cpu.entry(0x10, descriptor(2, limit=0x7FFFF, flags=0b1101))
    found = changed(cpu, Event.exception(13, 0x18))
    assert found.writes[0] == (0x810 + 5, bytes((0x93,))) and found.writes[-1] == (0x808 + 5, bytes((0x9B,)))
    pushed = [(at, int.from_bytes(data, "little")) for at, data in found.writes[1:-1]]
    assert pushed == [
        (0x5FFC, 0x23), (0x5FF8, 0x5555), (0x5FF4, 2 | RF), (0x5FF0, 0x1B), (0x5FEC, 0x1003), (0x5FE8, 0x18),
    ]  # fmt: skip
    assert found.regs["rsp"] == 0x5FE8
    cs, ss = found.segments["cs"], found.segments["ss"]
    assert (cs.selector, cs.dpl, cs.type, ss.selector, ss.dpl, ss.type) == (8, 0, 11, 0x10, 0, 3)
    assert (ss.limit, ss.g, ss.avl, cs.avl) == (0x7FFFFFFF, 1, 1, 0)


def test_16_bit_tss() -> None:
    cpu = prepared("prot", cpl=3).set(tr_type=3, tr_limit=0x2B)
    cpu.ram.put(0x602, 0x00105000, 4)
    assert changed(cpu, Event.interrupt(32)).regs["rsp"] == 0x5000 - 20
    assert fault(cpu.set(tr_limit=4), Event.interrupt(32)) == (TS, 0x29)


def test_16_bit_stack_keeps_the_upper_half_of_esp() -> None:
    cpu = prepared("prot").set(rsp=0x12340004, ss_db=0)
    found = changed(cpu, Event.interrupt(32))
    assert [linear for linear, _ in found.writes] == [0, 0xFFFC, 0xFFF8] and found.regs["rsp"] == 0x1234FFF8


def test_conforming_handler_keeps_cpl_and_stack() -> None:
    cpu = prepared("prot", cpl=3)
    cpu.entry(8, descriptor(15))
    found = changed(cpu, Event.interrupt(32))
    assert found.segments["cs"].selector == 8 | 3 and "ss" not in found.segments and len(found.writes) == 3


SS0 = "SS0"


@pytest.mark.parametrize(
    ("what", "event", "expected"),
    [
        ({"idt_limit": 13 * 8 + 6}, Event.exception(13), (GP, 13 << 3 | 3)),
        ({"idt_limit": 13 * 8 + 6}, Event.software(13, 0), (GP, 13 << 3 | 2)),
        ({"idt_limit": 13 * 8 + 6}, Event.software(13, 0, INT1), (GP, 13 << 3 | 3)),
        ({"gate": gate(8, 0, 12)}, Event.interrupt(13), (GP, 13 << 3 | 3)),
        ({"gate": gate(8, 0, present=0)}, Event.interrupt(13), (NP, 13 << 3 | 3)),
        ({"gate": gate(8, 0, dpl=2)}, Event.software(13, 0), (GP, 13 << 3 | 2)),
        ({"gate": gate(8, 0, dpl=2)}, Event.software(13, 0, INT3), (GP, 13 << 3 | 2)),
        ({"gate": gate(8, 0, dpl=2, present=0)}, Event.software(13, 0), (GP, 13 << 3 | 2)),  # before it is present
        ({"gate": gate(3, 0)}, Event.interrupt(13), (GP, 1)),
        ({"gate": gate(3, 0, dpl=3)}, Event.software(13, 0), (GP, 0)),
        ({"gate": gate(0x3B, 0)}, Event.interrupt(13), (GP, 0x39)),
        ({"gate": gate(0x34, 0)}, Event.interrupt(13), (GP, 0x35)),  # in the LDT, that is none
        ({"gate": gate(0x30, 0), 0x30: descriptor(3)}, Event.exception(13), (GP, 0x31)),
        ({"gate": gate(0x30, 0), 0x30: descriptor(11, present=0)}, Event.exception(13), (NP, 0x31)),
        ({"gate": gate(8, 0x1500), 8: descriptor(11, limit=0x14FF, flags=4)}, Event.exception(13), (GP, 1)),
        ({"tr_limit": 10}, Event.exception(13), (TS, 0x29)),
        ({SS0: 0}, Event.exception(13), (TS, 1)),
        ({SS0: 3}, Event.exception(13), (TS, 1)),
        ({SS0: 0x11}, Event.exception(13), (TS, 0x11)),  # RPL
        ({SS0: 0x38}, Event.exception(13), (TS, 0x39)),
        ({SS0: 8}, Event.exception(13), (TS, 9)),
        ({SS0: 0x10, 0x10: descriptor(1)}, Event.exception(13), (TS, 0x11)),
        ({SS0: 0x10, 0x10: descriptor(3, dpl=1)}, Event.exception(13), (TS, 0x11)),
        ({SS0: 0x10, 0x10: descriptor(3, present=0)}, Event.exception(13), (SS, 0x11)),
        ({0x10: descriptor(3, limit=0x5FFE, flags=4)}, Event.exception(13), (SS, 0x11)),
        ({0x10: descriptor(7, limit=0x5FE7, flags=4)}, Event.exception(13), None),
        ({0x10: descriptor(7, limit=0x5FE8, flags=4)}, Event.exception(13), (SS, 0x11)),
        ({0x10: descriptor(7, limit=0x5FEB, flags=4)}, Event.interrupt(13), None),  # no error code, 20 bytes
    ],
)
def test_faults_from_cpl_3(what: dict[str | int, int | bytes], event: Event, expected: tuple[int, int] | None) -> None:
    cpu = prepared("prot", cpl=3)
    cpu.ram.put(13 * 8, gate(8, 0x1500, dpl=3))
    for name, value in what.items():
        if isinstance(value, bytes):
            cpu.ram.put(13 * 8, value)
        elif isinstance(name, int):
            cpu.entry(name, value)
        elif name == SS0:
            cpu.ram.put(0x608, value, 4)
        else:
            cpu.set(**{name: value})
    if expected is None:
        changed(cpu, event)
    else:
        assert fault(cpu, event) == expected


@pytest.mark.parametrize(
    ("limit", "event", "expected"),
    [
        (0x6FFF, Event.exception(13), None), (0x6FFE, Event.exception(13), (SS, 1)),
        (0x6FFE, Event.software(13, 0), (SS, 0)),
    ],
)  # fmt: skip
def test_room_on_the_same_stack(limit: int, event: Event, expected: tuple[int, int] | None) -> None:
    cpu = prepared("prot").set(ss_limit=limit)
    assert (None if isinstance(deliver(cpu.state, event), Change) else fault(cpu, event)) == expected


@pytest.mark.parametrize(
    ("selector", "raw", "expected"),
    [
        (0x28, descriptor(9, s=0, limit=0x67, flags=0), None), (0x28, descriptor(1, s=0, flags=0), None),
        (0x28, descriptor(11, s=0, flags=0), (GP, 0x29)),  # busy
        (0x28, descriptor(9, s=0, flags=0, present=0), (NP, 0x29)),
        (0x28, descriptor(11), (GP, 0x29)), (0x2C, descriptor(9, s=0), (GP, 0x2D)), (0x38, 0, (GP, 0x39)),
    ],
)  # fmt: skip
def test_task_gates(selector: int, raw: int, expected: tuple[int, int] | None) -> None:
    cpu = prepared("prot")
    cpu.ram.put(13 * 8, gate(selector, 0, 5))
    cpu.entry(0x28, raw)
    if expected is None:
        found = deliver(cpu.state, Event.exception(13))
        assert isinstance(found, Refused) and "task switches are not done" in found.why
        assert dispatch(cpu.state, Event.exception(13)) == found
    else:
        assert fault(cpu, Event.exception(13)) == expected


# --- virtual-8086 mode (volume 3A, 20.3)


def v86(*, iopl: int = 3, vme: int = 0) -> Cpu:
    cpu = prepared("prot").set(rflags=2 | EFLAGS_VM | iopl << 12 | IF, cr4=vme, rip=0x50, rsp=0xABCD0100)
    for number, name in enumerate(("cs", "ss", "ds", "es", "fs", "gs")):
        value = 0x100 + 0x10 * number
        setattr(cpu.sregs, name, segment(value, 3, base=value << 4, limit=0xFFFF, dpl=3, db=0))
    for vector in range(256):
        cpu.ram.put(0x3000 + vector * 8, gate(8, 0x1500, dpl=3))
    cpu.set(idt_base=0x3000, idt_limit=0x7FF)
    cpu.ram.put(0x21 * 4, 0x05000123, 4)
    return cpu


def test_virtual_8086_mode_pushes_its_data_segments() -> None:
    found = changed(v86(), Event.exception(13, 0))
    assert frame(found, 4) == [
        0x150, 0x140, 0x120, 0x130, 0x110, 0xABCD0100, 2 | EFLAGS_VM | 3 << 12 | IF | RF, 0x100, 0x50, 0,
    ]  # fmt: skip
    assert found.regs == {"rip": 0x1500, "rsp": 0x6000 - 40, "rflags": 2 | 3 << 12}
    assert all(found.segments[name].unusable and not found.segments[name].selector for name in ("ds", "es", "fs", "gs"))
    assert found.segments["cs"].selector == 8 and found.segments["ss"].selector == 0x10


def test_virtual_8086_mode_leads_to_ring_0_only() -> None:
    cpu = v86()
    for raw in (descriptor(11, dpl=3), descriptor(15), descriptor(11, dpl=1)):
        cpu.entry(8, raw)
        assert fault(cpu, Event.interrupt(32)) == (GP, 9)


def test_int_n_in_virtual_8086_mode_needs_iopl_3() -> None:
    assert fault(v86(iopl=2), Event.software(0x21, 0x52)) == (GP, 0)
    assert changed(v86(iopl=2), Event.software(3, 0x51, INT3)).regs["rip"] == 0x1500
    assert changed(v86(iopl=2), Event.interrupt(0x21)).regs["rip"] == 0x1500
    assert changed(v86(iopl=3), Event.software(0x21, 0x52)).regs["rip"] == 0x1500


@pytest.mark.parametrize(
    ("iopl", "redirected", "flags", "pushed", "left"),
    [
        (3, True, IF | TF, IF | TF | 3 << 12, 3 << 12), (0, True, IF | TF, TF | 3 << 12, IF),
        (0, True, 1 << 19, IF | 3 << 12, 0),
        (3, False, IF, None, None), (0, False, IF, (GP, 0), None),
    ],
)  # fmt: skip
def test_redirection_of_vme(
    iopl: int, redirected: bool, flags: int, pushed: int | tuple[int, int] | None, left: int | None
) -> None:
    cpu = v86(iopl=iopl, vme=1).set(rflags=2 | EFLAGS_VM | iopl << 12 | flags, tr_limit=0xFF)
    cpu.ram.put(0x600 + 102, 0x90, 2)
    cpu.ram.put(0x600 + 0x90 - 32 + 0x21 // 8, (0xFF, 0xFF & ~(1 << 0x21 % 8))[redirected], 1)
    event = Event.software(0x21, 0x52)
    if isinstance(pushed, tuple):
        assert fault(cpu, event) == pushed
    elif pushed is None:
        assert changed(cpu, event).regs["rip"] == 0x1500
    else:
        found = changed(cpu, event)
        assert frame(found, 2) == [2 | pushed, 0x100, 0x52] and found.writes[0][0] == 0x1100 + 0xFE
        assert left is not None and found.regs["rflags"] == 2 | EFLAGS_VM | left
        assert (found.regs["rip"], found.segments["cs"].base) == (0x123, 0x5000)


def test_redirection_that_the_tss_has_no_room_for() -> None:
    """Its bit map lies behind the limit, or would before the TSS: the gate is used, which takes IOPL 3."""
    for map_base, limit in ((0x90, 0x70), (0x10, 0xFF)):
        cpu = v86(iopl=3, vme=1).set(rflags=2 | EFLAGS_VM | 3 << 12, tr_limit=limit)
        cpu.ram.put(0x600 + 102, map_base, 2)
        assert changed(cpu, Event.software(0x21, 0x52)).regs["rip"] == 0x1500


# --- long mode (volume 3A, 6.14)


def test_long_mode_pushes_the_stack_always_and_aligns() -> None:
    cpu = prepared("long").set(rsp=0x7009, rip=0x1003, rflags=ALL_FLAGS)
    found = changed(cpu, Event.exception(13, 0x18))
    assert frame(found, 8) == [0x10, 0x7009, ALL_FLAGS | RF, 8, 0x1003, 0x18] and found.writes[0][0] == 0x6FF8
    assert found.regs == {"rip": 0x1500, "rsp": 0x7000 - 48, "rflags": ALL_FLAGS & ~(IF | TF | NT)}
    assert "ss" not in found.segments


def test_long_mode_from_cpl_3_has_a_null_ss() -> None:
    cpu = prepared("long", cpl=3)
    cpu.ram.put(0x604, 0x5008, 8)
    cpu.ram.put(0x3A00 + 32 * 16, gate(8, 0x1500, 15, wide=True))
    found = changed(cpu.set(rflags=2 | IF), Event.interrupt(32))
    assert frame(found, 8) == [0x23, 0x7000, 2 | IF, 0x1B, 0x1000]
    assert found.regs == {"rip": 0x1500, "rsp": 0x5000 - 40, "rflags": 2 | IF}  # a trap gate
    ss = found.segments["ss"]
    assert (ss.selector, ss.unusable, ss.dpl, found.segments["cs"].selector) == (0, 1, 0, 8)


def test_interrupt_stack_table() -> None:
    cpu = prepared("long")
    cpu.ram.put(0x600 + 28 + 8 * 3, 0x5000, 8)
    cpu.ram.put(0x3A00 + 14 * 16, gate(8, 0x1500, ist=3, wide=True))
    found = changed(cpu, Event.exception(PF, 2, 0x123))
    assert found.regs["rsp"] == 0x5000 - 48 and found.control == {"cr2": 0x123} and "ss" not in found.segments


def test_compatibility_mode_is_left() -> None:
    cpu = prepared("long").set(cs_l=0, cs_db=1)
    found = changed(cpu, Event.interrupt(32))
    assert found.segments["cs"].l == 1 and len(found.writes) == 5


@pytest.mark.parametrize(
    ("changes", "raw", "expected"),
    [
        ({"idt_limit": 13 * 16 + 14}, gate(8, 0x1500, wide=True), (GP, 13 << 3 | 3)),
        ({}, gate(8, 0x1500, 6, wide=True), (GP, 13 << 3 | 3)),
        ({}, gate(0x10, 0x1500, wide=True), (GP, 0x11)),
        ({}, gate(8, 1 << 47, wide=True), (GP, 1)),
        ({"rsp": 1 << 62}, gate(8, 0x1500, wide=True), (SS, 1)),
        ({"tr_limit": 90}, gate(8, 0x1500, ist=7, wide=True), (TS, 0x29)),
        ({"rsp": 0xFFFF800000000000}, gate(8, 0x1500, wide=True), (SS, 1)),
        ({"rsp": 0x30000}, gate(8, 0x1500, wide=True), (PF, 2)),
    ],
)
def test_faults_in_long_mode(changes: dict[str, int], raw: bytes, expected: tuple[int, int]) -> None:
    cpu = prepared("long").set(**changes)
    cpu.ram.put(0x3A00 + 13 * 16, raw)
    assert fault(cpu, Event.exception(13)) == expected


def test_stack_of_another_ring_is_read_in_spite_of_smap() -> None:
    """EFLAGS.AC frees an explicit access from CR4.SMAP, and none of the CPU's own (volume 3A, 4.6.1)."""
    user, kernel = 7, 3
    cpu = prepared("long", cpl=3)
    for page in range(32):
        cpu.page(page << 12, page << 12 | (user if page == 5 else kernel))
    cpu.ram.put(0x604, 0x5800, 8)
    event = Event.interrupt(32)
    changed(cpu, event)
    assert fault(cpu.set(cr4=cpu.sregs.cr4 | CR4_SMAP, rflags=2 | AC), event) == (PF, 3)
    inner = prepared("long").set(rsp=0x5800, rflags=2 | AC)
    for page in range(32):
        inner.page(page << 12, page << 12 | (user if page == 5 else kernel))
    inner.set(cr4=inner.sregs.cr4 | CR4_SMAP)
    changed(inner, event)
    assert fault(inner.set(rflags=2), event) == (PF, 3)


# --- a change is done


def test_change_is_applied() -> None:
    cpu = prepared("prot", cpl=3)
    changed(cpu, Event.exception(PF, 2, 0x1234)).apply(cpu.regs, cpu.sregs, cpu.ram.put)
    assert (cpu.regs.rip, cpu.regs.rsp, cpu.sregs.cr2) == (0x1500, 0x6000 - 24, 0x1234)
    assert (cpu.sregs.cs.selector, cpu.sregs.ss.selector, cpu.sregs.ss.dpl, cpu.state.cpl) == (8, 0x10, 0, 0)
    assert cpu.ram.read(0x6000 - 24, 4) == b"\2\0\0\0"


def test_physical_writes_have_accessed_and_dirty_bits_and_stay_in_a_page() -> None:
    cpu = prepared("long").set(rsp=0x7010)
    cpu.page(0x7000, 0x9000 | 7)  # the frame's top lies elsewhere than its rest
    state = cpu.state
    writes = changed(cpu, Event.exception(13, 0x18)).physical_writes(state)
    entries = {at: int.from_bytes(data, "little") for at, data in writes if PAGE_TABLE <= at < PAGE_TABLE + 0x1000}
    assert entries == {
        PAGE_TABLE + 8 * 3: 0x3027, PAGE_TABLE: 0x27,  # IDT and GDT are read
        PAGE_TABLE + 8 * 6: 0x6067, PAGE_TABLE + 8 * 7: 0x9067,
    }  # fmt: skip
    assert {at: data[0] for at, data in writes if 0x10000 <= at < PAGE_TABLE} == {0x10000: 0x27, 0x11000: 0x27,
                                                                                   0x12000: 0x27}  # fmt: skip
    pieces = [(at, int.from_bytes(data, "little")) for at, data in writes if at < 0x10000]
    assert pieces == [
        (0x9008, 0x10), (0x9000, 0x7010), (0x6FF8, 2 | RF), (0x6FF0, 8), (0x6FE8, 0x1000), (0x6FE0, 0x18),
    ]  # fmt: skip


# --- double and triple faults (volume 3A, 6.15, interrupt 8)

BENIGN = [Event.exception(1), Event.exception(UD), Event.interrupt(13), Event.software(14, 0), Event.interrupt(2),
          Event.software(13, 0, INT)]  # fmt: skip


def test_classes() -> None:
    assert {class_of(one) for one in BENIGN} == {"benign"}
    assert {class_of(Event.exception(vector)) for vector in (DE, TS, NP, SS, GP, 21)} == {"contributory"}
    assert {class_of(Event.exception(vector)) for vector in (PF, 20)} == {"page fault"}
    assert Event.interrupt(13).kind == INTERRUPT


@pytest.mark.parametrize("second", [TS, NP, SS, GP, PF])
def test_what_follows(second: int) -> None:
    raised = Fault(second, "", 0x1234 if second == PF else None, error_code=0x19)
    itself = Event.exception(second, 0x19, raised.address)
    double = Event.exception(DF)
    for first in BENIGN:
        assert following(first, raised) == itself
    assert following(Event.exception(GP), raised) == (itself if second == PF else double)
    assert following(Event.exception(PF), raised) == double
    assert following(double, raised) is None


def test_fault_of_a_delivery_is_delivered_in_its_place() -> None:
    cpu = prepared("prot").set(rip=0x1000)
    cpu.ram.put(0x40 * 8, bytes(8))
    found = dispatch(cpu.state, Event.software(0x40, 0x1002))
    assert isinstance(found, Dispatched) and found.event == Event.exception(GP, 0x40 << 3 | 2)
    assert frame(found.change, 4) == [2 | RF, 8, 0x1000, 0x40 << 3 | 2]  # a fault: back to the INT
    assert [one.vector for one in found.faults] == [GP]


def test_double_fault_is_delivered() -> None:
    cpu = prepared("prot")
    cpu.ram.put(13 * 8, bytes(8))
    found = dispatch(cpu.state, Event.exception(GP, 0x18))
    assert isinstance(found, Dispatched) and found.event.vector == DF and frame(found.change, 4) == [2, 8, 0x1000, 0]


def test_triple_fault() -> None:
    cpu = prepared("long").set(rsp=0x30000)
    found = dispatch(cpu.state, Event.exception(PF, 0, 0x1234))
    assert isinstance(found, Shutdown)
    assert [one.vector for one in found.faults] == [PF, PF] and found.control == {"cr2": 0x2FFF8}


def test_page_fault_in_a_delivery_keeps_its_address() -> None:
    cpu = prepared("long").set(rsp=0x30000)
    cpu.ram.put(0x600 + 36, 0x5000, 8)
    cpu.ram.put(0x3A00 + 14 * 16, gate(8, 0x1500, ist=1, wide=True))
    found = dispatch(cpu.state, Event.exception(UD))
    assert isinstance(found, Dispatched) and found.event.vector == PF and found.change.control == {"cr2": 0x2FFF8}
    assert frame(found.change, 8)[-1] == 2
