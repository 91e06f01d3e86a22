"""Without a shell the commands are imported when one is needed that does not come first in most runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kvmdbg.commands.registry import Command, Registry
from kvmdbg.errors import UsageError


def entered(registry: Registry, name: str) -> None:
    registry.add(Command(name, lambda dbg: None, (), "support", (), False))


@pytest.fixture
def later() -> tuple[Registry, list[str]]:
    registry, filled = Registry(), ["none"]

    def fill() -> None:
        filled.append("all")
        entered(registry, "step")

    def first() -> None:
        filled.append("run")
        entered(registry, "run")

    registry.fill_later(fill, {"run": first})
    return registry, filled


def test_the_first_commands_alone(later: tuple[Registry, list[str]]) -> None:
    registry, filled = later
    assert registry.resolve("run").command.name == "run"
    assert filled == ["none", "run"]


def test_any_other(later: tuple[Registry, list[str]]) -> None:
    registry, filled = later
    assert registry.resolve("step").command.name == "step"
    with pytest.raises(UsageError, match="no command"):
        registry.resolve("nothing")
    assert filled == ["none", "all"]


@pytest.mark.parametrize("ask", [len, list, lambda one: one.get("step"), lambda one: one.names()["step"]])
def test_questions_about_all(later: tuple[Registry, list[str]], ask: object) -> None:
    registry, filled = later
    assert callable(ask)
    assert ask(registry)
    assert filled == ["none", "all"]


PROGRAM = """
import sys
from kvmdbg.commands.interpreter import Interpreter
from tests.scripted.machine import scripted_session
from tests.scripted.plays import HALT

with scripted_session(bytes.fromhex("909090f4")) as session:
    interpreter = Interpreter(session, all_commands=False)
    session.cpu.plays = [HALT]
    print(*[result.plain(80) for result in interpreter.execute("run")])
    print("kvmdbg.commands.snapshots" in sys.modules)
    print(*[result.plain(80) for result in interpreter.execute("info snapshots")])
    print("kvmdbg.commands.snapshots" in sys.modules)
    try:
        list(interpreter.execute("runn"))
    except Exception as error:
        print(error)
"""


def test_what_a_run_imports() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "alted" in done.stdout
    assert done.stdout.count("False") == 1, done.stdout
    assert done.stdout.count("True") == 1, done.stdout
    assert "did you mean run?" in done.stdout
