"""Files that belong to a packed Linux kernel: its vmlinux, with debug information, and its System.map."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

LEAST_MAP = 4096
"""Bytes: Debian ships a System.map that only says where the real one is."""


def release_of(data: bytes) -> tuple[str, bytes]:
    """What a bzImage's setup header says of the kernel: its release ("6.1.0-56-amd64"), and what was built when."""
    at = int.from_bytes(data[0x20E:0x210], "little")
    text = data[0x200 + at : 0x200 + at + 512].partition(b"\0")[0] if at else b""
    release = text.partition(b" ")[0].decode("ascii", "replace")
    return release, text.partition(b") ")[2]


def vmlinux_beside(path: str, data: bytes) -> Path | None:
    """The file with this very kernel not packed, if it lies where it usually does."""
    release, build = release_of(data)
    if not release or not build:
        return None
    for one in _places(Path(path), release):
        try:
            with open(one, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                same = content[:4] == b"\x7fELF" and content.find(b"Linux version " + release.encode() + b" ") >= 0
                if same and content.find(build) >= 0:
                    return one
        except (OSError, ValueError):
            continue
    return None


def _places(path: Path, release: str) -> Iterator[Path]:
    folder = path.absolute().parent
    yield folder / f"vmlinux-{release}"
    yield folder / "vmlinux"
    if folder.parts[-3:] == ("arch", "x86", "boot"):  # a kernel's build tree
        yield folder.parents[2] / "vmlinux"
    yield Path(f"/usr/lib/debug/boot/vmlinux-{release}")
    yield Path(f"/usr/lib/debug/lib/modules/{release}/vmlinux")


def map_beside(path: str, data: bytes) -> Path | None:
    """The kernel's System.map, if one of its release lies beside it."""
    release, _ = release_of(data)
    found = Path(path).absolute().parent / f"System.map-{release}"
    try:
        return found if release and found.stat().st_size >= LEAST_MAP else None
    except OSError:
        return None
