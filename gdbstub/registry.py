"""The packets that the stub knows: one decorated function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdbstub.client import Client

Reply = bytes | str | None
Handler = Callable[["Client", bytes], Reply]


@dataclass(frozen=True)
class Packet:
    """One kind of packet: its body begins with ``name``; ``needs`` is the capability that the target must have."""

    name: str
    function: Handler
    needs: type | None
    offers: tuple[str, ...]

    def offered(self, target: object) -> bool:
        return self.needs is None or isinstance(target, self.needs)


PACKET_SIZE = 0x20000
"""The longest body that is taken and given, in bytes; a read of memory may be half as long in hexadecimal."""
WHOLE_PROCESS = 1
"""The number of the one process that there is."""
PACKETS: dict[str, Packet] = {}
_LETTERS: dict[int, Packet] = {}
_WORDS: dict[int, list[tuple[bytes, Packet]]] = {}
_ENDS = b":;,?="
_NUMBERED = ("qRegisterInfo",)
"""Followed by a number at once."""


def packet(*names: str, needs: type | None = None, offers: str | tuple[str, ...] = ()) -> Callable[[Handler], Handler]:
    """Make a function the handler of packets whose body begins with one of ``names``.

    It gets the client and the rest of the body behind the name, and gives the reply's body (b"" says that the packet
    is not supported, None that the reply comes later or not at all). ``offers`` are the features that qSupported
    lists for it. Without the capability ``needs`` the packet is unknown.
    """

    def register(function: Handler) -> Handler:
        for name in names:
            one = Packet(name, function, needs, (offers,) if isinstance(offers, str) else offers)
            PACKETS[name] = one
            if len(name) == 1:
                _LETTERS[ord(name)] = one
            else:
                words = _WORDS.setdefault(ord(name[0]), [])
                words.append((name.encode(), one))
                words.sort(key=lambda word: -len(word[0]))
        return function

    return register


def find(body: bytes) -> tuple[Packet, bytes] | None:
    """The packet that a body is, and what follows its name."""
    if not body:
        return None
    for name, one in _WORDS.get(body[0], ()):
        if body.startswith(name):
            rest = body[len(name) :]
            if not rest or rest[0] in _ENDS or name[-1] in _ENDS or one.name in _NUMBERED:
                return one, rest
    letter = _LETTERS.get(body[0])
    return (letter, body[1:]) if letter else None
