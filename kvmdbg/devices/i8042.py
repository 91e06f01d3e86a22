"""The i8042 keyboard controller, at ports 0x60 and 0x64, with a keyboard and a mouse on it (ps2.py).

Source: IBM PC AT and PS/2 Technical References, keyboard controller.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, ClassVar

from kvmdbg.devices.ps2 import BREAK, TO_SET_1, KeyboardDevice, Mouse, Ps2Device
from kvmdbg.devices.registry import device
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import GuestEnd

DATA, COMMAND = 0, 4
OUTPUT_FULL, SYSTEM, NOT_LOCKED, FROM_MOUSE = 1, 4, 0x10, 0x20
WROTE_COMMAND = 8
"""The last write was to the command port."""
CONFIG_IRQ1, CONFIG_IRQ12, CONFIG_SYSTEM, CONFIG_TRANSLATE = 1, 2, 4, 0x40
CONFIG_NO_KEYBOARD, CONFIG_NO_MOUSE = 0x10, 0x20
A20 = 2
"""Of the output port, and of the commands 0xDD and 0xDF: address line 20 works."""
SELF_TEST_PASSED = 0x55
MILLISECOND = 1_000_000
LONGEST_HOLD = 60_000
BYTE_TIME = MILLISECOND
"""How long a byte of the keyboard's is on its way, in ns: 11 bits at 10 to 16.7 kHz."""
IRQ, MOUSE_IRQ = 1, 12
MOST_ANSWERS, MOST_UNREAD = 16, 1 << 16
"""Bytes that wait to be read: of the controller's own, of a device's."""
POLLS = 8
"""More reads of the status than one makes who is about to write a command."""
CONTROLLER, KEYBOARD, MOUSE = "controller", "keyboard", "mouse"

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
    "print": 0xE037, "sysrq": 0x54, "pause": 0xE11D45, "less": 0x56, "meta_l": 0xE05B, "meta_r": 0xE05C, "menu": 0xE05D,
    **{f"kp_{digit}": code for digit, code in enumerate(b"\x52\x4f\x50\x51\x4b\x4c\x4d\x47\x48\x49")},
    "kp_multiply": 0x37, "kp_subtract": 0x4A, "kp_add": 0x4E, "kp_decimal": 0x53, "kp_divide": 0xE035,
    "kp_enter": 0xE01C,
}  # fmt: skip
"""Scan codes of set 1 by QEMU's names of keys; 0xE0xx has a prefix. Pause is the one of two codes behind 0xE1."""
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
    return b"".join(_down_and_up(key))


def _down_and_up(key: str) -> tuple[bytes, bytes]:
    names = key.split("-") if key not in KEYS and not key.endswith("-") else [key]
    if key.endswith("-") and len(key) > 1:
        names = [*key[:-2].split("-"), "-"]
    down, up, held = b"", b"", set[str]()
    for name in names:
        if name.lower() not in KEYS:
            raise UsageError(f"there is no key {name!r}; there are letters, digits, and {', '.join(sorted(KEYS)[20:])}")
        code = KEYS[name.lower()]
        if code == KEYS["pause"]:  # which tells at once that it has been let go
            down += b"\xe0\x46\xe0\xc6" if held & {"ctrl", "ctrl_r"} else b"\xe1\x1d\x45\xe1\x9d\xc5"
            continue
        if code == KEYS["print"] and held & {"alt", "alt_r"}:
            code = KEYS["sysrq"]
        held.add(name.lower())
        prefix = b"\xe0" if code > 0xFF else b""
        down += prefix + bytes((code & 0xFF,))
        up = prefix + bytes((code & 0xFF | 0x80,)) + up
    return down, up


