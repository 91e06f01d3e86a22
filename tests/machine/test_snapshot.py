"""Snapshots of a machine that only keeps what it is given: pages, files, what fits. No KVM is needed."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from ctypes import sizeof
from pathlib import Path
from typing import Any, cast

import pytest

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.kvm import Vcpu, abi
from kvmdbg.machine import snapshot
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import PAGE
from kvmdbg.machine.snapshot import CHIPS, MAGIC, MachineState, MemoryHistory, VcpuState
from kvmdbg.record import fields, replace

SIZE = 64 * PAGE
MSRS = [0x10, 0xC0000080]


class Memory:
    """Pages, which of them were written since, and what was asked of it."""

    def __init__(self) -> None:
        self.size = SIZE
        self.data = bytearray(SIZE)
        self.dirty: set[int] = set()
        self.touched: set[int] = set()
        self.tracked = 0
        self.put: list[int] = []

    def track(self) -> None:
        self.tracked += 1
        self.dirty.clear()

    def populated(self) -> set[int]:
        return set(self.touched)

    def take_dirty(self) -> set[int]:
        found, self.dirty = self.dirty, set()
        return found

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        self.data[address : address + len(data)] = data
        self.dirty.add(address & -PAGE)
        self.touched.add(address & -PAGE)

    def put_page(self, address: int, data: bytes) -> None:
        self.put.append(address)
        self.data[address : address + PAGE] = data
        self.touched.add(address)

    def find(self, address: int) -> object | None:
        return self if 0 <= address < SIZE else None


class Chips:
    """The VM's interrupt controllers and its system."""

    def __init__(self) -> None:
        self.given: list[tuple[str, bytes]] = []

    def get_irqchip(self, number: int) -> bytes:
        return bytes([number + 1]) * sizeof(abi.kvm_irqchip)

    def get_pit(self) -> bytes:
        return b"\x09" * sizeof(abi.kvm_pit_state2)

    def set_irqchip(self, chip: Any) -> None:
        self.given.append(("chip", bytes(chip)))

    def set_pit(self, pit: Any) -> None:
        self.given.append(("pit", bytes(pit)))

    def msr_indices(self) -> list[int]:
        return MSRS


class Made:
    def __init__(self, irqchip: bool = False, vcpus: int = 1) -> None:
        self.memory, self.vm, self.irqchip = Memory(), Chips(), irqchip
        self.system, self.vcpus = self.vm, [None] * vcpus

    @property
    def machine(self) -> Machine:
        return cast(Machine, self)


# --- pages --------------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def history(memory: Memory) -> MemoryHistory:
    made = Made()
    made.memory = memory
    return MemoryHistory(made.machine)


def page(text: bytes) -> bytes:
    return text.ljust(PAGE, b"\0")


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


KINDS = {
    "regs": abi.kvm_regs, "sregs": abi.kvm_sregs, "xsave": abi.kvm_xsave, "xcrs": abi.kvm_xcrs,
    "debugregs": abi.kvm_debugregs, "events": abi.kvm_vcpu_events, "lapic": abi.kvm_lapic_state,
}  # fmt: skip


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
    snapshot.load_vcpu(cast(Vcpu, vcpu), state, MSRS)
    assert list(vcpu.given) == ["sregs", "regs", "xcrs", "xsave", "debugregs", "lapic", "mp_state", "events"]
    for name, value in vcpu.given.items():
        if name not in ("events", "mp_state"):
            assert bytes(value) == getattr(state, name)
    assert vcpu.given["mp_state"] == 3


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


# --- files --------------------------------------------------------------------------------------------

ABOUT = {"name": "here", "pc": 0x1000, "made": 1.5, "output": "6162"}


def state_of(made: Made, **changes: Any) -> MachineState:
    vcpu = VcpuState(
        *(bytes(sizeof(KINDS[name])) for name in ("regs", "sregs", "xsave", "xcrs", "debugregs", "events")), 0,
        b"\x10" + bytes(15) + (0xC0000080).to_bytes(4, "little") + bytes(12),
        bytes(sizeof(abi.kvm_lapic_state)) if made.irqchip else b"",
    )  # fmt: skip
    chips = snapshot.save_chips(made.machine)
    devices = [("uart", [1, b"bytes", [2, None]]), ("die", {"a": (1, b"x")})]
    pages = {0x3000: page(b"three"), 0x1000: page(b"one"), SIZE - PAGE: page(b"last")}
    return replace(MachineState(pages, SIZE, (vcpu,) * len(made.vcpus), chips, devices), **changes)


