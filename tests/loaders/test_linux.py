from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders import Entry, Image, LoadOptions, load
from kvmdbg.loaders.linux import BzImage
from kvmdbg.loaders.linux_symbols import kallsyms
from kvmdbg.machine.boot import boot_state
from tests.loaders.elf_images import EM_X86_64, FUNC, GLOBAL, ElfImage, Load
from tests.loaders.linux_images import SECTORS, bzimage

Write = Callable[[bytes], str]
MIB = 1 << 20


def parameters(image: Image, memory: int = 128 * MIB) -> tuple[int, bytes]:
    """Where boot_params lie, and they, with what is behind them."""
    state = boot_state(image, LoadOptions(memory=memory), memory)
    (made,) = [one for one in state.writes if one.name == "boot parameters"]
    assert state.general["rsi"] == made.address
    return made.address, made.data


def text_at(address: int, data: bytes, field: int) -> bytes:
    at = struct.unpack_from("<I", data, field)[0] - address
    return data[at : data.index(b"\0", at)]


def test_entered_by_the_64_bit_protocol(image_file: Write) -> None:
    data = bzimage()
    image = load(image_file(data), LoadOptions(cmdline="quiet nokaslr"))
    assert (image.format, image.mode, image.entry, image.interrupts) == ("bzimage", "long", Entry(None, 0x100200), True)
    (kernel,) = image.segments
    assert (kernel.address, kernel.data) == (0x100000, data[(SECTORS + 1) * 512 :])
    state = boot_state(image, LoadOptions(), 128 * MIB)
    assert {name: one.selector for name, one in state.segments.items() if name in ("cs", "ds", "es", "ss")} == {
        "cs": 0x10, "ds": 0x18, "es": 0x18, "ss": 0x18,
    }  # fmt: skip
    assert state.gdt.limit == 31 and not state.general["rflags"] & 0x200
    address, made = parameters(image)
    assert text_at(address, made, 0x228) == b"quiet nokaslr"
    assert made[0x202:0x206] == b"HdrS" and made[0x210] == 0xFF and made[0x1EF] == 0
    assert made[0x1E8] == 3
    areas = [struct.unpack_from("<QQI", made, 0x2D0 + 20 * number) for number in range(3)]
    assert areas == [(0, 0x9FC00, 1), (0x9FC00, 0x60400, 2), (0x100000, 127 * MIB, 1)]
    assert struct.unpack_from("<II", made, 0x218) == (0, 0)
    assert (made[6], made[7], made[0xE], made[0xF]) == (3, 80, 25, 1)  # a VGA in text mode


@pytest.mark.parametrize(("flags", "mode"), [(0, None), (1, "prot")])
def test_entered_by_the_32_bit_protocol(image_file: Write, flags: int, mode: str | None) -> None:
    image = load(image_file(bzimage(xloadflags=flags, payload=b"packed")), LoadOptions(mode=mode))
    assert (image.mode, image.entry) == ("prot", Entry(None, 0x100000))
    parameters(image)


@pytest.mark.parametrize(("start", "mode"), [(0x100000, "real"), (0, None), (0x100000, None)])
def test_entered_at_its_setup_part(image_file: Write, tmp_path: Path, start: int, mode: str | None) -> None:
    """As GRUB's linux16 does; what has no other entry is entered so, and what has no kernel packed in it (memdisk)."""
    (tmp_path / "disk").write_bytes(b"x" * 10)
    data = bzimage(xloadflags=0, code32_start=start)
    image = load(image_file(data), LoadOptions(mode=mode, cmdline="a", initrd=str(tmp_path / "disk")))
    assert (image.mode, image.entry) == ("real", Entry(0x1020, 0))
    state = boot_state(image, LoadOptions(), 128 * MIB)
    assert {one: state.segments[one].selector for one in ("cs", "ds", "es", "ss", "fs", "gs")} == {
        "cs": 0x1020, "ds": 0x1000, "es": 0x1000, "ss": 0x1000, "fs": 0x1000, "gs": 0x1000,
    }  # fmt: skip
    setup, kernel, disk = image.segments
    assert (state.general["rsp"], setup.address, kernel.address) == (0xE000, 0x10000, 0x100000)
    assert setup.data[0x210] == 0xFF and setup.data[0x211] == 0x81
    assert struct.unpack_from("<H", setup.data, 0x224) == (0xDE00,)
    assert struct.unpack_from("<II", setup.data, 0x218) == (disk.address, 10)
    (command,) = struct.unpack_from("<I", setup.data, 0x228)
    assert setup.data[command - 0x10000 :] == b"a\0"  # nothing is packed in it that could move


def test_its_size_is_counted_in_paragraphs(image_file: Write) -> None:
    assert load(image_file(bzimage(bytes(500))[:-15])).format == "bzimage"


