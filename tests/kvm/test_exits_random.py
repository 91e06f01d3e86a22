"""Whatever bytes lie in the shared page, every exit reason decodes to something that can be shown."""

from __future__ import annotations

import json
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from kvmdbg.kvm import abi, exits

PAGE = 4096 * 3
BODY = abi.kvm_run.exit.offset
SMALL = st.builds(
    lambda words: b"".join(word.to_bytes(4, "little") for word in words),
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 15, 16, 17, 0xFF, 0x1000, 0x2FFF, 0x3000, 0xFFFFFFFF]), max_size=64),
)
"""Words near the limits that decoders have."""


def shown(reason: int, raw: bytearray) -> exits.Exit:
    """The exit, after all that others do with one."""
    run = abi.kvm_run.from_buffer(raw)
    run.exit_reason = reason
    before = bytes(raw)
    found = exits.decode(run, memoryview(raw))
    assert bytes(raw) == before
    assert type(found) is exits.BY_NUMBER.get(reason, exits.UnknownExit)
    text = found.describe()
    assert text and text.isprintable()
    assert json.loads(json.dumps(found.to_json()))["kind"] == found.kind
    assert found == exits.decode(run, memoryview(raw))
    assert hash(found) == hash(exits.decode(run, memoryview(raw)))
    assert type(found).__name__ in repr(found)
    return found


@settings(max_examples=60)
@given(st.one_of(st.binary(max_size=256), SMALL), st.integers(0, 1 << 32))
def test_any_page_decodes(body: bytes, seed: int) -> None:
    raw = bytearray(Random(seed).randbytes(PAGE))
    raw[BODY : BODY + len(body)] = body
    for reason in range(65):
        found = shown(reason, raw)
        if isinstance(found, exits.IoExit):
            assert len(found.data) <= PAGE
            if found.size:
                assert len(found.values) == -(-len(found.data) // found.size)
        elif isinstance(found, exits.MmioExit):
            assert len(found.data) <= 8
        elif isinstance(found, exits.InternalErrorExit):
            assert len(found.data) <= 16
            assert len(found.instruction) <= 15
        elif isinstance(found, exits.SystemEventExit):
            assert len(found.data) <= 16


@given(st.integers(0, (1 << 32) - 1), st.binary(max_size=256))
def test_any_reason_has_a_name_or_its_number(reason: int, body: bytes) -> None:
    raw = bytearray(PAGE)
    raw[BODY : BODY + len(body)] = body
    found = shown(reason, raw)
    if isinstance(found, exits.UnknownExit):
        assert found.reason == reason
        assert f"exit reason {reason} (" in found.describe()
        assert exits.REASONS.get(reason, "not in this version") in found.describe()
    else:
        assert found.number == reason
