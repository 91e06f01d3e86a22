"""Snapshots of a machine that only keeps what it is given: pages, what fits. No KVM is needed."""

from __future__ import annotations

from ctypes import sizeof
from typing import Any, cast

import pytest

from kvmdbg.errors import UsageError
from kvmdbg.kvm import Vcpu, abi
from kvmdbg.machine import snapshot
from kvmdbg.machine.snapshot import MemoryHistory
from kvmdbg.record import fields, replace
from kvmdbg.x86.registers import EFLAGS_RF
from tests.machine.made import KINDS, MSRS, SIZE, Made, Memory, page, state_of


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def history(memory: Memory) -> MemoryHistory:
    made = Made()
    made.memory = memory
    return MemoryHistory(made.machine)


def test_pages_that_are_zero_are_left_out(memory: Memory, history: MemoryHistory) -> None:
    memory.write(0x1000, b"one")
    memory.write(0x2000, b"\0")
    assert history.save() == {0x1000: page(b"one")}
    assert memory.tracked == 1


def test_later_snapshots_share_what_was_not_written(memory: Memory, history: MemoryHistory) -> None:
    memory.write(0x1000, b"one")
    memory.write(0x3000, b"three")
    first = history.save()
    memory.write(0x1000, b"ONE")
    memory.write(0x4000, b"four")
    second = history.save()
    memory.write(0x3000, bytes(5))
    third = history.save()
    assert first == {0x1000: page(b"one"), 0x3000: page(b"three")}
    assert second == {0x1000: page(b"ONE"), 0x3000: page(b"three"), 0x4000: page(b"four")}
    assert third == {0x1000: page(b"ONE"), 0x4000: page(b"four")}
    assert second[0x3000] is first[0x3000] and third[0x1000] is second[0x1000]
    assert memory.tracked == 1


def test_going_back_writes_what_differs(memory: Memory, history: MemoryHistory) -> None:
    for address in (0x1000, 0x2000, 0x3000):
        memory.write(address, b"first")
    first = history.save()
    memory.write(0x1000, b"second")
    memory.write(0x4000, b"new")
    second = history.save()
    memory.write(0x5000, b"stray")
    memory.put.clear()
    assert history.restore(first) == 3
    assert sorted(memory.put) == [0x1000, 0x4000, 0x5000]
    assert memory.read(0x1000, 5) + memory.read(0x4000, 3) + memory.read(0x5000, 5) == b"first" + bytes(8)
    assert history.restore(first) == 0
    assert history.restore(second) == 2 and memory.read(0x1000, 6) + memory.read(0x4000, 3) == b"secondnew"
    memory.write(0x2000, b"again")
    assert history.restore(second) == 1 and memory.read(0x2000, 5) == b"first"


def test_going_back_before_anything_was_saved(memory: Memory, history: MemoryHistory) -> None:
    memory.write(0x1000, b"old")
    memory.write(0x6000, b"old")
    assert history.restore({0x2000: page(b"two"), 0x1000: page(b"one")}) == 3
    assert memory.read(0x1000, 3) + memory.read(0x2000, 3) + memory.read(0x6000, 3) == b"onetwo" + bytes(3)
    assert memory.tracked == 1
    memory.write(0x1000, b"xxx")
    assert history.save() == {0x1000: page(b"xxx"), 0x2000: page(b"two")}
    assert memory.tracked == 1


# --- interrupt controllers and vCPUs ------------------------------------------------------------------


def test_chips() -> None:
    assert snapshot.save_chips(Made().machine) == ()
    made = Made(irqchip=True)
    chips = snapshot.save_chips(made.machine)
    assert [len(one) for one in chips] == [sizeof(abi.kvm_irqchip)] * 3 + [sizeof(abi.kvm_pit_state2)]
    assert [one[0] for one in chips] == [1, 2, 3, 9]
    snapshot.load_chips(made.machine, chips)
    assert made.vm.given == [("chip", chips[0]), ("chip", chips[1]), ("chip", chips[2]), ("pit", chips[3])]
    made.vm.given.clear()
    snapshot.load_chips(made.machine, ())
    assert made.vm.given == []