def test_what_the_kernel_is_told_is_said(image_file: Write) -> None:
    path = image_file(bzimage(payload=b"packed"))
    for given_, command, notes in (
        ("", b"console=ttyS0 nokaslr", 2),
        ("a kaslr", b"a kaslr", 0),
        ("nokaslr", b"nokaslr", 0),
        ("x=kaslr", b"x=kaslr nokaslr", 1),
    ):
        image = load(path, LoadOptions(cmdline=given_))
        assert text_at(*parameters(image), 0x228) == command
        assert len(image.notes) == notes


def test_what_only_looks_like_linux_is_told_nothing(image_file: Write) -> None:
    """iPXE takes its command line for commands."""
    image = load(image_file(bzimage()))
    assert text_at(*parameters(image), 0x228) == b"" and not image.notes


def test_the_initrd_lies_as_high_as_the_kernel_takes_it(image_file: Write, tmp_path: Path) -> None:
    disk = tmp_path / "initrd"
    disk.write_bytes(b"i" * 5000)
    for most, top in ((0x7FFFFFFF, 128 * MIB), (0x3FFFFFF, 64 * MIB)):
        image = load(image_file(bzimage(initrd_max=most)), LoadOptions(initrd=str(disk)))
        segment = image.segments[1]
        assert (segment.address, segment.data) == (top - 0x2000, b"i" * 5000)
        _, made = parameters(image)
        assert struct.unpack_from("<II", made, 0x218) == (segment.address, 5000)
    disk.write_bytes(bytes(120 * MIB))
    with pytest.raises(
        LoadError, match=r"^the initrd .* does not fit between the end of .* at 0x1100000 and 0x8000000"
    ):
        load(image_file(bzimage()), LoadOptions(initrd=str(disk)))
    disk.write_bytes(b"")
    with pytest.raises(LoadError, match=r"^the initrd .* is empty$"):
        load(image_file(bzimage()), LoadOptions(initrd=str(disk)))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (bzimage()[:0x280], LoadOptions(), "guest is a Linux kernel cut short: its setup header ends after the file"),
        (bzimage(bytes(5000))[:-1000], LoadOptions(), "guest is a Linux kernel cut short: 0x1.* bytes of 0x1"),
        (bzimage(version=0x201), LoadOptions(), "boot protocol 2.01; kvmdbg starts those from 2.02"),
        (bzimage().replace(b"\x55\xaa", b"\0\0"), LoadOptions(), "it has no 0x55 0xAA at byte 510"),
        (bzimage(xloadflags=0), LoadOptions(mode="long"), "without a 64-bit entry"),
        (bzimage(xloadflags=0, code32_start=0), LoadOptions(mode="prot"), "without a 32-bit entry"),
        (bzimage(), LoadOptions(load=0x200000), "--load is for flat images"),
        (bzimage(cmdline_size=20), LoadOptions(cmdline="x" * 21), "has 21 bytes; .* takes at most 20"),
        (bzimage(init_size=200 * MIB), LoadOptions(), r"needs memory up to 0xd800000 .* as 216M$"),
    ],
)  # fmt: skip
def test_one_clear_error(image_file: Write, data: bytes, options: LoadOptions, message: str) -> None:
    with pytest.raises(LoadError, match=message) as caught:
        load(image_file(data), options)
    assert "\n" not in str(caught.value)


def test_what_nobody_gets_is_refused(image_file: Write, tmp_path: Path) -> None:
    disk = tmp_path / "initrd"
    disk.write_bytes(b"1")
    with pytest.raises(UsageError, match=r"nobody would get the modules: .* which takes an initrd \(--initrd\)"):
        load(image_file(bzimage()), LoadOptions(modules=[str(disk)]))
    with pytest.raises(UsageError, match=r"nobody would get the initrd: .* is a flat image, which takes none"):
        load(image_file(b"\xf4"), LoadOptions(initrd=str(disk)))


@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_damaged_kernels_give_one_error_or_an_image(noise: bytes, at: int) -> None:
    data = bytearray(bzimage(bytes(500)))
    data[at : at + len(noise)] = noise
    if not BzImage().recognise(bytes(data)):
        return
    try:
        image = BzImage().load(bytes(data), "guest", LoadOptions())
        boot_state(image, LoadOptions(), 128 * MIB)
    except LoadError as error:
        assert "guest" in str(error) or "command line" in str(error)
    else:
        if image.later_symbols is not None:
            assert image.later_symbols() == []


# --- its own table of symbols ----------------------------------------------------------------------

NAMES = ["Tstartup_64", "Tstart_kernel", "tdo_one_initcall", "Dinit_task", "Wweak_one", "bhidden"]
BASE = 0xFFFFFFFF81000000


def table(behind: bool, count: int = 120) -> bytes:
    """A kernel with kallsyms in the layout since Linux 6.4, or (not ``behind``) of before."""
    symbols = [*NAMES, *(f"tfunction_{number}" for number in range(count))]
    tokens = [b"%c" % code if 32 < code < 127 else b"~%d" % code for code in range(256)]
    tokens[200] = b"function_"
    names, markers = b"", b""
    for symbol in symbols:
        packed = symbol.encode().replace(b"function_", b"\xc8")
        names += bytes([len(packed)]) + packed
    names += bytes(-len(names) % 8)
    strings, index = b"", b""
    for token in tokens:
        index += struct.pack("<H", len(strings))
        strings += token + b"\0"
    strings += bytes(-len(strings) % 8)
    offsets = b"".join(struct.pack("<i", -1 - 16 * n if not behind else 16 * n) for n in range(len(symbols)))
    offsets += bytes(-len(offsets) % 8) + struct.pack("<Q", BASE)
    middle = struct.pack("<Q", len(symbols)) + names + markers + strings + index
    return bytes(4096) + (middle + offsets if behind else offsets + middle) + bytes(4096)


