"""Snapshots in files: their layout, and what is refused. No KVM is needed."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from ctypes import sizeof
from pathlib import Path
from typing import Any

import pytest

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.machine import snapshot
from kvmdbg.machine.memory import PAGE
from kvmdbg.machine.snapshot import CHIPS, MAGIC
from tests.machine.made import ABOUT, KINDS, SIZE, Made, page, state_of


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
    for state in ({1, 2}, object(), 1j, {3: "texts"}, {"bytes": "text"}):
        with pytest.raises(LoadError, match="the state of the device odd cannot be put into a file: "):
            snapshot.write_file(str(tmp_path / "x"), state_of(Made(), devices=[("uart", 1), ("odd", state)]), ABOUT)
    assert os.listdir(tmp_path) == []
