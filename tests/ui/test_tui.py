"""Panes of the full-screen mode, one by one."""

from __future__ import annotations

import pytest

from kvmdbg.commands.results import Text
from kvmdbg.errors import MemoryFault
from kvmdbg.ui.panes import Line, Pane, console_lines, lines_of, plain


@pytest.fixture(autouse=True)
def log(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def text(lines: list[Line]) -> str:
    return "\n".join("".join(part for _, part in line) for line in lines)


class Failing:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    def __call__(self, width: int) -> list[Line]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return plain("all is well")


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    "error", [AttributeError("'Vcpu' object has no attribute 'regs'"), ValueError("released"), OSError(5)]
)
def test_any_mistake_stays_in_its_pane(error: Exception, live: bool) -> None:
    make = Failing()
    pane = Pane("code", make, live=live)
    assert text(pane.lines(200, 5, 1)) == "all is well"
    make.error = error
    assert text(pane.lines(200, 5, 2)) == "all is well"  # it may be a matter of a moment
    for _ in range(3):
        assert "internal error: " + repr(error) in text(pane.lines(200, 5, 2))
    make.error = None
    assert text(pane.lines(200, 5, 2)) == "all is well"


def test_what_is_not_readable_is_said_at_once_and_once() -> None:
    make = Failing()
    make.error = MemoryFault(0x1000)
    pane = Pane("memory", make)
    for _ in range(3):
        assert text(pane.lines(80, 5, 1)) == "cannot read linear address 0x1000"
    assert make.calls == 1


def test_the_guests_console_has_no_escape_sequences() -> None:
    output = b"\x1b[0;32m[  OK  ]\x1b[0m Started \x1b]0;title\x07\xe2\x80\xae\a it\r\nnext\tone"
    assert text(console_lines(output, 30)) == "[  OK  ] Started \\u202e it\nnext    one"
    assert text(console_lines(b"a line that is longer\n", 12)) == "a line that \nis longer\n"
    assert text(console_lines("ééé日本日本é".encode(), 4)) == "ééé\n日本\n日本\né"
    assert text(console_lines(b"no room", 0)).replace("\n", "") == "no room"


def test_tabs_in_the_log() -> None:
    """prompt_toolkit would show them as ^I."""
    assert text(lines_of(Text("one\ttwo\n\tthree"), 80)) == "one     two\n        three"


def test_log_lines_are_broken_between_words() -> None:
    from kvmdbg.ui.panes import wrapped

    line = [("a", "task=0x100e88 "), ("b", "<all+40>  cfi")]
    assert wrapped(line, 30) == [line]
    found = ["".join(text for _, text in one) for one in wrapped(line, 18)]
    assert found == ["task=0x100e88 ", "<all+40>  cfi"]
    assert ["".join(text for _, text in one) for one in wrapped([("", "x" * 25)], 10)] == ["x" * 10, "x" * 10, "x" * 5]
    assert wrapped([], 10) == [[]]
