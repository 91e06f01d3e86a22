"""The settings of the full-screen mode: how its screen is divided. They are kept for the next session."""

from __future__ import annotations

import re

from kvmdbg.commands import layouts
from kvmdbg.commands.setting_types import Setting
from kvmdbg.errors import UsageError

ARRANGEMENT = ("tui-layout", "tui-layouts", "tui-sizes", "tui-widths", "tui-pane")
"""What a session leaves for the next one, whatever `set save-settings` says."""


def _name(text: str) -> str:
    names = [one for one in layouts.WIDE if text and one.startswith(text)]
    if text not in names and len(names) != 1 and not re.fullmatch(r"[A-Za-z][\w-]*", text):
        raise UsageError(f"'{text}' is none of {', '.join(layouts.WIDE)}, and no name of one made by tui new-layout")
    return names[0] if len(names) == 1 else text


def _made(text: str) -> dict[str, str]:
    found = {}
    for one in filter(str.strip, text.split(";")):
        name, _, panes = one.strip().partition(" ")
        layouts.parse(panes)
        found[name] = panes
    return found


def _sizes(text: str) -> dict[str, int]:
    found = {}
    for one in text.split():
        match = re.fullmatch(r"(\w+)=(\d{1,4})", one)
        if match is None:
            raise UsageError(f"'{one}' is no PANE=NUMBER")
        found[match[1]] = max(int(match[2]), 1)
    return found


TUI_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "tui-layout",
        "split",
        "asm",
        _name,
        "src|asm|split|regs|NAME",
        "Which panes the full-screen mode has: one for source, one for instructions (regs: with the registers also "
        "where the screen is narrow), both, or those of a layout made by `tui new-layout`. `layout` changes it. The "
        "next session has the same.",
        tuple(layouts.WIDE),
    ),
    Setting(
        "tui-layouts",
        {},
        "mine src 2 cmd 1",
        _made,
        "NAME PANES; …",
        "The layouts made by `tui new-layout`, which the next session has, too.",
        show=lambda made: "; ".join(f"{name} {panes}" for name, panes in made.items()),
    ),
    Setting(
        "tui-sizes",
        {},
        "log=8",
        _sizes,
        "PANE=LINES …",
        "How many lines panes of the full-screen mode have been given; `winheight` changes it. The next session has "
        "the same.",
        show=lambda sizes: " ".join(f"{name}={size}" for name, size in sizes.items()),
    ),
    Setting(
        "tui-widths",
        {},
        "source=70",
        _sizes,
        "PANE=COLUMNS …",
        "How many columns panes of the full-screen mode have been given, and what stands above and below them; "
        "`winwidth` changes it. The next session has the same.",
        show=lambda sizes: " ".join(f"{name}={size}" for name, size in sizes.items()),
    ),
    Setting(
        "tui-pane",
        "",
        "locals",
        str.strip,
        "PANE",
        "What the changing pane of the full-screen mode shows first; F2 and `focus` change it. The next session has "
        "the same.",
    ),
)
