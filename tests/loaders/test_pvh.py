from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders import Entry, LoadOptions, load
from kvmdbg.loaders.pvh import Pvh, entry_of
from kvmdbg.machine.boot import boot_state
from tests.loaders.elf_images import ElfImage
from tests.loaders.linux_images import bzimage, pvh, pvh_note

Write = Callable[[bytes], str]
MIB = 1 << 20


def test_entry_is_the_note_s(image_file: Write) -> None:
    image = load(image_file(pvh(b"\x90\xf4", entry=0x100001)), LoadOptions(cmdline="words"))
    assert (image.format, image.mode, image.entry) == ("pvh", "prot", Entry(None, 0x100001))
    assert not image.interrupts and image.notes == []
    other = pvh(notes=pvh_note(1, owner=b"GNU\0") + pvh_note(1, kind=3) + pvh_note(0x100000, size=8))
    assert entry_of(other) == 0x100000
    assert load(image_file(pvh(notes=pvh_note(1, owner=b"GNU\0")))).format == "elf"


def test_start_information(image_file: Write, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"d" * 100)
    (tmp_path / "m1").write_bytes(b"m" * 5000)
    options = LoadOptions(cmdline="hello", initrd=str(tmp_path / "disk"), modules=[f"{tmp_path / 'm1'} with words"])
    image = load(image_file(pvh()), options)
    first, second = image.segments[-2:]
    assert (first.data, second.data, second.address - first.address) == (b"d" * 100, b"m" * 5000, 0x1000)
    state = boot_state(image, options, 128 * MIB)
    (made,) = [one for one in state.writes if one.name == "PVH start information"]
    assert state.general["rbx"] == made.address

    def text(at: int) -> bytes:
        return made.data[at - made.address :].partition(b"\0")[0]

    magic, version, _, count, modules, command, rsdp, areas, number, _ = struct.unpack_from("<IIIIQQQQII", made.data)
    assert (magic, version, count, rsdp, number) == (0x336EC578, 1, 2, 0, 3)
    assert text(command) == b"hello"
    listed = [struct.unpack_from("<QQQQ", made.data, modules - made.address + 32 * n) for n in (0, 1)]
    assert listed[0] == (first.address, 100, 0, 0)
    assert listed[1][:2] == (second.address, 5000) and text(listed[1][2]) == f"{tmp_path / 'm1'} with words".encode()
    assert struct.unpack_from("<QQII", made.data, areas - made.address) == (0, 0x9FC00, 1, 0)


def test_linux_is_told_to_stay_where_it_is(image_file: Write) -> None:
    image = load(image_file(pvh(b"\xf4Linux version 6.1")))
    assert image.interrupts and len(image.notes) == 2


def test_a_bzimage_is_unpacked_when_asked_for(image_file: Write) -> None:
    import lzma

    path = image_file(bzimage(payload=lzma.compress(pvh())))
    assert load(path).format == "bzimage"
    assert load(path, LoadOptions(format="pvh")).entry == Entry(None, 0x100000)
    assert load(path, LoadOptions(format="elf")).mode == "long"
    with pytest.raises(LoadError, match="packed in a way that kvmdbg cannot unpack"):
        load(image_file(bzimage(payload=b"LZO?" + bytes(100))), LoadOptions(format="pvh"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (LoadOptions(mode="long"), LoadError, "use --format elf for long"),
        (LoadOptions(load=0), LoadError, "--load is for flat images"),
        (LoadOptions(modules=["/nowhere/at all"]), LoadError, "cannot read /nowhere/at: No such file"),
        (LoadOptions(modules=[" "]), UsageError, "--module needs a file"),
        (LoadOptions(modules=["'x"]), UsageError, "No closing quotation"),
        (LoadOptions(initrd="/nowhere/x"), LoadError, "cannot read /nowhere/x: No such file"),
    ],
)
def test_refused(image_file: Write, options: LoadOptions, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(image_file(pvh()), options)


def test_modules_need_memory(image_file: Write, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(bytes(3 * MIB))
    with pytest.raises(LoadError, match=r"^the module .* does not fit the memory behind .*: give more --memory$"):
        load(image_file(pvh()), LoadOptions(memory=2 * MIB, modules=[str(tmp_path / "m")]))


@given(st.binary(max_size=200), st.integers(0, 300))
def test_damaged_files_give_one_error_or_an_image(noise: bytes, at: int) -> None:
    data = bytearray(pvh(bytes(100)))
    data[at : at + len(noise)] = noise
    if Pvh().recognise(bytes(data)):
        try:
            boot_state(Pvh().load(bytes(data), "guest", LoadOptions()), LoadOptions(), 128 * MIB)
        except LoadError as error:
            assert "guest" in str(error)


def test_an_elf_file_without_notes_has_no_entry() -> None:
    assert entry_of(ElfImage().build()) is None
    assert entry_of(b"\x7fELF") is None
