"""The 8254 timer of a PC, at ports 0x40 to 0x43, and port 0x61: the gate of its channel 2, and the speaker.

Source: Intel 8254 data sheet; port 0x61: IBM PC AT Technical Reference. Channel 0 is IRQ 0.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.machine.board import Board
from kvmdbg.machine.guest_time import SECOND, Deadline

HZ = 1193182
"""Clocks a second: 14.31818 MHz / 12."""
IRQ = 0
CONTROL, PORT_B = 0x43, 0x61
LATCH, LOW, HIGH, BOTH = 0, 1, 2, 3
REFRESH = 0x10
"""The bit of port 0x61 that follows memory refresh."""
MOST_OWED = HZ // 4
"""How many clocks worth of ticks are made up for, where the guest was too slow for them."""


def _clocks(ns: int) -> int:
    return ns * HZ // SECOND


def _ns(clocks: int) -> int:
    """When so many clocks are over."""
    return -(-clocks * SECOND // HZ)


class Channel:
    """One counter. ``began`` is the clock at which its count was loaded, None: it does not count yet."""

    def __init__(self) -> None:
        self.mode = 3
        self.access = BOTH
        self.bcd = False
        self.reload = 0x10000
        """What it counts down from."""
        self.following: int | None = None
        """What it counts down from after this period (modes 2 and 3), or when its gate opens again (1 and 5)."""
        self.began: int | None = None
        self.gate = True
        self.stood = 0
        """How many clocks it had counted when its gate was closed."""
        self.null = True
        """No count has been loaded since the control word."""
        self.low: int | None = None
        """The first byte of a count of two, until the second comes."""
        self.second_next = False
        """The next read gives the second byte."""
        self.latched: list[int] = []
        """Bytes of a count that was latched."""
        self.latched_status: int | None = None

    @property
    def repeats(self) -> bool:
        return self.mode in (2, 3)

    def control(self, value: int) -> None:
        self.mode = value >> 1 & 7
        if self.mode > 5:
            self.mode -= 4
        self.access = value >> 4 & 3
        self.bcd = bool(value & 1)
        self.began = self.following = self.low = self.latched_status = None
        self.second_next = False
        self.latched = []
        self.null = True

    def load(self, count: int, now: int) -> None:
        """A new count has been written, at clock ``now``."""
        if self.bcd:
            digits = [count >> shift & 15 for shift in (0, 4, 8, 12)]
            count = sum(digit * 10**n for n, digit in enumerate(digits)) or 10000
        else:
            count = count or 0x10000
        self.null = False
        if self.began is not None and (self.mode in (1, 5) or (self.repeats and self.gate)):
            self.begin_following_count(now)
            self.following = count
            return
        self.reload, self.following, self.stood = count, None, 0
        if self.mode in (1, 5):
            self.began = None  # until its gate opens
        else:
            self.began = now

    def begin_following_count(self, now: int) -> None:
        """Begin with the count that was to follow, if its time has come; that of a one-shot follows at its gate."""
        if self.following is None or self.began is None or not self.repeats:
            return
        periods = (now - self.began) // self.reload
        if periods > 0:
            self.began += self.reload
            self.reload, self.following = self.following, None

    def set_gate(self, opened: bool, now: int) -> None:
        if opened == self.gate:
            return
        counted = self.counted(now)
        self.gate = opened
        if self.null:
            return
        if opened and self.mode in (0, 4):
            self.began = now - self.stood
        elif opened:
            self.began = now
            self.reload, self.following = self.following or self.reload, None
        elif self.mode in (0, 4, 2, 3):
            self.stood = counted or 0

    def counted(self, now: int) -> int | None:
        """Clocks since the count was loaded; None where it does not count."""
        if self.began is None:
            return None
        self.begin_following_count(now)
        stands = not self.gate and self.mode not in (1, 5)
        return self.stood if stands else now - self.began

    def count(self, now: int) -> int:
        """What its counter holds, as it is read."""
        passed = self.counted(now)
        top = 10000 if self.bcd else 0x10000
        if passed is None:
            value = self.reload
        elif self.mode == 2:
            value = self.reload - passed % self.reload
        elif self.mode == 3:
            at, high = passed % self.reload, (self.reload + 1) // 2
            value = (self.reload & ~1) - 2 * (at if at < high else at - high)
        else:
            value = (self.reload - passed) % top
        value %= top
        if not self.bcd:
            return value
        return sum(value // 10**n % 10 << 4 * n for n in range(4))

    def out(self, now: int) -> bool:
        passed = self.counted(now)
        if passed is None:
            return self.mode != 0
        if self.mode in (0, 1):
            return passed >= self.reload
        if self.repeats and not self.gate:
            return True
        if self.mode == 2:
            return passed % self.reload != self.reload - 1
        if self.mode == 3:
            return passed % self.reload < (self.reload + 1) // 2
        return passed != self.reload

    def next_rise(self, now: int) -> int | None:
        """The first clock after ``now`` at which OUT goes up; None: none, as things are."""
        passed = self.counted(now)
        if passed is None or (not self.gate and self.mode not in (1, 5)):
            return None
        assert self.began is not None
        if self.repeats:
            return self.began + (passed // self.reload + 1) * self.reload
        at = self.reload + (1 if self.mode > 3 else 0)
        return self.began + at if passed < at else None

    def latch(self, now: int) -> None:
        if not self.latched:
            count = self.count(now)
            both = [count & 0xFF, count >> 8]
            self.latched = both if self.access == BOTH else both[:1] if self.access == LOW else both[1:]

    def latch_status(self, now: int) -> None:
        if self.latched_status is None:
            out = self.out(now)
            waits = self.null or self.following is not None or (self.mode in (1, 5) and self.began is None)
            self.latched_status = out << 7 | waits << 6 | self.access << 4 | self.mode << 1 | int(self.bcd)

    def read(self, now: int) -> int:
        if self.latched_status is not None:
            status, self.latched_status = self.latched_status, None
            return status
        if self.latched:
            return self.latched.pop(0)
        count = self.count(now)
        second = self.access == HIGH or (self.access == BOTH and self.second_next)
        self.second_next = self.access == BOTH and not self.second_next
        return count >> 8 if second else count & 0xFF

    def write(self, value: int, now: int) -> None:
        if self.access == LOW:
            self.load(value, now)
        elif self.access == HIGH:
            self.load(value << 8, now)
        elif self.low is None:
            self.low = value
            if self.mode == 0:
                self.began = None
        else:
            low, self.low = self.low, None
            self.load(value << 8 | low, now)

    def save(self) -> list[Any]:
        counting = [self.mode, self.access, self.bcd, self.reload, self.following, self.began, self.gate, self.stood]
        return [*counting, self.null, self.low, self.second_next, list(self.latched), self.latched_status]

    def restore(self, state: list[Any]) -> None:
        (
            self.mode, self.access, self.bcd, self.reload, self.following, self.began, self.gate, self.stood,
            self.null, self.low, self.second_next, latched, self.latched_status,
        ) = state  # fmt: skip
        self.latched = list(latched)


class Pit:
    """pit: the three channels, and port 0x61."""

    name = "pit"
    ports: ClassVar[tuple[int, ...]] = (0x40, 0x41, 0x42, CONTROL, PORT_B)

    def __init__(self, board: Board) -> None:
        self.channels = Channel(), Channel(), Channel()
        self.channels[2].gate = False
        self.port_b = 0
        """The bits of port 0x61 that are written: gate of channel 2, speaker, and two for parity checks; and REFRESH.

        That one changes with each read, as QEMU's does, and not every 15 microseconds: else what a guest reads there
        would depend on how long the host took, and under the debugger be another.
        """
        self._board = board
        self._deadline: Deadline | None = None
        self._expected = 0
        """The clock of the tick that the deadline is for, or else of the last one, which has not been taken yet."""
        self._let_through = False
        """Whether the last tick came while IRQ 0 was not masked."""
        board.at_taken[IRQ] = self._taken
        board.set_irq(IRQ, True)  # OUT is high; programming it brings no edge

    @property
    def _now(self) -> int:
        """Guest time in clocks."""
        return _clocks(self._board.time.now())

    def set_up(self) -> None:
        """As firmware does: channel 0 ticks 18.2 times a second, channel 1 for memory refresh."""
        for number, control, count in ((0, 0x36, 0), (1, 0x54, 0x12)):
            self.channels[number].control(control)
            self.channels[number].load(count, self._now)
        self._follow_line()

    # --- IRQ 0 -------------------------------------------------------------------------------------

    def _follow_line(self) -> None:
        """After a write: the line is as OUT of channel 0 is, and its next tick has a deadline."""
        self._board.set_irq(IRQ, self.channels[0].out(self._now))
        self._await_tick(self._now)

    def _await_tick(self, after: int) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        rise = self.channels[0].next_rise(after)
        if rise is not None:
            self._expected = rise
            self._deadline = self._board.time.at(_ns(rise), self._tick)

    def _tick(self) -> None:
        """OUT of channel 0 has gone up. While it waits to be taken, another would change nothing."""
        self._deadline = None
        self._let_through = self._board.pic is not None and self._board.pic.passes(IRQ)
        self._board.pulse_irq(IRQ)

    def _taken(self) -> None:
        """The next tick may be due already: it follows at once, as under the debugger, or on a slow host, what is to
        be done in time is not. Those that went by while IRQ 0 was masked are lost, as on a PC."""
        if self._deadline is None:
            earliest = self._now - MOST_OWED
            self._await_tick(max(self._expected, earliest) if self._let_through else self._now)

    # --- ports -------------------------------------------------------------------------------------

    def read(self, port: int, size: int) -> int:
        value = 0
        for n in range(size):
            value |= self._read(port + n) << 8 * n
        return value

    def _read(self, port: int) -> int:
        if port == PORT_B:
            self.port_b ^= REFRESH
            return self._port_b_now()
        return self.channels[port - 0x40].read(self._now) if 0x40 <= port < CONTROL else 0xFF

    def _port_b_now(self) -> int:
        return self.port_b | self.channels[2].out(self._now) << 5

    def write(self, port: int, size: int, value: int) -> None:
        for n in range(size):
            self._write(port + n, value >> 8 * n & 0xFF)

    def _write(self, port: int, value: int) -> None:
        now = self._now
        if port == PORT_B:
            self.port_b = self.port_b & REFRESH | value & 0x0F
            self.channels[2].set_gate(bool(value & 1), now)
        elif port == CONTROL:
            self._control(value, now)
        elif 0x40 <= port < CONTROL:
            self.channels[port - 0x40].write(value, now)
            if port == 0x40:
                self._follow_line()

    def _control(self, value: int, now: int) -> None:
        number = value >> 6
        if number == 3:  # read-back
            for n, channel in enumerate(self.channels):
                if value >> n + 1 & 1:
                    if not value & 0x20:
                        channel.latch(now)
                    if not value & 0x10:
                        channel.latch_status(now)
        elif value >> 4 & 3 == LATCH:
            self.channels[number].latch(now)
        else:
            self.channels[number].control(value)
            if number == 0:
                self._follow_line()

    # --- state -------------------------------------------------------------------------------------

    def describe(self) -> str:
        channel = self.channels[0]
        if channel.began is None:
            return "8254 timer, channel 0 does not count"
        return f"8254 timer, channel 0 in mode {channel.mode}, {HZ / channel.reload:,.1f} Hz"

    def details(self) -> dict[str, str]:
        now = self._now
        rows = {}
        for n, one in enumerate(self.channels):
            counting = "counts" if one.counted(now) is not None else "does not count"
            rows[f"channel {n}"] = (
                f"mode {one.mode}, {counting} from {one.reload}, at {one.count(now):#06x}, "
                f"out {'high' if one.out(now) else 'low'}, gate {'open' if one.gate else 'closed'}"
            )
        return {**rows, "port 0x61": f"{self._port_b_now():#04x}", "speaker": "on" if self.port_b & 3 == 3 else "off"}

    def registers(self) -> list[dict[str, int]]:
        """As ``info pit`` shows them."""
        now = self._now
        words = ("count", "latched", "mode", "bcd", "gate")
        values = ((one.reload, one.count(now), one.mode, int(one.bcd), int(one.gate)) for one in self.channels)
        return [dict(zip(words, one, strict=True)) for one in values]

    def save(self) -> Any:
        ticks = self._deadline is not None
        return [[one.save() for one in self.channels], self.port_b, self._expected, self._let_through, ticks]

    def load(self, state: Any) -> None:
        channels, self.port_b, self._expected, self._let_through, ticks = state
        for channel, one in zip(self.channels, channels, strict=True):
            channel.restore(one)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if ticks:
            self._deadline = self._board.time.at(_ns(self._expected), self._tick)