@pytest.mark.parametrize(("irqchip", "vcpus"), [(False, 1), (True, 1), (True, 3)])
def test_file_and_back(tmp_path: Path, irqchip: bool, vcpus: int) -> None:
    made = Made(irqchip, vcpus)
    state = state_of(made)
    path = str(tmp_path / "snapshot")
    snapshot.write_file(path, state, ABOUT)
    found, about = snapshot.read_file(path, made.machine)
    assert about == ABOUT
    assert (
        found.pages == state.pages
        and found.memory == SIZE
        and found.vcpus == state.vcpus
        and found.chips == state.chips
    )
    assert found.devices == [("uart", [1, b"bytes", [2, None]]), ("die", {"a": [1, b"x"]})]
    assert os.listdir(tmp_path) == ["snapshot"]


def test_layout_of_the_file(tmp_path: Path) -> None:
    made = Made()
    path = tmp_path / "snapshot"
    snapshot.write_file(str(path), state_of(made), ABOUT)
    data = path.read_bytes()
    assert data.startswith(b"kvmdbg snapshot 1\n")
    content = data[len(MAGIC) + 32 :]
    assert data[len(MAGIC) : len(MAGIC) + 32] == hashlib.sha256(content).digest()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert header["pages"] == [0x1000, 0x3000, SIZE - PAGE] and header["memory"] == SIZE
    assert zlib.decompress(content[8 + size :]) == page(b"one") + page(b"three") + page(b"last")


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "no" / "folder"
    with pytest.raises(LoadError, match=f"cannot write {path}: No such file or directory"):
        snapshot.write_file(str(path), state_of(Made()), ABOUT)
    target = tmp_path / "snapshot"
    target.write_bytes(b"old")
    (tmp_path / "snapshot.part").mkdir()
    with pytest.raises(LoadError, match="Is a directory"):
        snapshot.write_file(str(target), state_of(Made()), ABOUT)
    assert target.read_bytes() == b"old"


def test_nothing_is_left_where_there_was_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(before: str, after: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot.os, "replace", full)
    with pytest.raises(LoadError, match="No space left on device"):
        snapshot.write_file(str(tmp_path / "snapshot"), state_of(Made()), ABOUT)
    assert os.listdir(tmp_path) == []


def test_device_is_written_itself() -> None:
    snapshot.write_file("/dev/null", state_of(Made()), ABOUT)
    assert not os.path.exists("/dev/null.part")


def rewritten(path: Path, change: Any) -> None:
    """A file with another header and the right checksum."""
    content = path.read_bytes()[len(MAGIC) + 32 :]
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    text = json.dumps(change(header) or header).encode()
    content = len(text).to_bytes(8, "little") + text + body
    path.write_bytes(MAGIC + hashlib.sha256(content).digest() + content)


def sealed(path: Path, content: bytes) -> None:
    path.write_bytes(MAGIC + hashlib.sha256(content).digest() + content)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "snapshot"
    snapshot.write_file(str(path), state_of(Made()), ABOUT)
    return path


def refused(path: Path, made: Made | None = None) -> str:
    with pytest.raises((LoadError, UsageError)) as caught:
        snapshot.read_file(str(path), (made or Made()).machine)
    return str(caught.value)


