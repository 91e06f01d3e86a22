"""Keyboard and mouse at the two ports of the i8042: what they are told, and the bytes that they send.

Sources: IBM PS/2 Hardware Interface Technical Reference, keyboard and auxiliary device; Microsoft's description of the
IntelliMouse for the wheel's identification.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

ACK, RESEND, SELF_TEST_PASSED, BREAK = 0xFA, 0xFE, 0xAA, 0xF0
MOST_WAITING = 256
"""Bytes of movements that wait; what comes then is lost."""

SET_2 = bytes.fromhex(
    "00 76 16 1e 26 25 2e 36 3d 3e 46 45 4e 55 66 0d 15 1d 24 2d 2c 35 3c 43 44 4d 54 5b 5a 14 1c 1b"
    "23 2b 34 33 3b 42 4b 4c 52 0e 12 5d 1a 22 21 2a 32 31 3a 41 49 4a 59 7c 11 29 58 05 06 04 0c 03"
    "0b 83 0a 01 09 77 7e 6c 75 7d 7b 6b 73 74 79 69 72 7a 70 71 84 60 61 78 07 0f 17 1f 27 2f 37 3f"
    "47 4f 56 5e 08 10 18 20 28 30 38 40 48 50 57 6f 13 19 39 51 53 5c 5f 62 63 64 65 67 68 6a 6d 6e"
)
"""Scan codes of set 2 by those of set 1."""
SET_3 = bytes.fromhex(
    "00 08 16 1e 26 25 2e 36 3d 3e 46 45 4e 55 66 0d 15 1d 24 2d 2c 35 3c 43 44 4d 54 5b 5a 11 1c 1b"
    "23 2b 34 33 3b 42 4b 4c 52 0e 12 5c 1a 22 21 2a 32 31 3a 41 49 4a 59 7e 19 29 14 07 0f 17 1f 27"
    "2f 37 3f 47 4f 76 5f 6c 75 7d 84 6b 73 74 7c 69 72 7a 70 71 57 00 13 56 5e"
)
"""Scan codes of set 3 by those of set 1."""
EXTENDED_IN_SET_3 = {
    0x1C: 0x79, 0x1D: 0x58, 0x35: 0x77, 0x37: 0x57, 0x38: 0x39, 0x46: 0x62, 0x47: 0x6E, 0x48: 0x63, 0x49: 0x6F,
    0x4B: 0x61, 0x4D: 0x6A, 0x4F: 0x65, 0x50: 0x60, 0x51: 0x6D, 0x52: 0x67, 0x53: 0x64, 0x5B: 0x8B, 0x5C: 0x8C,
    0x5D: 0x8D,
}  # fmt: skip
"""By those of set 1 behind the prefix 0xE0; set 3 has none."""
PAUSE, PAUSE_IN_SET_3 = bytes.fromhex("e11d45e19dc5"), b"\x62"
TO_SET_1 = {code: one for one, code in enumerate(SET_2) if one} | {0x02: 0x41, 0x7F: 0x54}
"""What the controller makes of a byte of set 2 where it translates; other bytes stay."""


class Ps2Device:
    """``queue`` has the bytes that it is to send."""

    def __init__(self) -> None:
        self.queue: deque[int] = deque()
        self.command = 0
        """The command whose byte comes next; 0: none."""
        self.last = 0
        """The byte sent last, for a resend."""

    def send(self) -> int:
        self.last = self.queue.popleft()
        return self.last

    def take(self, value: int) -> None:
        """A byte that the guest has written to it."""
        command, self.command = self.command, 0
        if command:
            self._byte(command, value)
        else:
            self._obey(value)

    def _byte(self, command: int, value: int) -> None:
        raise NotImplementedError

    def _obey(self, command: int) -> None:
        raise NotImplementedError


class KeyboardDevice(Ps2Device):
    """A keyboard with scan code sets 1 to 3; in set 3, too, all keys tell that they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = 2
        """The scan code set."""
        self.scans = True
        self.leds = 0
        """Bit 0: scroll lock, 1: num lock, 2: caps lock."""

    def press(self, codes: bytes) -> None:
        """Keys go down and up; ``codes`` are of set 1."""
        if self.scans:
            self.queue.extend(IN_SET[self.codes](codes))

    def _byte(self, command: int, value: int) -> None:
        if value >= 0xED:  # no such byte: a command in its place
            self._obey(value)
            return
        if command == 0xED:
            self.leds = value & 7
        elif command == 0xF0 and value > 3:
            self.queue.append(RESEND)
            return
        self.queue.append(ACK)
        if command == 0xF0 and not value:
            self.queue.append(self.codes)
        elif command == 0xF0:
            self.codes = value

    def _obey(self, command: int) -> None:
        if command == 0xEE:
            self.queue.append(0xEE)
        elif command == 0xFE:
            self.queue.append(self.last)
        elif command == 0xF2:
            self.queue.extend((ACK, 0xAB, 0x83))
        elif command in (0xFF, 0xF6, 0xF5):
            self.codes, self.scans, self.leds = 2, command != 0xF5, self.leds if command != 0xFF else 0
            self.queue.clear()
            self.queue.extend((ACK, SELF_TEST_PASSED) if command == 0xFF else (ACK,))
        elif command >= 0xED:
            self.scans |= command == 0xF4
            self.command = command if command in (0xED, 0xF0, 0xF3, 0xFB, 0xFC, 0xFD) else 0
            self.queue.append(ACK)
        else:
            self.queue.append(RESEND)

    def save(self) -> Any:
        return [list(self.queue), self.command, self.last, self.codes, self.scans, self.leds]

    def load(self, state: Any) -> None:
        queue, self.command, self.last, self.codes, self.scans, self.leds = state
        self.queue = deque(queue)


