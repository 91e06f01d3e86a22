"""Results that show the guest's screen. See results.py, which exports them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import ClassVar

from kvmdbg.commands.machine_results import Json, Piece, Shown
from kvmdbg.devices.display import GREY_ON_BLACK, Characters, Picture, Rgb
from kvmdbg.record import record

SHADES = " ░▒▓█"
"""What stands for two pixels, one above the other, where there are no colours."""
HALF = "▀"
"""What stands for them where there are: the upper one in the colour of the text."""
INK, PIXELS = "ink", "pixels"
"""Roles of pieces with colours of the guest's own: followed by the colour of the text and that behind it."""


def colours_of(role: str) -> tuple[str, str, str] | None:
    """Which role it is and both colours, as ``#rrggbb``, of a piece with colours of its own."""
    kind, _, rest = role.partition(" ")
    if kind not in (INK, PIXELS):
        return None
    front, _, back = rest.partition(" ")
    return kind, front, back


def _hex(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def text_lines(text: Characters) -> Iterator[list[Piece]]:
    """Each row as pieces; what is grey on black has the terminal's own colours."""
    for line, attributes in zip(text.lines, text.attributes, strict=True):
        pieces, start = [], 0
        whole = line.ljust(text.columns)
        for attribute, run in groupby(attributes):
            end = start + len(list(run))
            role = ""
            front, back = text.ink(attribute)
            is_plain = attribute == GREY_ON_BLACK or (back == 0 and whole[start:end].isspace())
            if not is_plain and text.colours:
                role = f"{INK} {_hex(text.colours[front])} {_hex(text.colours[back])}"
            pieces.append((role, whole[start:end]))
            start = end
        yield pieces


def picture_lines(picture: Picture, width: int, height: int) -> Iterator[list[Piece]]:
    """The picture in at most so many columns and lines, two pixels a character. A screen is 4 by 3."""
    width = max(min(width, picture.width, height * 8 // 3), 1)
    height = max(min(width * 3 // 8, height), 1)
    rows = picture.scaled(width, 2 * height)
    for upper, lower in zip(rows, rows, strict=True):
        pieces = []
        for (top, bottom), run in groupby(zip(upper, lower, strict=True)):
            light = (sum(top) + sum(bottom)) * len(SHADES) // (6 * 256)
            pieces.append((f"{PIXELS} {_hex(top)} {_hex(bottom)}", SHADES[light] * len(list(run))))
        yield pieces


@record
class Screen(Shown):
    """What the guest's screen shows: characters, or a picture."""

    kind: ClassVar[str] = "screen"
    shown: Characters | Picture

    def to_json(self) -> Json:
        shown = self.shown
        if isinstance(shown, Picture):
            size = {"width": shown.width, "height": shown.height, "colours": shown.used}
            return {"type": self.kind, "mode": "graphics", "lines": [], "cursor": None, **size}
        return {
            "type": self.kind,
            "mode": "text",
            "columns": shown.columns,
            "rows": len(shown.rows),
            "lines": shown.lines,
            "cursor": list(shown.cursor),
            "attributes": [row.hex() for row in shown.attributes],
        }

    def pieces(self, width: int) -> Iterator[Piece]:
        if isinstance(self.shown, Picture):
            yield "title", f"{self.shown.width} x {self.shown.height} pixels, {self.shown.used} colours"
            for line in picture_lines(self.shown, width, self.shown.height):
                yield "", "\n"
                yield from line
            return
        wide = _width(self.shown)
        yield "title", f"+{'-' * wide}+"
        for line in text_lines(self.shown):
            yield "title", "\n|"
            left = wide
            for role, text in line:
                yield role, text[:left]
                left -= len(text[:left])
            yield "title", "|"
        yield "title", f"\n+{'-' * wide}+"


def _width(text: Characters) -> int:
    """Up to the last column in which anything can be seen."""
    wide = max((len(line) for line in text.lines), default=0)
    for attributes in text.attributes:
        behind = [column for column, attribute in enumerate(attributes, 1) if text.ink(attribute)[1]]
        wide = max([wide, *behind[-1:]])
    return wide
