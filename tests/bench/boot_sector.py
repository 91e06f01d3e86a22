"""Boot sectors: from the start of the whole process to the first output, beside QEMU with SeaBIOS."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import kvmdbg
from tests.bench.effort import Effort
from tests.machines import boot

# mov dx, 0x3f8; mov al, 'X'; out dx, al; cli; hlt
FIRST_OUTPUT = bytes.fromhex("baf803 b058 ee fa f4")
TELETYPE = bytes.fromhex("b9 0000 b8580e bb0700 cd10 e2f6 fa f4")
"""mov cx, COUNT; again: mov ax, 0x0e58; mov bx, 7; int 0x10; loop again; cli; hlt"""
PATIENCE = 10.0
"""Seconds after which QEMU is taken not to start a guest with this accelerator here."""


def sector(code: bytes) -> bytes:
    return code.ljust(510, b"\0") + b"\x55\xaa"


def seconds_to_first_byte(arguments: Sequence[str]) -> float:
    """Until a process writes to its standard output; TimeoutError after PATIENCE."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(arguments, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=environment) as child:
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        try:
            while time.perf_counter() - begin < PATIENCE:
                if found := child.stdout.read(1):
                    assert found == b"X", found
                    return time.perf_counter() - begin
                if child.poll() is not None and not child.stdout.read(1):
                    raise TimeoutError(f"{arguments[0]} has ended without output")
                time.sleep(0.0005)
        finally:
            child.kill()
    raise TimeoutError(f"{arguments[0]} has written nothing for {PATIENCE:g} s")


def _qemu(accelerator: str, image: Path) -> list[str]:
    drive = f"format=raw,if=floppy,readonly=on,file={image}"
    shown = ["-display", "none", "-monitor", "none", "-serial", "stdio", "-net", "none", "-boot", "a"]
    return ["qemu-system-x86_64", "-accel", accelerator, "-drive", drive, *shown]


@functools.cache
def accelerator(image: Path) -> str:
    """The one with which QEMU is faster here: KVM, or its own emulator."""
    if not shutil.which("qemu-system-x86_64"):
        boot.install(["qemu-system-x86"])
    taken = {}
    for one in ("kvm", "tcg"):
        try:
            taken[one] = min(seconds_to_first_byte(_qemu(one, image)) for _ in range(2))
        except TimeoutError:
            continue
    return min(taken, key=lambda one: taken[one])


def first_output(program: Path, effort: Effort) -> tuple[float, float]:
    image = program.parent / "sector.img"
    if not image.exists():
        image.write_bytes(sector(FIRST_OUTPUT))
        seconds_to_first_byte([sys.executable, "-m", "kvmdbg", "--batch", "--run", str(image)])  # it is compiled now
    theirs = seconds_to_first_byte(_qemu(accelerator(image), image))
    ours = seconds_to_first_byte([sys.executable, "-m", "kvmdbg", "--batch", "--run", str(image)])
    return ours * 1e3, theirs * 1e3


def teletype_calls(effort: Effort) -> float:
    """Calls of int 10h, AH=0Eh, a second."""
    count = effort.count(20_000)
    with tempfile.NamedTemporaryFile(suffix=".img") as file:
        file.write(sector(TELETYPE.replace(b"\xb9\0\0", b"\xb9" + count.to_bytes(2, "little"))))
        file.flush()
        with kvmdbg.open(file.name) as dbg:
            begin = time.perf_counter()
            stop = dbg.run()
            spent = time.perf_counter() - begin
            assert stop.reason == "halted", stop.describe()
            assert not dbg.regs.cx, dbg.regs.cx
    return count / spent
