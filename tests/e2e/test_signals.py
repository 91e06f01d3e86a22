"""What the terminal looks like, and what is left, after SIGTERM, SIGHUP, SIGQUIT and Ctrl-Z."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.terminal import ROOT, TIME_SCALE, Terminal

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SPIN = bytes.fromhex("ebfe")
TALK = bytes.fromhex("baf803 b041 ee b00a ee ebf8")
"""Prints lines for ever."""
SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


def at_the_prompt(terminal: Terminal) -> None:
    terminal.prompt()


def running(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("run\r")
    terminal.wait(lambda: terminal.is_cooked)


def in_the_background(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("run &\r")
    terminal.prompt("running")


def at_a_question(terminal: Terminal) -> None:
    in_the_background(terminal)
    terminal.send("\x04")
    terminal.wait("Leave and kill it?")


def on_the_whole_screen(terminal: Terminal) -> None:
    terminal.prompt()
    terminal.send("tui\r")
    terminal.wait("F5 continue")
    terminal.send("run\r")
    terminal.wait("Ctrl-C interrupts")


def at_the_live_screen(terminal: Terminal) -> None:
    in_the_background(terminal)
    terminal.send("screen live\r")
    terminal.wait("Ctrl-] goes back")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("arrive", "guest"),
    [
        (at_the_prompt, SPIN), (running, SPIN), (running, TALK), (in_the_background, TALK), (at_a_question, SPIN),
        (on_the_whole_screen, SPIN), (on_the_whole_screen, TALK), (at_the_live_screen, TALK),
    ],
)  # fmt: skip
def test_the_terminal_is_put_back(
    number: signal.Signals, guest: bytes, arrive: Callable[[Terminal], None], shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "guest.bin").write_bytes(guest)
    terminal = shell("--load", "0x1000", str(tmp_path / "guest.bin"))
    arrive(terminal)
    os.kill(terminal.child.pid, number)
    terminal.wait_for_death()
    assert terminal.is_cooked and not terminal.shows_whole_screen
    assert "Traceback" not in terminal.whole_text and "internal error" not in terminal.whole_text
    assert terminal.child.exitstatus == 128 + number


def test_a_signal_that_is_ignored_stays_so(shell: Shell, tmp_path: Path) -> None:
    """As nohup has it."""
    (tmp_path / "guest.bin").write_bytes(SPIN)
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        terminal = shell("--load", "0x1000", str(tmp_path / "guest.bin"))
    finally:
        signal.signal(signal.SIGHUP, kept)
    terminal.prompt()
    os.kill(terminal.child.pid, signal.SIGHUP)
    terminal.command("print 6 * 7")
    assert "$1 = 42" in terminal.text


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("options", [["--run"], []], ids=["running", "waiting for gdb"])
def test_sockets_are_removed_and_files_finished(number: signal.Signals, options: list[str], tmp_path: Path) -> None:
    guest, socket, trace = tmp_path / "guest.bin", tmp_path / "gdb", tmp_path / "trace.json"
    guest.write_bytes(TALK)
    served = ["-ex", f"gdbserver unix:{socket}", *options] if options else ["--gdb", f"unix:{socket}"]
    batch = subprocess.Popen(
        [
            *(sys.executable, "-m", "kvmdbg", "--batch", "--load", "0x1000"),
            *("-ex", f"trace exits on to {trace}", *served, str(guest)),
        ],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 20 * TIME_SCALE
    while not socket.exists():
        assert time.monotonic() < end and batch.poll() is None
        time.sleep(0.05)
    time.sleep(0.3 * TIME_SCALE)
    batch.send_signal(number)
    _, said = batch.communicate(timeout=20 * TIME_SCALE)
    assert batch.returncode == 128 + number and "Traceback" not in said
    assert not socket.exists()
    assert isinstance(json.loads(trace.read_text()), list)


def test_ctrl_z_suspends_and_fg_goes_on(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(SPIN)
    terminal = shell(bash=True, PS1="> ")
    terminal.wait(lambda: terminal.last == ">")

    def suspended() -> None:
        terminal.send("\x1a")
        terminal.wait(lambda: terminal.last == ">")
        terminal.wait(lambda: not terminal.shows_whole_screen)
        terminal.send("stty -a | grep -ow -- '-*icanon\\|-*echo'\r")  # bash's own prompt is in raw mode
        terminal.wait("\nicanon\necho\n>")
        terminal.send("clear\r")
        terminal.wait(lambda: terminal.rows[0] == ">")
        terminal.send("fg\r")

    terminal.send(f"{sys.executable} -m kvmdbg --load 0x1000 {tmp_path}/guest.bin\r")
    terminal.prompt()
    suspended()
    terminal.prompt()
    terminal.send("run &\r")
    terminal.prompt("running")
    suspended()
    terminal.prompt("running")
    terminal.send("\x03")
    terminal.prompt()
    terminal.send("tui\r")
    terminal.wait("F5 continue")
    suspended()
    terminal.wait("F5 continue")
    assert terminal.shows_whole_screen
    terminal.send("print 6 * 7\r")
    terminal.wait("$1 = 42")
