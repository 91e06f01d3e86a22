"""The hypercalls of Solo5's hvt: a write to port 0x500 + N of the guest-physical address of N's arguments.

Source: Solo5, include/solo5/hvt_abi.h (version 2), mft_abi.h (version 1); results: include/solo5/solo5.h.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.machine.disk import Disk
from kvmdbg.machine.manifest import BLOCK, NET

BASE = 0x500
WALLTIME, PUTS, POLL, BLOCK_WRITE, BLOCK_READ, NET_WRITE, NET_READ, HALT = range(1, 9)
NAMES = ("", "walltime", "puts", "poll", "block_write", "block_read", "net_write", "net_read", "halt")
DONE, AGAIN, INVALID, FAILED = range(4)
SLICE = 0.02
"""Seconds that the guest sleeps before it is seen whether it is to stop."""


@device
class Hvt:
    """hvt: hypercalls of Solo5's hvt, with the hard disks as its block devices; nothing is on its network."""

    name = "hvt"
    options: ClassVar[dict[str, int]] = {"iobase": BASE, "iosize": HALT + 1}
    only: ClassVar[tuple[int, ...]] = tuple(range(1, HALT + 1))

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.calls = [0] * (HALT + 1)
        self.began = time.time_ns()
        """The wall time (ns since 1970) at the beginning of guest time."""
        self.clock = 0
        """The last wall time that was told."""
        self.last = "none"

    def read(self, offset: int, size: int) -> int:
        return (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> GuestEnd | None:
        if size != 4:
            raise UsageError(f"a hypercall of hvt is a write of 4 bytes, not of {size}")
        self.calls[offset] += 1
        self.last = f"{NAMES[offset]} at {value:#x}"
        return CALLS[offset](self, value)

    # --- hypercalls --------------------------------------------------------------------------------

    def _arguments(self, layout: str, address: int) -> tuple[int, ...]:
        return struct.unpack(layout, self._board.dma.read(address, struct.calcsize(layout)))

    def _answer(self, address: int, layout: str, *values: int) -> None:
        self._board.dma.write(address, struct.pack(layout, *values))

    def _walltime(self, at: int) -> None:
        now = self.began + self._board.time.now()
        try:
            self._board.arrived(self.name, "set_clock", now)
            self.set_clock(now)
        except UsageError:
            pass  # what was recorded is played again, and has set it
        self._answer(at, "<Q", self.clock)

    def set_clock(self, now: int) -> None:
        """The wall time that is told next."""
        self.clock = now

    def _puts(self, at: int) -> None:
        data, length = self._arguments("<QQ", at)
        if length:
            self._board.output(self._board.dma.read(data, length))

    def _poll(self, at: int) -> None:
        """Nothing ever comes in: sleep until the time is over, or the guest is to stop."""
        (timeout,) = self._arguments("<Q", at)
        end = time.monotonic() + timeout / 1e9
        while (left := end - time.monotonic()) > 0 and not self._board.stopping():
            time.sleep(min(left, SLICE))
        self._answer(at + 8, "<Qi", 0, 0)

    def _disk(self, handle: int) -> Disk | None:
        devices = self._board.manifest
        if handle >= len(devices) or devices[handle].kind != BLOCK:
            return None
        number = sum(one.kind == BLOCK for one in devices[:handle])
        return self._board.disks.hard_disks[number] if number < len(self._board.disks.hard_disks) else None

    def _block_write(self, at: int) -> None:
        handle, offset, data, length = self._arguments("<QQQQ", at)
        disk, result = self._disk(handle), INVALID
        if disk is not None and _is_within(disk, offset, length):
            try:
                disk.write(offset // disk.sector_size, self._board.dma.read(data, length))
                result = FAILED if disk.read_only else DONE
            except OSError:
                result = FAILED
        self._answer(at + 32, "<i", result)

    def _block_read(self, at: int) -> None:
        handle, offset, data, length = self._arguments("<QQQQ", at)
        disk, result = self._disk(handle), INVALID
        if disk is not None and _is_within(disk, offset, length):
            try:
                self._board.dma.write(data, disk.read(offset // disk.sector_size, length // disk.sector_size))
                result = DONE
            except OSError:
                result = FAILED
        self._answer(at + 32, "<i", result)

    def _is_network(self, handle: int) -> bool:
        devices = self._board.manifest
        return handle < len(devices) and devices[handle].kind == NET

    def _net_write(self, at: int) -> None:
        """The packet goes nowhere."""
        (handle,) = self._arguments("<Q", at)
        self._answer(at + 24, "<i", DONE if self._is_network(handle) else INVALID)

    def _net_read(self, at: int) -> None:
        """There is never a packet."""
        (handle,) = self._arguments("<Q", at)
        self._answer(at + 24, "<i", AGAIN if self._is_network(handle) else INVALID)

    def _halt(self, at: int) -> GuestEnd:
        cookie, status = self._arguments("<Qi", at)
        where = f", and points to {cookie:#x}" if cookie else ""
        return GuestEnd(status & 0xFF, f"it halted by hvt's hypercall with status {status}{where}")

    # --- in words ----------------------------------------------------------------------------------

    def describe(self) -> str:
        return f"hvt hypercalls, {sum(self.calls)} so far, the last: {self.last}"

    def details(self) -> dict[str, str]:
        found = {NAMES[number]: str(count) for number, count in enumerate(self.calls) if count}
        return {"last": self.last, **found}

    def save(self) -> Any:
        return [self.calls, self.began, self.clock, self.last]

    def load(self, state: Any) -> None:
        calls, self.began, self.clock, self.last = state
        self.calls = list(calls)


def _is_within(disk: Disk, offset: int, length: int) -> bool:
    size = disk.sector_size
    return offset % size == 0 and length % size == 0 and offset + length <= disk.sectors * size


CALLS: dict[int, Callable[[Hvt, int], GuestEnd | None]] = {
    WALLTIME: Hvt._walltime,
    PUTS: Hvt._puts,
    POLL: Hvt._poll,
    BLOCK_WRITE: Hvt._block_write,
    BLOCK_READ: Hvt._block_read,
    NET_WRITE: Hvt._net_write,
    NET_READ: Hvt._net_read,
    HALT: Hvt._halt,
}
