"""Small programs with debug information, compiled as each test wants them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROGRAMS = Path(__file__).parent
FREESTANDING = (
    "-O0 -g -ffreestanding -fno-pie -no-pie -nostdlib -static -fno-stack-protector -fcf-protection=none "
    "-Wl,--build-id=none -Wl,-Ttext=0x100000"
)


def build(folder: Path, *sources: str, flags: str = "", name: str = "program.elf", bits: int = 32) -> Path:
    """An ELF file of sources in this folder, with ``start32.S`` or ``start64.S``, which call kmain.

    ``flags`` are for the compiler.
    """
    made = folder / name
    compiler = "g++" if sources[0].endswith(".cc") else "gcc"
    paths = [str(PROGRAMS / one) for one in (f"start{bits}.S", *sources)]
    run(folder, compiler, f"-m{bits}", "-mno-red-zone", *FREESTANDING.split(), *flags.split(), "-o", name, *paths)
    return made


def run(folder: Path, *command: str) -> str:
    """What a program of the build prints; a test fails with its words."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"}
    )
    assert not done.returncode, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def gdb(program: Path, *commands: str) -> str:
    """What the distribution's gdb says of a program that does not run, its errors included."""
    words = [word for line in commands for word in ("-ex", line)]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", *words, str(program)],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C", "TERM": "dumb", "HOME": str(program.parent)},
    )  # fmt: skip
    return done.stdout + done.stderr
