"""A kick ends the software vCPU's run where KVM's ends: behind the instruction whose exit has been answered."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
from kvmdbg.machine import kick
from kvmdbg.x86.asm import assemble


@pytest.mark.parametrize("asm", ["in al, 0x80", "mov al, [0xa0000]", "insb"])
def test_a_read_is_done_before_a_kick_is_heeded(tmp_path: Path, asm: str) -> None:
    """Else an interrupt that comes in then would be recorded in front of it."""
    code = assemble(f"{asm}; nop", 0x1000, 32)
    (tmp_path / "guest.bin").write_bytes(code)
    with kvmdbg.open(
        tmp_path / "guest.bin",
        format="flat",
        load=0x1000,
        mode="prot",
        memory=0x80000,
        engine="soft",
        serial="none",
        registers={"rdx": 0x80, "rdi": 0x5000},
    ) as dbg:
        runner: DebuggedVcpu = dbg.runners[0]

        def kicked() -> tuple[bool, int]:
            cpu = runner.vcpu
            cpu.run()
            assert cpu.unfinished
            kick.send(threading.get_ident())
            with pytest.raises(InterruptedError):
                cpu.run()
            assert kick.take()
            return cpu.unfinished, cpu.regs.rip

        assert runner.call(kicked) == (False, 0x1000 + len(code) - 1)
