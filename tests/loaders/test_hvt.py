"""Solo5 unikernels: their notes, and how they start. Source: Solo5, include/solo5 and tenders/hvt."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.errors import LoadError
from kvmdbg.loaders import LoadOptions, load
from kvmdbg.loaders.hvt import notes_of
from kvmdbg.machine.boot import BootState
from kvmdbg.machine.image import Image
from kvmdbg.machine.manifest import BLOCK, NET, Declared, attached, devices

GUEST = Path(__file__).resolve().parents[2] / "guests/hvt.elf"
ABI, MANIFEST = 0x31494241, 0x3154464D
MIB = 1 << 20


def machine(memory: int = 64 * MIB, sectors: tuple[int, ...] = (8,)) -> Any:
    disks = SimpleNamespace(hard_disks=[SimpleNamespace(sectors=count, sector_size=512) for count in sectors])
    return SimpleNamespace(
        memory=SimpleNamespace(size=memory), tsc_hz=2_000_000_000, board=SimpleNamespace(disks=disks)
    )


def start(image: Image, where: Any) -> BootState:
    assert image.start is not None
    return image.start(where)


def patched(tmp_path: Path, old: bytes, new: bytes) -> str:
    data = GUEST.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    found = tmp_path / "patched.elf"
    found.write_bytes(data.replace(old, new))
    return str(found)


def test_it_is_known_by_its_note() -> None:
    assert {kind for kind, _ in notes_of(GUEST.read_bytes())} == {ABI, MANIFEST}
    image = load(GUEST)
    assert (image.format, image.mode) == ("hvt", "long")
    assert [(one.name, one.kind) for one in image.declared] == [("", 1 << 30), ("disk", BLOCK)]
    assert load(GUEST, LoadOptions(format="elf")).format == "elf"


def test_how_it_starts() -> None:
    image = load(GUEST, LoadOptions(cmdline="some words"))
    state = start(image, machine())
    assert state.general["rdi"] == 0x5000 and state.general["rsp"] == 64 * MIB - 8
    assert (state.cr0, state.cr3, state.cr4, state.efer) == (0x80000021, 0x2000, 0x620, 0x500)
    assert (state.segments["cs"].selector, state.segments["cs"].l, state.segments["ss"].selector) == (8, 1, 16)
    assert (state.gdt.base, state.gdt.limit) == (0x1000, 23)
    lies = {one.address: one for one in state.writes}
    info = lies[0x5000].data
    memory, end, hertz, line, manifest = struct.unpack_from("<5Q", info)
    assert (memory, hertz) == (64 * MIB, 2_000_000_000) and end == max(one.end for one in image.segments)
    assert info[line - 0x5000 :] == b"some words\0"
    entry = info[manifest - 0x5000 + 8 + 104 :]
    name, kind, capacity, size, there = struct.unpack_from("<68sIQH14xB", entry)
    assert (name.rstrip(b"\0"), kind, capacity, size, there) == (b"disk", BLOCK, 4096, 512, 1)
    assert lies[0x4000].data == b"".join(struct.pack("<Q", n << 21 | 0x83) for n in range(32))
    assert (lies[0x2000].data, lies[0x3000].data) == (struct.pack("<Q", 0x3003), struct.pack("<Q", 0x4003))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (machine(65 * MIB), "hvt takes memory of whole 2 MiB up to 1 GiB"),
        (machine(2048 * MIB), "hvt takes memory of whole 2 MiB up to 1 GiB"),
        (machine(sectors=()), "declares the block device disk: give it a file by --disk"),
        (machine(sectors=(1, 1)), "declares 1 block devices, and there are 2 disks for them"),
    ],
)
def test_a_machine_that_does_not_suit_it(where: Any, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        start(load(GUEST), where)


NOTE = struct.pack("<3I", 6, 16, ABI) + b"Solo5\0\0\0"


@pytest.mark.parametrize(
    ("target", "version", "message"),
    [(2, 2, "a Solo5 unikernel for spt, not for hvt"), (1, 9, "version 9 of hvt's interface, and there is only 2")],
)
def test_what_is_for_others(tmp_path: Path, target: int, version: int, message: str) -> None:
    path = patched(tmp_path, NOTE + struct.pack("<II", 1, 2), NOTE + struct.pack("<II", target, version))
    with pytest.raises(LoadError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"\1", "cut short"),
        (struct.pack("<II", 2, 0), "manifest of version 2, not 1"),
        (struct.pack("<II", 1, 1), "says that it has 1 entries"),
        (struct.pack("<II", 1, 65) + bytes(104 * 65), "says that it has 65 entries"),
        (struct.pack("<II", 1, 1) + b"\x1b[".ljust(68, b"\0") + struct.pack("<I", 1) + bytes(32), "has no name"),
    ],
)
def test_damaged_manifests(manifest: bytes, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        devices(manifest, "guest")


def test_devices_of_a_manifest() -> None:
    declared = [Declared("a", BLOCK), Declared("net0", NET), Declared("b", BLOCK)]
    made = attached(declared, [1024, 512], "guest")
    assert devices(made, "guest") == declared
    assert struct.unpack_from("<Q", made, 8 + 72) == (1024,)
    assert struct.unpack_from("<Q", made, 8 + 2 * 104 + 72) == (512,)
    assert struct.unpack_from("<6sH", made, 8 + 104 + 72) == (b"RT\0kvm", 1500)
    assert devices(made + bytes(104), "guest") == declared  # the note has room for more than there are
    with pytest.raises(LoadError, match="of the unknown kind 3"):
        attached([Declared("x", 3)], [], "guest")


@pytest.mark.parametrize("options", [LoadOptions(mode="prot"), LoadOptions(entry="0x100000")])
def test_where_it_starts_is_its_own(options: LoadOptions) -> None:
    with pytest.raises(LoadError, match="starts at its own entry in long mode"):
        load(GUEST, options)


def test_a_command_line_that_is_too_long() -> None:
    with pytest.raises(LoadError, match="longer than hvt's 8191 bytes"):
        load(GUEST, LoadOptions(cmdline="x" * 8192))


def test_truncated_files_have_no_notes() -> None:
    data = GUEST.read_bytes()
    for size in range(0, 400, 7):
        assert list(notes_of(data[:size])) == []


def test_a_command_line_that_is_no_utf_8() -> None:
    """It ended with a traceback; other kernels get its bytes."""
    state = start(load(GUEST, LoadOptions(cmdline="a\udcffb")), machine())
    assert any(b"a\xffb\0" in one.data for one in state.writes)
