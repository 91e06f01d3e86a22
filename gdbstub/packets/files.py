"""vFile: the guest's own files, to read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from gdbstub.registry import PACKET_SIZE, Reply, packet
from gdbstub.target import HasFiles
from gdbstub.wire import escape

if TYPE_CHECKING:
    from gdbstub.client import Client

# File-I/O errors: gdb manual, node "Errno Values".
EPERM, ENOENT, EBADF, EIO, EACCES, EINVAL, EMFILE = 1, 2, 9, 5, 13, 22, 24
MOST_OPEN = 16
READ_ONLY = 0
FAKE_MODE = 0o100444


def failed(number: int) -> bytes:
    return b"F-1,%x" % number


def opened(client: Client, number: int) -> BinaryIO | None:
    """An open file."""
    return client.files.get(number)


@packet("vFile:setfs:", needs=HasFiles)
def file_system(client: Client, rest: bytes) -> Reply:
    """Whose file system: there is one."""
    return b"F0"


@packet("vFile:open:", needs=HasFiles)
def open_file(client: Client, rest: bytes) -> Reply:
    """Open one of the guest's own files for reading. No other can be opened, and none for writing."""
    assert isinstance(client.target, HasFiles)
    name, flags, _ = rest.split(b",")
    if int(flags, 16) != READ_ONLY:
        return failed(EPERM)
    path = client.target.files().get(bytes.fromhex(name.decode()).decode("utf-8", "surrogateescape"))
    if path is None:
        return failed(ENOENT)
    if len(client.files) >= MOST_OPEN:
        return failed(EMFILE)
    try:
        file = open(path, "rb")  # noqa: SIM115  closed by vFile:close, or when the client leaves
    except OSError:
        return failed(EIO)
    number = next(n for n in range(3, 4 + MOST_OPEN) if n not in client.files)
    client.files[number] = file
    return b"F%x" % number


def _read_at(file: BinaryIO, size: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, at)
    file.seek(at)
    return file.read(size)


@packet("vFile:pread:", needs=HasFiles)
def read_file(client: Client, rest: bytes) -> Reply:
    """NUMBER,COUNT,OFFSET of an open file."""
    number, count, offset = (int(text, 16) for text in rest.split(b","))
    file = opened(client, number)
    if file is None:
        return failed(EBADF)
    try:
        part = _read_at(file, min(count, PACKET_SIZE // 2), offset)
    except (OSError, OverflowError):
        return failed(EINVAL)
    return b"F%x;" % len(part) + escape(part)


@packet("vFile:fstat:", needs=HasFiles)
def file_status(client: Client, rest: bytes) -> Reply:
    """struct stat of the File-I/O protocol: a file that everybody may read."""
    file = opened(client, int(rest, 16))
    if file is None:
        return failed(EBADF)
    size = os.fstat(file.fileno()).st_size
    words = [0, 0, FAKE_MODE, 1, 0, 0, 0]  # st_dev, st_ino, st_mode, st_nlink, st_uid, st_gid, st_rdev
    status = b"".join(word.to_bytes(4, "big") for word in words)
    status += size.to_bytes(8, "big") + (512).to_bytes(8, "big") + (-(-size // 512)).to_bytes(8, "big")
    status += bytes(12)  # st_atime, st_mtime, st_ctime
    return b"F%x;" % len(status) + escape(status)


@packet("vFile:close:", needs=HasFiles)
def close_file(client: Client, rest: bytes) -> Reply:
    """Close it."""
    file = client.files.pop(int(rest, 16), None)
    if file is None:
        return failed(EBADF)
    file.close()
    return b"F0"


@packet("vFile:readlink:", "vFile:unlink:", "vFile:pwrite:", needs=HasFiles)
def refused(client: Client, rest: bytes) -> Reply:
    """Nothing is written, and no links are followed."""
    return failed(EINVAL)
