"""Watchpoints while the guest runs: accesses that exit, debug registers that fire, instructions decoded ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.engine import emulated, stops
from kvmdbg.engine.arming import DR7_LENGTH
from kvmdbg.engine.breakpoints import Breakpoint, Watchpoint
from kvmdbg.engine.events import MemoryEvent
from kvmdbg.engine.inspection import PUSHED
from kvmdbg.engine.outside import Mmio
from kvmdbg.engine.own_traps import ROUNDS_AT_ONCE
from kvmdbg.engine.retreat import GuardSpoilt
from kvmdbg.engine.touch import Touch, change
from kvmdbg.errors import DeviceFailure, MemoryFault
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.machine.memory import PAGE, Guard
from kvmdbg.masks import LOW32
from kvmdbg.record import replace
from kvmdbg.x86.operands import Access, Repetition
from kvmdbg.x86.registers import DR6_BS, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.engine.runner import Runner

EFLAGS_ZF = 1 << 6
DR7_SIZES = {length: size for size, length in DR7_LENGTH.items()}


class Watching:
    """The watchpoint side of ``runner``'s exit loop; all methods run on its thread."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.shadow: dict[int, bytes] = {}
        self._unjudged: list[tuple[Touch, bytes]] | None = None
        """While an instruction with an access that exits is completed: its accesses to watches, and values before."""
        self._wrote: tuple[int, int] | None = None
        """Its last write that exits: address and size."""
        self._device_reads: dict[int, bytes] | None = None

    def prepare(self) -> None:
        """At each resume: remember the values under watch in debug registers."""
        self.shadow.clear()
        for _, bits, watch in self.runner.plan.debug_registers:
            if bits & 3 and isinstance(watch, Watchpoint):
                self.shadow[watch.number] = self._value(watch)

    def _value(self, watch: Watchpoint) -> bytes:
        guest = self.runner.guest
        try:
            if watch.space == "phys":
                return guest.physical.read(watch.address, watch.length)
            return guest.space.read_linear(self.runner, watch.address, watch.length)
        except MemoryFault:
            return b""

    def _placed(self, watch: Watchpoint) -> tuple[list[tuple[int, int]], bytes]:
        """Where in physical memory the watched bytes lie now, and the bytes."""
        guest = self.runner.guest
        spans = [(watch.address, watch.length)]
        try:
            if watch.space == "linear":
                spans = guest.space.spans(self.runner, watch.address, watch.length, "read")
            return spans, b"".join(guest.physical.read(place, length) for place, length in spans)
        except MemoryFault:
            return [], b""

    # --- accesses that exit ------------------------------------------------------------------------

    def mmio(self) -> stops.Stop | None:
        """Serve the MMIO exit: RAM behind a guard, or a device; the stop that a watch or catchpoint asks for."""
        runner = self.runner
        vcpu = runner.vcpu
        address, size, write = vcpu.mmio
        machine = runner.guest.machine
        if machine.memory.find(address) is None or machine.memory.is_covered(address):
            runner.retreat.spent = True
            return self._device(Mmio(machine.bus, address, size, write))
        page = address & -PAGE
        if self._on_stack(address):
            raise GuardSpoilt({page}, done=True)
        data = bytes(vcpu.mmio_data[:size])
        touches: list[Touch] = []
        for span in (*runner.plan.watched.get(page, ()), *runner.plan.in_registers.get(page, ())):
            watch = span.watch
            if (
                span.start < address + size
                and address < span.end
                and (watch.wants_write if write else watch.wants_read)
            ):
                touches.append(
                    Touch(watch, "write" if write else "read", span.linear + address - span.start, size, b"", b"")
                )
        before = [(touch, self._value(touch.watch)) for touch in touches]
        if write and machine.memory.is_read_only(address):
            runner.wrote_to_rom(address, size)
        elif write:
            runner.guest.physical.write(address, data)
            runner.tables_touched |= runner.guest.vectors.covers(address, size)
        else:
            vcpu.mmio_data[:size] = runner.guest.physical.read(address, size)
        if self._unjudged is not None:  # one more access of the instruction that is being completed
            self._unjudged += before
            self._wrote = (address, size) if write else self._wrote
            return None
        own_trap = bool(runner.vcpu.regs.rflags & EFLAGS_TF) and not runner.stepping
        if not (touches or (own_trap and write)):
            return None
        self._wrote = (address, size) if write else None
        runner.retreat.spent = True
        pc_at_exit = None if write else runner.pc
        self._unjudged = before
        state = runner.vcpu.copy_of_regs()
        try:
            stop = runner.complete()
            made = self._unjudged
        finally:
            self._unjudged = None
        if not write and runner.vcpu.copy_of_regs() == state:
            raise GuardSpoilt({page}, done=False)  # KVM cannot do such a read here (lidt), and tries it for ever
        if own_trap and self._wrote is not None and not self._in_rounds(*self._wrote):
            runner.deliver(1, 0, dr6=DR6_BS)  # the guest's own, which KVM forgets when a write exits
        if stop is not None and not isinstance(stop, stops.WatchpointStop):
            return stop
        return self._judge_made(made, pc_at_exit) or stop

    def _in_rounds(self, address: int, size: int) -> bool:
        """Whether this write was by a repeated string instruction that KVM's emulator goes on with, without a trap."""
        site = self.runner.guest.space.find_accessor(self.runner, address, size, write=True, physical=True)
        return site == self.runner.pc and self.runner.vcpu.regs.rcx % ROUNDS_AT_ONCE != 0

    def _judge_made(self, made: list[tuple[Touch, bytes]], instruction: int | None) -> stops.Stop | None:
        """Judge the accesses of an instruction that is done, each with the watch's value before it."""
        touches: list[Touch] = []
        for touch, old in made:
            same = next((other for other in touches if other.adjoins(touch)), None)
            if same is None:
                touch.old = old
                touches.append(touch)
            else:
                same.take_in(touch)
        for touch in touches:
            new = self._value(touch.watch)
            touch.tell(touch.old, new)
            if touch.watch.number in self.shadow:
                self.shadow[touch.watch.number] = new
        touches.sort(key=lambda touch: touch.kind != "write")
        return self._judge(touches, instruction) if touches else None

    def of_input(self, elements: int = 1) -> stops.Stop | None:
        """After a read that has been answered: finish its instruction, where it touches what debug registers watch.

        KVM does all of it by itself, and no register fires. ``elements`` are done of a repeated one.
        """
        runner = self.runner
        if not runner.plan.holds_data_in_registers:
            return None
        return self._of_emulated(emulated.by_input(runner.guest.space, runner, elements), runner.pc)

    def of_output(self, data: memoryview, elements: int = 1) -> stops.Stop | None:
        """After a write to a port that has been told: the same, for ``outs``."""
        runner = self.runner
        if not runner.plan.holds_reads_in_registers:
            return None
        return self._of_emulated(emulated.by_output(runner.guest.space, runner, bytes(data), elements))

    def _of_store(self, address: int, size: int) -> stops.Stop | None:
        """After a store to a device that has been told: the same, for what the instruction has read."""
        runner = self.runner
        seen = runner.plan.holds_reads_in_registers
        return self._of_emulated(emulated.by_store(runner.guest.space, runner, address, size)) if seen else None

    def _of_emulated(self, accesses: Sequence[Access], instruction: int | None = None) -> stops.Stop | None:
        runner = self.runner
        held = [watch for _, bits, watch in runner.plan.debug_registers if bits & 3 and isinstance(watch, Watchpoint)]
        watches = list(dict.fromkeys(held))
        values = {watch: self._value(watch) for watch in watches} if accesses else {}
        made = [(touch, values[touch.watch]) for one in accesses for touch in self._touched(watches, values, one)]
        if self._unjudged is not None:
            self._unjudged += made
            return None
        if not made:
            return None
        self._unjudged = made
        try:
            stop = runner.complete()
            made = self._unjudged
        finally:
            self._unjudged = None
        if stop is not None and not isinstance(stop, stops.WatchpointStop):
            return stop
        return self._judge_made(made, instruction) or stop

    def of_service(self, writes: list[tuple[int, int]], values: Mapping[Watchpoint, bytes]) -> stops.Stop | None:
        """Behind a service of the BIOS that wrote these bytes (address, size); ``values`` are those before it."""
        runner = self.runner
        accesses = [Access(address, size, read=False, write=True) for address, size in writes]
        watches = list(values)
        made = [(touch, values[touch.watch]) for one in accesses for touch in self._touched(watches, values, one)]
        if not made:
            return None
        pc = runner.pc
        return runner.complete() or self._judge_made(made, pc)

    def values_of(self, watches: Sequence[Watchpoint]) -> dict[Watchpoint, bytes]:
        """What those watch for writes that are enabled."""
        return {watch: self._value(watch) for watch in watches if watch.enabled and watch.wants_write}

    def _on_stack(self, physical: int) -> bool:
        """Whether an access that exits may be one of several to the stack, in pages that slots guard.

        The others are lost then. That exit's address is where SP is now, or above it where a page ends between the two.
        """
        runner = self.runner
        guest = runner.guest
        if physical & -PAGE not in guest.machine.memory.guards:
            return False
        top = runner.stack_pointer
        if guest.space.physical_of(runner, top) == physical:
            return bool(runner.vcpu.regs.rsp & 0xFFFF) or not self._stored(top)
        end = -top % PAGE
        within = end > 0 and end + physical % PAGE < PUSHED
        segment = 1 << guest.space.stack_bits(runner)
        offset = (runner.vcpu.regs.rsp + end) & (segment - 1)  # 0 where the stack's offsets end there
        above = top + end - (0 if offset else segment)
        return within and guest.space.physical_of(runner, above) == physical & -PAGE

    def _stored(self, linear: int) -> bool:
        """Whether the instruction before pc can be seen to have written there otherwise than by a push."""
        guest, runner = self.runner.guest, self.runner
        site = guest.space.find_accessor(runner, linear, 0, write=True)
        info = None if site is None else guest.space.classify_at(runner, site)
        return info is not None and not info.mnemonic.startswith(("push", "call", "lcall", "int", "enter"))

    def _device(self, access: Mmio) -> stops.Stop | None:
        """Serve an access to a device, or to where there is none."""
        runner = self.runner
        door, data, size = runner.guest.door, runner.vcpu.mmio_data, access.size
        runner.count_mmio(access)
        value = int.from_bytes(data[:size], "little") if access.writes else None
        try:
            if door.observed:
                value, outcome, asked = door.serve(runner, access, value)
            else:
                outcome = access.tell(runner, value) if value is not None else None
                value = access.ask(runner) if value is None else value
        except DeviceFailure as error:
            if not access.writes:
                self._answer_read(access.address, b"\xff" * size)
            return runner.device_failed(error, access.exit(value))
        if not access.writes:
            self._answer_read(access.address, value.to_bytes(size, "little"))
        touched = self._of_store(access.address, size) if access.writes else self.of_input()
        if door.observed:
            return runner.after_access(access.exit(value), outcome, asked) or touched
        return runner.ended(outcome) if isinstance(outcome, GuestEnd) else touched

    def _answer_read(self, address: int, data: bytes) -> None:
        """What a device gives for the read whose exit is in the page."""
        self.runner.vcpu.mmio_data[: len(data)] = data
        if self._device_reads is not None:
            self._device_reads[address] = data

    @contextmanager
    def noting_device_reads(self) -> Iterator[dict[int, bytes]]:
        """While inside, what devices give for reads of memory addresses goes there, by guest-physical address."""
        reads: dict[int, bytes] = {}
        self._device_reads = reads
        try:
            yield reads
        finally:
            self._device_reads = None

    # --- judging -----------------------------------------------------------------------------------

    def _judge(self, touches: list[Touch], instruction: int | None) -> stops.Stop | None:
        """The stop for these accesses, made by the instruction that has just ended (at ``instruction``, if known)."""
        runner = self.runner
        guest = runner.guest
        hits: list[Watchpoint] = []
        for touch in touches:
            seen = MemoryEvent(touch.kind, touch.address, touch.size, touch.old, touch.new)
            event = guest.judge.event_of(runner, seen, "after")
            found = guest.judge.ask(runner, [touch.watch], event)
            if isinstance(found, stops.Stop):
                return found
            hits += [watch for watch in found if isinstance(watch, Watchpoint)]
        if not hits:
            return None
        touch = next(t for t in touches if t.watch in hits)
        if instruction is None:
            instruction = guest.space.find_accessor(
                runner,
                *(touch.accessed if touch.accessed[1] else (touch.address, 0)),
                write=touch.kind == "write",
                physical=touch.watch.space == "phys",
            )
        return stops.WatchpointStop(
            vcpu=runner.index,
            pc=runner.pc,
            hits=tuple(dict.fromkeys(hits)),
            kind=touch.kind,
            address=touch.address,
            size=touch.size,
            old=touch.old,
            new=touch.new,
            instruction=instruction,
        )

    def register_hit(self, fired: list[tuple[int, int, Breakpoint | Watchpoint]]) -> stops.Stop | None:
        """Debug registers fired for data, after the access. What was accessed of their bytes they do not say."""
        touches = []
        for watch in dict.fromkeys(holder for _, _, holder in fired):
            if not isinstance(watch, Watchpoint):
                continue
            old, new = self.shadow.get(watch.number, b""), self._value(watch)
            self.shadow[watch.number] = new
            kind = "write" if watch.kind == "write" or old != new else "read"
            pieces = [(address, DR7_SIZES[bits >> 2]) for address, bits, holder in fired if holder is watch]
            start, end = min(address for address, _ in pieces), max(sum(piece) for piece in pieces)
            runner = self.runner
            access = runner.guest.space.find_access(runner, start, end - start, write=kind == "write")
            if access is not None and access.linear < end and start < access.linear + access.size:
                start, end = access.linear, access.linear + access.size
            touch = Touch(watch, kind, start, end - start, old, new)
            touch.tell(old, new)
            if access is None:
                touch.accessed = (0, 0)
            touches.append(touch)
        return self._judge(touches, None) if touches else None

    # --- decoding ahead ----------------------------------------------------------------------------

    def around(self, watches: Sequence[Watchpoint], step: Callable[[], stops.Stop | None]) -> stops.Stop | None:
        """Run ``step`` (an instruction, or an event's delivery); the stop for what it did to ``watches``, or its own.

        The instruction's accesses are known before it runs. What it writes beside those, and the frame of an event, is
        found afterwards. Accessed, dirty and busy bits that the CPU sets in its own tables are no access.
        """
        runner = self.runner
        places, values = {}, {}
        for watch in watches:
            places[watch], values[watch] = self._placed(watch)
        expected = self._foresee(watches, values)
        before = runner.vcpu.copy_of_regs()
        at = runner.pc
        stop = step() if (repetition := self._repeats_into(watches)) is None else self._one_round(repetition, step)
        if runner.stepper.not_begun or (stop is not None and not isinstance(stop, stops.WatchpointStop)):
            return stop
        if runner.stepper.at_handler:
            pieces = [Access(*piece, False, True, "ss") for piece in runner.stepper.flags.frame(before)]
            expected = [touch for piece in pieces for touch in self._touched(watches, values, piece)]
        for touch in expected:
            touch.tell(touch.old, self._value(touch.watch))
        found = {touch.watch for touch in expected if touch.kind == "write"}
        for watch, old in values.items():
            if watch in found or not watch.wants_write:
                continue
            place, new = self._placed(watch)
            if new != old and place == places[watch]:  # else the guest has mapped something else there
                touch = change(watch, old, new)
                if not runner.guest.space.in_tables(runner, touch.address, physical=watch.space == "phys"):
                    expected.append(touch)
        if not expected:
            return stop
        expected.sort(key=lambda touch: touch.kind != "write")
        mine = self._judge(expected, at)
        if isinstance(mine, stops.WatchpointStop) and isinstance(stop, stops.WatchpointStop):
            first, second = sorted((mine, stop), key=lambda one: (one.kind != "write", one.hits[0].number))
            return replace(first, hits=first.hits + second.hits, instruction=at)
        return mine or stop

    def _foresee(self, watches: Sequence[Watchpoint], values: Mapping[Watchpoint, bytes]) -> list[Touch]:
        """The touches that the instruction at pc will make of these watchpoints."""
        return [
            touch
            for access in self.runner.guest.space.accesses_at(self.runner)
            for touch in self._touched(watches, values, access)
        ]

    def _repeats_into(self, watches: Sequence[Watchpoint]) -> Repetition | None:
        """How the instruction at pc repeats, where one of its elements may touch one of these watchpoints."""
        runner = self.runner
        repetition = runner.guest.space.repetition_at(runner)
        if repetition is None or repetition.count < 2:
            return None
        for access in runner.guest.space.accesses_at(runner):
            start, end = repetition.span(access)
            whole = Access(start, end - start, access.read, access.write, access.segment)
            if any(watch.space == "phys" or self._overlap(whole, watch) for watch in watches):
                return repetition
        return None

    def _one_round(self, repetition: Repetition, step: Callable[[], stops.Stop | None]) -> stops.Stop | None:
        """Do one element of a repeated string instruction: some KVMs do many of them in a step."""
        runner = self.runner
        regs = runner.vcpu.regs
        rip, others = regs.rip, regs.rcx & ~repetition.mask
        runner.set_general("rcx", others | 1)
        with runner.stepper.traps.one_of(repetition.count):
            stop = step()
        done = not (runner.stepper.at_handler or regs.rcx & repetition.mask)
        left = repetition.count - 1 if done else repetition.count
        if done and left and repetition.while_zero in (None, bool(regs.rflags & EFLAGS_ZF)):
            runner.set_general("rip", rip)
        runner.set_general("rcx", left if repetition.mask == LOW32 and done else others | left)
        return stop

    def _touched(
        self, watches: Sequence[Watchpoint], values: Mapping[Watchpoint, bytes], access: Access
    ) -> list[Touch]:
        return [
            Touch(watch, kind, at, size, values[watch], b"")
            for watch in watches
            for kind, at, size in self._overlap(access, watch)
        ]

    def _overlap(self, access: Access, watch: Watchpoint) -> list[tuple[str, int, int]]:
        address = access.linear
        if watch.space == "phys":
            physical = self.runner.guest.space.physical_of(self.runner, address)
            if physical is None:
                return []
            address = physical
        if not (address < watch.address + watch.length and watch.address < address + access.size):
            return []
        found = []
        if access.read and watch.wants_read:
            found.append(("read", address, access.size))
        if access.write and watch.wants_write:
            found.append(("write", address, access.size))
        return found

    # --- guards in the way -------------------------------------------------------------------------

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """While inside, no page is guarded, no breakpoint's trap lies in memory, and no other vCPU is in the guest."""
        runner = self.runner
        guest, plan = runner.guest, runner.plan
        memory = guest.machine.memory
        with guest.world.exclusive(runner):
            guest.traps.lift(*(plan.traps - runner.stepper.handlers.entries))
            lifted = memory.unprotected() if memory.restartable else memory.unguarded()
            try:
                with lifted:
                    yield
            finally:
                for address in plan.traps:
                    if address != runner.lifted:
                        guest.holding.plant(address)

    def through_guards(self, step: Callable[[], stops.Stop | None]) -> stops.Stop | None:
        """Run ``step`` with the guards lifted, and judge its accesses as the guards would have."""
        runner = self.runner
        vectors = runner.guest.vectors
        watches = dict.fromkeys(span.watch for spans in runner.plan.watched.values() for span in spans)
        with self.unguarded():
            stop = self.around([*watches], step)
        runner.tables_touched |= vectors.active
        return stop

    def may_be_cause(self) -> bool:
        """Whether an emulation failure may come from a guarded page that the instruction at pc touches."""
        memory = self.runner.guest.machine.memory
        return bool((memory.guards or memory.restartable) and self.guarded_at_pc())

    def guarded_at_pc(self) -> set[int]:
        """The pages that are guarded from the instruction at pc: from its accesses, or from being fetched."""
        runner = self.runner
        guest, guards = runner.guest, runner.plan.guards
        reads, writes = [runner.pc, runner.pc + 14], list[int]()
        for access in guest.space.accesses_at(runner):
            (writes if access.write else reads).extend((access.linear, access.linear + access.size - 1))
        found = set()
        for place in (*reads, *writes):
            physical = guest.space.physical_of(runner, place)
            guard = None if physical is None else guards.get(physical & -PAGE)
            if physical is not None and (guard is Guard.WITHDRAWN or (guard is not None and place in writes)):
                found.add(physical & -PAGE)
        return found

    def step_without_guards(self) -> stops.Stop | None:
        """Run the instruction at pc, which a guard keeps from running, with the guards lifted."""
        runner = self.runner
        try:
            return self.through_guards(runner.stepper.once)
        finally:
            if runner.stepping:
                runner.debug_for_stepping()
            else:
                runner.debug_for_running()
