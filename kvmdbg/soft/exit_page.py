"""How the exits of a vCPU that unicorn runs are put into its page, as KVM puts them into struct kvm_run."""

from __future__ import annotations

from kvmdbg.kvm import exits
from kvmdbg.kvm.run_page import (
    MMIO_DATA,
    U8_MMIO_WRITES,
    U32_DEBUG_EXCEPTION,
    U32_EXIT_REASON,
    U32_IO_COUNT,
    U32_IO_KEY,
    U32_MMIO_SIZE,
    U64_DEBUG_DR6,
    U64_DEBUG_PC,
    U64_DIRTY_REGS,
    U64_IO_DATA,
    U64_MMIO_ADDRESS,
)
from kvmdbg.soft.registers import PAGE, SoftRegisters

IO_DATA = PAGE
"""Where the bytes of ports lie."""
DR6_FIXED = 0xFFFF0FF0


class ExitPage(SoftRegisters):
    """``debugreg`` are DR0 to DR7 of the debugger."""

    debugreg: tuple[int, ...] = (0,) * 8

    def show(self) -> None:
        """Put the registers into the page, as at an exit."""
        self.state.regs_to(self.words)
        self.u64[U64_DIRTY_REGS] = 0
        if self.shares_sregs:
            self.kvm_run.regs.sregs = self.get_sregs()

    def leave(self, reason: int) -> None:
        self.show()
        self.u32[U32_EXIT_REASON] = reason

    def io_exit(self, direction: int, port: int, size: int, value: int) -> None:
        self.leave(exits.KVM_EXIT_IO)
        self.u32[U32_IO_KEY] = port << 16 | size << 8 | direction
        self.u32[U32_IO_COUNT] = 1
        self.u64[U64_IO_DATA] = IO_DATA
        self.page[IO_DATA : IO_DATA + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")

    def debug_exit(self, exception: int, pc: int, dr6: int) -> None:
        self.leave(exits.KVM_EXIT_DEBUG)
        self.u32[U32_DEBUG_EXCEPTION] = exception
        self.u64[U64_DEBUG_PC], self.u64[U64_DEBUG_DR6] = pc, dr6 | DR6_FIXED
        self.kvm_run.debug.dr7 = self.debugreg[7]

    def mmio_exit(self, address: int, size: int, value: int | None) -> None:
        """``value`` is what is written; None for a read."""
        self.leave(exits.KVM_EXIT_MMIO)
        self.u64[U64_MMIO_ADDRESS], self.u32[U32_MMIO_SIZE] = address, size
        self.page[U8_MMIO_WRITES] = value is not None
        self.page[MMIO_DATA : MMIO_DATA + 8] = (value or 0).to_bytes(8, "little")

    def internal_error(self, suberror: int = exits.SUBERROR_EMULATION) -> bool:
        """As KVM where it cannot emulate the instruction, or get on for another reason."""
        self.leave(exits.KVM_EXIT_INTERNAL_ERROR)
        internal = self.kvm_run.internal
        internal.suberror, internal.ndata = suberror, 0
        return True
