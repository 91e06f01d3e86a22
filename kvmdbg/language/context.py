"""What expressions ask for: the names of the guest's source where they are parsed, a vCPU where they are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from kvmdbg.language.ctype import CType

if TYPE_CHECKING:
    from kvmdbg.language.types import Raw


class Scope(Protocol):
    """The guest's source, as seen from one place: what its names mean where an expression is parsed."""

    @property
    def long_size(self) -> int:
        """Bytes of a long: 8 for 64-bit code, else 4."""

    @property
    def pointer_size(self) -> int:
        """Bytes that a pointer has as the source's compiler makes it; 0: by the CPU's mode."""

    @property
    def language(self) -> str:
        """What the source is written in, "c" or "c++"; "" where that is not known."""

    def variable(self, name: str) -> CType | None:
        """The type of a variable or a function, None where there is none of that name.

        The name may have a scope before it: ``file.c::name``, ``function::name``, ``::name``.
        """

    def is_local(self, name: str) -> bool:
        """Whether a variable of the function that the code is in has that name."""

    def overloads(self, name: str) -> list[tuple[str, CType]]:
        """The functions of C++ with exactly that name: what the symbol of each is called, and its type."""

    def variable_type(self, name: str) -> CType | None:
        """The type that a convenience variable or a value of the history has, by its name without ``$``."""

    def setting(self, name: str) -> tuple[Any, str] | None:
        """The value of a setting, and how ``show`` says it; None where there is none of that name."""

    def type(self, name: str) -> CType | None:
        """A type by its name, as in "struct point" or "word_t"."""

    def constant(self, name: str) -> tuple[int, CType] | None:
        """An enumerator's value and its enumeration."""


class Context(Protocol):
    """What an expression is evaluated on: one vCPU, the memory that it sees, names, and the user's variables."""

    @property
    def fields(self) -> frozenset[str]:
        """Names that mean variables though a register or a flag has the same: fields of the event that is judged."""

    @property
    def pointer_size(self) -> int:
        """Bytes of a pointer in the CPU's mode: 2, 4 or 8."""

    def register(self, name: str) -> int | None:
        """Value of a register by its name in lower case, ``pc``, ``sp`` and ``fp`` included; None for no register."""

    def register_reader(self, name: str) -> Callable[[], int] | None:
        """A function that gives the same now and later, quickly: it is asked for once, when an expression is bound."""

    def set_register(self, name: str, value: int) -> None:
        """Write a register."""

    def read(self, address: int, size: int, space: str) -> bytes:
        """``size`` bytes at an address of ``space`` ("linear" or "phys"); MemoryFault."""

    def write(self, address: int, data: bytes, space: str) -> None:
        """Write memory; MemoryFault."""

    def physical(self, address: int) -> int:
        """The guest-physical address of a linear one; MemoryFault."""

    def port(self, number: int, size: int) -> int:
        """What a read of ``size`` bytes from an I/O port gives; UsageError for a port or a size that there is not."""

    def symbol(self, name: str) -> int | None:
        """A symbol's linear address, or None."""

    def vector(self, name: str) -> bytes | None:
        """The bytes of ``xmm0``, ``ymm0``, ``st0`` (10) and so on; None where the CPU has none of that name."""

    def set_vector(self, name: str, data: bytes) -> None:
        """Write a whole register of these."""

    def variable(self, name: str) -> Raw | None:
        """A convenience variable; ``"1"`` is ``$1`` of the value history, ``""`` is ``$``, ``"$"`` and ``"$2"`` are
        ``$$`` and ``$$2``. None while it has no value."""

    def set_variable(self, name: str, value: Raw) -> None:
        """Give a convenience variable a value."""

    def call(self, address: int, result: CType, arguments: tuple[tuple[CType, bytes], ...]) -> bytes:
        """Run the guest's function at a linear address; the bytes of what it returns. KvmdbgError where it stops.

        Of a reference the bytes of the address, and behind them those that it refers to as the function leaves them.
        """

    def dynamic_cast(self, address: int, type: CType, wanted: CType, may_fail: bool) -> int:
        """Where the ``wanted`` part is of an object that the source says to be of ``type``. Where it has none that is 0
        if it ``may_fail``. KvmdbgError else, and where the class of the object is not known."""

    def callers(self, count: int) -> list[str]:
        """The functions of so many frames, the selected one first."""

    def segment(self, selector: int) -> int:
        """Linear base address of a selector, for ``seg:off``; UsageError for one without descriptor."""

    def source_variable(self, name: str) -> tuple[int | None, bytes]:
        """Where a variable of the source is now: its address, or None and its bytes. KvmdbgError where it is nowhere.

        Only names that the ``Scope`` of the parsing has said to be variables are asked for.
        """

    def set_source_variable(self, name: str, data: bytes) -> None:
        """Write a variable of the source. KvmdbgError where it has no place that can be written."""


Fail = Callable[[str, int], Exception]
"""Makes the ExpressionError of a message at a column."""
