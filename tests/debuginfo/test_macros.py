"""Definitions of macros in .debug_macro, as compilers write it, and where it is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kvmdbg.debuginfo import macros
from kvmdbg.debuginfo.macros import definitions
from tests.programs import run

SOURCE = """\
#define ONE 1
#define ADDED(a, b) ((a) + (b))
#define TEXT "a text that is long enough to be kept elsewhere"
#define NOTHING
#define GONE 7
#undef GONE
int kmain(void) { return ONE; }
#define LATER ADDED(ONE, 2)
#undef ONE
#define ONE 3
"""


@pytest.mark.e2e
@pytest.mark.parametrize("flags", ["-gdwarf-5", "-gdwarf-4", "-gdwarf-5 -gz", "-gdwarf-5 -m32"])
def test_what_a_compiler_writes(tmp_path: Path, flags: str) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    more = "-g3 -w -ffreestanding -nostdlib -static -Wl,-e,kmain -o a.elf a.c"
    run(tmp_path, "gcc", *flags.split(), *more.split())
    elf = str(tmp_path / "a.elf")
    assert definitions(elf, "ONE") == ["ONE 1", "ONE 3"]
    assert definitions(elf, "ADDED") == ["ADDED(a,b) ((a) + (b))"]
    assert definitions(elf, "TEXT") == ['TEXT "a text that is long enough to be kept elsewhere"']
    assert definitions(elf, "NOTHING") == ["NOTHING"] and definitions(elf, "GONE") == ["GONE 7"]
    assert definitions(elf, "LATER") == ["LATER ADDED(ONE, 2)"]
    assert not definitions(elf, "ON") and not definitions(elf, "a") and not definitions(elf, "DED")
    assert not definitions(str(tmp_path / "a.c"), "ONE") and not definitions(str(tmp_path / "nosuch"), "ONE")


def test_packed_and_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    run(tmp_path, "gcc", *"-gz=zlib -g3 -w -ffreestanding -nostdlib -static -Wl,-e,kmain -o a.elf a.c".split())
    path = tmp_path / "a.elf"
    assert definitions(str(path), "ONE") == ["ONE 1", "ONE 3"]
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".debug_macro")
        assert section is not None
        start, end = (section["sh_offset"] + at for at in (40, 60))
    data = path.read_bytes()
    path.write_bytes(data[:start] + bytes(one ^ 0x5A for one in data[start:end]) + data[end:])
    assert definitions(str(path), "ONE") == []


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_every_operation(flags: int) -> None:
    size = 8 if flags & 1 else 4
    strings = b"\0KEPT 5\0"
    unit = bytes([5, 0, flags]) + bytes(size if flags & 2 else 0)
    unit += b"\x03\x00\x01" + b"\x01\x81\x01SHORT 1\0" + b"\x02\x02SHORT\0" + b"\x05\x03" + (1).to_bytes(size, "little")
    unit += b"\x06\x04" + (1).to_bytes(size, "little") + b"\x07" + bytes(size) + b"\x04\x00"
    assert list(macros._defined(unit, strings)) == ["SHORT 1", "KEPT 5"]
    assert list(macros._defined(unit + unit, strings)) == ["SHORT 1", "KEPT 5"] * 2
    assert list(macros._defined(b"\x09\0\0" + unit, strings)) == []
    for length in range(len(unit)):
        try:
            found = list(macros._defined(unit[:length], strings))
        except IndexError:
            continue
        assert set(found) <= {"SHORT 1", "KEPT 5", ""}
