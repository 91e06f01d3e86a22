"""Where things are in a vCPU's shared page (struct kvm_run of api.rst), as indexes of the page's views.

U8, U16, U32 and U64 say which view of ``Vcpu`` an index is for; the others are offsets in bytes.
"""

from __future__ import annotations

from ctypes import sizeof

from kvmdbg.kvm import abi
from kvmdbg.kvm.vcpu import Vcpu

U8_IMMEDIATE_EXIT = abi.kvm_run.immediate_exit.offset
U32_EXIT_REASON = abi.kvm_run.exit_reason.offset // 4
U64_DIRTY_REGS = abi.kvm_run.kvm_dirty_regs.offset // 8

EXIT = abi.kvm_run.exit.offset
U32_IO_KEY = EXIT // 4
"""Direction, size and port of an IO exit in one word."""
U32_IO_COUNT = U32_IO_KEY + 1
U64_IO_DATA = EXIT // 8 + 1
U32_DEBUG_EXCEPTION = EXIT // 4
U64_DEBUG_PC = EXIT // 8 + 1
U64_DEBUG_DR6 = U64_DEBUG_PC + 1

REGS = abi.kvm_run.regs.offset
REGS_END = REGS + Vcpu.REGS_SIZE
SREGS_END = REGS_END + sizeof(abi.kvm_sregs)
IDTR = REGS_END + abi.kvm_sregs.idt.offset
"""Base and limit of the IDT, in the special registers behind the general ones."""
IDTR_END = IDTR + 10

RSP, RIP, RFLAGS = (getattr(abi.kvm_regs, name).offset for name in ("rsp", "rip", "rflags"))
"""In a copy of struct kvm_regs."""
U64_RIP = (REGS + RIP) // 8
U64_RSP = (REGS + RSP) // 8
U64_CR3 = (REGS_END + abi.kvm_sregs.cr3.offset) // 8
U16_DX = (REGS + abi.kvm_regs.rdx.offset) // 2
U8_RFLAGS_TF = U8_RFLAGS_IF = REGS + RFLAGS + 1
"""The byte whose two lowest bits are EFLAGS.TF and EFLAGS.IF."""