def _in_set_2(codes: bytes) -> bytes:
    found = bytearray()
    for code in codes:
        if code in (0xE0, 0xE1):
            found.append(code)
            continue
        if code & 0x80:
            found.append(BREAK)
        key = code & 0x7F
        found.append(SET_2[key] if key < len(SET_2) else key)
    return bytes(found)


def _in_set_3(codes: bytes) -> bytes:
    if PAUSE in codes:
        return PAUSE_IN_SET_3.join(map(_in_set_3, codes.split(PAUSE)))
    found, is_extended = bytearray(), False
    for code in codes:
        if code == 0xE0:
            is_extended = True
            continue
        key = code & 0x7F
        own = EXTENDED_IN_SET_3.get(key, 0) if is_extended else SET_3[key] if key < len(SET_3) else 0
        if own:
            found += bytes((BREAK, own)) if code & 0x80 else bytes((own,))
        is_extended = False
    return bytes(found)


IN_SET: dict[int, Callable[[bytes], bytes]] = {1: bytes, 2: _in_set_2, 3: _in_set_3}
"""What a key sends, by the scan code set."""


class Mouse(Ps2Device):
    """A mouse with three buttons, and a wheel where the guest asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self._knocks: deque[int] = deque(maxlen=3)
        """The last sample rates: 200, 100 and 80 ask for the wheel, 200, 200 and 80 for five buttons then."""
        self._defaults()
        self.identity = 0

    def _defaults(self) -> None:
        self.rate, self.resolution, self.double = 100, 2, False
        self.reports = self.remote = self.wrapped = False
        self.moved = [0, 0]
        """Counts to the right and up that have not been sent."""
        self.buttons = 0
        """Bit 0: left, 1: right, 2: middle."""

    def move(self, right: int, up: int, buttons: int) -> None:
        self.moved[0] += right
        self.moved[1] += up
        self.buttons = buttons & 7
        if not self.reports or self.remote or self.wrapped:
            if not self.remote:
                self.moved = [0, 0]
            return
        self._report()
        while any(self.moved) and len(self.queue) < MOST_WAITING:
            self._report()
        self.moved = [0, 0]

    def _report(self) -> None:
        """Send a packet of what it has moved, or a part of it."""
        steps = [max(-255, min(255, one)) for one in self.moved]
        self.moved = [one - step for one, step in zip(self.moved, steps, strict=True)]
        signs = (steps[0] < 0) << 4 | (steps[1] < 0) << 5
        self.queue.extend((8 | self.buttons | signs, steps[0] & 0xFF, steps[1] & 0xFF))
        if self.identity:
            self.queue.append(0)

    def take(self, value: int) -> None:
        if self.wrapped and value not in (0xFF, 0xEC):
            self.queue.append(value)
            return
        super().take(value)

    def _byte(self, command: int, value: int) -> None:
        self.queue.append(ACK)
        if command == 0xE8:
            self.resolution = value & 3
            return
        self.rate = value
        self._knocks.append(value)
        if list(self._knocks) == [200, 100, 80]:
            self.identity = 3
        elif list(self._knocks) == [200, 200, 80] and self.identity == 3:
            self.identity = 4

    def _obey(self, command: int) -> None:
        if command == 0xFE:
            self.queue.append(self.last)
            return
        if command in (0xFF, 0xF6):
            self.queue.clear()
            self._defaults()
        elif command in (0xF3, 0xE8):
            self.command = command
        elif command in (0xF4, 0xF5):
            self.reports = command == 0xF4
        elif command in (0xE6, 0xE7):
            self.double = command == 0xE7
        elif command in (0xF0, 0xEA):
            self.remote, self.moved = command == 0xF0, [0, 0]
        elif command in (0xEE, 0xEC):
            self.wrapped = command == 0xEE
        elif command not in (0xF2, 0xEB, 0xE9):
            self.queue.append(RESEND)
            return
        self.queue.append(ACK)
        if command == 0xFF:
            self.identity = 0
            self.queue.extend((SELF_TEST_PASSED, 0))
        elif command == 0xF2:
            self.queue.append(self.identity)
        elif command == 0xEB:
            self._report()
        elif command == 0xE9:
            left, right, middle = self.buttons & 1, self.buttons >> 1 & 1, self.buttons >> 2
            flags = self.remote << 6 | self.reports << 5 | self.double << 4 | left << 2 | middle << 1 | right
            self.queue.extend((flags, self.resolution, self.rate))

    def save(self) -> Any:
        modes = [self.rate, self.resolution, self.double, self.reports, self.remote, self.wrapped, self.identity]
        return [list(self.queue), self.command, self.last, list(self._knocks), *modes, list(self.moved), self.buttons]

    def load(self, state: Any) -> None:
        queue, self.command, self.last, knocks, *modes, moved, self.buttons = state
        self.rate, self.resolution, self.double, self.reports, self.remote, self.wrapped, self.identity = modes
        self.queue, self._knocks, self.moved = deque(queue), deque(knocks, maxlen=3), list(moved)
