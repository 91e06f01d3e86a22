"""Snapshot files with the right checksum and wrong content: one sentence, little memory, and the guest as it was."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError
from kvmdbg.machine.memory import PAGE
from kvmdbg.machine.snapshot import MAGIC

from .conftest import Boot

pytestmark = pytest.mark.kvm
Header = dict[str, Any]


@pytest.fixture
def dbg(boot: Boot) -> Session:
    found = boot(b"\x90\xeb\xfd")
    found.physical.write(0x5000, b"here")
    found.snapshots.save("start")
    return found


def parts(path: Path) -> tuple[Header, bytes]:
    content = path.read_bytes()[len(MAGIC) + 32 :]
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), zlib.decompress(content[8 + size :])


def forge(path: Path, header: bytes, body: bytes, size: int | None = None) -> None:
    content = (len(header) if size is None else size).to_bytes(8, "little") + header + body
    path.write_bytes(MAGIC + hashlib.sha256(content).digest() + content)


def refused(dbg: Session, path: Path) -> str:
    """What is said; the guest stands where it stood, and goes on."""
    with pytest.raises(KvmdbgError) as caught:
        dbg.snapshots.read(path, "forged")
        dbg.snapshots.restore("forged")
    text = str(caught.value)
    assert "\n" not in text
    assert "internal" not in text
    assert (dbg.regs.rip, dbg.physical.read(0x5000, 4)) == (0x1000, b"here")
    assert dbg.step().pc == 0x1001
    dbg.snapshots.restore("start")
    return text


def _set(*place: str | int, to: Any) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        at: Any = header
        for one in place[:-1]:
            at = at[one]
        at[place[-1]] = to

    return change


def encoded(data: bytes) -> dict[str, str]:
    return {"bytes": base64.b64encode(data).decode()}


CHANGES: dict[str, Callable[[Header], None]] = {
    "no memory": _set("memory", to=None),
    "other memory": _set("memory", to=1 << 60),
    "no pages": lambda header: header.pop("pages"),
    "pages are no list": _set("pages", to={"a": 1}),
    "a page outside": _set("pages", 0, to=1 << 40),
    "a page below": _set("pages", 0, to=-PAGE),
    "a page within a page": _set("pages", 0, to=0x5001),
    "a page that is a text": _set("pages", 0, to="0x5000"),
    "a page that is a fraction": _set("pages", 0, to=4096.0),
    "more pages than memory": lambda header: header.update(pages=list(range(0, 1 << 25, PAGE))),
    "a page twice": lambda header: header.update(pages=[0x5000] * len(header["pages"])),
    "one page more than there is": lambda header: header["pages"].append(0x7000),
    "one page fewer": lambda header: header["pages"].pop(),
    "no vCPU": _set("vcpus", to=[]),
    "vCPUs that are none": _set("vcpus", to=[1]),
    "a thousand vCPUs": lambda header: header.update(vcpus=header["vcpus"] * 1000),
    "no registers": lambda header: header["vcpus"][0].pop("regs"),
    "registers too many": _set("vcpus", 0, "more", to=1),
    "registers too short": _set("vcpus", 0, "regs", to=encoded(b"x")),
    "registers too long": _set("vcpus", 0, "sregs", to=encoded(bytes(100_000))),
    "registers that are a number": _set("vcpus", 0, "regs", to=5),
    "bytes that are none": _set("vcpus", 0, "regs", to={"bytes": 5}),
    "bytes that are no base64": _set("vcpus", 0, "regs", to={"bytes": "!"}),
    "special registers that KVM refuses": _set("vcpus", 0, "sregs", to=encoded(b"\xff" * 312)),
    "a number of XCRs": _set("vcpus", 0, "xcrs", to=encoded(b"\xff" * 392)),
    "an XSAVE header": _set("vcpus", 0, "xsave", to=encoded(b"\xff" * 4096)),
    "MSRs cut off": _set("vcpus", 0, "msrs", to=encoded(bytes(17))),
    "an MSR that is none": _set("vcpus", 0, "msrs", to=encoded(b"\x99" * 16)),
    "a state that is none": _set("vcpus", 0, "mp_state", to=1 << 40),
    "a LAPIC": _set("vcpus", 0, "lapic", to=encoded(bytes(1024))),
    "chips": _set("chips", to=[encoded(b"x")]),
    "chips that are a number": _set("chips", to=1),
    "no devices": _set("devices", to=[]),
    "devices that are none": _set("devices", to=[[1, 2, 3]]),
    "other devices": _set("devices", 0, 0, to="toaster"),
    "a device's state": _set("devices", 0, 1, to="toast"),
    "another's state": _set("devices", 0, 1, to=[[1], [2]]),
    "a name that is a number": _set("about", "name", to=5),
    "nothing about it": _set("about", to=None),
    "a place": _set("about", "pc", to="here"),
    "a place beyond": _set("about", "pc", to=1 << 64),
    "a time": _set("about", "made", to=1e300),
    "a time that is none": _set("about", "made", to=float("nan")),
    "output": _set("about", "output", to="zz"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_header_that_says_nothing_sensible(dbg: Session, tmp_path: Path, name: str) -> None:
    path = tmp_path / "snapshot"
    dbg.snapshots.write("start", path)
    header, body = parts(path)
    CHANGES[name](header)
    forge(path, json.dumps(header).encode(), zlib.compress(body))
    refused(dbg, path)


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1, 1 << 30, 0, 7])
def test_a_header_of_another_size(dbg: Session, tmp_path: Path, size: int) -> None:
    path = tmp_path / "snapshot"
    forge(path, b'{"about": {}}', b"", size)
    assert "damaged" in refused(dbg, path)


@pytest.mark.parametrize("header", [b"", b"1", b"[" * 100_000, b'"' * 9, b"\xff", b"9" * 10_000, b'{"pages": NaN}'])
def test_a_header_that_is_no_header(dbg: Session, tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "snapshot"
    forge(path, header, b"")
    assert "damaged" in refused(dbg, path)


def test_pages_that_grow(dbg: Session, tmp_path: Path) -> None:
    """A gigabyte of zeros is a megabyte in the file; no more is unpacked than the header says there is."""
    path = tmp_path / "snapshot"
    dbg.snapshots.write("start", path)
    header, _ = parts(path)
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    forge(path, json.dumps(header).encode(), bomb)
    tracemalloc.start()
    try:
        assert "pages are not as many" in refused(dbg, path)
        assert tracemalloc.get_traced_memory()[1] < 2 * PAGE * dbg.machine.memory.pages + (16 << 20)
    finally:
        tracemalloc.stop()


def test_a_file_without_end(dbg: Session, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    with path.open("wb") as file:
        file.write(MAGIC)
        file.truncate(1 << 40)
    assert "larger than a snapshot of a guest with 4 MiB" in refused(dbg, path)


def test_any_value_in_any_place(dbg: Session, tmp_path: Path) -> None:
    """Each ends in one sentence, or works; the guest runs afterwards."""
    chance = random.Random(1)
    path = tmp_path / "snapshot"
    dbg.snapshots.write("start", path)
    original, body = parts(path)
    values: list[Any] = [None, -1, 1 << 70, 0.5, "", "x", [], {}, [[]], {"bytes": ""}, {"bytes": "AAAA"}, True]
    for _ in range(150):
        header = json.loads(json.dumps(original))
        at: Any = header
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = chance.choice(keys)
            inner = at[key]
            if not isinstance(inner, dict | list) or not inner or chance.random() < 0.3:
                break
            at = inner
        at[key] = chance.choice(values)
        forge(path, json.dumps(header).encode(), zlib.compress(body))
        try:
            dbg.snapshots.read(path, "forged")
            dbg.snapshots.restore("forged")
        except KvmdbgError as error:
            assert "\n" not in str(error)
        dbg.snapshots.restore("start")
    assert (dbg.regs.rip, dbg.physical.read(0x5000, 4)) == (0x1000, b"here")
    assert dbg.step().pc == 0x1001
