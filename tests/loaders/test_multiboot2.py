from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError
from kvmdbg.loaders import Entry, Image, LoadOptions, load
from kvmdbg.loaders.multiboot2 import Multiboot2, find_header
from kvmdbg.machine.boot import boot_state
from kvmdbg.machine.image import Screen
from tests.loaders.elf_images import FUNC, GLOBAL, ElfImage

Write = Callable[[bytes], str]
GUESTS = Path(__file__).resolve().parents[2] / "guests"
MIB = 1 << 20
ADDRESS, ENTRY, CONSOLE, FRAMEBUFFER, EFI_ENTRY, RELOCATABLE = 2, 3, 4, 5, 9, 10


def tag(kind: int, *numbers: int, optional: bool = False) -> bytes:
    made = struct.pack(f"<HHI{len(numbers)}I", kind, optional, 8 + 4 * len(numbers), *numbers)
    return made + bytes(-len(made) % 8)


def header(*tags: bytes, architecture: int = 0, wrong: int = 0, end: bytes | None = None) -> bytes:
    body = b"".join(tags) + (tag(0) if end is None else end)
    length = 16 + len(body)
    checksum = -(0xE85250D6 + architecture + length) + wrong & 0xFFFFFFFF
    return struct.pack("<IIII", 0xE85250D6, architecture, length, checksum) + body


def elf(*tags: bytes, **options: object) -> bytes:
    """An ELF file with such a header, aligned to 8."""
    made = ElfImage(prefix=bytes(4) + header(*tags), **options)  # type: ignore[arg-type]
    assert (52 + 32 * len(made.loads) + 4) % 8 == 0
    return made.build()


def told(image: Image, memory: int = 128 * MIB) -> dict[int, list[bytes]]:
    """The boot information: what each tag has, by type."""
    state = boot_state(image, LoadOptions(memory=memory), memory)
    (made,) = [one for one in state.writes if one.name == "multiboot2 information"]
    assert state.general["rbx"] == made.address and made.address % 8 == 0
    assert state.general["rax"] == 0x36D76289

    def tags() -> Iterator[tuple[int, bytes]]:
        at = 8
        while True:
            kind, size = struct.unpack_from("<II", made.data, at)
            yield kind, made.data[at + 8 : at + size]
            at += -(-size // 8) * 8
            if not kind:
                assert at == struct.unpack_from("<I", made.data)[0]
                return

    found: dict[int, list[bytes]] = {}
    for kind, content in tags():
        found.setdefault(kind, []).append(content)
    return found


def test_an_elf_kernel_and_what_it_is_told(image_file: Write, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"module")
    data = elf(symbols=[("f", 0x100000, 1, FUNC, GLOBAL, 1)])
    options = LoadOptions(cmdline="a b", modules=[f"{tmp_path / 'm'} words", str(tmp_path / "m")])
    image = load(image_file(data), options)
    assert (image.format, image.mode, image.entry, image.multiboot) == (
        "multiboot2",
        "prot",
        Entry(None, 0x100000),
        True,
    )
    tags = told(image)
    assert tags[1] == [b"a b\0"] and tags[2] == [b"kvmdbg\0"]
    first, second = tags[3]
    start, end = struct.unpack_from("<II", first)
    assert start % 0x1000 == 0 and end - start == 6 and first[8:] == f"{tmp_path / 'm'} words\0".encode()
    assert struct.unpack_from("<I", second)[0] >= end
    assert [one.data for one in image.segments if one.address == start] == [b"module"]
    assert struct.unpack("<II", tags[4][0]) == (639, 127 << 10)
    assert tags[6][0][:32] == struct.pack("<IIQQII", 24, 0, 0, 0x9FC00, 1, 0)
    assert struct.unpack("<QIIIBBH", tags[8][0]) == (0xB8000, 160, 80, 25, 16, 2, 0)
    assert 21 not in tags and 14 not in tags and 15 not in tags
    number, size, names = struct.unpack_from("<III", tags[9][0])
    assert (number, size, names) == (5, 40, 4)
    sections = list(struct.Struct("<10I").iter_unpack(tags[9][0][12:]))
    assert sections[1][3] == 0x100000  # .text, which a segment loads
    strings = next(one for one in image.segments if one.address == sections[3][3])  # .strtab, which none does
    assert strings.data == b"\0f\0"


def test_a_disk_with_a_kernel_behind_its_boot_sector_is_a_disk(image_file: Write) -> None:
    core = header(tag(ADDRESS, 0x200000, 0x200000, 0, 0), tag(ENTRY, 0x200080)) + b"\xf4" * 100
    disk = image_file(bytes(510) + b"\x55\xaa" + core.ljust(1024, b"\0"))
    assert load(disk).format == "bootsector"


def test_by_its_own_addresses(image_file: Write) -> None:
    tags = tag(ADDRESS, 0x200008, 0x200000, 0x200100, 0x200800), tag(ENTRY, 0x200080)
    data = bytes(8) + header(*tags) + b"\xf4" * 400
    image = load(image_file(data))
    (segment,) = image.segments
    assert (segment.address, segment.data, segment.size) == (0x200000, data[:0x100], 0x800)
    assert image.entry == Entry(None, 0x200080)
    whole = bytes(8) + header(tag(ADDRESS, 0x200008, 0xFFFFFFFF, 0, 0), tag(ENTRY, 0x200080)) + b"\xf4" * 100
    assert load(image_file(whole)).segments[0].data == whole
    assert load(image_file(elf(tag(ENTRY, 0x100001)))).entry == Entry(None, 0x100001)


@pytest.mark.parametrize(
    ("range_", "memory", "base"),
    [
        ((0x100000, 0xFFFFFFFF, 0x1000, 0), 128 * MIB, 0x100000),
        ((0x200000, 0xFFFFFFFF, 0x10000, 1), 128 * MIB, 0x200000),
        ((0x201000, 0xFFFFFFFF, 0x200000, 0), 128 * MIB, 0x400000),
        ((0x200000, 0xFFFFFFFF, 0x200000, 2), 64 * MIB, 0x3E00000),
        ((0x200000, 0x5FFFFF, 0x100000, 2), 64 * MIB, 0x500000),
    ],
)
def test_a_relocatable_kernel(image_file: Write, range_: tuple[int, ...], memory: int, base: int) -> None:
    data = elf(tag(RELOCATABLE, *range_), entry=0x100001, symbols=[("f", 0x100001, 1, FUNC, GLOBAL, 1)])
    image = load(image_file(data), LoadOptions(memory=memory))
    assert (image.segments[0].address, image.entry) == (base, Entry(None, base + 1))
    assert image.symbols[0].address == base + 1 and image.bias == base - 0x100000
    assert told(image, memory)[21] == [struct.pack("<I", base)]
    assert load(image_file(data), LoadOptions(memory=memory, entry="f")).entry == Entry(None, base + 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (elf(tag(77, 1)), r"insists on a multiboot2 feature that kvmdbg does not have \(header tag 77\)"),
        (elf(tag(1, 3, 99)), r"insists on boot information that multiboot2 does not know \(type 99\)"),
        (elf(tag(RELOCATABLE, 0x8000000, 0xFFFFFFFF, 0x1000, 0)), "relocatable between 0x8000000 and 0xffffffff"),
        (elf(tag(ENTRY)), "damaged multiboot2 header: its tag of type 3 has 8 bytes"),
        (ElfImage(prefix=bytes(4) + header(end=tag(4, 0))).build(), "no tag ends it"),
        (ElfImage(prefix=bytes(4) + header(architecture=4)).build(), "another machine"),
        (bytes(8) + header(tag(ADDRESS, 8, 0, 0, 0)) + bytes(99), "load addresses and no entry"),
        (bytes(8) + header(tag(ADDRESS, 8, 4, 0, 0), tag(ENTRY, 9)), None),
        (bytes(8) + header(tag(ADDRESS, 0, 4, 0, 0), tag(ENTRY, 9)), "loads from before the file's start"),
    ],
)  # fmt: skip
def test_one_clear_error(image_file: Write, data: bytes, message: str | None) -> None:
    if message is None:
        assert load(image_file(data)).segments[0].address == 4
        return
    with pytest.raises(LoadError, match=message) as caught:
        load(image_file(data))
    assert "\n" not in str(caught.value)


