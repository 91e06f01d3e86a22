"""Commands of the full screen, which are executed on a thread of their own: each ends, or can be ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.python_prompt import Namespace
from kvmdbg.commands.results import Result
from kvmdbg.errors import UsageError
from kvmdbg.ui.shell import Shell
from kvmdbg.ui.typed_commands import TypedCommands
from tests.scripted.guest import counting_guest

LOOP = "while 1\nset $rounds = $rounds + 1\nend"
SECONDS = 20


class Screen:
    """Waits for what is shown."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.shown: list[str] = []
        self.statuses: list[int] = []
        self.begun = Event()
        self.commands = TypedCommands(
            interpreter,
            begun=lambda line: self.begun.set(),
            show=self._show,
            ended=lambda: None,
            quit=self.statuses.append,
        )

    def _show(self, result: Result) -> None:
        self.shown.append(result.plain())

    def wait(self) -> None:
        """Until all that was typed has been executed."""
        assert self.commands._idle.wait(SECONDS), self.shown


@pytest.fixture
def interpreter() -> Iterator[Interpreter]:
    with counting_guest() as session:
        yield Interpreter(session)


@pytest.fixture
def screen(interpreter: Interpreter) -> Screen:
    return Screen(interpreter)


@pytest.mark.parametrize("end", [TypedCommands.interrupt, TypedCommands.end])
def test_a_loop_can_be_ended(screen: Screen, interpreter: Interpreter, end: Callable[[TypedCommands], None]) -> None:
    screen.commands.add("set $rounds = 0")
    screen.wait()
    screen.begun.clear()
    screen.commands.add(LOOP)
    screen.commands.add("echo never")
    assert screen.begun.wait(SECONDS)
    while interpreter.session.variables["rounds"] == 0:
        pass
    end(screen.commands)
    screen.wait()
    assert screen.shown == ["interrupted"]
    screen.commands.add("print 7")
    screen.commands.add("x/i $pc")  # which reads memory
    screen.wait()
    assert screen.shown[1] == "$1 = 7" and "interrupted" not in screen.shown[2]


@pytest.mark.parametrize("end", [TypedCommands.interrupt, TypedCommands.end])
@pytest.mark.parametrize("body", ["pass", "dbg.step()"])
def test_users_python_can_be_ended(
    screen: Screen, interpreter: Interpreter, end: Callable[[TypedCommands], None], body: str
) -> None:
    screen.commands.add(f"python\ndbg.step()\nbegun = True\nwhile begun: {body}\nend")
    while not interpreter.kept(Namespace).get("begun"):
        time.sleep(0.01)
    end(screen.commands)
    screen.wait()
    assert screen.shown == ["Interrupted."]
    screen.commands.add("python print(6 * 7)")
    screen.wait()
    assert screen.shown[1] == "42\n"


def test_what_users_python_raises_ends_nothing(screen: Screen) -> None:
    screen.commands.add("python raise KeyboardInterrupt")
    screen.commands.add("print 7")
    screen.wait()
    assert screen.shown == ["Interrupted.", "$1 = 7"]


def test_leaving_forgets_what_waits(screen: Screen) -> None:
    screen.commands.add("quit 3")
    screen.commands.add("print 7")
    screen.wait()
    assert screen.statuses == [3]
    assert screen.shown == []


def test_ctrl_c_while_the_guest_runs_ends_the_loop_that_it_runs_in(interpreter: Interpreter) -> None:
    @contextmanager
    def interrupted() -> Iterator[None]:
        interpreter.runs.interrupted = True
        yield

    interpreter.runs.attended = interrupted
    lines = iter(["set $rounds = 0", "while $rounds < 9", "stepi", "set $rounds = $rounds + 1", "end"])
    list(interpreter.execute(next(lines)))
    with pytest.raises(UsageError, match="interrupted"):
        list(interpreter.execute(next(lines), lambda: next(lines)))
    assert interpreter.session.variables["rounds"] == 1


def test_ctrl_c_forgets_the_pasted_lines(interpreter: Interpreter, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Shell(interpreter).execute("print 6\npython raise KeyboardInterrupt\nprint 7\nprint 8")
    shown = capfdbinary.readouterr().out.decode()
    assert "$1 = 6" in shown and "= 7" not in shown and "Not run: 2 more pasted lines." in shown
