"""Firmware of others, as Debian has it: SeaBIOS and U-Boot come up to where they say what they have found."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.devices.firmware_log import FirmwareLog
from kvmdbg.devices.pci import BUS_MASTER, BUS_MASTER_BAR, IDE
from kvmdbg.engine.stops import BreakpointStop, HaltedStop, InterruptedStop
from tests.conftest import SOFT
from tests.machines.packages import file_of

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(240)]


def run_until(dbg: Session, text: bytes, seconds: float) -> None:
    """Let the guest run until it has said this."""
    if text in dbg.output:
        return
    found = []

    def look(data: bytes) -> None:
        if text in dbg.output:
            found.append(text)
            dbg.interrupt()

    dbg.listeners.on_output(look)
    stop = dbg.run(timeout=seconds)
    dbg.listeners.remove(look)
    assert found and isinstance(stop, InterruptedStop), f"{stop.describe()}\n{dbg.output.decode(errors='replace')}"


def seabios() -> str:
    return str(file_of("seabios", "usr/share/seabios/bios-256k.bin"))


def log_of(dbg: Session) -> list[str]:
    (log,) = (one for one in dbg.devices if isinstance(one, FirmwareLog))
    return log.lines()


def test_seabios_comes_up(time_scale: float) -> None:
    with kvmdbg.open(bios=seabios(), irqchip=True, memory="64M") as dbg:
        reset = dbg.break_at("*0xfe05b")
        stop = dbg.run(timeout=20 * time_scale)
        assert isinstance(stop, BreakpointStop) and stop.breakpoints == (reset,)
        assert dbg.vcpu.cs_ip == (0xF000, 0xE05B)
        run_until(dbg, b"No bootable device", 60 * time_scale)
        said = log_of(dbg)
        assert "Running on QEMU (i440fx)" in said and "QEMU fw_cfg DMA interface supported" in said
        assert "Found 1 cpu(s) max supported 1 cpu(s)" in said
        assert "  3: 0000000000100000 - 0000000003ffe000 = 1 RAM" in said  # its ACPI tables behind it
        assert reset.hits == 1


def test_u_boot_comes_up(time_scale: float) -> None:
    rom = file_of("u-boot-qemu", "usr/lib/u-boot/qemu-x86/u-boot.rom")
    with kvmdbg.open(bios=rom, irqchip=True, memory="64M") as dbg:
        run_until(dbg, b"Model: QEMU x86 (I440FX)", 60 * time_scale)
        assert b"DRAM:  64 MiB" in dbg.output


BOOT_SECTOR = """
        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        sti
        mov drive, dl
        mov si, offset hello
        call say
        mov ax, 0x0202          # read sectors 2 and 3
        mov cx, 2
        call sectors
        mov si, 0x8000
        call say
        mov si, 0x8200
        call say
        mov ax, 0x0302          # write them to 4 and 5, and read the second one back
        mov cx, 4
        call sectors
        mov ax, 0x0201
        mov cx, 5
        call sectors
        mov si, 0x8000
        call say
        mov si, offset done
        call say
again:  hlt
        jmp again
sectors:
        mov bx, 0x8000
        mov dh, 0
        mov dl, drive
        int 0x13
        jnc 1f
        mov si, offset failed
        call say
1:      ret
say:    lodsb
        test al, al
        jz 1b
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        jmp say
drive:  .byte 0
hello:  .asciz "boot sector; "
failed: .asciz "failed; "
done:   .asciz "done\\r\\n"
        .org 510
        .byte 0x55, 0xaa
        .asciz "sector two; "
        .org 1024
        .asciz "sector three; "
        .org 1474560
