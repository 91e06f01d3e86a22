"""Several lines that are pasted at once, at the prompt and where a body is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.ui.dialogue import Dialogue
from kvmdbg.ui.shell import Shell
from tests.scripted.guest import counting_guest


@pytest.fixture
def interpreter() -> Iterator[Interpreter]:
    with counting_guest() as session:
        yield Interpreter(session)


def test_in_the_shell_a_body(
    interpreter: Interpreter, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(interpreter)
    monkeypatch.setattr(shell, "_more", iter(["print 1\nif 1\nprint 2", "end\nend\nprint 3"]).__next__)
    shell.execute("define both")
    shell.execute("both")
    assert capfdbinary.readouterr().out.decode().split("\n")[:3] == ["$1 = 3", "$2 = 1", "$3 = 2"]


def test_in_the_shell_a_newline_at_the_end(interpreter: Interpreter, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Shell(interpreter).execute("stepi\n")
    assert capfdbinary.readouterr().out.decode().count("Stepped") == 1


@pytest.mark.parametrize(
    ("pasted", "executed"),
    [
        (["print 1\nprint 2"], ["print 1", "print 2"]),
        (["stepi\n"], ["stepi"]),
        ([""], [""]),
        (["define both\nprint 1\nend\nboth"], ["define both\nprint 1\nend", "both"]),
        (["define both", "print 1\nprint 2\nend\nboth"], ["define both\nprint 1\nprint 2\nend", "both"]),
    ],
)
def test_in_the_full_screen(interpreter: Interpreter, pasted: list[str], executed: list[str]) -> None:
    found: list[str] = []
    dialogue = Dialogue(interpreter, found.append, lambda: None)
    for text in pasted:
        dialogue.typed(text)
    assert found == executed
    assert dialogue.prompt == "(kvmdbg) "
