"""The colours, and what they are given to.

The theme "terminal" uses the terminal's own sixteen colours, so that what the user chose there, dark or light, keeps
them readable; the others have their own. Nothing is said by colour alone: what changed has its ``*``, the current
instruction its arrow.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, TextIO

from pygments.style import Style
from pygments.token import Comment, Error, Generic, Keyword, Name, Number, Operator, Punctuation, String, Token

if TYPE_CHECKING:
    from prompt_toolkit.styles import BaseStyle

Changed = Token.Changed
Mark = Token.Mark
Stop = Token.Stop
Warning = Token.Warning
CodePointer, StackPointer, DataPointer = Token.Pointer.Code, Token.Pointer.Stack, Token.Pointer.Data


COLORS = {
    "terminal": {
        "red": "ansired", "green": "ansigreen", "cyan": "ansicyan", "magenta": "ansimagenta", "grey": "ansibrightblack",
    },
    "dark": {"red": "#ff8787", "green": "#87d787", "cyan": "#5fd7d7", "magenta": "#d7afff", "grey": "#a8a8a8"},
    "light": {"red": "#af0000", "green": "#005f00", "cyan": "#005f87", "magenta": "#8700af", "grey": "#585858"},
    "plain": {"red": "", "green": "", "cyan": "", "magenta": "", "grey": ""},
}  # fmt: skip
"""The colours of each theme. Those of dark and light are among the 256 that every terminal has, and keep a contrast of
4.5 (WCAG 2, level AA) on the backgrounds that such terminals have (tests/ui/test_style.py)."""
STYLES = {
    Token: "",
    Changed: "bold {red}",
    Mark: "bold {green}",
    Stop: "bold",
    Warning: "bold {magenta}",
    CodePointer: "{green}",
    StackPointer: "{magenta}",
    DataPointer: "{cyan}",
    Error: "{red}",
    Comment: "{grey}",
    Generic.Heading: "bold",
    Generic.Subheading: "{grey}",
    Keyword: "{green}",
    Name.Attribute: "{green}",
    Name.Builtin: "{cyan}",
    Name.Constant: "{cyan}",
    Name.Function: "bold",
    Name.Label: "{green}",
    Name.Tag: "{green}",
    Name.Variable: "{cyan}",
    Number: "{magenta}",
    Operator: "",
    Punctuation: "",
    String: "{green}",
}


@cache
def style_of(theme: str) -> type[Style]:
    """pygments' style of a theme, for results and for the line that is typed."""
    styles = {token: text.format(**COLORS[theme]).strip() for token, text in STYLES.items()}
    made: type[Style] = type(f"Kvmdbg{theme.capitalize()}", (Style,), {"background_color": "default", "styles": styles})
    return made


@cache
def prompt_style(theme: str) -> BaseStyle:
    """The same for prompt_toolkit."""
    from prompt_toolkit.styles.pygments import style_from_pygments_cls

    return style_from_pygments_cls(style_of(theme))


TOKENS = {
    "": Token,
    "address": Comment,
    "breakpoint": Changed,
    "bytes": Token,
    "changed": Changed,
    "code-pointer": CodePointer,
    "data-pointer": DataPointer,
    "error": Error,
    "flags": Keyword,
    "heading": Generic.Heading,
    "label": Name.Label,
    "mark": Mark,
    "name": Name.Attribute,
    "note": Comment,
    "register": Name.Builtin,
    "stack-pointer": StackPointer,
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
