"""The themes: readable where they are meant for, and the same words in each."""

from __future__ import annotations

import re

import pytest
from pygments.formatters.terminal256 import Terminal256Formatter

from kvmdbg.commands.results import Message
from kvmdbg.commands.settings import THEMES
from kvmdbg.ui.render import render
from kvmdbg.ui.style import COLORS, STYLES, style_of

BACKGROUNDS = {
    "dark": ["#000000", "#1e1e1e", "#282a36", "#002b36", "#300a24"],
    "light": ["#ffffff", "#fdf6e3", "#eeeeee"],
}
"""Black, VS Code's, Dracula's, Solarized's, Ubuntu's; white, Solarized's, grey."""


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_theme_has_every_colour() -> None:
    assert tuple(COLORS) == THEMES
    assert len({tuple(colors) for colors in COLORS.values()}) == 1


@pytest.mark.parametrize("theme", BACKGROUNDS)
def test_colours_are_readable_on_their_backgrounds(theme: str) -> None:
    for name, color in COLORS[theme].items():
        for background in BACKGROUNDS[theme]:
            assert contrast(color, background) >= 4.5, (name, background)


@pytest.mark.parametrize("theme", BACKGROUNDS)
def test_colours_are_among_the_256_that_terminals_have(theme: str) -> None:
    formatter: Terminal256Formatter[str] = Terminal256Formatter()
    for color in COLORS[theme].values():
        red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
        index = formatter._closest_color(red, green, blue)
        assert formatter.xterm_colors[index] == (red, green, blue), color


@pytest.mark.parametrize("theme", THEMES)
def test_the_words_are_the_same_in_every_theme(theme: str) -> None:
    shown = render(Message("something is wrong", "error"), 80, theme)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "something is wrong"
    assert ("\x1b[" in shown) == (theme != "plain")
    for token in STYLES:
        assert bool(style_of(theme).style_for_token(token)["color"]) == ("{" in STYLES[token] and theme != "plain"), (
            token
        )


def test_no_colour_is_said_alone() -> None:
    """What changed is bold, and so is what is current: without colour they still stand out."""
    for token, text in STYLES.items():
        if "Changed" in str(token) or "Mark" in str(token) or "Warning" in str(token):
            assert "bold" in text