def test_what_need_not_be_is_passed_over(image_file: Write) -> None:
    tags = tag(77, 1, optional=True), tag(1, 99, optional=True), tag(EFI_ENTRY, 5), tag(7), tag(CONSOLE, 3)
    image = load(image_file(elf(*tags, tag(FRAMEBUFFER, 1024, 768, 32))))
    assert image.format == "multiboot2"
    assert image.screen == Screen(1024, 768, 32)


def test_where_the_header_may_be() -> None:
    assert find_header(bytes(32768 - 24) + header()) == (32768 - 24, 0, 24)
    assert find_header(bytes(32768) + header()) is None
    assert find_header(bytes(4) + header()) is None
    assert find_header(header(wrong=1)) is None
    assert find_header(header(wrong=1) + header()) == (24, 0, 24)


@given(st.binary(max_size=300), st.integers(80, 400))
def test_damaged_kernels_give_one_error_or_an_image(noise: bytes, at: int) -> None:
    data = bytearray(elf(tag(1, 3), tag(RELOCATABLE, 0, 0xFFFFFFFF, 1, 1), tag(ENTRY, 0x100001)))
    data[at : at + len(noise)] = noise
    if Multiboot2().recognise(bytes(data)):
        try:
            boot_state(Multiboot2().load(bytes(data), "guest", LoadOptions()), LoadOptions(), 128 * MIB)
        except LoadError as error:
            assert "guest" in str(error)


@given(st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(0, 0xFFFFFFFF), max_size=6)), max_size=5))
def test_any_tags_load_or_say_why(tags: list[tuple[int, list[int]]]) -> None:
    data = bytes(8) + header(*(tag(kind, *numbers) for kind, numbers in tags)) + bytes(200)
    if Multiboot2().recognise(data):
        try:
            boot_state(Multiboot2().load(data, "guest", LoadOptions()), LoadOptions(), 128 * MIB)
        except LoadError as error:
            assert "guest" in str(error)


def test_the_example_has_both_headers() -> None:
    path = GUESTS / "multiboot.elf"
    assert load(path).format == "multiboot"
    assert load(path, LoadOptions(format="multiboot2")).format == "multiboot2"
