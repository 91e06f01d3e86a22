"""The rc files, whose folders are trusted, and settings that are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg import start_files
from kvmdbg.batch import Batch
from tests.e2e.conftest import Shell, shell

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

ROOT = Path(__file__).resolve().parents[1]
HELLO = ["--load", "0x1000", str(ROOT / "guests/hello16.bin")]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
__all__ = ["shell"]


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders ``config``, ``state`` and ``work`` of a user's own."""
    for name in ("config/kvmdbg", "state/kvmdbg", "work"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def run(homes: Path) -> Run:
    def run_it(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kvmdbg", "--batch", *arguments, *HELLO],
            cwd=homes / "work", env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run_it


def users(homes: Path, text: str) -> Path:
    path = homes / "config/kvmdbg/kvmdbgrc"
    path.write_text(text)
    return path


def folders(homes: Path, text: str) -> None:
    (homes / "work/.kvmdbgrc").write_text(text)


def test_the_users_file_is_read_in_batch_too(homes: Path, run: Run) -> None:
    users(homes, "set output-radix 16\ndefine twice\n  print $arg0 * 2\nend\n")
    assert run("-ex", "twice 8").stdout == "$1 = 0x10\n"
    assert run("-nx", "-ex", "print 16").stdout == "$1 = 16\n"


def test_mistakes_name_file_and_line(homes: Path, run: Run) -> None:
    path = users(homes, "set output-radix 16\n\nnosuch\nset output-radix 8\n")
    found = run("-ex", "print 16")
    assert found.stderr == f"kvmdbg: {path}:3: 'nosuch' is no command; try help\n"
    assert (found.stdout, found.returncode) == ("$1 = 0x10\n", 1)


def test_a_folders_file_needs_trust(homes: Path, run: Run) -> None:
    folders(homes, "set output-radix 16\n")
    assert run("-ex", "print 16").stdout == "$1 = 16\n"
    (homes / "state/kvmdbg/trusted-folders").write_text(f"-/other\n+{homes / 'work'}\n")
    assert run("-ex", "print 16").stdout == "$1 = 0x10\n"
    assert run("-nx", "-ex", "print 16").stdout == "$1 = 16\n"


def test_a_folder_is_asked_about_once(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(homes / "work")
    asked: list[str] = []

    def answering(answer: bool | None) -> Callable[[str], bool | None]:
        return lambda question: asked.append(question) or answer  # type: ignore[func-returns-value]

    assert start_files.folders_file(answering(True)) is None and not asked
    folders(homes, "print 1\n")
    assert start_files.folders_file(None) is None
    assert start_files.folders_file(answering(None)) is None
    assert start_files.folders_file(answering(True)) == Path(".kvmdbgrc") and len(asked) == 2
    assert str(homes / "work") in asked[0]
    assert start_files.folders_file(answering(False)) == Path(".kvmdbgrc") and len(asked) == 2
    assert start_files.folders_file(None) == Path(".kvmdbgrc")


def test_a_no_is_kept_too(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(homes / "work")
    folders(homes, "print 1\n")
    assert start_files.folders_file(lambda question: False) is None
    assert start_files.folders_file(lambda question: True) is None


def test_another_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, asked = iter(["perhaps", "", "Yes"]), list[str]()

    def answer(question: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("builtins.input", answer)
    assert Batch._ask("Trust it?") is True
    assert asked == ["Trust it? (y or n) ", *2 * ["Please answer y or n. Trust it? (y or n) "]]


def test_in_the_shell(homes: Path, shell: Shell) -> None:
    users(homes, "set prompt mine>\n")
    state = str(homes / "state")
    first = shell(*HELLO, XDG_CONFIG_HOME=str(homes / "config"), XDG_STATE_HOME=state)
    first.wait("mine>")
    first.send("set save-settings on\rset listsize 7\rset theme dark\rquit\r")
    assert first.end() == 0
    assert (homes / "state/kvmdbg/settings").read_text() == "theme dark\nlistsize 7\nprompt mine>\nsave-settings on\n"
    second = shell(*HELLO, XDG_CONFIG_HOME="/dev/null/none", XDG_STATE_HOME=state)
    second.wait("mine>")
    second.send("show listsize\r")
    second.wait("listsize is 7.")
    second.send("set save-settings off\rquit\r")
    assert second.end() == 0
    assert not (homes / "state/kvmdbg/settings").exists()
