"""The last instructions before a fatal end, found by running them again in a scratch machine.

Nothing records what a vCPU runs between two exits. But memory is a file that a second machine can map as a private
copy, so the way from the last exit to the end can be stepped once more there, without touching the guest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import KvmdbgError
from kvmdbg.kvm import abi, exits
from kvmdbg.machine import kick
from kvmdbg.machine.cpu import Cpu
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.host import Host
    from kvmdbg.machine.machine import Machine

Arrived = Callable[[abi.kvm_regs, abi.kvm_sregs], bool]
STEPS = 50_000
KEPT = 16


@record
class Trail:
    """``steps``: the registers before each of the last instructions, oldest first; ``sregs`` before the last one.

    ``ended``: the last of them leads to a shutdown.
    """

    steps: tuple[abi.kvm_regs, ...]
    sregs: abi.kvm_sregs
    ended: bool
    count: int


def replay(
    host: Host,
    machine: Machine,
    hidden: Mapping[int, int],
    regs: abi.kvm_regs,
    sregs: abi.kvm_sregs,
    cpuid: abi.kvm_cpuid2,
    give_up: Callable[[], bool],
    arrived: Arrived = lambda regs, sregs: False,
) -> Trail | None:
    """Step from this state on a copy of the guest's memory to a shutdown, or to a state that has ``arrived``.

    None where this cannot be done.

    ``hidden`` are the bytes under the debugger's traps, by guest-physical address.

    Reads from ports and devices give ones; no interrupt comes in. At most ``STEPS`` instructions, and only until
    ``give_up`` says so: it is asked before each step, and when a kick of this thread ends one.
    """
    with suppress(KvmdbgError, OSError), host.scratch_vcpu(machine, hidden, cpuid) as vcpu:
        vcpu.set_sregs(sregs)
        vcpu.set_regs(regs)
        vcpu.set_signal_mask(kick.KICK_SIGNAL)
        return _steps(vcpu, give_up, arrived)
    return None


def _steps(vcpu: Cpu, give_up: Callable[[], bool], arrived: Arrived) -> Trail | None:
    control = abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP
    last: deque[abi.kvm_regs] = deque(maxlen=KEPT)
    now = vcpu.get_regs()
    sregs = vcpu.get_sregs()
    for count in range(1, STEPS + 1):
        if not last or now.rip != last[-1].rip or bytes(now) != bytes(last[-1]):
            last.append(now)
        if give_up() or arrived(now, sregs):
            return Trail(tuple(last), sregs, False, count)
        vcpu.set_guest_debug(control)
        try:
            vcpu.run()
        except InterruptedError:
            kick.take()
            continue
        reason = vcpu.reason
        if reason == exits.KVM_EXIT_SHUTDOWN:
            return Trail(tuple(last), sregs, True, count)
        if reason == exits.KVM_EXIT_IO:
            vcpu.io_data[:] = b"\xff" * len(vcpu.io_data)
        elif reason == exits.KVM_EXIT_MMIO:
            vcpu.mmio_data[:] = b"\xff" * 8
        elif reason != exits.KVM_EXIT_DEBUG:
            return Trail(tuple(last), sregs, False, count)
        now = vcpu.get_regs()
        sregs = vcpu.get_sregs()
    return Trail(tuple(last), sregs, False, STEPS)
