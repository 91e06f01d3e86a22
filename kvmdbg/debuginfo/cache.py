"""What was read from a large file, kept on disk under its build-id so that it is read once.

A cache that is damaged, of another version or cannot be written is no cache: what it has is read from the file again.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2
HEADER = struct.Struct("<8sII")
"""Magic, version, CRC-32 of what follows."""
MAGIC = b"kvmdbg\r\n"


class Cache:
    """What is kept of one file; ``build_id`` is "" for a file without one, its path and time stand for it then."""

    def __init__(self, path: str, build_id: str) -> None:
        self._path = path
        self._build_id = build_id

    def file(self, kind: str) -> Path:
        """Where data of this kind is kept."""
        import platformdirs

        state = os.stat(self._path)
        name = self._build_id or f"{crc32(os.path.abspath(self._path).encode()):x}-{state.st_mtime_ns:x}"
        return platformdirs.user_cache_path("kvmdbg") / f"{name}-{state.st_size:x}.{kind}"

    def has(self, kind: str) -> bool:
        """Whether there is data of this kind."""
        with suppress(OSError):
            return self.file(kind).exists()
        return False

    def read(self, kind: str) -> bytes | None:
        """The data of this kind, None where there is none."""
        with suppress(OSError, struct.error):
            kept = self.file(kind).read_bytes()
            data = kept[HEADER.size :]
            if HEADER.unpack_from(kept) == (MAGIC, VERSION, crc32(data)):
                return data
        return None

    def write(self, kind: str, data: bytes) -> None:
        """Keep data of this kind."""
        with suppress(OSError):
            file = self.file(kind)
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(f".{os.getpid()}")
            try:
                temporary.write_bytes(HEADER.pack(MAGIC, VERSION, crc32(data)) + data)
                temporary.replace(file)
            except OSError:
                temporary.unlink(missing_ok=True)
