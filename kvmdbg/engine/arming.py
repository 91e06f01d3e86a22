"""How breakpoints and watchpoints are held during one resume.

Chosen anew at every resume from what the host's KVM can do (engine/probe.py) and what
the addresses map to now. In order of preference:

* a debug register: holds a linear address whatever is mapped there, survives
  code that is loaded or changed later; four of them;
* a planted trap, keyed by guest-physical address, its page guarded read-only so
  that code the guest writes there later slides under the trap; an address that is
  not mapped yet is taken to lie where the image says that it is loaded;
* for data, pages read-only or withdrawn, so that each access exits;
* single-stepping with a compare, when nothing else can work. Then all is held so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kvmdbg.engine.breakpoints import NOT_AT_ALL, PLANTED, STEPPED, Breakpoint, Watchpoint
from kvmdbg.engine.probe import HLT, TRAP_NAMES, HostProfile
from kvmdbg.errors import NotSupportedHere
from kvmdbg.machine.memory import PAGE, Guard
from kvmdbg.record import record

DEBUG_REGISTERS = 4
DR7_LENGTH = {1: 0, 2: 1, 4: 3, 8: 2}
DR7_WRITE, DR7_ACCESS = 1, 3
STEPPING = "stepping"
AUTO, REGISTER = "auto", "register"
HOLDS = (AUTO, REGISTER, STEPPING, PLANTED)
"""How the user may want breakpoints held: as it is best here, or in one way only."""


@record
class WatchRange:
    """Guest-physical bytes ``start`` to ``end`` (exclusive) under ``watch``; ``linear`` is the address of ``start``."""

    start: int
    end: int
    linear: int
    watch: Watchpoint


class Plan:
    """What is in force while the guest runs."""

    def __init__(self, trap: int | None = None) -> None:
        self.trap = trap
        self.traps: set[int] = set()
        """Guest-physical address of each planted trap."""
        self.trap_of_linear: dict[int, int] = {}
        """Where the traps of linear breakpoints lie, as mapped at the resume."""
        self.debug_registers: list[tuple[int, int, Breakpoint | Watchpoint]] = []
        """Linear address, DR7 condition and length bits (LEN << 2 | RW), and for whom."""
        self.guards: dict[int, Guard] = {}
        self.watched: dict[int, list[WatchRange]] = {}
        """Watched ranges by page."""
        self.in_registers: dict[int, list[WatchRange]] = {}
        """Ranges in debug registers, by page: KVM emulates an access to a guarded page, and then none fires."""
        self.by_linear: dict[int, list[Breakpoint]] = {}
        self.by_physical: dict[int, list[Breakpoint]] = {}
        self.stepped: list[Watchpoint] = []
        """Watchpoints for which each instruction is decoded before it runs."""
        self.stepping = False

    def become(self, other: Plan) -> None:
        """Take over all of another plan; what was handed out of this one stays its own."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, dict | set):
                mine.clear()
                mine.update(value)
            elif isinstance(mine, list):
                mine[:] = value
            else:
                setattr(self, name, value)

    def hold_by_stepping(self) -> None:
        """Every instruction will be stepped: nothing is planted or guarded, all is compared at each of them."""
        self.traps.clear()
        self.trap_of_linear.clear()
        guarded = dict.fromkeys(span.watch for spans in self.watched.values() for span in spans)
        self.stepped += [watch for watch in guarded if watch not in self.stepped]
        self.watched.clear()
        self.guards.clear()

    @property
    def dr7(self) -> int:
        value = 0x400
        for number, (_, bits, _) in enumerate(self.debug_registers):
            value |= 2 << number * 2 | bits << 16 + number * 4
        return value

    def dr7_data_only(self) -> int:
        """DR7 without the execute breakpoints, for a step from one of them."""
        value = 0x400
        for number, (_, bits, _) in enumerate(self.debug_registers):
            if bits & 3:
                value |= 2 << number * 2 | bits << 16 + number * 4
        return value

    @property
    def holds_data_in_registers(self) -> bool:
        return bool(self.debug_registers) and any(bits & 3 for _, bits, _ in self.debug_registers)

    @property
    def holds_reads_in_registers(self) -> bool:
        return bool(self.debug_registers) and any(bits & 3 == 3 for _, bits, _ in self.debug_registers)


