"""What registers a target has, as the client learns it from target.xml.

Source: gdb manual, appendix "Target Descriptions".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from xml.sax.saxutils import quoteattr

_HEAD = '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n'


@dataclass(frozen=True)
class Flags:
    """A type for a register of single bits: ``fields`` are (name, first bit, last bit); ``size`` in bytes."""

    id: str
    size: int
    fields: tuple[tuple[str, int, int], ...]

    @property
    def xml(self) -> str:
        rows = "".join(
            f'<field name={quoteattr(name)} start="{start}" end="{end}"/>' for name, start, end in self.fields
        )
        return f'<flags id="{self.id}" size="{self.size}">{rows}</flags>'


@dataclass(frozen=True)
class Register:
    """One register: ``bits`` wide, of one of gdb's types or of one defined in its feature.

    ``generic`` is lldb's word for its part ("pc", "sp", "fp", "flags", "ra"); ``dwarf`` its DWARF number.
    """

    name: str
    bits: int
    type: str = ""
    group: str | None = None
    generic: str | None = None
    dwarf: int | None = None

    @property
    def size(self) -> int:
        """Bytes in g, G, p and P."""
        return self.bits // 8

    @property
    def xml(self) -> str:
        kind = self.type or f"int{self.bits}"
        group = f' group="{self.group}"' if self.group else ""
        return f'<reg name="{self.name}" bitsize="{self.bits}" type="{kind}"{group}/>'


@dataclass(frozen=True)
class Feature:
    """Registers that belong together. ``types`` are :class:`Flags`, or XML of a type as text."""

    name: str
    registers: tuple[Register, ...]
    types: tuple[Flags | str, ...] = ()

    @property
    def xml(self) -> str:
        rows = [one if isinstance(one, str) else one.xml for one in self.types]
        rows += [register.xml for register in self.registers]
        return "\n".join([f'<feature name="{self.name}">', *rows, "</feature>"])


@dataclass(frozen=True)
class Description:
    """All registers of a thread, in the order of their numbers; ``key`` tells descriptions apart.

    ``architecture`` is gdb's name for it, ``triple`` LLVM's.
    """

    key: str
    features: tuple[Feature, ...]
    architecture: str | None = None
    osabi: str | None = None
    triple: str = ""
    pointer_size: int = 8
    registers: tuple[Register, ...] = field(init=False)
    offsets: tuple[int, ...] = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        registers = tuple(register for feature in self.features for register in feature.registers)
        offsets, at = [], 0
        for register in registers:
            offsets.append(at)
            at += register.size
        object.__setattr__(self, "registers", registers)
        object.__setattr__(self, "offsets", tuple(offsets))
        object.__setattr__(self, "size", at)

    @cached_property
    def xml(self) -> bytes:
        """target.xml."""
        parts = [f"<architecture>{self.architecture}</architecture>"] if self.architecture else []
        parts += [f"<osabi>{self.osabi}</osabi>"] if self.osabi else []
        body = "\n".join([*parts, *(feature.xml for feature in self.features)])
        return f'{_HEAD}<target version="1.0">\n{body}\n</target>\n'.encode()

    def number(self, name: str) -> int:
        """The number of the register of that name. KeyError for none."""
        for number, register in enumerate(self.registers):
            if register.name == name:
                return number
        raise KeyError(name)

    def named(self, generic: str) -> int | None:
        """The number of the register with that generic name."""
        return self._generic.get(generic)

    @cached_property
    def expedited(self) -> tuple[tuple[int, bytes], ...]:
        """The registers that every client asks for first, each with what stands before its value in a stop reply."""
        numbers = [self.named(name) for name in ("pc", "sp", "fp")]
        return tuple((number, b"%02x:" % number) for number in numbers if number is not None)

    @cached_property
    def _generic(self) -> dict[str, int]:
        return {one.generic: number for number, one in reversed(list(enumerate(self.registers))) if one.generic}
