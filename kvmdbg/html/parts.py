"""Pieces of text, tables and pictures as HTML. All text is escaped here, and nowhere else."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from kvmdbg.printable import printable, printable_name

Piece = tuple[str, str]
CODE = {"code": "nasm", "code-att": "gas"}
"""The lexer of pygments for each role that is code."""
COLOURS = re.compile(r"(?:ink|pixels) (#[0-9a-f]{6}) (#[0-9a-f]{6})")
"""A role with colours of the guest's own: of the text, and of what is behind it."""


def escaped(text: str) -> str:
    """Text as HTML shows it, control characters as ``\\x1b``."""
    return html.escape(printable(text))


def name(text: str) -> str:
    """The same for what has no lines."""
    return html.escape(printable_name(text))


@cache
def _lexer(role: str) -> Any:
    from pygments.lexers.asm import GasLexer, NasmLexer

    return {"nasm": NasmLexer, "gas": GasLexer}[CODE[role]]()


@cache
def code(text: str, role: str = "code") -> str:
    """An instruction with its mnemonic, registers and numbers marked."""
    from pygments.token import STANDARD_TYPES

    found = []
    for _, token, part in _lexer(role).get_tokens_unprocessed(text):
        while token not in STANDARD_TYPES:
            token = token.parent
        short = STANDARD_TYPES[token]
        found.append(f'<span class="k-{short}">{escaped(part)}</span>' if short else escaped(part))
    return "".join(found)


def span(role: str, text: str) -> str:
    """One piece."""
    if not text:
        return ""
    if role in CODE:
        return code(text, role)
    if own := COLOURS.fullmatch(role):
        return f'<span style="color:{own[1]};background:{own[2]}">{escaped(text)}</span>'
    return f'<span class="r-{name(role)}">{escaped(text)}</span>' if role else escaped(text)


def spans(pieces: Iterable[Piece]) -> str:
    """Pieces one behind the other, their lines kept by what they stand in."""
    return "".join(span(role, text) for role, text in pieces)


def block(pieces: Iterable[Piece], kind: str = "") -> str:
    """Pieces as lines of a fixed width."""
    return f'<pre class="{kind}">{spans(pieces)}</pre>' if kind else f"<pre>{spans(pieces)}</pre>"


def paragraph(text: str, kind: str = "") -> str:
    """A sentence."""
    return f'<p class="{kind}">{escaped(text)}</p>' if kind else f"<p>{escaped(text)}</p>"


def numbered(texts: Sequence[str]) -> str:
    """Sentences in their order; one alone has no number."""
    if len(texts) == 1:
        return paragraph(texts[0])
    return f"<ol>{''.join(f'<li>{escaped(text)}</li>' for text in texts)}</ol>"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    notes: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """Rows of text under their headings."""
    return raw_table(columns, [[name(cell) for cell in row] for row in rows], title=title, notes=notes)


def raw_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    kind: str = "",
    notes: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """The same with cells that are HTML already."""
    found = [f'<table class="{kind}">' if kind else "<table>"]
    if title:
        found.append(f"<caption>{name(title)}</caption>")
    if any(columns):
        found.append(f"<thead><tr>{''.join(f'<th>{name(one)}</th>' for one in columns)}</tr></thead>")
    found.append("<tbody>")
    for number, row in enumerate(rows):
        found.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>")
        for note in (notes or {}).get(number, ()):
            found.append(f'<tr><td></td><td class="r-note" colspan="{max(len(row) - 1, 1)}">{name(note)}</td></tr>')
    found.append("</tbody></table>")
    return f'<div class="wide">{"".join(found)}</div>'


def picture(png: bytes, about: str) -> str:
    """A PNG file's picture, in the page itself."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img class="screen" alt="{name(about)}" src="data:image/png;base64,{data}">'
