"""Keys that are typed while the guest runs in the foreground go to the guest.

Nothing is read from the terminal unless the guest looks for what is typed (``set keys``): it stays for the prompt then.
The terminal is in raw mode only while keys go to the guest, but for Ctrl-C and Ctrl-Z, which stay what they are; it is
put back before the prompt, before kvmdbg is suspended, and however the run ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from kvmdbg import suspending
from kvmdbg.errors import KvmdbgError
from kvmdbg.ui.guest_keys import keys_for, with_alt

TAKES_KEYS = False
with suppress(ImportError):  # Windows: what is typed stays for the prompt
    import termios

    TAKES_KEYS = True

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyPress

    from kvmdbg.core.session import Session

LOOKS = 0.05
"""Seconds between two looks at where keys go, and after which the escape key was that key and no sequence's start."""
PREFIX = "\x1d"
"""Ctrl-]: the next key is one that the terminal would not give on."""
BEHIND_PREFIX = {"c": "\x03", "z": "\x1a", PREFIX: PREFIX}
SHOWS = "sS"
PATIENCE = 5.0
"""Seconds that the end of the shown screen is waited for."""
SAID = {
    to: f"Keys go to the guest's {name} now; Ctrl-C interrupts it, Ctrl-] s shows its screen, Ctrl-] c types Ctrl-C."
    for to, name in (("keyboard", "keyboard"), ("serial", "serial port"))
}


class TypingThrough:
    """``setting`` gives the value of ``set keys``; ``tell`` shows a sentence.

    ``show`` shows the guest's screen until the user leaves it, or the function that it is given says so.
    """

    def __init__(
        self,
        session: Session,
        setting: Callable[[], str],
        tell: Callable[[str], None],
        show: Callable[[Callable[[], bool]], None],
    ) -> None:
        self._session = session
        self._setting = setting
        self._tell = tell
        self._show = show
        self._screen_left = threading.Event()
        """Set unless the screen is being shown."""
        self._screen_left.set()
        self._file = sys.stdin.fileno()
        self._lock = threading.RLock()
        """Held while the terminal is read or its settings are changed."""
        self._active = False
        self._kept: list[Any] | None = None
        """The terminal's settings, while it has others."""
        self._to = ""
        self._said: set[str] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._parser = Parser(self._press)
        self._decoder = getincrementaldecoder("utf-8")("ignore")
        self._after_prefix = False

    # --- on the shell's thread ---------------------------------------------------------------------

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While inside, what is typed goes to the guest if it looks for that."""
        if not TAKES_KEYS or self._setting() == "none" or threading.current_thread() is not threading.main_thread():
            yield
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="kvmdbg-keys", daemon=True)
            self._thread.start()
        before = signal.signal(signal.SIGTSTP, self._suspend)
        self._active = True
        self._wake.set()
        try:
            yield
        finally:
            self._release()
            signal.signal(signal.SIGTSTP, before)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While inside, somebody else reads the terminal."""
        active = self._active
        self._release()
        try:
            yield
        finally:
            self._active = active
            if active:
                self._wake.set()

    def _release(self) -> None:
        self._active = False
        self._wake.clear()
        self._screen_left.wait(PATIENCE)
        with self._lock:
            self._put_back()
            self._after_prefix = False

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the terminal is as it was while kvmdbg is stopped. The reader changes it again afterwards."""
        active, self._active = self._active, False
        with self._lock:
            self._put_back()
        suspending.suspend()
        self._active = active

    # --- the terminal ------------------------------------------------------------------------------

    def _make_raw(self) -> None:
        """Every key is given on as it comes, and not shown, but for those of signals."""
        if self._kept is not None or os.tcgetpgrp(self._file) != os.getpgrp():
            return
        settings = termios.tcgetattr(self._file)
        self._kept = termios.tcgetattr(self._file)
        settings[0] &= ~(termios.IXON | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP)
        settings[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
        for key, value in ((termios.VMIN, b"\1"), (termios.VTIME, b"\0"), (termios.VQUIT, b"\0")):
            settings[6][key] = value
        termios.tcsetattr(self._file, termios.TCSANOW, settings)

    def _put_back(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            with suppress(OSError, termios.error):  # it has gone
                termios.tcsetattr(self._file, termios.TCSANOW, kept)

    # --- on the reader's thread --------------------------------------------------------------------

    def _read(self) -> None:
        with suppress(OSError, termios.error, ValueError):  # the terminal has gone
            while True:
                self._wake.wait()
                if self._kept is None:
                    threading.Event().wait(LOOKS)  # a step is over by then
                with self._lock:
                    if not self._active:
                        continue
                    self._look()
                if self._kept is None:
                    continue
                if not select.select([self._file], [], [], LOOKS)[0]:
                    self._parser.flush()
                    continue
                with self._lock:
                    data = os.read(self._file, 1024) if self._active and self._kept is not None else b""
                if data:
                    self._give(data)

    def _look(self) -> None:
        """Find out where keys go now."""
        wanted = self._setting()
        with suppress(Exception):  # another debugger may be making the guest anew
            wanted = self._session.peripherals.takes_keys if wanted == "auto" else wanted
        to = wanted if wanted in SAID else ""
        if to == self._to and bool(to) == (self._kept is not None):
            return
        self._to = to
        if not to:
            self._put_back()
            return
        self._make_raw()
        if self._kept is not None and to not in self._said:
            self._said.add(to)
            self._tell(SAID[to])

    def _give(self, data: bytes) -> None:
        """What was typed to the guest, but for the prefix."""
        for char in self._decoder.decode(data):
            if self._after_prefix and char in SHOWS:
                self._after_prefix = False
                self._show_screen()
                return  # what was typed behind it was for the screen
            if self._after_prefix:
                self._after_prefix = False
                meant = BEHIND_PREFIX.get(char.lower(), "")
            elif char == PREFIX:
                self._after_prefix = True
                continue
            else:
                meant = char
            if self._to == "serial":
                self._session.peripherals.serial.type(meant.encode())
            else:
                self._parser.feed(meant)

    def _show_screen(self) -> None:
        with self._lock:
            if not self._active:
                return
            self._put_back()
            self._screen_left.clear()
        try:
            self._show(lambda: not self._active)
        finally:
            self._screen_left.set()

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            with suppress(KvmdbgError):  # a recording is given back, or the guest has no keyboard
                self._session.press(key)


class Parser:
    """Makes keys, as sendkey names them, of what a terminal sends, split anywhere."""

    def __init__(self, press: Callable[[list[str]], None]) -> None:
        from prompt_toolkit.input.vt100_parser import Vt100Parser

        self._press = press
        self._escape = False
        """An escape came, which may be Alt."""
        self._vt100 = Vt100Parser(self._key)

    def feed(self, text: str) -> None:
        self._vt100.feed(text)

    def flush(self) -> None:
        """Nothing has come for a while: an escape was the escape key."""
        self._vt100.flush()
        if self._escape:
            self._escape = False
            self._press(["esc"])

    def _key(self, key: KeyPress) -> None:
        name = getattr(key.key, "value", key.key)
        if name == "escape" and not self._escape:
            self._escape = True
            return
        alt, self._escape = self._escape, False
        with suppress(KvmdbgError):  # no key types it
            keys = keys_for(name, key.data)
            self._press(with_alt(keys) if alt else keys)
