"""The fake target has every capability that there is, so that no packet goes untested; each packet needs its own."""

from __future__ import annotations

import inspect

import pytest

from gdbstub import target as capabilities
from gdbstub.registry import PACKETS, Packet
from gdbstub.target import Target
from gdbstub.testing import FakeTarget, Loop

CAPABILITIES = [
    one for one in vars(capabilities).values()
    if inspect.isclass(one) and one.__module__ == capabilities.__name__ and one.__name__.startswith(("Has", "Follows"))
]  # fmt: skip
TIED = {one.needs for one in PACKETS.values() if one.needs is not None}


def test_fake_target_has_every_capability() -> None:
    assert {HAS.__name__ for HAS in CAPABILITIES if not issubclass(FakeTarget, HAS)} == set()
    assert set(FakeTarget.__mro__) - {FakeTarget} >= {*CAPABILITIES, Target}


def test_packets_are_tied_to_capabilities_of_targets() -> None:
    assert set(CAPABILITIES) >= TIED


@pytest.mark.parametrize("name", sorted(PACKETS))
def test_fake_target_offers_every_packet(name: str) -> None:
    assert PACKETS[name].offered(FakeTarget())


def without(capability: type) -> FakeTarget:
    """A fake target that has everything but one capability."""
    bases = tuple(one for one in FakeTarget.__bases__ if one is not capability)
    made: FakeTarget = type("Without", bases, dict(FakeTarget.__dict__))()
    assert not isinstance(made, capability)
    return made


@pytest.mark.parametrize("packet", [one for one in PACKETS.values() if one.needs], ids=lambda one: str(one.name))
def test_packet_is_unknown_without_its_capability(packet: Packet) -> None:
    """And what it offers in qSupported is not offered."""
    assert packet.needs is not None
    loop = Loop(without(packet.needs))
    offered = loop.ask(b"qSupported:multiprocess+").split(b";")
    assert not {one.encode() for one in packet.offers} & set(offered)
    whole = Loop(FakeTarget()).ask(b"qSupported:multiprocess+").split(b";")
    assert {one.encode() for one in packet.offers} <= set(whole)
    assert loop.send(packet.name.encode()) == [b""]
