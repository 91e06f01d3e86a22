"""Colours for the line that is typed: known and unknown commands and registers, numbers, strings, comments."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles.pygments import pygments_token_to_classname
from pygments.token import Comment, Error, Keyword, Name, Number, String, Token

from kvmdbg.errors import KvmdbgError

if TYPE_CHECKING:
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from pygments.token import _TokenType

    from kvmdbg.commands.interpreter import Interpreter

_COMMAND = re.compile(r"\s*([A-Za-z!#][\w-]*)")
_PARTS = re.compile(
    r"""(?P<space>\s+)
      | (?P<register>\$[A-Za-z_]\w*)
      | (?P<history>\$\$?\d*)
      | (?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|\d[\d_]*)(?![\w])
      | (?P<string>"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?)
      | (?P<format>/\w+)
      | (?P<word>\w+)
      | (?P<other>.)""",
    re.VERBOSE,
)
_WORDS = frozenset(("if", "unsigned", "signed", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "phys"))


def tokens(dbg: Interpreter, line: str) -> list[tuple[_TokenType, str]]:
    """``line`` cut into pygments tokens; joined they are the line again."""
    found: list[tuple[_TokenType, str]] = []
    start = 0
    match = _COMMAND.match(line)
    if line.lstrip().startswith("#"):
        return [(Comment, line)]
    if match is not None:
        start = match.end()
        found += [(Token, line[: match.start(1)]), (_command(dbg, line, match[1]), match[1])]
    for part in _PARTS.finditer(line, start):
        kind, text = part.lastgroup or "", part[0]
        token: _TokenType = Token
        if kind == "register":
            token = Name.Builtin if _known(dbg, text[1:]) else Name.Label
        elif kind == "word":
            token = Keyword if text in _WORDS else Token
        else:
            token = {"number": Number, "history": Name.Label, "string": String, "format": Name.Attribute}.get(
                kind, token
            )
        found.append((token, text))
    return found


def _command(dbg: Interpreter, line: str, word: str) -> _TokenType:
    if word in dbg.macros:
        return Name.Function
    try:
        dbg.registry.resolve(word)
    except KvmdbgError:
        try:
            dbg.registry.resolve(line)  # a word that needs a second one
        except KvmdbgError:
            near = any(name.startswith(word) for name in dbg.registry.names())
            return Name.Function if near else Error
    return Name.Function


def _known(dbg: Interpreter, name: str) -> bool:
    from kvmdbg.x86 import registers

    return name in ("pc", "sp", "fp") or registers.lookup(name.lower()) is not None


class CommandLexer(Lexer):
    """The same for prompt_toolkit."""

    def __init__(self, dbg: Interpreter) -> None:
        self._dbg = dbg

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        def line(number: int) -> StyleAndTextTuples:
            if number >= len(document.lines):
                return []
            pieces = tokens(self._dbg, document.lines[number])
            return [(f"class:{pygments_token_to_classname(token)}", text) for token, text in pieces]

        return line
