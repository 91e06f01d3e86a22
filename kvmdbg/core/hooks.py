"""Hooks: functions that are called when something happens in the guest, and may answer for it.

A hook is a point as breakpoints are (engine/breakpoints.py), with a function: it is listed beside them, has a number
and a name, is enabled, disabled and deleted like them. ``session.on`` makes them::

    @dbg.on.io_in(port=0x60, when="before")
    def scancode(event):
        return 0x1c

What the function is called with and may return is in engine/hook_calls.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from kvmdbg.core.filters import check_filters
from kvmdbg.core.points import Points
from kvmdbg.engine.breakpoints import Breakpoints, Catchpoint, Point
from kvmdbg.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
Filter = Any
"""A number, a range or collection of numbers, or a function that says whether a value is wanted."""


class Hooks:
    """All hooks of a session, by name: ``dbg.hooks["scancode"].enabled = False``; ``dbg.hooks.remove("scancode")``."""

    def __init__(self, breakpoints: Breakpoints) -> None:
        self._breakpoints = breakpoints

    def __iter__(self) -> Iterator[Point]:
        return (point for point in self._breakpoints if point.function is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Point:
        """The hook of that name; UsageError where there is none."""
        for point in self:
            if point.name == name:
                return point
        raise UsageError(f"there is no hook {name!r}; there are: {', '.join(p.name for p in self) or 'none'}")

    def remove(self, name: str) -> None:
        self._breakpoints.discard(self[name])


class On:
    """Decorators that make a function a hook, one for each thing that can happen. They need a stopped guest.

    Every one takes ``name`` (the function's own unless given), ``condition`` (an expression as in breakpoints), and
    filters: ``pc`` and ``mode``, and the fields of what happens. A filter is a number, a range or a collection, or a
    function of the value. The decorated function is given back as it is.
    """

    def __init__(self, points: Points, hooks: Hooks) -> None:
        self._points = points
        self._hooks = hooks

    def _catch(
        self, kind: str, when: str, name: str | None, condition: str | None, filters: dict[str, Filter]
    ) -> Callable[[F], F]:
        filters = {key: value for key, value in filters.items() if value is not None}
        check_filters(kind, filters)

        def make(function: F) -> F:
            point = Catchpoint(
                kind=kind,
                filters=filters,
                when=when,
                name=self._name(name, function),
                function=function,
            )
            self._points.add(point, condition)
            return function

        return make

    def _name(self, name: str | None, function: Callable[..., Any]) -> str:
        wanted = name or str(getattr(function, "__name__", "hook"))
        taken = {point.name for point in self._hooks}
        found = wanted
        number = 2
        while found in taken:
            found, number = f"{wanted}-{number}", number + 1
        return found

    def io_out(
        self, port: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """A write to a port. ``event.port``, ``size`` (bytes), ``value``."""
        return self._catch("io", when, name, condition, {"direction": "out", "port": port, **filters})

    def io_in(
        self, port: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """A read from a port; before it is answered ``event.value`` is None."""
        return self._catch("io", when, name, condition, {"direction": "in", "port": port, **filters})

    def mmio_read(
        self, address: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """A read of guest-physical memory that is no RAM. ``event.address``, ``size``, ``value``."""
        return self._catch("mmio", when, name, condition, {"direction": "read", "address": address, **filters})

    def mmio_write(
        self, address: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """A write to guest-physical memory that is no RAM."""
        return self._catch("mmio", when, name, condition, {"direction": "write", "address": address, **filters})

    def msr_read(
        self, index: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """RDMSR. ``event.index``, ``value``."""
        return self._catch("msr_read", when, name, condition, {"index": index, **filters})

    def msr_write(
        self, index: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """WRMSR."""
        return self._catch("msr_write", when, name, condition, {"index": index, **filters})

    def rdtsc(
        self, *, when: str = "after", name: str | None = None, condition: str | None = None, **filters: Filter
    ) -> Callable[[F], F]:
        """RDTSC; an answer is the 64-bit time stamp. The vCPU is stepped for it."""
        return self._catch("rdtsc", when, name, condition, filters)

    def hypercall(
        self, nr: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """VMCALL or VMMCALL. ``event.nr`` (RAX), ``args``; an answer is put into RAX. The vCPU is stepped for it."""
        return self._catch("hypercall", when, name, condition, {"nr": nr, **filters})

    def cpuid(
        self, leaf: Filter = None, *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """CPUID. ``event.leaf``, ``subleaf``; an answer is (eax, ebx, ecx, edx). The vCPU is stepped for it."""
        return self._catch("cpuid", when, name, condition, {"leaf": leaf, **filters})

    def exception(
        self, vector: Filter = None, *, name: str | None = None, condition: str | None = None, **filters: Filter
    ) -> Callable[[F], F]:
        """An exception is about to be handled. ``event.vector``, ``error_code``, ``ip``, ``address`` (CR2)."""
        return self._catch("exception", "after", name, condition, {"vector": vector, **filters})

    def interrupt(
        self, vector: Filter = None, *, name: str | None = None, condition: str | None = None, **filters: Filter
    ) -> Callable[[F], F]:
        """An interrupt is about to be handled. ``event.vector``, ``ip``."""
        return self._catch("interrupt", "after", name, condition, {"vector": vector, **filters})

    def mode_change(
        self, *, name: str | None = None, condition: str | None = None, **filters: Filter
    ) -> Callable[[F], F]:
        """The CPU's mode has changed. ``event.old``, ``new``. The vCPU is stepped for it."""
        return self._catch("mode", "after", name, condition, filters)

    def hlt(self, *, name: str | None = None, condition: str | None = None, **filters: Filter) -> Callable[[F], F]:
        """HLT."""
        return self._catch("hlt", "after", name, condition, filters)

    def shutdown(self, *, name: str | None = None, condition: str | None = None, **filters: Filter) -> Callable[[F], F]:
        """A triple fault. The guest stops afterwards all the same."""
        return self._catch("shutdown", "after", name, condition, filters)

    def debug(self, *, name: str | None = None, condition: str | None = None, **filters: Filter) -> Callable[[F], F]:
        """A debug exception of the guest's own that came out as an exit."""
        return self._catch("debug", "after", name, condition, filters)

    def emulation_failure(
        self, *, name: str | None = None, condition: str | None = None, **filters: Filter
    ) -> Callable[[F], F]:
        """KVM cannot run an instruction. The guest stops afterwards all the same."""
        return self._catch("internal_error", "after", name, condition, {"suberror": 1, **filters})

    def system_event(
        self, *, name: str | None = None, condition: str | None = None, **filters: Filter
    ) -> Callable[[F], F]:
        """KVM_EXIT_SYSTEM_EVENT."""
        return self._catch("system_event", "after", name, condition, filters)

    def exit(
        self, kind: str = "any", *, when: str = "after", name: str | None = None, condition: str | None = None,
        **filters: Filter,
    ) -> Callable[[F], F]:  # fmt: skip
        """Every exit, or those of one kind of kvm/exits.py."""
        return self._catch(kind, when, name, condition, filters)

    def stop(self, *, name: str | None = None) -> Callable[[F], F]:
        """After each stop: the function gets the ``Stop``, and what it returns means nothing."""
        return self._catch("stop", "after", name, None, {})

    def insn(self, where: int | str, *, name: str | None = None, condition: str | None = None) -> Callable[[F], F]:
        """The instruction at ``where`` (an address or an expression) is about to run."""

        def make(function: F) -> F:
            point = self._points.made(where, name=self._name(name, function), function=function)
            self._points.add(point, condition)
            return function

        return make

    def memory(
        self, where: int | str | range, access: str = "write", *, length: int | None = None, name: str | None = None,
        condition: str | None = None,
    ) -> Callable[[F], F]:  # fmt: skip
        """After an access ("write", "read" or "access") to memory: a range of addresses, or as in ``watch``.

        ``event.access``, ``address``, ``size``, ``old``, ``new``.
        """

        def make(function: F) -> F:
            if isinstance(where, range) and where.step != 1:
                raise UsageError(f"{where} is no range of addresses: they follow each other")
            place, size = (where.start, len(where)) if isinstance(where, range) else (where, length)
            self._points.watch(place, size, access, condition, name=self._name(name, function), function=function)
            return function

        return make
