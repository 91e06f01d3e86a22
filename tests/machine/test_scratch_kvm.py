"""The vCPU of a VM of its own, on a private copy of a guest's memory, on KVM."""

from __future__ import annotations

import pytest

from kvmdbg.kvm import abi
from kvmdbg.machine.scratch import scratch_vcpu
from kvmdbg.pytest_plugin import Guests
from kvmdbg.x86.asm import assemble

pytestmark = pytest.mark.kvm


def test_bytes_that_are_others_there_are_not_changed_in_the_guest(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="inc eax; hlt", mode="prot")
    start, runner = dbg.regs.rip, dbg.runners[0]
    code = dbg.memory[start : start + 2]
    regs, sregs, cpuid = (
        runner.call(one) for one in (runner.vcpu.get_regs, runner.vcpu.get_sregs, runner.vcpu.get_cpuid)
    )
    hidden = {start: assemble("dec eax", 0, 32)[0], 0xFFFF0000: 0x90}  # the latter is no memory
    with scratch_vcpu(dbg.machine, hidden, cpuid) as vcpu:
        vcpu.set_sregs(sregs)
        vcpu.set_regs(regs)
        vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP)
        vcpu.run()
        assert vcpu.get_regs().rax == 0xFFFFFFFF
    assert dbg.memory[start : start + 2] == code
    dbg.step()
    assert dbg.regs.rax == 1
