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
from kvmdbg.kvm import abi
from kvmdbg.kvm.vcpu import MSR_ENTRY
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import PAGE
from kvmdbg.record import fields, record, replace
from kvmdbg.x86.registers import EFLAGS_RF, NO_FAULTS

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


def save_vcpu(vcpu: Cpu, msrs: list[int], irqchip: bool) -> VcpuState:
    """The state of a vCPU that rests; on its own thread.

    The general registers are those of the shared page: KVM_GET_REGS hides EFLAGS.TF while single-stepping is on.
    """
    return VcpuState(
        bytes(vcpu.regs), bytes(vcpu.get_sregs()), bytes(vcpu.get_xsave()), bytes(vcpu.get_xcrs()),
        bytes(vcpu.get_debugregs()), bytes(vcpu.get_events()), vcpu.get_mp_state(), vcpu.get_msrs(msrs),
        bytes(vcpu.get_lapic()) if irqchip else b"",
    )  # fmt: skip


def load_vcpu(vcpu: Cpu, state: VcpuState, msrs: list[int]) -> None:
    """Give a vCPU a state of ``save_vcpu`` back; on its own thread."""
    vcpu.set_sregs(_structure(abi.kvm_sregs, state.sregs))
    regs, events = _structure(abi.kvm_regs, state.regs), _structure(abi.kvm_vcpu_events, state.events)
    regs.rflags |= resume_flag_of_fault(events)
    vcpu.set_regs(regs)
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
    events.flags |= EVENT_FLAGS
    vcpu.set_events(events)


def resume_flag_of_fault(events: abi.kvm_vcpu_events) -> int:
    """EFLAGS.RF where a fault is pending: KVM takes what it is given for one that is being delivered, and only where it
    begins with that sees to the RF of the frame."""
    return EFLAGS_RF if events.exception.pending and events.exception.nr not in NO_FAULTS else 0


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
            data = memory.read_page(address)
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


MOST_HEADER = 8 << 20
"""Bytes of a header beside the list of its pages."""
PAGE_NUMBER = 24
"""Bytes that a page takes there at most."""


def read_file(path: str, machine: Machine) -> tuple[MachineState, dict[str, Any]]:
    """The state in a file and what it is about. LoadError when it is none, of another version, damaged or forged.

    UsageError when it is of another machine than this one: how large it may be follows from that, and no more is read.
    """
    import hashlib

    most_header = MOST_HEADER + PAGE_NUMBER * machine.memory.pages
    most = most_header + 2 * PAGE * machine.memory.pages
    try:
        with open(path, "rb") as file:
            data = file.read(len(MAGIC))
            data += file.read(most + 1) if data == MAGIC else b""
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None
    if not data.startswith(MAGIC):
        known = data.startswith(MAGIC[: MAGIC.index(b"1")])
        raise LoadError(f"{path} is {'a snapshot of another version of kvmdbg' if known else 'no snapshot of kvmdbg'}")
    if len(data) > most:
        raise LoadError(f"{path} is larger than a snapshot of a guest with {machine.memory.size >> 20} MiB can be")
    digest, content = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if hashlib.sha256(content).digest() != digest:
        raise LoadError(f"{path} is damaged: its checksum does not match")
    size = int.from_bytes(content[:8], "little")
    if size > min(most_header, len(content) - 8):
        raise LoadError(f"{path} is damaged: its header is said to have {size} bytes")
    try:
        return _decoded(content[8 : 8 + size], content[8 + size :], machine)
    except (KeyError, RecursionError) as error:
        raise LoadError(f"{path} is damaged: {type(error).__name__} in its header") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise LoadError(f"{path} is damaged: {error}") from None


def _decoded(text: bytes, body: bytes, machine: Machine) -> tuple[MachineState, dict[str, Any]]:
    """What the header and the pages say. ValueError and others where they say nothing sensible."""
    import json
    import zlib

    header = json.loads(text)
    about, numbers = header["about"], header["pages"]
    _require(isinstance(about, dict) and isinstance(about.get("name"), str), "it has no name")
    _require(_is_count(about["pc"], 1 << 64), "its pc is no address")
    _require(isinstance(about["made"], int | float) and 0 <= about["made"] < 1 << 40, "its time is none")
    bytes.fromhex(about["output"])
    vcpus = [VcpuState(**_unpacked(one)) for one in header["vcpus"]]
    chips = tuple(_unpacked(header["chips"]))
    devices = [(str(name), state) for name, state in _unpacked(header["devices"])]
    state = MachineState({}, header["memory"], tuple(vcpus), chips, devices)
    _require(isinstance(state.memory, int), "its memory has no size")
    check_fits(state, machine)
    _require(isinstance(numbers, list) and len(numbers) <= machine.memory.pages, "it has too many pages")
    for number in numbers:
        sensible = _is_count(number, 1 << 52) and number % PAGE == 0 and machine.memory.find(number) is not None
        _require(sensible, f"{number!r} is no page of this guest's memory")
    _require(len(set(numbers)) == len(numbers), "it has a page twice")
    for vcpu in vcpus:
        _check_vcpu(vcpu, machine)
    sizes = [sizeof(abi.kvm_irqchip)] * CHIPS + [sizeof(abi.kvm_pit_state2)] if machine.irqchip else []
    _require([len(one) for one in chips] == sizes, "its interrupt controllers have other sizes than KVM's")
    wanted = len(numbers) * PAGE
    reader = zlib.decompressobj()
    try:
        pages = reader.decompress(body, wanted + 1)
    except zlib.error as error:
        raise ValueError(f"its pages cannot be read: {error}") from None
    _require(len(pages) == wanted and not reader.unconsumed_tail, "its pages are not as many as it says")
    found = {address: pages[n * PAGE : (n + 1) * PAGE] for n, address in enumerate(numbers)}
    return replace(state, pages=found), about


def _check_vcpu(vcpu: VcpuState, machine: Machine) -> None:
    """ValueError where a vCPU's state is not made of KVM's structures."""
    kinds: dict[str, type[Structure]] = {
        "regs": abi.kvm_regs, "sregs": abi.kvm_sregs, "xsave": abi.kvm_xsave, "xcrs": abi.kvm_xcrs,
        "debugregs": abi.kvm_debugregs, "events": abi.kvm_vcpu_events,
    }  # fmt: skip
    sizes = {name: sizeof(kind) for name, kind in kinds.items()}
    sizes["lapic"] = sizeof(abi.kvm_lapic_state) if machine.irqchip else 0
    for name, size in sizes.items():
        data = getattr(vcpu, name)
        _require(isinstance(data, bytes) and len(data) == size, f"its {name} has not the {size} bytes of KVM's")
    known = set(machine.system.msr_indices())
    _require(isinstance(vcpu.msrs, bytes) and len(vcpu.msrs) % MSR_ENTRY == 0, "its MSRs are cut off")
    for at in range(0, len(vcpu.msrs), MSR_ENTRY):
        index = int.from_bytes(vcpu.msrs[at : at + 4], "little")
        _require(index in known, f"it has an MSR {index:#x}, which belongs to no vCPU's state here")
    _require(_is_count(vcpu.mp_state, 16), "the state of its vCPU is none of KVM's")


def _require(truth: bool, otherwise: str) -> None:
    if not truth:
        raise ValueError(otherwise)


def _is_count(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


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
        if not all(isinstance(key, str) for key in value) or value.keys() == {"bytes"}:
            raise TypeError(f"a dictionary with the keys {', '.join(map(repr, value))} would come back as another")
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
