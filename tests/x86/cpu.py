"""A CPU in a mode of one's choice, for tests of what faults."""

from __future__ import annotations

from typing import Any

from kvmdbg.x86 import faults
from kvmdbg.x86.delivery import delivery_fault
from kvmdbg.x86.faults import Fault, State
from tests.x86.states import PAGE_TABLE, Ram, descriptor, map_pages, registers, special

USER_RIGHTS, KERNEL_RIGHTS = 7, 3
DATA, CODE, READ_ONLY, EXECUTE_ONLY, EXPAND_DOWN = 0x93 & 15, 0x9B & 15, 1, 9, 7
LONG_CODE = 0b1010


class Cpu:
    """A CPU in a mode, the bytes of an instruction at its pc, and a table of descriptors to load from."""

    def __init__(self, mode: str, code: str = "90", *, cpl: int = 0) -> None:
        self.ram, self.regs, self.sregs = Ram(), registers(), special(mode)
        self.ram.put(0x1000, bytes.fromhex(code) + b"\x90" * 16)
        if mode == "long":
            map_pages(self.ram)
        entries = {
            0x08: descriptor(11, flags=LONG_CODE if mode == "long" else 0b1100), 0x10: descriptor(3),
            0x18: descriptor(11, dpl=3, flags=LONG_CODE if mode == "long" else 0b1100), 0x20: descriptor(3, dpl=3),
            0x28: descriptor(9, base=0x600, limit=0x67, s=0, flags=0),
        }  # fmt: skip
        for selector, raw in entries.items():
            self.entry(selector, raw)
        if mode == "real":
            for name in ("cs", "ds", "es", "fs", "gs", "ss"):
                getattr(self.sregs, name).selector = 0
        if cpl:
            self.sregs.cs.dpl = self.sregs.ss.dpl = cpl
            self.sregs.cs.selector, self.sregs.ss.selector = 0x18 | cpl, 0x20 | cpl

    def entry(self, selector: int, raw: int) -> None:
        self.ram.put(0x800 + (selector & ~7), raw)

    def page(self, address: int, entry: int) -> None:
        self.ram.put(PAGE_TABLE + 8 * (address >> 12), entry)

    def set(self, **changes: int) -> Cpu:
        """``rax`` and ``cr4`` are registers, ``ds_limit`` a field of DS."""
        for name, value in changes.items():
            where, _, field = name.partition("_")
            target: Any = getattr(self.sregs, where) if field else self.regs if hasattr(self.regs, name) else self.sregs
            setattr(target, field or name, value)
        return self

    @property
    def state(self) -> State:
        return State(self.regs, self.sregs, self.ram.read)

    def fault(self) -> tuple[int, str] | None:
        found = faults.first_fault(self.state)
        return None if found is None else (found.vector, found.why)

    def delivery(self, vector: int, software: bool = False) -> tuple[int, str] | None:
        found = delivery_fault(self.state, Fault(vector, "", software=software))
        return None if found is None else (found.vector, found.why)
