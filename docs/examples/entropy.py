"""`entropy`: how much information is in each part of the guest's image."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result, Table


def segment_names(dbg: Interpreter) -> list[str]:
    """What the segments of the guest's image are called."""
    return [one.name for one in dbg.session.image.segments]


SegmentArg = Annotated[str, WordType("SEGMENT", segment_names)]


def bits_a_byte(data: bytes) -> float:
    """Shannon's entropy: 0.0 where all bytes are the same, 8.0 where each is as likely as any other."""
    return sum(count / len(data) * math.log2(len(data) / count) for count in Counter(data).values())


@command(
    "entropy",
    group="data",
    example=("entropy", "entropy image"),
    py="dbg.physical.read({segment}.address, {segment}.size)",
)
def entropy(dbg: Interpreter, segment: SegmentArg = "") -> Result:
    """Show how many bits of information a byte of SEGMENT has, or of each segment of the image.

    Code has 5 to 6.5; what is compressed or encrypted has nearly 8.
    """
    data = [
        {
            "segment": one.name,
            "address": one.address,
            "size": one.size,
            "bits": round(bits_a_byte(dbg.session.physical.read(one.address, one.size)), 2),
        }
        for one in dbg.session.image.segments
        if segment in ("", one.name)
    ]
    rows = tuple((f"{one['segment']}", f"{one['address']:#x}", f"{one['size']}", f"{one['bits']}") for one in data)
    return Table("entropy", ("Segment", "Address", "Bytes", "Bits a byte"), rows, data=tuple(data))
