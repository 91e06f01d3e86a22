"""Why an exception cannot be delivered (Intel SDM volume 3A, 6)."""

from __future__ import annotations

import pytest

from kvmdbg.x86.delivery import delivery_fault
from kvmdbg.x86.faults import CR0_WP, DF, GP, NP, PF, SS, TS, Fault
from tests.x86.cpu import EXPAND_DOWN, KERNEL_RIGHTS, LONG_CODE, Cpu
from tests.x86.states import descriptor, gate


def prepared(mode: str, *, cpl: int = 0) -> Cpu:
    """Every gate of the IDT leads to code at 0x1500."""
    cpu = Cpu(mode, cpl=cpl)
    wide = mode == "long"
    for vector in range(64 if wide else 128):
        cpu.ram.put(vector * (16 if wide else 8), gate(8, 0x1500, wide=wide))
    if wide:
        cpu.ram.put(0x3A00, cpu.ram.data[:0x400])  # beside the GDT at 0x800
        cpu.set(idt_base=0x3A00, idt_limit=0x3FF)
    cpu.ram.put(0x604, 0x6000, 8)
    if not wide:
        cpu.ram.put(0x608, 0x10, 4)  # SS0 is behind ESP0
    return cpu


@pytest.mark.parametrize("mode", ["real", "prot", "long"])
def test_what_can_be_delivered(mode: str) -> None:
    for vector in (0, 6, 13, 14, 32):
        assert prepared(mode).delivery(vector) is None


@pytest.mark.parametrize(
    ("mode", "vector", "limit", "allowed"),
    [
        ("prot", 13, 0x6F, True), ("prot", 13, 0x6E, False), ("prot", 0, 7, True), ("prot", 0, 6, False),
        ("long", 13, 0xDF, True), ("long", 13, 0xDE, False), ("real", 13, 0x37, True), ("real", 13, 0x36, False),
    ],
)  # fmt: skip
def test_limit_of_the_idt(mode: str, vector: int, limit: int, allowed: bool) -> None:
    cpu = prepared(mode).set(idt_limit=limit)
    found = cpu.delivery(vector)
    if allowed:
        assert found is None
    else:
        what = f"entry {vector} of the interrupt table" if mode == "real" else f"gate {vector} of the IDT"
        base = f"base {cpu.sregs.idt.base:#x}, limit {limit:#x}"
        assert found == (GP, f"{what} is beyond its limit: {base}")


@pytest.mark.parametrize(
    ("sp", "allowed"), [(0, True), (1, False), (2, True), (3, False), (4, True), (5, False), (6, True), (7, True)]
)
def test_stack_of_real_mode(sp: int, allowed: bool) -> None:
    found = prepared("real").set(rsp=0x10000 | sp).delivery(6)
    assert found == (None if allowed else (SS, f"the stack pointer {sp:#x} leaves no room for a frame of 6 bytes"))


GATE_6 = "gate 6 of the IDT (at 0x30: {:#x})"


@pytest.mark.parametrize(
    ("raw", "cpl", "software", "vector", "why"),
    [
        (bytes(8), 0, False, GP, "is empty"),
        (gate(8, 0x1500, 12), 0, False, GP, "is malformed: type 0xc is call gate"),
        (gate(8, 0x1500, 9), 0, False, GP, "is malformed: type 0x9 is TSS (available)"),
        (gate(8, 0x1500, 14 | 16), 0, False, GP, "is malformed: type 0xe is interrupt gate"),  # S is set
        (gate(8, 0x1500, present=0), 0, False, NP, "is not present"),
        (gate(8, 0x1500, dpl=2), 3, True, GP, "has DPL 2: an INT at CPL 3 may not use it"),
        (gate(8, 0x1500, dpl=3), 3, True, -1, ""), (gate(8, 0x1500, dpl=0), 3, False, -1, ""),
        (gate(8, 0x1500, dpl=0), 0, True, -1, ""),
        *((gate(8, 0x1500, kind), 0, False, -1, "") for kind in (6, 7, 14, 15)),
        (gate(0x28, 0, 5), 0, False, -1, ""),  # a task gate
    ],
)  # fmt: skip
def test_gates(raw: bytes, cpl: int, software: bool, vector: int, why: str) -> None:
    cpu = prepared("prot", cpl=cpl)
    cpu.ram.put(6 * 8, raw)
    found = cpu.delivery(6, software)
    assert found == (None if vector < 0 else (vector, f"{GATE_6.format(int.from_bytes(raw, 'little'))} {why}"))


