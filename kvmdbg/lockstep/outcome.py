"""What a comparison has found, as values and in words."""

from __future__ import annotations

from typing import Any

from kvmdbg.printable import printable
from kvmdbg.record import record
from kvmdbg.x86 import flags

UNSEEN_FLAGS = 1 << 16
"""EFLAGS.RF: it is the next instruction's, and which KVMs show it differs."""


@record
class Difference:
    """One thing that the two have otherwise: ``what`` in words, and both values as text."""

    what: str
    first: str
    second: str


@record
class Place:
    """An instruction: its linear address, bytes and text; ``symbol`` is where that is in the program, or empty."""

    address: int
    code: bytes
    text: str
    symbol: str = ""

    def describe(self) -> str:
        where = f" <{printable(self.symbol)}>" if self.symbol else ""
        return f"{self.address:#x}{where}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        return {"address": self.address, "code": self.code.hex(), "text": self.text, "symbol": self.symbol}


@record
class Outcome:
    """``names`` of both back ends; ``instructions`` that both have run alike; ``ended`` in words, why no more.

    Where they differ: ``differences``, after the instruction ``at``, before which ``before`` ran, oldest first.
    """

    names: tuple[str, str]
    instructions: int
    ended: str
    differences: tuple[Difference, ...] = ()
    at: Place | None = None
    before: tuple[Place, ...] = ()

    @property
    def same(self) -> bool:
        return not self.differences

    def describe(self) -> str:
        first, second = self.names
        count = f"{self.instructions} instruction{'' if self.instructions == 1 else 's'}"
        if self.same:
            return f"{first} and {second} do the same: {count}, {self.ended}"
        width = max(len(one.what) for one in self.differences)
        values = max(len(one.first) for one in self.differences)
        where = f"at {self.at.describe()}" if self.at else "before the first instruction"
        lines = [f"{first} and {second} differ after {count} alike, {where}"]
        lines += [
            f"  {one.what:<{width}}  {first} {one.first:<{values}}  {second} {one.second}" for one in self.differences
        ]
        if self.before:
            lines += ["before it:", *(f"  {one.describe()}" for one in self.before)]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "lockstep",
            "same": self.same,
            "first": self.names[0],
            "second": self.names[1],
            "instructions": self.instructions,
            "ended": self.ended,
        }
        if not self.same:
            found["differences"] = [
                {"what": one.what, "first": one.first, "second": one.second} for one in self.differences
            ]
            found["at"] = self.at.to_json() if self.at else None
            found["before"] = [one.to_json() for one in self.before]
        return found


def of_registers(first: dict[str, int], second: dict[str, int]) -> list[Difference]:
    """Registers of the same names; RFLAGS flag by flag."""
    found = []
    for name, one in first.items():
        other = second[name]
        if one == other:
            continue
        if name != "rflags":
            found.append(Difference(f"register {name}", f"{one:#x}", f"{other:#x}"))
            continue
        for bit in range(64):
            if (one ^ other) & ~UNSEEN_FLAGS & 1 << bit:
                named = next((flag for flag, n, _ in flags.DECODED["rflags"] if n == bit), f"bit {bit} of rflags")
                found.append(Difference(f"flag {named}", str(one >> bit & 1), str(other >> bit & 1)))
    return found


MOST_BYTES = 16


def of_bytes(what: str, first: bytes, second: bytes) -> Difference | None:
    """Bytes that lie from ``what.format(offset)`` on."""
    if first == second:
        return None
    at = next((n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), min(len(first),
              len(second)))  # fmt: skip
    ends = [n for n in range(at, min(len(first), len(second))) if first[n] != second[n]]
    end = min(at + MOST_BYTES, (ends[-1] if ends else at) + 1)
    return Difference(what.format(at), first[at:end].hex(" ") or "nothing", second[at:end].hex(" ") or "nothing")