class Registers:
    """A vCPU that gives structures and keeps, in order, what it is set to."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.regs = abi.kvm_regs(rax=5)
        self.msrs = b"\x10" + bytes(15)

    def __getattr__(self, name: str) -> Any:
        verb, _, what = name.partition("_")
        if verb == "set":
            return lambda value: self.given.__setitem__(what, value)
        if what == "mp_state":
            return lambda: 3
        if what == "msrs":
            return lambda indices: self.msrs if indices == MSRS else b""
        made = KINDS[what].from_buffer_copy(bytes([len(what)]) * sizeof(KINDS[what]))
        return lambda: made


def test_state_of_a_vcpu_and_back() -> None:
    vcpu = Registers()
    state = snapshot.save_vcpu(cast(Vcpu, vcpu), MSRS, True)
    assert state.regs == bytes(vcpu.regs) and state.mp_state == 3 and state.msrs == vcpu.msrs
    for name in ("sregs", "xsave", "xcrs", "debugregs", "events", "lapic"):
        assert getattr(state, name) == bytes([len(name)]) * sizeof(KINDS[name])
    assert snapshot.save_vcpu(cast(Vcpu, vcpu), MSRS, False).lapic == b""
    state = replace(state, events=bytes(sizeof(abi.kvm_vcpu_events)))
    snapshot.load_vcpu(cast(Vcpu, vcpu), state, MSRS)
    assert list(vcpu.given) == ["sregs", "regs", "xcrs", "xsave", "debugregs", "lapic", "mp_state", "events"]
    for name, value in vcpu.given.items():
        if name not in ("events", "mp_state"):
            assert bytes(value) == getattr(state, name)
    assert vcpu.given["mp_state"] == 3


@pytest.mark.parametrize(("vector", "in_frame"), [(13, EFLAGS_RF), (14, EFLAGS_RF), (1, 0), (8, 0)])
def test_a_fault_that_waits_has_the_resume_flag_in_its_frame(vector: int, in_frame: int) -> None:
    vcpu = Registers()
    events = abi.kvm_vcpu_events()
    events.exception.pending, events.exception.nr = 1, vector
    state = replace(
        snapshot.save_vcpu(cast(Vcpu, vcpu), MSRS, False), events=bytes(events), regs=bytes(abi.kvm_regs(rflags=2))
    )
    snapshot.load_vcpu(cast(Vcpu, vcpu), state, MSRS)
    assert vcpu.given["regs"].rflags == 2 | in_frame


def test_msrs_are_set_when_they_differ() -> None:
    vcpu = Registers()
    state = snapshot.save_vcpu(cast(Vcpu, vcpu), MSRS, False)
    vcpu.msrs = b"\x10" + bytes(14) + b"\x01"
    snapshot.load_vcpu(cast(Vcpu, vcpu), state, MSRS)
    assert vcpu.given["msrs"] == state.msrs and "lapic" not in vcpu.given


def test_events_take_all_fields() -> None:
    """KVM_VCPUEVENT_VALID_NMI_PENDING, _SIPI_VECTOR and _SHADOW are set beside what is there."""
    vcpu = Registers()
    state = replace(snapshot.save_vcpu(cast(Vcpu, vcpu), MSRS, False), events=bytes(sizeof(abi.kvm_vcpu_events)))
    snapshot.load_vcpu(cast(Vcpu, vcpu), state, MSRS)
    assert vcpu.given["events"].flags == 7
    kept = abi.kvm_vcpu_events(flags=0x10)
    snapshot.load_vcpu(cast(Vcpu, vcpu), replace(state, events=bytes(kept)), MSRS)
    assert vcpu.given["events"].flags == 0x17


def test_cpu_without_xsave_has_no_xcrs() -> None:
    vcpu = Registers()
    state = snapshot.save_vcpu(cast(Vcpu, vcpu), MSRS, False)
    snapshot.load_vcpu(cast(Vcpu, vcpu), replace(state, xcrs=bytes(sizeof(abi.kvm_xcrs))), MSRS)
    assert "xcrs" not in vcpu.given and "xsave" in vcpu.given


# --- what fits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "into", "says"),
    [
        (Made(), Made(vcpus=2), "a guest with 1 vCPUs, this one has 2"),
        (Made(True), Made(), "other interrupt controllers"),
        (Made(), Made(True), "other interrupt controllers"),
    ],
)  # fmt: skip
def test_state_of_another_machine(of: Made, into: Made, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        snapshot.check_fits(state_of(of), into.machine)
    snapshot.check_fits(state_of(of), of.machine)


def test_state_of_another_size() -> None:
    with pytest.raises(UsageError, match=f"a guest with {SIZE + 1:#x} bytes of memory, not of one like this"):
        snapshot.check_fits(state_of(Made(), memory=SIZE + 1), Made().machine)
    (vcpu,) = state_of(Made()).vcpus
    with pytest.raises(UsageError, match="a host with another size of XSAVE state"):
        snapshot.check_fits(state_of(Made(), vcpus=(replace(vcpu, xsave=b"x"),)), Made().machine)
    assert fields(vcpu)["mp_state"] == 0
