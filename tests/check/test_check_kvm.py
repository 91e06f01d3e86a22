"""``kvmdbg check`` on guests of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import png
import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.check.manifest import Case
from kvmdbg.check.one import Looking

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]


def check(where: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "kvmdbg", "check", str(where), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def test_our_guests_behave() -> None:
    status, said = check(ROOT / "guests")
    assert status == 0 and said.splitlines()[-1] == "13 of 13 guests behave.", said


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


SCREENS = ROOT / "guests" / "screens.bin"
PICTURE = f"""
    [[guest]]
    name = "its first picture"
    image = "{SCREENS}"
    keys = " "
    screen-image = "picture.png"
    limit = 20
"""


def test_a_picture_is_compared_pixel_by_pixel(tmp_path: Path) -> None:
    file = str(tmp_path / "picture.png")
    with kvmdbg.open(SCREENS) as dbg:
        dbg.type(" ")
        wanted, last = {320 & 0xFF, (320 - 255) ^ 127}, b""
        while dbg.screen() or {dbg.picture().row(y)[x] for x, y in ((0, 0), (255, 127))} != wanted:
            dbg.run(timeout=0.5)
        while (picture := dbg.save_screen(file)).pixels != last:  # until it is drawn
            last = picture.pixels
            dbg.run(timeout=0.5)
        changed = bytearray(picture.pixels)
        changed[320 * 7 + 9] ^= 1
        with open(tmp_path / "changed.png", "wb") as other:
            png.Writer(320, 200, palette=picture.colours, bitdepth=8).write_array(other, changed)
        looking = Looking(dbg, Case("", (), screen_image=str(tmp_path / "changed.png")))
        assert looking.missing() == [
            f"1 pixels of the screen are not as in {tmp_path / 'changed.png'}, the first at 9, 7"
        ]
    assert (picture.width, picture.height) == (320, 200)
    (tmp_path / "check.toml").write_text(PICTURE)
    status, said = check(tmp_path, "-j", "1")
    assert status == 0, said


def test_what_a_guest_that_fails_leaves(tmp_path: Path) -> None:
    (tmp_path / "check.toml").write_text(f"""
        [[guest]]
        name = "never so"
        image = "{SCREENS}"
        screen = "never"
        limit = 1
    """)
    status, said = check(tmp_path, "--keep", str(tmp_path / "kept"))
    assert status == 1 and "the screen has no 'never'" in said, said
    assert png.Reader(filename=str(tmp_path / "kept" / "never_so.png")).read()[0] == 720
    report = (tmp_path / "kept" / "never_so.html").read_text(encoding="utf-8")
    assert report.startswith("<!DOCTYPE html>") and "screens.bin" in report


def test_a_long_input_and_evidence_that_cannot_be_kept(folder: Path) -> None:
    (folder / "check.toml").write_text(f"""
        [[guest]]
        image = "guest.bin"
        arguments = ["--device", "isa-debug-exit"]
        input = "{"a" * 200_000}"
        output = "b"
        limit = 2
        """)
    (folder / "kept" / "guest.bin.html").mkdir(parents=True)
    status, said = check(folder, "--keep", str(folder / "kept"))
    assert status == 1 and "the output has no 'b'" in said and "guest.bin.html: Is a directory" in said


def test_steps_patterns_and_ends(folder: Path) -> None:
    (folder / "check.toml").write_text("""
        limit = 20
        [[guest]]
        name = "steps"
        image = "guest.bin"
        after = ">"
        input = "ab"
        output-matches = '^>ab.*d$'
        [[guest.then]]
        after = "ab"
        input = "cd"
        [[guest]]
        name = "runs on"
        image = "guest.bin"
        end = "running"
        limit = 0.5
        [[guest]]
        name = "halts"
        image = "guest.bin"
        end = "halted"
        output-matches = "no"
        limit = 0.5
    """)
    status, said = check(folder)
    assert status == 1 and " ok      steps" in said and " ok      runs on" in said, said
    for line in ("the output does not match 'no'", "its end is to be halted", "it still ran after 0.5 s"):
        assert line in said, said
