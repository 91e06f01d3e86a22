"""Firmware of others, as Debian has it: SeaBIOS and U-Boot come up to where they say what they have found."""

from __future__ import annotations

import pytest

import kvmdbg
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
