from __future__ import annotations

import random
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmdbg.errors import LoadError
from kvmdbg.loaders import Entry, LoadOptions, load
from kvmdbg.loaders.elf import Elf, ElfSymbols
from kvmdbg.loaders.multiboot import Multiboot
from kvmdbg.machine.boot import boot_state
from tests.loaders import elf_images as ef
from tests.loaders.elf_images import ElfImage, Load

Write = Callable[[bytes], str]


def elf64(**fields: object) -> ElfImage:
    return ElfImage(bits=64, machine=ef.EM_X86_64, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("image", "mode"), [(ElfImage(), "prot"), (elf64(), "long")])
def test_segments_entry_and_mode(image_file: Write, image: ElfImage, mode: str) -> None:
    image.entry = 0x100001
    image.loads = [Load(0x100000, b"\x90\x90\xf4"), Load(0x200000, b"data", 0x1000), Load(0x300000, b"", 0x2000)]
    loaded = load(image_file(image.build()))
    assert (loaded.format, loaded.mode, loaded.entry) == ("elf", mode, Entry(None, 0x100001))
    assert loaded.function_bits == image.bits
    assert [(s.address, s.data, s.size) for s in loaded.segments] == [
        (0x100000, b"\x90\x90\xf4", 3),
        (0x200000, b"data", 0x1000),
        (0x300000, b"", 0x2000),
    ]


def test_mode_is_the_users_when_given(image_file: Write) -> None:
    assert load(image_file(elf64().build()), LoadOptions(mode="prot")).mode == "prot"


def test_higher_half_kernel_is_loaded_and_entered_at_physical_addresses(image_file: Write) -> None:
    high = 0xFFFFFFFF80000000
    image = elf64(
        entry=high + 0x100004,
        loads=[Load(high + 0x100000, b"\x90" * 16, physical=0x100000)],
        symbols=[("kmain", high + 0x100008, 4, ef.FUNC, ef.GLOBAL, 1)],
    )
    path = image_file(image.build())
    loaded = load(path)
    assert loaded.entry == Entry(None, 0x100004)
    assert loaded.segments[0].address == 0x100000
    assert loaded.symbols[0].address == high + 0x100008
    assert load(path, LoadOptions(entry="kmain")).entry == Entry(None, 0x100008)


def test_entry_that_is_physical_already_stays(image_file: Write) -> None:
    image = elf64(entry=0x100004, loads=[Load(0xFFFFFFFF80100000, b"\x90" * 16, physical=0x100000)])
    assert load(image_file(image.build())).entry == Entry(None, 0x100004)


def test_physical_addresses_left_at_zero_are_the_virtual_ones(image_file: Write) -> None:
    image = ElfImage(loads=[Load(0x100000, b"\xf4", physical=0), Load(0x101000, b"x", physical=0)])
    assert [s.address for s in load(image_file(image.build())).segments] == [0x100000, 0x101000]


def test_position_independent_image_goes_where_it_is_told(image_file: Write) -> None:
    image = elf64(kind=ef.ET_DYN, entry=4, loads=[Load(0, b"\x90" * 8)], symbols=[("f", 4, 2, ef.FUNC, ef.GLOBAL, 1)])
    path = image_file(image.build())
    for options, base in ((LoadOptions(), 0x100000), (LoadOptions(load=0x40000), 0x40000)):
        loaded = load(path, options)
        assert (loaded.segments[0].address, loaded.entry) == (base, Entry(None, base + 4))
        assert loaded.segments[0].linked == base
        assert (loaded.symbols[0].address, loaded.symbols[0].limit) == (base + 4, base + 8)
    assert load(path, LoadOptions(load=0x40000, entry="f")).entry == Entry(None, 0x40004)


@pytest.mark.parametrize("bits", [32, 64])
def test_symbols(image_file: Write, bits: int) -> None:
    image = elf64() if bits == 64 else ElfImage()
    image.symbols = [
        ("main", 0x100000, 2, ef.FUNC, ef.GLOBAL, 1),
        ("counter", 0x100001, 1, ef.OBJECT, ef.LOCAL, 1),
        ("again", 0x100001, 0, ef.NOTYPE, ef.WEAK, 1),
        ("SIZE", 0x55, 0, ef.NOTYPE, ef.LOCAL, ef.SHN_ABS),
        ("elsewhere", 0, 0, ef.NOTYPE, ef.GLOBAL, 0),
        (".text", 0x100000, 0, ef.SECTION, ef.LOCAL, 1),
        ("", 0x100000, 0, ef.FUNC, ef.LOCAL, 1),
    ]
    found = load(image_file(image.build())).symbols
    assert [(s.name, s.address, s.size, s.kind, s.binding, s.limit) for s in found] == [
        ("main", 0x100000, 2, "function", "global", 0x100002),
        ("counter", 0x100001, 1, "object", "local", 0x100002),
        ("again", 0x100001, 0, "notype", "weak", 0x100002),
        ("SIZE", 0x55, 0, "absolute", "local", 0),
    ]


