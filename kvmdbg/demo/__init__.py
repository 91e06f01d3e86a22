"""``kvmdbg demo NAME``: the guests that kvmdbg brings along, each with the options that it wants.

In an installed package they lie in the folder ``guests`` beside this file, in a clone in the repository's.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from kvmdbg.errors import UsageError
from kvmdbg.record import record

HERE = Path(__file__).parent
PLACES = (HERE / "guests", HERE.parents[1] / "guests")
FIRST = "hello"
"""The one that ``kvmdbg demo`` opens: the tutorial's first."""
HELP = """\
usage: kvmdbg demo [--list] [NAME] [OPTION]...

Open a guest that kvmdbg brings along, hello without a NAME. All options of kvmdbg may follow, as in
kvmdbg demo hello --batch --run.

"""


@record
class Demo:
    """A guest: its command line, in which names of files in guests/ become their paths, and what to type first."""

    name: str
    arguments: str
    what: str
    tries: tuple[str, ...]


DEMOS = (
    Demo(
        "hello",
        "--load 0x1000 --reg rax=2 --reg rbx=2 hello16.bin",
        "twelve bytes of 16-bit code that add two registers and print the digit",
        ("stepi", "print $al + $bl", "break 0x1007", "run", "set $al = '7'", "continue"),
    ),
    Demo(
        "counter",
        "--memory 512M --load 0x10000 --entry 0x1000:0 counter16.bin",
        "writes 0, 1, 2, … to port 0x10, for ever",
        ("catch io 0x10", "continue", "condition 1 $ax >= 1000", "continue", "info exits"),
    ),
    Demo(
        "boot",
        "--symbols boot16.elf boot16.bin",
        "a boot sector with a function and a variable",
        ("break func if $cx == 3", "continue", "watch counter", "continue"),
    ),
    Demo(
        "modes",
        "--symbols modes.elf modes.bin",
        "goes from real mode through protected mode to long mode",
        ("catch mode", "continue", "x/3i $pc", "continue", "info registers"),
    ),
    Demo(
        "kernel",
        "kernel-O0.elf",
        "a small kernel in C with its debug information: paging, interrupts, tasks",
        ("break kernel_main", "continue", "next", "step", "bt", "info locals"),
    ),
    Demo(
        "kernel-O2",
        "kernel-O2.elf",
        "the same kernel, optimized: functions inlined, values in registers",
        ("break kernel_main", "continue", "next", "bt", "info locals"),
    ),
    Demo(
        "long",
        "long64.elf",
        "an ELF that starts in long mode, and prints a line",
        ("break print", "continue", "finish", "x/s message"),
    ),
    Demo(
        "mb32",
        "mb32.elf",
        "a multiboot kernel in assembly",
        ("break func if $ecx == 3", "continue", "watch counter", "continue"),
    ),
    Demo(
        "multiboot",
        "multiboot.elf",
        "a multiboot kernel that prints what its boot loader hands over",
        ("run", "info exits"),
    ),
    Demo(
        "smp",
        "--cpus 2 smp.elf",
        "a kernel that starts its second processor",
        ("break count", "run", "info vcpus", "bt"),
    ),
    Demo("firmware", "--memory 64M --bios rom.bin", "firmware at the reset vector", ("x/i $pc", "stepi", "run")),
    Demo("screens", "screens.bin", "shows text, colours and pixels", ("catch bios", "continue", "screen")),
    Demo("disk", "bios_disk.bin", "reads its disk by the BIOS", ("catch bios 0x13", "continue", "finish", "screen")),
    Demo("keys", "bios_keys.bin", "shows the keys that come", ("type ab", "catch bios 0x16", "continue", "screen")),
    Demo("memory", "bios_memory.bin", "asks the BIOS for the map of the memory", ("run", "screen")),
    Demo("pixels", "bios_pixels.bin", "draws in mode 13h", ("catch bios 0x10", "continue", "screen")),
    Demo(
        "ide",
        "ide.elf",
        "a kernel with a driver for IDE disks; give it one with --disk FILE",
        ("run", "info devices"),
    ),
    Demo("hvt", "--disk rom.bin --append words hvt.elf", "a unikernel for Solo5's hvt", ("run", "info exits")),
    Demo("linux", "linux.elf", "what Linux keeps in its memory, to look at", ("run", "lx-ps", "lx-dmesg", "lx-lsmod")),
)


def guests() -> Path:
    """The folder with the guests."""
    for place in PLACES:
        if place.is_dir():
            return place
    raise UsageError(f"this installation has no guests: {PLACES[0]} is missing")


def listed() -> str:
    """What ``kvmdbg demo --list`` shows."""
    width = max(len(one.name) for one in DEMOS)
    return "".join(f"{one.name:{width}}  {one.what}\n" for one in DEMOS)


def chosen(words: Sequence[str]) -> tuple[Demo, list[str]]:
    """The demo that the words behind ``demo`` name, and kvmdbg's own words for it."""
    name, rest = (FIRST, list(words)) if not words or words[0].startswith("-") else (words[0], list(words[1:]))
    known = {one.name: one for one in DEMOS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"there is no demo {name}{hint} (kvmdbg demo --list names all)")
    folder = guests()
    files = {one.name: str(one) for one in folder.iterdir()}
    return known[name], [*(files.get(word, word) for word in known[name].arguments.split()), *rest]


def greeting(demo: Demo) -> str:
    """What a person reads before the shell's first prompt."""
    return f"{demo.name}: {demo.what}.\nTry: {', '.join(demo.tries)}. The guest's files are in {guests()}.\n"
