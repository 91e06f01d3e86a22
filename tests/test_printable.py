"""What guests and files name is shown, and moves no cursor and changes no terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvmdbg.batch import json_line
from kvmdbg.commands.results import Error, Fields, Message, SourceText, Table, Text
from kvmdbg.printable import printable, printable_json, printable_name
from kvmdbg.ui.render import render

EVIL = ["\x1b]0;owned\x07", "\x9b31m", "\x7f", "\r", "\x08", "\0", "\u202e", "\u2066", "\u200f", "\u061c", "\u2028",
        "\ufeff", "\udc9b", "\U000e0041"]  # fmt: skip
SAFE = ["a b", "größe", "日本語", "π\u200d", "<operator<<>", "a\\x1b", "\N{GRINNING FACE}"]


@pytest.mark.parametrize("text", EVIL)
def test_what_moves_a_terminal_is_escaped(text: str) -> None:
    shown = printable(f"a{text}b")
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert shown.isprintable()
    assert printable_name(text).isprintable()


@pytest.mark.parametrize("text", SAFE)
def test_all_else_stays(text: str) -> None:
    assert printable(f"{text}\n\t{text}") == f"{text}\n\t{text}"
    assert printable_name(text) == text


def test_how_it_looks() -> None:
    assert printable("\x1b[1m \x9b \udc9b \u202e \U000e0041") == "\\x1b[1m \\x9b \\x9b \\u202e \\U000e0041"
    assert printable_name("a\nb\tc\rd") == "a\\nb\\tc\\rd"


@pytest.mark.parametrize("text", [*EVIL, *SAFE])
def test_json_means_the_same(text: str) -> None:
    line = json_line(Message(text, data={"name": text}))
    assert text not in line or text in SAFE
    assert json.loads(line)["text"] == json.loads(line)["name"] == text
    assert printable_json('"größe"') == '"größe"'


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("theme", ["", "dark"])
def test_every_result_is_shown_so(text: str, theme: str) -> None:
    for one in (
        Message(text),
        Error(text),
        Fields(text, {text: text}),
        Table(text, ("A", text), ((text, text), ("b", "c")), notes={0: (text,)}),
        SourceText(text, ((1, text, True),)),
        Text(text),
    ):
        assert text not in one.plain()
        assert text not in render(one, 80, theme)
        assert "\x1b]" not in render(one, 80, theme)


def test_a_name_with_a_line_end_is_no_line_of_a_table() -> None:
    shown = Table("t", ("Name", "What"), (("a\nb", "c"), ("d", "e\tf"))).plain()
    assert shown.splitlines() == ["Name  What", "a\\nb  c", "d     e\\tf"]


def test_what_the_user_wants_shown_raw_is() -> None:
    assert Text("\x1b[1m", raw=True).plain() == "\x1b[1m"


ASSEMBLY = ".globl _start, name\n_start: nop\nname: hlt\n.data\ntext: .byte 27, 93, 48, 7, 0x41, 0\n"


@pytest.fixture(scope="session")
def evil_elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guest with a symbol and a file name that hold escape sequences."""
    folder = tmp_path_factory.mktemp("evil")
    plain, evil = folder / "plain.elf", folder / "e\x1b]0;owned\x07vil.elf"
    flags = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-Ttext=0x100000", "-x", "assembler"]
    subprocess.run(["gcc", *flags, "-", "-o", plain], input=ASSEMBLY.encode(), check=True)
    subprocess.run(["objcopy", "--redefine-sym", "name=\x1b]0;owned\x07\nna\u202eme", plain, evil], check=True)
    return evil


COMMANDS = ["stepi", "x/2i $pc", "info symbols", "info symbol $pc", "info program", "backtrace", "telescope $sp 4",
            'printf "%s", &text', "output/s *(char(*)[6])&text", "x/s &text", "info line $pc", "symbol-file \x1b[1m",
            "break nosuch\x1b[1m", "p \x9b", "\x1b[1m", "continue"]  # fmt: skip


@pytest.mark.kvm
@pytest.mark.parametrize("options", [["--batch"], ["--json"]])
def test_no_command_of_batch_mode_shows_it_raw(evil_elf: Path, options: list[str]) -> None:
    typed = [word for line in COMMANDS for word in ("-ex", line)]
    words = [sys.executable, "-m", "kvmdbg", *options, "-ex", "set context all", *typed, evil_elf]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    shown = (done.stdout + done.stderr).decode()
    assert "]0;owned" in shown
    bad = [line for line in shown.splitlines() if not line.replace("\t", "").isprintable()]
    assert not bad
    if "--json" in options:
        assert all(json.loads(line) for line in done.stdout.decode().splitlines())


@pytest.mark.kvm
def test_an_image_that_cannot_be_read_is_named_so(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "kvmdbg", tmp_path / "no\x1b]0;owned\x07ne.elf"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert b"\\x1b]0;owned\\x07" in done.stderr
    assert b"\x1b" not in done.stderr
