"""GRUB and SYSLINUX from the distribution's packages, on a floppy or a CD, to their first prompt or text."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from tests.conftest import TIME_SCALE
from tests.machines.packages import file_of

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(300)]
FLOPPY = 1440 * 1024
EMULATED = os.environ.get("KVMDBG_MACHINE") == "kvm_amd"
"""On an emulated machine whose KVM runs kernel code, as a real host's does, and does not interpret it."""


def run_until(dbg: Session, seen: str) -> None:
    """Run until that is on the screen."""
    until = time.monotonic() + 200 * TIME_SCALE
    while seen not in "\n".join(dbg.screen()):
        stop = dbg.run(timeout=2)
        assert isinstance(stop, stops.LimitStop), (stop.describe(), dbg.screen())
        assert time.monotonic() < until, dbg.screen()


def grub(folder: Path) -> Path:
    """A floppy with GRUB's first sector and, right behind it, its core."""
    first = file_of("grub-pc-bin", "usr/lib/grub/i386-pc/boot.img")
    library = file_of("libdevmapper1.02.1", "lib/x86_64-linux-gnu/libdevmapper.so.1.02.1")
    subprocess.run(
        [file_of("grub-common", "usr/bin/grub-mkimage"), "-d", first.parent, "-O", "i386-pc", "-p", "/", "-o",
         folder / "core.img", "biosdisk"],
        check=True, env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)},
    )  # fmt: skip
    floppy = folder / "grub.img"
    floppy.write_bytes((first.read_bytes() + (folder / "core.img").read_bytes()).ljust(FLOPPY, b"\0"))
    return floppy


def test_grub(tmp_path: Path) -> None:
    """It is stopped at its first call, and its prompt takes a command that was typed meanwhile."""
    with kvmdbg.open(grub(tmp_path), serial="none") as dbg:
        read = dbg.catch("bios", interrupt=0x13)
        stop = dbg.run(timeout=60 * TIME_SCALE)
        assert isinstance(stop, stops.CaughtStop), stop.describe()
        read.enabled = False
        assert "int 0x13, AH=0x41" in stop.describe()
        dbg.type("ls\n")
        run_until(dbg, "grub rescue> ls")
        run_until(dbg, "(fd0)")
        assert "error: unknown filesystem." in dbg.screen()


def test_a_cd_of_grub() -> None:
    """As grub-mkrescue makes it: its menu from the CD, then a prompt that lists what is there.

    In software where KVM would emulate it, which takes over a minute to unpack GRUB.
    """
    cd = file_of("grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-cdrom.iso")
    with kvmdbg.open(cd, serial="none", engine="kvm" if EMULATED else "soft") as dbg:
        run_until(dbg, "*GNU/Linux")
        dbg.type("c")
        run_until(dbg, "grub>")
        dbg.type("ls\n")
        run_until(dbg, "grub> ls")
        run_until(dbg, "(cd)")


def test_syslinux(tmp_path: Path) -> None:
    """To the text of its configuration: it has read its own modules by then. Without interrupts, as it lets them in in
    protected mode, where not every KVM runs iret.
    """
    tools = file_of("mtools", "usr/bin/mtools").parent
    around = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    floppy, configuration = tmp_path / "syslinux.img", tmp_path / "syslinux.cfg"
    configuration.write_text("SAY hello from the configuration\nPROMPT 1\nDEFAULT none\n")
    floppy.write_bytes(bytes(FLOPPY))
    for command in (
        [tools / "mformat", "-i", floppy, "-f", "1440", "::"],
        [tools / "mcopy", "-i", floppy, configuration, "::"],
        [file_of("syslinux", "usr/bin/syslinux"), "--install", floppy],
    ):
        subprocess.run(command, check=True, env=around)
    with kvmdbg.open(floppy, serial="none", irqchip="none") as dbg:
        run_until(dbg, "hello from the configuration")
        assert any(line.startswith("SYSLINUX 6") for line in dbg.screen())
