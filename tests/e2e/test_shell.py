"""The shell in a pseudo-terminal, as its user sees it."""

from __future__ import annotations

import re
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from kvmdbg import build
from tests.e2e.conftest import Shell
from tests.e2e.terminal import TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

HELLO = ["--load", "0x1000", "--reg", "rax=2", "--reg", "rbx=2", "guests/hello16.bin"]
COUNTER = ["--memory", "512M", "--load", "0x10000", "--entry", "0x1000:0", "guests/counter16.bin"]
BUSY = bytes.fromhex("ebfe")
SAYS_IT_IS_BUSY = bytes.fromhex("baf803 b040 ee ebfe")
"""Sends @ and spins at 0x1006."""
# again: mov dx, 0x3f8; mov al, 'x'; out dx, al; mov al, 10; out dx, al; mov ecx, 300000; l: dec ecx; jnz l; jmp again
LINES = bytes.fromhex("baf803b078eeb00aee66b9e09304006649 75fc ebeb".replace(" ", ""))
# mov dx, 0x3f8; mov al, '>'; out dx, al; jmp $
UNENDED = bytes.fromhex("baf803b03eeeebfe")
SAYS = bytes.fromhex("baf803 be0e10 ac 84c0 74fe ee ebf8")
"""Sends what stands behind it, up to a 0, and spins."""


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_session(shell: Shell, columns: int) -> None:
    terminal = shell(*HELLO, columns=columns)
    terminal.prompt()
    assert "mov     dx, 0x3f8" in terminal.text
    terminal.wait("pc 0x1000")  # the toolbar
    terminal.command("break *0x1008")
    assert "reakpoint 1 at 0x1008" in terminal.text
    terminal.command("run")
    assert "Breakpoint 1 at 0x1008" in terminal.text
    assert all(len(row) <= columns for row in terminal.rows)
    terminal.command("si")
    arrow = [row for row in terminal.rows if row.startswith("=>")]
    assert len(arrow) == 1 and "0000:100a" in arrow[0]
    terminal.send("\r")  # the empty line repeats the step
    terminal.wait("Stepped to 0x100b")
    terminal.command("continue")
    assert "Halted" in terminal.text
    terminal.command("p $rax")
    assert "= 10" in terminal.text
    terminal.send("\x04")
    assert terminal.end() == 0


def test_colour_and_none(shell: Shell) -> None:
    colourful = shell(*HELLO)
    colourful.prompt()
    mnemonic = re.compile(r"\x1b\[[0-9;]*1m(\x1b\[[0-9;]*m)*mov")
    assert mnemonic.search(colourful.raw)
    plain = shell(*HELLO, NO_COLOR="1")
    plain.prompt()
    assert not mnemonic.search(plain.raw) and "\x1b[36m" not in plain.raw
    assert plain.rows[:9] == colourful.rows[:9]


def test_dumb_terminal(shell: Shell) -> None:
    terminal = shell(*HELLO, TERM="dumb")
    terminal.wait("(kvmdbg real)")
    terminal.send("run\r")
    terminal.wait("Halted")
    assert "\x1b[" not in terminal.raw
    terminal.wait(lambda: terminal.text.count("(kvmdbg real)") == 2)
    terminal.send("quit\r")
    assert terminal.end() == 0


def test_ctrl_c_gets_the_prompt_back(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "busy.bin").write_bytes(SAYS_IT_IS_BUSY)
    terminal = shell("--mode", "real", "--load", "0x1000", str(tmp_path / "busy.bin"))
    terminal.prompt()
    terminal.send("run\r")
    terminal.wait(lambda: terminal.last == "@")
    terminal.send("\x03")
    terminal.wait("Interrupted at 0x1006")
    terminal.prompt()
    terminal.send("half a li")  # a line is cleared
    terminal.wait("half a li")
    terminal.send("\x03")
    terminal.prompt()


def test_ctrl_c_ends_a_loop_and_forgets_what_was_pasted_behind_it(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "busy.bin").write_bytes(SAYS_IT_IS_BUSY)
    terminal = shell("--mode", "real", "--load", "0x1000", str(tmp_path / "busy.bin"))
    terminal.prompt()
    terminal.send("\x1b[200~while 1\ncontinue\nend\nprint 42\x1b[201~\r")
    terminal.wait(lambda: terminal.last == "@")
    terminal.send("\x03")
    terminal.wait("Not run: 1 more pasted line.")
    assert "= 42" not in terminal.text
    terminal.prompt()


