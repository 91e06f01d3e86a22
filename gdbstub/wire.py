"""The framing of the GDB remote protocol, without I/O: bytes in, packets out, and the other way round.

Source: gdb manual, appendix "Remote Protocol", nodes Overview, Packet Acknowledgment and Interrupts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import starmap
from struct import iter_unpack
from zlib import adler32

LARGEST = 1 << 20
"""A packet with a longer body is refused."""
_LONGEST_RUN = 98
_RUNS = tuple((byte * _LONGEST_RUN, byte + b"*~") for byte in (b"0", b"f", b"\0", b"\xff"))
"""Runs as empty memory has them, and how they are written. None of these begins within an escape pair."""
_PAIRS = tuple((byte, bytes((0x7D, byte[0] ^ 0x20))) for byte in (b"}", b"#", b"$", b"*"))
"""What is escaped, and how; the escape character itself first, so that no pair is escaped again."""
_UNESCAPED = tuple(bytes((byte ^ 0x20,)) for byte in range(256))
_ESCAPED = re.compile(rb"\}(.)", re.DOTALL)


class Interrupt:
    """The byte 0x03 outside a packet: stop the guest."""

    __slots__ = ()


class Oversized:
    """A packet with a body of more than LARGEST bytes; it has been dropped."""

    __slots__ = ()


@dataclass(frozen=True)
class Notification:
    """What the stub says unasked (``%Stop:…``)."""

    body: bytes


Event = bytes | Notification | Interrupt | Oversized


def escape(data: bytes) -> bytes:
    """Binary data as it may stand in a packet's body."""
    for byte, pair in _PAIRS:
        data = data.replace(byte, pair)
    return data


def unescape(data: bytes) -> bytes:
    """A body with its escape pairs undone."""
    first, *others = data.split(b"}")
    if not others:
        return data
    if b"" in others:  # an escaped "]", which need not be
        return _ESCAPED.sub(lambda match: bytes((match[1][0] ^ 0x20,)), data)
    return first + b"".join([_UNESCAPED[part[0]] + part[1:] for part in others])


def compress(body: bytes) -> bytes:
    """Run-length encoding of a body that is escaped already: of long runs only, as those of empty memory."""
    if len(body) > _LONGEST_RUN:
        for run, code in _RUNS:
            body = body.replace(run, code)
    return body


def expand(body: bytes) -> bytes:
    """Run-length encoding undone, as far as it may go: what becomes longer than LARGEST ends there."""
    if b"*" not in body:
        return body
    parts: list[bytes] = []
    at, last, size = 0, b"", 0
    while (star := body.find(b"*", at)) >= 0:
        parts.append(body[at:star])
        last = body[star - 1 : star] if star > at else last
        count = body[star + 1] - 29 if star + 1 < len(body) else 0
        parts.append(last * count if 3 <= count <= 97 else b"*")
        size += len(parts[-2]) + len(parts[-1])
        if size > LARGEST:
            return b"".join(parts)
        at = star + 2 if 3 <= count <= 97 else star + 1
    parts.append(body[at:])
    return b"".join(parts)


def hexadecimal(text: bytes) -> int:
    """The number of at most 64 bits that a packet gives: digits and nothing else. ValueError."""
    if not text or text.strip(b"0123456789abcdefABCDEF") or len(text.lstrip(b"0")) > 16:
        raise ValueError(f"{text!r} is no hexadecimal number")
    return int(text, 16)


def checksum(body: bytes) -> int:
    """The sum of the bytes modulo 256.

    Adler-32's lower half is 1 plus that sum as long as it stays below 65521, as it does for 256 bytes, and for 512 of
    ASCII; and zlib is fast.
    """
    if len(body) < 128:
        return sum(body) & 0xFF
    size = 512 if body.isascii() else 256
    whole = len(body) // size
    end = whole * size
    return sum(starmap(adler32, iter_unpack(f"{size}s", body[:end]))) - whole + sum(body[end:]) & 0xFF


