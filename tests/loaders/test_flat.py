from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError
from kvmdbg.loaders import Entry, LoadOptions, Symbol, load
from kvmdbg.loaders.entry import chosen_entry

Write = Callable[[bytes], str]


def test_defaults(image_file: Write) -> None:
    image = load(image_file(b"\x90\xf4"))
    assert (image.format, image.mode, image.entry, image.registers) == ("flat", "real", Entry(None, 0x1000), {})
    (segment,) = image.segments
    assert (segment.address, segment.data, segment.size, segment.end) == (0x1000, b"\x90\xf4", 2, 0x1002)


def test_load_address_and_mode(image_file: Write) -> None:
    image = load(image_file(b"\xf4"), LoadOptions(load=0x200000, mode="long"))
    assert (image.segments[0].address, image.mode, image.entry) == (0x200000, "long", Entry(None, 0x200000))


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("0x1000:0", Entry(0x1000, 0)),
        ("0:0x1000", Entry(0, 0x1000)),
        (" 0x7c0 : 0x10 ", Entry(0x7C0, 0x10)),
        ("4096", Entry(None, 4096)),
        ("0x1_0000", Entry(None, 0x10000)),
    ],
)
def test_entry(image_file: Write, text: str, entry: Entry) -> None:
    assert load(image_file(b"\xf4"), LoadOptions(load=0x10000, entry=text)).entry == entry


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0x10000:0", "not SEG:OFF with two numbers of 16 bits"),
        ("0:0x10000", "not SEG:OFF"),
        ("a:b", "not SEG:OFF"),
        (":", "not SEG:OFF"),
        ("", "neither an address nor SEG:OFF nor a symbol"),
        ("12ab", "neither an address"),
        ("0x1" + "0" * 16, "more than 64 bits"),
        ("main", "there is no symbol 'main' in .*guest to enter at"),
        ("-1", "there is no symbol '-1'"),
    ],
)
def test_entry_not_understood(image_file: Write, text: str, sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        load(image_file(b"\xf4"), LoadOptions(entry=text))


def test_seg_off_outside_real_mode(image_file: Write) -> None:
    with pytest.raises(LoadError, match="needs --mode real"):
        load(image_file(b"\xf4"), LoadOptions(mode="prot", entry="0x100:0"))


def test_entry_by_a_symbol_from_elsewhere(image_file: Write) -> None:
    options = LoadOptions(entry="again", symbols=[Symbol("again", 0x1002)])
    assert load(image_file(b"\x90\x90\xf4"), options).entry == Entry(None, 0x1002)


def test_global_symbol_is_entered_before_a_local_one() -> None:
    symbols = [Symbol("go", 1, binding="local"), Symbol("go", 2)]
    assert chosen_entry(LoadOptions(entry="go"), Entry(None, 0), "guest", "prot", symbols) == Entry(None, 2)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_any_seg_off_is_read_back(cs: int, ip: int) -> None:
    for text in (f"{cs}:{ip}", f"{cs:#x}:{ip:#x}", f"{cs:#b}:{ip:#o}"):
        assert chosen_entry(LoadOptions(entry=text), Entry(None, 0), "guest", "real") == Entry(cs, ip)


@given(st.text())
def test_any_text_is_an_entry_or_a_load_error(text: str) -> None:
    try:
        entry = chosen_entry(LoadOptions(entry=text), Entry(None, 0), "guest", "real")
    except LoadError as error:
        assert "guest" in str(error)
    else:
        assert entry.ip >= 0
