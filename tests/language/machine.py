"""A machine without KVM that expressions are evaluated on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kvmdbg.errors import KvmdbgError, MemoryFault, UsageError
from kvmdbg.language.expressions import parse
from kvmdbg.language.types import Raw
from kvmdbg.x86 import registers

SIZE = 0x10000


class Machine:
    """64 KiB of linear and of physical memory, the storage registers, three symbols."""

    fields: frozenset[str] = frozenset()

    def __init__(self, bits: int = 16) -> None:
        self.pointer_size = bits // 8
        self.storage = {"rax": 0x1122334455667788, "rcx": 5, "rsp": 0x7C00, "rip": 0x10, "rflags": 0x3246}
        self.storage |= {"cs": 0x7C0, "cs_base": 0x7C00, "ds": 0x50, "ds_base": 0x9000, "rdx": (1 << 64) - 1}
        self.memory = {"linear": bytearray(SIZE), "phys": bytearray(SIZE)}
        self.vectors = {"xmm0": bytes(range(16)), "st0": bytes.fromhex("00000000000000a0 0040")}
        self.variables: dict[str, Raw] = {
            "mine": 40,
            "1": 7,
            "": 9,
            "$2": 11,
            "big": (1 << 64) - 1,
            "huge": 1 << 80,
            "less": -3,
        }
        self.symbols = {"main": 0x1000, "counter": 0x2000, ".L1": 0x3000}
        self.reads: list[tuple[int, int, str]] = []

    def register(self, name: str) -> int | None:
        if name == "pc":
            return self.storage["rip"] + self.storage["cs_base"]
        if name == "sp":
            return self.storage["rsp"] & ((1 << 8 * self.pointer_size) - 1)
        found = registers.lookup(name)
        if found is None or found.parent not in self.storage:
            return None
        return registers.extract(found, self.storage[found.parent])

    def register_reader(self, name: str) -> Callable[[], int] | None:
        return partial(self._known, name) if self.register(name) is not None else None

    def _known(self, name: str) -> int:
        found = self.register(name)
        assert found is not None
        return found

    def set_register(self, name: str, value: int) -> None:
        if name == "pc":
            self.storage["rip"] = value - self.storage["cs_base"]
            return
        found = registers.lookup(name)
        assert found is not None and 0 <= value < 1 << found.bits
        self.storage[found.parent] = registers.insert(found, self.storage[found.parent], value)

    def read(self, address: int, size: int, space: str) -> bytes:
        self.reads.append((address, size, space))
        if address + size > SIZE:
            raise MemoryFault(address, "read", space)
        return bytes(self.memory[space][address : address + size])

    def write(self, address: int, data: bytes, space: str) -> None:
        if address + len(data) > SIZE:
            raise MemoryFault(address, "write", space)
        self.memory[space][address : address + len(data)] = data

    def symbol(self, name: str) -> int | None:
        return self.symbols.get(name)

    def vector(self, name: str) -> bytes | None:
        return self.vectors.get(name)

    def set_vector(self, name: str, data: bytes) -> None:
        self.vectors[name] = data

    def variable(self, name: str) -> Raw | None:
        return self.variables.get(name)

    def set_variable(self, name: str, value: Raw) -> None:
        self.variables[name] = value

    def segment(self, selector: int) -> int:
        return selector << 4

    def physical(self, address: int) -> int:
        return address

    def port(self, number: int, size: int) -> int:
        raise UsageError("there are no ports here")

    def source_variable(self, name: str) -> tuple[int | None, bytes]:
        raise KvmdbgError(f"there is no variable {name}")

    def set_source_variable(self, name: str, data: bytes) -> None:
        raise KvmdbgError(f"there is no variable {name}")


def filled() -> Machine:
    """A machine with something in its memory."""
    one = Machine()
    one.memory["linear"][0x500:0x508] = bytes.fromhex("fe ff 34 12 78 56 00 80")
    one.memory["phys"][0x500] = 0x77
    one.memory["linear"][0x2000:0x2002] = b"\x00\x05"
    return one


def value(text: str, machine: Machine) -> int:
    """Its value; the ways to get it must agree (only for what changes nothing)."""
    expression = parse(text)
    found = expression.evaluate(machine).value
    assert expression.bind(machine)() == found
    assert type(found) is int
    return found
