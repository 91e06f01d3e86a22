"""The two 8259A interrupt controllers of a PC, at ports 0x20, 0xA0 and (trigger modes) 0x4D0.

Source: Intel 8259A data sheet; ELCR: Intel 82371FB (PIIX) data sheet. Initialised by nobody they let nothing through.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any, ClassVar

from kvmdbg.machine.board import Board

CASCADE = 2
SPURIOUS = 7
ALWAYS_EDGE = 0b0000_0111, 0b0010_0001
"""Lines whose ELCR bit stays 0: IRQ 0, 1, 2, 8 and 13."""


class Chip:
    """One 8259A. ``lines`` are the levels of its inputs now."""

    def __init__(self, edge_only: int, *, leads: bool = False) -> None:
        self.lines = self.irr = self.isr = 0
        self.imr = 0xFF
        self.base = 0
        self.elcr = 0
        self.lowest = 7
        """The line of lowest priority; the next one has the highest."""
        self.expected = 0
        """Which ICW comes next at the data port; 0: none, it is the mask."""
        self.with_icw4 = self.single = self.level_triggered = False
        self.auto_eoi = self.rotates = self.special_mask = self.special_nested = False
        self.polled = self.reads_isr = False
        self.initialised = False
        self._edge_only = edge_only
        self._leads = leads
        """Another one is behind its line 2."""

    # --- inputs and what they lead to --------------------------------------------------------------

    @property
    def _by_level(self) -> int:
        return 0xFF if self.level_triggered else self.elcr & ~self._edge_only

    def set_line(self, line: int, level: bool) -> None:
        bit = 1 << line
        if level and not self.lines & bit and (self.initialised or self.expected):
            self.irr |= bit
        if not level and self._by_level & bit:
            self.irr &= ~bit
        self.lines = self.lines | bit if level else self.lines & ~bit

    def set_elcr(self, value: int) -> None:
        self.elcr = value & ~self._edge_only
        if self.initialised:
            self.irr |= self.lines & self._by_level

    def _highest(self, lines: int) -> int | None:
        """Of these lines the first by priority."""
        for n in range(1, 9):
            line = self.lowest + n & 7
            if lines >> line & 1:
                return line
        return None

    def _rank(self, line: int | None) -> int:
        return 8 if line is None else line - self.lowest - 1 & 7

    @property
    def request(self) -> int | None:
        """The line whose interrupt it asks for."""
        if not self.initialised:
            return None
        line = self._highest(self.irr & ~self.imr)
        if line is None:
            return None
        served = self.isr
        if self.special_mask:
            served &= ~self.imr
        rank, before = self._rank(line), self._rank(self._highest(served))
        again = self.special_nested and self._leads and line == CASCADE  # a line of the second that goes before
        return line if rank < before or (again and rank == before) else None

    def take(self, line: int) -> None:
        """The CPU takes the interrupt of this line."""
        bit = 1 << line
        if not self._by_level & bit:
            self.irr &= ~bit
        if not self.auto_eoi:
            self.isr |= bit
        elif self.rotates:
            self.lowest = line

    # --- registers ---------------------------------------------------------------------------------

    def command(self, value: int) -> None:
        if value & 0x10:
            self._begin(value)
        elif value & 0x08:
            self._operate(value)
        else:
            self._end_of_interrupt(value >> 5, value & 7)

    def _begin(self, icw1: int) -> None:
        """ICW1: from the beginning."""
        self.imr = self.isr = 0
        self.irr &= self._by_level & self.lines
        self.lowest = 7
        self.with_icw4, self.single, self.level_triggered = bool(icw1 & 1), bool(icw1 & 2), bool(icw1 & 8)
        self.auto_eoi = self.rotates = self.special_mask = self.special_nested = False
        self.polled = self.reads_isr = self.initialised = False
        self.expected = 2

    def _operate(self, ocw3: int) -> None:
        self.polled = bool(ocw3 & 4)
        if ocw3 & 2:
            self.reads_isr = bool(ocw3 & 1)
        if ocw3 & 0x40:
            self.special_mask = bool(ocw3 & 0x20)

    def _end_of_interrupt(self, ocw2: int, line: int) -> None:
        rotate, specific, end = bool(ocw2 & 4), bool(ocw2 & 2), bool(ocw2 & 1)
        if not end:
            if specific and rotate:
                self.lowest = line
            elif not specific:
                self.rotates = rotate
            return
        served: int | None = line
        if not specific:
            served = self._highest(self.isr & ~self.imr if self.special_mask else self.isr)
        if served is None:
            return
        self.isr &= ~(1 << served)
        if rotate:
            self.lowest = served

    def data(self, value: int) -> None:
        """An initialisation word that is expected, or else the mask."""
        if self.expected == 0:
            self.imr = value
            return
        if self.expected == 2:
            self.base = value & 0xF8
            self.expected = 4 if self.single else 3
        elif self.expected == 3:
            self.expected = 4
        else:
            self.auto_eoi, self.special_nested = bool(value & 2), bool(value & 0x10)
            self.expected = 0
        if self.expected == 4 and not self.with_icw4:
            self.expected = 0
        self.initialised = self.expected == 0

    def status(self) -> int:
        return self.isr if self.reads_isr else self.irr

    def save(self) -> list[Any]:
        flags = (self.with_icw4, self.single, self.level_triggered, self.auto_eoi, self.rotates, self.special_mask)
        registers = [self.lines, self.irr, self.isr, self.imr, self.base, self.elcr, self.lowest, self.expected]
        return [*registers, *flags, self.special_nested, self.polled, self.reads_isr, self.initialised]

    def load(self, state: list[Any]) -> None:
        (
            self.lines, self.irr, self.isr, self.imr, self.base, self.elcr, self.lowest, self.expected,
            self.with_icw4, self.single, self.level_triggered, self.auto_eoi, self.rotates, self.special_mask,
            self.special_nested, self.polled, self.reads_isr, self.initialised,
        ) = state  # fmt: skip


class Pic:
    """pic: both, the second behind line 2 of the first."""

    name = "pic"
    ports: ClassVar[tuple[int, ...]] = (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1)
    counts = False

    def __init__(self, board: Board) -> None:
        self.chips = tuple(Chip(edge_only, leads=not number) for number, edge_only in enumerate(ALWAYS_EDGE))
        self.pending = False
        self._board = board
        self._lock = threading.RLock()

    @property
    def vectors(self) -> Collection[int]:
        bases = [chip.base if chip.initialised else bios for chip, bios in zip(self.chips, (8, 0x70), strict=True)]
        return {base + line for base in bases for line in range(8)}

    def set_line(self, line: int, level: bool) -> None:
        with self._lock:
            self.chips[line >> 3].set_line(line & 7, level)
            self._pass_requests_on()

    def _pass_requests_on(self) -> None:
        """Pass on what has changed: from the second to the first, and from there to the CPU."""
        first, second = self.chips
        first.set_line(CASCADE, second.request is not None)
        before, self.pending = self.pending, first.request is not None
        if self.pending and not before:
            self._board.call_vcpu()
        elif self.pending or before:
            self._board.attention = True

    def acknowledge(self) -> int:
        with self._lock:
            first, second = self.chips
            line = first.request
            if line is None:
                vector, taken = first.base + SPURIOUS, None
            elif line != CASCADE or first.single:
                first.take(line)
                vector, taken = first.base + line, line
            else:
                first.take(CASCADE)
                behind = second.request
                if behind is None:
                    vector, taken = second.base + SPURIOUS, None
                else:
                    second.take(behind)
                    vector, taken = second.base + behind, behind + 8
                first.set_line(CASCADE, False)  # the second lets go of its request for a moment
            self._pass_requests_on()
        self._tell(taken)
        return vector

    def _tell(self, taken: int | None) -> None:
        call = None if taken is None else self._board.at_taken.get(taken)
        if call is not None:
            call()

    def waits(self, line: int) -> bool:
        return bool(self.chips[line >> 3].irr >> (line & 7) & 1)

    def passes(self, line: int) -> bool:
        first, second = self.chips
        if line < 8:
            return first.initialised and not first.imr >> line & 1
        behind = second.initialised and not second.imr >> (line & 7) & 1
        return behind and first.initialised and not first.imr >> CASCADE & 1

    def set_up(self, first: int, second: int, unmasked: Collection[int]) -> None:
        for number, (port, base) in enumerate(((0x20, first), (0xA0, second))):
            mask = 0xFF & ~sum(1 << (line & 7) for line in unmasked if line >> 3 == number)
            self.write(port, 1, 0x11)
            for word in (base, 2 if number else 1 << CASCADE, 1, mask):
                self.write(port + 1, 1, word)

    # --- ports -------------------------------------------------------------------------------------

    def read(self, port: int, size: int) -> int:
        value = 0
        with self._lock:
            for n in range(size):
                value |= self._read(port + n) << 8 * n
        return value

    def _read(self, port: int) -> int:
        if port not in self.ports:
            return 0xFF
        chip = self.chips[self.ports.index(port) // 2 if port < 0x100 else port & 1]
        if port >= 0x100:
            return chip.elcr
        if chip.polled:
            return self._poll(chip)
        return chip.imr if port & 1 else chip.status()

    def _poll(self, chip: Chip) -> int:
        """What a read gives behind the poll command, which is an acknowledge of its own."""
        chip.polled = False
        line = chip.request
        if line is None:
            return 0
        chip.take(line)
        self._pass_requests_on()
        self._tell(line + 8 if chip is self.chips[1] else line)
        return 0x80 | line

    def write(self, port: int, size: int, value: int) -> None:
        with self._lock:
            for n in range(size):
                self._write(port + n, value >> 8 * n & 0xFF)

    def _write(self, port: int, value: int) -> None:
        if port not in self.ports:
            return
        if port >= 0x100:
            self.chips[port & 1].set_elcr(value)
        else:
            chip = self.chips[self.ports.index(port) // 2]
            waited = chip.irr
            if port & 1:
                chip.data(value)
            else:
                chip.command(value)
            for line in range(8):
                if (waited & ~chip.irr) >> line & 1:  # dropped by an ICW1
                    self._tell(line + (8 if chip is self.chips[1] else 0))
        self._pass_requests_on()

    # --- state -------------------------------------------------------------------------------------

    def describe(self) -> str:
        let = [str(line) for line in range(16) if self.passes(line)]
        return f"two 8259A interrupt controllers, IRQ {', '.join(let)} let through" if let else (
            "two 8259A interrupt controllers, all lines masked"
        )  # fmt: skip

    def details(self) -> dict[str, str]:
        rows = {"asks the CPU": "yes" if self.pending else "no"}
        for word, chip in zip(("first", "second"), self.chips, strict=True):
            rows[word] = (
                f"vectors from {chip.base:#x}, irr {chip.irr:#010b}, isr {chip.isr:#010b}, imr {chip.imr:#010b}, "
                f"elcr {chip.elcr:#04x}"
            )
        return rows

    def registers(self) -> dict[str, dict[str, int]]:
        """As ``info pic`` shows them."""
        return {
            word: {
                "last_irr": chip.lines, "irr": chip.irr, "imr": chip.imr, "isr": chip.isr,
                "priority_add": chip.lowest + 1 & 7, "irq_base": chip.base,
            }
            for word, chip in zip(("master", "slave"), self.chips, strict=True)
        }  # fmt: skip

    def save(self) -> Any:
        return [chip.save() for chip in self.chips]

    def load(self, state: Any) -> None:
        with self._lock:
            for chip, one in zip(self.chips, state, strict=True):
                chip.load(one)
            self.pending = self.chips[0].request is not None
            self._board.attention = True
