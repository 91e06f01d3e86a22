"""Where general registers are in a copy of struct kvm_regs."""

from __future__ import annotations

from ctypes import sizeof

from kvmdbg.kvm import abi

SIZE = sizeof(abi.kvm_regs)
RSP, RIP, RFLAGS = (getattr(abi.kvm_regs, name).offset for name in ("rsp", "rip", "rflags"))


def rip_in(regs: bytes) -> int:
    """RIP there."""
    return int.from_bytes(regs[RIP : RIP + 8], "little")
