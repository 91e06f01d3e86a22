"""Every exit decoded from a made-up shared page."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.kvm import abi, exits

PAGE = 4096 * 3
U8, U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))


def page(reason: int, body: bytes = b"") -> tuple[abi.kvm_run, memoryview]:
    raw = bytearray(PAGE)
    run = abi.kvm_run.from_buffer(raw)
    run.exit_reason = reason
    offset = abi.kvm_run.exit.offset
    raw[offset : offset + len(body)] = body
    return run, memoryview(raw)


def decode(reason: int, body: bytes = b"") -> exits.Exit:
    return exits.decode(*page(reason, body))


@given(st.sampled_from([1, 2, 4]), U16, st.integers(1, 64), st.binary(min_size=256, max_size=256), st.booleans())
def test_io(size: int, port: int, count: int, data: bytes, out: bool) -> None:
    run, view = page(exits.KVM_EXIT_IO)
    run.io.direction, run.io.size, run.io.port, run.io.count, run.io.data_offset = int(out), size, port, count, 4096
    view[4096 : 4096 + size * count] = data[: size * count]
    found = exits.decode(run, view)
    assert isinstance(found, exits.IoExit)
    assert (found.direction, found.port, found.size, found.count) == ("out" if out else "in", port, size, count)
    assert found.data == (data[: size * count] if out else b"")
    if out:
        assert len(found.values) == count
        assert found.values[0] == int.from_bytes(data[:size], "little")
    assert f"port {port:#x}" in found.describe()


@given(U64, st.binary(min_size=8, max_size=8), st.integers(1, 8), st.booleans())
def test_mmio(address: int, data: bytes, size: int, write: bool) -> None:
    body = address.to_bytes(8, "little") + data + size.to_bytes(4, "little") + bytes((write,))
    found = decode(exits.KVM_EXIT_MMIO, body)
    assert found == exits.MmioExit("write" if write else "read", address, size, data[:size] if write else b"")


@given(st.binary(min_size=1, max_size=15), st.binary(max_size=40))
def test_emulation_failure_has_the_instruction(insn: bytes, rest: bytes) -> None:
    words = (1).to_bytes(8, "little") + bytes((len(insn),)) + insn.ljust(15, b"\0") + rest.ljust(40, b"\0")
    body = (1).to_bytes(4, "little") + (8).to_bytes(4, "little") + words
    found = decode(exits.KVM_EXIT_INTERNAL_ERROR, body)
    assert isinstance(found, exits.InternalErrorExit)
    assert found.instruction == insn
    assert insn.hex(" ") in found.describe()


def fields(*values: tuple[int, int]) -> bytes:
    return b"".join(value.to_bytes(size, "little") for value, size in values)


@pytest.mark.parametrize(
    ("reason", "body", "expected"),
    [
        (1, fields((14, 4), (2, 4)), exits.ExceptionExit(14, 2)),
        (4, fields((3, 4), (0, 4), (0x1000, 8), (0xF, 8), (0x400, 8)), exits.DebugExit(3, 0x1000, 0xF, 0x400)),
        (5, b"", exits.HltExit()),
        (7, b"", exits.IrqWindowExit()),
        (8, b"", exits.ShutdownExit()),
        (9, fields((0x80000021, 8), (3, 4)), exits.FailEntryExit(0x80000021, 3)),
        (10, b"", exits.IntrExit()),
        (12, fields((0xFFF0, 8), (1, 4), (0, 4)), exits.TprAccessExit(0xFFF0, True)),
        (16, b"", exits.NmiExit()),
        (17, fields((3, 4), (2, 4), (7, 8), (9, 8)), exits.InternalErrorExit(3, (7, 9), b"")),
        (24, fields((2, 4), (1, 4), (5, 8)), exits.SystemEventExit(2, (5,))),
        (26, b"\x31", exits.IoapicEoiExit(0x31)),
        (29, fields((0, 8), (1, 4), (0x10, 4), (0, 8)), exits.MsrReadExit(0x10, 1)),
        (30, fields((0, 8), (2, 4), (0xC0000080, 4), (0x500, 8)), exits.MsrWriteExit(0xC0000080, 2, 0x500)),
        (32, b"", exits.ApResetHoldExit()),
        (33, b"", exits.BusLockExit()),
        (37, fields((1, 4)), exits.NotifyExit(1)),
        (39, fields((8, 8), (0x5000, 8), (0x1000, 8)), exits.MemoryFaultExit(8, 0x5000, 0x1000)),
        (0, fields((77, 8)), exits.UnknownExit(0, 77)),
        (999, fields((5, 8)), exits.UnknownExit(999, 5)),
    ],
)
def test_each(reason: int, body: bytes, expected: exits.Exit) -> None:
    found = decode(reason, body)
    assert found == expected
    assert found.describe()
    assert found.to_json()["kind"] == expected.kind


def test_hypercall() -> None:
    body = fields((9, 8), *[(n, 8) for n in range(6)], (0, 8), (1, 4), (0, 4))
    assert decode(exits.KVM_EXIT_HYPERCALL, body) == exits.HypercallExit(9, (0, 1, 2, 3, 4, 5), True)


def test_set_tpr_reads_cr8() -> None:
    run, view = page(exits.KVM_EXIT_SET_TPR)
    run.cr8 = 5
    assert exits.decode(run, view) == exits.SetTprExit(5)


@given(st.integers(0, 60), st.binary(max_size=256))
def test_rubbish_decodes_to_something(reason: int, body: bytes) -> None:
    found = decode(reason, body)
    assert isinstance(found, exits.Exit)
    json: dict[str, Any] = found.to_json()
    assert json["kind"] in exits.KINDS
    assert isinstance(found.describe(), str)


def test_every_kind_is_once() -> None:
    assert len(exits.KINDS) == len(exits.BY_NUMBER)
    assert ctypes.sizeof(abi.kvm_run) >= abi.kvm_run.exit.offset + 256