@device
class Keyboard:
    """i8042: keyboard and mouse, and their controller at ports 0x60 and 0x64; sendkey, type and mouse use them."""

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
        """The command whose byte is to come next at the data port."""
        self.keyboard, self.mouse = KeyboardDevice(), Mouse()
        self._answers: deque[tuple[int, str]] = deque(maxlen=MOST_ANSWERS)
        """The controller's own bytes, and from whom they are to seem; the oldest are lost where nobody reads them."""
        self._output: tuple[int, str] | None = None
        """What is read next, and from whom it is."""
        self._last = 0
        """What was read last."""
        self._wrote = WROTE_COMMAND
        """That bit of the status."""
        self._ready_at = 0
        """When the keyboard may have sent its next byte, in the guest's time."""
        self._asked = False
        """What comes is an answer to a command, for which no guest that knows it waits."""
        self._waits_until = 0
        """What of that has a deadline."""
        self._held: list[tuple[int, bytes]] = []
        """When keys are released, in the guest's time, and their break codes."""
        self._break = False
        """The prefix of a break code has been taken off, to be bit 7 of the next byte."""
        self._raised: set[int] = set()
        """Interrupt lines that are up."""
        self.polled = False
        """Whether the guest has read the status again and again, as one does that waits for a key."""
        self._looked = 0
        """How often it has read that since the last write."""

    # --- from outside ------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Press and release a key or a combination, from any thread. UsageError."""
        codes = scan_codes(key)
        self._board.arrived(self.name, "press", key)
        self._send(codes)

    def hold(self, held: tuple[str, int]) -> None:
        """Press a key or a combination, and release it when so many ms of the guest's time are over. UsageError."""
        key, milliseconds = held
        down, up = _down_and_up(key)
        if not 0 <= milliseconds <= LONGEST_HOLD:
            raise UsageError(f"a key is held for 0 to {LONGEST_HOLD} ms, not for {milliseconds}")
        if self._board.pic is None:
            raise UsageError("keys are held in the guest's time, which this guest does not have: see --irqchip user")
        self._board.arrived(self.name, "hold", held)
        with self._lock:
            self._send(down)
            self._held.append((self._board.time.now() + milliseconds * MILLISECOND, up))
            self._board.time.at(self._held[-1][0], self._let_go)

    def _let_go(self) -> None:
        """Release the keys that have been held for long enough."""
        with self._lock:
            now = self._board.time.now()
            over = [up for when, up in self._held if when <= now]
            self._held = [(when, up) for when, up in self._held if when > now]
            self._send(b"".join(over))

    def _send(self, codes: bytes) -> None:
        with self._lock:
            self.keyboard.press(codes)
            self._asked = False
            self._fill_output_buffer()

    def type(self, text: str) -> None:
        """Type a text. UsageError."""
        for key in keys_of(text):
            self.press(key)

    def move(self, moved: tuple[int, int, int]) -> None:
        """Move the mouse to the right and down, and hold these buttons (1 left, 2 right, 4 middle); from any thread."""
        self._board.arrived(self.name, "move", moved)
        right, down, buttons = moved
        with self._lock:
            self.mouse.move(right, -down, buttons)
            self._fill_output_buffer()

    # --- for firmware ------------------------------------------------------------------------------

    def ask_mouse(self, *sent: int) -> bytes:
        """What the mouse answers to these bytes: nobody else sees that, as if interrupts were off meanwhile."""
        with self._lock:
            self.mouse.queue.clear()
            if self._output is not None and self._output[1] == MOUSE:
                self._output = None
            for value in sent:
                self.mouse.take(value)
            answer = bytes(self.mouse.queue)
            self.mouse.queue.clear()
            self._fill_output_buffer()
            return answer

    def open_mouse(self, interrupts: int) -> None:
        """Let what the mouse sends through, with these bits for interrupts in the configuration."""
        with self._lock:
            self.config = self.config & ~CONFIG_NO_MOUSE | interrupts
            self._fill_output_buffer()

    # --- what is to be read ------------------------------------------------------------------------

    def _fill_output_buffer(self) -> None:
        """Take the next byte into the output buffer if that is empty; the lines as it has it."""
        while self._output is None and (found := self._next()) is not None:
            self._output = found
        self._show()

    def _show(self) -> None:
        """The lines as the output buffer has it. While the keyboard is switched off nothing raises its line: who
        does that before a command reads the answer, and not the handler of IRQ 1.
        """
        wanted = set()
        if self._output is not None:
            if self._output[1] == MOUSE:
                wanted = {MOUSE_IRQ} if self.config & CONFIG_IRQ12 else set()
            elif self.config & CONFIG_IRQ1 and not self.config & CONFIG_NO_KEYBOARD:
                wanted = {IRQ}
        for line in self._raised - wanted:
            self._board.set_irq(line, False)
        for line in wanted - self._raised:
            self._board.set_irq(line, True)
        self._raised = wanted

    def _next(self) -> tuple[int, str] | None:
        if self._answers:
            return self._answers.popleft()
        while self.keyboard.queue and not self.config & CONFIG_NO_KEYBOARD and self._is_ready():
            value = self.keyboard.send()
            if value == BREAK and self.config & CONFIG_TRANSLATE:
                self._break = True
                continue
            value, self._break = self._translated(value, self._break), False
            return value, KEYBOARD
        if self.mouse.queue and not self.config & CONFIG_NO_MOUSE:
            return self.mouse.send(), MOUSE
        return None

    def _is_ready(self) -> bool:
        """Whether the keyboard has had the time to send a byte since the last one was read.

        A handler of IRQ 1 that calls another one reads the same byte twice, as on a PC. Who polls gets them at once.
        """
        time = self._board.time
        if not time.runs or time.now() >= self._ready_at:
            return True
        self._await()
        return False

    def _await(self) -> None:
        if self._waits_until != self._ready_at:
            self._waits_until = self._ready_at
            self._board.time.at(self._ready_at, self.hurry)

    def hurry(self) -> None:
        """Whatever the keyboard is to send has come."""
        with self._lock:
            self._ready_at = self._waits_until = 0
            self._fill_output_buffer()

    def read(self, offset: int, size: int) -> int:
        with self._lock:
            if offset == COMMAND:
                self._fill_output_buffer()
                self._looked += 1
                self.polled |= self._looked > POLLS
                full = 0 if self._output is None else OUTPUT_FULL | (FROM_MOUSE if self._output[1] == MOUSE else 0)
                return SYSTEM | NOT_LOCKED | self._wrote | full
            value = self._last
            if self._output is not None:
                value = self._last = self._output[0]
                pic = self._board.pic
                if self._output[1] == KEYBOARD and not self._asked and pic is not None and pic.passes(IRQ):
                    self._ready_at = self._board.time.now() + BYTE_TIME
                self._output = None
                for line in self._raised:
                    self._board.set_irq(line, False)
                self._raised = set()
                self._fill_output_buffer()
            return value

    # --- what is written ---------------------------------------------------------------------------

    def write(self, offset: int, size: int, value: int) -> GuestEnd | None:
        with self._lock:
            self._looked = 0
            self._asked = True
            self._wrote = WROTE_COMMAND if offset == COMMAND else 0
            end = self._command(value & 0xFF) if offset == COMMAND else self._data(value & 0xFF)
            self._fill_output_buffer()
            return end

    def _command(self, value: int) -> GuestEnd | None:
        answers = {0x20: self.config, 0xAA: SELF_TEST_PASSED, 0xAB: 0, 0xA9: 0, 0xC0: 0x80, 0xD0: self.output_port}
        switches = {
            0xA7: (CONFIG_NO_MOUSE, True), 0xA8: (CONFIG_NO_MOUSE, False),
            0xAD: (CONFIG_NO_KEYBOARD, True), 0xAE: (CONFIG_NO_KEYBOARD, False),
        }  # fmt: skip
        if value in answers:
            self._answers.append((answers[value], CONTROLLER))
        elif value in (0x60, 0xD1, 0xD2, 0xD3, 0xD4):
            self.waits = value
        elif value in switches:
            bit, on = switches[value]
            self.config = self.config | bit if on else self.config & ~bit
        elif value in (0xDD, 0xDF):
            self.output_port = self.output_port & ~A20 | value & A20
            self._board.set_a20(bool(value & A20))
        elif value & 0xF1 == 0xF0:
            return GuestEnd(0, f"it asked the keyboard controller for a reset ({value:#x} to port 0x64)")
        return None

    def _data(self, value: int) -> GuestEnd | None:
        waits, self.waits = self.waits, 0
        if waits == 0x60:
            self.config = value
        elif waits == 0xD1:
            self.output_port = value
            self._board.set_a20(bool(value & A20))
            if not value & 1:
                return GuestEnd(0, "it pulled the reset line through the keyboard controller's output port")
        elif waits == 0xD2:
            self._answers.append((value, KEYBOARD))
        elif waits == 0xD3:
            self._answers.append((value, MOUSE))
        elif waits == 0xD4:
            self.config &= ~CONFIG_NO_MOUSE  # sending opens the line
            self._tell(self.mouse, value)
        else:
            self.config &= ~CONFIG_NO_KEYBOARD
            self._tell(self.keyboard, value)
        return None

    @staticmethod
    def _tell(device: Ps2Device, value: int) -> None:
        """Give a device a byte; one whose answers nobody reads listens no more."""
        if len(device.queue) < MOST_UNREAD:
            device.take(value)

    # --- state -------------------------------------------------------------------------------------

    @property
    def _to_read(self) -> bytes:
        """What is there, as the guest would read it."""
        keys, broken = bytearray(), self._break
        for value in self.keyboard.queue:
            if value == BREAK and self.config & CONFIG_TRANSLATE:
                broken = True
                continue
            keys.append(self._translated(value, broken))
            broken = False
        first = [] if self._output is None else [self._output[0]]
        return bytes([*first, *(value for value, _ in self._answers), *keys, *self.mouse.queue])

    def _translated(self, value: int, broken: bool) -> int:
        """A byte of the keyboard's; ``broken``: it is of a key that was let go."""
        if not self.config & CONFIG_TRANSLATE:
            return value
        return TO_SET_1.get(value, value) | (0x80 if broken else 0)

    def describe(self) -> str:
        return f"i8042 keyboard controller, {len(self._to_read)} bytes to read"

    def details(self) -> dict[str, str]:
        names = ("scroll lock", "num lock", "caps lock")
        leds = [name for bit, name in enumerate(names) if self.keyboard.leds >> bit & 1]
        mouse = self.mouse
        return {
            "to read": self._to_read.hex(" ") or "nothing",
            "configuration": f"{self.config:#04x}",
            "output port": f"{self.output_port:#04x} (A20 {'on' if self._board.a20 else 'off'})",
            "interrupts": f"IRQ {IRQ}, IRQ {MOUSE_IRQ}" if self._board.has_interrupts else "none (see --irqchip)",
            "keyboard": f"scan code set {self.keyboard.codes}, {'on' if self.keyboard.scans else 'off'}",
            "lights": ", ".join(leds) or "none",
            "mouse": f"{'reports' if mouse.reports else 'does not report'}, {mouse.rate} samples a second",
        }

    def save(self) -> Any:
        here = [self.config, self.output_port, self.waits, list(self._answers), self._output, self._last, self._break]
        held = [[when, list(up)] for when, up in self._held]
        asked = [self._wrote, self._asked, self._ready_at, self._waits_until, self._board.a20]
        return [*here, *asked, held, self.keyboard.save(), self.mouse.save()]

    def load(self, state: Any) -> None:
        self.config, self.output_port, self.waits, answers, output, self._last, self._break, *rest = state
        self._wrote, self._asked, self._ready_at, awaited, a20, held, keyboard, mouse = rest
        self._board.set_a20(a20)
        self._answers = deque(((value, source) for value, source in answers), MOST_ANSWERS)
        self._output = None if output is None else (output[0], output[1])
        self.keyboard.load(keyboard)
        self.mouse.load(mouse)
        self._waits_until = 0
        if awaited:
            self._await()
        self._held = [(when, bytes(up)) for when, up in held]
        for when, _ in self._held:
            self._board.time.at(when, self._let_go)
        self._show()
