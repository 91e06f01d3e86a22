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


@pytest.mark.parametrize("byte", [b"0", b"f", b"\0", b"\xff"])
def test_runs_of_98_are_written_short(byte: bytes) -> None:
    """Of the bytes of empty memory, in hexadecimal and as they are: one, and 97 more (the ~ is 97 + 29)."""
    assert compress(byte * 98) == byte * 98  # no more than that in all
    assert compress(byte * 99) == byte + b"*~" + byte
    assert compress(byte * 196) == (byte + b"*~") * 2
    assert expand(compress(byte * 500)) == byte * 500


@pytest.mark.parametrize(("code", "count"), [(b" ", 3), (b"!", 4), (b"%", 8), (b"|", 95), (b"}", 96), (b"~", 97)])
def test_counts_of_runs(code: bytes, count: int) -> None:
    assert expand(b"xa*" + code + b"y") == b"x" + b"a" * (count + 1) + b"y"


@pytest.mark.parametrize("code", [b"\x1f", b"\x7f", b"\x00", b"\xff"])
def test_counts_that_are_none(code: bytes) -> None:
    assert expand(b"a*" + code) == b"a*" + code


def test_runs_of_runs() -> None:
    assert expand(b"a* b*!") == b"aaaabbbbb" and expand(b"a* * ") == b"a" * 7
    assert expand(b"a*") == b"a*" and expand(b"* ") == b""


def test_what_grows_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGEST", 1000)
    assert len(expand(b"a*~" * 1000)) < 1200
    side = Wire(acknowledge=False)
    assert [type(event) for event in side.feed(frame(b"a*~" * 20) + frame(b"ok"))] == [Oversized, bytes]


def test_largest_body() -> None:
    """A mebibyte; that the server says it takes 128 KiB is in what it offers."""
    body = b"x" * (1 << 20)
    assert list(Wire(acknowledge=False).feed(frame(body))) == [body]
    assert [type(event) for event in Wire(acknowledge=False).feed(frame(body + b"x"))] == [Oversized]


def test_limit_of_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGEST", 100)
    for size, kind in ((100, bytes), (101, Oversized)):
        side = Wire(acknowledge=False)
        assert [type(event) for event in side.feed(frame(b"x" * size))] == [kind]


def test_notifications_are_told_apart_by_what_they_say() -> None:
    assert {wire.Notification(b"a"): 1, wire.Notification(b"a"): 2, wire.Notification(b"b"): 3} == {
        wire.Notification(b"a"): 2,
        wire.Notification(b"b"): 3,
    }


def test_notifications_are_for_clients_of_a_stub() -> None:
    data = b"%Stop:T05#c8$OK#9a"
    assert list(Wire(notified=True).feed(data)) == [wire.Notification(b"Stop:T05"), b"OK"]
    assert list(Wire().feed(data)) == [b"OK"]
    side = Wire(notified=True)
    found = []
    for at in range(len(data)):
        found += list(side.feed(data[at : at + 1]))
    assert found == [wire.Notification(b"Stop:T05"), b"OK"]
    sender = Wire()
    sender.notify(b"Stop:T05")
    assert sender.take() == b"%Stop:T05#" + b"%02x" % wire.checksum(b"Stop:T05")


def test_last_packet_again_once_until_it_is_taken() -> None:
    side = Wire()
    side.send(b"one")
    assert list(side.feed(b"--")) == []
    assert side.take() == frame(b"one") * 2
    assert list(side.feed(b"-")) == [] and side.pending == len(frame(b"one"))
    assert side.take() == frame(b"one") and side.pending == 0
    quiet = Wire(acknowledge=False)
    quiet.send(b"one")
    quiet.take()
    assert list(quiet.feed(b"-")) == [] and quiet.take() == b""


def test_long_bodies_as_they_are_without_compression() -> None:
    side = Wire(compressing=False)
    side.send(b"0" * 200)
    assert side.take() == frame(b"0" * 200)
    side = Wire()
    side.send(b"0" * 196)
    assert side.take() == frame(b"0*~0*~")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1024, 5000])
def test_checksums_of_every_size(size: int) -> None:
    for byte in (0x00, 0x7F, 0x80, 0xFF):
        assert wire.checksum(bytes([byte]) * size) == byte * size % 256
    assert frame(b"OK") == b"$OK#9a"


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


def test_a_packet_that_is_too_long_ends_at_the_first_byte_of_what_comes_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGEST", 100)
    side = Wire(acknowledge=False)
    assert list(side.feed(b"$" + b"a" * 150)) == []
    assert [type(event) for event in side.feed(b"#00" + frame(b"ok"))] == [Oversized, bytes]
