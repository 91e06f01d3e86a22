"""A setting: what it is called, how its value is read and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvmdbg.errors import UsageError
from kvmdbg.record import record


@record
class Setting:
    """One setting: its ``default``, how its text is read and shown, ``words`` it can be (for completion), its help."""

    name: str
    default: Any
    example: str
    read: Callable[[str], Any]
    metavar: str
    text: str
    words: tuple[str, ...] = ()
    show: Callable[[Any], str] = str
    host: bool = False
    """Whether it names something of the host's."""
    of_session: str = ""
    """The attribute of the session, or of a part of it, that it stands for; otherwise each interpreter has a value of
    its own."""


def switch(text: str) -> bool:
    """on or off; as in gdb, its words may be begun only."""
    word = text.strip().lower() or "on"
    if word in ("on", "1") or "yes".startswith(word) or "enable".startswith(word):
        return True
    if word in ("of", "off", "0") or "no".startswith(word) or "disable".startswith(word):
        return False
    raise UsageError(f"'{text}' is neither on nor off")


def count(text: str) -> int:
    """A number that is not negative; 0 is unlimited."""
    if text.strip() == "unlimited":
        return 0
    try:
        value = int(text, 0)
    except ValueError:
        raise UsageError(f"'{text}' is no number") from None
    if value < 0:
        raise UsageError(f"{value} is negative")
    return value


def number_in(text: str, base: int) -> int:
    """A number that is written in ``base``, or says its own (0x10)."""
    try:
        return int(text, 0 if text.startswith("0") else base)
    except ValueError:
        raise UsageError(f"'{text}' is no number{'' if base == 10 else f' of base {base}'}") from None


def seconds(text: str) -> float:
    """A time; 0 is unlimited."""
    if text.strip() == "unlimited":
        return 0.0
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"'{text}' is no number of seconds") from None
    if not 0 <= value < 1e9:
        raise UsageError(f"{text} is no time to wait")
    return value


def choice(*words: str) -> Callable[[str], str]:
    """One of these words, or its beginning."""

    def read(text: str) -> str:
        near = [word for word in words if text.strip() and word.startswith(text.strip().lower())]
        if text.strip().lower() in words:
            return text.strip().lower()
        if len(near) != 1:
            raise UsageError(f"'{text}' is none of {', '.join(words)}")
        return near[0]

    return read


def on_off(value: bool) -> str:
    """A switch as it is typed."""
    return "on" if value else "off"