def test_what_is_no_snapshot(file: Path, tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == f"cannot read {tmp_path / 'none'}: No such file or directory"
    other = tmp_path / "other"
    for data in (b"", b"kvmdbg", b"\x7fELF" * 100):
        other.write_bytes(data)
        assert refused(other) == f"{other} is no snapshot of kvmdbg"
    other.write_bytes(file.read_bytes().replace(b"snapshot 1\n", b"snapshot 2\n"))
    assert refused(other) == f"{other} is a snapshot of another version of kvmdbg"


def test_what_is_damaged(file: Path) -> None:
    data = file.read_bytes()
    for at in (len(MAGIC), len(MAGIC) + 31, len(MAGIC) + 40, len(data) - 1):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert refused(file) == f"{file} is damaged: its checksum does not match"
    file.write_bytes(data[:-1])
    assert "its checksum does not match" in refused(file)


def test_size_of_the_header(file: Path) -> None:
    content = file.read_bytes()[len(MAGIC) + 32 :]
    for size in (len(content) - 7, 1 << 63):
        sealed(file, size.to_bytes(8, "little") + content[8:])
        assert refused(file) == f"{file} is damaged: its header is said to have {size} bytes"
    for size in (0, 5):
        sealed(file, size.to_bytes(8, "little") + content[8:])
        assert "is damaged: " in refused(file)


def test_more_than_a_snapshot_can_have(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = (8 << 20) + 24 * (SIZE // PAGE) + 2 * SIZE
    with file.open("ab") as end:
        end.truncate(most)
    assert "its checksum does not match" in refused(file)
    with file.open("ab") as end:
        end.truncate(most + 1 + len(MAGIC))
    assert refused(file) == f"{file} is larger than a snapshot of a guest with 0 MiB can be"


def _put(*place: Any, to: Any) -> Any:
    def change(header: Any) -> None:
        at = header
        for one in place[:-1]:
            at = at[one]
        at[place[-1]] = to

    return change


SHORT = {"bytes": "AAAA"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_put("about", to=5), "it has no name"), (_put("about", "name", to=5), "it has no name"),
        (_put("about", "pc", to=1 << 64), "its pc is no address"), (_put("about", "pc", to=-1), "its pc is no address"),
        (_put("about", "pc", to=True), "its pc is no address"), (_put("about", "pc", to=1.0), "its pc is no address"),
        (_put("about", "made", to="now"), "its time is none"), (_put("about", "made", to=-1), "its time is none"),
        (_put("about", "made", to=1 << 40), "its time is none"),
        (_put("about", "output", to="zz"), "non-hexadecimal number found"),
        (_put("memory", to="64"), "its memory has no size"),
        (_put("pages", to={}), "it has too many pages"), (_put("pages", to=[0] * 65), "it has too many pages"),
        (_put("pages", 0, to=SIZE), f"{SIZE} is no page of this guest's memory"),
        (_put("pages", 0, to=-PAGE), "-4096 is no page"), (_put("pages", 0, to=1), "1 is no page"),
        (_put("pages", 0, to=True), "True is no page"), (_put("pages", 0, to="x"), "'x' is no page"),
        (_put("pages", 0, to=0x3000), "it has a page twice"),
        (lambda header: header["pages"].pop(), "its pages are not as many as it says"),
        (lambda header: header["pages"].append(0), "its pages are not as many as it says"),
        *((_put("vcpus", 0, name, to=SHORT), f"its {name} has not the {sizeof(KINDS[name])} bytes of KVM's")
          for name in ("regs", "sregs", "xcrs", "debugregs", "events")),
        (_put("vcpus", 0, "regs", to="x"), "its regs has not the 144 bytes of KVM's"),
        (_put("vcpus", 0, "lapic", to=SHORT), "its lapic has not the 0 bytes of KVM's"),
        (_put("vcpus", 0, "msrs", to=SHORT), "its MSRs are cut off"),
        (_put("vcpus", 0, "msrs", to=[]), "its MSRs are cut off"),
        (_put("vcpus", 0, "msrs", to={"bytes": "EQAAAAAAAAAAAAAAAAAAAA=="}), "it has an MSR 0x11, which belongs to no"),
        (_put("vcpus", 0, "mp_state", to=16), "the state of its vCPU is none of KVM's"),
        (_put("vcpus", 0, "mp_state", to=-1), "the state of its vCPU is none of KVM's"),
        (lambda header: header.pop("memory"), "KeyError in its header"),
    ],
)  # fmt: skip
def test_header_that_says_nothing_sensible(file: Path, change: Any, says: str) -> None:
    rewritten(file, lambda header: change(header) and None)
    assert says in refused(file)


@pytest.mark.parametrize(
    "change",
    [
        _put("about", "pc", to=(1 << 64) - 1), _put("about", "made", to=0), _put("about", "made", to=(1 << 40) - 1),
        _put("vcpus", 0, "mp_state", to=15), _put("vcpus", 0, "msrs", to={"bytes": ""}), _put("pages", 0, to=0),
    ],
)  # fmt: skip
def test_header_that_is_just_right(file: Path, change: Any) -> None:
    rewritten(file, change)
    snapshot.read_file(str(file), Made().machine)


def test_body_that_is_none(file: Path) -> None:
    content = file.read_bytes()[len(MAGIC) + 32 :]
    size = int.from_bytes(content[:8], "little")
    sealed(file, content[: 8 + size] + b"rubbish")
    assert "its pages cannot be read: " in refused(file)
    sealed(file, content[: 8 + size] + zlib.compress(bytes(3 * PAGE + 1)))
    assert "its pages are not as many as it says" in refused(file)
    sealed(file, content[: 8 + size] + zlib.compress(bytes(3 * PAGE)) + b"behind")
    snapshot.read_file(str(file), Made().machine)


def test_chips_have_their_sizes(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    made = Made(irqchip=True)
    snapshot.write_file(str(path), state_of(made), ABOUT)
    rewritten(path, lambda header: header["chips"].reverse())
    assert "its interrupt controllers have other sizes than KVM's" in refused(path, made)
    rewritten(path, lambda header: header["chips"].reverse() or (header["chips"].pop() and None))
    assert "its interrupt controllers have other sizes than KVM's" in refused(path, made)
    assert CHIPS == 3


def test_device_whose_state_json_has_not(tmp_path: Path) -> None:
    for state in ({1, 2}, object(), 1j):
        with pytest.raises(LoadError, match="the state of the device odd cannot be put into a file: "):
            snapshot.write_file(str(tmp_path / "x"), state_of(Made(), devices=[("uart", 1), ("odd", state)]), ABOUT)
    assert os.listdir(tmp_path) == []


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
