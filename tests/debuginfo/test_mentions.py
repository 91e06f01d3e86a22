"""Only those units are read that a name stands in, or that refer to others."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.debuginfo.declarations import DebugInfo
from kvmdbg.debuginfo.dwarf import Dwarf, Unit, open_dwarf
from kvmdbg.debuginfo.functions import Functions
from kvmdbg.debuginfo.mentions import Mentions
from tests.programs import run

UNITS = 16


def program(folder: Path, flags: str) -> Dwarf:
    """Units u0.c to u15.c with a function each, f0 to f15, and a structure that all know."""
    for number in range(UNITS):
        (folder / f"u{number}.c").write_text(
            "struct pair { int a, b; };\n"
            f"__attribute__((used)) int f{number}(struct pair *p) {{ return p->a + {number}; }}\n"
        )
    (folder / "start.c").write_text("void _start(void) { for (;;); }\n")
    command = f"gcc -g {flags} -ffreestanding -nostdlib -static -no-pie -fno-pie -Wl,--build-id=none -o p.elf"
    run(folder, *command.split(), "start.c", *(f"u{number}.c" for number in range(UNITS)))
    found = open_dwarf(str(folder / "p.elf"))
    assert found is not None
    return found


def mentioned(dwarf: Dwarf, name: str) -> set[str]:
    return {Path(unit.name).name for unit in dwarf.mentioning(name)}


@pytest.mark.parametrize("flags", ["-gdwarf-5", "-gdwarf-4", "-gdwarf-2", "-gdwarf64", "-gz=zlib"])
def test_units_are_found_by_the_bytes_of_names(tmp_path: Path, flags: str) -> None:
    dwarf = program(tmp_path, flags)
    found = mentioned(dwarf, "f3")
    assert {"u3.c"} <= found
    assert len(found) < UNITS // 2, "some others may have these bytes, too"
    assert {f"u{number}.c" for number in range(UNITS)} <= mentioned(dwarf, "pair")
    assert mentioned(dwarf, "nothing") == set()


def test_other_units_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dwarf = program(tmp_path, "-gdwarf-5")
    read: set[str] = set()
    real = Functions._unit

    def noted(self: Functions, unit: Unit) -> Any:
        read.add(unit.name)
        return real(self, unit)

    monkeypatch.setattr(Functions, "_unit", noted)
    assert [block.origin.name for block in Functions.of(dwarf).named("f3") if block.origin is not None] == ["f3"]
    assert "u3.c" in read
    assert len(read) < UNITS // 2
    assert DebugInfo.of(dwarf).type("struct pair") is not None


def test_units_that_refer_to_others_may_have_their_names(tmp_path: Path) -> None:
    dwarf = program(tmp_path, "-O0 -flto -fno-inline")  # entries with code refer to those of the early units
    assert [block.extent for block in Functions.of(dwarf).named("f3")]


def numbered(*units: tuple[int, int | None]) -> Any:
    """Units at places, with where their strings begin in .debug_str_offsets: those of "a", "b", and "b", "c"."""
    tops = {
        at: SimpleNamespace(attributes={} if base is None else {"DW_AT_str_offsets_base": SimpleNamespace(value=base)})
        for at, base in units
    }
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 2, 2, 4))
    return SimpleNamespace(
        debug_info_sec=SimpleNamespace(stream=BytesIO(b"\xff" * 64)),
        debug_str_sec=SimpleNamespace(stream=BytesIO(b"a\0b\0c\0")),
        debug_str_offsets_sec=SimpleNamespace(stream=BytesIO(offsets)),
        get_CU_at=lambda at: SimpleNamespace(get_top_DIE=lambda: tops[at]),
    )


def test_strings_that_are_numbered() -> None:
    mentions = Mentions(numbered((0, 0), (32, 8)))
    assert [mentions.units(name, [0, 32]) for name in (b"a", b"b", b"c", b"d")] == [{0}, {0, 32}, {32}, set()]
    assert Mentions(numbered((0, None), (32, None))).units(b"c", [0, 32]) == {0, 32}, "one list for all"
    assert Mentions(numbered((0, None), (32, 8))).units(b"a", [0, 32]) == set()
