"""A machine that only keeps what it is given, and its state."""

from __future__ import annotations

from ctypes import sizeof
from typing import Any, cast

from kvmdbg.kvm import abi
from kvmdbg.machine import snapshot
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import PAGE
from kvmdbg.machine.snapshot import MachineState, VcpuState
from kvmdbg.record import replace

SIZE = 64 * PAGE
MSRS = [0x10, 0xC0000080]


class Memory:
    """Pages, which of them were written since, and what was asked of it."""

    def __init__(self) -> None:
        self.size = SIZE
        self.pages = SIZE // PAGE
        self.data = bytearray(SIZE)
        self.dirty: set[int] = set()
        self.touched: set[int] = set()
        self.tracked = 0
        self.put: list[int] = []

    def track(self) -> None:
        self.tracked += 1
        self.dirty.clear()

    def populated(self) -> set[int]:
        return set(self.touched)

    def take_dirty(self) -> set[int]:
        found, self.dirty = self.dirty, set()
        return found

    def read_page(self, address: int) -> bytes:
        return self.read(address, PAGE)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        self.data[address : address + len(data)] = data
        self.dirty.add(address & -PAGE)
        self.touched.add(address & -PAGE)

    def put_page(self, address: int, data: bytes) -> None:
        self.put.append(address)
        self.data[address : address + PAGE] = data
        self.touched.add(address)

    def find(self, address: int) -> object | None:
        return self if 0 <= address < SIZE else None


class Chips:
    """The VM's interrupt controllers and its system."""

    def __init__(self) -> None:
        self.given: list[tuple[str, bytes]] = []

    def get_irqchip(self, number: int) -> bytes:
        return bytes([number + 1]) * sizeof(abi.kvm_irqchip)

    def get_pit(self) -> bytes:
        return b"\x09" * sizeof(abi.kvm_pit_state2)

    def set_irqchip(self, chip: Any) -> None:
        self.given.append(("chip", bytes(chip)))

    def set_pit(self, pit: Any) -> None:
        self.given.append(("pit", bytes(pit)))

    def msr_indices(self) -> list[int]:
        return MSRS


class Made:
    def __init__(self, irqchip: bool = False, vcpus: int = 1) -> None:
        self.memory, self.vm, self.irqchip = Memory(), Chips(), irqchip
        self.system, self.vcpus = self.vm, [None] * vcpus

    @property
    def machine(self) -> Machine:
        return cast(Machine, self)


def page(text: bytes) -> bytes:
    return text.ljust(PAGE, b"\0")


KINDS = {
    "regs": abi.kvm_regs, "sregs": abi.kvm_sregs, "xsave": abi.kvm_xsave, "xcrs": abi.kvm_xcrs,
    "debugregs": abi.kvm_debugregs, "events": abi.kvm_vcpu_events, "lapic": abi.kvm_lapic_state,
}  # fmt: skip


ABOUT = {"name": "here", "pc": 0x1000, "made": 1.5, "output": "6162"}


def state_of(made: Made, **changes: Any) -> MachineState:
    vcpu = VcpuState(
        *(bytes(sizeof(KINDS[name])) for name in ("regs", "sregs", "xsave", "xcrs", "debugregs", "events")), 0,
        b"\x10" + bytes(15) + (0xC0000080).to_bytes(4, "little") + bytes(12),
        bytes(sizeof(abi.kvm_lapic_state)) if made.irqchip else b"",
    )  # fmt: skip
    chips = snapshot.save_chips(made.machine)
    devices = [("uart", [1, b"bytes", [2, None]]), ("die", {"a": (1, b"x")})]
    pages = {0x3000: page(b"three"), 0x1000: page(b"one"), SIZE - PAGE: page(b"last")}
    return replace(MachineState(pages, SIZE, (vcpu,) * len(made.vcpus), chips, devices), **changes)