"""


GUESTS = Path(__file__).resolve().parents[2] / "guests"


def test_firmware_of_our_own(time_scale: float) -> None:
    with kvmdbg.open(bios=GUESTS / "rom.bin", memory="48M") as dbg:
        told: list[str] = []
        dbg.listeners.on_warning(told.append)
        assert isinstance(dbg.run(timeout=20 * time_scale), HaltedStop)
        assert dbg.output == b"firmware of 4 KiB; memory: 48 MiB; ab\n" and len(told) == 1


def test_a_kernel_with_an_ide_driver(tmp_path: Path, time_scale: float) -> None:
    for name, text, size in (
        ("one", b"the first disk\n", 1 << 20),
        ("two", b"another\n", 1 << 21),
        ("cd", b"a CD", 40960),
    ):
        (tmp_path / name).write_bytes(text.ljust(size, b"\0"))
    disks, cdrom = [str(tmp_path / "one"), str(tmp_path / "two")], str(tmp_path / "cd")
    exit = "isa-debug-exit,iobase=0xf4"
    with kvmdbg.open(GUESTS / "ide.elf", disks=disks, cdrom=cdrom, devices=[exit], memory="16M") as dbg:
        dbg.run(timeout=20 * time_scale)
        assert dbg.output.decode().splitlines() == [
            "channel 0, drive 0: kvmdbg disk hd0, 2048 sectors",
            "  first sector: the first disk",
            "  copied to the last sector",
            "channel 0, drive 1: kvmdbg disk hd1, 4096 sectors",
            "  first sector: another",
            "  copied to the last sector",
            "channel 1, drive 0: kvmdbg CD drive",
            "  first block: a CD",
            "done",
        ]
        reads = dbg.exits.by_port["in", 0x1F0]
        assert SOFT or reads <= 8  # each sector is one exit, and not one for each of its words


@pytest.fixture
def disk_image(tmp_path: Path) -> str:
    """Of 1.44 MB: a boot sector that reads and writes by the BIOS and says what it finds."""
    flat, _ = from_assembly(BOOT_SECTOR, tmp_path, address=0x7C00)
    return str(flat)


SAID = b"boot sector; sector two; sector three; sector three; done"


@pytest.mark.parametrize("irqchip", ["user", "kernel"])
def test_seabios_boots_a_disk(disk_image: str, irqchip: str, time_scale: float) -> None:
    with kvmdbg.open(bios=seabios(), irqchip=irqchip, memory="64M", disks=[disk_image]) as dbg:
        dbg.break_at("*0x7c00")
        stop = dbg.run(timeout=60 * time_scale)
        assert isinstance(stop, BreakpointStop) and dbg.registers.get("rdx") & 0xFF == 0x80
        run_until(dbg, SAID, 60 * time_scale)
        assert dbg.machine.board.pci[IDE].decodes(BUS_MASTER_BAR, BUS_MASTER), "drives have DMA then"
        assert any(line.startswith("ata0-0: kvmdbg disk hd0 ATA-6 Hard-Disk") for line in log_of(dbg))
        assert b"failed" not in dbg.output and dbg.machine.board.disks.hard_disks[0].changed == 2


def test_seabios_boots_a_floppy(disk_image: str, time_scale: float) -> None:
    """It waits for the drive by the TSC, which goes on where a busy host does not let the vCPU run: then once more."""
    with kvmdbg.open(bios=seabios(), memory="64M", floppies=[disk_image]) as dbg:
        dbg.break_at("*0x7c00")
        told = 0
        while not isinstance(dbg.run(timeout=5 * time_scale), BreakpointStop):  # pytest ends what takes too long
            late = sum("Timeout at floppy_wait_irq" in line for line in log_of(dbg))
            if late > told:
                told = late
                dbg.restart()
        assert dbg.vcpu.pc == 0x7C00 and dbg.regs.rdx & 0xFF == 0
        run_until(dbg, b"boot sector; ", 80 * time_scale)


def test_text_on_the_screen_by_a_video_bios(disk_image: str, time_scale: float) -> None:
    """Its ROM comes by fw_cfg, and the boot sector is stopped at and put back on the way."""
    video = file_of("seabios", "usr/share/seabios/vgabios-isavga.bin")
    files = {"vgaroms/vgabios.bin": video}
    with kvmdbg.open(bios=seabios(), memory="64M", disks=[disk_image], fw_cfg=files) as dbg:
        dbg.add_symbols(str(Path(disk_image).with_suffix(".elf")))
        start = dbg.break_at("*0x7c00", temporary=True)
        stop = dbg.run(timeout=60 * time_scale)
        assert isinstance(stop, BreakpointStop) and stop.breakpoints == (start,)
        dbg.snapshots.save("boot")
        dbg.break_at("again")
        for _ in range(2):
            assert isinstance(dbg.run(timeout=60 * time_scale), BreakpointStop)
            assert SAID.decode() in dbg.screen()[2]
            dbg.snapshots.restore("boot")
            assert SAID.decode() not in dbg.screen()[2]


def iso(boot: bytes) -> bytes:
    """A CD whose boot image is loaded without emulating a floppy (El Torito 1.0)."""
    volume = b"\1CD001\1".ljust(2048, b"\0")
    record = b"\0CD001\1EL TORITO SPECIFICATION".ljust(0x47, b"\0") + (19).to_bytes(4, "little")
    entry = bytearray(b"\1\0\0\0".ljust(28, b"\0") + b"\0\0\x55\xaa")
    total = sum(int.from_bytes(entry[at : at + 2], "little") for at in range(0, 32, 2))
    entry[28:30] = (-total & 0xFFFF).to_bytes(2, "little")
    catalog = bytes(entry) + b"\x88\0\0\0\0\0" + (4).to_bytes(2, "little") + (20).to_bytes(4, "little")
    sectors = [volume, record, b"\xffCD001\1", catalog]
    return bytes(16 * 2048) + b"".join(one.ljust(2048, b"\0") for one in sectors) + boot.ljust(2048, b"\0")


def test_seabios_boots_a_cd(tmp_path: Path, disk_image: str, time_scale: float) -> None:
    (tmp_path / "boot.iso").write_bytes(iso(Path(disk_image).read_bytes()[:2048]))
    with kvmdbg.open(bios=seabios(), memory="64M", cdrom=str(tmp_path / "boot.iso")) as dbg:
        run_until(dbg, b"Booting from DVD/CD...", 60 * time_scale)
        run_until(dbg, b"boot sector; ", 60 * time_scale)
        assert "DVD/CD [ata1-0: kvmdbg CD drive ATAPI-6 DVD/CD]" in log_of(dbg)
