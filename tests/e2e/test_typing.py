"""Keys that are typed while the guest runs in the foreground of the shell."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
from pathlib import Path

import pytest

from kvmdbg import build
from tests.e2e.conftest import Shell
from tests.e2e.terminal import Terminal

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

KEYBOARD = """
    mov sp, 0x7000
next: in al, 0x64
    test al, 1
    jz next
    in al, 0x60
    mov bl, al; shr al, 4; call digit
    mov al, bl; and al, 15; call digit
    mov al, ' '; call put
    jmp next
digit: add al, '0'
    cmp al, '9'
    jbe put
    add al, 39
put: mov dx, 0x3f8; out dx, al; ret
"""
"""Sends each scan code to the serial port."""
SERIAL = """
next: mov dx, 0x3fd; in al, dx
    test al, 1
    jz next
    mov dx, 0x3f8; in al, dx
    cmp al, ' '
    jae put
    mov bl, al; mov al, '^'; out dx, al; mov al, bl; add al, 64
put: out dx, al
    jmp next
"""
"""Sends back what it receives."""
BOTH = """
next: in al, 0x64
    test al, 1
    jz other
    in al, 0x60
    mov dx, 0x3f8; mov al, 'K'; out dx, al
other: mov dx, 0x3fd; in al, dx
    test al, 1
    jz next
    mov dx, 0x3f8; in al, dx; mov al, 'S'; out dx, al
    jmp next
"""
DEAF = """
    mov bx, 40
again: mov cx, 0
idle: loop idle
    mov dx, 0x3f8; mov al, '.'; out dx, al
    dec bx
    jnz again
    hlt
"""


def running(shell: Shell, tmp_path: Path, source: str, *commands: str) -> Terminal:
    flat, _ = build.from_assembly(source, tmp_path)
    options = [part for one in ("set context none", *commands) for part in ("-ex", one)]
    terminal = shell("--load", "0x1000", *options, str(flat), columns=200)
    terminal.prompt()
    terminal.send("run\r")
    return terminal


def scan_codes(terminal: Terminal) -> str:
    """The digits that KEYBOARD has sent, on however many lines."""
    return "".join(row.replace(" ", "") for row in terminal.rows if re.fullmatch("[0-9a-f ]+", row))


def is_given_through(terminal: Terminal) -> bool:
    """Whether keys are given on one by one, but Ctrl-C is a signal; at the prompt it is a key."""
    flags = termios.tcgetattr(terminal.child.fileno())[3]
    return bool(flags & termios.ISIG and not flags & termios.ICANON and not flags & termios.ECHO)


def takes_keys(terminal: Terminal, to: str = "keyboard") -> None:
    terminal.wait(f"Keys go to the guest's {'serial port' if to == 'serial' else 'keyboard'} now")
    assert is_given_through(terminal)


def interrupted(terminal: Terminal) -> None:
    terminal.send("\x03")
    terminal.wait("Interrupted at 0x10")
    terminal.prompt()


def test_keys_go_to_the_keyboard(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, KEYBOARD)
    takes_keys(terminal)
    terminal.send("a\x1b[AB")
    terminal.wait("1e 9e e0 48 e0 c8 2a 30 b0 aa")
    terminal.send("\x1d")
    terminal.send("c\x1dz\x1d\x1d\x1d?x")
    terminal.wait("1d 2e ae 9d 1d 2c ac 9d 1d 1b 9b 9d 2d ad")
    terminal.send("\x1b")
    terminal.wait("01 81")
    terminal.send("\x11\x13\x1c")  # what a terminal in its usual mode keeps for itself
    terminal.wait("1d 10 90 9d 1d 1f 9f 9d 1d 2b ab 9d")
    interrupted(terminal)
    terminal.command("print 6 * 7")
    assert "$1 = 42" in terminal.text


def test_keys_go_to_the_serial_port(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, SERIAL)
    takes_keys(terminal, "serial")
    terminal.send("hello\r\x1b[A\x1dc\x1d\x1d.")
    terminal.wait("hello^M^[[A^C^].")
    interrupted(terminal)


def test_where_keys_go_can_be_said(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, BOTH, "set keys keyboard")
    takes_keys(terminal)
    terminal.send("a")
    terminal.wait("KK")
    interrupted(terminal)
    terminal.command("set keys auto")
    terminal.send("continue\r")
    takes_keys(terminal, "serial")
    terminal.send("ab")
    terminal.wait("SS")
    interrupted(terminal)


def test_keys_wait_for_the_prompt_where_nobody_looks(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, DEAF)
    terminal.wait("..")
    assert terminal.is_cooked
    terminal.send("print 6 * 7\r")
    terminal.wait("$1 = 42")
    assert "Keys go" not in terminal.text


def test_keys_wait_for_the_prompt_where_that_is_said(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, f"mov bx, 1000; polls: in al, 0x64; dec bx; jnz polls; {DEAF}", "set keys none")
    terminal.wait("..")
    assert terminal.is_cooked
    terminal.send("print 6 * 7\r")
    terminal.wait("$1 = 42")
    assert "Keys go" not in terminal.text


def test_rubbish_is_typed_and_the_shell_lives(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, KEYBOARD)
    takes_keys(terminal)
    rubbish = "".join(chr(code) for code in range(256) if code not in (3, 0x1A)) * 3
    terminal.send(f"\x1b[200~{rubbish}\x1b[201~{rubbish}")
    terminal.resize(60, 20)
    terminal.send("\x1b[24~")
    terminal.wait("58 d8")
    interrupted(terminal)
    terminal.send("\x0c")
    terminal.wait(lambda: terminal.rows[0] == terminal.last)
    assert "internal error" not in terminal.whole_text


def test_ctrl_z_puts_the_terminal_back_and_keys_go_on_behind_fg(shell: Shell, tmp_path: Path) -> None:
    flat, _ = build.from_assembly(KEYBOARD, tmp_path)
    terminal = shell(bash=True, PS1="> ")
    terminal.wait(lambda: terminal.last == ">")
    terminal.send(f"{sys.executable} -m kvmdbg --load 0x1000 {flat}\r")
    terminal.prompt()
    terminal.send("run\r")
    takes_keys(terminal)
    terminal.send("\x1a")
    terminal.wait("Stopped")
    terminal.send("stty -a | grep -ow -- '-*icanon\\|-*echo\\|-*ixon'\r")  # bash's own prompt is in raw mode
    terminal.wait(lambda: {"icanon", "echo", "ixon"} <= set(terminal.rows))
    terminal.send("fg\r")
    terminal.wait(lambda: is_given_through(terminal))
    terminal.send("b")
    terminal.wait("30 b0")
    interrupted(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_puts_the_terminal_back(shell: Shell, tmp_path: Path, number: signal.Signals) -> None:
    terminal = running(shell, tmp_path, KEYBOARD)
    takes_keys(terminal)
    os.kill(terminal.child.pid, number)
    terminal.wait_for_death()
    assert terminal.is_cooked and terminal.child.exitstatus == 128 + number
    assert "Traceback" not in terminal.whole_text


def test_the_live_screen_and_keys_before_and_after(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, KEYBOARD)
    takes_keys(terminal)
    interrupted(terminal)
    terminal.send("screen live\r")
    terminal.wait("Ctrl-] goes back")
    terminal.send("a\x1bb\x03")
    terminal.send("\x1d")
    terminal.prompt()
    terminal.send("continue\r")  # the guest may have been stopped before it has read all of them
    terminal.wait(lambda: is_given_through(terminal))
    terminal.wait(lambda: scan_codes(terminal) == "1e9e3830b0b81d2eae9d")
    terminal.send("q")
    terminal.wait("10 90")
    interrupted(terminal)


SHOWN = f"""
    mov ax, 0xb800; mov es, ax; mov di, 0; mov ax, 0x1e48; stosw; mov ax, 0x1e69; stosw
    {KEYBOARD.replace("in al, 0x60", "in al, 0x60; cmp al, 0x10; je done").replace("digit:", "done: cli; hlt; digit:")}
