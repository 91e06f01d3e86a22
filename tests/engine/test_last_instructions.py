"""The way to a shutdown, stepped once more on a vCPU by itself."""

from __future__ import annotations

from typing import Any, cast

from kvmdbg.engine.replay import KEPT, Trail, _steps
from kvmdbg.kvm import abi, exits
from kvmdbg.machine.cpu import Cpu


class Stepped:
    """Goes to the next byte with each step, and shuts down at ``last``."""

    def __init__(self, last: int) -> None:
        self._rip, self._last = 0, last
        self.reason = exits.KVM_EXIT_DEBUG

    def get_regs(self) -> abi.kvm_regs:
        return abi.kvm_regs(rip=self._rip)

    def get_sregs(self) -> abi.kvm_sregs:
        return abi.kvm_sregs()

    def set_guest_debug(self, control: int) -> None:
        assert control & abi.KVM_GUESTDBG_SINGLESTEP

    def run(self) -> None:
        if self._rip == self._last:
            self.reason = exits.KVM_EXIT_SHUTDOWN
        else:
            self._rip += 1


def way(last: int) -> Trail:
    found = _steps(cast(Cpu, cast(Any, Stepped(last))), lambda: False, lambda regs, sregs: False)
    assert found is not None
    return found


def test_the_last_sixteen_are_kept() -> None:
    assert KEPT == 16
    for last in (0, 15, 16, 40):
        found = way(last)
        assert [regs.rip for regs in found.steps] == list(range(max(last - 15, 0), last + 1))
        assert found.ended and found.count == last + 1
