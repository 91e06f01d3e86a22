"""Results in colour: the pieces of their text, each in the style of its role."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from pygments.formatters.terminal256 import Terminal256Formatter
from pygments.lexers.asm import GasLexer, NasmLexer
from pygments.token import Token

from kvmdbg.commands.screen_results import HALF, PIXELS, colours_of
from kvmdbg.printable import printable
from kvmdbg.ui.style import TOKENS, style_of

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from pygments.token import _TokenType

    from kvmdbg.commands.results import Result

CODE_LEXERS: dict[str, type[Lexer]] = {"code": NasmLexer, "code-att": GasLexer}


@cache
def _lexer(role: str) -> Lexer:
    return CODE_LEXERS[role]()


@lru_cache(maxsize=4096)
def _code(role: str, text: str) -> tuple[tuple[_TokenType, str], ...]:
    return tuple((token, value) for _, token, value in _lexer(role).get_tokens_unprocessed(text))


def tokens(result: Result, width: int) -> Iterator[tuple[_TokenType, str]]:
    """The text of ``result.plain(width)``, cut into pygments tokens; control characters show as ``\\x1b``."""
    for role, text in result.pieces(width):
        yield from _tokens(role, printable(text))


def _tokens(role: str, text: str) -> Iterator[tuple[_TokenType, str]]:
    if not text:
        return
    if role in CODE_LEXERS:
        yield from _code(role, text)
    else:
        yield TOKENS.get(role, Token), text


@cache
def _formatter(theme: str) -> Terminal256Formatter[str]:
    return Terminal256Formatter(style=style_of(theme))


def render(result: Result, width: int, theme: str) -> str:
    """The text for a terminal of ``width`` columns, without a final newline; in ANSI colours unless ``theme`` is ""."""
    if not theme:
        return "".join(text for _, text in tokens(result, width))
    return "".join(_coloured(result.pieces(width), theme))


def _coloured(pieces: Iterable[tuple[str, str]], theme: str) -> Iterator[str]:
    """The pieces in ANSI colours: those of the theme, or their own."""
    import pygments

    plain: list[tuple[_TokenType, str]] = []
    for role, text in pieces:
        own = colours_of(role)
        if own is None:
            plain += _tokens(role, printable(text))
            continue
        if plain:
            yield pygments.format(plain, _formatter(theme))
            plain = []
        kind, front, back = own
        shown = HALF * len(text) if kind == PIXELS else printable(text)
        yield f"\x1b[{_ansi(38, front)};{_ansi(48, back)}m{shown}\x1b[0m"
    if plain:
        yield pygments.format(plain, _formatter(theme))


def _ansi(ground: int, colour: str) -> str:
    """The parameters of SGR for a colour: in full where the terminal says that it can, else one of 256."""
    red, green, blue = bytes.fromhex(colour[1:])
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return f"{ground};2;{red};{green};{blue}"
    return f"{ground};5;{_of_256(red, green, blue)}"


@cache
def _of_256(red: int, green: int, blue: int) -> int:
    """The nearest of xterm's 256 colours: a cube of 6 levels from 16 on, greys from 232 on."""
    levels = (0, 95, 135, 175, 215, 255)
    cube = [min(range(6), key=lambda n, one=one: abs(levels[n] - one)) for one in (red, green, blue)]  # type: ignore[misc]
    mean = (red + green + blue) // 3
    grey = min(range(24), key=lambda n: abs(8 + 10 * n - mean))

    def far(other: tuple[int, int, int]) -> int:
        return sum((one - another) ** 2 for one, another in zip((red, green, blue), other, strict=True))

    as_grey = 8 + 10 * grey
    if far((as_grey, as_grey, as_grey)) < far((levels[cube[0]], levels[cube[1]], levels[cube[2]])):
        return 232 + grey
    return 16 + 36 * cube[0] + 6 * cube[1] + cube[2]
