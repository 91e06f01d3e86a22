"""Maps and listings, as the programs that write them do, and damaged."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmdbg.errors import LoadError
from kvmdbg.loaders.symbol_files import SymbolFile
from kvmdbg.loaders.symbol_reading import read_symbol_file

SAMPLES = Path(__file__).parent / "samples"
C = "int number = 5; static int twice(int n) { return n + n; } int a_name_so_long(int n) { return twice(n) + number; }"


def addresses(found: SymbolFile) -> dict[str, int]:
    return {one.name: one.address for one in found.symbols}


@pytest.fixture
def nasm(tmp_path: Path) -> Path:
    """boot.bin, boot.lst beside its sources, and boot.map, as nasm writes them."""
    for name in ("boot.asm", "put.inc"):
        shutil.copy(SAMPLES / name, tmp_path)
    (tmp_path / "mapped.asm").write_text('[map all boot.map]\n%include "boot.asm"\n')
    subprocess.run(["nasm", "-f", "bin", "-l", "boot.lst", "-o", "boot.bin", "boot.asm"], cwd=tmp_path, check=True)
    subprocess.run(["nasm", "-f", "bin", "-o", "mapped.bin", "mapped.asm"], cwd=tmp_path, check=True)
    assert (tmp_path / "boot.bin").read_bytes() == (tmp_path / "mapped.bin").read_bytes()
    return tmp_path


def test_a_map_and_a_listing_of_nasm_agree(nasm: Path) -> None:
    mapped = read_symbol_file(nasm / "boot.map")
    listed = addresses(read_symbol_file(nasm / "boot.lst"))
    numbers = {one.name for one in mapped.symbols if one.kind == "absolute"}
    assert {"PORT", "point.y", "point_size"} <= numbers
    assert listed == {
        name: address
        for name, address in addresses(mapped).items()
        if not name.startswith("..") and name not in numbers - {"scratch", "other"}
    }
    assert listed["late"] == 0x8000 and listed["room"] == 0x8010


def test_the_lines_of_a_listing_are_those_of_the_source(nasm: Path) -> None:
    found = read_symbol_file(nasm / "boot.lst")
    image = (nasm / "boot.bin").read_bytes()
    sources = {name: (nasm / name).read_text().splitlines() for name in ("boot.asm", "put.inc")}
    text = {}
    for line in found.lines:
        assert line.file.startswith(str(nasm))
        text[line.address] = sources[Path(line.file).name][line.line - 1].strip()
    at = addresses(found)
    assert text[at["start"]] == "start:\tcli"
    assert text[at["start"] + 1] == "clear ax"  # a macro's code belongs to its use
    assert text[at["put"] + 3] == "out dx, al" and image[at["put"] + 3 - 0x7C00] == 0xEE
    assert text[at["late"] + 1] == "dd 1.5"
    assert [line for line in found.lines if "resb" in text[line.address]] == []
    for before, line in zip(found.lines, found.lines[1:], strict=False):
        assert before.address < before.end <= line.address


def test_a_listing_without_its_source_is_the_source(nasm: Path) -> None:
    (nasm / "boot.asm").write_text(
        (nasm / "boot.asm").read_text().replace("lodsb", "nop", 1)
    )  # no longer what is listed
    found = read_symbol_file(nasm / "boot.lst", 0x1000)
    listing = (nasm / "boot.lst").read_text().splitlines()
    assert {line.file for line in found.lines} == {str(nasm / "boot.lst")}
    assert addresses(found)["start"] == 0x8C00
    at = {line.address: listing[line.line - 1] for line in found.lines}
    assert "lodsb" in at[addresses(found)["start.next"]]
    assert "mov dx, PORT" in at[addresses(found)["put"]]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    (tmp_path / "guest.c").write_text(C)
    (tmp_path / "guest.ld").write_text(
        "SECTIONS { . = 0x100000; first = .; .text : { *(.text*) } .data : { *(.data*) } last = .; PROVIDE(unused = 5);"
        " /DISCARD/ : { *(.note* .comment .eh_frame) } }\n"
    )
    compile = "gcc -O0 -ffunction-sections -fno-pic -ffreestanding -c guest.c"
    subprocess.run(compile.split(), cwd=tmp_path, check=True)
    subprocess.run("ld -T guest.ld -Map guest.map -o guest.elf guest.o".split(), cwd=tmp_path, check=True)
    return tmp_path


def test_the_map_of_ld_has_the_global_names(linked: Path) -> None:
    elf = {one.name: one for one in read_symbol_file(linked / "guest.elf").symbols}
    found = {one.name: one for one in read_symbol_file(linked / "guest.map", 0x10).symbols}
    assert set(found) == {"first", "last", "number", "a_name_so_long"}
    for name, symbol in found.items():
        assert symbol.address == elf[name].address + 0x10
    assert found["a_name_so_long"].limit == elf["a_name_so_long"].limit + 0x10
    assert found["last"].limit == 0


@pytest.mark.parametrize("options", [[], ["-n", "-S"], ["-r"]])
def test_what_nm_prints_is_what_the_file_has(linked: Path, options: list[str]) -> None:
    elf = {one.name: one for one in read_symbol_file(linked / "guest.elf").symbols}
    done = subprocess.run(["nm", *options, "guest.elf"], cwd=linked, check=True, capture_output=True)
    (linked / "System.map").write_bytes(b"                 U elsewhere\n" + done.stdout)
    found = read_symbol_file(linked / "System.map").symbols
    assert {one.name: one.address for one in found} == {one.name: one.address for one in elf.values()}
    sizes = {one.name: one.size for one in found}
    assert sizes["twice"] == (elf["twice"].size if "-S" in options else 0)
    assert {one.name: (one.kind, one.binding) for one in found if one.name in ("twice", "number")} == {
        "twice": ("function", "local"),
        "number": ("object", "global"),
    }


def test_names_and_addresses_alone(tmp_path: Path) -> None:
    (tmp_path / "boot.sym").write_text("7c00 start\n0x7c10 put\nffffffff81000000 T _text [module]\n")
    found = read_symbol_file(tmp_path / "boot.sym")
    assert addresses(found) == {"start": 0x7C00, "put": 0x7C10, "_text": 0xFFFFFFFF81000000}


@pytest.mark.parametrize("content", ["Dear reader,\nthis is a letter.\n", "1 2 3\n", "\x00" * 64, "   \n\n"])
def test_what_is_no_symbol_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "text").write_text(content)
    with pytest.raises(LoadError, match=r"is no symbol file: it is none of .*a map of GNU ld.*a listing of nasm"):
        read_symbol_file(tmp_path / "text")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_gives_symbols_or_one_sentence(tmp_path: Path, data: st.DataObject) -> None:
    text = bytearray((SAMPLES / data.draw(st.sampled_from(["boot.lst", "boot.map", "guest.map"]))).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=12)):
        text[at] = data.draw(st.sampled_from(b"0 F<>[]:%.\n\t\xff9-"))
    (tmp_path / "damaged").write_bytes(text[: data.draw(st.integers(1, len(text)))])
    try:
        found = read_symbol_file(tmp_path / "damaged")
    except LoadError as error:
        assert str(tmp_path) in str(error)
    else:
        assert all(0 <= one.address < 1 << 64 for one in found.symbols)
