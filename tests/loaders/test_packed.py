from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError
from kvmdbg.loaders import LoadOptions, load, packed

Write = Callable[[bytes], str]
GUESTS = Path(__file__).resolve().parents[2] / "guests"


@pytest.mark.parametrize("name", ["mb32.elf", "long64.elf", "boot16.bin", "hello16.bin"])
def test_what_is_in_it_is_loaded(image_file: Write, name: str) -> None:
    plain = load(GUESTS / name)
    image = load(image_file(gzip.compress((GUESTS / name).read_bytes())))
    assert (image.format, image.mode, image.entry) == (plain.format, plain.mode, plain.entry)
    assert [one.data for one in image.segments] == [one.data for one in plain.segments]


def test_several_members(image_file: Write) -> None:
    image = load(image_file(gzip.compress(b"\x90\x90") + gzip.compress(b"\xf4")))
    assert image.segments[0].data == b"\x90\x90\xf4"


def test_a_flat_image_is_what_it_is(image_file: Write) -> None:
    data = gzip.compress(b"\xf4")
    assert load(image_file(data), LoadOptions(format="flat")).segments[0].data == data


def test_damage_is_told(image_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.compress(bytes(range(256)) * 100)
    with pytest.raises(LoadError, match=r"guest is packed with gzip and cut short$"):
        load(image_file(data[:-10]))
    with pytest.raises(LoadError, match="guest is packed with gzip and damaged: "):
        load(image_file(data[:20] + b"\xff\xff\xff" + data[23:]))
    with pytest.raises(LoadError, match="packed with gzip, and nothing is in it"):
        load(image_file(gzip.compress(b"")))
    monkeypatch.setattr(packed, "LARGEST", 1 << 20)
    with pytest.raises(LoadError, match="unpacks to more than"):
        load(image_file(gzip.compress(bytes(2 << 20))))


@given(st.binary(max_size=100), st.integers(3, 60))
def test_damaged_files_give_one_error_or_bytes(noise: bytes, at: int) -> None:
    data = bytearray(gzip.compress(b"abc" * 50))
    data[at : at + len(noise)] = noise
    try:
        assert packed.unpacked(bytes(data), "guest", None)
    except LoadError as error:
        assert str(error).startswith("guest ")
