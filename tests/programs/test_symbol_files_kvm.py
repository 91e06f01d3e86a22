"""Symbol files at several addresses, forgotten and moved; gdb means the same by ADDRESS, -o and -s."""

from __future__ import annotations

import pytest

from kvmdbg.engine.breakpoints import Breakpoint
from tests.programs import gdb
from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


def lines(dbg: Debugger) -> list[str]:
    return [row for row in dbg.typed("info line add").splitlines() if row.startswith("Line ")]


@pytest.mark.parametrize("placed", ["0x800000", "-o 0x700000", "-s .text 0x800000", "0x800000 -s .data 0x802000"])
def test_one_file_at_two_addresses(debug: Open, placed: str) -> None:
    dbg = debug("kernel.c")
    dbg.typed(f"add-symbol-file {dbg.path} {placed}")
    assert lines(dbg) == [
        'Line 7 of "kernel.c" starts at address 0x10000d <add> and ends at 0x100013 <add+0x6>.',
        'Line 7 of "kernel.c" starts at address 0x80000d <add> and ends at 0x800013 <add+0x6>.',
    ]
    if ".data" not in placed:
        said = gdb(dbg.path, f"add-symbol-file {dbg.path} {placed}", "info line add")
        assert "0x10000d" in said and "0x80000d" in said
    dbg.typed("break add", "run")
    assert "(2 locations)" in dbg.typed("break add")
    assert dbg.typed("info args").splitlines()[1:] == ["a     0      int", "b     2      int"]


def test_files_are_forgotten_and_moved(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break add", f"add-symbol-file {dbg.path} -o 0x700000", f"add-symbol-file {dbg.path} -o 0x600000")
    (point,) = dbg.session.breakpoints.breakpoints()
    assert [one.address for one in point.held] == [0x100013, 0x700013, 0x800013]
    assert dbg.typed("remove-symbol-file -a 0x80000d") == f"The symbols of {dbg.path} are forgotten."
    assert [one.address for one in point.held] == [0x100013, 0x700013]
    dbg.typed(f"remove-symbol-file {dbg.path}")
    assert [one.address for one in point.held] == [0x100013]
    assert dbg.typed(f"remove-symbol-file {dbg.path}") == f"refused: no symbol file is {dbg.path}"
    assert dbg.typed("remove-symbol-file -a 0x80000d") == "refused: no symbol file has symbols at 0x80000d"
    dbg.typed(f"symbols move {dbg.path} 0x1000")
    assert isinstance(point, Breakpoint) and point.address == 0x101013
    assert len(lines(dbg)) == 1 and "0x10100d <add>" in lines(dbg)[0]
    assert dbg.typed("symbols move nothing 1") == "refused: no symbols are from nothing"


@pytest.mark.parametrize(
    ("placed", "why"),
    [
        ("0x800000 -s .data 0x900000", "kvmdbg moves a file as a whole, and these sections would move differently"),
        ("-s .nix 5", "has no section .nix"),
        ("-o", "-o needs an OFFSET"),
        ("-s .text", "-s needs a SECTION and an ADDRESS"),
        ("5 -o 6", "-o OFFSET moves all of the file"),
    ],
)
def test_places_that_do_not_fit_are_refused(debug: Open, placed: str, why: str) -> None:
    dbg = debug("kernel.c")
    assert why in dbg.typed(f"add-symbol-file {dbg.path} {placed}")
