"""Patches of guest memory that can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from kvmdbg.errors import UsageError
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.views import Memory


@record
class Patch:
    """Bytes written at ``address`` of ``space`` ("linear" or "phys"), and what was there ``before``."""

    number: int
    address: int
    before: bytes
    data: bytes
    space: str = "linear"


class Patches:
    """All patches, in the order they were made. They end when the guest is loaded anew.

    ``memories`` by space, ``writable`` raises where they may not be written now, ``bits`` is the width of the code.
    """

    def __init__(self, memories: Mapping[str, Memory], writable: Callable[[], None], bits: Callable[[], int]) -> None:
        self._memories = memories
        self._writable = writable
        self._bits = bits
        self._made: list[Patch] = []
        self._last = 0

    def __iter__(self) -> Iterator[Patch]:
        return iter(tuple(self._made))

    def __len__(self) -> int:
        return len(self._made)

    def write(self, address: int, data: bytes, space: str = "linear") -> Patch:
        """Write ``data`` and keep what was there. MemoryFault, with nothing written."""
        if not data:
            raise UsageError("a patch needs bytes")
        memory = self._memory(space)
        before = memory.read(address, len(data))
        memory.write(address, data)
        self._last += 1
        self._made.append(Patch(self._last, address, before, data, space))
        return self._made[-1]

    def undo(self, number: int) -> bool:
        """Put back what was there before a patch; whether memory still held the patch's bytes. UsageError.

        Where a later patch lies over it, that one must go first.
        """
        patch = next((one for one in self._made if one.number == number), None)
        if patch is None:
            raise UsageError(f"there is no patch {number}; info patches lists them")
        later = self._made[self._made.index(patch) + 1 :]
        over = [str(one.number) for one in later if one.space == patch.space and _overlap(one, patch)]
        if over:
            raise UsageError(f"patch {', '.join(over)} lies over patch {number} and must be taken back first")
        memory = self._memory(patch.space)
        held = memory.read(patch.address, len(patch.data)) == patch.data
        memory.write(patch.address, patch.before)
        self._made.remove(patch)
        return held

    def assembled(self, address: int, text: str) -> bytes:
        """Machine code of instructions for a linear address, in the CPU's mode (UsageError)."""
        from kvmdbg.x86 import asm

        if not text.isascii():
            raise UsageError(f"{text!r} is no instruction: there are letters in it that none has")
        return asm.assemble(text, address, self._bits())

    def assemble(self, address: int, text: str) -> Patch:
        """Patch instructions in, Intel syntax, separated by ``;``."""
        return self.write(address, self.assembled(address, text))

    def _memory(self, space: str) -> Memory:
        self._writable()
        return self._memories[space]

    def forget(self) -> None:
        """The guest was loaded anew: nothing of them is left."""
        self._made.clear()


def _overlap(one: Patch, other: Patch) -> bool:
    return one.address < other.address + len(other.data) and other.address < one.address + len(one.data)
