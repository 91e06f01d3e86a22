"""The picture of the shell is drawn from a screen as it is."""

from __future__ import annotations

from xml.etree import ElementTree

import pyte

from tests.docs import picture


def test_a_screen_is_drawn() -> None:
    screen = pyte.Screen(20, 2)
    pyte.Stream(screen).feed("\x1b[1;31mhot\x1b[0m <cold>\r\n\x1b[7mbar\x1b[0m")
    svg = ElementTree.fromstring(picture.draw([[screen.buffer[y][x] for x in range(20)] for y in range(2)]))
    space = "{http://www.w3.org/2000/svg}"
    texts = {(text.text or "").strip(): text.attrib for text in svg.iter(f"{space}text")}
    assert set(texts) == {"hot", "<cold>", "bar"}
    assert (texts["hot"]["fill"], texts["hot"]["font-weight"]) == (picture.COLOURS["red"], "bold")
    assert texts["bar"]["fill"] == picture.BACKGROUND
    assert [rect.attrib["fill"] for rect in svg.iter(f"{space}rect")][1:] == [picture.FOREGROUND]


def test_the_picture_shows_the_session() -> None:
    root = ElementTree.parse(picture.PICTURE).getroot()
    text = "".join("".join(part.itertext()) for part in root)
    assert all(command.replace(" ", "") in text.replace(" ", "") for command in picture.COMMANDS)
