"""CDs that boot: code, a floppy and a hard disk on them, and ISOLINUX."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from kvmdbg.errors import KvmdbgError
from tests.firmware.iso import FILES, cd, with_boot_table
from tests.machines.packages import file_of

pytestmark = pytest.mark.kvm
PRINT = "1: lodsb; test al, al; jz 2f; mov ah, 14; mov bx, 7; int 0x10; jmp 1b; 2: cli; hlt"
SIZES = {1: 1200, 2: 1440, 3: 2880}


def assembled(source: str, folder: Path, address: int = 0x7C00) -> bytes:
    flat, _ = from_assembly(source, folder, address=address)
    return flat.read_bytes()


def opened(image: bytes, folder: Path, **options: object) -> kvmdbg.Session:
    (folder / "cd.iso").write_bytes(image)
    return kvmdbg.open(folder / "cd.iso", serial="none", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("segment", [0, 0x1000])
def test_code_is_loaded_and_reads_the_cd(tmp_path: Path, segment: int) -> None:
    address = segment << 4 or 0x7C00
    source = (
        f"mov ax, {address >> 4 & 0xF000}; mov ds, ax; mov si, offset packet; mov ah, 0x42; int 0x13;"
        f"jc 2f; xor ax, ax; mov ds, ax; mov si, 0x9000; {PRINT}; .align 4;"
        f"packet: .byte 16, 0; .word 1; .word 0x9000; .word 0; .long {FILES}; .long 0; .org 3000; .byte 0x77"
    )
    code = assembled(source, tmp_path, address & 0xFFFF)
    with opened(cd({"TEXT.TXT": b"from the cd\0"}, code, sectors=6, segment=segment), tmp_path) as dbg:
        assert (dbg.regs.dl, dbg.vcpu.pc) == (0xE0, address)
        assert dbg.memory[address + 3000] == 0x77
        assert isinstance(dbg.run(timeout=20), stops.HaltedStop)
        assert dbg.screen()[0] == "from the cd"


@pytest.mark.parametrize("media", [1, 2, 3, 4])
def test_a_disk_on_a_cd(tmp_path: Path, media: int) -> None:
    read = "mov ax, 0x0201; mov cx, 2; mov dh, 0; mov bx, 0x9000; int 0x13; jc 2f; mov si, bx"
    sector = assembled(f"{read}; {PRINT}; .org 510; .byte 0x55, 0xaa", tmp_path)
    disk = (sector + b"second sector\0").ljust(SIZES.get(media, 1440) * 1024, b"\0")
    with opened(cd({}, disk, media=media), tmp_path) as dbg:
        assert dbg.regs.dl == (0x80 if media == 4 else 0)
        assert isinstance(dbg.run(timeout=20), stops.HaltedStop)
        assert dbg.screen()[0] == "second sector"
    with kvmdbg.open(cdrom=str(tmp_path / "cd.iso"), serial="none") as dbg:
        dbg.run(timeout=20)
        assert dbg.screen()[0] == "second sector"


def test_a_hybrid_is_a_cd_and_on_a_stick_a_hard_disk(tmp_path: Path) -> None:
    """As most installers come: a master boot record before the CD's own descriptors."""
    code = assembled(f'mov si, offset text; {PRINT}; text: .asciz "as a cd"', tmp_path)
    record = assembled(f'mov si, offset text; {PRINT}; text: .asciz "as a disk"; .org 446', tmp_path)
    image = bytearray(cd({}, code))
    image[:512] = record + bytes.fromhex("80000100 17010100 00000000 58000000") + bytes(48) + b"\x55\xaa"
    path = tmp_path / "hybrid.iso"
    path.write_bytes(image)
    for options, drive, seen in (
        ({"path": path}, 0xE0, "as a cd"),
        ({"cdrom": str(path)}, 0xE0, "as a cd"),
        ({"disks": [str(path)]}, 0x80, "as a disk"),
    ):
        with kvmdbg.open(serial="none", **options) as dbg:  # type: ignore[arg-type]
            assert dbg.regs.dl == drive
            assert isinstance(dbg.run(timeout=20), stops.HaltedStop)
            assert dbg.screen()[0] == seen


def test_a_cd_without_anything_to_boot(tmp_path: Path) -> None:
    image = bytearray(cd({"A": b"a"}, b"code"))
    image[17 * 2048 : 18 * 2048] = bytes(2048)
    with pytest.raises(KvmdbgError, match=r"is a CD image .*: nothing on it is for a BIOS to boot; --cdrom"):
        opened(bytes(image), tmp_path)
    with pytest.raises(KvmdbgError, match="nothing can be booted"):
        kvmdbg.open(cdrom=str(tmp_path / "cd.iso"))


@pytest.mark.parametrize("what", ["first", "catalog", "checksum", "cut"])
def test_a_damaged_cd(tmp_path: Path, what: str) -> None:
    image = bytearray(cd({"A": b"a"}, b"code"))
    if what == "first":
        image[19 * 2048 + 40 : 19 * 2048 + 44] = b"\xff\xff\xff\0"
    elif what == "catalog":
        image[17 * 2048 + 0x47 : 17 * 2048 + 0x4B] = b"\xff\xff\xff\xff"
    elif what == "checksum":
        image[19 * 2048 + 5] ^= 1
    else:
        del image[19 * 2048 :]
    with pytest.raises(KvmdbgError) as raised:
        opened(bytes(image), tmp_path)
    assert str(tmp_path / "cd.iso") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.timeout(240)
def test_isolinux(tmp_path: Path) -> None:
    """To the text of its configuration: it has read the CD's file system and its own modules by int 13h by then.

    Without interrupts, for it lets them in in protected mode, where not every KVM runs iret.
    """
    code = file_of("isolinux", "usr/lib/ISOLINUX/isolinux.bin").read_bytes()
    module = file_of("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32").read_bytes()
    files = {
        "ISOLINUX.CFG": b"SAY hello from the configuration\nDEFAULT t\nLABEL t\n KERNEL T.BS\n",
        "LDLINUX.C32": module,
    }
    at = FILES + sum(-(-len(data) // 2048) for data in files.values())
    with opened(cd(files, with_boot_table(code, at)), tmp_path, irqchip="none") as dbg:
        dbg.run(timeout=2)
        for _ in range(60):
            if "hello from the configuration" in dbg.screen():
                break
            dbg.run(timeout=3)
        assert any(line.startswith("ISOLINUX 6") for line in dbg.screen())
        assert "hello from the configuration" in dbg.screen()
