"""Small guests from source, linked where they are to lie: assembly through binutils, C through gcc and binutils."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from kvmdbg.errors import LoadError, UsageError

BITS = {"real": 16, "prot": 32, "long": 64}
_ELF = {16: 32, 32: 32, 64: 64}
_CODE = {16: ".code16", 32: ".code32", 64: ".code64"}
_FREESTANDING = (
    "-ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -mno-red-zone -mgeneral-regs-only "
    "-ffunction-sections -g"
)
_TIMEOUT = 60
_LABEL = re.compile(r"(^|;)\s*[A-Za-z_.$][\w.$]*:", re.MULTILINE)


def from_assembly(text: str, folder: Path, *, mode: str = "real", address: int = 0x1000) -> tuple[Path, Path]:
    """A flat image of GNU assembler ``text`` (Intel syntax, registers without %), and the ELF file with its symbols.

    It begins at ``address``, in the code size of ``mode``. LoadError with the assembler's words.
    """
    source = folder / "guest.s"
    start = "" if _LABEL.search(text) else "_start: "  # a file without any symbol would be no symbol file
    source.write_text(f"{_CODE[_bits(mode)]}; {start}{text}\n")
    options = ["-msyntax=intel", "-mnaked-reg", f"--{_ELF[_bits(mode)]}"]
    return _link(["as", *options, source.name], folder, _bits(mode), address)


def from_c(
    text: str, folder: Path, *, mode: str = "long", address: int = 0x100000, optimize: int = 1
) -> tuple[Path, Path]:
    """The same of freestanding C, which begins with its function ``_start``; there is a stack, and no library."""
    source = folder / "guest.c"
    source.write_text(text if text.endswith("\n") else f"{text}\n")
    bits = _bits(mode)
    return _link(
        ["gcc", f"-m{bits}", *_FREESTANDING.split(), f"-O{optimize}", "-c", source.name], folder, bits, address
    )


def _bits(mode: str) -> int:
    if mode not in BITS:
        raise UsageError(f"there is no mode {mode!r}: the modes are {', '.join(BITS)}")
    return BITS[mode]


def _link(compile: list[str], folder: Path, bits: int, address: int) -> tuple[Path, Path]:
    elf, flat, script, compiled = (folder / f"guest.{suffix}" for suffix in ("elf", "bin", "ld", "o"))
    _run([*compile, "-o", compiled.name], folder)
    script.write_text(
        f"SECTIONS {{ . = {address:#x}; .all : {{ *(.text._start) *(.text*) *(.rodata*) *(.data*) *(.bss*) *(COMMON) }}"
        " /DISCARD/ : { *(.note*) *(.comment) *(.eh_frame) } }\n"
    )
    machine = "elf_x86_64" if bits == 64 else "elf_i386"
    _run(["ld", "-m", machine, "--no-warn-rwx-segments", "-T", script.name, compiled.name, "-o", elf.name], folder)
    whole = ["-j", ".all", "--set-section-flags", ".all=alloc,load,contents"]  # .bss too
    try:
        _run(["objcopy", "-O", "binary", *whole, elf.name, flat.name], folder)
    except LoadError as error:
        if "has no sections" in str(error):
            raise LoadError("this source makes no code") from None
        raise
    return flat, elf


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise UsageError(f"{command[0]} is not installed: guests from source need binutils, and gcc for C") from None
    except subprocess.TimeoutExpired:
        raise LoadError(f"{command[0]} did not end within {_TIMEOUT} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line or "undefined" in line]
        raise LoadError("; ".join(lines[:3]) or done.stderr.strip() or f"{command[0]} failed")
