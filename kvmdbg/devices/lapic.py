"""The local APIC of a machine whose interrupt controllers are its own: UEFI firmware has its timer there.

Source: SDM volume 3A, chapter 11 (registers: table 11-1; timer: 11.5.4; priorities: 11.8.3). One vCPU, xAPIC mode, no
IOAPIC: the 8259s ask through LINT0.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.guest_time import SECOND, Deadline
from kvmdbg.machine.layout import LAPIC, PAGE

VERSION, TPR, PPR, EOI, LDR, DFR, SPURIOUS = 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, IRR, COMMAND, COMMAND_HIGH = 0x100, 0x200, 0x300, 0x310
TIMER, LINT0, INITIAL, CURRENT, DIVIDE = 0x320, 0x350, 0x380, 0x390, 0x3E0
LVT = range(0x320, 0x380, 0x10)
KEPT = {
    TPR: 0xFF, LDR: 0xFF000000, DFR: 0xF0000000, SPURIOUS: 0x1FF, COMMAND: 0xCCFFF, COMMAND_HIGH: 0xFF000000,
    DIVIDE: 0xB, **dict.fromkeys(LVT, 0x177FF), TIMER: 0x300FF,
}  # fmt: skip
"""By register the bits that keep what is written."""
ENABLED, MASKED, PERIODIC = 1 << 8, 1 << 16, 1 << 17
DELIVERY, EXTERNAL = 0x700, 0x700
TO_ITSELF = (1, 2)
"""Shorthands of a command: self, all with self."""
LEAST_VECTOR = 16
SHORTEST = SECOND // 5000
"""Nanoseconds that are at least between two interrupts of the timer, as on KVM."""


@device
class LocalApic:
    """lapic: a local APIC with its timer of 1 GHz, for firmware; the 8259s ask the CPU through it."""

    name = "lapic"
    options: ClassVar[dict[str, int]] = {"mmiobase": LAPIC, "mmiosize": PAGE}

    @staticmethod
    def belongs_to(board: Board) -> bool:
        return board.firmware and board.pic is not None

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self._registers = {VERSION: 0x50014, DFR: 0xFFFFFFFF, SPURIOUS: 0xFF, **dict.fromkeys(LVT, MASKED)}
        self._registers[LINT0] = EXTERNAL  # as KVM leaves it for firmware that knows no APIC
        self._requested = self._served = 0
        """Bit by vector: IRR and ISR."""
        self._initial = 0
        self._began = 0
        """When the timer's count was loaded, in guest time."""
        self._deadline: Deadline | None = None
        if board.pic is None:
            raise UsageError("device lapic needs interrupt controllers of kvmdbg's own: --irqchip user, and one vCPU")
        self._pic = board.pic
        board.pic = self

    # --- towards the CPU ---------------------------------------------------------------------------

    @property
    def _lets_pic_through(self) -> bool:
        return self._registers[LINT0] & (MASKED | DELIVERY) == EXTERNAL

    @property
    def _priority(self) -> int:
        """The processor priority register."""
        task, serving = self._registers.get(TPR, 0), (self._served.bit_length() - 1) & 0xF0 if self._served else 0
        return task if task & 0xF0 >= serving else serving

    @property
    def _request(self) -> int | None:
        """The vector that the APIC itself asks for."""
        first = self._requested.bit_length() - 1
        return first if self._registers[SPURIOUS] & ENABLED and first & ~0xF > self._priority else None

    @property
    def pending(self) -> bool:
        return self._request is not None or (self._lets_pic_through and self._pic.pending)

    @property
    def counts(self) -> bool:
        return self._deadline is not None

    @property
    def vectors(self) -> Collection[int]:
        return {*self._pic.vectors, *([] if self._registers[TIMER] & MASKED else [self._registers[TIMER] & 0xFF])}

    def acknowledge(self) -> int:
        vector = self._request
        if vector is None or (self._lets_pic_through and self._pic.pending):
            return self._pic.acknowledge()
        self._requested &= ~(1 << vector)
        self._served |= 1 << vector
        return vector

    def set_line(self, line: int, level: bool) -> None:
        self._pic.set_line(line, level)

    def waits(self, line: int) -> bool:
        return self._pic.waits(line)

    def passes(self, line: int) -> bool:
        return self._lets_pic_through and self._pic.passes(line)

    def set_up(self, first: int, second: int, unmasked: Collection[int]) -> None:
        self._pic.set_up(first, second, unmasked)

    def _ask(self, vector: int) -> None:
        if vector >= LEAST_VECTOR and self._registers[SPURIOUS] & ENABLED:
            self._requested |= 1 << vector
            self._board.call_vcpu()

    # --- the timer ---------------------------------------------------------------------------------

    @property
    def _count_ns(self) -> int:
        """Nanoseconds a count takes: those of a bus of 1 GHz, divided."""
        divide = self._registers.get(DIVIDE, 0)
        return 1 << ((divide & 3 | divide >> 1 & 4) + 1 & 7)

    @property
    def _left(self) -> int:
        counted = (self._board.time.now() - self._began) // self._count_ns
        if not self._initial:
            return 0
        if self._registers[TIMER] & PERIODIC:
            return self._initial - counted % self._initial
        return max(self._initial - counted, 0)

    def _set_deadline(self) -> None:
        """For the timer's next interrupt, where there will be one."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if not self._left or self._registers[TIMER] & MASKED:
            return
        now = self._board.time.now()
        period = self._initial * self._count_ns
        passed = (now - self._began) // period if self._registers[TIMER] & PERIODIC else 0
        when = max(self._began + (passed + 1) * period, now + SHORTEST)
        self._deadline = self._board.time.at(when, self._expired)

    def _expired(self) -> None:
        self._deadline = None
        self._ask(self._registers[TIMER] & 0xFF)
        if self._registers[TIMER] & PERIODIC:
            self._set_deadline()

    # --- registers ---------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        value = self._register(offset & ~3) if offset % 16 < 4 else 0
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def _register(self, at: int) -> int:
        if at == PPR:
            return self._priority
        if at == CURRENT:
            return self._left
        if at == INITIAL:
            return self._initial
        for first, bits in ((ISR, self._served), (IRR, self._requested)):
            if first <= at < first + 0x80:
                return bits >> 2 * (at - first) & 0xFFFFFFFF
        return self._registers.get(at, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4 or offset % 16:
            return
        if offset == EOI and self._served:
            self._served &= ~(1 << self._served.bit_length() - 1)
        elif offset == INITIAL:
            self._initial, self._began = value, self._board.time.now()
        elif offset in KEPT:
            self._registers[offset] = value & KEPT[offset]
        enabled = self._registers[SPURIOUS] & ENABLED
        if not enabled and (offset in LVT or offset == SPURIOUS):
            for one in LVT if offset == SPURIOUS else (offset,):
                self._registers[one] |= MASKED
        if offset == COMMAND and value >> 18 & 3 in TO_ITSELF and not value & DELIVERY:
            self._ask(value & 0xFF)
        if offset in (INITIAL, TIMER, DIVIDE, SPURIOUS):
            self._set_deadline()
        self._board.call_attention()

    # --- state -------------------------------------------------------------------------------------

    def describe(self) -> str:
        state = "enabled" if self._registers[SPURIOUS] & ENABLED else "not enabled"
        return f"local APIC, {state}; timer {'counts' if self.counts else 'raises nothing'}"

    def details(self) -> dict[str, str]:
        timer = self._registers[TIMER]
        kind = "periodic" if timer & PERIODIC else "once"
        return {
            "enabled": "yes" if self._registers[SPURIOUS] & ENABLED else "no",
            "timer": f"{kind}, vector {timer & 0xFF:#x}{', masked' if timer & MASKED else ''}",
            "count": f"{self._left} of {self._initial}, {self._count_ns} ns each",
            "requested": self._listed(self._requested),
            "served": self._listed(self._served),
        }

    @staticmethod
    def _listed(vectors: int) -> str:
        return " ".join(f"{one:#x}" for one in range(256) if vectors >> one & 1) or "none"

    def save(self) -> Any:
        return [sorted(self._registers.items()), self._requested, self._served, self._initial, self._began]

    def load(self, state: Any) -> None:
        registers, self._requested, self._served, self._initial, self._began = state
        self._registers = dict(registers)
        self._set_deadline()
        self._board.call_attention()
