"""Functions of expressions: ``$read_u32($rsp)`` wherever an expression may stand.

A new one is a Python function with ``@function``; its first parameter is what the expression is evaluated on
(language/context.py), the others are the arguments, as numbers::

    @function("clamp")
    def clamp(ctx, value, most):
        return min(value, most)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kvmdbg import plugins
from kvmdbg.errors import UsageError
from kvmdbg.language.context import Context
from kvmdbg.regex import made

F = TypeVar("F", bound=Callable[..., int])
_known: dict[str, Callable[..., int]] = {}


def function(name: str) -> Callable[[F], F]:
    """Make a function known to expressions as ``$name(...)``."""

    def enter(made: F) -> F:
        _known[name] = made
        return made

    return enter


def known() -> dict[str, Callable[..., int]]:
    """All of them by name."""
    return dict(sorted(_known.items()))


def lookup(name: str) -> Callable[..., int] | None:
    """The function of that name, or None."""
    if name not in _known:
        plugins.load()
    return _known.get(name)


def arguments(made: Callable[..., int]) -> tuple[int, int]:
    """How many arguments it takes at least and at most (the machine does not count)."""
    code: Any = made.__code__
    most = code.co_argcount - 1
    least = most - len(made.__defaults__ or ())
    return least, 255 if code.co_flags & 4 else most


def _read(ctx: Context, address: int, size: int) -> int:
    return int.from_bytes(ctx.read(address, size, "linear"), "little")


@function("read_u8")
def read_u8(ctx: Context, address: int) -> int:
    """The byte at a linear address."""
    return _read(ctx, address, 1)


@function("read_u16")
def read_u16(ctx: Context, address: int) -> int:
    """The 16-bit number at a linear address."""
    return _read(ctx, address, 2)


@function("read_u32")
def read_u32(ctx: Context, address: int) -> int:
    """The 32-bit number at a linear address."""
    return _read(ctx, address, 4)


@function("read_u64")
def read_u64(ctx: Context, address: int) -> int:
    """The 64-bit number at a linear address."""
    return _read(ctx, address, 8)


MOST_CHARACTERS = 1 << 16
"""Of a text without an end."""


def _text(ctx: Context, given: int | bytes) -> bytes:
    """A text's bytes up to its zero: of one that was typed, or of the guest's memory. MemoryFault."""
    if isinstance(given, bytes):
        return given.partition(b"\0")[0]
    found = b""
    while b"\0" not in found and len(found) < MOST_CHARACTERS:
        at = given + len(found)
        found += ctx.read(at, 64 - at % 64, "linear")
    return found.partition(b"\0")[0]


def _bytes(ctx: Context, given: int | bytes, size: int) -> bytes:
    return given[:size] if isinstance(given, bytes) else ctx.read(given, size, "linear")


@function("_strlen")
def strlen(ctx: Context, text: int | bytes) -> int:
    """How many characters a text has."""
    return len(_text(ctx, text))


@function("_streq")
def streq(ctx: Context, one: int | bytes, other: int | bytes) -> int:
    """Whether two texts are the same."""
    return int(_text(ctx, one) == _text(ctx, other))


@function("_memeq")
def memeq(ctx: Context, one: int | bytes, other: int | bytes, size: int) -> int:
    """Whether so many bytes are the same."""
    if size < 0:
        raise UsageError(f"$_memeq: {size} is no number of bytes")
    return int(_bytes(ctx, one, size) == _bytes(ctx, other, size))


@function("_regex")
def regex(ctx: Context, text: int | bytes, pattern: int | bytes) -> int:
    """Whether a text begins with what a regular expression (Python's) describes."""
    import re

    try:
        return int(made(_text(ctx, pattern)).match(_text(ctx, text)))
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"$_regex: this is no regular expression: {error}") from None


def _names(ctx: Context, frames: int, *, first: int) -> list[str]:
    """The functions of the frames from ``first`` to ``frames`` calls out."""
    if not 0 <= frames <= MOST_FRAMES:
        raise UsageError(f"the number of frames must be from 0 to {MOST_FRAMES}, not {frames}")
    return ctx.callers(frames + 1)[first:]


MOST_FRAMES = 1000


@function("_caller_is")
def caller_is(ctx: Context, name: int | bytes, frames: int = 1) -> int:
    """Whether the function that has called this one, or the one so many calls out, has this name."""
    return int(_text(ctx, name).decode("latin-1") in _names(ctx, frames, first=frames))


@function("_caller_matches")
def caller_matches(ctx: Context, pattern: int | bytes, frames: int = 1) -> int:
    """Whether its name begins with what a regular expression (Python's) describes."""
    return int(any(_matches(ctx, pattern, one) for one in _names(ctx, frames, first=frames)))


@function("_any_caller_is")
def any_caller_is(ctx: Context, name: int | bytes, frames: int = 1) -> int:
    """Whether this function has this name, or one of those up to so many calls out."""
    return int(_text(ctx, name).decode("latin-1") in _names(ctx, frames, first=0))


@function("_any_caller_matches")
def any_caller_matches(ctx: Context, pattern: int | bytes, frames: int = 1) -> int:
    """The same by a regular expression."""
    return int(any(_matches(ctx, pattern, one) for one in _names(ctx, frames, first=0)))


def _matches(ctx: Context, pattern: int | bytes, text: str) -> bool:
    return bool(regex(ctx, text.encode("latin-1", "replace"), pattern))


@function("phys")
def phys(ctx: Context, address: int) -> int:
    """The guest-physical address behind a linear one (MemoryFault where nothing is mapped)."""
    return ctx.physical(address)


@function("port")
def port(ctx: Context, number: int, size: int = 1) -> int:
    """What the guest would read from an I/O port; the device sees the read."""
    return ctx.port(number, size)
