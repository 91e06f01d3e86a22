"""Rust: enumerations, slices, texts, tuples, and names with their modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs import PROGRAMS, run
from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]
FLAGS = (
    "--edition 2021 -C panic=abort -C debug-assertions=off -C overflow-checks=off -C relocation-model=static -g "
    "--emit=obj --crate-type=bin --crate-name enums"
)

At = Callable[[int], Debugger]


@pytest.fixture
def at_line_37(debug: Open, tmp_path: Path) -> At:
    """A debugger at the n-th stop in ``show``, behind the locals."""
    run(tmp_path, "rustc", *FLAGS.split(), "-o", "enums.o", str(PROGRAMS / "enums.rs"))
    run(tmp_path, "ld", "-Ttext=0x200000", "-e", "kmain", "-o", "enums.elf", "enums.o")

    def stopped(times: int) -> Debugger:
        dbg = debug(path=tmp_path / "enums.elf")
        assert "enums.rs:37" in dbg.typed("break enums.rs:37", f"ignore 1 {times - 1}", "run")
        return dbg

    return stopped


def value(dbg: Debugger, text: str) -> str:
    return dbg.typed(f"print {text}").partition(" = ")[2]


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        (1, "enums::mem::Page::Empty"),
        (2, "enums::mem::Page::Mapped(4096, 7)"),
        (3, 'enums::mem::Page::Named{name: "heap", at: 3}'),
        (4, "enums::mem::Page::Swapped(core::option::Option<u16>::Some(9))"),
        (5, "enums::mem::Page::Swapped(core::option::Option<u16>::None)"),
    ],
)
def test_an_enumeration_shows_the_variant_that_is_there(at_line_37: At, times: int, shown: str) -> None:
    assert value(at_line_37(times), "*page") == shown


LOCALS = {
    "pair": "enums::mem::Pair (-3, 107 'k')",
    "tuple": "(1, 250, true)",
    "both": "enums::mem::Both {whole: 16909060, bytes: [4, 3, 2, 1]}",
    "unit": "enums::mem::Unit",
    "result": "core::result::Result<u32, i8>::Err(-7)",
    "nothing": "core::option::Option<&u8>::None",
    "wide": "1512366075204170929049582354406559215",
    "*raw": "(1, 250, true)",
    "xs": "&[u16] [1, 2, 3]",
    "name": '"hello"',
    "colour": "enums::Colour::Green",
    "enums::TABLE": "[1, -2, 3, -4]",
    "enums::COUNT": "7",
    "xs.length": "3",
    "xs[1] + xs[2]": "5",
    "tuple.1": "250",
    "pair.0": "-3",
    "raw->2": "true",
    "enums::Colour::Blue": "enums::Colour::Blue",
    "sizeof(enums::mem::Frame)": "16",
    "((enums::mem::Frame *)more.Some.0)->no": "11",
}


def test_values(at_line_37: At) -> None:
    dbg = at_line_37(2)
    assert {one: value(dbg, one) for one in LOCALS} == LOCALS | {"enums::COUNT": "8"}
    assert dbg.typed("print/x tuple").endswith("= (0x1, 0xfa, 0x1)")
    assert value(dbg, "more").startswith("core::option::Option<&enums::mem::Frame>::Some(0x")
    rows = dbg.typed("info args").splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["page", "more", "xs", "name", "colour"]
    assert rows[3].split("  ")[-1].strip() == "&[u16]"


TYPES = {
    "*page": """enum enums::mem::Page {
  Empty,
  Mapped(u64, u8),
  Named{name: &str, at: u32},
  Swapped(core::option::Option<u16>),
}""",
    "pair": "struct enums::mem::Pair (\n  i32,\n  char,\n)",
    "tuple": "(u8, u16, bool)",
    "enums::mem::Both": "union enums::mem::Both {\n  whole: u32,\n  bytes: [u8; 4],\n}",
    "colour": "enum enums::Colour {\n  Red,\n  Green,\n  Blue,\n}",
    "enums::TABLE": "[i16; 4]",
}


def test_types(at_line_37: At) -> None:
    dbg = at_line_37(1)
    assert {one: dbg.typed(f"ptype {one}").removeprefix("type = ") for one in TYPES} == TYPES
    assert dbg.typed("whatis page") == "type = &enums::mem::Page"
    assert dbg.typed("whatis *page") == "type = enums::mem::Page"


def test_members_over_several_lines(at_line_37: At) -> None:
    dbg = at_line_37(3)
    dbg.typed("set print pretty on")
    assert value(dbg, "*page") == 'enums::mem::Page::Named{\n  name: "heap",\n  at: 3\n}'


def test_functions_are_found_by_their_paths(at_line_37: At) -> None:
    dbg = at_line_37(1)
    said = dbg.typed("break enums::mem::Frame::bump", "break Frame::bump", "break bump", "continue")
    assert "refused" not in said
    assert "enums::mem::{impl#0}::bump" in dbg.typed("bt") or "enums::mem::Frame::bump" in dbg.typed("bt")
    assert value(dbg, "self->no") == "1"
    assert value(dbg, "by") == "10"


def test_characters_are_those_of_unicode(at_line_37: At) -> None:
    dbg = at_line_37(1)
    assert value(dbg, "LETTERS") == r"[233 'é', 26085 '日', 39 '\'']"
    assert value(dbg, "WORDS") == r'"é 日\n\""'
