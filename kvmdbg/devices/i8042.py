"""The i8042 keyboard controller and a keyboard on it, at ports 0x60 and 0x64.

Source: IBM PC AT Technical Reference, keyboard controller; scan code set 1, as the controller translates it. There is
no mouse.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import GuestEnd

DATA, COMMAND = 0, 4
OUTPUT_FULL, SYSTEM = 1, 4
CONFIG_IRQ1, CONFIG_SYSTEM, CONFIG_NO_KEYBOARD, CONFIG_TRANSLATE = 1, 4, 0x10, 0x40
ACK, SELF_TEST_PASSED, RESET_PASSED = 0xFA, 0x55, 0xAA
IRQ = 1
TAKES_BYTE = frozenset((0xED, 0xF0, 0xF3))

_ROWS = {0x02: "1234567890-=", 0x10: "qwertyuiop[]", 0x1E: "asdfghjkl;'`", 0x2B: "\\zxcvbnm,./"}
KEYS = {char: first + n for first, row in _ROWS.items() for n, char in enumerate(row)}
KEYS |= {
    "esc": 0x01, "backspace": 0x0E, "tab": 0x0F, "ret": 0x1C, "enter": 0x1C, "ctrl": 0x1D, "shift": 0x2A,
    "shift_r": 0x36, "alt": 0x38, "spc": 0x39, "space": 0x39, "caps_lock": 0x3A, "num_lock": 0x45, "scroll_lock": 0x46,
    **{f"f{n}": 0x3A + n for n in range(1, 11)}, "f11": 0x57, "f12": 0x58, "minus": 0x0C, "equal": 0x0D, "comma": 0x33,
    "dot": 0x34, "slash": 0x35, "backslash": 0x2B, "semicolon": 0x27, "apostrophe": 0x28, "grave_accent": 0x29,
    "bracket_left": 0x1A, "bracket_right": 0x1B,
    "home": 0xE047, "up": 0xE048, "pgup": 0xE049, "left": 0xE04B, "right": 0xE04D, "end": 0xE04F, "down": 0xE050,
    "pgdn": 0xE051, "insert": 0xE052, "delete": 0xE053, "ctrl_r": 0xE01D, "alt_r": 0xE038,
}  # fmt: skip
"""Scan codes of set 1 by QEMU's names of keys; 0xE0xx has a prefix."""
_SHIFTED = dict(zip('!@#$%^&*()_+{}:"~|<>?', "1234567890-=[];'`\\,./", strict=True))
_NAMED = {" ": "spc", "\n": "ret", "\r": "ret", "\t": "tab", "\b": "backspace", "\x7f": "backspace", "\x1b": "esc"}


def keys_of(text: str) -> list[str]:
    """The keys, as ``sendkey`` names them, that type a text on a US keyboard. UsageError for what none does."""
    found = []
    for char in text:
        if char in _NAMED:
            found.append(_NAMED[char])
        elif char in _SHIFTED:
            found.append(f"shift-{_SHIFTED[char]}")
        elif char.isascii() and char.isalpha():
            found.append(char if char.islower() else f"shift-{char.lower()}")
        elif char in KEYS:
            found.append(char)
        elif len(char) == 1 and 1 <= ord(char) < 27:
            found.append(f"ctrl-{chr(ord(char) + 96)}")
        else:
            raise UsageError(f"no key of a US keyboard types {char!r}")
    return found


def scan_codes(key: str) -> bytes:
    """Make and break codes of a key or a combination, as ``ctrl-alt-delete``. UsageError."""
    names = key.split("-") if key not in KEYS and not key.endswith("-") else [key]
    if key.endswith("-") and len(key) > 1:
        names = [*key[:-2].split("-"), "-"]
    down, up = b"", b""
    for name in names:
        if name.lower() not in KEYS:
            raise UsageError(f"there is no key {name!r}; there are letters, digits, and {', '.join(sorted(KEYS)[20:])}")
        code = KEYS[name.lower()]
        prefix = b"\xe0" if code > 0xFF else b""
        down += prefix + bytes((code & 0xFF,))
        up = prefix + bytes((code & 0xFF | 0x80,)) + up
    return down + up


