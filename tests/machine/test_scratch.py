"""The vCPU that runs on a private copy of a guest's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.kvm import abi
from kvmdbg.x86.asm import assemble


@pytest.mark.parametrize("engine", [pytest.param("kvm", marks=(pytest.mark.kvm, pytest.mark.kvm_alone)), "soft"])
def test_bytes_that_are_others_there_are_not_changed_in_the_guest(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "guest.bin"
    path.write_bytes(code := assemble("inc eax; hlt", 0x1000, 32))
    with kvmdbg.open(path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine=engine) as dbg:
        runner = dbg.runners[0]
        calls = runner.vcpu.get_regs, runner.vcpu.get_sregs, runner.vcpu.get_cpuid
        regs, sregs, cpuid = (runner.call(one) for one in calls)
        hidden = {0x1000: assemble("dec eax", 0, 32)[0], 0xFFFF0000: 0x90}  # the latter is no memory
        with runner.host.scratch_vcpu(dbg.machine, hidden, cpuid) as vcpu:
            vcpu.set_sregs(sregs)
            vcpu.set_regs(regs)
            vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP)
            vcpu.run()
            assert vcpu.get_regs().rax == 0xFFFFFFFF
        assert dbg.memory[0x1000 : 0x1000 + len(code)] == code
        dbg.step()
        assert dbg.regs.rax == 1
