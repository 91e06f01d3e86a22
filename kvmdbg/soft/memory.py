"""Guest memory of a machine that unicorn runs, which works on the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.machine.memory import PAGE, Guard, GuestMemory, Region, Slot
from kvmdbg.soft.changed_pages import ChangedPages
from kvmdbg.soft.library import ALL, EXECUTE, MEM_READ_PROT, MEM_WRITE_PROT, READ
from kvmdbg.x86.faults import State

if TYPE_CHECKING:
    from kvmdbg.soft.system import SoftVm


class SoftMemory(GuestMemory):
    """What the debugger writes may be code, which unicorn has translated. Guards are those of unicorn's own map."""

    def __init__(self, vm: SoftVm) -> None:
        super().__init__(vm)  # type: ignore[arg-type]
        self._soft = vm
        self._guarded: dict[int, Guard] = {}
        self._edges: set[int] = set()
        """Pages before guarded ones: an access that begins there and ends in the guarded one is refused as a whole.
        Of a write unicorn has done the first bytes when it comes to the guard, and does them where the read before was
        refused; at the second half of a read it does not look at the guard."""
        self._changed = ChangedPages()
        vm.memory = self

    # --- writes ------------------------------------------------------------------------------------

    def write(self, address: int, data: bytes) -> None:
        super().write(address, data)
        self._soft.code_changed = True

    def exchange(self, new: Mapping[int, int], expected: Mapping[int, int] | None = None) -> dict[int, int]:
        self._soft.code_changed = True
        return super().exchange(new, expected)

    def put_page(self, address: int, data: bytes) -> None:
        region = self.find(address)
        assert region is not None
        at = address - region.address
        if region.mapping[at : at + PAGE] != data:
            self._soft.code_changed = self._soft.translation_changed = True
            region.mapping[at : at + PAGE] = data
        self._changed.put(region, at, data)

    def clear(self) -> None:
        self._soft.code_changed = self._soft.translation_changed = True
        super().clear()
        self._changed.forget()

    def write_of_cpu(self, address: int, data: bytes) -> None:
        """What the CPU writes by itself: lost where the guest can write nothing."""
        region = self.find(address)
        if region is not None and not self.is_read_only(address) and address + len(data) <= region.end:
            region.view[address - region.address : address - region.address + len(data)] = data
            if self._tracking:
                self._written.add(address & -PAGE)

    # --- what has changed --------------------------------------------------------------------------

    def track(self, on: bool = True) -> None:
        if not on:
            self._changed.forget()
        super().track(on)

    def take_dirty(self) -> set[int]:
        if self._tracking:
            for region in self.regions:
                self._written.update(self._changed.take(region))
        return super().take_dirty()

    def _log(self, slot: Slot) -> None:
        """Slots log nothing: pages are compared."""

    # --- guards ------------------------------------------------------------------------------------

    def guard(self, pages: Mapping[int, Guard], *, restartable: bool = False) -> None:
        wanted = {page: kind for page, kind in pages.items() if self.find(page) is not None}
        self._protect_pages(wanted)

    def _protect_pages(self, wanted: dict[int, Guard]) -> None:
        before = self._rights()
        self._guarded = wanted
        self._edges = {page - PAGE for page in wanted if self.find(page - PAGE) is not None}
        now = self._rights()
        for page in before.keys() - now.keys():
            self._soft.protect(page, ALL)
        for page, rights in now.items():
            if before.get(page) != rights:
                self._soft.protect(page, rights)

    def _sync(self, regions: list[Region], guards: dict[int, Guard]) -> None:
        super()._sync(regions, guards)
        for page, rights in self._rights().items():  # what has been mapped anew may be accessed in all ways
            self._soft.protect(page, rights)

    def _rights(self) -> dict[int, int]:
        found = {page: READ | EXECUTE if kind is Guard.READ_ONLY else 0 for page, kind in self._guarded.items()}
        for page in self._edges:
            before_withdrawn = self._guarded[page + PAGE] is Guard.WITHDRAWN
            found[page] = found.get(page, READ | EXECUTE) & (EXECUTE if before_withdrawn else READ | EXECUTE)
        return found

    def lets_pass(self, kind: int, address: int, size: int) -> bool:
        """Whether an access that unicorn refuses has met no guard, but is only near one."""
        page = address & -PAGE
        if page not in self._edges or address + size > page + PAGE:
            return False
        if kind == MEM_READ_PROT:
            return self._guarded.get(page) is not Guard.WITHDRAWN
        return kind == MEM_WRITE_PROT and page not in self._guarded and not self.is_read_only(address)

    @property
    def restartable(self) -> bool:
        return bool(self._guarded)

    @contextmanager
    def unprotected(self) -> Iterator[None]:
        guarded = self._guarded
        self._protect_pages({})
        try:
            yield
        finally:
            self._protect_pages(guarded)

    def is_guarded(self, kind: int, address: int) -> bool:
        """Whether an access that unicorn refuses has met a guard."""
        page = address & -PAGE
        if page in self._guarded:
            return True
        return page in self._edges and (kind == MEM_READ_PROT or not self.is_read_only(address))

    def guards_against(
        self, state: State, writes: Iterable[tuple[int, bytes]], reads: Iterable[tuple[int, int]]
    ) -> bool:
        """Whether a guard forbids one of these accesses: physical writes, linear reads."""
        if any(address & -PAGE in self._guarded for address, _ in writes):
            return True
        for linear, size in reads:
            for at in (linear, linear + size - 1):
                physical = state.walk(at).physical
                if physical is not None and self._guarded.get(physical & -PAGE) is Guard.WITHDRAWN:
                    return True
        return False