def test_ctrl_c_where_it_was_ignored(shell: Shell, tmp_path: Path) -> None:
    """As it is for a background job of a script."""
    (tmp_path / "busy.bin").write_bytes(SAYS_IT_IS_BUSY)
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        terminal = shell("--mode", "real", "--load", "0x1000", str(tmp_path / "busy.bin"))
    finally:
        signal.signal(signal.SIGINT, kept)
    terminal.prompt()
    terminal.send("run\r")
    terminal.wait(lambda: terminal.last == "@")
    terminal.send("\x03")
    terminal.wait("Interrupted at 0x1006")


@pytest.mark.parametrize("body", ["dbg.step()", "dbg.run(timeout=30)"])
def test_ctrl_c_ends_python_that_lets_the_guest_go_on_and_on(shell: Shell, body: str) -> None:
    terminal = shell(*COUNTER)
    terminal.prompt()
    terminal.send(f"python while True: {body}\r")
    terminal.wait(lambda: terminal.is_cooked)
    time.sleep(0.3)  # it is in the guest then, nearly always
    terminal.send("\x03")
    terminal.wait("Interrupted.")
    terminal.prompt()


def test_ctrl_c_in_a_flood_of_exits(shell: Shell) -> None:
    terminal = shell(*COUNTER)
    terminal.prompt()
    terminal.send("run\r")
    terminal.wait(lambda: terminal.is_cooked)
    time.sleep(0.5 * TIME_SCALE)
    terminal.send("\x03")
    terminal.wait("Interrupted at 0x100")
    terminal.command("info exits")
    assert "out     0x10" in terminal.text


def test_the_guest_speaks_while_a_line_is_typed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "lines.bin").write_bytes(LINES)
    terminal = shell("--mode", "real", "--load", "0x1000", str(tmp_path / "lines.bin"))
    terminal.prompt()
    terminal.command("continue &", "running")
    terminal.send("print 20")
    terminal.wait(lambda: terminal.last == "(kvmdbg running) print 20" and terminal.rows.count("x") > 6)
    terminal.send(" + 22\r")
    terminal.wait(lambda: "$1 = 42" in terminal.whole_text)  # it may have left the screen
    terminal.wait(lambda: terminal.last == "(kvmdbg running)")
    terminal.send("stays ")
    terminal.wait(lambda: terminal.last == "(kvmdbg running) stays")
    terminal.send("\x03")  # interrupts the guest; what was typed is there again
    terminal.wait("Interrupted at 0x10")
    terminal.wait(lambda: terminal.last == "(kvmdbg real) stays")
    above = terminal.rows[: terminal.rows.index(next(row for row in terminal.rows if row.startswith("-- regs")))]
    assert above.count("x") > 3
    typed = {"(kvmdbg real) continue &", "(kvmdbg running) print 20 + 22"}
    said = {"The guest runs in the background; interrupt stops it.", "$1 = 42"}
    assert set(above) <= {"x"} | typed | said, above


def test_an_unended_line_of_the_guest(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "unended.bin").write_bytes(UNENDED)
    terminal = shell("--mode", "real", "--load", "0x1000", str(tmp_path / "unended.bin"))
    terminal.prompt()
    terminal.command("continue &", "running")
    terminal.wait(lambda: terminal.rows[terminal.screen.cursor.y - 1] == ">")
    terminal.send("print 6*7\r")
    terminal.wait("$1 = 42")
    assert terminal.rows.count(">") == 1


def test_the_guests_colours_in_an_unended_line_and_nowhere_else(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "red.bin").write_bytes(SAYS + b"\x1b[31m>\0")
    terminal = shell("--mode", "real", "--load", "0x1000", str(tmp_path / "red.bin"), NO_COLOR="")
    terminal.prompt()
    terminal.command("continue &", "running")
    terminal.wait(lambda: terminal.rows[terminal.screen.cursor.y - 1] == ">")
    assert terminal.screen.buffer[terminal.screen.cursor.y - 1][0].fg == "red"
    terminal.send("interrupt\r")
    terminal.wait("Interrupted")
    row = next(n for n, text in enumerate(terminal.rows) if text.startswith("Interrupted"))
    assert terminal.screen.buffer[row][0].fg == "default"


