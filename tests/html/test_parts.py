"""Text that guests and files wrote is escaped, whatever it becomes part of."""

from __future__ import annotations

import re

import pytest

from kvmdbg.html import parts
from kvmdbg.html.page import page, section
from tests.html.reading import Page

EVIL = "<script>alert('1')</script>&\"\x1b[2J\u202e\udc80"
SHOWN = "<script>alert('1')</script>&\"\\x1b[2J\\u202e\\x80"


@pytest.mark.parametrize(
    "made",
    [
        parts.block([("value", EVIL)]),
        parts.block([("", EVIL)]),
        parts.paragraph(EVIL),
        parts.numbered([EVIL]),
        parts.numbered([EVIL, "x"]),
        parts.table(("A", "B"), [("1", EVIL)]),
        parts.table((EVIL,), [("1",)]),
        parts.table(("A", "B"), [("1", "2")], title=EVIL, notes={0: (EVIL,)}),
        page("x", "", [section("x", parts.paragraph(EVIL))]),
        page(EVIL, "", []),
        page("x", "", [section(EVIL, "")]),
    ],
)
def test_what_a_guest_wrote_is_text(made: str) -> None:
    found = Page(made)
    assert SHOWN in found.text
    assert not found.tags & {"script"}
    made.encode("utf-8")


@pytest.mark.parametrize("role", ['value" onclick="x', "ink red;background:url(x) #000000", "ink #ffffff #00000g"])
def test_a_role_is_no_way_out(role: str) -> None:
    found = Page(parts.span(role, "x"))
    assert found.attributes <= {"class"}


def test_the_guests_own_colours() -> None:
    assert parts.span("ink #ff0000 #0000aa", "<") == '<span style="color:#ff0000;background:#0000aa">&lt;</span>'


@pytest.mark.parametrize("role", ["code", "code-att"])
def test_code_is_marked_and_nothing_is_lost(role: str) -> None:
    text = "mov     qword ptr [rax + 8], 0x10"
    made = parts.code(text, role)
    assert Page(made).text == text
    assert re.search('<span class="k-[a-z]+">', made)


def test_a_picture_is_in_the_page() -> None:
    assert 'src="data:image/png;base64,AAE="' in parts.picture(b"\0\1", 'a "picture"')
    assert Page(parts.picture(b"", 'a "picture"')).resources == ["data:image/png;base64,"]