@record
class View:
    """What arming asks of the stopped guest.

    ``translate``: linear -> guest-physical in RAM, or None where it is not there or not the same on each vCPU;
    ``in_ram``: the physical address itself, or None where there is no RAM; ``paging_pages``: the pages that
    hold paging structures now; ``system_pages``: those of GDT, IDT, LDT and TSS.
    """

    translate: Callable[[int], int | None]
    in_ram: Callable[[int], int | None]
    user_page: Callable[[int], bool]
    paging_pages: frozenset[int]
    system_pages: frozenset[int]
    unguardable: frozenset[int]
    irqchip: bool
    loaded_at: Callable[[int], int | None] = lambda linear: None
    """Where the image has what is linked at a linear address: there it lies until the guest maps it elsewhere."""


def pieces(address: int, length: int) -> list[tuple[int, int]]:
    """Naturally aligned pieces of 1, 2, 4 or 8 bytes that a debug register can hold."""
    result = []
    while length:
        size = 8
        while size > length or address % size:
            size //= 2
        result.append((address, size))
        address += size
        length -= size
    return result


def make_plan(
    breakpoints: Iterable[Breakpoint],
    watchpoints: Iterable[Watchpoint],
    profile: HostProfile,
    view: View,
    hold: str = AUTO,
) -> Plan:
    """Decide for each enabled point; sets their ``held_by``.

    ``hold`` is one of HOLDS: the one way in which the user wants breakpoints held. NotSupportedHere where one of his
    cannot be. Those that insist on a debug register (``hardware``) have it all the same.
    """
    plan = Plan(trap=profile.kernel_trap)
    if plan.trap == HLT and view.irqchip:
        plan.trap = None  # with the irqchip in the kernel, hlt sleeps there and does not exit
    points = [b for b in breakpoints if b.enabled]
    physical: dict[int, int | None] = {}
    for point in points:
        table = plan.by_linear if point.space == "linear" else plan.by_physical
        table.setdefault(point.address, []).append(point)
        physical[id(point)] = (view.in_ram if point.space == "phys" else view.translate)(point.address)

    def in_debug_register(point: Breakpoint) -> bool:
        if hold in (STEPPING, PLANTED) and not point.hardware and point.without_register == PLANTED:
            return False
        if point.space != "linear" or not profile.kernel_execute_dr:
            return False
        if not any(address == point.address and not bits for address, bits, _ in plan.debug_registers):
            if len(plan.debug_registers) >= DEBUG_REGISTERS:
                return False
            plan.debug_registers.append((point.address, 0, point))
        point.held_by = "debug register"
        if not profile.by_mode["user"].execute_dr and view.user_page(point.address):
            point.held_by += " (CPL 0 only on this KVM)"
        return True

    insisting = [p for p in points if p.hardware or (hold == REGISTER and p.number)]
    urgent = insisting + [
        p for p in points if p not in insisting and physical[id(p)] is None and p.without_register != NOT_AT_ALL
    ]
    taken = [point for point in urgent if in_debug_register(point)]  # nothing else holds those as well
    for watch in watchpoints:
        if watch.enabled:
            _hold_watch(plan, watch, profile, view)
    for point in points:
        if point not in taken and not in_debug_register(point):
            _plant(plan, point, physical[id(point)], profile, view, hold)
    if plan.stepping:
        plan.hold_by_stepping()
        for one in (*(p for p in points if not p.held_by.startswith("debug register")), *plan.stepped):
            one.held_by = STEPPING
    return plan


def why_not_in_register(point: Breakpoint, profile: HostProfile) -> str:
    """Why a breakpoint cannot be held in a debug register however many are free; nothing if it can."""
    if not profile.kernel_execute_dr:
        return "debug registers do not fire on this KVM"
    return "a debug register holds a linear address" if point.space == "phys" else ""


