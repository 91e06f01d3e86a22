"""How the points are held while the guest runs: the plan in force, and what of it lies in memory and registers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kvmdbg.engine.arming import STEPPING, Plan, View, make_plan
from kvmdbg.engine.breakpoints import Breakpoints, Catchpoint
from kvmdbg.engine.events import STEPPED
from kvmdbg.kvm import abi
from kvmdbg.machine.memory import Guard
from kvmdbg.x86 import paging

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.host import Host
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.engine.judge import Judge
    from kvmdbg.engine.traps import Traps
    from kvmdbg.engine.vectors import Vectors
    from kvmdbg.engine.world import World
    from kvmdbg.machine.machine import Machine

PAGE = 4096


class Holding:
    """Of one machine and its vCPUs."""

    def __init__(
        self,
        host: Host,
        machine: Machine,
        traps: Traps,
        world: World,
        space: Inspection,
        points: Breakpoints,
        judge: Judge,
        vectors: Vectors,
    ) -> None:
        self.plan = Plan()
        self._host = host
        self._machine = machine
        self._traps = traps
        self._world = world
        self._space = space
        self._points = points
        self._judge = judge
        self._vectors = vectors
        self._planting = False
        self._holds_nothing = False
        """There was nothing to hold in the last run, and so that is what the vCPUs are armed with."""
        self._msrs: frozenset[int] | None = frozenset()

    def begin(self, *, plant: bool) -> None:
        """Before vCPUs go: decide how points are held, and put guards and (``plant``) traps in place."""
        catching = self._judge.begin()
        if not self._points.any and not self._judge.inspected and self._judge.listeners.instructions is None:
            if self._holds_nothing:
                self._planting = plant
                return
            self._holds_nothing = True
        else:
            self._holds_nothing = False
        for point in (*self._points, *self._points.held()):
            point.held_by = ""
        for caught in catching:
            caught.held_by = STEPPING if caught.kind in STEPPED else "exit"
        self._exit_at_msrs(catching)
        self._planting = plant
        self.plan = self._make_plan()
        self._put_in_place()

    def _make_plan(self) -> Plan:
        """How every enabled point is held, from what memory and registers are now."""
        breakpoints = [
            *self._points.held(),
            *self._points.own_breakpoints,
            *self._vectors.points(self.follow_tables),
        ]
        watchpoints = self._points.watchpoints()
        plan = Plan()
        if self._vectors.active or any(p.enabled for p in (*breakpoints, *watchpoints)):
            view = self._view()
            plan = make_plan(breakpoints, watchpoints, self._host.profile, view, self._points.hold)
            self._vectors.note_missed(breakpoints)
            for page in self._vectors.pages():
                if page in view.unguardable:
                    plan.stepping = True
                elif page not in view.paging_pages and self._in_ram(page) is not None:
                    plan.guards.setdefault(page, Guard.READ_ONLY)
        plan.stepping |= bool(self._judge.inspected) or self._judge.listeners.instructions is not None
        if not self._planting:
            code = {address & -PAGE for address in plan.traps} - plan.watched.keys()
            plan.guards = {page: guard for page, guard in plan.guards.items() if page not in code}
            plan.traps.clear()
            plan.trap_of_linear.clear()
            plan.debug_registers = [entry for entry in plan.debug_registers if entry[1] & 3]
        if plan.stepping or not (self._planting or self._host.profile.guards_restart):
            plan.hold_by_stepping()
        plan.stepping &= self._planting
        return plan

    def _put_in_place(self) -> None:
        """Guards, traps and debug registers of the plan."""
        plan = self.plan
        self._machine.memory.guard(plan.guards, restartable=bool(plan.guards) and self._host.profile.guards_restart)
        for address in plan.traps:
            self.plant(address)
        for runner in self._world.runners:
            runner.arm(plan)

    def plant(self, physical: int) -> None:
        """Put the trap of the plan there, if it still has one there."""
        if self.plan.trap is not None and physical in self.plan.traps:
            self._traps.plant(physical, self.plan.trap)

    def hold_by_stepping(self, runner: DebuggedVcpu, pages: set[int]) -> None:
        """While the guest runs, on this runner's thread: what is in these pages is held by stepping from now on."""
        self._points.stepped_pages |= pages
        self.rearm(runner)

    def rearm(self, runner: DebuggedVcpu) -> None:
        """While the guest runs, on this runner's thread: the tables of handlers have changed, hold everything anew."""
        with self._world.exclusive(runner):
            if self._world.stopping:
                return  # it is done anew before the vCPUs go on
            self._traps.lift(*self.plan.traps)
            self.plan.become(self._make_plan())
            self._put_in_place()

    def follow_tables(self, runner: DebuggedVcpu) -> None:
        """Where exceptions or interrupts are caught: has the guest changed its table of handlers?"""
        vectors = self._vectors
        unguarded = runner.plan.stepping or (runner.stepping and not self._host.profile.guards_restart)
        if vectors.active and (runner.tables_touched or vectors.moved(runner) or (unguarded and vectors.altered())):
            runner.tables_touched = False
            self.rearm(runner)
            if not runner.stepping:
                runner.debug_for_running()

    def _exit_at_msrs(self, catching: Sequence[Catchpoint]) -> None:
        """Have KVM exit at the MSRs that are wanted, and at no others."""
        wanted: set[int] | None = set()
        for point in catching:
            if {"msr_read", "msr_write"} & set(point.kinds):
                index = point.filters.get("index")
                if wanted is None or index is None or callable(index):
                    wanted = None
                else:
                    wanted |= {index} if isinstance(index, int) else set(index)
        asked = None if wanted is None else frozenset(wanted)
        if asked == self._msrs:
            return
        vm = self._machine.vm
        vm.enable_capability(abi.KVM_CAP_X86_USER_SPACE_MSR, abi.KVM_MSR_EXIT_REASON_FILTER)
        vm.filter_msrs(asked)
        self._msrs = asked

    # --- what the vCPUs' registers say of memory -----------------------------------------------------

    def _view(self) -> View:
        """Memory as all vCPUs that run code see it."""
        runners = [runner for runner in self._world.runners if runner.may_run]
        tables: set[int] = set()
        system: set[int] = set()
        for runner in runners:
            tables |= self.paging_pages(runner)
            system |= self._system_pages(runner)

        def translate(linear: int) -> int | None:
            found = {self._in_ram(self._space.physical_of(runner, linear)) for runner in runners} - {None}
            return found.pop() if len(found) == 1 else None

        def user_page(linear: int) -> bool:
            return any(runner.sregs.cr0 >> 31 and self._space.walk(runner, linear).user for runner in runners)

        return View(
            translate=translate,
            in_ram=self._in_ram,
            user_page=user_page,
            paging_pages=frozenset(tables),
            system_pages=frozenset(system),
            unguardable=frozenset()
            if self._host.profile.guards_restart
            else frozenset(self._unguardable(runners) | tables),
            irqchip=self._machine.irqchip,
            loaded_at=self._vectors.loaded_at,
        )

    def paging_pages(self, runner: DebuggedVcpu) -> set[int]:
        """The pages of this vCPU's paging structures."""
        sregs = runner.sregs
        return set(paging.tables(self._machine.memory.read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer))

    def _system_pages(self, runner: DebuggedVcpu) -> set[int]:
        """The pages of this vCPU's descriptor tables and TSS."""
        gate = 4 if runner.mode.segmented else 16
        idt = runner.sregs.idt
        return self._pages_of(runner, [(idt.base, min(idt.limit, 256 * gate - 1)), *self._space.written_tables(runner)])

    def _unguardable(self, runners: Sequence[DebuggedVcpu]) -> set[int]:
        """The pages that these vCPUs may write to by themselves: stacks, descriptors, TSSs."""
        found = set(self._points.stepped_pages)
        for runner in runners:
            ranges = [*self._space.written_tables(runner), *self._space.stacks(runner)]
            found |= self._pages_of(runner, ranges)
        return found

    def _pages_of(self, runner: DebuggedVcpu, ranges: Iterable[tuple[int, int]]) -> set[int]:
        """The guest-physical pages of linear ranges (first address, limit)."""
        found: set[int] = set()
        for base, limit in ranges:
            for address in range(base & -PAGE, base + limit + 1, PAGE):
                physical = self._space.physical_of(runner, address)
                if physical is not None:
                    found.add(physical & -PAGE)
        return found

    def guarded_of_cpu(self, runner: DebuggedVcpu) -> set[int]:
        """The guarded pages that this vCPU may use by itself, as its registers are now."""
        guards = self._machine.memory.guards
        if not guards:
            return set()
        return self._unguardable([runner]) & guards.keys() | self.spoilt_tables(runner)

    def guarded_stacks(self, runner: DebuggedVcpu) -> set[int]:
        """The guarded pages to which this vCPU may push next."""
        return self._pages_of(runner, self._space.stacks(runner)) & self._machine.memory.guards.keys()

    def spoilt_tables(self, runner: DebuggedVcpu) -> set[int]:
        """The guarded pages in which this vCPU's paging structures are; of its descriptor tables and TSS those that are
        withdrawn."""
        guards = self._machine.memory.guards
        found = self.paging_pages(runner) & guards.keys()
        if Guard.WITHDRAWN in guards.values():
            found |= {page for page in self._system_pages(runner) if guards.get(page) is Guard.WITHDRAWN}
        return found

    def _in_ram(self, physical: int | None) -> int | None:
        return physical if physical is not None and self._machine.memory.find(physical) else None
