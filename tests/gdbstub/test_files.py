"""vFile: bounds, errors and the layout of what it answers (gdb manual, "Host I/O Packets" and "struct stat")."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdbstub.testing import FakeTarget, Loop

EPERM, ENOENT, EIO, EBADF, EINVAL, EMFILE = (b"F-1,%x" % number for number in (1, 2, 5, 9, 22, 24))
MOST = 0x10000
"""Bytes that one reply gives at most: half of PacketSize, since each may need an escape."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "guest.elf"
    path.write_bytes(bytes(range(1, 251)) * 400)
    return path


@pytest.fixture
def gdb(file: Path) -> Loop:
    target = FakeTarget()
    target.own_files = {str(file): str(file), "gone": str(file.parent / "gone"), "caf\udce9": str(file)}
    loop = Loop(target)
    loop.ask(b"QStartNoAckMode")
    return loop


def name(path: object) -> bytes:
    return str(path).encode("utf-8", "surrogateescape").hex().encode()


def opened(gdb: Loop, file: Path) -> bytes:
    return gdb.ask(b"vFile:open:%b,0,0" % name(file))


@pytest.mark.parametrize(
    ("count", "offset", "given"),
    [
        (0, 0, 0), (1, 0, 1), (MOST, 0, MOST), (MOST + 1, 0, MOST), (1 << 40, 0, MOST), (16, 100000 - 16, 16),
        (16, 100000 - 15, 15), (16, 99999, 1), (16, 100000, 0), (16, 100001, 0), (16, 1 << 62, 0),
    ],
)  # fmt: skip
def test_pieces_of_a_file(gdb: Loop, file: Path, count: int, offset: int, given: int) -> None:
    assert opened(gdb, file) == b"F3"
    wanted = file.read_bytes()[offset : offset + given]
    assert gdb.ask(b"vFile:pread:3,%x,%x" % (count, offset)) == b"F%x;" % given + wanted
    assert len(wanted) == given


@pytest.mark.parametrize("span", [b"3,4,8000000000000000", b"3,4,ffffffffffffffffffff", b"3,4,-1"])
def test_offsets_that_are_none(gdb: Loop, file: Path, span: bytes) -> None:
    opened(gdb, file)
    assert gdb.ask(b"vFile:pread:" + span) == EINVAL


def test_files_that_are_not_open(gdb: Loop, file: Path) -> None:
    for body in (b"vFile:pread:3,4,0", b"vFile:fstat:3", b"vFile:close:3", b"vFile:pread:0,4,0", b"vFile:close:0"):
        assert gdb.ask(body) == EBADF, body
    opened(gdb, file)
    assert gdb.ask(b"vFile:pread:4,4,0") == gdb.ask(b"vFile:close:4") == EBADF
    assert gdb.ask(b"vFile:close:3") == b"F0"
    assert gdb.ask(b"vFile:pread:3,4,0") == EBADF


def test_what_cannot_be_opened(gdb: Loop, file: Path, tmp_path: Path) -> None:
    assert gdb.ask(b"vFile:open:%b,0,0" % name("/etc/passwd")) == ENOENT
    assert gdb.ask(b"vFile:open:%b,0,0" % name("gone")) == EIO
    for flags in (1, 2, 8, 0x200, 0x400, 0x800):
        assert gdb.ask(b"vFile:open:%b,%x,1ff" % (name(file), flags)) == EPERM
    assert gdb.ask(b"vFile:open:%b,0,0" % name("caf\udce9")) == b"F3"  # any bytes can be a name


def test_numbers_of_files(gdb: Loop, file: Path) -> None:
    """From 3 on, sixteen at once; a number that is free is taken again."""
    assert [opened(gdb, file) for _ in range(16)] == [b"F%x" % number for number in range(3, 19)]
    assert opened(gdb, file) == EMFILE
    assert gdb.ask(b"vFile:close:7") == b"F0"
    assert opened(gdb, file) == b"F7"
    assert opened(gdb, file) == EMFILE
    assert gdb.ask(b"vFile:pread:12,1,0") == b"F1;\x01"


def test_status(gdb: Loop, file: Path) -> None:
    opened(gdb, file)
    reply = gdb.ask(b"vFile:fstat:3")
    assert reply.startswith(b"F40;")
    status = reply[4:]
    numbers = [int.from_bytes(status[at : at + 4], "big") for at in range(0, 28, 4)]
    assert numbers == [0, 0, 0o100444, 1, 0, 0, 0]
    assert [int.from_bytes(status[at : at + 8], "big") for at in (28, 36, 44)] == [100000, 512, 196]
    assert status[52:] == bytes(12)


@pytest.mark.parametrize(("size", "blocks"), [(0, 0), (1, 1), (512, 1), (513, 2)])
def test_blocks(gdb: Loop, file: Path, size: int, blocks: int) -> None:
    file.write_bytes(bytes(size))
    opened(gdb, file)
    status = gdb.ask(b"vFile:fstat:3")[4:]
    assert [int.from_bytes(status[at : at + 8], "big") for at in (28, 44)] == [size, blocks]


def test_nothing_is_written_and_no_link_followed(gdb: Loop, file: Path) -> None:
    assert gdb.ask(b"vFile:setfs:1") == b"F0"
    for body in (b"vFile:readlink:", b"vFile:unlink:"):
        assert gdb.ask(body + name(file)) == EINVAL
    assert gdb.ask(b"vFile:pwrite:3,0,x") == EINVAL and file.exists()


@pytest.mark.parametrize(
    "body", [b"vFile:open:61", b"vFile:open:zz,0,0", b"vFile:pread:3", b"vFile:pread:x,1,1", b"vFile:fstat:"]
)
def test_malformed(gdb: Loop, body: bytes) -> None:
    assert gdb.ask(body)[:1] == b"E"