@pytest.mark.parametrize("kind", [5, 6, 7, 12])
def test_gates_of_long_mode_are_two(kind: int) -> None:
    cpu = prepared("long")
    cpu.ram.put(0x3A00 + 6 * 16, gate(8, 0x1500, kind, wide=True))
    found = cpu.delivery(6)
    assert found is not None and found[0] == GP and f"is malformed: type {kind:#x}" in found[1]
    cpu.ram.put(0x3A00 + 6 * 16, gate(8, 0x1500, 15, wide=True))
    assert cpu.delivery(6) is None


def test_idt_that_is_not_there() -> None:
    cpu = prepared("long")
    cpu.page(0x3000, 0)
    vector, why = cpu.delivery(6) or (0, "")
    assert vector == PF and why.startswith("gate 6 of the IDT lies at 0x3a60, which is not mapped: reading 0x3a60: ")
    away = prepared("prot").set(idt_base=0x20000).delivery(6)
    assert away is not None and away[0] == GP and "gate 6 of the IDT lies at 0x20030, where no memory is" in away[1]


def test_the_cpu_reads_its_idt_as_supervisor() -> None:
    cpu = prepared("long", cpl=3)
    for page in range(32):
        cpu.page(page << 12, page << 12 | KERNEL_RIGHTS)
    assert cpu.delivery(6) is None


@pytest.mark.parametrize(
    ("mode", "selector", "entry", "offset", "cpl", "fault"),
    [
        ("prot", 0, None, 0x1500, 0, (GP, "that is the null selector")),
        ("prot", 3, None, 0x1500, 0, (GP, "that is the null selector")),
        ("prot", 0x38, None, 0x1500, 0, (GP, "it is beyond the GDT's limit, 0x37")),
        ("prot", 0x30, descriptor(3), 0x1500, 0, (GP, "that is no code segment but data, read/write, DPL 0")),
        ("prot", 0x30, descriptor(11, present=0), 0x1500, 0, (NP, "that segment is not present")),
        ("prot", 0x30, descriptor(11, dpl=3), 0x1500, 0, (GP, "that segment's DPL 3 is below the CPU's privilege 0")),
        ("prot", 0x30, descriptor(11, dpl=3), 0x1500, 3, None),
        ("prot", 0x30, descriptor(11, limit=0x14FF, flags=0b0100), 0x1500, 0,
         (GP, "that is beyond the segment's limit, 0x14ff")),
        ("prot", 0x30, descriptor(11, limit=0x1500, flags=0b0100), 0x1500, 0, None),
        ("long", 0x30, descriptor(11), 0x1500, 0,
         (GP, "in long mode a handler's segment must be 64-bit code, it is 32-bit code, execute/read, DPL 0")),
        ("long", 0x30, descriptor(11, flags=0b1110), 0x1500, 0,
         (GP, "in long mode a handler's segment must be 64-bit code, it is 64-bit code, execute/read, DPL 0")),
        ("long", 0x08, None, 1 << 47, 0, (GP, "that address is not canonical")),
        ("long", 0x30, descriptor(11, limit=0, flags=LONG_CODE), 0x1500, 0, None),
    ],
)  # fmt: skip
def test_where_a_gate_leads(
    mode: str, selector: int, entry: int | None, offset: int, cpl: int, fault: tuple[int, str] | None
) -> None:
    cpu = prepared(mode, cpl=cpl)
    if entry is not None:
        cpu.entry(selector, entry)
    wide = mode == "long"
    cpu.ram.put(cpu.sregs.idt.base + 6 * (16 if wide else 8), gate(selector, offset, wide=wide))
    where = f"gate 6 of the IDT leads to {selector:#x}:{offset:#x}: "
    assert cpu.delivery(6) == (None if fault is None else (fault[0], where + fault[1]))


