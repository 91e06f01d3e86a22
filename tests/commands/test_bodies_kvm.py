"""Lines up to `end` within others, files of commands, fork, and Python that is nested too deeply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.errors import UsageError

from .conftest import GUESTS, Typist

pytestmark = pytest.mark.kvm


@pytest.fixture
def kernel(opened: Callable[..., Typist]) -> Typist:
    typist = opened(GUESTS / "kernel-O0.elf")
    typist.type("break divide\nrun")
    return typist


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ("if 0\npython\nif True:\n  print(1)\nend\nelse\nprint 2\nend", "$1 = 2"),
        ("if 1\ncomm\nprint 5\nend\nprint 3\nelse\nprint 4\nend", "$1 = 3"),
        ("define mine\ndocument mine\nif you want\nend\nprint 6\nend\nmine", "$1 = 6"),
        ("alias w3 = while $i < 3\nset $i = 0\ndefine mine\nw3\nset $i = $i + 1\nend\nprint $i\nend\nmine", "$1 = 3"),
        ("define el\nprint 7\nend\nif 1\nel\nend", "$1 = 7"),
    ],
)  # fmt: skip
def test_bodies_within_bodies(hello: Typist, lines: str, shown: str) -> None:
    hello.type("break *0x1003")
    assert hello.type(lines) == shown


def test_a_trace_of_commands_is_shown_as_it_is(hello: Typist) -> None:
    shown = hello.type("set trace-commands on\ntcatch io 0x10")
    assert shown == "+tcatch io 0x10\n++catch io 0x10\nTemporary catchpoint 1: port 0x10."


def test_fork_within_fork(kernel: Typist) -> None:
    shown = kernel.type("fork 2\nfork 1\nstepi\nend\nstepi 2\nend")
    assert shown.count("$variant  What stopped it") == 3
    assert "it did not run" not in shown


def test_fork_tells_of_no_stop_that_was_before(kernel: Typist) -> None:
    shown = kernel.type("fork 2\nset $cx = 1\nend")
    assert shown.splitlines()[1:] == ["0         it did not run", "1         it did not run"]


def test_fork_within_a_breakpoints_commands_leaves_no_stop(kernel: Typist) -> None:
    kernel.type("commands\nfork 1\nstepi\nend\nend")
    assert kernel.type("continue").endswith("\n0         stepped to 0x1005b2")
    assert kernel.type("print/x $pc") == "$1 = 0x1005ae"


def test_python_in_commands_is_saved_as_it_is(kernel: Typist, tmp_path: Path) -> None:
    kernel.type("commands\npython\nfor one in 1, 2:\n    print(one)\nend\nend")
    kernel.type(f"save breakpoints {tmp_path / 'points'}")
    kernel.type("delete")
    kernel.type(f"source {tmp_path / 'points'}")
    assert kernel.type("continue").endswith("1\n2\n")


def test_a_file_of_commands_of_another_system(hello: Typist, tmp_path: Path) -> None:
    (tmp_path / "commands").write_bytes("\ufeffprint 1\r\necho a\fb\u2028c\\n\r\n".encode())
    assert hello.type(f"source {tmp_path / 'commands'}") == "$1 = 1\na\fb\u2028c\n"


@pytest.mark.parametrize("text", ["-" * 200_000 + "1", "a" + ".b" * 200_000])
def test_python_that_is_nested_too_deeply(hello: Typist, text: str) -> None:
    with pytest.raises(UsageError, match="python: this is nested too deeply"):
        hello.type(f"python {text}")


def test_how_a_program_of_the_host_ended(hello: Typist) -> None:
    hello.type("shell kill -9 $$")
    assert hello.type("print $_shell_exitsignal\nprint $_shell_exitcode") == "$1 = 9\n$2 = void"
    hello.type("shell exit 3")
    assert hello.type("print $_shell_exitcode\nprint $_shell_exitsignal") == "$3 = 3\n$4 = void"
