"""The full-screen mode, looked at in several sizes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from kvmdbg import build
from kvmdbg.ui.code_pane import DOUBLE_CLICK
from tests.e2e.conftest import Shell
from tests.e2e.terminal import Terminal
from tests.e2e.test_shell import SCREEN
from tests.e2e.test_typing import SERIAL

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

BOOT = ["--symbols", "guests/boot16.elf", "guests/boot16.bin"]

LINES = """
    mov dx, 0x3f8
    mov cx, 20
next: mov al, 'a'; out dx, al; mov al, 'b'; out dx, al; mov al, 'c'; out dx, al
    loop next
    mov al, 10; out dx, al
    jmp $
"""
"""Writes a line to the serial port, and goes on for ever."""


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (200, 60)])
def test_a_session(shell: Shell, columns: int, lines: int) -> None:
    screen = shell("--tui", *BOOT, columns=columns, lines=lines)
    screen.wait("0x007c00  <start>")
    screen.wait(lambda: "F5 continue" in screen.rows[-1])
    assert "0000:7c00  pc 0x7c00" in screen.rows[-2]
    assert all(len(row) <= columns for row in screen.rows)
    for title in ["code", "registers", "kvmdbg"] + (["stack", "breakpoints"] if columns >= 100 else []):
        assert any(f" {title} " in f"{row} " for row in screen.rows), title
    screen.send("break func\r")
    screen.wait("Breakpoint 1 at func")
    screen.send("\x1b[15~")  # F5
    screen.wait("Breakpoint 1 at 0x7c16 <func>.")
    screen.wait(lambda: any(row.startswith("=> 0000:7c16") for row in screen.rows))
    screen.send("\x1b[23~")  # F11
    screen.wait("Stepped to 0x7c1b")
    screen.wait("eip*00007c1b")
    screen.send("nonsense\r")
    screen.wait("is no command")
    screen.send("\x04")
    screen.prompt()
    screen.send("\x04")
    assert screen.end() == 0


def test_panes_are_changed_and_the_size_too(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=120, lines=40)
    screen.wait("No breakpoints, watchpoints or catchpoints.")
    screen.send("\x1bOQ")  # F2
    screen.wait("The guest has not left the CPU yet.")
    screen.resize(70, 20)
    screen.wait(lambda: "|" not in screen.rows[0] and any(row.startswith("=> 0000:7c00") for row in screen.rows))
    screen.send("\x1bOQ")
    screen.wait("sp+0x0")
    screen.resize(120, 40)
    screen.wait("The guest has not left the CPU yet.")


def test_a_guest_that_runs(shell: Shell, tmp_path: Path) -> None:
    source = """
        mov dx, 0x3f8; mov al, '!'; out dx, al
        mov ax, 0xb800; mov es, ax; xor di, di; mov ax, 0x0740; stosw
    here: jmp here
    """
    flat, _ = build.from_assembly(source, tmp_path)
    screen = shell("--tui", "--load", "0x1000", str(flat), columns=120, lines=40)
    screen.wait("mov     dx, 0x3f8")
    for _ in range(2):
        screen.send("\x1bOQ")
    screen.send("run\r")
    screen.wait("(the guest is running)")
    screen.wait(lambda: any(row.endswith("|@") for row in screen.rows))
    screen.send("\x1bOQ")
    screen.wait(lambda: any(row.endswith("|!") for row in screen.rows))
    screen.send("\x03")
    screen.wait("Interrupted at 0x10")
    screen.send("quit\r")
    assert screen.end() == 0


def test_commands_typed_ahead_are_executed_in_turn(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=80, lines=40)
    screen.wait("0x007c00  <start>")
    screen.send("".join(f"print {number}\r" for number in range(101, 107)) + "\x1b[23~")
    screen.wait("$6 = 106")
    screen.wait("Stepped to 0x7c01")


def test_leaving_ends_what_is_executed_and_forgets_what_waits(shell: Shell, tmp_path: Path) -> None:
    screen = shell("--tui", *BOOT, columns=80, lines=40)
    screen.wait("0x007c00  <start>")
    screen.send(f"while 1\rprint 5\rend\rshell touch {tmp_path}/there\r")
    screen.wait(lambda: re.search(r"\$\d+ = 5", screen.text) is not None)
    screen.send("\x04")
    screen.prompt()
    screen.send("print 42\r")
    screen.wait("= 42")
    screen.send("print 43\r")
    screen.wait("= 43")
    first, second = (int(number) for number in re.findall(r"\$(\d+) = 4[23]", screen.text))
    assert second == first + 1
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("options", [["--no-color"], ["-ex", "set style enabled off"]])
def test_without_colours(shell: Shell, options: list[str]) -> None:
    screen = shell("--tui", *options, *BOOT, columns=80, lines=40)
    screen.wait("0x007c00  <start>")
    screen.send("stepi\r")
    screen.wait("Stepped to 0x7c01")
    assert set(re.findall(r"\x1b\[([0-9;]*)m", screen.raw[screen.raw.rindex("\x1b[?1049h") :])) <= {
        "0", "0;1", "0;7", "0;1;7", "0;1;4;7",
    }  # fmt: skip


def test_nothing_else_takes_the_terminal(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=80, lines=40)
    screen.wait("0x007c00  <start>")
    screen.send("tui\rtui enable\rscreen live\rprint 42\r")
    screen.wait("$1 = 42")
    assert screen.text.count("This is the full-screen mode.") == 2
    assert "shows the screen as it changes: focus screen." in screen.text
    assert screen.raw.count("\x1b[?1049h") == 1


def test_without_a_terminal_it_says_so() -> None:
    import subprocess
    import sys

    run = subprocess.run(
        [sys.executable, "-m", "kvmdbg", "--batch", "-ex", "tui", *BOOT], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "The full-screen mode needs the shell on a terminal.\n"


def test_starting_again_and_again_shows_nothing_ugly(shell: Shell) -> None:
    """The panes are drawn while another thread makes the guest anew."""
    screen = shell("--tui", "--load", "0x1000", "guests/hello16.bin", columns=160, lines=50)
    screen.wait("F5 continue")
    for halts in range(1, 7):
        screen.send("run\r")
        if halts not in (1, 4):  # a guest that has run, and is not dead
            screen.wait("Start the guest again from the beginning? (y or n)")
            screen.send("y\r")
        screen.wait(lambda halts=halts: screen.text.count("Halted (KVM_EXIT_HLT), next") >= halts)  # type: ignore[misc]
        if halts == 3:
            screen.send("kill\r")
            screen.wait("Kill the guest? (y or n)")
            screen.send("y\r")
            screen.wait("(the guest is dead)")
    assert "Exception" not in screen.raw and "internal error" not in screen.raw and "Press ENTER" not in screen.raw


def test_bodies_and_questions(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=120, lines=40)
    screen.wait("0x007c00  <start>")
    screen.send("if 1\r")
    screen.wait(lambda: any(row.startswith("> ") or row == ">" for row in screen.rows))
    screen.send("print 40 + 2\rend\r")
    screen.wait("$1 = 42")
    screen.send("break func\r")
    screen.wait("Breakpoint 1 at func")
    screen.send("delete\r")
    screen.wait("Delete all breakpoints? (y or n)")
    screen.send("perhaps\r")
    screen.wait("Please answer y or n. Delete all breakpoints? (y or n)")
    screen.send("n\r")
    screen.wait(lambda: any(row.startswith("(kvmdbg)") for row in screen.rows[-4:]))
    screen.send("delete\r")
    screen.wait("Delete all breakpoints? (y or n)")
    screen.send("y\r")
    screen.wait("No breakpoints, watchpoints or catchpoints.")


def test_a_layout_chosen_in_the_shell_is_shown(shell: Shell) -> None:
    screen = shell(*BOOT, columns=80, lines=24)
    screen.prompt()
    screen.send("layout regs\r")
    screen.wait(lambda: "F5 continue" in screen.rows[-1])
    assert any(" registers " in f"{row} " for row in screen.rows)


def test_layouts_and_panes(shell: Shell) -> None:
    screen = shell("--tui", "guests/kernel-O0.elf", columns=120, lines=40)
    screen.wait("_start")
    screen.send("advance divide\r")
    screen.wait("Reached 0x1005ae")
    screen.send("break tasks.c:6\rlayout src\r")
    screen.wait(lambda: any(row.startswith("  b 6 ") for row in screen.rows))
    screen.wait(lambda: any(row.startswith("=> ") and "__asm__" in row for row in screen.rows))
    screen.wait(lambda: not any("mov     rcx" in row for row in screen.rows))
    screen.send("layout asm\r")
    screen.wait(lambda: any(row.startswith("=> 0x001005ae") for row in screen.rows))
    screen.wait(lambda: not any("__asm__" in row for row in screen.rows[:15]))
    screen.send("frame 1\rfocus backtrace\r")
    screen.wait("run_tasks+0x6d")
    screen.wait(lambda: any("0x00100661" in row for row in screen.rows[:20]))
    screen.send("focus locals\r")
    screen.wait(lambda: any(" locals" in row for row in screen.rows))
    screen.send("display left\rfocus watch\r")
    screen.wait(lambda: any("1: left = " in row for row in screen.rows[25:]))
    screen.send("focus nosuch\r")
    screen.wait("is none of the panes")


def test_a_small_screen_shows_the_line_and_the_instruction(shell: Shell) -> None:
    screen = shell("--tui", "guests/kernel-O0.elf", columns=60, lines=30)
    screen.wait("_start")
    screen.send("advance divide\r")
    screen.wait(lambda: any(row.startswith("=>  5 ") for row in screen.rows))
    screen.wait(lambda: any(row.startswith("=> 0x001005ae") for row in screen.rows))
    screen.wait(lambda: any(row.startswith("Reached 0x1005ae") for row in screen.rows))
    assert any(row.startswith("rax") for row in screen.rows)


def test_the_source_follows_list_until_the_guest_goes_on(shell: Shell) -> None:
    screen = shell("--tui", "guests/kernel-O0.elf", columns=120, lines=40)
    screen.wait("_start")
    screen.send("advance divide\r")
    screen.wait(lambda: any(row.startswith("=>  5 ") for row in screen.rows[:13]))
    screen.send("list kernel_main\r")
    screen.wait(lambda: screen.rows[0].startswith(" kernel/main.c"))
    assert any("void kernel_main" in row for row in screen.rows[:13])
    screen.send("list divide\r")
    screen.wait(lambda: screen.rows[0].startswith(" kernel/tasks.c"))
    screen.send("list 50,56\r")
    screen.wait(lambda: any(row.startswith("   53 ") for row in screen.rows[:13]))
    screen.send("print 6 * 7\r")
    screen.wait("$1 = 42")
    assert any(row.startswith("   53 ") for row in screen.rows[:13])
    screen.send("\x1b[23~")  # F11
    screen.wait(lambda: any(row.startswith("=>  6 ") for row in screen.rows[:13]))


def test_heights_and_layouts_are_there_in_the_next_session(shell: Shell, tmp_path: Path) -> None:
    def start() -> Terminal:
        return shell("--tui", "guests/kernel-O0.elf", columns=120, lines=40, XDG_STATE_HOME=str(tmp_path))

    screen = start()
    screen.wait("_start")
    screen.send("tui new-layout mine -horizontal {asm 1 cmd 1} 2 {locals 1 regs 1} 1\r")
    screen.send("layout mine\rwinheight cmd 7\r")
    screen.wait(lambda: screen.rows[0].endswith("| locals") and screen.rows[29].startswith(" kvmdbg "))
    screen.send("winheight cmd +2\r")
    screen.wait(lambda: screen.rows[27].startswith(" kvmdbg "))
    screen.send("winwidth asm 90\rinfo win\r")
    screen.wait(lambda: screen.rows[0].find("|") == 90 and any(re.match(r"code +26 +90 ", row) for row in screen.rows))
    screen.send("refresh\r")
    screen.wait(lambda: any("refresh" in row for row in screen.rows) and screen.rows[0].find("|") == 90)
    screen.send("winwidth asm\rfocus stack\r")
    screen.wait("the layout mine has no pane stack")
    screen.send("quit\r")
    assert screen.end() == 0
    screen = start()
    screen.wait(lambda: screen.rows[0].endswith("| locals") and screen.rows[27].startswith(" kvmdbg "))
    screen.send("winheight cmd\rlayout split\rfocus memory\r")
    screen.wait(lambda: any(row.endswith("| memory") for row in screen.rows))
    screen.send("tui disable\r")
    screen.prompt("long")
    screen.send("\x04")
    assert screen.end() == 0
    assert (tmp_path / "kvmdbg/settings").read_text().splitlines() == [
        "tui-layouts mine -horizontal {asm 1 cmd 1} 2 {locals 1 regs 1} 1",
        "tui-pane memory",
    ]


def test_an_empty_line_steps_again_and_a_long_one_leaves_the_prompt(shell: Shell) -> None:
    screen = shell("--tui", "--load", "0x1000", "guests/hello16.bin", columns=120, lines=40)
    screen.wait("mov     dx, 0x3f8")
    screen.send("stepi\r")
    screen.wait("Stepped to 0x1003")
    screen.send("\r")
    screen.wait("Stepped to 0x1005")
    screen.send("x" * 200 + "\r")
    screen.wait("is no command")
    screen.wait(lambda: screen.last == "(kvmdbg)")


def test_the_history_is_searched_as_in_the_shell(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=80, lines=24)
    screen.wait("0x007c00  <start>")
    screen.send("print 1200 + 34\rprint 2\r")
    screen.wait("$2 = 2")
    screen.send("\x12" + "1200")
    screen.wait("(reverse-i-search)`1200': print 1200 + 34")
    screen.send("\r")
    screen.wait("$3 = 1234")
    screen.wait(lambda: screen.last == "(kvmdbg)")
    screen.send("\x12" + "1200" + "\x07")  # Ctrl-G gives up
    screen.wait(lambda: screen.last == "(kvmdbg)")
    screen.send("print 77\r")
    screen.wait("$4 = 77")


def test_all_registers_are_seen_on_a_screen_of_24_lines(shell: Shell) -> None:
    screen = shell("--tui", "guests/kernel-O0.elf", columns=80, lines=24)
    screen.wait("rip 0000000000100000")
    screen.wait("rflags 0000000000000002")
    screen.wait(lambda: screen.last == "(kvmdbg)")


def test_the_log_has_what_the_guest_writes(shell: Shell, tmp_path: Path) -> None:
    flat, _ = build.from_assembly(LINES, tmp_path)
    screen = shell("--tui", "--load", "0x1000", str(flat), columns=80, lines=30)
    screen.wait("mov     dx, 0x3f8")
    screen.send("continue\r")
    screen.wait(lambda: any(row.startswith("abcabcabc") for row in screen.rows))  # while it runs
    screen.send("\x03")
    screen.wait("Interrupted at")
    rows = screen.rows
    asked, written, told = (
        next(at for at, row in enumerate(rows) if row.startswith(text)) for text in ("(kvmdbg) c", "abc", "Interrupted")
    )
    assert asked < written < told
    screen.send("focus console\rprint 1234 + 1\rstepi\r")
    screen.wait("= 1235")
    screen.wait(lambda: sum("abcabc" in row for row in screen.rows) >= 2)  # its own pane has it all


def test_a_click_sets_and_deletes_a_breakpoint(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=120, lines=40)
    screen.wait("0x007c00  <start>")
    row = next(number for number, text in enumerate(screen.rows) if text.startswith("=> 0000:7c00"))
    click = f"\x1b[<0;10;{row + 2}M\x1b[<0;10;{row + 2}m"
    screen.send(click)  # chooses the pane
    screen.send(click)
    screen.wait("Breakpoint 1 at ")
    time.sleep(DOUBLE_CLICK)
    screen.send(click)
    screen.wait("No breakpoints, watchpoints or catchpoints.")
    time.sleep(DOUBLE_CLICK)
    screen.send(click * 2)
    screen.send("print 1234 + 1\r")
    screen.wait("= 1235")
    assert sum("(kvmdbg) break " in row for row in screen.rows) == 2  # the double click has set one, and that was all
    assert sum("(kvmdbg) delete " in row for row in screen.rows) == 1


def test_a_click_decides_when_its_turn_comes(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=120, lines=40)
    screen.wait("0x007c00  <start>")
    row = next(number for number, text in enumerate(screen.rows) if text.startswith("=> 0000:7c00"))
    click = f"\x1b[<0;10;{row + 2}M\x1b[<0;10;{row + 2}m"
    screen.send(click)
    screen.send("shell sleep 2\r")
    screen.wait("(kvmdbg) shell sleep 2")
    screen.send(click)
    time.sleep(2 * DOUBLE_CLICK)
    screen.send(click)
    screen.wait("(kvmdbg) delete 1")
    assert "(kvmdbg) break " in screen.text
    assert "Breakpoint 2" not in screen.text


def test_the_screens_pane_follows_the_guest(shell: Shell) -> None:
    screen = shell("--tui", "guests/screens.bin", columns=140, lines=45)
    screen.wait("0x007c00")
    screen.send("\x1bOQ")  # F2
    screen.send("\x1bOQ")
    screen.wait(lambda: any(row.endswith("| screen") for row in screen.rows))
    screen.send("continue &\r")
    screen.wait("colours of text")
    screen.send("type x\r")
    screen.wait(lambda: sum("▀" * 18 in row for row in screen.rows) >= 5)
    screen.send("interrupt\r")
    screen.wait("Interrupted at")
    screen.send("\x04")
    screen.prompt()


def test_keys_go_to_the_guest_where_its_screen_is_chosen(shell: Shell, tmp_path: Path) -> None:
    flat, _ = build.from_assembly(SCREEN, tmp_path)
    screen = shell("--tui", "--load", "0x1000", str(flat), columns=140, lines=40)
    screen.wait("mov     ax, 0xb800")
    screen.send("focus screen\rcontinue\r")
    screen.wait("Keys go to the guest's keyboard; Ctrl-] takes them back")
    screen.wait(lambda: any(row.endswith("|Hi") for row in screen.rows))
    screen.send("\tb\x1ba")
    screen.wait(lambda: any(row.endswith("|Hi!") for row in screen.rows))
    screen.send("\x1d")
    screen.wait("F5 continue")
    screen.send("print 1\r")
    screen.wait("The guest runs")
    screen.send("\x03")
    screen.wait("Interrupted at")
    screen.send("print 6 * 7\r")
    screen.wait("$1 = 42")


def test_keys_go_to_the_serial_port_where_the_console_is_chosen(shell: Shell, tmp_path: Path) -> None:
    flat, _ = build.from_assembly(SERIAL, tmp_path)
    screen = shell("--tui", "--load", "0x1000", str(flat), columns=140, lines=40)
    screen.wait("mov     dx, 0x3fd")
    screen.send("focus console\rcontinue\r")
    screen.wait("Keys go to the guest's serial port")
    screen.send("hello\r\x1b[A.")
    screen.wait("hello^M^[[A.")
    screen.send("\x03")
    screen.wait("Interrupted at")


def test_programs_write_into_the_log(shell: Shell) -> None:
    screen = shell("--tui", *BOOT, columns=80, lines=24)
    screen.wait(lambda: "F5 continue" in screen.rows[-1])
    for line, written in (
        ("pipe print 1+1 | tr 2 7", "$1 = 7"),
        ("shell echo st''ray >&2", "stray"),
        ("shell cat", ""),
    ):
        screen.send(f"{line}\r")
        screen.wait(lambda line=line: f"(kvmdbg) {line}" in screen.rows)  # type: ignore[misc]
        screen.wait(lambda written=written: written in screen.rows)  # type: ignore[misc]
    screen.send("print 40+2\r")
    screen.wait("$2 = 42")
    assert screen.rows[-1].startswith(" F5 continue  F6 interrupt  F10 next")
