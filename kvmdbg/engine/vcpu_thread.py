"""A vCPU's thread, which issues all of its ioctls, and its registers as they are at a stop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from kvmdbg.engine import stops
from kvmdbg.engine.unreported import Unreported
from kvmdbg.errors import GONE, SessionStateError
from kvmdbg.kvm import abi, exits
from kvmdbg.machine import kick
from kvmdbg.machine.cpu import Cpu
from kvmdbg.masks import LOW32, LOW64
from kvmdbg.x86.modes import Mode, mode_of

T = TypeVar("T")


class VcpuThread(threading.Thread):
    """The thread of ``vcpu``: it runs the jobs that are posted to it, one after the other.

    ``irqchip``: whether KVM has the interrupt controllers. ``unforeseen`` is told what a job raises that nobody waits
    for.
    """

    def __init__(self, vcpu: Cpu, *, irqchip: bool, unforeseen: Callable[[Exception], None]) -> None:
        super().__init__(name=f"kvmdbg-vcpu{vcpu.index}", daemon=True)
        self.vcpu = vcpu
        self.index = vcpu.index
        self.runs_guest = False
        self.changes = 0
        """Grows whenever registers may have changed; for whoever keeps values of theirs."""
        self.unreported = Unreported()
        self.called: str | None = None
        """The hook that this thread is in."""
        self._irqchip = irqchip
        self._unforeseen = unforeseen
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        """Lets no job in behind the last one: whoever waits for it would wait for ever."""
        self._over = False
        self._may_run = True
        self._sregs: abi.kvm_sregs | None = None
        self._mode: Mode | None = None
        self._pc: int | None = None
        self.start()
        self.call(self._set_up)

    def run(self) -> None:
        kick.expect()
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:  # the vCPU needs its thread
                self._unforeseen(error)

    def _set_up(self) -> None:
        self.vcpu.set_signal_mask(kick.KICK_SIGNAL)
        self.vcpu.show_regs(bytes(self.vcpu.get_regs()))

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on this thread and return what it returns (at once when already on it)."""
        if threading.current_thread() is self:
            return function()
        self.require_stopped()
        answer: queue.SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = queue.SimpleQueue()

        def job() -> None:
            try:
                answer.put((function(), None))
            except BaseException as error:  # handed to the caller
                answer.put((None, error))

        self.post(job)
        value, error = answer.get()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def post(self, function: Callable[[], None]) -> None:
        """Run ``function`` on this thread some time soon. SessionStateError when the thread is ending."""
        with self._gate:
            if self._over:
                raise SessionStateError(GONE)
            self._jobs.put(function)

    def kick(self) -> None:
        """End KVM_RUN with EINTR, now or at its next start."""
        if self.ident is not None:
            kick.send(self.ident)

    def end(self) -> None:
        """Finish the thread and close the vCPU."""
        with self._gate:
            self._over = True
            self._jobs.put(None)
        if threading.current_thread() is not self:
            self.join(timeout=5)
        self.vcpu.close()

    # --- registers ---------------------------------------------------------------------------------

    def require_stopped(self) -> None:
        if self._over:
            raise SessionStateError(GONE)
        if self.runs_guest and threading.current_thread() is not self:
            raise SessionStateError("the guest is running: interrupt it first")

    @property
    def sregs(self) -> abi.kvm_sregs:
        """The special registers, fetched once a stop."""
        if self._sregs is None:
            self.require_stopped()
            shared = self.vcpu.shared_sregs
            self._sregs = self.call(self.vcpu.get_sregs) if shared is None else shared
        return self._sregs

    def set_sregs(self, sregs: abi.kvm_sregs) -> None:
        self.require_stopped()
        self.vcpu.unshare_sregs()
        self.call(lambda: self.vcpu.set_sregs(sregs))
        self.forget()

    def set_general(self, name: str, value: int) -> None:
        """Write one of kvm_regs; KVM takes it at the next entry."""
        self._mode = self._pc = None
        self.changes += 1
        setattr(self.vcpu.regs, name, value)
        self.vcpu.write_regs()

    def moved(self, before: int) -> None:
        """The user has moved pc away from ``before``."""

    def forget(self) -> None:
        """Drop what was cached of the vCPU's state."""
        self.changes += 1
        self._sregs = self._mode = self._pc = None

    @property
    def mode(self) -> Mode:
        if self._mode is None:
            sregs = self.sregs
            self._mode = mode_of(sregs.cr0, sregs.efer, self.vcpu.regs.rflags, sregs.cs.l, sregs.cs.db)
        return self._mode

    @property
    def cs_base(self) -> int:
        """The base that turns rip into a linear address (0 in 64-bit mode)."""
        sregs = self.sregs
        return 0 if self.mode.bits == 64 else int(sregs.cs.base)

    @property
    def pc(self) -> int:
        """Linear address of the next instruction."""
        if self._pc is None:
            rip = int(self.vcpu.regs.rip)
            self._pc = rip if self.mode.bits == 64 else self.cs_base + rip & LOW32
        return self._pc

    def note_exit(self) -> None:
        """After an exit: forget what was cached, but take pc from a debug exit, which has it linear."""
        self._sregs = self._mode = self._pc = None
        if self.vcpu.reason == exits.KVM_EXIT_DEBUG:
            self._pc = self.vcpu.debug_pc

    @property
    def cpl(self) -> int:
        return 0 if self.mode.name == "real" else int(self.sregs.ss.dpl)

    @property
    def stack_pointer(self) -> int:
        """Linear address of the top of the stack."""
        return self.on_stack(0)

    def on_stack(self, offset: int) -> int:
        """Linear address ``offset`` bytes above the top of the stack, which goes on at the other end of its segment."""
        at = int(self.vcpu.regs.rsp) + offset
        if self.mode.bits == 64:
            return at & LOW64
        mask = LOW32 if self.sregs.ss.db else 0xFFFF
        return int(self.sregs.ss.base) + (at & mask) & LOW32

    def mp_state(self) -> int:
        """KVM_MP_STATE_*, on this vCPU's thread. Its registers may be others afterwards: KVM takes an INIT or SIPI."""
        state = self.vcpu.get_mp_state()
        self.forget()
        return state

    @property
    def may_run(self) -> bool:
        """Whether this vCPU runs code or may begin to at any time. One that waits for INIT does not; KVM tells of the
        INIT (EAGAIN), but not always of the SIPI behind it."""
        if not self._irqchip:
            return True
        if not self.runs_guest or threading.current_thread() is self:
            self._may_run = self.call(self.mp_state) != abi.KVM_MP_STATE_UNINITIALIZED
        return self._may_run

    def stop(self, kind: type[stops.Stop], **fields: Any) -> stops.Stop:
        """A stop of this vCPU, here."""
        return kind(vcpu=self.index, pc=self.pc, **fields)

    @staticmethod
    def drain() -> None:
        """Take back kicks that are pending on this thread."""
        while kick.take():
            pass

    def fetch_state(self) -> None:
        """Before another vCPU has the world to itself: fetch what may be asked of this one meanwhile."""
        _ = self.may_run, self.sregs  # in this order: the first may take an INIT or SIPI