SYMBOLS = [("main", 0x100000, 2, ef.FUNC, ef.GLOBAL, 1), ("x", 0x100001, 1, ef.OBJECT, ef.LOCAL, 1)]


def test_entry_by_symbol(image_file: Write) -> None:
    image = ElfImage(symbols=[("again", 0x100001, 0, ef.NOTYPE, ef.LOCAL, 1)])
    assert load(image_file(image.build()), LoadOptions(entry="again")).entry == Entry(None, 0x100001)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x7fELF", "guest is a truncated or damaged ELF file"),
        (ElfImage().build()[:40], "guest is a truncated or damaged ELF file"),
        (ElfImage().build()[:60], "guest is a truncated ELF file: its program headers end after the file does"),
        (ElfImage().build()[:-1], "guest is truncated: segment 0 ends at byte 0x56 of 0x55"),
        (ElfImage(machine=ef.EM_AARCH64).build(), "32-bit ELF file for the machine AARCH64, not for x86"),
        (ElfImage(machine=0x1234).build(), "machine number 4660, not for x86"),
        (ElfImage(bits=64).build(), "64-bit ELF .* machine 386"),
        (elf64(big_endian=True).build(), "for a big-endian machine"),
        (ElfImage(loads=[]).build(), "guest has no loadable segments$"),
        (ElfImage(kind=ef.ET_REL, loads=[]).build(), r"has no loadable segments \(an object file: link it first\)"),
        (ElfImage(loads=[Load(0x1000, b"12345678", 4)]).build(), "segment 0 is larger in the file than in memory"),
    ],
)
def test_damaged_and_foreign(image_file: Write, data: bytes, sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        load(image_file(data))


def test_load_address_for_a_linked_image(image_file: Write) -> None:
    with pytest.raises(LoadError, match="linked for fixed addresses; --load is for flat images"):
        load(image_file(ElfImage().build()), LoadOptions(load=0x1000))


def test_seg_off_entry_needs_real_mode(image_file: Write) -> None:
    with pytest.raises(LoadError, match="needs --mode real"):
        load(image_file(ElfImage().build()), LoadOptions(entry="0:0"))


def test_segments_that_share_their_bytes_do_not_multiply_in_memory() -> None:
    body = bytes(100_000)
    count = 1000
    header = ElfImage(loads=[Load(0x100000, b"\xf4")]).build()[:52]
    header = header[:44] + struct.pack("<H", count) + header[46:]
    at = 52 + 32 * count
    programs = b"".join(
        struct.pack("<IIIIIIII", 1, at, n << 20, n << 20, len(body), len(body), 7, 1) for n in range(count)
    )
    tracemalloc.start()
    try:
        with pytest.raises(LoadError, match="its segments share most of their bytes"):
            Elf().load(header + programs + body, "guest", LoadOptions())
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_names_that_share_their_bytes_do_not_multiply_in_memory() -> None:
    image = ElfImage(symbols=[("x" * 50_000, 0x100000, 0, ef.FUNC, ef.GLOBAL, 1)])
    image.symbols += [("y", 0x100000, 0, ef.FUNC, ef.GLOBAL, 1)] * 5000
    data = bytearray(image.build())
    table = data.index(struct.pack("<IIIBBH", 1, 0x100000, 0, 0x12, 0, 1))
    for n in range(5000):
        struct.pack_into("<I", data, table + 16 * n, 1)
    loads_without_symbols(bytes(data), "its symbols' names share most of their bytes")


def loads_without_symbols(data: bytes, why: str) -> None:
    """A program is loaded by its program headers; as a file of symbols it is refused."""
    image = Elf().load(data, "guest", LoadOptions())
    assert image.segments[0].data == b"\x90\xf4"
    assert image.symbols == []
    assert image.remark.startswith("guest is a ")
    assert image.remark.endswith(f"{why}; it is loaded without its symbols")
    with pytest.raises(LoadError, match=why):
        ElfSymbols().read(data, "guest", 0)


def test_program_headers_of_a_wrong_stride() -> None:
    data = bytearray(ElfImage().build())
    struct.pack_into("<H", data, 42, 0)  # e_phentsize
    with pytest.raises(LoadError, match=r"headers are not 32 bytes each"):
        Elf().load(bytes(data), "guest", LoadOptions())


def test_section_headers_of_a_wrong_stride() -> None:
    data = bytearray(ElfImage(symbols=[("f", 0x100000, 1, ef.FUNC, ef.GLOBAL, 1)]).build())
    struct.pack_into("<H", data, 46, 0)  # e_shentsize
    loads_without_symbols(bytes(data), "its section headers are not 40 bytes each")


def test_section_count_of_four_billion() -> None:
    data = bytearray(ElfImage(symbols=[("f", 0x100000, 1, ef.FUNC, ef.GLOBAL, 1)]).build())
    (sections_at,) = struct.unpack_from("<I", data, 32)
    struct.pack_into("<H", data, 48, 0)  # e_shnum 0: the number is sh_size of section 0
    struct.pack_into("<I", data, sections_at + 20, 0xFFFFFFFF)
    loads_without_symbols(bytes(data), "its section headers end after the file does")


@pytest.mark.parametrize("bits", [32, 64])
def test_section_headers_that_are_cut_off(bits: int) -> None:
    image = ElfImage(symbols=[("f", 0x100000, 1, ef.FUNC, ef.GLOBAL, 1)])
    data = image.build() if bits == 32 else elf64(symbols=image.symbols).build()
    loads_without_symbols(data[:-1], "its section headers end after the file does")


def test_a_section_that_nobody_needs() -> None:
    """Its sh_link names no section of strings, which pyelftools takes for the end of the file."""
    code = bytes.fromhex("b80a000000f4")
    names = b"\0.text\0.dynsym\0.shstrtab\0"
    header = b"\x7fELF\1\1\1".ljust(16, b"\0")
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x100000, 52, 0x140, 0, 52, 32, 1, 40, 4, 3)
    segment = struct.pack("<8I", 1, 0x100, 0x100000, 0x100000, len(code), len(code), 5, 0x1000)
    sections = bytes(40) + struct.pack("<10I", 1, 1, 6, 0x100000, 0x100, 6, 0, 0, 1, 0)
    sections += struct.pack("<10I", 7, 11, 2, 0, 0x108, 16, 0, 1, 4, 16)
    sections += struct.pack("<10I", 15, 3, 0, 0, 0x118, len(names), 0, 0, 1, 0)
    data = (header + segment).ljust(0x100, b"\0") + code.ljust(24, b"\0") + names
    image = Elf().load(data.ljust(0x140, b"\0") + sections, "guest", LoadOptions())
    assert image.segments[0].data == code
    assert (image.symbols, image.remark) == ([], "")


