"""KVM_EXIT_XEN: a guest that was made for Xen calls it."""

from __future__ import annotations

from ctypes import Structure, c_uint32, c_uint64
from typing import ClassVar

from kvmdbg.kvm import abi
from kvmdbg.kvm.exits import Exit, exit_reason
from kvmdbg.record import record

KVM_EXIT_XEN = 34


class kvm_xen_exit(Structure):  # as linux/kvm.h has it
    """struct kvm_xen_exit, with the only member of its union."""

    _fields_ = [
        ("type", c_uint32),
        ("longmode", c_uint32),
        ("cpl", c_uint32),
        ("input", c_uint64),
        ("result", c_uint64),
        ("params", c_uint64 * 6),
    ]


@exit_reason(KVM_EXIT_XEN)
@record
class XenExit(Exit):
    """A Xen hypercall: its number, where it came from, its first parameters."""

    kind: ClassVar[str] = "xen"
    call: int
    cpl: int
    parameters: tuple[int, ...]

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> XenExit:
        found = kvm_xen_exit.from_buffer_copy(page, abi.kvm_run.exit.offset)
        return cls(found.input, found.cpl, tuple(found.params))

    def describe(self) -> str:
        return f"Xen hypercall {self.call} at CPL {self.cpl}, {', '.join(map(hex, self.parameters[:3]))}"
