"""Scripts, plugins, and commands as Python, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HELLO = ["--load", "0x1000", "--reg", "rax=2", "--reg", "rbx=2"]
GUEST = "guests/hello16.bin"
pytestmark = pytest.mark.kvm


def kvmdbg(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), path])}
    return subprocess.run(
        [sys.executable, "-m", "kvmdbg", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "script.py"
    path.write_text(text)
    return str(path)


def test_a_script_gets_the_session_and_the_words(tmp_path: Path) -> None:
    text = """
def main(dbg, args):
    writes = []

    @dbg.on.io_out(0x3F8)
    def uart(event):
        writes.append(event.value)

    stop = dbg.run(timeout=5)
    print(stop.reason, writes, args)
    return 3
"""
    found = kvmdbg(*HELLO, script(tmp_path, text), GUEST, "one", "two")
    assert (found.stdout, found.stderr, found.returncode) == ("4\nhalted [52, 10] ['one', 'two']\n", "", 3)


def test_a_script_before_commands(tmp_path: Path) -> None:
    text = """
import kvmdbg
from kvmdbg.commands.results import Message

@kvmdbg.function("answer")
def answer(ctx, times=1):
    return 42 * times

@kvmdbg.command("greet", group="support", example="greet")
def greet(dbg):
    "Say hello."
    return Message(f"hello from {dbg.session.vcpu.pc:#x}")

def main(dbg, args):
    dbg.break_at(0x100b)
"""
    arguments = ["--batch", "-ex", "print $answer(2)", "-ex", "greet", "-ex", "run", "-ex", "info breakpoints"]
    found = kvmdbg(*HELLO, "--script", script(tmp_path, text), *arguments, GUEST)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[:3] == ["$1 = 84", "hello from 0x1000", "4"]
    assert "0x100b" in found.stdout


def test_what_goes_wrong_in_a_script_is_told_at_its_line(tmp_path: Path) -> None:
    found = kvmdbg(*HELLO, script(tmp_path, "def main(dbg, args):\n    dbg.break_at('nowhere')\n"), GUEST)
    assert found.returncode == 1
    assert found.stderr.startswith(f"kvmdbg: {tmp_path}/script.py:2: no symbol 'nowhere'")
    found = kvmdbg(*HELLO, script(tmp_path, "def main(dbg, args):\n    return 1 // 0\n"), GUEST)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == "ZeroDivisionError: integer division or modulo by zero"
    assert "kvmdbg/script.py" not in found.stderr
    found = kvmdbg(*HELLO, script(tmp_path, "x = = 1\n"), GUEST)
    assert (found.returncode, "SyntaxError" in found.stderr) == (1, True)
    found = kvmdbg(*HELLO, script(tmp_path, "x = 1\n"), GUEST)
    assert found.stderr == f"kvmdbg: {tmp_path}/script.py defines no function main(dbg, args)\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.py", GUEST], "cannot read nowhere.py: No such file or directory"),
        (["--script", "nowhere.py", GUEST], "cannot read nowhere.py"),
        (["--script", "/dev/zero", GUEST], "/dev/zero is not a file"),
        (["nowhere.py"], "which guest is nowhere.py for? give its image after it"),
        (["-nx", "demo", "boot"], "demo comes first, options behind it: kvmdbg demo boot ..."),
        ([GUEST, "more"], "'more' is one word too many: only a script (.py) takes words"),
    ],
)
def test_mistakes(arguments: list[str], says: str) -> None:
    found = kvmdbg(*arguments)
    assert found.returncode in (1, 2)
    assert says in found.stderr


def test_the_guests_exit_status_is_the_scripts(tmp_path: Path) -> None:
    guest = tmp_path / "guest.bin"
    guest.write_bytes(bytes.fromhex("b010 e6f4 f4"))  # mov al, 0x10; out 0xf4, al; hlt
    text = script(tmp_path, "def main(dbg, args):\n    dbg.run()\n")
    found = kvmdbg("--device", "isa-debug-exit,iobase=0xf4", text, str(guest))
    assert found.returncode == 0x21, found.stderr


def test_commands_as_python() -> None:
    commands = ["-ex", "break 0x100b if $al == 0x34", "-ex", "run", "-ex", "stepi 2", "-ex", "catch io 0x10"]
    found = kvmdbg("--batch", "--py", *commands, *HELLO, GUEST)
    shown = [line[4:] for line in found.stdout.splitlines() if line.startswith(">>> ")]
    assert shown == [
        "dbg.break_at(0x100b, when='$al == 0x34')", "dbg.run()", "dbg.step(2)", "dbg.catch('io', port=0x10)",
    ]  # fmt: skip


def test_a_plugin_of_another_package(tmp_path: Path) -> None:
    (tmp_path / "dice_plugin.py").write_text(
        """
import kvmdbg
from kvmdbg.commands.results import Message

@kvmdbg.command("throw", group="support", example="throw")
def throw(dbg):
    "Throw a die."
    return Message("four")

@kvmdbg.function("die")
def die(ctx):
    return 4

@kvmdbg.device
class Die:
    "die: four."
    name = "die"
    options = {"iobase": 0x170, "iosize": 1}
    def __init__(self, board, options): pass
    def read(self, offset, size): return 4
    def write(self, offset, size, value): return None
    def describe(self): return "a die"
    def save(self): return None
    def load(self, state): pass
"""
    )
    info = tmp_path / "dice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kvmdbg.plugins]\ndice = dice_plugin\n")
    arguments = ["--batch", "--device", "die", "-ex", "throw", "-ex", "print $die() + $port(0x170)"]
    found = kvmdbg(*arguments, *HELLO, GUEST, path=str(tmp_path))
    assert (found.stdout, found.stderr) == ("four\n$1 = 8\n", "")
    assert "\ndie,iobase=0x170,iosize=0x1\n    four" in "\n" + kvmdbg("--device", "help", path=str(tmp_path)).stdout
    (info / "entry_points.txt").write_text("[kvmdbg.plugins]\ndice = no_such_module\n")
    found = kvmdbg(*HELLO, "--batch", "-ex", "throw", GUEST, path=str(tmp_path))
    assert found.stderr.startswith("kvmdbg: the plugin dice (no_such_module) cannot be loaded: No module named")
