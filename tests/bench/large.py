"""A file as large as a kernel with its debug information, made in seconds: 600 units of 250 functions, 100 MB."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNITS = 600
FUNCTIONS = 250
START = """
.globl _start
_start: mov $0x90000, %rsp
1: lea box(%rip), %rdi; mov $5, %rsi; call u7_f3; jmp 1b
.bss
.balign 16
box: .skip 4096
"""


def unit() -> str:
    """The source of one unit."""
    lines = ["typedef unsigned long u64;"]
    for n in range(100):
        lines.append(
            f"struct s{n} {{ int a; u64 b : 3, c : 5; struct s{max(n - 1, 0)} *next; char name[{n + 1}];"
            f" enum {{ A{n}, B{n} }} e; }};"
        )
    for n in range(FUNCTIONS):
        before = f"f{n - 1}((void *) here, sum)" if n else "sum"
        lines.append(
            f"u64 f{n}(struct s{n % 100} *one, u64 two) {{ u64 sum = two;"
            f" for (int i = 0; i < {n % 7 + 2}; i++) {{ u64 part = one->a * i; sum += part ^ one->b; }}"
            f" struct s{n % 100} *here = one; here->a = sum; return sum + {before}; }}"
        )
    return "\n".join(lines) + "\n"


def build(folder: Path, units: int = UNITS) -> Path:
    """The ELF file, in ``folder``: compiled once, its symbols renamed for each unit."""
    (folder / "unit.c").write_text(unit())
    (folder / "start.S").write_text(START)
    compile = "gcc -O1 -g -c -ffreestanding -fno-pic -mno-red-zone -o unit.o unit.c"
    subprocess.run(compile.split(), cwd=folder, check=True)
    objects = []
    for number in range(units):
        objects.append(f"u{number}.o")
        subprocess.run(["objcopy", f"--prefix-symbols=u{number}_", "unit.o", objects[-1]], cwd=folder, check=True)
    link = "gcc -nostdlib -static -no-pie -Wl,-Ttext-segment=0x100000,--build-id,-z,noexecstack -o large.elf start.S"
    subprocess.run([*link.split(), *objects], cwd=folder, check=True)
    return folder / "large.elf"