@device
class Keyboard:
    """i8042: a keyboard and its controller at ports 0x60 and 0x64; sendkey and type press its keys."""

    name = "i8042"
    options: ClassVar[dict[str, int]] = {"iobase": 0x60, "iosize": 5}
    standard = True
    only: ClassVar[tuple[int, ...]] = (DATA, COMMAND)

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self._lock = threading.RLock()
        self.config = CONFIG_IRQ1 | CONFIG_SYSTEM | CONFIG_TRANSLATE
        self.output_port = 0x03
        self.waits = 0
        """The command whose byte is to come next at the data port; of the keyboard's own with bit 8."""
        self.queue: deque[int] = deque()

    def press(self, key: str) -> None:
        """Press and release a key or a combination, from any thread. UsageError."""
        codes = scan_codes(key)
        self._board.arrived(self.name, "press", key)
        with self._lock:
            self.queue.extend(codes)
            self._interrupt()

    def type(self, text: str) -> None:
        """Type a text. UsageError."""
        for key in keys_of(text):
            self.press(key)

    def _interrupt(self) -> None:
        self._board.set_irq(IRQ, bool(self.queue) and bool(self.config & CONFIG_IRQ1))

    def read(self, offset: int, size: int) -> int:
        with self._lock:
            if offset == COMMAND:
                return SYSTEM | 0x18 | (OUTPUT_FULL if self.queue else 0)
            value = self.queue.popleft() if self.queue else 0
            self._board.set_irq(IRQ, False)
            self._interrupt()
            return value

    def write(self, offset: int, size: int, value: int) -> GuestEnd | None:
        with self._lock:
            end = self._command(value) if offset == COMMAND else self._data(value)
            self._interrupt()
            return end

    def _command(self, value: int) -> GuestEnd | None:
        answers = {0x20: self.config, 0xAA: SELF_TEST_PASSED, 0xAB: 0, 0xA9: 0xFF, 0xC0: 0x80, 0xD0: self.output_port}
        if value in answers:
            self.queue.append(answers[value])
        elif value in (0x60, 0xD1, 0xD2, 0xD3, 0xD4):
            self.waits = value
        elif value in (0xAD, 0xAE):
            self.config = self.config & ~CONFIG_NO_KEYBOARD | (CONFIG_NO_KEYBOARD if value == 0xAD else 0)
        elif value & 0xF1 == 0xF0:
            return GuestEnd(0, f"it asked the keyboard controller for a reset ({value:#x} to port 0x64)")
        return None

    def _data(self, value: int) -> GuestEnd | None:
        waits, self.waits = self.waits, 0
        if waits == 0x60:
            self.config = value
        elif waits == 0xD1:
            self.output_port = value
            if not value & 1:
                return GuestEnd(0, "it pulled the reset line through the keyboard controller's output port")
        elif waits == 0xD2:
            self.queue.append(value)
        elif waits == 0xD4:
            self.queue.append(0xFE)  # no mouse there: resend
        elif waits & 0x100:
            self.queue.append(ACK)
        elif not waits:
            self.queue.extend({0xFF: (ACK, RESET_PASSED), 0xF2: (ACK, 0xAB, 0x83), 0xEE: (0xEE,)}.get(value, (ACK,)))
            self.waits = value | 0x100 if value in TAKES_BYTE else 0
        return None

    def describe(self) -> str:
        return f"i8042 keyboard controller, {len(self.queue)} bytes to read"

    def details(self) -> dict[str, str]:
        return {
            "to read": bytes(self.queue).hex(" ") or "nothing",
            "configuration": f"{self.config:#04x}",
            "output port": f"{self.output_port:#04x} (A20 {'on' if self.output_port & 2 else 'off'})",
            "interrupts": f"IRQ {IRQ}" if self._board.has_interrupts else "none (see --irqchip)",
        }

    def save(self) -> Any:
        return [self.config, self.output_port, self.waits, list(self.queue)]

    def load(self, state: Any) -> None:
        self.config, self.output_port, self.waits, queue = state
        self.queue = deque(queue)
        self._interrupt()
