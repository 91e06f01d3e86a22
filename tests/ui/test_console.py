"""What the guest says, as the terminal gets it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit import Application
from prompt_toolkit.output import DummyOutput
from pyte.screens import Char

from kvmdbg.commands.results import Message, Text
from kvmdbg.ui.console import Console, Guest


def test_colours_pass_and_nothing_else_does() -> None:
    data = b"\x1b[31mred\x1b[0m \x1b[2J\x1b[10;3Hhome\x1b]0;title\x07 bell\x07 back\x08\r\n\x1bcend\ttab"
    assert Guest(color=True).text(data) == "\x1b[31mred\x1b[0m home bell back\nend\ttab"
    assert Guest(color=False).text(data) == "red home bell back\nend\ttab"


def shown(text: str) -> list[Char]:
    """What a terminal shows: characters with their colours."""
    screen = pyte.Screen(80, 100)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return [screen.buffer[y][x] for y in range(screen.cursor.y + 1) for x in range(80)]


PIECES = [b"\x1b", b"[", b"]", b"3", b"1", b"m", b"a", b"\n", "é".encode(), b"\xc3", b"\x07", b"\x1b[2J", b"\x1b[31m"]


@given(st.lists(st.sampled_from(PIECES)))
def test_any_split_gives_the_same(pieces: list[bytes]) -> None:
    whole, parts = Guest(color=True), Guest(color=True)
    end = b"."
    together = whole.text(b"".join(pieces)) + whole.text(end)
    apart = "".join(parts.text(bytes((byte,))) for piece in pieces for byte in piece) + parts.text(end)
    assert shown(apart) == shown(together)


COLOURS = [b"\x1b[1;31m", b"\x1b[44m", b"\x1b[0m", b"\x1b[0;32m", b"\x1b[;33m", b"x", b"\n"]


@given(st.lists(st.sampled_from(COLOURS), max_size=50))
def test_the_guests_colours_are_the_guests(pieces: list[bytes]) -> None:
    """It may hide what it writes, and not what kvmdbg says."""
    guest = Guest(color=True)
    texts = [guest.text(piece) for piece in pieces]
    plain = shown(b"".join(pieces).decode())
    assert [one for one in shown("".join(texts)) if one.data == "x"] == [one for one in plain if one.data == "x"]
    halted = [one for text in texts for one in shown(f"{text}H") if one.data == "H"]
    assert halted == [Char("H")] * len(pieces)


def test_endless_colours_are_forgotten() -> None:
    guest = Guest(color=True)
    assert max(len(guest.text(b"\x1b[31m" * 1000 + b"x")) for _ in range(5)) < 1000
    assert len(guest.text(b"\x1b[" + b"1;" * 1000 + b"m" + b"x\n" * 10)) < 6000


@given(st.binary(max_size=60))
def test_no_bytes_move_the_cursor(data: bytes) -> None:
    text = Guest(color=False).text(data)
    assert all(char.isprintable() or char in "\n\t" or ord(char) > 0x9F for char in text)


def test_results_start_on_a_line_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(lambda: 80, lambda: "")
    console.guest(b"login: ")
    console.show(Message("It stopped."))
    console.guest(b"done\n")
    console.show(Message("Next."))
    console.show(Text("no newline"))
    assert capsys.readouterr().out == "login: \nIt stopped.\ndone\nNext.\nno newline"


def test_a_line_that_was_ended_for_the_guest_is_not_ended_twice(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(lambda: 80, lambda: "")
    console.guest(b"x")
    with console.prompting(Application()):
        pass  # it needs a line of its own
    console.guest(b"\nx\n\ny")
    console.show(Message("Said."))
    console.guest(b"z\n")
    console.show(Text("no newline"))
    console.show(Message("Next."))
    console.guest(b"\n")
    assert capsys.readouterr().out == "x\n\r\x1b[Kx\n\ny\nSaid.\nz\nno newline\nNext.\n\n"


def test_an_unended_line_belongs_to_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(lambda: 80, lambda: "")
    with console.prompting(Application()):
        console.guest(b"one\ntwo")
        assert console.partial == "two"
        console.guest(b" more\nthree")
        assert console.partial == "three"
        console.show(Message("A trace line."))
    sys.stdout.flush()
    assert console.partial == "three"
    console.keep_partial()
    assert console.partial == ""
    assert capsys.readouterr().out == "\r\x1b[Kone\ntwo more\nA trace line.\nthree"


def test_an_unended_line_longer_than_the_terminal_is_wide_is_no_part_of_the_prompt() -> None:
    """The prompt shows one row of it."""
    console = Console(lambda: 80, lambda: "")
    with console.prompting(Application(output=DummyOutput())):
        columns = DummyOutput().get_size().columns
        console.guest(b"x" * (columns - 1))
        assert console.partial == "x" * (columns - 1)
        console.guest(b"y")
        assert console.partial == ""
        console.guest(b"\nz")
        assert console._above.endswith("xy\n")


def test_a_prompt_that_is_ending_asks_nothing_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Where its cursor is would be answered when nobody reads it any more, and be echoed into the output."""
    console = Console(lambda: 80, lambda: "")
    ending: Any = SimpleNamespace(is_done=True, loop=None)
    with console.prompting(ending):
        console.guest(b"one\n")
        console._write_above()
        sys.stdout.flush()
        assert "one" not in capsys.readouterr().out
    sys.stdout.flush()
    assert capsys.readouterr().out == "one\n"
