"""What both sides can do, and what kind of target this is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdbstub import registry
from gdbstub.registry import PACKET_SIZE, Reply, packet
from gdbstub.target import FollowsMode, HasOffsets

if TYPE_CHECKING:
    from gdbstub.client import Client


@packet("qSupported")
def supported(client: Client, rest: bytes) -> Reply:
    """What the client can do; the reply lists what the target offers."""
    client.features = {one.decode("latin-1") for one in rest.lstrip(b":").split(b";") if one}
    client.error_text = "error-message+" in client.features
    found = [f"PacketSize={PACKET_SIZE:x}", "vContSupported+", "swbreak+", "hwbreak+"]
    for one in dict.fromkeys(registry.PACKETS.values()):
        if one.offered(client.target):
            found += one.offers
    if isinstance(client.target, FollowsMode) and client.target.follow_mode:
        found.append("exec-events+")
    found += [name for name in ("multiprocess+", "error-message+") if name in client.features]
    return ";".join(dict.fromkeys(found))


@packet("QStartNoAckMode", offers="QStartNoAckMode+")
def no_acknowledgments(client: Client, rest: bytes) -> Reply:
    """Packets are not acknowledged from now on."""
    client.wire.acknowledge = False
    return b"OK"


@packet("?")
def why_stopped(client: Client, rest: bytes) -> Reply:
    """Why the target stands where it stands. A target that runs is stopped for it. W00 when detached."""
    if client.detached:
        return b"W00"
    if client.nonstop is not None:
        return client.nonstop.why()
    if client.target.running:
        client.waiting = client.plain = True
        client.target.interrupt()
        return None
    if client.held is not None:
        return client.render(client.held)
    return client.render(client.target.last_stop())


@packet("!")
def extended(client: Client, rest: bytes) -> Reply:
    """Extended mode: the target may be restarted and stays when the client goes."""
    client.extended = True
    return b"OK"


@packet("qAttached")
def attached(client: Client, rest: bytes) -> Reply:
    """1: the guest was there before the client, which therefore detaches from it at its end and does not kill it."""
    return b"1"


@packet("qSymbol")
def symbols(client: Client, rest: bytes) -> Reply:
    """The client offers to look symbols up; none are needed."""
    return b"OK"


@packet("qOffsets", needs=HasOffsets)
def offsets(client: Client, rest: bytes) -> Reply:
    """How far text and data lie from where they were linked."""
    assert isinstance(client.target, HasOffsets)
    text, data = client.target.offsets()
    return f"Text={text:x};Data={data:x};Bss={data:x}"


@packet("QProgramSignals", offers="QProgramSignals+")
def program_signals(client: Client, rest: bytes) -> Reply:
    """The signals that the client would pass on. A machine takes none."""
    return b"OK"


@packet("QPassSignals", offers="QPassSignals+")
def pass_signals(client: Client, rest: bytes) -> Reply:
    """The signals that need not be reported. A machine has none but those for stops."""
    return b"OK"
