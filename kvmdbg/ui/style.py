"""The colours, and what they are given to.

Only the terminal's own sixteen colours are used, so that its theme, dark or light, keeps them readable. Nothing is
said by colour alone: what changed has its ``*``, the current instruction its arrow.
"""

from __future__ import annotations

import os
from typing import TextIO

from pygments.style import Style
from pygments.token import Comment, Error, Generic, Keyword, Name, Number, Operator, Punctuation, String, Token

Changed = Token.Changed
Mark = Token.Mark
Stop = Token.Stop
Warning = Token.Warning


class KvmdbgStyle(Style):
    """Colours of pygments tokens, for results and for the line that is typed."""

    background_color = "default"
    styles = {
        Token: "",
        Changed: "bold ansired",
        Mark: "bold ansigreen",
        Stop: "bold",
        Warning: "bold ansimagenta",
        Error: "ansired",
        Comment: "ansibrightblack",
        Generic.Heading: "bold",
        Generic.Subheading: "ansibrightblack",
        Keyword: "ansigreen",
        Name.Attribute: "ansigreen",
        Name.Builtin: "ansicyan",
        Name.Constant: "ansicyan",
        Name.Function: "bold",
        Name.Label: "ansigreen",
        Name.Tag: "ansigreen",
        Name.Variable: "ansicyan",
        Number: "ansimagenta",
        Operator: "",
        Punctuation: "",
        String: "ansigreen",
    }


TOKENS = {
    "": Token,
    "address": Comment,
    "breakpoint": Changed,
    "bytes": Token,
    "changed": Changed,
    "error": Error,
    "flags": Keyword,
    "heading": Generic.Heading,
    "label": Name.Label,
    "mark": Mark,
    "name": Name.Attribute,
    "note": Comment,
    "register": Name.Builtin,
    "stop": Stop,
    "title": Generic.Subheading,
    "value": Token,
    "warning": Warning,
}
"""The token of each role that ``commands.machine_results.Piece`` lists; "code" and "code-att" have lexers instead."""


def wants_color(stream: TextIO, asked: bool | None = None) -> bool:
    """Whether to write colour: what was ``asked`` for, else where a terminal shows it (NO_COLOR, TERM=dumb)."""
    if asked is not None:
        return asked
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return stream.isatty()