def test_leaving_asks_when_the_guest_runs(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "busy.bin").write_bytes(BUSY)
    terminal = shell("--mode", "real", "--load", "0x1000", str(tmp_path / "busy.bin"))
    terminal.prompt()
    terminal.command("continue &", "running")
    terminal.send("\x04")
    terminal.wait("kill it? (y or n)")
    terminal.send("perhaps\r")
    terminal.wait("Please answer y or n. ")
    terminal.send("n\r")
    terminal.prompt("running")
    terminal.send("\x04")
    terminal.wait(lambda: terminal.text.count("(y or n)") == 3)
    terminal.send("y\r")
    assert terminal.end() == 0


def test_rubbish(shell: Shell) -> None:
    terminal = shell(*HELLO)
    terminal.prompt()
    terminal.send("\x1b[200~\x01\x02zzz 0x ((( \n;;;\n$$$\n x/99999999999zq 1\n\x1b[201~\r")
    terminal.wait("'\\x01\\x02zzz")
    terminal.send("\x15")
    terminal.command("print 1 +")
    assert "^" in terminal.text or "expected" in terminal.text
    terminal.command("print 40 + 2")
    assert "= 42" in terminal.text
    assert "internal error" not in terminal.text and "Traceback" not in terminal.text


def test_completion(shell: Shell) -> None:
    terminal = shell(*HELLO)
    terminal.prompt()
    terminal.send("info breakp\t")
    terminal.wait(lambda: terminal.last == "(kvmdbg real) info breakpoints")
    terminal.send("\x15print $eflag\t")
    terminal.wait(lambda: terminal.last == "(kvmdbg real) print $eflags")
    terminal.send("\x15source guests/Make\t")
    terminal.wait(lambda: terminal.last == "(kvmdbg real) source guests/Makefile")


def test_keys(shell: Shell) -> None:
    terminal = shell(*HELLO)
    terminal.prompt()
    terminal.send("draft")
    terminal.wait(lambda: terminal.last.endswith("draft"))
    terminal.send("\x1b[23~")  # F11
    terminal.wait("Stepped to 0x1003")
    terminal.wait(lambda: terminal.last == "(kvmdbg real) draft")
    terminal.send("\x1b[21~")  # F10
    terminal.wait("Stepped to 0x1005")
    terminal.send("\x1b[15~")  # F5
    terminal.wait("Halted")
    terminal.wait(lambda: terminal.last == "(kvmdbg real) draft")
    terminal.send("\x15")
    terminal.command("help keys")
    assert "F5" in terminal.text and "continue" in terminal.text


def test_history_is_kept(shell: Shell, tmp_path: Path) -> None:
    first = shell(*HELLO)
    first.prompt()
    first.command("print 111")
    first.send("\x04")
    first.end()
    path = tmp_path / "kvmdbg/history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = shell(*HELLO)
    second.prompt()
    second.send("\x1b[A")
    second.wait(lambda: second.last == "(kvmdbg real) print 111")


def test_resize(shell: Shell) -> None:
    terminal = shell(*HELLO, columns=200)
    terminal.prompt()
    terminal.resize(60, 30)
    terminal.send("si\r")
    terminal.wait("Stepped to 0x1003")
    terminal.wait("pc 0x1003")
    rule = next(number for number, row in enumerate(terminal.rows) if row.startswith("-- code"))
    assert not terminal.rows[rule + 1].startswith("-")  # made for the new width: nothing is wrapped


def test_a_body_and_its_commands(shell: Shell) -> None:
    terminal = shell(*HELLO)
    terminal.prompt()
    terminal.command("tbreak *0x1005")
    terminal.send("commands\r")
    terminal.wait(lambda: terminal.last == ">")
    terminal.send("silent\r")
    terminal.wait(lambda: terminal.rows.count(">") == 1 and terminal.last == ">")
    terminal.send("echo reached\\n\r")
    terminal.wait("> echo")
    terminal.send("end\r")
    terminal.prompt()
    terminal.command("continue")
    assert "reached" in terminal.text


SCREEN = """
    mov ax, 0xb800; mov es, ax; xor di, di
    mov ax, 0x0748; stosw; mov ax, 0x0769; stosw
wait: in al, 0x64
    test al, 1
    jz wait
    in al, 0x60
    cmp al, 0x1e
    jne wait
    mov ax, 0x0721; stosw
    jmp wait
"""