"""
"""Shows Hi as well, and halts at q."""


def test_the_screen_is_shown_while_it_runs(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, SHOWN)
    takes_keys(terminal)
    terminal.send("\x1ds")
    terminal.wait(lambda: terminal.rows[0] == "Hi" and "Ctrl-] goes back" in terminal.text)
    assert terminal.shows_whole_screen
    terminal.send("a")
    terminal.send("\x1d")
    terminal.wait(lambda: not terminal.shows_whole_screen and is_given_through(terminal))
    terminal.wait("1e 9e")
    terminal.send("b")
    terminal.wait("30 b0")
    terminal.send("\x1ds")
    terminal.wait(lambda: terminal.shows_whole_screen and terminal.rows[0] == "Hi")
    terminal.send("q")  # the guest stops
    terminal.wait("Halted (KVM_EXIT_HLT)")
    terminal.prompt()
    assert not terminal.shows_whole_screen
    terminal.command("print 6 * 7")
    assert "$1 = 42" in terminal.text


def test_a_signal_while_the_screen_is_shown(shell: Shell, tmp_path: Path) -> None:
    terminal = running(shell, tmp_path, SHOWN)
    takes_keys(terminal)
    terminal.send("\x1ds")
    terminal.wait(lambda: terminal.shows_whole_screen and terminal.rows[0] == "Hi")
    os.kill(terminal.child.pid, signal.SIGTERM)
    terminal.wait_for_death()
    assert terminal.is_cooked and not terminal.shows_whole_screen
    assert terminal.child.exitstatus == 128 + signal.SIGTERM and "Traceback" not in terminal.whole_text


def test_enter_runs_what_a_search_of_the_history_has_found(shell: Shell) -> None:
    screen = shell("guests/boot16.bin", columns=80, lines=30)
    screen.prompt()
    screen.command("print 1200 + 34")
    screen.command("print 2")
    screen.send("\x12" + "1200")
    screen.wait("(reverse-i-search)`1200': print 1200 + 34")
    screen.send("\r")
    screen.wait("$3 = 1234")
    screen.prompt()
