"""A machine on KVM: what it is made of, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from kvmdbg.errors import KvmUnavailable, UsageError
from kvmdbg.kvm import abi
from kvmdbg.kvm.system import System
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment
from kvmdbg.machine.machine import Machine
from kvmdbg.pytest_plugin import Guests

pytestmark = [pytest.mark.kvm, pytest.mark.kvm_alone]


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(0x100001, 1)
    yield made
    made.close()


def test_memory_is_whole_pages(machine: Machine) -> None:
    assert machine.memory.size == 0x101000 and len(machine.vcpus) == 1 and not machine.irqchip
    with pytest.raises(UsageError, match="a guest needs memory: 0 bytes were asked for"):
        Machine(0, 1)
    with pytest.raises(UsageError, match="a guest needs memory: -1 bytes were asked for"):
        Machine(-1, 1)


def test_number_of_vcpus_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = System.check_extension
    monkeypatch.setattr(
        System, "check_extension", lambda self, number: 1 if number == abi.KVM_CAP_MAX_VCPUS else answer(self, number)
    )
    Machine(1 << 20, 1).close()
    with pytest.raises(UsageError, match="this KVM has at most 1 vCPUs a guest, 2 were asked for"):
        Machine(1 << 20, 2)
    monkeypatch.setattr(
        System, "check_extension", lambda self, number: 0 if number == abi.KVM_CAP_MAX_VCPUS else answer(self, number)
    )
    with pytest.raises(UsageError, match="this KVM has at most 4 vCPUs a guest, 5 were asked for"):
        Machine(1 << 20, 5)


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        (abi.KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"), (abi.KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"),
        (abi.KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS"), (abi.KVM_CAP_SET_GUEST_DEBUG, "KVM_CAP_SET_GUEST_DEBUG"),
        (abi.KVM_CAP_IRQCHIP, "no in-kernel irqchip: --irqchip and several vCPUs need it"),
    ],
)  # fmt: skip
def test_what_a_kvm_must_have(monkeypatch: pytest.MonkeyPatch, capability: int, name: str) -> None:
    answer = System.check_extension
    monkeypatch.setattr(
        System, "check_extension", lambda self, number: 0 if number == capability else answer(self, number)
    )
    with pytest.raises(KvmUnavailable, match=name):
        Machine(1 << 20, 1, irqchip=True)


def test_each_vcpu_has_its_apic_id_and_several_have_interrupt_controllers() -> None:
    changed: list[int] = []

    def change(table: abi.kvm_cpuid2) -> None:
        changed.append(table.nent)

    machine = Machine(1 << 20, 3, change_cpuid=change)
    try:
        assert machine.irqchip and len(changed) == 1
        for index, vcpu in enumerate(machine.vcpus):
            table = vcpu.get_cpuid()
            (one,) = (entry for entry in table.entries[: table.nent] if entry.function == 1)
            assert one.ebx >> 24 == index
        assert machine.vm.get_pit() is not None
    finally:
        machine.close()


def test_limits_of_paging_are_those_that_the_guest_sees() -> None:
    def narrow(table: abi.kvm_cpuid2) -> None:
        for entry in table.entries[: table.nent]:
            if entry.function == 0x80000008:
                entry.eax = entry.eax & ~0xFF | 39

    machine = Machine(1 << 20, 1, change_cpuid=narrow)
    try:
        assert machine.paging_limits.address_bits == 39
    finally:
        machine.close()


def test_image_and_structures_come_into_memory(machine: Machine) -> None:
    image = Image("guest", "flat", [Segment(0x2000, b"code", 0x10, name="text")], "prot", Entry(None, 0x2000))
    machine.memory.write(0x2000, b"\xff" * 0x10)
    state = machine.load(image, LoadOptions())
    assert machine.memory.read(0x2000, 0x10) == b"code" + bytes(12)
    gdt = next(one for one in state.writes if one.name == "GDT")
    assert machine.memory.read(gdt.address, len(gdt.data)) == gdt.data != bytes(len(gdt.data))


@pytest.mark.parametrize("lines", [(0, 1, 2, 14), (7, 8, 15), (), range(16)])
def test_the_kernel_s_controllers_as_firmware_leaves_them(lines: Sequence[int]) -> None:
    """Struct kvm_pic_state of the kernel's asm/kvm.h: masks are byte 2, the base of the vectors is byte 5."""
    made = Machine(1 << 20, 1, irqchip=True)
    made.set_up_chips(0x28, 0x70, lines)
    pics = [bytes(made.vm.get_irqchip(number).chip) for number in (0, 1)]
    timer = bytes(made.vm.get_pit().channels)
    made.close()
    assert [pic[5] for pic in pics] == [0x28, 0x70]
    assert {line for line in range(16) if not pics[line // 8][2] >> line % 8 & 1} == set(lines)
    assert timer[:4] == (0x10000).to_bytes(4, "little") and timer[13] == 3


def test_closed_machine_has_no_memory(machine: Machine) -> None:
    other = Machine(1 << 20, 1)
    other.close()
    assert other.memory.regions == [] and machine.memory.regions


@pytest.mark.parametrize("irqchip", ["kernel", "user", "none"])
def test_only_kvm_s_controllers_bring_a_local_apic(irqchip: str, kvm_guest: Guests) -> None:
    """CPUID says so, as the guest sees it, and IA32_APIC_BASE."""
    dbg = kvm_guest(asm="mov eax, 1; cpuid; hlt", irqchip=irqchip)
    dbg.run(timeout=5)
    has = irqchip == "kernel"
    assert bool(dbg.regs.rdx & 1 << 9) == has
    assert not dbg.regs.rcx & 1 << 21 or has
    assert bool(dbg.regs.get("apic_base") & 1 << 11) == has
