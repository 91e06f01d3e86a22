"""Results in colour: the pieces of their text, each in the style of its role."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from pygments.formatters.terminal256 import Terminal256Formatter
from pygments.lexers.asm import GasLexer, NasmLexer
from pygments.token import Token

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


@cache
def _code(role: str, text: str) -> tuple[tuple[_TokenType, str], ...]:
    return tuple((token, value) for _, token, value in _lexer(role).get_tokens_unprocessed(text))


def tokens(result: Result, width: int) -> Iterator[tuple[_TokenType, str]]:
    """The text of ``result.plain(width)``, cut into pygments tokens; control characters show as ``\\x1b``."""
    for role, text in result.pieces(width):
        text = printable(text)
        if not text:
            continue
        if role in CODE_LEXERS:
            yield from _code(role, text)
        else:
            yield TOKENS.get(role, Token), text


@cache
def _formatter(theme: str) -> Terminal256Formatter[str]:
    return Terminal256Formatter(style=style_of(theme))


def render(result: Result, width: int, theme: str) -> str:
    """The text for a terminal of ``width`` columns, without a final newline; in ANSI colours unless ``theme`` is ""."""
    import pygments

    if not theme:
        return "".join(text for _, text in tokens(result, width))
    return pygments.format(tokens(result, width), _formatter(theme))
