"""What the vCPUs are given: APIC ids, CPUID leaves, and the first state, register by register. No KVM is needed."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kvmdbg.kvm import Vcpu, abi
from kvmdbg.machine.board import Board
from kvmdbg.machine.boot import boot_state
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment
from kvmdbg.machine.layout import IDENTITY_MAP_ADDRESS, IOAPIC, LAPIC, TSS_ADDRESS, taken
from kvmdbg.machine.machine import _for_vcpu, _hide_apic, _leaf, reset_vcpu


def cpuid(*leaves: tuple[int, int, int, int, int]) -> abi.kvm_cpuid2:
    table = abi.kvm_cpuid2(nent=len(leaves))
    for entry, (function, eax, ebx, ecx, edx) in zip(table.entries, leaves, strict=False):
        entry.function, entry.eax, entry.ebx, entry.ecx, entry.edx = function, eax, ebx, ecx, edx
    return table


LEAVES = ((0, 1, 2, 3, 4), (1, 5, 0xAA020800, 6, 7), (0xB, 8, 9, 10, 11), (0xB, 1, 2, 0x201, 11), (0x1F, 1, 1, 1, 0xFF),
          (0x80000008, 0x3030, 0, 0, 0))  # fmt: skip


@pytest.mark.parametrize("index", [0, 1, 3, 255])
def test_apic_ids(index: int) -> None:
    """Leaf 1: EBX 31:24; leaves 0xB and 0x1F: EDX of each level (SDM volume 2A, CPUID)."""
    table = cpuid(*LEAVES)
    found = _for_vcpu(table, index)
    rows = [(one.function, one.eax, one.ebx, one.ecx, one.edx) for one in found.entries[: found.nent]]
    assert rows == [
        (0, 1, 2, 3, 4), (1, 5, index << 24 | 0x020800, 6, 7), (0xB, 8, 9, 10, index), (0xB, 1, 2, 0x201, index),
        (0x1F, 1, 1, 1, index), (0x80000008, 0x3030, 0, 0, 0),
    ]  # fmt: skip
    assert bytes(table) == bytes(cpuid(*LEAVES))  # each vCPU has a table of its own


def test_what_needs_a_local_apic_is_hidden() -> None:
    """SDM volume 2A, CPUID; AMD's manual (24594), E.4; Documentation/virt/kvm/x86/cpuid.rst of the kernel."""
    ones = (0xFFFFFFFF,) * 4
    table = cpuid(*((leaf, *ones) for leaf in (0, 1, 7, 0x80000001, 0x40000001)))
    _hide_apic(table)
    assert _leaf(table, 0) == _leaf(table, 7) == ones
    assert [one ^ 0xFFFFFFFF for one in _leaf(table, 1)] == [0, 0, 1 << 21 | 1 << 24, 1 << 9]
    assert [one ^ 0xFFFFFFFF for one in _leaf(table, 0x80000001)] == [0, 0, 1 << 3, 1 << 9]
    kvms = {4: "async pf", 6: "pv eoi", 7: "pv unhalt", 11: "send ipi", 13: "sched yield", 14: "async pf interrupt"}
    assert [one ^ 0xFFFFFFFF for one in _leaf(table, 0x40000001)] == [sum(1 << n for n in (*kvms, 15)), 0, 0, 0]


def test_leaf_of_cpuid() -> None:
    table = cpuid(*LEAVES)
    assert _leaf(table, 1) == (5, 0xAA020800, 6, 7) and _leaf(table, 0x80000008) == (0x3030, 0, 0, 0)
    assert _leaf(table, 7) == (0, 0, 0, 0)
    table.nent = 1
    assert _leaf(table, 1) == (0, 0, 0, 0)


class Spoilt:
    """A vCPU whose registers are all ones; keeps what it is set to."""

    def __init__(self) -> None:
        self.sregs = abi.kvm_sregs.from_buffer_copy(b"\xff" * 1024)
        self.events = abi.kvm_vcpu_events.from_buffer_copy(b"\xff" * 1024)
        self.regs = abi.kvm_regs()
        self.debugregs = abi.kvm_debugregs()

    def get_sregs(self) -> abi.kvm_sregs:
        return self.sregs

    def get_events(self) -> abi.kvm_vcpu_events:
        return self.events

    def __getattr__(self, name: str) -> Any:
        return lambda value: setattr(self, name.removeprefix("set_"), value)


