"""Draws docs/shell.svg: the screen of a real session in a terminal, as pyte has it.

python -m tests.docs.picture
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.e2e.terminal import Terminal

PICTURE = Path(__file__).resolve().parents[2] / "docs/shell.svg"
GUEST = ["--memory", "512M", "--load", "0x10000", "--entry", "0x1000:0", "guests/counter16.bin"]
COMMANDS = ["disassemble $pc,+8", "break *0x10004 if $ax == 3", "continue", "watch *(u16*)0x10002", "info breakpoints"]
COLUMNS, LINES = 96, 44

WIDTH, HEIGHT, MARGIN = 8.4, 18, 14  # of a character in the font below, in pixels
FOREGROUND, BACKGROUND = "#d8dee9", "#1e222a"
COLOURS = {
    "black": "#3b4252",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#d8dee9",
    "brightblack": "#6b7385",
    "brightred": "#ff7b86",
    "brightgreen": "#b5e890",
    "brightbrown": "#ffd68a",
    "brightyellow": "#ffd68a",
    "brightblue": "#82c4ff",
    "brightmagenta": "#dd9bf0",
    "brightcyan": "#7fd8e2",
    "brightwhite": "#ffffff",
}


def colour(name: str, default: str) -> str:
    """A colour of pyte's (a name, or six hex digits) as SVG has it."""
    if re.fullmatch(r"[0-9a-fA-F]{6}", name):
        return f"#{name}"
    return COLOURS.get(name, default)


def look(char: Any) -> tuple[str, str, bool]:
    """Foreground, background and weight of a character of pyte's."""
    front, back = colour(char.fg, FOREGROUND), colour(char.bg, BACKGROUND)
    return (back, front, char.bold) if char.reverse else (front, back, char.bold)


def draw(rows: Iterable[list[Any]]) -> str:
    """The SVG of these rows of characters."""
    parts = []
    rows = list(rows)
    for number, row in enumerate(rows):
        top, column = MARGIN + number * HEIGHT, 0
        for (front, back, bold), group in groupby(row, key=look):
            text = "".join(char.data for char in group)
            left, width = MARGIN + column * WIDTH, len(text) * WIDTH
            column += len(text)
            if back != BACKGROUND:
                parts.append(f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{HEIGHT}" fill="{back}"/>')
            if text.strip():
                weight = ' font-weight="bold"' if bold else ""
                place = f'x="{left:g}" y="{top + HEIGHT - 5}" textLength="{width:g}"'
                parts.append(f'<text {place} fill="{front}"{weight}>{escape(text)}</text>')
    size = f'width="{2 * MARGIN + max(map(len, rows)) * WIDTH:g}" height="{2 * MARGIN + len(rows) * HEIGHT}"'
    style = 'font-family="\'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14" xml:space="preserve"'
    ground = f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', ground, *parts, "</svg>", ""])


def main() -> int:
    with tempfile.TemporaryDirectory() as state:
        terminal = Terminal(*GUEST, columns=COLUMNS, lines=LINES, environment={"XDG_STATE_HOME": state})
        try:
            terminal.prompt()
            terminal.send("\x0c")
            terminal.wait(lambda: terminal.rows[0] == terminal.last)
            for done, command in enumerate(COMMANDS, 1):
                terminal.send(f"{command}\r")
                terminal.wait(lambda done=done: terminal.text.count("(kvmdbg real)") > done)  # type: ignore[misc]
                terminal.prompt()
            terminal.wait(lambda: "stopped" in terminal.text.rstrip().rpartition("\n")[2])  # the toolbar
            screen = terminal.screen
            used = [number for number, row in enumerate(terminal.rows) if row]
            rows = [[screen.buffer[y][x] for x in range(COLUMNS)] for y in range(used[-1] + 1)]
        finally:
            terminal.close()
    blank = [number for number, row in enumerate(rows[:-1]) if not "".join(c.data for c in row).strip()]
    while len(blank) > 1 and blank[-1] == blank[-2] + 1:  # between the prompt and the toolbar
        del rows[blank.pop()]
    PICTURE.write_text(draw(rows), encoding="utf-8")
    print(PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
