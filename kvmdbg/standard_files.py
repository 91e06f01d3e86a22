"""stdin, stdout and stderr when they are closed, full, or nobody reads them any more.

What cannot be written to stdout is told once on stderr; only a reader that went away (``| head``) is no news. The exit
status is not 0 in both cases.
"""

from __future__ import annotations

import errno
import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any, BinaryIO

from kvmdbg.printable import printable

#: Exit status when the reader of stdout went away: 128 plus the signal's number, as shells have it.
SIGPIPE = 13
READER_GONE = 128 + SIGPIPE
STDOUT, STDERR = 1, 2


def open_missing() -> None:
    """Put something in the place of those that kvmdbg was started without, so that no other file gets their numbers.

    stdin has ended then, stdout refuses what is written to it (EBADF), as it does in C, and stderr swallows it.
    """
    for number, way in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, way), True)  # it gets the lowest number that is free: this one
    sys.stdin = sys.stdin or os.fdopen(0, "r", encoding="utf-8", closefd=False)
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # rubbish is refused as a command is, not as a file
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


class Noticed(FileIO):
    """A file that remembers in ``failed`` what went wrong when it was written."""

    failed: OSError | None = None

    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            self.failed = error
            raise


def notice() -> Noticed:
    """Make stdout one whose errors are known when others, as a script's print, have got them."""
    sys.stdout.flush()
    found, before = Noticed(1, "w", closefd=False), sys.stdout
    sys.stdout = TextIOWrapper(
        BufferedWriter(found), before.encoding, before.errors, line_buffering=bool(before.line_buffering)
    )
    return found


def write(stream: BinaryIO, data: bytes) -> None:
    """Write all of it and flush, also where the stream's other users have made it non-blocking. OSError, ValueError."""
    rest = memoryview(data)
    while True:
        try:
            if rest:
                stream.write(rest)
                rest = rest[len(rest) :]
            stream.flush()
            return
        except BlockingIOError as full:
            import select

            rest = rest[full.characters_written :]
            select.select([], [stream], [])


def answer(text: str, status: int = 0) -> int:
    """All that kvmdbg has to write, to stdout; ``status``, or another exit status where that fails."""
    try:
        write(sys.stdout.buffer, text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        return lost(error)
    return status


def say(text: str) -> bool:
    """A line on stderr, control characters escaped; whether it got there."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(STDERR)
        return False
    return True


def silence(number: int) -> None:
    """What Python would still flush to this file at its end goes nowhere instead of raising again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def lost(error: Exception) -> int:
    """stdout cannot be written: say so, where that is news. Nothing goes there from now on; the exit status."""
    silence(STDOUT)
    if isinstance(error, BrokenPipeError):
        return READER_GONE
    closed = isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno == errno.EBADF)
    reason = "it is closed" if closed else getattr(error, "strerror", None) or str(error)
    say(f"kvmdbg: cannot write to the standard output: {reason}")
    return 1


def finish(status: int) -> int:
    """Write what is buffered yet; the exit status, which is not 0 where that fails."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        status = lost(error) or status
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        silence(STDERR)
        status = status or 1
    return status
