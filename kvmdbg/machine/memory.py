"""Guest-physical memory: RAM regions, and the KVM slots that show them to the guest.

A region is a memory file with two mappings (MAP_NORESERVE: they cost nothing until
touched): one that KVM shows to the guest, and one that the debugger itself reads and writes.

Pages can be guarded, in one of two ways. Where KVM fails an access before anything of the instruction is done
(engine/probe.py finds out), the host's protection of the guest's mapping is changed: KVM_RUN then ends with EFAULT, and
the instruction can be run again. Elsewhere the slot is divided: a read-only page exits at each write, a page without
a slot at each access, and what the instruction did beside that is done already.
"""

from __future__ import annotations

import enum
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import CDLL, c_int, c_size_t, c_void_p, get_errno
from functools import lru_cache
from itertools import pairwise
from typing import Any

from kvmdbg.errors import LoadError, MemoryFault, UsageError
from kvmdbg.kvm import Vm, abi
from kvmdbg.machine.layout import IDENTITY_MAP_ADDRESS, LAPIC
from kvmdbg.machine.region import LARGE
from kvmdbg.machine.region import PAGE as PAGE
from kvmdbg.machine.region import Region as Region
from kvmdbg.record import record

PROT_NONE = 0
MIB = 1 << 20


@lru_cache(maxsize=1)
def _mprotect() -> Any:
    found = CDLL(None, use_errno=True).mprotect
    found.argtypes = (c_void_p, c_size_t, c_int)
    return found


def protect(address: int, size: int, protection: int) -> None:
    """Set the protection of pages of this process (mprotect(2)); OSError."""
    if _mprotect()(address, size, protection):
        raise OSError(get_errno(), os.strerror(get_errno()))


class Guard(enum.Enum):
    """What a guarded page lets the guest do without an exit."""

    READ_ONLY = "read-only"
    WITHDRAWN = "withdrawn"


@record
class Slot:
    """One KVM memory slot: ``address`` guest-physical, ``size`` bytes, ``flags`` of KVM_MEM_*.

    What it shows lies at ``source``: elsewhere than at ``address`` where the guest's address line 20 is low.
    """

    number: int
    address: int
    size: int
    flags: int
    source: int

    @property
    def read_only(self) -> bool:
        return bool(self.flags & abi.KVM_MEM_READONLY)