# --- the stack of a handler ---------------------------------------------------------------------------

STACK_6 = "the stack for gate 6 of the IDT"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rsp": 0x7010}, None),
        ({"rsp": 0x10, "ss_limit": 0xF}, None),
        ({"rsp": 0x11, "ss_limit": 0xF}, (SS, "SS:SP 0x10:0x11: it is beyond the segment's limit, 0xf")),
        ({"rsp": 0x2000, "ss_limit": 0x1FFE}, (SS, "SS:SP 0x10:0x2000: it is beyond the segment's limit, 0x1ffe")),
        ({"rsp": 0xF0002000, "ss_db": 0}, None),
        ({"rsp": 0x2000, "ss_type": EXPAND_DOWN, "ss_limit": 0x1FF3}, None),
        ({"rsp": 0x2000, "ss_type": EXPAND_DOWN, "ss_limit": 0x1FF4},
         (SS, "SS:SP 0x10:0x2000: it is beyond the segment's limit, 0x1ff4")),
        ({"ss_unusable": 1}, (SS, "SS:SP 0x10:0x7000: SS holds no usable segment")),
        ({"ss_present": 0}, (SS, "SS:SP 0x10:0x7000: SS holds no usable segment")),
        ({"rsp": 0x20000}, None),
        ({"rsp": 0x20001}, (PF, "SS:SP 0x10:0x20001, has no memory behind it (0x20000)")),
        ({"rsp": 0x1000, "ss_base": 0x1F010}, (PF, "SS:SP 0x10:0x1000, has no memory behind it (0x2000c)")),
        ({"rsp": 0x1000, "ss_base": 0x1F000}, None),
    ],
)  # fmt: skip
def test_same_stack_in_protected_mode(changes: dict[str, int], fault: tuple[int, str] | None) -> None:
    expected = None if fault is None else (fault[0], f"{STACK_6}, {fault[1]}")
    assert prepared("prot").set(**changes).delivery(6) == expected


@pytest.mark.parametrize(
    ("changes", "esp0", "fault"),
    [
        ({}, 0x7000, None),
        ({"tr_limit": 11}, 0x7000, None),
        ({"tr_limit": 10}, 0x7000, (TS, "gate 6 of the IDT needs the stack of a TSS, and TR holds none")),
        ({"tr_present": 0}, 0x7000, (TS, "gate 6 of the IDT needs the stack of a TSS, and TR holds none")),
        ({}, 0x20000, None), ({}, 24, None),
        ({}, 0x20001, (PF, f"{STACK_6}, ESP0 0x20001, has no memory behind it (0x20000)")),
    ],
)  # fmt: skip
def test_inner_stack_in_protected_mode(changes: dict[str, int], esp0: int, fault: tuple[int, str] | None) -> None:
    cpu = prepared("prot", cpl=3).set(rsp=0xFFFFFFFF, **changes)
    cpu.ram.put(0x604, esp0, 4)
    cpu.ram.put(0x608, 0x10, 4)  # SS0 is behind it
    assert cpu.delivery(6) == fault


def test_tss_that_is_not_there() -> None:
    found = prepared("prot", cpl=3).set(tr_base=0x20000).delivery(6)
    assert found is not None and found[0] == PF
    assert found[1].startswith("gate 6 of the IDT takes its stack from the TSS, which cannot be read: ")
    found = prepared("long", cpl=3).set(tr_base=0x20000).delivery(6)
    assert found is not None and found[0] == PF
    assert found[1].startswith("gate 6 of the IDT takes its stack from RSP0, but the TSS cannot be read: ")


def test_conforming_handler_stays_on_its_stack() -> None:
    cpu = prepared("prot", cpl=3).set(tr_present=0)
    cpu.entry(8, descriptor(15))
    assert cpu.delivery(6) is None
    cpu.entry(8, descriptor(11))
    assert (cpu.delivery(6) or (0, ""))[0] == TS


