from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import LoadError
from kvmdbg.loaders.symbol_reading import read_symbol_file
from kvmdbg.machine.image import Symbol

GUESTS = Path(__file__).resolve().parents[2] / "guests"


def function(name: str, address: int, size: int, binding: str = "global") -> Symbol:
    return Symbol(name, address, size, "function", binding)


@pytest.fixture
def table() -> SymbolTable:
    return SymbolTable(
        [
            function("main", 0x1000, 0x40),
            Symbol("again", 0x1010, limit=0x2000),
            function("func", 0x1050, 0x10, "local"),
            Symbol("counter", 0x2000, 4, "object"),
            Symbol("stack_top", 0x3000, limit=0x3000),
            Symbol("SIZE", 0x1020, kind="absolute"),
        ]
    )


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (0xFFF, ""),
        (0x1000, "main"),
        (0x100F, "main+0xf"),
        (0x1010, "again"),
        (0x1020, "again+0x10"),
        (0x1050, "func"),
        (0x105F, "func+0xf"),
        (0x1060, ""),
        (0x2003, "counter+0x3"),
        (0x2004, ""),
        (0x3000, "stack_top"),
        (0x3001, ""),
        (1 << 64, ""),
    ],
)
def test_format(table: SymbolTable, address: int, text: str) -> None:
    assert table.format(address) == text


def test_behind_an_inner_symbol_the_outer_one_is_meant() -> None:
    table = SymbolTable(
        [function("outer", 0x1000, 0x100), function("inner", 0x1010, 0x10), function("next", 0x1100, 1)]
    )
    assert table.format(0x1018) == "inner+0x8"
    assert table.format(0x1020) == "outer+0x20"
    assert table.format(0x10FF) == "outer+0xff"
    assert table.format(0x1100) == "next"
    assert table.format(0x1101) == ""


def test_unsized_symbol_without_a_section_reaches_64_kib() -> None:
    table = SymbolTable([Symbol("label", 0x1000)])
    assert table.format(0x10FFF) == "label+0xffff"
    assert table.nearest(0x11000) is None


def test_of_two_at_one_address_the_telling_one_is_shown() -> None:
    assert SymbolTable([Symbol("label", 1), function("f", 1, 4, "local")]).format(1) == "f"
    assert SymbolTable([function("alias", 1, 4, "weak"), function("f", 1, 4)]).format(1) == "f"
    assert SymbolTable([Symbol("a", 1), Symbol("b", 1)]).format(1) == "a"


def test_lookup_prefers_global_then_the_first(table: SymbolTable) -> None:
    table.add([function("func", 0x5000, 1), function("main", 0x6000, 1)])
    assert table.lookup("func") == function("func", 0x5000, 1)
    found = table.lookup("main")
    assert found is not None
    assert found.address == 0x1000
    assert table.lookup("nothing") is None


def test_absolute_symbols_are_found_by_name_only(table: SymbolTable) -> None:
    found = table.lookup("SIZE")
    assert found is not None
    assert found.address == 0x1020


def test_base_moves_places_and_not_numbers() -> None:
    table = SymbolTable()
    table.add([Symbol("label", 0x10, limit=0x20), Symbol("SIZE", 0x10, kind="absolute")], base=0x7C00)
    assert [(one.name, one.address, one.limit) for one in table] == [("label", 0x7C10, 0x7C20), ("SIZE", 0x10, 0)]


def test_added_after_a_question_is_found(table: SymbolTable) -> None:
    assert table.format(0x9000) == ""
    table.add([function("late", 0x9000, 4)])
    assert table.format(0x9001) == "late+0x1"
    assert table.complete("la") == ["late"]


def test_clear(table: SymbolTable) -> None:
    assert len(table) == 6
    table.clear()
    assert (len(table), table.lookup("main"), table.nearest(0x1000), table.complete("")) == (0, None, None, [])


def test_complete(table: SymbolTable) -> None:
    table.add([Symbol("main_loop", 1), Symbol("mail", 2), Symbol("main", 3)])
    assert table.complete("main") == ["main", "main_loop"]
    assert table.complete("mai") == ["mail", "main", "main_loop"]
    assert table.complete("zz") == []


@given(st.lists(st.text(max_size=4), max_size=30), st.text(max_size=3))
def test_complete_is_every_name_with_the_prefix(names: list[str], prefix: str) -> None:
    table = SymbolTable(Symbol(name, 0) for name in names)
    assert table.complete(prefix) == sorted({name for name in names if name.startswith(prefix)})


def owner(symbols: list[Symbol], address: int) -> Symbol | None:
    """The last of those that start at or before ``address`` and hold it, by looking at each."""
    holding = [one for one in symbols if one.address <= address < one.address + one.size]
    return max(holding, key=lambda one: one.address, default=None)


@given(
    st.dictionaries(st.integers(0, 40), st.integers(1, 20), max_size=12),
    st.integers(0, 60),
)
def test_nearest_is_what_a_search_of_all_sized_symbols_finds(spans: dict[int, int], address: int) -> None:
    """Spans as linkers make them: apart or nested."""
    symbols: list[Symbol] = []
    for start, size in sorted(spans.items()):
        around = owner(symbols, start)
        end = start + size if around is None else min(start + size, around.address + around.size)
        symbols.append(function(f"f{start}", start, end - start))
    found = SymbolTable(symbols).nearest(address)
    expected = owner(symbols, address)
    assert (found[0] if found else None) == expected
    if found is not None:
        assert found[1] == address - found[0].address


def test_symbols_of_a_flat_guest_from_its_elf_twin() -> None:
    table = SymbolTable(read_symbol_file(GUESTS / "boot16.elf").symbols)
    found = table.lookup("func")
    assert found is not None
    image = (GUESTS / "boot16.bin").read_bytes()
    assert image[found.address - 0x7C00 :].startswith(b"\x66\x89\x0e")  # mov [counter], ecx
    assert table.format(found.address + 1) == "func+0x1"


def test_symbol_file_with_a_base() -> None:
    plain = read_symbol_file(GUESTS / "boot16.elf").symbols
    moved = read_symbol_file(GUESTS / "boot16.elf", 0x1000).symbols
    assert [one.address + 0x1000 for one in plain] == [one.address for one in moved]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"^cannot read .*symbols: No such file"),
        (b"", r"symbols is empty$"),
        (b"main 1000", r"symbols is no symbol file: it is none of .*an ELF file$"),
        (b"\x7fELF", r"symbols is a truncated or damaged ELF file"),
    ],
)
def test_symbol_file_that_is_none(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "symbols"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadError, match=sentence):
        read_symbol_file(path)


def test_file_without_symbols(tmp_path: Path) -> None:
    from tests.loaders.elf_images import ElfImage

    path = tmp_path / "stripped"
    path.write_bytes(ElfImage().build())
    with pytest.raises(LoadError, match="stripped has no symbols"):
        read_symbol_file(path)
