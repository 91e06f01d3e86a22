"""The guest's screen as lines of styled text, for prompt_toolkit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.commands.screen_results import HALF, PIXELS, colours_of, picture_lines, text_lines
from kvmdbg.devices.display import Characters
from kvmdbg.printable import printable
from kvmdbg.ui.panes import Line

if TYPE_CHECKING:
    from kvmdbg.commands.machine_results import Piece
    from kvmdbg.core.session import Session


def screen_lines(session: Session, width: int, height: int) -> list[Line]:
    """Text as it is, however long and many its lines; a picture in so many columns and lines."""
    shown = session.peripherals.shown()
    lines = text_lines(shown) if isinstance(shown, Characters) else picture_lines(shown, width, height)
    return [[_styled(piece) for piece in line] for line in lines]


def _styled(piece: Piece) -> tuple[str, str]:
    role, text = piece
    own = colours_of(role)
    if own is None:
        return "", printable(text)
    kind, front, back = own
    return f"fg:{front} bg:{back}", HALF * len(text) if kind == PIXELS else printable(text)
