"""What clients are told of memory: regions as lldb asks for them, and mappings in QEMU's lines."""

from __future__ import annotations

import pytest

from gdbstub.testing import Loop
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.machine.layout import PICTURE, PICTURE_SIZE
from kvmdbg.pytest_plugin import Guests
from tests.gdb_target.conftest import Attach

pytestmark = pytest.mark.kvm
NX, LARGE = 1 << 63, 0x80
WRITABLE, USER = 3, 5
TOP = (1 << 64) - 0x200000


def mapped(dbg: Session) -> Session:
    """Tables of the test's own: 2 MiB at 0 with all rights, from 2 MiB on read only, at 10 MiB for data, at 14 MiB
    where there is no memory, and the last 2 MiB of all."""
    for table, index, value in (
        (0x80000, 0, 0x81000 | WRITABLE | USER), (0x80000, 511, 0x82000 | WRITABLE),
        (0x81000, 0, 0x83000 | WRITABLE | USER), (0x82000, 511, 0x84000 | WRITABLE),
        (0x83000, 0, LARGE | WRITABLE | USER), (0x83000, 1, 0x400000 | LARGE | 1), (0x83000, 2, 0x200000 | LARGE | 1),
        (0x83000, 5, 0x200000 | LARGE | WRITABLE | NX), (0x83000, 7, 0x4000_0000 | LARGE | WRITABLE),
        (0x84000, 511, 0x600000 | LARGE | WRITABLE),
    ):  # fmt: skip
        dbg.physical.write(table + 8 * index, value.to_bytes(8, "little"))
    dbg.regs.efer |= 1 << 11
    dbg.regs.cr3 = 0x80000
    return dbg


def regions(client: Loop) -> list[tuple[int, int, str]]:
    """As lldb goes through them."""
    found, at = [], 0
    while at < (1 << 64) - 1 and len(found) < 100:
        reply = client.ask(b"qMemoryRegionInfo:%x" % at).decode()
        fields = dict(part.split(":") for part in reply.split(";") if part)
        start, size = int(fields["start"], 16), int(fields["size"], 16)
        assert start == at, reply
        found.append((start, start + size, fields.get("permissions", "")))
        at = start + size
    return found


def test_regions_are_whole(kvm_guest: Guests, attach: Attach) -> None:
    dbg = mapped(kvm_guest(asm="hlt", mode="long", memory="8M"))
    client = attach(dbg)
    assert regions(client) == [
        (0, 0x200000, "rwx"), (0x200000, 0x600000, "rx"), (0x600000, 0xA00000, ""), (0xA00000, 0xC00000, "rw"),
        (0xC00000, TOP, ""), (TOP, (1 << 64) - 1, "rwx"),
    ]  # fmt: skip
    assert client.ask(b"qMemoryRegionInfo:ffffffffffffffff") == b"start:ffffffffffffffff;size:1;permissions:rwx;"
    dbg.physical.write(0x83000 + 8 * 6, (0x400000 | LARGE | WRITABLE | NX).to_bytes(8, "little"))
    assert (0xA00000, 0xE00000, "rw") in regions(client)


@pytest.mark.parametrize("mode", ["real", "prot"])
def test_regions_without_paging(kvm_guest: Guests, attach: Attach, mode: str) -> None:
    client = attach(kvm_guest(asm="hlt", mode=mode, memory="8M"))
    end = (1 << 64) - 1
    adapter = [(PICTURE, PICTURE + PICTURE_SIZE, "rwx"), (PICTURE + PICTURE_SIZE, end, "")]  # where there is a BIOS
    picture = [(0x800000, PICTURE, ""), *adapter] if mode == "real" else [(0x800000, end, "")]
    assert regions(client) == [(0, 0x800000, "rwx"), *picture]


def test_physical_regions(kvm_guest: Guests, attach: Attach) -> None:
    client = attach(mapped(kvm_guest(asm="hlt", mode="long", memory="8M")))
    assert client.ask(b"Qqemu.PhyMemMode:1") == b"OK"
    assert regions(client) == [(0, 0x800000, "rwx"), (0x800000, (1 << 64) - 1, "")]


def shown(dbg: Session) -> str:
    return "".join(result.plain() for result in Interpreter(dbg).execute("info mem"))


def test_mappings_in_the_lines_of_qemu(kvm_guest: Guests) -> None:
    """mem_print in QEMU's target/i386/monitor.c: what pwndbg and gef parse."""
    dbg = mapped(kvm_guest(asm="hlt", mode="long", memory="8M"))
    assert shown(dbg).splitlines() == [
        "0000000000000000-0000000000200000 0000000000200000 urw",
        "0000000000200000-0000000000600000 0000000000400000 -r-",
        "0000000000a00000-0000000000c00000 0000000000200000 -rw",
        "0000000000e00000-0000000001000000 0000000000200000 -rw",
        "ffffffffffe00000-0001000000000000 0000000000200000 -rw",
    ]
    dbg.physical.write(0x80000, bytes(0x1000))
    assert shown(dbg) == ""


def test_no_paging_in_the_words_of_qemu(kvm_guest: Guests) -> None:
    assert shown(kvm_guest(asm="hlt", mode="prot")) == "PG disabled\n"