class GuestMemory:
    """All RAM of a guest, with checked access by guest-physical address."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.regions: list[Region] = []
        self._starts: list[int] = []
        self._guards: dict[int, Guard] = {}
        self.read_only: list[tuple[int, int]] = []
        """Ranges of whole pages, first address and end, where what the guest writes is lost."""
        self._protected: list[tuple[int, int, int]] = []
        """Stretches of the guest's mapping that are guarded by the host: host address, size, protection."""
        self._covered: dict[int, int] = {}
        """Stretches that a device lies over: the end of each by its start."""
        self._wraps = False
        """Address line 20 is low: the guest finds the first MiB again in the second."""
        self._slots: dict[int, Slot] = {}
        self._free: list[int] = []
        self._tracking = False
        self._written: set[int] = set()
        """Pages that were written since the last ``take_dirty``, as far as KVM's log does not have them."""
        self.writes = 0
        """How often the debugger has written, for whoever keeps what he made of memory."""
        self.max_slots = vm.system.check_extension(abi.KVM_CAP_NR_MEMSLOTS) or 32

    def add(self, address: int, size: int, *, rom: bool = False, of_device: bool = False) -> Region:
        """More RAM, or memory of another kind; UsageError when it is not whole pages or overlaps what is there."""
        if size <= 0 or address % PAGE or size % PAGE:
            raise UsageError(f"memory of {size:#x} bytes at {address:#x} is not a positive number of whole 4 KiB pages")
        for region in self.regions:
            if address < region.end and region.address < address + size:
                raise UsageError(
                    f"memory {address:#x}-{address + size - 1:#x} overlaps {region.address:#x}-{region.end - 1:#x}"
                )
        try:
            region = Region(address, size, rom, of_device)
        except (OSError, OverflowError, ValueError) as error:
            raise UsageError(f"the host cannot map {size:#x} bytes of guest memory: {error}") from None
        regions = sorted([*self.regions, region], key=lambda r: r.address)
        try:
            self._sync(regions, self._guards)
        except UsageError:
            region.close()
            raise
        return region

    @property
    def size(self) -> int:
        """Bytes of RAM in all."""
        return sum(region.size for region in self.regions if region.is_ram)

    @property
    def pages(self) -> int:
        """How many pages there are in all, those of ROMs and devices as well."""
        return sum(region.size for region in self.regions) // PAGE

    def make_read_only(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Let the guest write everywhere but in these ranges of whole pages (first address, end): writes exit there."""
        if list(ranges) != self.read_only:
            self.read_only = list(ranges)
            self._sync(self.regions, dict(self._guards))

    def is_read_only(self, address: int) -> bool:
        """Whether what the guest writes there is lost."""
        return any(start <= address < end for start, end in self.read_only)

    @contextmanager
    def writes_to_rom_undone(self) -> Iterator[None]:
        """While inside the guest may write to ROM, too; afterwards it has the bytes that it had.

        A CPU sets accessed bits of descriptors without looking at whether they stay. KVM does not get on there.
        """
        ranges = self.read_only
        kept = [(start, self.read(start, end - start)) for start, end in ranges]
        self.make_read_only(())
        try:
            yield
        finally:
            for start, data in kept:
                self.write(start, data)
            self.make_read_only(ranges)

    @property
    def slots(self) -> list[Slot]:
        """The KVM slots as they are now, by address."""
        return sorted(self._slots.values(), key=lambda slot: slot.address)

    # --- devices over memory -----------------------------------------------------------------------

    def cover(self, address: int, size: int, covered: bool) -> None:
        """Have a device lie over this stretch of RAM, whole pages, or no more: the guest's accesses exit there.

        The RAM stays, and whoever reads or writes by this class finds it.
        """
        before = dict(self._covered)
        if covered:
            self._covered[address] = address + size
        else:
            self._covered.pop(address, None)
        if self._covered != before:
            self._sync(self.regions, dict(self._guards))

    def is_covered(self, address: int) -> bool:
        """Whether a device lies over the RAM there."""
        return bool(self._covered) and any(start <= address < end for start, end in self._covered.items())

    # --- address line 20 ---------------------------------------------------------------------------

    def set_a20(self, on: bool) -> None:
        """Let the guest see its second MiB, or in its place the first once more. Higher ones are always as they are.

        Accesses of this class follow it, but ``exchange``, ``put_page`` and ``read_page``.
        """
        if self._wraps is on:
            self._wraps = not on
            self._sync(self.regions, dict(self._guards))

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """Where a stretch of addresses lies while address line 20 is low, as (address, size)."""
        while size > 0:
            length = min(size, MIB - address % MIB)
            yield (address - MIB if MIB <= address < 2 * MIB else address), length
            address += length
            size -= length

    # --- access ------------------------------------------------------------------------------------

    def find(self, address: int) -> Region | None:
        """The region that holds this address."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            region = self.regions[index]
            if address < region.end:
                return region
        return None

    def nowhere(self) -> int:
        """Where 64 KiB begin that hold no memory: below KVM's own pages (see layout), so that it is no device's."""
        size = 0x10000
        for place in range((IDENTITY_MAP_ADDRESS & -size) - size, LAPIC, -size):
            if not any(region.address < place + size and place < region.end for region in self.regions):
                return place
        return LAPIC

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes from guest-physical ``address``; MemoryFault names the first that is not RAM."""
        if self._wraps:
            return b"".join(self._read(at, length) for at, length in self._pieces(address, size))
        return self._read(address, size)

    def read_page(self, address: int) -> bytes:
        """What a whole page holds, whether the guest sees it or not."""
        return self._read(address, PAGE)

    def _read(self, address: int, size: int) -> bytes:
        region = self.find(address)
        if region is not None and address + size <= region.end:
            offset = address - region.address
            return bytes(region.view[offset : offset + size])
        parts = []
        while size > 0:
            region = self.find(address)
            if region is None:
                raise MemoryFault(address, "read", "physical", "no memory there")
            offset = address - region.address
            part = bytes(region.view[offset : offset + size])
            parts.append(part)
            address += len(part)
            size -= len(part)
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Write all of ``data``, or nothing: MemoryFault names the first address that is not RAM."""
        if self._wraps:
            done = 0
            for at, length in self._pieces(address, len(data)):
                self._write(at, data[done : done + length])
                done += length
        else:
            self._write(address, data)

    def _write(self, address: int, data: bytes) -> None:
        first = self.find(address)
        if first is not None and address + len(data) <= first.end:
            offset = address - first.address
            first.view[offset : offset + len(data)] = data
        else:
            self._write_spans(address, data)
        self.writes += 1
        if self._tracking:
            self._written.update(range(address & -PAGE, address + len(data), PAGE))

    def _write_spans(self, address: int, data: bytes) -> None:
        spans = []
        at, left = address, len(data)
        while left > 0:
            region = self.find(at)
            if region is None:
                raise MemoryFault(at, "write", "physical", "no memory there")
            offset = at - region.address
            length = min(left, region.size - offset)
            spans.append((region, offset, length))
            at += length
            left -= length
        done = 0
        for region, offset, length in spans:
            region.view[offset : offset + length] = data[done : done + length]
            done += length

    def exchange(self, new: Mapping[int, int], expected: Mapping[int, int] | None = None) -> dict[int, int]:
        """Put single bytes into memory, by address: those that were there. MemoryFault, and those before are written.

        Where another byte is there than ``expected``, it stays.
        """
        old = {}
        start = end = 0
        view: memoryview | list[int] = []
        for address, value in new.items():
            if not start <= address < end:
                region = self.find(address)
                if region is None:
                    raise MemoryFault(address, "write", "physical", "no memory there")
                start, end, view = region.address, region.end, region.view
            there = old[address] = view[address - start]
            if expected is None or there == expected[address]:
                view[address - start] = value
        self.writes += 1
        if self._tracking:
            self._written.update(address & -PAGE for address in new)
        return old

    def load(self, address: int, data: bytes, size: int, name: str) -> None:
        """Place an image's segment (the rest up to ``size`` is zero); LoadError names what does not fit."""
        try:
            self.write(address, data)
            if size > len(data):
                self.zero(address + len(data), size - len(data))
        except MemoryFault as fault:
            raise LoadError(
                f"{name} ({size:#x} bytes at {address:#x}) does not fit the guest's memory: "
                f"nothing at {fault.address:#x}; give more with --memory"
            ) from None

    def zero(self, address: int, size: int) -> None:
        """Clear memory; large spans are given back to the host instead of written."""
        while size > 0:
            chunk = min(size, LARGE)
            self.write(address, bytes(chunk))
            address += chunk
            size -= chunk

    def clear(self) -> None:
        """All RAM to zero, without touching pages that never were."""
        for region in self.regions:
            region.clear()

    # --- what has changed --------------------------------------------------------------------------

    def populated(self) -> Iterator[int]:
        """Guest-physical addresses of the pages that were ever touched; all others are zero."""
        for region in self.regions:
            for at, end in region.populated():
                yield from range(region.address + at, region.address + end, PAGE)

    def track(self, on: bool = True) -> None:
        """Have KVM log the pages that the guest writes (or no more)."""
        if on != self._tracking:
            self._tracking = on
            self._sync(self.regions, dict(self._guards))
            self.take_dirty()

    @property
    def tracking(self) -> bool:
        return self._tracking

    def take_dirty(self) -> set[int]:
        """Pages written since the last call, by the guest or the debugger. Only while tracked."""
        for slot in self._slots.values():
            self._log(slot)
        found, self._written = self._written, set()
        return found

    def _log(self, slot: Slot) -> None:
        """Add what KVM has logged for a slot."""
        if not slot.flags & abi.KVM_MEM_LOG_DIRTY_PAGES:
            return
        bits = int.from_bytes(self.vm.dirty_log(slot.number, slot.size // PAGE), "little")
        while bits:
            low = bits & -bits
            self._written.add(slot.source + (low.bit_length() - 1) * PAGE)
            bits ^= low

    def put_page(self, address: int, data: bytes) -> None:
        """Write one whole page, which counts as unchanged."""
        region = self.find(address)
        assert region is not None
        offset = address - region.address
        region.view[offset : offset + PAGE] = data

    # --- guards ------------------------------------------------------------------------------------

    def guard(self, pages: Mapping[int, Guard], *, restartable: bool = False) -> None:
        """Make exactly these pages (page-aligned addresses in RAM) guarded, all others plain.

        ``restartable``: by the host's protection, so that KVM_RUN fails before the access, and not by slots.
        """
        wanted = {page: guard for page, guard in pages.items() if self.find(page) is not None}
        by_host = wanted if restartable else {}
        by_slots = {} if restartable else wanted
        if by_slots != self._guards:
            self._sync(self.regions, by_slots)
        stretches = list(self._stretches(by_host))
        if stretches != self._protected:
            self._protect(self._protected, mmap.PROT_READ | mmap.PROT_WRITE)
            self._protected = stretches
            self._protect(self._protected)

    @property
    def guards(self) -> Mapping[int, Guard]:
        """The pages that are guarded by slots."""
        return self._guards

    @property
    def restartable(self) -> bool:
        """Whether pages are guarded by the host's protection now."""
        return bool(self._protected)

    @contextmanager
    def unprotected(self) -> Iterator[None]:
        """While inside, the host's protection guards nothing."""
        stretches, self._protected = self._protected, []
        self._protect(stretches, mmap.PROT_READ | mmap.PROT_WRITE)
        try:
            yield
        finally:
            self._protected = stretches
            self._protect(stretches)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """While inside, slots guard nothing."""
        guards = self._guards
        self._sync(self.regions, {})
        try:
            yield
        finally:
            self._sync(self.regions, guards)

    def _stretches(self, pages: Mapping[int, Guard]) -> Iterator[tuple[int, int, int]]:
        """Neighbouring pages with one guard as (host address, size, protection)."""
        start = size = protection = 0
        for page in sorted(pages):
            region = self.find(page)
            assert region is not None
            host = region.host_address + page - region.address
            wanted = mmap.PROT_READ if pages[page] is Guard.READ_ONLY else PROT_NONE
            if size and (host, wanted) == (start + size, protection):
                size += PAGE
                continue
            if size:
                yield start, size, protection
            start, size, protection = host, PAGE, wanted
        if size:
            yield start, size, protection

    @staticmethod
    def _protect(stretches: list[tuple[int, int, int]], protection: int | None = None) -> None:
        """Give these stretches their protection, or another."""
        for host, size, own in stretches:
            protect(host, size, own if protection is None else protection)

    def _layout(self, regions: list[Region], guards: Mapping[int, Guard]) -> list[tuple[int, int, int, int]]:
        """The slots that regions and guards ask for: (address, size, flags, source)."""
        layout = []
        plain = abi.KVM_MEM_LOG_DIRTY_PAGES if self._tracking else 0
        edges = {edge for piece in (*self.read_only, *self._covered.items()) for edge in piece}
        if self._wraps:
            edges |= {MIB, 2 * MIB}
        for region in regions:
            pages = {page for page in guards if region.address <= page < region.end}
            cuts = {edge for edge in edges if region.address < edge < region.end} | pages | {p + PAGE for p in pages}
            for start, end in pairwise(sorted({region.address, region.end} | cuts)):
                guard = guards.get(start)
                read_only = guard is Guard.READ_ONLY or (bool(self.read_only) and self.is_read_only(start))
                if guard is not Guard.WITHDRAWN and not (self._covered and self.is_covered(start)):
                    layout.append((start, end - start, abi.KVM_MEM_READONLY if read_only else plain, start))
        if self._wraps:
            again = [(at + MIB, size, flags, at) for at, size, flags, _ in layout if at < MIB]
            layout = [one for one in layout if not MIB <= one[0] < 2 * MIB] + again
        return layout

    def _sync(self, regions: list[Region], guards: dict[int, Guard]) -> None:
        """Have these regions and guards, and change KVM's slots to match; those that stay the same are not touched.

        UsageError, and nothing changed, when KVM has not slots enough.
        """
        layout = self._layout(regions, guards)
        if len(layout) > self.max_slots:
            raise UsageError(
                f"this KVM has {self.max_slots} memory slots, {len(layout)} would be needed: watch fewer pages"
            )
        self.regions, self._guards = regions, guards
        self._starts = [region.address for region in regions]
        missing = set(layout)
        for slot in list(self._slots.values()):
            if (shown := (slot.address, slot.size, slot.flags, slot.source)) in missing:
                missing.discard(shown)
            else:
                self._log(slot)
                self.vm.set_memory_region(slot.number, slot.address, 0, 0)
                del self._slots[slot.number]
                self._free.append(slot.number)
        for address, size, flags, source in layout:
            if (address, size, flags, source) not in missing:
                continue
            region = self.find(source)
            assert region is not None
            number = self._free.pop() if self._free else max(self._slots, default=-1) + 1
            self.vm.set_memory_region(number, address, size, region.host_address + source - region.address, flags)
            self._slots[number] = Slot(number, address, size, flags, source)

    def close(self) -> None:
        for region in self.regions:
            region.close()
        self.regions = []
        self._starts = []
