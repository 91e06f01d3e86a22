"""Framing: what one side sends the other gets, however the bytes are split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub import wire
from gdbstub.wire import Interrupt, Oversized, Wire, compress, escape, expand, frame, unescape

BODIES = st.one_of(st.binary(max_size=200), st.text("#$}*0\x03ab", max_size=80).map(str.encode))


@given(BODIES, st.integers(0, 20))
def test_escapes_and_runs_are_undone(data: bytes, times: int) -> None:
    data = data * times + bytes(times * 100)
    body = compress(escape(data))
    assert not set(b"#$") & set(body)
    assert unescape(expand(body)) == data


@given(st.lists(BODIES, max_size=5), st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_packets_pass_however_they_are_split(bodies: list[bytes], cuts: list[int], acknowledge: bool) -> None:
    sender, receiver = Wire(acknowledge=acknowledge), Wire(acknowledge=acknowledge)
    for body in bodies:
        sender.send(escape(body))
    data, found = sender.take(), []
    for cut in [*cuts, len(data)]:
        found += list(receiver.feed(data[:cut]))
        data = data[cut:]
    assert [unescape(one) for one in found if isinstance(one, bytes)] == bodies
    assert receiver.take() == (b"+" * len(bodies) if acknowledge else b"")


@pytest.mark.parametrize(
    ("body", "encoded"),
    [
        (b"0" * 9, b"0*%"),
        (b"x0000y123", b"x0* y123"),
        (b"0" * 97 + b"tail", b"0*}tail"),
        (b"0" * 9 + b"a", b"0*%a"),
        (b"*", b"*"),
        (b"a*", b"a*"),
    ],
)
def test_run_lengths_of_others(body: bytes, encoded: bytes) -> None:
    assert expand(encoded) == body


def test_our_run_lengths() -> None:
    assert compress(b"ab" + b"0" * 100 + b"cd") == b"ab0*~00cd"
    assert compress(b"0" * 98) == b"0" * 98  # too short to matter


def test_a_client_that_escapes_more_than_it_must() -> None:
    assert unescape(b"}A}]}#}\x03") == b"a}\x03#"
    assert unescape(b"}]\x03") == b"}\x03"


def test_memory_that_is_empty_is_compressed_and_other_is_not() -> None:
    assert len(compress(b"0" * 100_000)) < 4000
    assert expand(compress(b"0" * 100_000)) == b"0" * 100_000
    assert compress(b"0123456789abcdef" * 1000) == b"0123456789abcdef" * 1000


@given(st.binary(max_size=600), st.integers(0, 300))
def test_checksums(data: bytes, high: int) -> None:
    data += b"\xff" * high
    assert wire.checksum(data) == sum(data) % 256


def test_acknowledgments_and_damage() -> None:
    side = Wire()
    assert list(side.feed(b"$OK#9b")) == []
    assert side.take() == b"-"
    assert list(side.feed(b"$OK#9a")) == [b"OK"]
    assert side.take() == b"+"
    side.send(b"again")
    first = side.take()
    assert list(side.feed(b"-")) == []
    assert side.take() == first
    assert list(side.feed(b"+")) == []
    assert side.take() == b""


def test_without_acknowledgments_nothing_is_checked_or_repeated() -> None:
    side = Wire(acknowledge=False)
    assert list(side.feed(b"$OK#00-")) == [b"OK"]
    assert side.take() == b""


def test_an_interrupt_between_packets_and_not_within() -> None:
    side = Wire()
    events = list(side.feed(b"\x03" + frame(b"Xa,1:\x03") + b"\x03"))
    assert [type(event) for event in events] == [Interrupt, bytes, Interrupt]
    assert events[1] == b"Xa,1:\x03"


def test_a_packet_that_began_anew() -> None:
    assert list(Wire().feed(b"$half of$OK#9a")) == [b"OK"]


def test_a_packet_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGEST", 100)
    side = Wire()
    events = list(side.feed(b"$" + b"x" * 150))
    events += list(side.feed(b"y" * 150 + b"#00" + frame(b"OK")))
    assert [type(event) for event in events] == [Oversized, bytes]
    assert events[1] == b"OK"


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes(data: bytes, cut: int) -> None:
    side = Wire()
    for at in range(0, len(data), cut):
        for event in side.feed(data[at : at + cut]):
            assert isinstance(event, (bytes, Interrupt, Oversized))
    side.take()