@pytest.mark.parametrize(
    ("cpl", "ist", "values", "changes", "fault"),
    [
        (0, 0, {}, {"rsp": 0x7008}, None),
        (0, 0, {}, {"rsp": 1 << 47}, None),  # aligned down before the frame: the last canonical byte is at its end
        (0, 0, {}, {"rsp": 0x20000}, None), (0, 0, {}, {"rsp": 0x2000F}, None),
        (0, 0, {}, {"rsp": (1 << 47) + 64}, (SS, f"{STACK_6}, RSP 0x800000000040, is not canonical")),
        (3, 0, {4: 0x7000}, {"rsp": 1}, None),
        (3, 0, {4: 1 << 63}, {}, (SS, f"{STACK_6}, RSP0 0x8000000000000000, is not canonical")),
        (3, 0, {4: 0x7000}, {"tr_limit": 11}, None),
        (3, 0, {4: 0x7000}, {"tr_limit": 10},
         (TS, "gate 6 of the IDT takes its stack from RSP0, beyond the TSS's limit 0xa")),
        (0, 1, {36: 0x7000}, {"rsp": 1 << 63}, None), (0, 7, {84: 0x7000}, {"rsp": 1 << 63}, None),
        (0, 1, {36: 1 << 63}, {}, (SS, f"{STACK_6}, IST 1 0x8000000000000000, is not canonical")),
        (0, 7, {}, {"tr_limit": 91}, None),
        (0, 7, {}, {"tr_limit": 90}, (TS, "gate 6 of the IDT takes its stack from IST 7, beyond the TSS's limit 0x5a")),
        (3, 2, {44: 0x7000, 4: 1 << 63}, {}, None),
    ],
)  # fmt: skip
def test_stacks_of_long_mode(
    cpl: int, ist: int, values: dict[int, int], changes: dict[str, int], fault: tuple[int, str] | None
) -> None:
    cpu = prepared("long", cpl=cpl)
    for offset in range(4, 92, 8):
        cpu.ram.put(0x600 + offset, 0x7000)
    for offset, value in values.items():
        cpu.ram.put(0x600 + offset, value)
    cpu.ram.put(0x3A00 + 6 * 16, gate(8, 0x1500, ist=ist, wide=True))
    found = cpu.set(**changes).delivery(6)
    if changes.get("rsp", 0) == 1 << 47:
        assert found is not None and found[0] == PF and "cannot be written" in found[1]
    else:
        assert found == fault


def test_frame_below_address_0_wraps() -> None:
    """To the end of the upper half, which is canonical, and not mapped here."""
    found = delivery_fault(prepared("long").set(rsp=0x10).state, Fault(6, ""))
    assert found is not None and found.vector == PF
    assert found.why.startswith(f"{STACK_6}, RSP 0x10, cannot be written: writing to ")


def test_frame_is_pushed_into_pages() -> None:
    """Below the stack pointer aligned to 16, from the top; as supervisor."""
    cpu = prepared("long").set(rsp=0x7028)
    cpu.page(0x6000, 0)
    found = delivery_fault(cpu.state, Fault(6, ""))
    assert found is not None and (found.vector, found.address) == (PF, 0x6FF8)
    assert found.why.startswith(f"{STACK_6}, RSP 0x7028, cannot be written: writing to 0x6ff8: ")
    assert cpu.set(rsp=0x7030).delivery(6) is None
    cpu.page(0x7000, 0x7001)
    assert cpu.delivery(6) is None
    cpu.sregs.cr0 |= CR0_WP
    assert "the page is read-only" in (cpu.delivery(6) or (0, ""))[1]
    user = prepared("long", cpl=3)
    for page in range(32):
        user.page(page << 12, page << 12 | KERNEL_RIGHTS)
    user.ram.put(0x604, 0x7000)
    assert user.delivery(6) is None


def test_double_fault_has_a_gate_of_its_own() -> None:
    cpu = prepared("prot").set(idt_limit=8 * 8 - 1)
    assert cpu.delivery(DF) == (GP, "gate 8 of the IDT is beyond its limit: base 0x0, limit 0x3f")
