"""Call frame entries found by address are those that pyelftools reads through the whole section."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmdbg.debuginfo.call_frame_info import frame_at
from kvmdbg.debuginfo.dwarf import Dwarf, open_dwarf
from kvmdbg.errors import LoadError

GUESTS = Path(__file__).resolve().parents[2] / "guests"
SOURCE = """
int inner(int a) { volatile int x[10]; x[a] = 1; return x[3]; }
int outer(int a) { return inner(a) + inner(a + 1); }
void start(void) { outer(1); for (;;) ; }
"""


def rows(table: Any) -> list[Any]:
    return [
        (
            row["pc"],
            vars(row["cfa"]),
            sorted((key, str(vars(rule))) for key, rule in row.items() if isinstance(key, int)),
        )
        for row in table.table
    ]


def every_entry(dwarf: Dwarf) -> list[Any]:
    from elftools.dwarf.callframe import FDE

    info = dwarf.info
    tables = (info.CFI_entries() if info.has_CFI() else []) + (info.EH_CFI_entries() if info.has_EH_CFI() else [])
    return [one for one in tables if isinstance(one, FDE)]


def compared(path: Path) -> int:
    dwarf = open_dwarf(str(path))
    assert dwarf is not None
    entries = every_entry(dwarf)
    for entry in entries:
        start, size = entry.header["initial_location"], entry.header["address_range"]
        for address in (start, start + size - 1):
            found = frame_at(dwarf, address)
            assert found is not None and rows(found[0]) == rows(entry.get_decoded()), hex(address)
    places = [(one.header["initial_location"], one.header["address_range"]) for one in entries]
    assert frame_at(dwarf, min(start for start, _ in places) - 1) is None
    assert frame_at(dwarf, max(start + size for start, size in places)) is None
    return len(entries)


@pytest.mark.parametrize("name", ["kernel-O0.elf", "kernel-O2.elf"])
def test_as_pyelftools_has_it(name: str) -> None:
    assert compared(GUESTS / name) > 30


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("section", [".eh_frame", ".debug_frame"])
def test_both_sections_in_both_sizes(bits: int, section: str, tmp_path: Path) -> None:
    (tmp_path / "code.c").write_text(SOURCE)
    eh = "-fasynchronous-unwind-tables" if section == ".eh_frame" else "-fno-asynchronous-unwind-tables"
    options = f"-m{bits} -g -O1 -ffreestanding -fno-stack-protector -nostdlib -static -no-pie -Wl,-e,start {eh}"
    subprocess.run(["gcc", *options.split(), "-o", "code.elf", "code.c"], cwd=tmp_path, check=True, timeout=60)
    dwarf = open_dwarf(str(tmp_path / "code.elf"))
    assert dwarf is not None
    assert (dwarf.info.eh_frame_sec is not None) == (section == ".eh_frame")
    assert compared(tmp_path / "code.elf") == 3


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_told(tmp_path: Path, data: st.DataObject) -> None:
    dwarf = open_dwarf(str(GUESTS / "kernel-O2.elf"))
    assert dwarf is not None
    section = dwarf.info.eh_frame_sec or dwarf.info.debug_frame_sec
    kept = section.stream.getvalue()
    changed = bytearray(kept)
    for at in data.draw(st.lists(st.integers(0, len(kept) - 1), min_size=1, max_size=8)):
        changed[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.elf"
    whole = (GUESTS / "kernel-O2.elf").read_bytes()
    path.write_bytes(whole.replace(kept, bytes(changed)))
    os.utime(path, ns=(1, data.draw(st.integers(1, 1 << 60))))  # opened files are known by their time
    damaged = open_dwarf(str(path))
    assert damaged is not None
    for entry in every_entry(dwarf)[::4]:
        try:
            frame_at(damaged, entry.header["initial_location"])
        except LoadError as error:
            assert "call frame information is damaged" in str(error)
