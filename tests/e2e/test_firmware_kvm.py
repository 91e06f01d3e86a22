"""Firmware of others, as Debian has it: SeaBIOS and U-Boot come up to where they say what they have found."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.devices.firmware_log import FirmwareLog
from kvmdbg.engine.stops import BreakpointStop, InterruptedStop
from tests.machines.packages import file_of

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(120)]


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
        assert "  3: 0000000000100000 - 0000000004000000 = 1 RAM" in said
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


@pytest.fixture
def disk_image(tmp_path: Path) -> str:
    """Of 1.44 MB: a boot sector that reads and writes by the BIOS and says what it finds."""
    flat, _ = from_assembly(BOOT_SECTOR, tmp_path, address=0x7C00)
    return str(flat)


SAID = b"boot sector; sector two; sector three; sector three; done"


def test_seabios_boots_a_disk(disk_image: str, time_scale: float) -> None:
    with kvmdbg.open(bios=seabios(), irqchip=True, memory="64M", disks=[disk_image]) as dbg:
        dbg.break_at("*0x7c00")
        stop = dbg.run(timeout=60 * time_scale)
        assert isinstance(stop, BreakpointStop) and dbg.registers.get("rdx") & 0xFF == 0x80
        run_until(dbg, SAID, 60 * time_scale)
        assert any(line.startswith("ata0-0: kvmdbg disk hd0 ATA-6 Hard-Disk") for line in log_of(dbg))
        assert b"failed" not in dbg.output and dbg.machine.board.disks.hard[0].changed == 2
