"""Whatever comes: never an exception, never silence where a reply is due, never a reply to another packet."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub import registry
from gdbstub.testing import FakeTarget, Loop
from gdbstub.wire import frame

NAMES = sorted(registry.PACKETS)
ARGUMENTS = st.text("0123456789abcdef,;:-p.=X}", max_size=24)
BODIES = st.builds(lambda name, rest: f"{name}{rest}".encode(), st.sampled_from(NAMES), ARGUMENTS)
SILENT = ("k", "R", "D", "?", "c", "s", "C", "S", "vCont", "vRun", "qRcmd")
"""These may give no reply at once, or more than one packet."""


PARTS = st.one_of(BODIES.map(frame), st.binary(max_size=30), st.just(b"\x03"))


@given(st.lists(PARTS, max_size=12), st.integers(1, 64))
@settings(max_examples=300)
def test_any_bytes_at_any_split(parts: list[bytes], cut: int) -> None:
    loop = Loop(FakeTarget())
    data = b"".join(parts)
    for at in range(0, len(data), cut):
        loop.raw(data[at : at + cut])


@given(st.lists(BODIES, max_size=6))
@settings(max_examples=300)
def test_each_packet_has_its_own_reply(bodies: list[bytes]) -> None:
    """Asked for qC after each packet, the stub answers that one with QC and no other."""
    loop = Loop(FakeTarget())
    for body in bodies:
        replies = loop.send(body)
        if loop.client.ended:
            return
        found = registry.find(body)
        if found is None or not found[0].name.startswith(SILENT):
            assert len(replies) == 1, body
        if loop.client.waiting:
            loop.interrupt()
        (reply,) = loop.send(b"qC")
        assert reply.startswith(b"QC"), body


ACTIONS = st.builds(
    lambda action, thread: f"vCont;{action}{thread}".encode(),
    st.sampled_from(("c", "s", "t", "r100,110")),
    st.sampled_from(("", ":1", ":2", ":-1")),
)
RUNNING = st.one_of(ACTIONS, st.sampled_from((b"vStopped", b"?", b"vCtrlC", b"Z0,101,1", b"z0,101,1")), BODIES)


@given(st.lists(RUNNING, max_size=12))
@settings(max_examples=300)
def test_in_non_stop_mode_each_packet_has_its_own_reply(bodies: list[bytes]) -> None:
    loop = Loop(FakeTarget())
    assert loop.ask(b"QNonStop:1") == b"OK"
    for body in bodies:
        replies = [reply for reply in loop.send(body) if not reply.startswith(b"%")]
        if loop.client.ended or loop.client.nonstop is None:
            return
        found = registry.find(body)
        if found is None or found[0].name == "vCont" or not found[0].name.startswith(SILENT):
            assert len(replies) == 1, body
        (reply,) = (reply for reply in loop.send(b"qC") if not reply.startswith(b"%"))
        assert reply.startswith(b"QC"), body
