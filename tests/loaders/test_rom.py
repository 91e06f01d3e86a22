"""Firmware: where its ROM lies and how it starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders import LoadOptions, load
from kvmdbg.loaders.rom import load_firmware
from kvmdbg.machine.boot import boot_state

Write = Callable[[bytes], str]

JUMP = bytes.fromhex("ea 0000 00f0") + b"06/23/99" + bytes(3)
ROM = bytes(0x30000 - 16) + JUMP


def test_it_lies_below_4_gib_and_its_end_below_1_mib(image_file: Write) -> None:
    image = load(image_file(ROM))
    assert (image.format, image.firmware) == ("rom", True)
    high, low = image.segments
    assert (high.address, high.end, high.data, high.rom) == (0xFFFD0000, 1 << 32, ROM, True)
    assert (low.address, low.end, low.data, low.rom) == (0xE0000, 1 << 20, ROM[-0x20000:], True)


def test_it_starts_as_the_cpu_comes_out_of_reset(image_file: Write) -> None:
    state = boot_state(load(image_file(ROM)), LoadOptions(), 1 << 20)
    cs = state.segments["cs"]
    assert (cs.selector, cs.base, cs.limit, state.general["rip"]) == (0xF000, 0xFFFF0000, 0xFFFF, 0xFFF0)
    assert all(
        (state.segments[one].selector, state.segments[one].base) == (0, 0) for one in ("ds", "es", "ss", "fs", "gs")
    )
    assert (state.cr0, state.general["rflags"], state.general["rsp"], state.general["rdx"]) == (0x60000010, 2, 0, 0x600)
    assert state.writes == []


def test_uefi_needs_interrupt_controllers(image_file: Write) -> None:
    volume = bytes(40) + b"_FVH" + ROM[44:]
    assert load(image_file(volume)).interrupts and not load(image_file(ROM)).interrupts


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (ROM, "rom"),
        (bytes(0x10000 - 16) + b"\xfa\xfc\xe9" + bytes(13), "rom"),
        (bytes(0x10000), "flat"),
        (bytes(0x10000 - 32) + JUMP, "flat"),
        (bytes(510) + b"\x55\xaa" + bytes(0x10000 - 512 - 16) + JUMP, "bootsector"),
    ],
)
def test_what_looks_like_firmware(image_file: Write, data: bytes, format: str) -> None:
    assert load(image_file(data)).format == format


def test_whatever_is_said_to_be_firmware(image_file: Write) -> None:
    image = load_firmware(image_file(b"\xf4" * 20), LoadOptions())
    high, low = image.segments
    assert (high.address, len(high.data), low.address) == (0xFFFFF000, 0x1000, 0xFF000)
    assert high.data == low.data == b"\xff" * (0x1000 - 20) + b"\xf4" * 20


@pytest.mark.parametrize(
    ("data", "what"), [(b"# Read me\nThis is text.\n" * 9, "text"), (b"\x1f\x8b\x08" + bytes(80), "gzip")]
)
def test_what_is_surely_none(image_file: Write, data: bytes, what: str) -> None:
    with pytest.raises(LoadError, match=rf"is .*{what}.*, not firmware: it has no jump at its reset vector"):
        load_firmware(image_file(data), LoadOptions())
    load_firmware(image_file(data + b"\xea" + bytes(15)), LoadOptions())


def test_firmware_that_does_not_fit(image_file: Write) -> None:
    with pytest.raises(LoadError, match="too large for firmware: 0x1000001 bytes, and 0x1000000 have room"):
        load_firmware(image_file(bytes((16 << 20) + 1)), LoadOptions())
    with pytest.raises(LoadError, match="firmware needs memory of 1 MiB or more, not of 640 KiB"):
        boot_state(load(image_file(ROM)), LoadOptions(), 640 << 10)


@pytest.mark.parametrize("option", ["load", "entry", "mode"])
def test_where_it_starts_is_not_asked(image_file: Write, option: str) -> None:
    value = {"load": 0x1000, "entry": "0:0", "mode": "real"}[option]
    with pytest.raises(UsageError, match=f"starts at the reset vector in real mode: no --{option}"):
        load_firmware(image_file(ROM), LoadOptions(**{option: value}))  # type: ignore[arg-type]