def test_everything_of_a_vcpu_is_set() -> None:
    image = Image("guest", "flat", [Segment(0x100000, b"\xf4")], "long", Entry(None, 0x100000))
    state = boot_state(image, LoadOptions(), 16 << 20)
    vcpu = Spoilt()
    reset_vcpu(cast(Vcpu, vcpu), state, {"rax": 7, "rsp": 0x9000})
    sregs, events = vcpu.sregs, vcpu.events
    for name, wanted in state.segments.items():
        found = getattr(sregs, "ldt" if name == "ldtr" else name)
        for field in ("selector", "base", "limit", "type", "present", "dpl", "db", "s", "l", "g"):
            assert getattr(found, field) == getattr(wanted, field), (name, field)
        assert (found.avl, found.unusable) == (0, 0)
    assert (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) == (state.cr0, state.cr3, state.cr4, state.efer)
    assert (sregs.cr2, sregs.cr8, bytes(sregs.interrupt_bitmap)) == (0, 0, bytes(32))
    assert (sregs.gdt.base, sregs.gdt.limit) == tuple(state.gdt) and (sregs.idt.base, sregs.idt.limit) == (0, 0)
    assert (vcpu.regs.rax, vcpu.regs.rsp, vcpu.regs.rip, vcpu.regs.rflags) == (7, 0x9000, 0x100000, 2)
    assert (events.exception.injected, events.exception.pending) == (0, 0)
    assert (events.interrupt.injected, events.interrupt.shadow) == (0, 0)
    assert (events.nmi.injected, events.nmi.pending, events.nmi.masked) == (0, 0, 0)
    debug = vcpu.debugregs  # SDM volume 3A, table 9-1
    assert (debug.dr6, debug.dr7, list(debug.db)) == (0xFFFF0FF0, 0x400, [0] * 4)


def test_segment_that_is_not_present_is_unusable() -> None:
    image = Image("guest", "flat", [Segment(0x1000, b"\xf4")], "real", Entry(None, 0x1000))
    state = boot_state(image, LoadOptions(), 1 << 20)
    from kvmdbg.record import replace

    state.segments["fs"] = replace(state.segments["fs"], present=0)
    vcpu = Spoilt()
    reset_vcpu(cast(Vcpu, vcpu), state, {})
    assert (vcpu.sregs.fs.unusable, vcpu.sregs.fs.present, vcpu.sregs.gs.unusable) == (1, 0, 0)


def test_board() -> None:
    lines: list[tuple[int, int]] = []
    board = Board(lambda data: None, irq=lambda line, level: lines.append((line, level)), memory=5)
    board.set_irq(3, True)
    board.set_irq(4, False)
    assert lines == [(3, 1), (4, 0)] and board.has_interrupts and board.memory == 5
    bare = Board(lambda data: None)
    bare.set_irq(3, True)
    bare.changed()
    assert not bare.has_interrupts and bare.memory == 0


def test_where_no_device_can_be() -> None:
    assert (IOAPIC, LAPIC, TSS_ADDRESS, IDENTITY_MAP_ADDRESS) == (0xFEC00000, 0xFEE00000, 0xFEFFD000, 0xFEFFC000)
    assert taken(0x1000, False) == [(0, 0x1000, "the guest's memory"), (0xFEFFC000, 0xFF000000, "pages of KVM's own")]
    assert taken(5 << 30, True) == [
        (0, 0xC0000000, "the guest's memory"), (1 << 32, 6 << 30, "the guest's memory"),
        (0xFEFFC000, 0xFF000000, "pages of KVM's own"), (0xFEC00000, 0xFEC01000, "an interrupt controller"),
        (0xFEE00000, 0xFEE01000, "an interrupt controller"),
    ]  # fmt: skip
