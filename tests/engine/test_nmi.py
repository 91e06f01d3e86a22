"""An NMI that has waited for the end of another's handler comes into no step: its frame would have the step's TF."""

from __future__ import annotations

from kvmdbg.engine.probe import INT1
from kvmdbg.kvm import abi, exits
from tests.scripted.cpu import ScriptedCpu
from tests.scripted.machine import profile, scripted_session
from tests.scripted.plays import debugs, leaves

HANDLER, BACK = 0x2000, 0x1100


def test_behind_iret_it_is_delivered_without_single_stepping() -> None:
    with scripted_session(b"\xcf") as dbg:  # iret
        dbg.let_probe_find(profile(INT1, steps_into_handlers=False))
        dbg.physical.write(0, HANDLER.to_bytes(4, "little") * 256)
        dbg.physical.write(HANDLER, b"\x43\xcf")
        dbg.physical.write(BACK, b"\x40\x40\x40")
        dbg.regs.set("rsp", 0x8000)
        stepped = []

        def iret(cpu: ScriptedCpu) -> None:
            events = cpu.get_events()
            events.nmi.pending = 1
            cpu.set_events(events)
            debugs(BACK, 1 << 14)(cpu)

        def nmi(cpu: ScriptedCpu) -> None:
            stepped.append(bool(cpu.control & abi.KVM_GUESTDBG_SINGLESTEP))
            events = cpu.get_events()
            events.nmi.pending = 0
            cpu.set_events(events)
            leaves(exits.InternalErrorExit(exits.SUBERROR_EMULATION, (), b""), to=HANDLER)(cpu)

        dbg.cpu.plays = [iret, nmi]
        dbg.breakpoint_hold = "stepping"
        dbg.break_at(HANDLER)
        assert dbg.run().pc == HANDLER
        assert stepped == [False]
