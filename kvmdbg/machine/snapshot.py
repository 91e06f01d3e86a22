"""The state of a whole machine at one moment: memory, vCPUs, interrupt controllers, devices.

Memory is kept as pages that snapshots share with each other: one that follows another copies only the pages that were
written since (KVM's dirty log), and going back writes only those that differ.
"""

from __future__ import annotations

import os
from contextlib import suppress
from ctypes import Structure, sizeof
from typing import Any, TypeVar

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.kvm import Vcpu, abi
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import PAGE
from kvmdbg.record import fields, record

MAGIC = b"kvmdbg snapshot 1\n"
ZERO = bytes(PAGE)
CHIPS = 3
Pages = dict[int, bytes]
S = TypeVar("S", bound=Structure)


@record
class VcpuState:
    """One vCPU, each part as the structure that KVM gave; ``lapic`` is empty without an irqchip in the kernel."""

    regs: bytes
    sregs: bytes
    xsave: bytes
    xcrs: bytes
    debugregs: bytes
    events: bytes
    mp_state: int
    msrs: bytes
    lapic: bytes


@record
class MachineState:
    """``pages`` are those that are not zero, by guest-physical address; ``chips`` PICs, IOAPIC and PIT."""

    pages: Pages
    memory: int
    vcpus: tuple[VcpuState, ...]
    chips: tuple[bytes, ...]
    devices: list[tuple[str, Any]]


def save_vcpu(vcpu: Vcpu, msrs: list[int], irqchip: bool) -> VcpuState:
    """The state of a vCPU that rests; on its own thread.

    The general registers are those of the shared page: KVM_GET_REGS hides EFLAGS.TF while single-stepping is on.
    """
    return VcpuState(
        bytes(vcpu.regs), bytes(vcpu.get_sregs()), bytes(vcpu.get_xsave()), bytes(vcpu.get_xcrs()),
        bytes(vcpu.get_debugregs()), bytes(vcpu.get_events()), vcpu.get_mp_state(), vcpu.get_msrs(msrs),
        bytes(vcpu.get_lapic()) if irqchip else b"",
    )  # fmt: skip


def load_vcpu(vcpu: Vcpu, state: VcpuState, msrs: list[int]) -> None:
    """Give a vCPU a state of ``save_vcpu`` back; on its own thread."""
    vcpu.set_sregs(_structure(abi.kvm_sregs, state.sregs))
    vcpu.set_regs(_structure(abi.kvm_regs, state.regs))
    xcrs = _structure(abi.kvm_xcrs, state.xcrs)
    if xcrs.nr_xcrs:  # none on a CPU without XSAVE
        vcpu.set_xcrs(xcrs)
    vcpu.set_xsave(_structure(abi.kvm_xsave, state.xsave))
    if vcpu.get_msrs(msrs) != state.msrs:
        vcpu.set_msrs(state.msrs)
    vcpu.set_debugregs(_structure(abi.kvm_debugregs, state.debugregs))
    if state.lapic:
        vcpu.set_lapic(_structure(abi.kvm_lapic_state, state.lapic))
    vcpu.set_mp_state(state.mp_state)
    events = _structure(abi.kvm_vcpu_events, state.events)
    events.flags |= EVENT_FLAGS
    vcpu.set_events(events)


EVENT_FLAGS = 0x1 | 0x2 | 0x4
"""KVM_VCPUEVENT_VALID_NMI_PENDING, _SIPI_VECTOR and _SHADOW: take these fields too."""


def _structure(kind: type[S], data: bytes) -> S:
    return kind.from_buffer_copy(data)


class MemoryHistory:
    """Which pages memory consisted of when it was last saved or restored; everything since is in the dirty log."""

    def __init__(self, machine: Machine) -> None:
        self._memory = machine.memory
        self._base: Pages | None = None

    def save(self) -> Pages:
        """All pages that are not zero. Those that were not written since the last time are the same objects."""
        memory = self._memory
        if self._base is None:
            memory.track()
            changed = set(memory.populated())
            pages: Pages = {}
        else:
            changed = memory.take_dirty()
            pages = dict(self._base)
        for address in changed:
            data = memory.read(address, PAGE)
            if data == ZERO:
                pages.pop(address, None)
            else:
                pages[address] = data
        self._base = pages
        return pages

    def restore(self, pages: Pages) -> int:
        """Make memory consist of these pages again; how many had to be written."""
        memory = self._memory
        if self._base is None:
            memory.track()
            changed = set(memory.populated()) | set(pages)
        else:
            changed = memory.take_dirty()
            if self._base is not pages:
                base = self._base
                changed |= {one for one in base.keys() | pages.keys() if base.get(one) is not pages.get(one)}
        for address in changed:
            memory.put_page(address, pages.get(address, ZERO))
        self._base = pages
        return len(changed)


