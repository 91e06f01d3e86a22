"""``kvmdbg check`` on guests of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvmdbg.build import from_assembly

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]


def check(where: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "kvmdbg", "check", str(where), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def test_our_guests_behave() -> None:
    status, said = check(ROOT / "guests")
    assert status == 0 and said.splitlines()[-1] == "4 of 4 guests behave.", said


ECHO = """
        mov dx, 0x3f8
        mov al, '>'
        out dx, al
next:   mov dx, 0x3fd
        in al, dx
        test al, 1
        jz next
        mov dx, 0x3f8
        in al, dx
        out dx, al
        cmp al, 'q'
        jne next
        mov al, 3
        out 0xf4, al
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from_assembly(ECHO, tmp_path)
    return tmp_path


def test_what_is_expected_and_what_is_not(folder: Path) -> None:
    (folder / "check.toml").write_text("""
        limit = 20
        [[guest]]
        name = "echoes"
        image = "guest.bin"
        after = ">"
        input = "abc"
        output = [">a", "bc"]
        [[guest]]
        name = "ends"
        image = "guest.bin"
        arguments = ["--device", "isa-debug-exit,iobase=0xf4"]
        input = "q"
        status = 7
        [[guest]]
        name = "ends otherwise"
        image = "guest.bin"
        arguments = ["--device", "isa-debug-exit,iobase=0xf4"]
        input = "q"
        status = 0
        [[guest]]
        name = "is silent"
        image = "guest.bin"
        after = "no prompt"
        input = "abc"
        output = "abc"
        limit = 0.5
        [[guest]]
        name = "is not there"
        image = "other.bin"
        output = "abc"
    """)
    status, said = check(folder, "--junit", str(folder / "out.xml"))
    assert status == 1 and (folder / "out.xml").read_text().count("<failure") == 3
    for line in (
        " ok      echoes",
        " ok      ends  ",
        " FAILED  ends otherwise",
        "  its status is 7, not 0",
        " FAILED  is silent",
        "  the output has no 'abc'",
        "  it still ran after 0.5 s, at 0x",
        "  its last line is '>'",
        "  'no prompt' was not seen, so that it was told nothing",
        " FAILED  is not there",
        "  cannot read other.bin: No such file or directory",
        "2 of 5 guests behave.",
    ):
        assert line in said, said
    status, said = check(folder, "--only", "echoes", "--jobs", "1")
    assert status == 0 and said.splitlines()[-1] == "1 of 1 guests behave."
