"""The terminal while the guest gets its keys."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kvmdbg.core.session import Session
from kvmdbg.ui.typing_through import TypingThrough


@pytest.mark.timeout(20)
def test_ctrl_z_while_the_terminal_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal's handler runs on the thread that it comes upon, which may be putting the terminal back itself."""
    stopped: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: stopped.append(number))
    with Path(os.devnull).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        typing = TypingThrough(cast(Session, None), lambda: "guest", lambda text: None, lambda until: None)
        with typing._lock:
            typing._suspend(signal.SIGTSTP, None)
    assert stopped == [signal.SIGTSTP]


def test_ctrl_bracket_counts_for_the_run_that_it_is_typed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[bytes] = []
    session = SimpleNamespace(peripherals=SimpleNamespace(serial=SimpleNamespace(type=typed.append)))
    with Path(os.devnull).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        typing = TypingThrough(cast(Session, session), lambda: "serial", lambda text: None, lambda until: None)
        typing._to = "serial"
        typing._give(b"a\x1d")
        typing._release()
        typing._give(b"s")
    assert typed == [b"a", b"s"]
