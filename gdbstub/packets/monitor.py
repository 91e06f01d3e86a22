"""`monitor`: the target's own commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdbstub.errors import TargetError
from gdbstub.registry import Reply, packet
from gdbstub.target import HasMonitor

if TYPE_CHECKING:
    from gdbstub.client import Client


@packet("qRcmd,", needs=HasMonitor)
def command(client: Client, rest: bytes) -> Reply:
    """Run a command of the target's own; its output comes as it is made, in O packets."""
    target = client.target
    assert isinstance(target, HasMonitor)
    text = bytes.fromhex(rest.decode()).decode("utf-8", "replace")

    def work() -> Reply:
        try:
            target.monitor(text, client.say)
        except TargetError as error:
            client.say(f"{error}\n")
        return b"OK"

    client.aside(work)
    return None
