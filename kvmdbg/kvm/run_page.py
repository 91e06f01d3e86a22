"""The page that KVM shares with whoever runs a vCPU: struct kvm_run (api.rst, section 5).

Only this package knows where things are in it. U8, U32 and U64 say which view of the page an index is for; the other
constants are offsets in bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from contextlib import suppress
from ctypes import addressof, memmove, sizeof
from typing import Any, TypeVar

from kvmdbg.errors import GONE, SessionStateError
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.coalesced import CoalescedRing
from kvmdbg.kvm.counted_port import CountedPort
from kvmdbg.kvm.run_call import kvm_run_call
from kvmdbg.kvm.stride_terms import StrideTerms

with suppress(ImportError):  # Windows; kvm/system.py says so
    kvm_run = kvm_run_call()

U8_WANTS_WINDOW = abi.kvm_run.request_interrupt_window.offset
U8_IMMEDIATE_EXIT = abi.kvm_run.immediate_exit.offset
U32_EXIT_REASON = abi.kvm_run.exit_reason.offset // 4
U64_VALID_REGS = abi.kvm_run.kvm_valid_regs.offset // 8
U64_DIRTY_REGS = abi.kvm_run.kvm_dirty_regs.offset // 8
U32_NOTHING = abi.kvm_run.kvm_dirty_regs.offset // 4
"""Two words that are both 0 after each exit."""

EXIT = abi.kvm_run.exit.offset
U32_IO_KEY = EXIT // 4
"""Direction, size and port of an IO exit in one word."""
U32_IO_COUNT = U32_IO_KEY + 1
U64_IO_DATA = EXIT // 8 + 1
U32_DEBUG_EXCEPTION = EXIT // 4
U64_DEBUG_PC = EXIT // 8 + 1
U64_DEBUG_DR6 = U64_DEBUG_PC + 1
U64_MMIO_ADDRESS = EXIT // 8
MMIO_DATA = EXIT + 8
U32_MMIO_SIZE = EXIT // 4 + 4
U8_MMIO_WRITES = EXIT + 20

REGS = abi.kvm_run.regs.offset
REGS_SIZE = sizeof(abi.kvm_regs)
REGS_END = REGS + REGS_SIZE
SREGS_END = REGS_END + sizeof(abi.kvm_sregs)
EVENTS = REGS + abi.kvm_sync_regs.events.offset
IDTR = REGS_END + abi.kvm_sregs.idt.offset
IDTR_END = IDTR + 10
U64_CR3 = (REGS_END + abi.kvm_sregs.cr3.offset) // 8
U64_RIP = (REGS + abi.kvm_regs.rip.offset) // 8
U8_RFLAGS_TF = REGS + abi.kvm_regs.rflags.offset + 1
"""The byte whose lowest bit is EFLAGS.TF."""
RFLAGS_TF = U8_RFLAGS_TF - REGS

P = TypeVar("P", bound=CountedPort)


UNFINISHED = frozenset(
    (
        exits.KVM_EXIT_IO,
        exits.KVM_EXIT_MMIO,
        exits.KVM_EXIT_X86_RDMSR,
        exits.KVM_EXIT_X86_WRMSR,
        exits.KVM_EXIT_HYPERCALL,
    )
)
"""Exits in the middle of an instruction, which KVM ends when it is entered once more."""


class RunPage:
    """The shared page of the vCPU ``fd``, of ``size`` bytes with what lies behind it: how it is entered and left."""

    counts_instructions = False
    instructions_left: int | None = None
    entered_handler = False

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.raw = mmap.mmap(fd, size)  # shared, to be read and written
        """The same bytes once more: slices of an mmap are copies, made in one go."""
        self.kvm_run = abi.kvm_run.from_buffer(self.raw)
        self.regs: abi.kvm_regs = self.kvm_run.regs.regs
        self.page = memoryview(self.raw)
        self.u32 = self.page.cast("I")
        self.u64 = self.page.cast("Q")
        self.kvm_run.kvm_valid_regs = abi.KVM_SYNC_X86_REGS
        self.ring: CoalescedRing | None = None
        self.exits_left = 0
        self.halted = self.wants_window = False
        self._at_exit = slice(REGS, REGS_END)
        self.step = self._make_step()
        self.stride = self._make_stride()

    # --- running -----------------------------------------------------------------------------------

    def run(self) -> None:
        """KVM_RUN until the next exit; InterruptedError when a signal ended it.

        EAGAIN, which KVM gives when INIT or SIPI wakes a waiting vCPU, means to run again.
        """
        while True:
            try:
                kvm_run(self.fd, abi.KVM_RUN)
            except OSError as error:
                self.u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
                if isinstance(error, BlockingIOError):
                    continue
                raise
            return

    def ask_for_window(self, on: bool) -> None:
        """Whether ``run`` also ends where an external interrupt may come in."""
        self.page[U8_WANTS_WINDOW] = on

    def complete(self) -> bool:
        """Let KVM finish the instruction of the last exit; whether that has led to another exit."""
        self.page[U8_IMMEDIATE_EXIT] = 1
        try:
            kvm_run(self.fd, abi.KVM_RUN)
        except OSError as error:
            self.u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
            if isinstance(error, InterruptedError):
                return False
            if not isinstance(error, BlockingIOError):
                raise
            return self.complete()
        finally:
            self.page[U8_IMMEDIATE_EXIT] = 0
        return True

    def free_run(
        self, ports: Mapping[int, P], note: Callable[[tuple[P, bytes]], object], collected: Callable[[], None]
    ) -> Callable[[], P | None]:
        fd, u32, raw, call = self.fd, self.u32, self.raw, kvm_run
        run, io, reason, key = abi.KVM_RUN, exits.KVM_EXIT_IO, U32_EXIT_REASON, U32_IO_KEY
        first = U32_NOTHING if self.ring is None else self.ring.u32_first
        behind = first + 1
        registers, get = self._at_exit, ports.get
        page = self.page
        self.share_events(None)  # it costs a little at each exit

        def enter() -> P | None:
            left = self.exits_left
            window = self.wants_window
            if window:
                page[U8_WANTS_WINDOW] = 1
            try:
                while True:
                    call(fd, run)
                    if u32[first] != u32[behind]:
                        collected()
                    if u32[reason] != io:
                        return None
                    port = get(u32[key])
                    if port is None:
                        return None
                    port.count += 1
                    note((port, raw[registers]))
                    if left == 1 or not port.quiet:
                        return port
                    left -= 1
            except OSError:
                u32[reason] = exits.KVM_EXIT_INTR
                raise
            finally:
                self.exits_left = left
                if window:
                    page[U8_WANTS_WINDOW] = 0

        return enter

    def _make_step(self) -> Callable[[], int | None]:
        fd, page, u32, u64, call = self.fd, self.page, self.u32, self.u64, kvm_run
        run, debug, kicked, dirty = abi.KVM_RUN, exits.KVM_EXIT_DEBUG, exits.KVM_EXIT_INTR, abi.KVM_SYNC_X86_REGS

        def step() -> int | None:
            """KVM_RUN for one step, with EFLAGS.TF of the debugger's: the linear address to which it led.

            None where something else has happened, or nothing; after a kick, or INIT or SIPI, that reads KVM_EXIT_INTR.
            OSError where it is refused. TF is asked for each time: KVM drops it from the guest's flags when it
            emulates an instruction, and so do popf, iret and INIT. KVM hides it when it gives the flags back.
            """
            rip = u64[U64_RIP]
            page[U8_RFLAGS_TF] |= 1
            u64[U64_DIRTY_REGS] |= dirty
            try:
                call(fd, run)
            except OSError as error:
                u32[U32_EXIT_REASON] = kicked
                if isinstance(error, InterruptedError | BlockingIOError):
                    return None
                raise
            if u32[U32_EXIT_REASON] != debug or u32[U32_DEBUG_EXCEPTION] != 1 or u64[U64_DEBUG_DR6] & 15:
                return None
            return u64[U64_DEBUG_PC] if u64[U64_RIP] != rip else None

        return step

    def _make_stride(self) -> Callable[..., tuple[int, int | None, bytes]]:
        fd, page, u32, u64, raw, call = self.fd, self.page, self.u32, self.u64, self.raw, kvm_run
        run, debug, kicked, dirty = abi.KVM_RUN, exits.KVM_EXIT_DEBUG, exits.KVM_EXIT_INTR, abi.KVM_SYNC_X86_REGS
        io, first, behind = exits.KVM_EXIT_IO, REGS, REGS_END

        def stride(terms: StrideTerms, code: memoryview | bytes, pc: int, most: int) -> tuple[int, int | None, bytes]:
            plain, stops, record = terms.plain, terms.stops, terms.record
            start, done, unfinished = pc & ~0xFFF, 0, False
            last, code = start + terms.last, bytes(code)
            while True:
                before = raw[first:behind]
                if done == most or not start <= pc <= last or (done and pc in stops) or not plain(code, pc - start):
                    if unfinished:
                        self.complete()
                    return done, pc, before
                rip = u64[U64_RIP]
                page[U8_RFLAGS_TF] = before[RFLAGS_TF] | 1
                u64[U64_DIRTY_REGS] = dirty
                try:
                    call(fd, run)
                except OSError as error:
                    u32[U32_EXIT_REASON] = kicked
                    if isinstance(error, InterruptedError | BlockingIOError):
                        return done, None, before
                    raise
                reason, moved = u32[U32_EXIT_REASON], u64[U64_RIP] - rip
                if reason == debug:
                    if u32[U32_DEBUG_EXCEPTION] != 1 or u64[U64_DEBUG_DR6] & 15 or not moved:
                        return done, None, before
                    unfinished = False
                else:
                    port = terms.ports.get(u32[U32_IO_KEY]) if reason == io else None
                    if port is None or not port.quiet or self.exits_left == 1:
                        return done, None, before
                    port.count += 1
                    self.exits_left -= 1
                    unfinished = terms.out_is_past
                    if not unfinished:
                        if self.complete() and u32[U32_EXIT_REASON] != debug:
                            return done, None, before
                        moved = u64[U64_RIP] - rip
                pc += moved
                done += 1
                if record is not None:
                    record.append(raw[first:behind])

        return stride

    # --- the last exit -----------------------------------------------------------------------------

    @property
    def reason(self) -> int:
        return self.u32[U32_EXIT_REASON]

    @property
    def unfinished(self) -> bool:
        return self.u32[U32_EXIT_REASON] in UNFINISHED

    def exit(self) -> exits.Exit:
        return exits.decode(self.kvm_run, self.page)

    @property
    def io_key(self) -> int:
        return self.u32[U32_IO_KEY]

    @property
    def io_data(self) -> memoryview:
        at = self.u64[U64_IO_DATA]
        return self.page[at : at + (self.u32[U32_IO_KEY] >> 8 & 0xFF) * self.u32[U32_IO_COUNT]]

    @property
    def mmio(self) -> tuple[int, int, bool]:
        return self.u64[U64_MMIO_ADDRESS], min(self.u32[U32_MMIO_SIZE], 8), bool(self.page[U8_MMIO_WRITES])

    @property
    def mmio_data(self) -> memoryview:
        return self.page[MMIO_DATA : MMIO_DATA + 8]

    @property
    def debug_exception(self) -> int:
        return self.u32[U32_DEBUG_EXCEPTION]

    @property
    def debug_pc(self) -> int:
        return self.u64[U64_DEBUG_PC]

    @property
    def debug_dr6(self) -> int:
        return self.u64[U64_DEBUG_DR6]

    def answer_msr(self, value: int | None) -> None:
        msr = self.kvm_run.msr
        msr.error, msr.data = int(value is None), value or 0

    def answer_hypercall(self, result: int) -> None:
        self.kvm_run.hypercall.ret = result

    # --- registers ---------------------------------------------------------------------------------

    def copy_of_regs(self) -> bytes:
        return self.raw[REGS:REGS_END]

    def registers_at_exit(self) -> bytes:
        return self.raw[self._at_exit]

    @property
    def shares_sregs(self) -> bool:
        """Whether KVM puts the special registers into the page at each exit."""
        return self._at_exit.stop == SREGS_END

    @shares_sregs.setter
    def shares_sregs(self, shares: bool) -> None:
        others = self.u64[U64_VALID_REGS] & ~abi.KVM_SYNC_X86_SREGS
        self.u64[U64_VALID_REGS] = others | (abi.KVM_SYNC_X86_SREGS if shares else 0)
        self._at_exit = slice(REGS, SREGS_END if shares else REGS_END)

    @property
    def regs_written(self) -> bool:
        return bool(self.u64[U64_DIRTY_REGS])

    def write_regs(self, data: bytes | None = None) -> None:
        if data is not None:
            memmove(addressof(self.regs), data, REGS_SIZE)
        self.u64[U64_DIRTY_REGS] |= abi.KVM_SYNC_X86_REGS

    def show_regs(self, data: bytes) -> None:
        memmove(addressof(self.regs), data, REGS_SIZE)
        self.u64[U64_DIRTY_REGS] = 0

    @property
    def shared_sregs(self) -> abi.kvm_sregs | None:
        return abi.kvm_sregs.from_buffer_copy(self.page, REGS_END) if self.shares_sregs else None

    @property
    def shared_idtr(self) -> bytes:
        return self.raw[IDTR:IDTR_END]

    @property
    def shared_cr3(self) -> int:
        return self.u64[U64_CR3]

    @property
    def shared_events(self) -> abi.kvm_vcpu_events | None:
        """A copy of the events that were about to be delivered at the last exit, None where they are not in the page,
        or others now."""
        if not self.u64[U64_VALID_REGS] & abi.KVM_SYNC_X86_EVENTS:
            return None
        return abi.kvm_vcpu_events.from_buffer_copy(self.page, EVENTS)

    def share_events(self, now: abi.kvm_vcpu_events | None) -> None:
        """Have KVM put them into the page at each exit; ``now`` are those of now. None: no more of that."""
        if now is None:
            self.u64[U64_VALID_REGS] &= ~abi.KVM_SYNC_X86_EVENTS
        else:
            self.kvm_run.regs.events = now
            self.u64[U64_VALID_REGS] |= abi.KVM_SYNC_X86_EVENTS

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not there: the registers went with the page."""
        if name in ("regs", "kvm_run"):
            raise SessionStateError(GONE)
        raise AttributeError(name)

    def close_page(self) -> None:
        for view in (self.u32, self.u64, self.page):
            view.release()
        del self.regs, self.kvm_run
        with suppress(BufferError):  # somebody still holds a structure over the page; it goes with that
            self.raw.close()
