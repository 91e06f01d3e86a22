"""Which stop, if any, the points ask for that a vCPU has come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Breakpoints, Catchpoint, Point, passes
from kvmdbg.engine.event_scope import bind_condition
from kvmdbg.engine.events import STEPPED, InsnEvent
from kvmdbg.engine.hook_calls import SWALLOW, Event, failure
from kvmdbg.engine.hook_calls import call as call_hook
from kvmdbg.errors import KvmdbgError

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.listeners import Listeners
    from kvmdbg.kvm.exits import Exit
    from kvmdbg.language.context import Context


class Judge:
    """``context_of`` gives what conditions see of a vCPU, ``event_of`` what hooks are called with."""

    def __init__(
        self,
        points: Breakpoints,
        listeners: Listeners,
        context_of: Callable[[DebuggedVcpu], Context],
        event_of: Callable[[DebuggedVcpu, Exit, str], Event],
    ) -> None:
        self.points = points
        self.listeners = listeners
        self.sees_all = False
        """Whether everything that could be seen is to be seen, wanted or not: the guest is recorded or replayed."""
        self.always_inspected: frozenset[str] = frozenset()
        """Kinds that are inspected in any case."""
        self.observed = False
        """Whether anybody wants to see exits in this run."""
        self.inspected: frozenset[str] = frozenset()
        """Kinds of events for which each instruction is looked at before and after it runs."""
        self.context_of = context_of
        self.event_of = event_of
        self._changes = -1
        self._looking: dict[tuple[str, str], list[Catchpoint]] = {}
        """By kind and when, those that look at such events; as the points were at ``_changes`` of theirs."""

    def catchpoints(self) -> list[Catchpoint]:
        """The user's and the debugger's own."""
        return [*self.points.catchpoints(), *self.points.own_catchpoints]

    def begin(self) -> list[Catchpoint]:
        """Before the vCPUs go: the catchpoints that are in force."""
        catching = [point for point in self.catchpoints() if point.enabled]
        self.observed = bool(catching or self.listeners.exit or self.sees_all)
        self.inspected = STEPPED & {point.kind for point in catching} | self.always_inspected
        return catching

    def observes_port(self, port: int, size: int) -> bool:
        """Whether anybody wants to see accesses of ``size`` bytes to this port."""
        return (
            self.sees_all
            or bool(self.listeners.exit)
            or any(
                p.enabled
                and p.looks_at("io")
                and ("port" not in p.filters or any(passes(p.filters["port"], port + n) for n in range(size)))
                for p in self.catchpoints()
            )
        )

    def ask(
        self, runner: DebuggedVcpu, points: Sequence[Point], event: Event | None = None
    ) -> tuple[Point, ...] | stops.Stop:
        """Which of these points, reached on this vCPU, ask for a stop; a Stop when a hook does or a condition fails.

        ``event`` is what hooks are called with; its answer is theirs.
        """
        wanted: list[Point] = []
        asked: stops.Stop | None = None
        for place in points:
            point = place.asked_for
            if not place.enabled or (point.only_if is not None and not point.only_if(runner.index)):
                continue
            if place.expression is not None:
                try:
                    if not self._holds(place, runner, event):
                        continue
                except KvmdbgError as error:
                    text = str(error).splitlines()[0]
                    return stops.ErrorStop(
                        vcpu=runner.index,
                        pc=runner.pc,
                        message=f"condition of breakpoint {point.number} ({point.condition}): {text}",
                        hits=(point,),
                    )
            point.hits += 1
            if place is not point:
                place.hits += 1
            if point.ignore > 0:
                point.ignore -= 1
                continue
            if point.prints and event is not None:
                self.listeners.tell_note(runner.index, event.exit)
            if point.function is not None:
                event = event or self.event_of(runner, InsnEvent(runner.pc), "after")
                asked = call_hook(point, event, runner) or asked
            elif point.stops:
                wanted.append(point)
        if asked is not None:
            return asked
        if not wanted:
            return ()
        visible = tuple(point for point in wanted if point.number)
        return visible or stops.BreakpointStop(vcpu=runner.index, pc=runner.pc, hits=())

    def _holds(self, point: Point, runner: DebuggedVcpu, event: Event | None) -> bool:
        bound = point.bound.get(runner.index)
        if bound is None:
            bound = point.bound[runner.index] = bind_condition(point, self.context_of(runner))
        return bound(event.exit if event is not None else None)

    def looking(self, kind: str, when: str) -> list[Catchpoint]:
        """The catchpoints that look at events of this kind before or after they are served, enabled or not."""
        if self.points.changes != self._changes:
            self._changes = self.points.changes
            self._looking.clear()
        found = self._looking.get((kind, when))
        if found is None:
            found = [p for p in self.catchpoints() if p.when == when and p.looks_at(kind)]
            self._looking[kind, when] = found
        return found

    def offer(self, runner: DebuggedVcpu, exit: Exit, when: str = "after") -> tuple[Any, stops.Stop | None]:
        """Let the catchpoints and hooks of this kind see an exit: a hook's answer (or None), and the stop they want.

        The stop's pc is the vCPU's now: whoever completes an instruction afterwards moves it.
        """
        kind = exit.kind
        looking = self.looking(kind, when)
        if not looking:
            return None, None
        event = self.event_of(runner, exit, when)
        found, passes, plain = [], True, False
        for p in looking:
            if p.enabled and p.matches(event):
                found.append(p)
                passes &= p.passes
                plain |= p.stops and p.function is None
        if not found:
            return None, None
        if not passes:
            event.answer = SWALLOW
        if plain:
            quiet = (p for p in self.points.catchpoints() if p.enabled and not p.stops)
            if any(p.matches(event) for p in quiet):  # `handle ... nostop` means this very thing
                found = [p for p in found if p.function is not None or not p.stops]
        hits = self.ask(runner, found, event)
        if isinstance(hits, stops.Stop):
            return event.answer, hits
        if not hits:
            return event.answer, None
        caught = tuple(p for p in hits if isinstance(p, Catchpoint))
        return event.answer, stops.CaughtStop(vcpu=runner.index, pc=runner.pc, hits=caught, exit=exit)

    def call_stop_hooks(self, stop: stops.Stop) -> None:
        """Call the hooks on stops; one that raises is disabled, and told as a warning."""
        for point in self.points.catchpoints():
            if point.kind == "stop" and point.enabled and point.function is not None:
                point.hits += 1
                try:
                    point.function(stop)
                except (Exception, SystemExit) as error:
                    point.enabled = False
                    self.listeners.tell_warning(failure(point, error))
