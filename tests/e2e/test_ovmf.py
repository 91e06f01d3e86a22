"""UEFI as Debian has it: OVMF starts an application of our own from a disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from tests.conftest import TIME_SCALE
from tests.machines.packages import file_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EMULATED = os.environ.get("KVMDBG_MACHINE") == "kvm_amd"
"""On an emulated machine whose KVM runs kernel code, as a real host's does, and does not interpret it."""
APPLICATION = """
        .ascii "MZ"
        .org 0x3c
        .long 0x40
        .ascii "PE\\0\\0"
        .short 0x8664, 1                # x86-64, one section
        .long 0, 0, 0
        .short 0xf0, 0x22               # executable, any addresses
        .short 0x20b, 0                 # PE32+
        .long 0x200, 0, 0, 0x1000, 0x1000       # size of the code; where it begins
        .quad 0
        .long 0x1000, 0x200, 0, 0, 0, 0
        .long 0x2000, 0x200, 0          # sizes of the image, of the header
        .short 10, 0                    # a UEFI application
        .quad 0, 0, 0, 0
        .long 0, 16
        .zero 128
        .ascii ".text\\0\\0\\0"
        .long 0x200, 0x1000, 0x200, 0x200, 0, 0, 0, 0x60000020
        .org 0x200
start:  push rbx
        sub rsp, 0x40
        mov rbx, rdx                    # the system table
        mov ecx, 0x80000000             # a timer
        xor edx, edx
        xor r8, r8
        xor r9, r9
        lea rax, [rsp + 0x30]
        mov [rsp + 0x20], rax
        mov rax, [rbx + 0x60]
        call [rax + 80]                 # CreateEvent
        mov rcx, [rsp + 0x30]
        mov edx, 2
        mov r8d, 500000                 # in 50 ms
        mov rax, [rbx + 0x60]
        call [rax + 88]                 # SetTimer
        mov ecx, 1
        lea rdx, [rsp + 0x30]
        lea r8, [rsp + 0x38]
        mov rax, [rbx + 0x60]
        call [rax + 96]                 # WaitForEvent
        mov rcx, [rbx + 0x40]
        lea rdx, text[rip]
        call [rcx + 8]                  # OutputString
        mov ecx, 2
        xor edx, edx
        xor r8, r8
        xor r9, r9
        mov rax, [rbx + 0x58]
        call [rax + 104]                # ResetSystem, to be off
text:   .string16 "It has waited by its timer."
        .org 0x400
"""


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """A FAT file system with the application where UEFI looks for one."""
    program, _ = from_assembly(APPLICATION, tmp_path, mode="long", address=0)
    image, tools = tmp_path / "disk.img", file_of("mtools", "usr/bin/mtools").parent
    image.write_bytes(bytes(8 << 20))
    for command in (
        ["mformat", "-h", "16", "-s", "63", "-t", "16", "-i", image, "::"],
        ["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"],
        ["mcopy", "-i", image, program, "::/EFI/BOOT/BOOTX64.EFI"],
    ):
        subprocess.run([tools / str(command[0]), *command[1:]], check=True)
    return str(image)


def says_hello(dbg: kvmdbg.Session, stop: stops.Stop) -> None:
    assert b'starting Boot0001 "UEFI kvmdbg disk hd0' in dbg.output, (stop.describe(), dbg.output)
    assert b"It has waited by its timer." in dbg.output, (stop.describe(), dbg.output)
    assert isinstance(stop, stops.ExitedStop) and stop.status == 0, stop.describe()
    assert "switched the machine off (port 0xb004)" in stop.describe()


def test_on_the_software_engine(disk: str) -> None:
    bios = file_of("ovmf", "usr/share/ovmf/OVMF.fd")
    with kvmdbg.open(bios=bios, disks=[disk], memory="128M", serial="none", engine="soft") as dbg:
        with pytest.warns(RuntimeWarning, match="wrote to ROM"):  # it looks whether it lies in flash
            stop = dbg.run(timeout=550)
        says_hello(dbg, stop)


@pytest.mark.kvm
@pytest.mark.kvm_alone
def test_on_kvm(disk: str) -> None:
    """A KVM that does not run all instructions names the one at which it ends."""
    bios = file_of("ovmf", "usr/share/ovmf/OVMF.fd")
    with kvmdbg.open(bios=bios, disks=[disk], memory="128M", serial="none", engine="kvm", irqchip="user") as dbg:
        dbg.world.guest_rate = 0.1 if EMULATED else 1.0  # a tick while another is served ends the emulator at mov cr8
        stop = dbg.run(timeout=100 * TIME_SCALE)
        if isinstance(stop, stops.EmulationFailureStop):
            assert not EMULATED and stop.text == "wait"
        else:
            says_hello(dbg, stop)
