from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError
from kvmdbg.loaders import Entry, LoadOptions, load
from kvmdbg.loaders.multiboot import Multiboot, find_header, information, memory_map
from tests.loaders import elf_images as ef
from tests.loaders.elf_images import ElfImage, Load

Write = Callable[[bytes], str]
GUESTS = Path(__file__).resolve().parents[2] / "guests"


def header(flags: int = 0, *addresses: int, checksum_error: int = 0) -> bytes:
    checksum = -(0x1BADB002 + flags) + checksum_error & 0xFFFFFFFF
    return struct.pack(f"<{3 + len(addresses)}I", 0x1BADB002, flags, checksum, *addresses)


def test_elf_with_a_header_is_multiboot(image_file: Write) -> None:
    path = image_file(ElfImage(prefix=header(3), symbols=[("f", 0x100000, 1, ef.FUNC, ef.GLOBAL, 1)]).build())
    image = load(path)
    assert image.multiboot
    assert (image.format, image.mode, image.entry) == ("multiboot", "prot", Entry(None, 0x100000))
    assert image.registers == {"rax": 0x2BADB002}
    assert [one.register for one in image.structures] == ["rbx"]
    assert [one.name for one in image.symbols] == ["f"]
    as_elf = load(path, LoadOptions(format="elf"))
    assert not as_elf.multiboot
    assert (as_elf.registers, as_elf.structures) == ({}, [])


def test_elf64_starts_in_protected_mode_too(image_file: Write) -> None:
    image = load(image_file(ElfImage(bits=64, machine=ef.EM_X86_64, prefix=header()).build()))
    assert (image.format, image.mode, image.function_bits) == ("multiboot", "prot", 64)


def test_entry_is_physical(image_file: Write) -> None:
    elf = ElfImage(prefix=header(), entry=0xC0100001, loads=[Load(0xC0100000, b"\x90\xf4", physical=0x100000)])
    assert load(image_file(elf.build())).entry == Entry(None, 0x100001)


def test_header_with_addresses_in_a_flat_file(image_file: Write) -> None:
    body = b"junk" + header(1 << 16, 0x200004, 0x200000, 0x200040, 0x200100, 0x200024) + b"\xf4" * 100
    image = load(image_file(body))
    assert (image.format, image.entry) == ("multiboot", Entry(None, 0x200024))
    (segment,) = image.segments
    assert (segment.address, segment.data, segment.size) == (0x200000, body[:0x40], 0x100)


def test_header_with_addresses_up_to_the_end_of_the_file(image_file: Write) -> None:
    body = bytes(16) + header(1 << 16, 0x200000, 0x200000, 0, 0, 0x200020) + b"\xf4" * 30
    (segment,) = load(image_file(body)).segments
    assert (segment.address, segment.data, segment.size) == (0x200000, body[16:], len(body) - 16)


def test_a_disk_with_a_kernel_behind_its_boot_sector_is_a_disk(image_file: Write) -> None:
    """As GRUB is installed: its core image has a header. --format insists on that."""
    core = header(1 << 16, 0x200000, 0x200000, 0, 0, 0x200020) + b"\xf4" * 30
    disk = image_file(bytes(510) + b"\x55\xaa" + core.ljust(1024, b"\0"))
    assert load(disk).format == "bootsector"
    assert load(disk, LoadOptions(format="multiboot")).format == "multiboot"


def test_header_with_addresses_wins_over_the_elf_headers(image_file: Write) -> None:
    elf = ElfImage(prefix=header(1 << 16, 0x300000, 0x300000, 0, 0, 0x300020)).build()
    image = load(image_file(elf))
    assert (image.segments[0].address, image.entry) == (0x300000, Entry(None, 0x300020))


@pytest.mark.parametrize(
    "data",
    [
        header(checksum_error=1).ljust(100, b"\0"),
        b"\0" + header(1 << 16, 0, 0, 0, 0, 0),  # not aligned
        bytes(8192) + header(1 << 16, 0, 0, 0, 0, 0),  # too far into the file
        bytes(8192 - 8) + header(1 << 16, 0, 0, 0, 0, 0),
        header(0).ljust(100, b"\0"),  # neither ELF nor addresses
    ],
)
def test_not_a_multiboot_image(image_file: Write, data: bytes) -> None:
    assert load(image_file(data)).format == "flat"
    with pytest.raises(LoadError, match="is not a multiboot image"):
        load(image_file(data), LoadOptions(format="multiboot"))


def test_last_place_for_a_header() -> None:
    found = find_header(bytes(8192 - 12) + header(3))
    assert found is not None
    assert (found.offset, found.flags) == (8180, 3)


def test_a_false_magic_before_the_header_is_passed_over() -> None:
    found = find_header(header(checksum_error=4) + header(2))
    assert found is not None
    assert found.offset == 12