@pytest.mark.parametrize("behind", [False, True])
def test_symbols_of_the_kernel_s_own_table(behind: bool) -> None:
    found = list(kallsyms(table(behind)))
    assert len(found) == 126
    assert [(one.name, one.address - BASE, one.kind, one.binding) for one in found[:7]] == [
        ("startup_64", 0, "function", "global"),
        ("start_kernel", 16, "function", "global"),
        ("do_one_initcall", 32, "function", "local"),
        ("init_task", 48, "object", "global"),
        ("weak_one", 64, "function", "weak"),
        ("hidden", 80, "object", "local"),
        ("function_0", 96, "function", "local"),
    ]


def lz4_packed(data: bytes) -> bytes:
    """As the kernel's build has it: the legacy frame, in blocks, and the size behind it."""
    blocks = [lz4.block.compress(data[at : at + (8 << 20)], store_size=False) for at in range(0, len(data), 8 << 20)]
    framed = b"".join(struct.pack("<I", len(block)) + block for block in blocks)
    return b"\x02\x21\x4c\x18" + framed + struct.pack("<I", len(data))


def zstd_packed(data: bytes) -> bytes:
    return zstandard.compress(data) + struct.pack("<I", len(data))


PACKERS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "lz4": lz4_packed,
    "zstd": zstd_packed,
    "not": bytes,
}


@pytest.mark.parametrize(
    "packed", [b"\x02\x21\x4c\x18\5\0\0\0abcde", b"\x28\xb5\x2f\xfdabc", b"\xfd7zXZ\0abc", b"BZhabc", b"?"]
)
def test_a_damaged_payload_has_no_symbols(image_file: Write, packed: bytes) -> None:
    image = load(image_file(bzimage(payload=packed)))
    assert image.later_symbols is not None and image.later_symbols() == []


@pytest.mark.parametrize("pack", PACKERS.values(), ids=list(PACKERS))
def test_a_bzimage_s_symbols_are_those_of_the_kernel_in_it(image_file: Write, pack: Callable[[bytes], bytes]) -> None:
    image = load(image_file(bzimage(payload=pack(b"\x7fELF" + table(True)[4:]))))
    assert image.symbols == [] and image.later_symbols is not None
    assert "start_kernel" in {one.name for one in image.later_symbols()}


RELEASE = b"6.1.0-test (builder@host) #1 SMP Debian 6.1.1 (2026-01-01)"


def test_a_vmlinux_beside_it_is_used_if_it_is_the_same_kernel(tmp_path: Path) -> None:
    path, vmlinux = tmp_path / "vmlinuz-6.1.0-test", tmp_path / "vmlinux"
    path.write_bytes(bzimage(release=RELEASE, payload=b"\x7fELF" + table(True)[4:]))
    symbols = [("start_kernel", 0xFFFFFFFF81000042, 1, FUNC, GLOBAL, 1)]
    banner = b"Linux version 6.1.0-test (builder@host) (gcc) "
    for version, debug_files in ((b"#1 SMP Debian 6.1.1 (2026-01-01)", [str(vmlinux)]), (b"#2 SMP", [])):
        code = Load(0xFFFFFFFF81000000, banner + version, physical=0x1000000)
        vmlinux.write_bytes(ElfImage(bits=64, machine=EM_X86_64, loads=[code], symbols=symbols).build())
        image = load(path)
        assert image.later_symbols is not None
        names = {one.name for one in image.later_symbols()}
        assert image.debug_files == debug_files
        assert names == {"start_kernel"} if debug_files else "do_one_initcall" in names
        assert bool(debug_files) == any(str(vmlinux) in note for note in image.notes)
    vmlinux.write_bytes(b"")
    assert load(path).debug_files == []


def test_a_map_beside_it_helps_where_nothing_else_does(tmp_path: Path) -> None:
    path, beside = tmp_path / "vmlinuz", tmp_path / "System.map-6.1.0-test"
    path.write_bytes(bzimage(release=RELEASE, payload=b"packed in some way"))
    beside.write_text("ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n")
    image = load(path)
    assert image.later_symbols is not None and image.later_symbols() == []
    beside.write_text("".join(f"ffffffff81{number:06x} T name_{number}\n" for number in range(200)))
    assert [one.name for one in image.later_symbols()][:2] == ["name_0", "name_1"]


def test_no_table_no_symbols() -> None:
    assert list(kallsyms(b"")) == list(kallsyms(bytes(100_000))) == list(kallsyms(table(True)[:5500])) == []
