"""What an event changes: registers and bytes, worked out before any of it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kvmdbg.record import fields, record
from kvmdbg.x86.descriptors import SegmentRegister
from kvmdbg.x86.faults import State
from kvmdbg.x86.modes import CR4_PAE

PAGE_ACCESSED, PAGE_DIRTY = 0x20, 0x40


@record
class Change:
    """``regs`` by the names of struct kvm_regs, ``segments`` and ``control`` by those of struct kvm_sregs.

    ``writes`` are (linear address, bytes) in the order in which the CPU writes them; ``reads`` (linear address, size)
    what it has read for it. All are made by the CPU itself: paging allows them.
    """

    regs: Mapping[str, int]
    segments: Mapping[str, SegmentRegister]
    control: Mapping[str, int]
    writes: tuple[tuple[int, bytes], ...]
    reads: tuple[tuple[int, int], ...]

    def apply(self, regs: Any, sregs: Any, write: Callable[[int, bytes], object]) -> None:
        """Do it: set fields of these structures (or of objects like them), and ``write(linear, bytes)``."""
        for linear, data in self.writes:
            write(linear, data)
        for name, value in self.regs.items():
            setattr(regs, name, value)
        for name, segment in self.segments.items():
            for field, value in fields(segment).items():
                setattr(getattr(sregs, name), field, value)
        for name, value in self.control.items():
            setattr(sregs, name, value)

    def physical_writes(self, state: State) -> list[tuple[int, bytes]]:
        """``writes`` as physical ones, in pieces that lie in one page each; before them what the CPU's page walks
        write: accessed and dirty bits that were clear (SDM volume 3A, 4.8). ``state`` is the one before the event.
        """
        pae = state.sregs.cr4 & CR4_PAE and not state.ia32e
        entries: dict[int, tuple[int, int]] = {}
        pieces: list[tuple[int, bytes]] = []

        def walk(linear: int, dirty: bool) -> int:
            found = state.walk(linear)
            assert found.physical is not None, "the event was found to be possible"
            for number, entry in enumerate(found.entries, 1):
                if pae and entry.level == 3:
                    continue  # the CPU holds these four in registers
                value = entries.get(entry.address, (entry.value, 0))[0] | PAGE_ACCESSED
                if dirty and number == len(found.entries):
                    value |= PAGE_DIRTY
                if value != entry.value:
                    entries[entry.address] = value, entry.size
            return found.physical

        for linear, size in self.reads:
            for at in (linear, *range((linear | 0xFFF) + 1, linear + size, 0x1000)):
                walk(at, dirty=False)
        for linear, data in self.writes:
            while data:
                length = min(len(data), 0x1000 - linear % 0x1000)
                pieces.append((walk(linear, dirty=True), data[:length]))
                linear, data = linear + length, data[length:]
        bits = [(address, value.to_bytes(size, "little")) for address, (value, size) in entries.items()]
        return [*bits, *pieces]