def _plant(
    plan: Plan, point: Breakpoint, physical: int | None, profile: HostProfile, view: View, hold: str = AUTO
) -> None:
    if point.without_register == NOT_AT_ALL:
        return
    if physical is None and point.space == "linear" and (expected := view.loaded_at(point.address)) is not None:
        physical = view.in_ram(expected)
    if hold == REGISTER and point.number and not point.hardware:
        why = why_not_in_register(point, profile) or "all four are taken"
        raise NotSupportedHere(f"breakpoint {point.number} cannot be held in a debug register: {why}")
    if hold == PLANTED and point.number and not point.hardware and (physical is None or plan.trap is None):
        why = "no memory is mapped there" if physical is None else "none exits on this KVM with the chips in the kernel"
        raise NotSupportedHere(f"breakpoint {point.number} cannot be held by a planted trap: {why}")
    if physical is None or plan.trap is None or point.without_register == STEPPED or hold in (STEPPING, REGISTER):
        plan.stepping = True
        point.held_by = STEPPING
        return
    user = profile.by_mode["user"]
    if user.trap != plan.trap and view.user_page(point.address):  # there the guest would get the trap as an exception
        if hold == PLANTED and point.number:
            why = "the page is for user code, where the trap serves CPL 0 only on this KVM"
            raise NotSupportedHere(f"breakpoint {point.number} cannot be held by a planted trap: {why}")
        plan.stepping = True
        point.held_by = STEPPING
        return
    plan.traps.add(physical)
    if point.space == "linear":
        plan.trap_of_linear[point.address] = physical
    point.held_by = f"{TRAP_NAMES[plan.trap]} trap"
    page = physical & -PAGE
    if page in view.unguardable:
        if point.guarded and hold != PLANTED:
            plan.stepping = True
            point.held_by = STEPPING
    elif point.guarded and page not in view.paging_pages:
        plan.guards.setdefault(page, Guard.READ_ONLY)


def _ranges(watch: Watchpoint, view: View) -> Iterator[tuple[int | None, int, int]]:
    """The watched bytes page by page: guest-physical address (None where nothing is mapped), linear, and length."""
    at, end = watch.address, watch.address + watch.length
    while at < end:
        stop = min(end, (at & -PAGE) + PAGE)
        yield (at if watch.space == "phys" else view.translate(at)), at, stop - at
        at = stop


def _hold_watch(plan: Plan, watch: Watchpoint, profile: HostProfile, view: View) -> None:
    if watch.space == "linear" and watch.kind != "read" and profile.kernel_data_dr:
        parts = pieces(watch.address, watch.length)
        if len(parts) + len(plan.debug_registers) <= DEBUG_REGISTERS:
            kind = DR7_WRITE if watch.kind == "write" else DR7_ACCESS
            plan.debug_registers += [(at, DR7_LENGTH[size] << 2 | kind, watch) for at, size in parts]
            watch.held_by = "debug register"
            for physical, at, length in _ranges(watch, view):
                if physical is not None:
                    span = WatchRange(physical, physical + length, at, watch)
                    plan.in_registers.setdefault(physical & -PAGE, []).append(span)
            return
    ranges = []
    for physical, at, length in _ranges(watch, view):
        page = None if physical is None else physical & -PAGE
        unsafe = view.paging_pages | view.unguardable
        if watch.wants_read:
            unsafe |= view.system_pages
        if physical is None or page in unsafe:
            plan.stepping = True
            plan.stepped.append(watch)
            watch.held_by = STEPPING
            return
        ranges.append(WatchRange(physical, physical + length, at, watch))
    for span in ranges:
        page = span.start & -PAGE
        plan.watched.setdefault(page, []).append(span)
        if watch.wants_read:
            plan.guards[page] = Guard.WITHDRAWN
        else:
            plan.guards.setdefault(page, Guard.READ_ONLY)
    watch.held_by = "page withdrawn" if watch.wants_read else "page read-only"
