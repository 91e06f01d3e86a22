"""Programs of others, from the distribution's packages: memdisk, memtest86+ and iPXE, as if they were Linux; Xen."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from tests.conftest import SOFT, TIME_SCALE
from tests.machines.packages import file_of

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(300)]
EMULATED = os.environ.get("KVMDBG_MACHINE") == "kvm_amd"
"""On an emulated machine whose KVM runs kernel code, as a real host's does, and does not interpret it."""
BOOTED = """
    mov ax, 0x0201; mov cx, 2; xor dx, dx; mov bx, 0x8000; xor si, si; mov es, si; mov ds, si; int 0x13; jc 2f
    mov si, 0x8000; 1: lodsb; test al, al; jz 2f; mov ah, 14; int 0x10; jmp 1b
    2: cli; hlt; .org 510; .byte 0x55, 0xaa; .asciz "booted from memory"
"""


def run_until(dbg: Session, seen: str) -> stops.Stop:
    """Run until a row of the screen begins with that, or the guest stops."""
    until = time.monotonic() + 200 * TIME_SCALE
    while True:
        stop = dbg.run(timeout=2)
        if not isinstance(stop, stops.LimitStop) or any(line.strip().startswith(seen) for line in dbg.screen()):
            return stop
        assert time.monotonic() < until, (stop.describe(), dbg.screen())


def test_memdisk_boots_a_floppy_out_of_memory(tmp_path: Path) -> None:
    """It is entered at its setup part though it names a 32-bit entry, and hooks int 13h and int 15h."""
    floppy, _ = from_assembly(BOOTED, tmp_path, address=0x7C00)
    image = tmp_path / "floppy.img"
    image.write_bytes(floppy.read_bytes().ljust(1440 * 1024, b"\0"))
    program = file_of("syslinux-common", "usr/lib/syslinux/memdisk")
    with kvmdbg.open(program, initrd=image, serial="none") as dbg:
        stop = run_until(dbg, "booted from memory")
        assert isinstance(stop, stops.HaltedStop | stops.LimitStop), stop.describe()
        screen = dbg.screen()
        assert any(line.startswith("MEMDISK") for line in screen)
        assert any(line.endswith("booted from memory") for line in screen), screen


def test_memtest86(tmp_path: Path) -> None:
    """To its screen; a KVM that does not run all instructions names the one at which it ends."""
    with kvmdbg.open(file_of("memtest86+", "boot/memtest86+x64.bin"), serial="none") as dbg:
        stop = run_until(dbg, "Memtest86+ v")
        if isinstance(stop, stops.EmulationFailureStop):
            assert not EMULATED and stop.text == "wait"
        else:
            assert isinstance(stop, stops.LimitStop), stop.describe()


def test_ipxe() -> None:
    """To its banner. A KVM that emulates kernel code takes minutes to unpack it, and is seen to be at that."""
    with kvmdbg.open(file_of("ipxe", "boot/ipxe.lkrn"), serial="none") as dbg:
        stop = run_until(dbg, "iPXE 1") if EMULATED else dbg.run(timeout=1)
        assert isinstance(stop, stops.LimitStop), stop.describe()
        assert dbg.state == "stopped"


def test_xen() -> None:
    """To what it wants and has not: a kernel for its dom0. It takes the first word of its command line as its own name.

    A KVM that emulates kernel code ends before its first line, at an instruction of shadow stacks that is a nop.
    """
    xen = file_of("xen-hypervisor-4.17-amd64", "boot/xen-4.17-amd64.gz")
    options = "xen com1=115200,8n1 console=com1 loglvl=all noreboot"
    if not (EMULATED or SOFT):
        with kvmdbg.open(xen, cmdline=options, memory="512M", serial="none") as dbg:
            stop = dbg.run(timeout=100 * TIME_SCALE)
            assert isinstance(stop, stops.EmulationFailureStop) and stop.text.startswith("rdsspq"), stop.describe()
            assert dbg.output == b""
    with kvmdbg.open(xen, cmdline=options, memory="512M", serial="none", engine="" if EMULATED else "soft") as dbg:
        stop = dbg.run(timeout=100 * TIME_SCALE)
        assert isinstance(stop, stops.HaltedStop), stop.describe()
        lines = dbg.output.decode().splitlines()
        assert lines[0].startswith("(XEN) Xen version 4.17")
        assert "(XEN) Bootloader: kvmdbg" in lines
        assert f"(XEN) Command line: {options.removeprefix('xen ')}" in lines
        assert "(XEN)  VGA is text mode 80x25, font 8x16" in lines
        assert "(XEN) dom0 kernel not specified. Check bootloader configuration" in lines
