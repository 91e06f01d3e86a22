"""guests/multiboot.elf prints what it is handed over, by either protocol; QEMU's loader is asked, too."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import kvmdbg

KERNEL = Path(__file__).resolve().parents[2] / "guests" / "multiboot.elf"
MAP = [
    "memory: 0x0 to 0x9fc00 type 1",
    "memory: 0x9fc00 to 0x100000 type 2",
    "memory: 0x100000 to 0x4000000 type 1",
]


def printed(format: str, modules: list[str]) -> list[str]:
    options = {"cmdline": "hello words", "modules": modules, "serial": "none"}
    with kvmdbg.open(KERNEL, format=format, memory="64M", **options) as dbg:  # type: ignore[arg-type]
        dbg.run(timeout=20)
        return dbg.output.decode().splitlines()


@pytest.fixture
def modules(tmp_path: Path) -> list[str]:
    (tmp_path / "one").write_bytes(b"\1\2\3")
    (tmp_path / "two").write_bytes(bytes(range(200)) * 30)
    return [f"{tmp_path / 'one'} with words", str(tmp_path / "two")]


def test_the_same_by_either_protocol(modules: list[str]) -> None:
    first, second = printed("multiboot", modules), printed("multiboot2", modules)
    assert (first[0], second[0]) == ("multiboot 1", "multiboot 2")
    assert sorted(first[1:]) == sorted(second[1:])
    assert first[1:3] == ["command line: hello words", "loader: kvmdbg"]
    assert first[3:7] == ["lower: 639 KiB, upper: 64512 KiB", *MAP]
    assert first[7:9] == [f"module: {modules[0]}, 3 bytes, sum 6", f"module: {modules[1]}, 6000 bytes, sum 597000"]
    assert re.fullmatch(r"sections: \d+", first[9])
    assert first[10:] == ["screen at 0xb8000: 80x25 type 2", "done"]


def test_without_modules() -> None:
    assert not [line for line in printed("multiboot", []) if line.startswith("module")]


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed")
@pytest.mark.timeout(120)
def test_qemu_hands_over_the_same(modules: list[str]) -> None:
    quiet = ["-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none", "-vga", "none"]
    hand = ["-kernel", str(KERNEL), "-append", "hello words", "-initrd", ",".join(modules)]
    theirs: list[str] = []
    with subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg", "-m", "64M", *quiet, "-serial", "stdio", *hand],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as qemu:  # fmt: skip
        assert qemu.stdout is not None
        for line in qemu.stdout:
            theirs.append(line.rstrip())
            if theirs[-1] == "done":
                break
        qemu.kill()
    ours = printed("multiboot", modules)
    for start in ("multiboot 1", "module: ", "memory: 0x0 "):
        assert [line for line in ours if line.startswith(start)] == [line for line in theirs if line.startswith(start)]