@pytest.mark.parametrize(
    ("addresses", "sentence"),
    [
        ((0x100000, 0x100010, 0, 0, 0), "loads from before the file's start"),
        ((0x100010, 0x100000, 0, 0, 0), "loads from before the file's start"),
        ((0x100000, 0x100000, 0x90000, 0, 0), "load addresses are out of order"),
        ((0x100000, 0x100000, 0x100010, 0x100008, 0), "load addresses are out of order"),
        ((0x100000, 0x100000, 0xFFFFFFFF, 0, 0), "is truncated: its multiboot header loads to byte 0xffefffff of 0x20"),
    ],
)
def test_addresses_that_cannot_be(image_file: Write, addresses: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        load(image_file(header(1 << 16, *addresses)))


def test_unknown_requirement(image_file: Write) -> None:
    with pytest.raises(LoadError, match=r"requires multiboot features .* \(header flags 0x8000\)"):
        load(image_file(ElfImage(prefix=header(0x8001)).build()))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (LoadOptions(mode="long"), "which starts in prot mode; use --format elf for long"),
        (LoadOptions(load=0x1000), "--load is for flat images"),
    ],
)
def test_options_that_do_not_fit(image_file: Write, options: LoadOptions, sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        load(image_file(ElfImage(prefix=header()).build()), options)


def test_information_structure() -> None:
    """Offsets are those of section 3.3 of the specification."""
    at = 0x9E000
    data = information(at, 64 << 20, b"root=ram0\0")
    flags, lower, upper = struct.unpack_from("<III", data, 0)
    assert flags == 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
    assert (lower, upper) == (639, 63 << 10)
    (command,) = struct.unpack_from("<I", data, 16)
    assert data[command - at :] == b"root=ram0\0"
    (mods,) = struct.unpack_from("<I", data, 20)
    assert mods == 0
    length, entries = struct.unpack_from("<II", data, 44)
    found = [struct.unpack_from("<IQQI", data, entries - at + n) for n in range(0, length, 24)]
    assert found == [
        (20, 0, 0x9FC00, 1),
        (20, 0x9FC00, 0x60400, 2),
        (20, 0x100000, 63 << 20, 1),
    ]
    (name,) = struct.unpack_from("<I", data, 64)
    assert data[name - at :].startswith(b"kvmdbg\0")


@pytest.mark.parametrize(
    ("memory", "areas"),
    [
        (0x10000, [(0, 0x10000, 1)]),
        (0x100000, [(0, 0x9FC00, 1), (0x9FC00, 0x60400, 2)]),
        (0x100000 + 0x1000, [(0, 0x9FC00, 1), (0x9FC00, 0x60400, 2), (0x100000, 0x1000, 1)]),
        (
            4 << 30,
            [(0, 0x9FC00, 1), (0x9FC00, 0x60400, 2), (0x100000, 0xBFF00000, 1), (0x100000000, 0x40000000, 1)],
        ),
    ],
)
def test_memory_map(memory: int, areas: list[tuple[int, int, int]]) -> None:
    assert memory_map(memory) == areas


@given(st.integers(1, 1 << 40))
def test_memory_map_is_ordered_and_has_all_ram_but_the_hole_of_a_pc(memory: int) -> None:
    areas = memory_map(memory)
    assert len(areas) <= 4
    for before, after in pairwise(areas):
        assert before[0] + before[1] <= after[0]
    ram = sum(length for _, length, kind in areas if kind == 1)
    assert ram == memory - max(0, min(memory, 0x100000) - 0x9FC00)


def test_upper_memory_ends_at_the_hole_below_4_gib() -> None:
    (upper,) = struct.unpack_from("<I", information(0x9E000, 8 << 30, b"\0"), 8)
    assert upper == (0xC0000000 - 0x100000) >> 10


def test_structure_is_as_large_as_announced(image_file: Write) -> None:
    for memory in (1 << 16, 1 << 20, 1 << 30, 1 << 33):
        image = load(GUESTS / "mb32.elf", LoadOptions(cmdline="a" * 300))
        (structure,) = image.structures
        assert len(structure.build(0x9000, memory)) == structure.size


@given(
    st.binary(max_size=200), st.integers(0, 1 << 17), st.lists(st.integers(0, (1 << 32) - 1), min_size=5, max_size=5)
)
def test_any_header_loads_or_says_why(body: bytes, flags: int, addresses: tuple[int, ...]) -> None:
    data = header(flags | 1 << 16, *addresses) + body
    try:
        image = Multiboot().load(data, "guest", LoadOptions())
    except LoadError as error:
        assert "guest" in str(error)
    else:
        assert len(image.segments[0].data) <= len(data)