@pytest.mark.parametrize("seed", range(40))
def test_any_section_headers(seed: int) -> None:
    """Whatever is in them, the program is loaded."""
    chance = random.Random(seed)
    whole = ElfImage(symbols=SYMBOLS) if seed % 2 else elf64(symbols=SYMBOLS)
    data = bytearray(whole.build())
    (at,) = struct.unpack_from("<I", data, 32) if seed % 2 else struct.unpack_from("<Q", data, 40)
    for _ in range(chance.randint(1, 60)):
        data[chance.randrange(at, len(data))] = chance.choice([0, 1, 2, 3, 11, 0xFF, chance.randrange(256)])
    stride = 46 if seed % 2 else 58
    if chance.random() < 0.3:
        data[stride : stride + 2] = chance.randbytes(2)
    assert Elf().load(bytes(data), "guest", LoadOptions()).segments[0].data == b"\x90\xf4"


HEADER = struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF)
SEEDS = [ElfImage(symbols=SYMBOLS).build(), elf64(symbols=SYMBOLS).build(), ElfImage(prefix=HEADER).build()]
ABSURD = [0, 1, 0x7F, 0xFF, 0xFFF0, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An ELF file with some fields overwritten and perhaps its end missing."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        width = draw(st.sampled_from([1, 2, 4, 8]))
        at = draw(st.integers(4, len(data) - width))
        value = draw(st.sampled_from(ABSURD) | st.integers(0, (1 << 64) - 1)) & ((1 << 8 * width) - 1)
        data[at : at + width] = value.to_bytes(width, "little")
    return bytes(data[: draw(st.just(len(data)) | st.integers(4, len(data)))])


@given(damaged())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_load_or_say_why(data: bytes) -> None:
    """Nothing but LoadError, with the file's name, and nothing kept that is larger than the file and the memory."""
    options = LoadOptions(memory=16 << 20)
    loader = Multiboot() if Multiboot().recognise(data) else Elf()
    try:
        image = loader.load(data, "guest", options)
        state = boot_state(image, options, options.memory)
    except LoadError as error:
        assert "guest" in str(error)
        assert "\n" not in str(error)
        return
    assert sum(len(s.data) for s in image.segments) <= 2 * len(data)
    assert all(s.end <= options.memory for s in image.segments)
    assert any(s.contains(state.general["rip"]) for s in image.segments)


def test_bytes_of_noise_after_the_magic() -> None:
    noise = random.Random(7)
    failed = 0
    for _ in range(300):
        data = b"\x7fELF" + bytes([noise.choice([1, 2]), 1, 1]) + noise.randbytes(200)
        with pytest.raises(LoadError, match="guest"):
            Elf().load(data, "guest", LoadOptions())
        failed += 1
    assert failed == 300


def test_elftools_is_not_imported_for_a_flat_image(tmp_path: Path) -> None:
    guest = tmp_path / "guest"
    guest.write_bytes(b"\xf4")
    program = (
        "import sys; from kvmdbg.loaders import load; import kvmdbg.debuginfo.symbols, kvmdbg.machine.boot; "
        f"load({str(guest)!r}); print('elftools' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
