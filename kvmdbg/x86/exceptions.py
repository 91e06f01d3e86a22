"""An exception or interrupt until the CPU stands in a handler, or has shut down: what comes of one that fails.

    found = dispatch(State(regs, sregs, read_physical), Event.exception(faults.GP))
    match found:
        case Dispatched(): found.change.apply(regs, sregs, write_linear)
        case Shutdown(): ...    # the triple fault: KVM_EXIT_SHUTDOWN
        case Refused(): ...     # a task switch

Source: Intel SDM volume 3A, 6.15 (interrupt 8), tables 6-4 and 6-5.
"""

from __future__ import annotations

from kvmdbg.record import record, replace
from kvmdbg.x86.change import Change
from kvmdbg.x86.delivery import EXCEPTION, Event, Refused, deliver
from kvmdbg.x86.faults import DF, PF, Fault, State

CONTRIBUTORY = frozenset((0, 10, 11, 12, 13, 21))
PAGE_FAULTS = frozenset((PF, 20))
"""Of their class; 20 is the virtualization exception."""
BENIGN, CONTRIBUTES, PAGE, DOUBLE = "benign", "contributory", "page fault", "double fault"


def class_of(event: Event) -> str:
    """BENIGN, CONTRIBUTES, PAGE or DOUBLE (table 6-4). What an INT or an interrupt delivers is benign, whatever its
    vector.
    """
    if event.kind != EXCEPTION:
        return BENIGN
    if event.vector == DF:
        return DOUBLE
    return CONTRIBUTES if event.vector in CONTRIBUTORY else PAGE if event.vector in PAGE_FAULTS else BENIGN


def following(first: Event, second: Fault) -> Event | None:
    """What is delivered when the delivery of ``first`` raises ``second`` (table 6-5); None: the CPU shuts down."""
    event = Event.of(second)
    kinds = class_of(first), class_of(event)
    if kinds[0] == DOUBLE:
        return None
    if kinds in ((CONTRIBUTES, CONTRIBUTES), (PAGE, CONTRIBUTES), (PAGE, PAGE)):
        return Event.exception(DF)
    return event


@record
class Dispatched:
    """``event`` is what was delivered in the end; ``faults`` those that came in between, the first of them first."""

    event: Event
    change: Change
    faults: tuple[Fault, ...] = ()


@record
class Shutdown:
    """The triple fault. ``faults``: what the deliveries raised; ``control``: what they changed (CR2)."""

    faults: tuple[Fault, ...]
    control: dict[str, int]


def dispatch(state: State, event: Event) -> Dispatched | Shutdown | Refused:
    """Deliver ``event``, or what comes of it; ``state`` and ``event`` are as ``deliver`` wants them."""
    faults: list[Fault] = []
    control: dict[str, int] = {}
    while True:
        if event.address is not None:
            control["cr2"] = event.address
        found = deliver(state, event)
        if isinstance(found, Refused):
            return found
        if isinstance(found, Change):
            return Dispatched(event, replace(found, control={**control, **found.control}), tuple(faults))
        faults.append(found)
        if found.address is not None:
            control["cr2"] = found.address
        after = following(event, found)
        if after is None:
            return Shutdown(tuple(faults), control)
        event = after
