"""The moving picture of README shows what comes out today."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.docs import moving_picture
from tests.docs.moving_picture import COMMANDS, PICTURE, Frame, answers, draw

LIMIT = 200_000
PLAIN = ("#d8dee9", "#1e222a", False)


def since(text: str, command: str) -> str:
    """What is on a screen from this command on; all of it where the command has left at the top.

    How far a screen has scrolled depends on when the terminal has answered where its cursor is.
    """
    return text[max(text.rfind(f"(kvmdbg){''.join(command.split())}"), 0) :]


@pytest.mark.kvm
@pytest.mark.e2e
def test_the_session_is_what_the_program_prints() -> None:
    shown = answers(PICTURE.read_text(encoding="utf-8"))
    now = answers(draw(list(moving_picture.frames())))
    assert list(shown) == list(range(len(COMMANDS)))
    for number, (command, _) in enumerate(COMMANDS):
        a, b = (since(text, command) for text in (shown[number], now[number]))
        assert a.endswith(b) or b.endswith(a), f"{command}: make picture draws docs/session.svg anew"


def test_it_loads_nothing_and_is_small() -> None:
    data = PICTURE.read_text(encoding="utf-8")
    assert len(data) < LIMIT
    tags = {one.tag.rpartition("}")[2] for one in ElementTree.fromstring(data).iter()}
    assert tags == {"svg", "style", "defs", "g", "rect", "text", "use"}
    assert data.count("http") == 1  # the namespace
    assert "prefers-reduced-motion" in data


def test_frames_are_shown_one_after_the_other() -> None:
    row = (("a <b>  c", *PLAIN),)
    found = draw([Frame((row, ((" " * 8, *PLAIN),)), 1.0), Frame((row, row), 3.0, 0)])
    assert found.count('id="r0"') == 1, "a line that comes again is in the picture once"
    assert "k0{0%{visibility:visible}25.000%{visibility:hidden}}" in found
    assert "animation-delay:1.00s" in found
    assert answers(found) == {0: "a<b>ca<b>c"}