def frame(body: bytes) -> bytes:
    """A body with its lead-in and checksum."""
    return b"$%b#%02x" % (body, checksum(body))


class Wire:
    """One side of a connection. Bytes that came go into :meth:`feed`; what is to be sent piles up for :meth:`take`.

    Packets are given as their bodies, run-length encoding undone but escapes kept: they mean something only where a
    packet carries binary data.
    """

    def __init__(self, *, acknowledge: bool = True, compressing: bool = True, notified: bool = False) -> None:
        self._notified = notified
        """Whether the other side is a stub, which may send notifications."""
        self.compressing = compressing
        """Whether to send with run-length encoding; it costs more time than it saves within a machine."""
        self.acknowledge = acknowledge
        """Whether packets are acknowledged; the client may end that with QStartNoAckMode."""
        self._in = bytearray()
        self._out = bytearray()
        self._last = b""
        self._resent = False
        """The other side has asked for the last packet again, and nothing was taken since."""
        self._scanned = 0
        self._dropping = False

    # --- from the other side -----------------------------------------------------------------------

    def feed(self, data: bytes) -> Iterator[Event]:
        """What these bytes, and those before, amount to."""
        buffer = self._in
        buffer += data
        while buffer:
            first = buffer[0]
            if first == 0x24 or self._dropping:  # "$"
                event = self._packet()
                if event is None:
                    return
                if event:
                    yield event[0]
            elif first == 0x25 and self._notified:  # "%"
                end = buffer.find(b"#")
                if not 0 <= end < len(buffer) - 2:
                    return
                yield Notification(expand(bytes(buffer[1:end])))
                del buffer[: end + 3]
            elif first == 0x03:
                del buffer[0]
                yield Interrupt()
            else:
                if first == 0x2D and self.acknowledge and not self._resent:  # "-"
                    self._out += self._last
                    self._resent = True
                del buffer[0]

    def _packet(self) -> tuple[Event, ...] | None:
        """The packet at the buffer's start: one event, none for one that is damaged; None when it has not ended."""
        buffer = self._in
        end = buffer.find(b"#", max(self._scanned, 0 if self._dropping else 1))
        if end < 0:
            if len(buffer) > LARGEST:
                self._dropping = True
                buffer.clear()
            self._scanned = len(buffer)
            return None
        if len(buffer) < end + 3:
            self._scanned = end
            return None
        body = bytes(buffer[:end] if self._dropping else buffer[1:end])
        given = bytes(buffer[end + 1 : end + 3])
        again = body.rfind(b"$")  # never part of a body: a new packet began before the old one had ended
        del buffer[: end + 3]
        self._scanned = 0
        if self._dropping and again < 0:
            self._dropping = False
            if self.acknowledge:
                self._out += b"+"
            return (Oversized(),)
        self._dropping = False
        if again >= 0:
            body = body[again + 1 :]
        if self.acknowledge:
            try:
                right = int(given, 16) == checksum(body)
            except ValueError:
                right = False
            self._out += b"+" if right else b"-"
            if not right:
                return ()
        body = expand(body)
        return (Oversized() if len(body) > LARGEST else body,)

    # --- to the other side -------------------------------------------------------------------------

    def send(self, body: bytes) -> None:
        """Queue a packet; ``body`` is escaped where it holds binary data."""
        framed = frame(compress(body) if self.compressing else body)
        if self.acknowledge:
            self._last = framed
        self._out += framed

    def notify(self, body: bytes) -> None:
        """Queue a notification, which is never acknowledged."""
        self._out += b"%%%b#%02x" % (body, checksum(body))

    @property
    def pending(self) -> int:
        """How many bytes are to be sent."""
        return len(self._out)

    def take(self) -> bytes:
        """All that is to be sent."""
        out = bytes(self._out)
        self._out.clear()
        self._resent = False
        return out
