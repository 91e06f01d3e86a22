"""A vCPU, whoever runs it: KVM (kvm/vcpu.py), or a script in tests.

All but ``index`` and the shared page's copies belong to the vCPU's own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.counted_port import CountedPort
from kvmdbg.kvm.stride_terms import StrideTerms

P = TypeVar("P", bound=CountedPort)


class Collected(Protocol):
    """Writes to ports that were collected instead of exiting."""

    @property
    def indexes(self) -> bytes:
        """Where it begins and ends: the same for a while and ``waiting``, when something is held back."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether there is anything."""
        ...

    def writes(self) -> Iterator[tuple[int, bytes]]:
        """(port, bytes) in the order in which the guest wrote them; they stay until they are dropped."""
        ...

    def drop(self) -> None: ...


class CountReached(Exception):
    """A free run has ended as all its ``instructions_left`` have been run."""


class Cpu(Protocol):
    """How it is entered, what its last exit says, and its state."""

    index: int
    regs: abi.kvm_regs
    """The general registers, as they were at the last exit; ``write_regs`` says that they have been written to."""
    sregs_at_reset: bytes
    """struct kvm_sregs of one that is new."""
    exits_left: int
    """After how many exits ``free_run`` has to end; 0 or less for no limit."""
    counts_instructions: bool
    """``instructions_left`` is obeyed."""
    instructions_left: int | None
    """After how many instructions ``free_run`` ends with CountReached, before the next; None for no limit."""
    entered_handler: bool
    """Its last step is known to have delivered an event: no flag or trap of the instruction's is left to give."""
    halted: bool
    """It is in a hlt that waits for an interrupt, and KVM does not know: whoever would enter it has to wait."""
    wants_window: bool
    """``free_run`` is to end (KVM_EXIT_IRQ_WINDOW_OPEN) as soon as ``takes_interrupt``."""

    @property
    def ring(self) -> Collected | None:
        """None where nothing is ever collected."""
        ...

    # --- running

    def run(self) -> None:
        """Run until the next exit. InterruptedError when a signal ended it, OSError where it is refused."""
        ...

    def complete(self) -> bool:
        """Finish the instruction of the last exit, and run no other; whether that has led to another exit. OSError."""
        ...

    def free_run(
        self, ports: Mapping[int, P], note: Callable[[tuple[P, bytes]], object], collected: Callable[[], None]
    ) -> Callable[[], P | None]:
        """What enters the guest until an exit that somebody wants; it says of which of ``ports``, by ``io_key``.

        Their exits are counted, and noted with ``registers_at_exit``. It ends with those that are not quiet, all others
        (None), and the last one that ``exits_left`` allows. ``collected`` is called before, where there is something in
        the ``ring``. BlockingIOError when INIT or SIPI has woken it, else the errors of ``run``.
        """
        ...

    def step(self) -> int | None:
        """Run for one step, which ``set_guest_debug`` has asked for: the linear address to which it led.

        None where something else has happened, or nothing; after a kick, INIT or SIPI it reads as KVM_EXIT_INTR.
        OSError where it is refused.
        """
        ...

    def stride(self, terms: StrideTerms, code: memoryview | bytes, pc: int, most: int) -> tuple[int, int | None, bytes]:
        """Steps from linear address ``pc`` on in the page of ``code``, at most so many, over plain instructions.

        How many were made, and where they have led; None where the last, which began with the general registers that
        come with it, has not ended as a step: then it is as after ``step``.
        """
        ...

    def set_guest_debug(self, control: int, debugreg: tuple[int, ...] = ()) -> None:
        """``control`` of KVM_GUESTDBG_*, ``debugreg`` DR0 to DR7 for USE_HW_BP."""
        ...

    def set_signal_mask(self, *unblocked: int) -> None:
        """While it runs block every signal but these; one that is pending ends it."""
        ...

    # --- the last exit

    @property
    def reason(self) -> int:
        """KVM_EXIT_* of kvm/exits.py; the others are for exits of their reason.

        KVM_EXIT_INTR where none has come, or the one that came is done with: it was ended by a signal, refused, or
        completed.
        """
        ...

    @property
    def unfinished(self) -> bool:
        """Whether it is in the middle of an instruction, which ``complete``, or whatever enters next, finishes."""
        ...

    def exit(self) -> exits.Exit:
        """All of it."""
        ...

    @property
    def io_key(self) -> int:
        """The port << 16 | bytes of an item << 8 | whether the guest writes."""
        ...

    @property
    def io_data(self) -> memoryview:
        """What it writes, or is to read; of string instructions all items."""
        ...

    @property
    def mmio(self) -> tuple[int, int, bool]:
        """Address, bytes, and whether the guest writes."""
        ...

    @property
    def mmio_data(self) -> memoryview:
        """Eight bytes that begin with what it writes, or is to read."""
        ...

    @property
    def debug_exception(self) -> int:
        """1 or 3."""
        ...

    @property
    def debug_pc(self) -> int:
        """The linear address of the next instruction."""
        ...

    @property
    def debug_dr6(self) -> int: ...

    def answer_msr(self, value: int | None) -> None:
        """What RDMSR reads, or anything for WRMSR; None: it raises #GP."""
        ...

    def answer_hypercall(self, result: int) -> None: ...

    # --- general and special registers

    def copy_of_regs(self) -> bytes:
        """struct kvm_regs; kvm/saved_regs.py says what is where."""
        ...

    def registers_at_exit(self) -> bytes:
        """The same, with struct kvm_sregs behind it where it is shared."""
        ...

    @property
    def regs_written(self) -> bool: ...

    def write_regs(self, data: bytes | None = None) -> None:
        """Have ``regs`` taken at the next entry; ``data`` is put there before."""
        ...

    def show_regs(self, data: bytes) -> None:
        """Have in ``regs`` what the vCPU has already."""
        ...

    def flush_regs(self) -> None:
        """Have ``regs`` taken now, if they were written to."""
        ...

    def get_regs(self) -> abi.kvm_regs: ...

    def set_regs(self, regs: abi.kvm_regs) -> None: ...

    def get_sregs(self) -> abi.kvm_sregs: ...

    def set_sregs(self, sregs: abi.kvm_sregs) -> None: ...

    def share_sregs(self, now: abi.kvm_sregs) -> None:
        """Have the special registers at hand after each exit, where that can be; ``now`` are those it has now."""
        ...

    def unshare_sregs(self) -> None: ...

    @property
    def shares_sregs(self) -> bool:
        """Whether they are at hand."""
        ...

    @property
    def shared_sregs(self) -> abi.kvm_sregs | None:
        """A copy of them, None where they are not at hand."""
        ...

    @property
    def shared_idtr(self) -> bytes:
        """Base and limit of the IDT, where special registers are shared: the same bytes as long as it is the same."""
        ...

    @property
    def shared_cr3(self) -> int:
        """CR3, where special registers are shared."""
        ...

    # --- other state

    def get_xsave(self) -> abi.kvm_xsave: ...

    def set_xsave(self, xsave: abi.kvm_xsave) -> None: ...

    def get_xcrs(self) -> abi.kvm_xcrs: ...

    def set_xcrs(self, xcrs: abi.kvm_xcrs) -> None: ...

    def get_debugregs(self) -> abi.kvm_debugregs: ...

    def set_debugregs(self, debugregs: abi.kvm_debugregs) -> None: ...

    def get_msr(self, index: int) -> int | None:
        """None where it has no such MSR."""
        ...

    def set_msr(self, index: int, value: int) -> bool:
        """Whether it took the value."""
        ...

    def get_msrs(self, indices: Sequence[int]) -> bytes:
        """The entries (struct kvm_msr_entry, 16 bytes each) of these MSRs, as far as it has them."""
        ...

    def set_msrs(self, entries: bytes) -> None:
        """Write entries of ``get_msrs``; one that it refuses is left out."""
        ...

    def get_events(self) -> abi.kvm_vcpu_events: ...

    def holds_event(self) -> bool:
        """Whether an exception, interrupt or NMI is about to be delivered, before the instruction at rip."""
        ...

    def set_events(self, events: abi.kvm_vcpu_events) -> None: ...

    def takes_interrupt(self) -> bool:
        """Whether an external interrupt can come in now: EFLAGS.IF is set, nothing else is about to be delivered."""
        ...

    def interrupt(self, vector: int) -> None:
        """Have it delivered before the next instruction; only where ``takes_interrupt``."""
        ...

    def get_tsc_khz(self) -> int:
        """How many thousand times a second the time stamp counter counts, 0 where that is not known."""
        ...

    def get_mp_state(self) -> int:
        """KVM_MP_STATE_*. An INIT or SIPI that waits is taken: ``regs`` are those behind it."""
        ...

    def set_mp_state(self, state: int) -> None: ...

    def get_lapic(self) -> abi.kvm_lapic_state: ...

    def set_lapic(self, lapic: abi.kvm_lapic_state) -> None: ...

    def get_cpuid(self) -> abi.kvm_cpuid2: ...

    def close(self) -> None: ...