def test_the_live_screen_shows_the_guest_and_takes_keys(shell: Shell, tmp_path: Path) -> None:
    flat, _ = build.from_assembly(SCREEN, tmp_path)
    terminal = shell("--load", "0x1000", str(flat))
    terminal.prompt()
    terminal.send("screen live\r")
    terminal.wait(lambda: terminal.rows[0] == "Hi" and "Ctrl-] goes back" in terminal.text)
    terminal.send("a")
    terminal.wait(lambda: terminal.rows[0] == "Hi!")
    terminal.send("\x1d")
    terminal.wait("Interrupted at 0x10")
    terminal.prompt()
    terminal.command("screen")
    assert "|Hi!|" in terminal.text


@pytest.mark.parametrize("options", [HELLO, ["--tui", *HELLO]], ids=["prompt", "full screen"])
def test_idle_it_writes_nothing(shell: Shell, options: list[str]) -> None:
    terminal = shell(*options)
    terminal.wait("0x001000")
    last, since = len(terminal.raw), time.monotonic()

    def is_silent() -> bool:
        nonlocal last, since
        if len(terminal.raw) != last:
            last, since = len(terminal.raw), time.monotonic()
        return time.monotonic() - since > 1.5  # three times as long as it takes to look for changes

    terminal.wait(is_silent)


def test_without_toolbar_and_colours(shell: Shell) -> None:
    """For screen readers and slow lines: nothing is below the line, in colour, or asked of the terminal."""
    terminal = shell(*HELLO)
    terminal.prompt()
    terminal.command("set style enabled off")
    terminal.command("set toolbar off")
    written = len(terminal.raw)
    terminal.command("print 42")
    terminal.command("stepi")
    assert "=> 0000:1003" in terminal.text
    terminal.send("info v\t")
    terminal.wait("variables vcpus     vectors")
    terminal.send("cpus\r")
    terminal.wait("runnable")
    terminal.wait(lambda: terminal.last == "(kvmdbg real)")
    terminal.send("\x1b[A\x1b[A\x1b[A\r")
    terminal.wait("$2 = 42")
    raw = terminal.raw[written:]
    assert set(re.findall(r"\x1b\[([0-9;]*)m", raw)) <= {"0", "0;1"}  # plain and bold
    assert "\x1b[6n" not in raw and not re.search(r"(\r*\n){4}", raw)
    terminal.command("set toolbar on")
    terminal.wait("pc 0x1003")


def test_a_terminal_that_does_not_say_where_its_cursor_is_is_asked_once(shell: Shell) -> None:
    terminal = shell(*HELLO)
    terminal.says_where_its_cursor_is = False
    terminal.wait("WARNING: your terminal doesn't support cursor position requests")
    asked = terminal.raw.count("\x1b[6n")
    terminal.send("define twice\r")
    terminal.wait(lambda: terminal.last == ">")
    terminal.send("print 2*21\r")
    terminal.wait(lambda: terminal.last == ">" and "print 2" in terminal.text)
    terminal.send("end\r")
    terminal.prompt()
    terminal.send("twice\r")
    terminal.wait("= 42")
    terminal.prompt()
    assert terminal.raw.count("\x1b[6n") == asked


def test_ctrl_c_ends_the_pager(shell: Shell) -> None:
    terminal = shell(*HELLO, columns=80, lines=24, LESS="S", PAGER="less")
    terminal.prompt()
    terminal.command("set pager on")
    terminal.send("help all\r")
    terminal.wait(lambda: terminal.last.startswith(":"))
    assert "ESC[" not in terminal.text  # the colours are shown as such
    terminal.send("\x03")
    terminal.prompt()
    terminal.command("print 1234 + 1")
    assert "= 1235" in terminal.text


def test_ctrl_c_ends_any_pager(shell: Shell) -> None:
    pager = f"{sys.executable} -c 'import time; print(\"reading\", flush=True); time.sleep(60)'"
    terminal = shell(*HELLO, columns=80, lines=24, PAGER=pager)
    terminal.prompt()
    terminal.command("set pager on")
    terminal.send("help all\r")
    terminal.wait("reading")
    terminal.send("\x03")
    terminal.prompt()
