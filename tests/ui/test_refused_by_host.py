"""What the host refuses to a command is told as such, wherever it was typed; it was a mistake of kvmdbg's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import DummyInput
from prompt_toolkit.output import DummyOutput

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.ui.shell import Shell
from kvmdbg.ui.tui import Tui
from tests.scripted.guest import counting_guest

SENTENCE = "the host refused: Cannot allocate memory"


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interpreter]:
    with counting_guest() as session:
        made = Interpreter(session)

        def refused(*which: object) -> Iterator[object]:
            raise OSError(12, "Cannot allocate memory")

        monkeypatch.setattr(made, "execute", refused)
        yield made


def test_in_the_shell(interpreter: Interpreter, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Shell(interpreter).execute("snapshot save here")
    assert SENTENCE in capfdbinary.readouterr().out.decode()


def test_in_the_full_screen(interpreter: Interpreter) -> None:
    with create_app_session(input=DummyInput(), output=DummyOutput()):
        tui = Tui(interpreter, InMemoryHistory())
        tui.commands._waiting.append("snapshot save here")
        tui.commands._work()
        shown = "".join(text for line in tui._shown_log(100) for _, text in line)
    assert SENTENCE in shown
    assert "internal" not in shown


def test_debug_information_that_cannot_be_read_is_not_waited_for(
    interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(interpreter.session.source, "read_units", refused)
    with create_app_session(input=DummyInput(), output=DummyOutput()):
        tui = Tui(interpreter, InMemoryHistory())
        tui._reading = "Reading the debug information"
        with pytest.raises(OSError, match="Input"):  # the thread's last line of defence tells it
            tui._read_units()
    assert tui._reading == ""
