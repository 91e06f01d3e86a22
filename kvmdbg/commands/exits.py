"""The exits of the virtual CPU: catch them, trace them, count them."""

from __future__ import annotations

from typing import Annotated, Any

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, ConditionArg, NumberType, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Group, Message, Result, Table


def exit_kinds(dbg: Interpreter) -> list[str]:
    """The words for every exit reason, from kvm/exits.py."""
    from kvmdbg.kvm import exits

    return ["any", *sorted(exits.KINDS)]


PortArg = Annotated[int | None, NumberType("PORT")]
KindArg = Annotated[str, WordType("KIND", exit_kinds)]
SwitchArg = Annotated[str, WordType("on|off", ("on", "off"))]


def _catch(dbg: Interpreter, kind: str, condition: str | None, what: str, **chosen: Any) -> Result:
    made = dbg.session.catch(kind, when=condition, **chosen)
    dbg.session.variables["bpnum"] = made.number
    sentence = f"Catchpoint {made.number}: {what}" + (f" if {condition}" if condition else "") + "."
    return Message(sentence, data={"number": made.number, "kind": kind, **chosen})


@command("catch io", group="exits", example=("catch io 0x10", "catch io 0x10 if $ax == 3"))
def catch_io(dbg: Interpreter, port: PortArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest when it reads or writes an I/O port: PORT, or any without one."""
    if port is None:
        return _catch(dbg, "io", condition, "any port")
    return _catch(dbg, "io", condition, f"port {port:#x}", port=port)


@command("catch mmio", group="exits", example=("catch mmio 0xfee00000", "catch mmio"))
def catch_mmio(dbg: Interpreter, address: AddressArg | None = None, condition: ConditionArg = None) -> Result:
    """Stop the guest when it touches a guest-physical address outside its memory: ADDRESS, or any without one."""
    if address is None:
        return _catch(dbg, "mmio", condition, "any address outside memory")
    return _catch(dbg, "mmio", condition, f"physical {address.address:#x}", address=address.address)


@command("catch hlt", group="exits", example="catch hlt")
def catch_hlt(dbg: Interpreter, condition: ConditionArg = None) -> Result:
    """Stop the guest when it halts, also where an interrupt would wake it again."""
    return _catch(dbg, "hlt", condition, "hlt")


@command("catch", group="exits", example=("catch io 0x10", "catch shutdown"))
def catch(dbg: Interpreter, kind: KindArg, condition: ConditionArg = None) -> Result:
    """Stop the guest at exits of one kind; io and mmio also take a port or an address.

    The kinds are the exit reasons of linux/kvm.h in lower case, without KVM_EXIT_, and `any`.
    """
    return _catch(dbg, kind, condition, f"exit {kind}")


@command("trace exits", group="exits", example=("trace exits on io", "trace exits off"))
def trace_exits(dbg: Interpreter, switch: SwitchArg, *kinds: KindArg) -> Result:
    """Show each exit in one line as it happens; with KINDs only those."""
    if switch == "off":
        dbg.trace_exits(None)
        return Message("Exits are no longer shown.")
    dbg.trace_exits(frozenset(kinds))
    return Message(f"Each exit{' of ' + ', '.join(kinds) if kinds else ''} is shown from now on.")


@command("info exits", group="exits", example="info exits")
def info_exits(dbg: Interpreter) -> Result:
    """Count the exits so far, by reason and by port or address."""
    counts = dbg.session.exits
    reasons = sorted(counts.by_reason.items(), key=lambda one: (-one[1], one[0]))
    places = sorted(counts.by_port.items(), key=lambda one: (-one[1], one[0]))
    first = Table(
        "exits by reason",
        ("Reason", "Count"),
        tuple((reason, str(count)) for reason, count in reasons),
        "The guest has not left the CPU yet.",
        tuple({"reason": reason, "count": count} for reason, count in reasons),
    )
    if not places:
        return first
    second = Table(
        "exits by port",
        ("Access", "Port", "Count"),
        tuple((kind, f"{port:#x}", str(count)) for (kind, port), count in places),
        data=tuple({"access": kind, "port": port, "count": count} for (kind, port), count in places),
    )
    return Group((first, second))
