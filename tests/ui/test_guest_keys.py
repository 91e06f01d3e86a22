"""What a terminal sends, as keys of the guest's keyboard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.devices.i8042 import scan_codes
from kvmdbg.errors import UsageError
from kvmdbg.ui.guest_keys import keys_for
from kvmdbg.ui.typing_through import Parser

SENT = {
    "a": "a", "A": "shift-a", "1": "1", "!": "shift-1", "-": "-", "_": "shift--", " ": "spc", "~": "shift-`",
    "\r": "ret", "\t": "tab", "\x7f": "backspace", "\x1b": "esc", "\x1b[Z": "shift-tab", "\x1b[A": "up",
    "\x1bOB": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1b[1;5A": "ctrl-up", "\x1b[1;2D": "shift-left",
    "\x1b[1;6C": "ctrl-shift-right", "\x1b[H": "home", "\x1b[F": "end", "\x1b[1;5H": "ctrl-home", "\x1b[2~": "insert",
    "\x1b[3~": "delete", "\x1b[5~": "pgup", "\x1b[6~": "pgdn", "\x1b[3;5~": "ctrl-delete", "\x1bOP": "f1",
    "\x1b[15~": "f5", "\x1b[21~": "f10", "\x1b[24~": "f12", "\x1b[1;2P": "shift-f1", "\x01": "ctrl-a",
    "\x03": "ctrl-c", "\x00": "ctrl-spc", "\x1c": "ctrl-backslash", "\x1d": "ctrl-bracket_right", "\x1bx": "alt-x",
    "\x1bX": "alt-shift-x", "\x1b\x01": "alt-ctrl-a", "\x1b\r": "alt-ret",
}  # fmt: skip


def pressed(*parts: str) -> list[str]:
    keys: list[str] = []
    parser = Parser(keys.extend)
    for part in parts:
        parser.feed(part)
    parser.flush()
    return keys


@pytest.mark.parametrize(("sent", "key"), SENT.items(), ids=SENT.values())
def test_each_key(sent: str, key: str) -> None:
    assert pressed(sent) == [key]
    assert pressed(*sent) == [key]  # one by one
    assert scan_codes(key)


def test_one_after_the_other() -> None:
    assert pressed("ab\x1b[A\x1bOPC\r") == ["a", "b", "up", "f1", "shift-c", "ret"]
    assert pressed("\x1b\x1b") == ["alt-esc"]


def test_what_no_key_types_is_left_out() -> None:
    assert pressed("ä€b\x1b[12;40R\x1b[<0;3;4M") == ["b"]
    with pytest.raises(UsageError, match="no key of a US keyboard types 'ä'"):
        keys_for("ä", "ä")


def test_pasted_text_is_typed() -> None:
    assert keys_for("<bracketed-paste>", "a\r\nBä!") == ["a", "ret", "shift-b", "shift-1"]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_rubbish_presses_only_keys_that_there_are(parts: list[str]) -> None:
    for key in pressed(*parts):
        assert scan_codes(key)
