"""What the guest has put into its debug registers (SDM volume 3B, 17.2): where it runs, and what it accesses.

Data is found by a hook of unicorn's on the physical memory behind it, which is looked up whenever the vCPU is entered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from kvmdbg.soft import library
from kvmdbg.soft.registers import PAGE
from kvmdbg.soft.state import DR, DR7, State

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

ENABLED = 0xFF
EXECUTE, WRITE, ACCESS = 0, 1, 3
SIZES = (1, 2, 8, 4)
LARGEST = 8
"""Bytes of an access, as hooks are told of them."""


class Point(NamedTuple):
    number: int
    kind: int
    address: int
    size: int


class Piece(NamedTuple):
    """Memory in which an access may begin that touches a point: physical addresses, and the linear one of the first."""

    point: Point
    first: int
    last: int
    linear: int


def points_of(state: State) -> list[Point]:
    """Those that are enabled."""
    words, found = state.u64, list[Point]()
    control = words[DR7 // 8]
    for n in range(4):
        if control >> 2 * n & 3:
            kind, size = control >> 16 + 4 * n & 3, SIZES[control >> 18 + 4 * n & 3]
            address = words[DR // 8 + n]
            found.append(Point(n, kind, address if kind == EXECUTE else address & -size, size))
    return found


class GuestPoints:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self.hit = 0
        """Bits in DR6 of what the instruction at hand has accessed."""
        self._hooks: list[int] = []
        self._pieces: list[Piece] = []
        self._callback = library.FOR_MEMORY(self._accessed)

    def take(self) -> None:
        """Before it runs: hold what the debug registers say now."""
        registers = self._cpu.execute_registers
        if not self._cpu.state.u64[DR7 // 8] & ENABLED and not self._pieces and not registers.guests:
            return
        execute: dict[int, int] = {}
        pieces: list[Piece] = []
        for point in points_of(self._cpu.state):
            if point.kind == EXECUTE:
                execute[point.address] = execute.get(point.address, 0) | 1 << point.number
            elif point.kind in (WRITE, ACCESS):
                pieces += self._pieces_of(point)
        registers.set_guests(execute)
        if pieces != self._pieces:
            self._lay(pieces)

    def _pieces_of(self, point: Point) -> Iterator[Piece]:
        at, end = max(point.address - LARGEST + 1, 0), point.address + point.size
        while at < end:
            piece_end = min(end, (at | PAGE - 1) + 1)
            physical = self._cpu.vm.physical_at(self._cpu.state, at)
            if physical is not None:
                yield Piece(point, physical, physical + piece_end - at - 1, at)
            at = piece_end

    def _lay(self, pieces: list[Piece]) -> None:
        vm = self._cpu.vm
        for hook in self._hooks:
            vm.library.quick.uc_hook_del(vm.uc, hook)
        self._hooks = []
        for piece in pieces:
            kind = library.HOOK_MEMORY_WRITTEN if piece.point.kind == WRITE else library.HOOK_MEMORY_VALID
            self._hooks.append(vm.library.hook(vm.uc, kind, self._callback, piece.first, piece.last))
        self._pieces = pieces
        vm.code_changed = vm.registers_touched = True

    def _accessed(self, uc: int, kind: int, address: int, size: int, value: int, data: int) -> bool:
        for piece in self._pieces:
            point, linear = piece.point, piece.linear + address - piece.first
            counts = piece.first <= address <= piece.last and (kind == library.MEM_WRITE or point.kind == ACCESS)
            if counts and linear < point.address + point.size and point.address < linear + size:
                self.hit |= 1 << point.number
        if self.hit:
            self._cpu.end_behind("data")
        return True