def save_chips(machine: Machine) -> tuple[bytes, ...]:
    if not machine.irqchip:
        return ()
    chips = [bytes(machine.vm.get_irqchip(number)) for number in range(CHIPS)]
    return (*chips, bytes(machine.vm.get_pit()))


def load_chips(machine: Machine, chips: tuple[bytes, ...]) -> None:
    for chip in chips[:CHIPS]:
        machine.vm.set_irqchip(_structure(abi.kvm_irqchip, chip))
    for pit in chips[CHIPS:]:
        machine.vm.set_pit(_structure(abi.kvm_pit_state2, pit))


# --- files ---------------------------------------------------------------------------------------------


def write_file(path: str, state: MachineState, about: dict[str, Any]) -> None:
    """Put a state into a file: a header of JSON, the pages (zlib), and a SHA-256 of both. LoadError."""
    import hashlib
    import json
    import zlib

    addresses = sorted(state.pages)
    header = {
        "about": about,
        "memory": state.memory,
        "pages": addresses,
        "vcpus": [_packed(fields(vcpu)) for vcpu in state.vcpus],
        "chips": _packed(list(state.chips)),
        "devices": _packed_devices(state.devices),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    body = zlib.compress(b"".join(state.pages[address] for address in addresses), 1)
    content = len(text).to_bytes(8, "little") + text + body
    replaces = os.path.isfile(path) or not os.path.exists(path)  # a pipe or a device is written itself
    written = f"{path}.part" if replaces else path
    try:
        with open(written, "wb") as file:
            file.write(MAGIC + hashlib.sha256(content).digest() + content)
        if replaces:
            os.replace(written, path)
    except OSError as error:
        if replaces:
            with suppress(OSError):
                os.unlink(written)
        raise LoadError(f"cannot write {path}: {error.strerror}") from None


def read_file(path: str) -> tuple[MachineState, dict[str, Any]]:
    """The state in a file and what it is about. LoadError when it is none, of another version, or damaged."""
    import hashlib
    import json
    import zlib

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None
    if not data.startswith(MAGIC):
        known = data.startswith(MAGIC[: MAGIC.index(b"1")])
        raise LoadError(f"{path} is {'a snapshot of another version of kvmdbg' if known else 'no snapshot of kvmdbg'}")
    digest, content = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if hashlib.sha256(content).digest() != digest:
        raise LoadError(f"{path} is damaged: its checksum does not match")
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    body = zlib.decompress(content[8 + size :])
    pages = {address: body[n * PAGE : (n + 1) * PAGE] for n, address in enumerate(header["pages"])}
    vcpus = tuple(VcpuState(**_unpacked(one)) for one in header["vcpus"])
    devices = [(name, state) for name, state in _unpacked(header["devices"])]
    state = MachineState(pages, header["memory"], vcpus, tuple(_unpacked(header["chips"])), devices)
    return state, header["about"]


def _packed_devices(devices: list[tuple[str, Any]]) -> list[Any]:
    """The states of devices as JSON has them. LoadError for one that JSON does not have."""
    import json

    for name, state in devices:
        try:
            json.dumps(_packed(state))
        except (TypeError, ValueError) as error:
            raise LoadError(f"the state of the device {name} cannot be put into a file: {error}") from None
    packed: list[Any] = _packed(devices)
    return packed


def _packed(value: Any) -> Any:
    """As JSON has it: bytes become {"bytes": base64}."""
    from base64 import b64encode

    if isinstance(value, bytes):
        return {"bytes": b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _packed(one) for key, one in value.items()}
    return [_packed(one) for one in value] if isinstance(value, list | tuple) else value


def _unpacked(value: Any) -> Any:
    from base64 import b64decode

    if isinstance(value, dict):
        if value.keys() == {"bytes"}:
            return b64decode(value["bytes"])
        return {key: _unpacked(one) for key, one in value.items()}
    return [_unpacked(one) for one in value] if isinstance(value, list) else value


def check_fits(state: MachineState, machine: Machine) -> None:
    """UsageError where a state is not one of a machine like this."""
    if state.memory != machine.memory.size:
        raise UsageError(f"the snapshot is of a guest with {state.memory:#x} bytes of memory, not of one like this")
    if len(state.vcpus) != len(machine.vcpus):
        raise UsageError(f"the snapshot is of a guest with {len(state.vcpus)} vCPUs, this one has {len(machine.vcpus)}")
    if bool(state.chips) != machine.irqchip:
        raise UsageError("the snapshot is of a guest with other interrupt controllers than this one")
    if any(len(vcpu.xsave) != sizeof(abi.kvm_xsave) for vcpu in state.vcpus):
        raise UsageError("the snapshot was made on a host with another size of XSAVE state")
