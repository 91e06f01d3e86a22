"""Running two guests side by side and comparing them.

Registers are compared after every instruction, memory and the system's registers every so many (``every``): both guests
run such a stretch, their registers after each instruction being kept. Where something differs both go back to where the
stretch began and run it again instruction by instruction. There what the manual leaves undefined, and what asks for the
clock or the kind of CPU, is given to the second as the first has it; what differs still is a difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.errors import KvmdbgError, MemoryFault, NotSupportedHere
from kvmdbg.lockstep import state
from kvmdbg.lockstep.answers import joined
from kvmdbg.lockstep.outcome import UNSEEN_FLAGS, Difference, Outcome, Place, of_bytes, of_registers
from kvmdbg.x86 import disasm, operands
from kvmdbg.x86.change import PAGE_ACCESSED
from kvmdbg.x86.modes import CR0_PG
from kvmdbg.x86.undefined import answered, defined, undefined

EVERY = 1000
KEPT = 8
"""How many instructions before a difference are told."""
SHORT = 16
"""Instructions that are looked at one by one where a stretch differs."""
MOST_ROUNDS = 1 << 20
"""Of a repeated string instruction."""
AROUND_STACK = 64
"""Bytes above the stack pointer that are compared after each instruction, where a frame may have been pushed."""
MAX_INSTRUCTION = 15
FLAGS = slice(8 * state.GENERAL.index("rflags"), 8 * state.GENERAL.index("rflags") + 8)
RIP = slice(8 * state.GENERAL.index("rip"), 8 * state.GENERAL.index("rip") + 8)


AFTER_ITS_INSTRUCTION = frozenset(("halted", "exited"))
"""Stops behind an instruction that is done, and is no step."""
NOT_DONE = frozenset(("emulation-failure", "error", "entry-failure", "interrupted", "unhandled-exit"))


class CannotRun(NotSupportedHere):
    """One of the two (``number``) cannot run the instruction; the first one's turn is before the second's."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class Lockstep:
    """Two fresh sessions of one image, on two back ends. ``names`` are what those are called."""

    goes_on: type[stops.Stop] = stops.StepStop
    """What ``step`` ends with where it has done what it is to do."""

    def __init__(
        self, first: Session, second: Session, names: tuple[str, str] = ("first", "second"), every: int = EVERY
    ) -> None:
        self.sessions = first, second
        self.names = names
        self.every = every
        self.instructions = 0
        self.before: deque[Place] = deque(maxlen=KEPT)
        self._open = 0
        self._alike: int | None = None
        """After how many instructions of the last stretch registers differed."""
        self._following = joined(first, second)
        self._mark()

    # --- the whole

    def run(self, most: int | None = None, watch: Callable[[int], bool] = lambda count: True) -> Outcome:
        """Compare until they differ, end alike, or ``most`` instructions have run.

        ``watch`` is told of the count at times; where it says False it ends. CannotRun where one of the two
        back ends cannot run an instruction.
        """
        found = self._compared()
        if found:
            return self._outcome("", tuple(found), None)
        reach = self.every
        while (most is None or self.instructions < most) and watch(self.instructions):
            count = reach if most is None else min(reach, most - self.instructions)
            self._mark()
            ended = self._stretch(count)
            reach = min(self.every, 4 * reach)
            if ended is None:
                reach = max(self._alike or 0, SHORT)
                ended = self._look_closer(count)
            if not (isinstance(ended, Outcome) and ended.differences) and self._compared():
                self._go_back()
                ended = self._singly(count, everywhere=True)
            if isinstance(ended, Outcome):
                return ended
        return self._outcome("as many as were asked for" if self.instructions == most else "then it was ended")

    def _look_closer(self, count: int) -> Outcome | str:
        """Go back, and run up to the instruction that differs; from there on one by one."""
        alike = self._alike
        self._go_back()
        if alike is None:
            return self._singly(count)
        if alike > SHORT:
            ended = self._stretch(alike)
            if ended is None:
                self._go_back()
                return self._singly(count)
            if ended:
                return ended
            return self._singly(min(SHORT, count - alike))
        return self._singly(min(alike + SHORT, count))

    def _mark(self) -> None:
        """Both can come back to here."""
        self._moments = [session.snapshots.take() for session in self.sessions]
        self._marked = self.instructions, tuple(self.before)

    def _go_back(self) -> None:
        for session, moment in zip(self.sessions, self._moments, strict=True):
            session.snapshots.restore(moment)
        self.instructions, before = self._marked
        self.before.clear()
        self.before.extend(before)
        self._following.begin_anew()

    def _outcome(
        self, ended: str, differences: tuple[Difference, ...] = (), at: Place | None = None
    ) -> Outcome:  # fmt: skip
        return Outcome(self.names, self.instructions, ended, differences, at, tuple(self.before) if differences else ())

    def _end(self, stop: stops.Stop) -> Outcome | None:
        """What a stop of both means; None: they go on."""
        if isinstance(stop, self.goes_on):
            return None
        return self._outcome(f"then {stop.describe()}")

    def _require_done(self, stop: stops.Stop, number: int) -> None:
        if stop.reason in NOT_DONE:
            raise CannotRun(number, f"{self.names[number]} cannot go on: {stop.describe()}")

    # --- a stretch of both

    def _stretch(self, count: int) -> Outcome | str | None:
        """Both run ``count`` instructions. None where something differs; "" where nothing does."""
        traces = [[state.general(session)] for session in self.sessions]
        ends = [self._run(number, traces[number], count) for number in (0, 1)]
        for _ in range(MOST_ROUNDS):  # a step over a repeated string instruction is one round on one, many on the other
            behind = int(len(traces[1]) < len(traces[0]))
            missing = len(traces[1 - behind]) - len(traces[behind])
            if not missing or not isinstance(ends[behind], stops.StepStop):
                break
            ends[behind] = self._run(behind, traces[behind], missing)
        first, second = (trace[1:] for trace in traces)
        self._alike = None if first == second else self._parted(*traces)
        if ends[0].reason != ends[1].reason or len(first) != len(second) or self._alike is not None:
            return None
        if first and first[-1] != second[-1]:
            self._take_flags(UNSEEN_FLAGS | self._open)
        self._copy_accessed_bits()
        if self._compared():
            return None
        for number, stop in enumerate(ends):
            self._require_done(stop, number)
        self.instructions += len(first) + (ends[0].reason in AFTER_ITS_INSTRUCTION)
        self._remember(traces[0])
        return self._end(ends[0]) or ""

    def _parted(self, first: list[bytes], second: list[bytes]) -> int | None:
        """After how many instructions two traces differ in more than flags that were left undefined, which is left in
        ``_open``; None where they do not. Each begins with the registers before the first instruction.

        An instruction that uses such a flag makes a difference, unless it does not matter.
        """
        self._open, bits, base = 0, self.sessions[0].vcpu.mode.bits, self.sessions[0].runner.cs_base
        for number, (one, other) in enumerate(zip(first, second, strict=False)):
            if one == other:
                self._open = 0
                continue
            differs = int.from_bytes(one[FLAGS], "little") ^ int.from_bytes(other[FLAGS], "little")
            if not number or one[: FLAGS.start] != other[: FLAGS.start]:
                return number - 1
            before, behind = state.named(first[number - 1]), state.named(one)
            code = self._code(base + before["rip"])
            unclear = undefined(code, bits, lambda name: (behind if name == "rflags" else before)[name])  # noqa: B023
            earlier, its = state.named(second[number - 1])["rflags"], int.from_bytes(other[FLAGS], "little")
            kept = ~(behind["rflags"] ^ before["rflags"]) & ~(its ^ earlier)
            self._open = self._open & kept & ~defined(code, bits) | unclear.flags
            if differs & ~(self._open | UNSEEN_FLAGS):
                return number - 1
        return None

    def _take_flags(self, which: int) -> None:
        """Give the second these flags as the first has them."""
        first, second = self.sessions
        there = first.registers.rflags
        second.registers.rflags = second.registers.rflags & ~which | there & which

    def _code(self, address: int) -> bytes:
        """The bytes of an instruction there, and what follows it in its page."""
        for size in (MAX_INSTRUCTION, 4096 - address % 4096):
            with suppress(MemoryFault):
                return self.sessions[0].memory.read(address, min(size, MAX_INSTRUCTION))
        return b""

    def _run(self, number: int, trace: list[bytes], count: int) -> stops.Stop:
        """Step one of them, and add to its trace: the registers before the first instruction and after each."""
        record: list[bytes] = []
        stop = self.sessions[number].step(count, record)
        for regs in record:
            if regs[RIP] == trace[-1][RIP] and regs != trace[-1]:
                trace[-1] = regs  # a round of an instruction that goes on
            else:
                trace.append(regs)
        return stop

    def _remember(self, trace: list[bytes]) -> None:
        session = self.sessions[0]
        base = session.runner.cs_base
        for regs in trace[-KEPT - 1 : -1]:
            self.before.append(self._place(base + state.named(regs)["rip"]))

    # --- instruction by instruction

    def _singly(self, count: int, everywhere: bool = False) -> Outcome | str:
        for _ in range(count):
            ended = self.one(everywhere)
            if ended is not None:
                return ended
        return ""

    def one(self, everywhere: bool = False) -> Outcome | None:
        """Both run one instruction; what ended that, None where both have done the same and can go on.

        Memory is compared where the instruction writes, or ``everywhere``. CannotRun.
        """
        first = self.sessions[0]
        place, known = self._place(first.vcpu.pc), state.general(first)
        bits = first.vcpu.mode.bits
        written = self._written(place.code, bits)
        repeated = self._is_repeated(place.code, bits)
        ends = []
        self._following.any_value = undefined(place.code, bits, state.named(known).__getitem__).memory
        try:
            for number, session in enumerate(self.sessions):
                ends.append(self.step(session, repeated))
                self._require_done(ends[number], number)
        finally:
            self._following.any_value = False
        if _holds_back(place.code, bits):
            self._pass_shadow(place, ends)
        self._copy_undefined(place.code, bits, state.named(known), written)
        self._copy_resume_flag(place.address)
        self._copy_accessed_bits()
        found = self._ends_differ(ends) + self._compared(
            None if everywhere else written, _is_floating(place.code, bits)
        )
        if found:
            return self._outcome("", tuple(found), place)
        self.instructions += isinstance(ends[0], self.goes_on) or ends[0].reason in AFTER_ITS_INSTRUCTION
        self.before.append(place)
        return self._end(ends[0])

    def place(self) -> Place:
        """The instruction before which both stand."""
        return self._place(self.sessions[0].vcpu.pc)

    def leave_out(self, place: Place) -> None:
        """Have both stand behind an instruction, which one of them cannot run."""
        for session in self.sessions:
            session.registers.rip += len(place.code)

    def accept(self) -> None:
        """Give the second all that the first has, and go on from there."""
        first, second = self.sessions
        for page in state.pages(first, second):
            there = first.physical.read(page, state.PAGE)
            if there != second.physical.read(page, state.PAGE):
                second.physical.write(page, there)
        state.copy_registers(first, second)
        self._following.begin_anew()

    def whole(self) -> Outcome | None:
        """Compare all memory and registers now; None where they are the same."""
        found = self._compared()
        return self._outcome("", tuple(found), self.place()) if found else None

    def _pass_shadow(self, place: Place, ends: list[stops.Stop]) -> None:
        """Have both behind the instruction that follows, where a step of one of them ran that one as well."""
        behind = [session.vcpu.pc == place.address + len(place.code) for session in self.sessions]
        if behind[0] != behind[1]:
            number = behind.index(True)
            ends[number] = self.step(self.sessions[number], False)

    def step(self, session: Session, repeated: bool) -> stops.Stop:
        """One instruction, with all its rounds where it is ``repeated``."""
        at = session.vcpu.pc
        for _ in range(MOST_ROUNDS):
            stop = session.step()
            if not repeated or session.vcpu.pc != at or not isinstance(stop, stops.StepStop):
                break
        return stop

    def _ends_differ(self, ends: list[stops.Stop]) -> list[Difference]:
        first, second = ends
        if first.reason == second.reason:
            return []
        return [Difference("what came of it", first.describe(), second.describe())]

    @staticmethod
    def _is_repeated(code: bytes, bits: int) -> bool:
        info = disasm.classify(code, 0, bits)
        return info is not None and info.is_rep

    def _place(self, address: int) -> Place:
        session, code = self.sessions[0], self._code(address)
        bits = session.vcpu.mode.bits
        text = disasm.disassemble(code, address, bits, 1, base=session.runner.cs_base) if code else []
        symbol = session.symbols.format(address)
        return Place(address, text[0].data if text else b"", text[0].text if text else "(cannot be read)", symbol)

    def _written(self, code: bytes, bits: int) -> list[tuple[int, int]]:
        """Linear addresses and sizes of what the instruction is about to write."""
        registers = self.sessions[0].registers
        stack = 64 if bits == 64 else 32 if self.sessions[0].runner.sregs.ss.db else 16
        try:
            found = operands.accesses(code, self.sessions[0].vcpu.pc, bits, registers.get, stack)
        except KvmdbgError:
            return []
        return [(one.linear, one.size) for one in found if one.write and one.size <= 4096]

    def _copy_undefined(self, code: bytes, bits: int, before: dict[str, int], written: list[tuple[int, int]]) -> None:
        """Give the second what is undefined, or an answer of the CPU's own, as the first has it."""
        first, second = self.sessions
        now = [state.named(state.general(session)) for session in self.sessions]
        if now[0]["rip"] != now[1]["rip"]:
            return
        unclear = undefined(code, bits, lambda name: (now[0] if name == "rflags" else before)[name])
        if (now[0]["rflags"] ^ now[1]["rflags"]) & (unclear.flags | UNSEEN_FLAGS):
            self._take_flags(unclear.flags | UNSEEN_FLAGS)
        for name in unclear.registers | answered(code, bits):
            if now[0][name] != now[1][name]:
                setattr(second.registers, name, now[0][name])
        if unclear.conditions:
            state.copy_conditions(first, second)
        if unclear.memory:
            for address, size in written:
                with suppress(MemoryFault):  # a device was written to
                    second.memory.write(address, first.memory.read(address, size))

    def _copy_resume_flag(self, before: int) -> None:
        """Give the second EFLAGS.RF as the first has it in the frame that an event at ``before`` has pushed."""
        first, second = self.sessions
        size = 8 if first.vcpu.mode.bits == 64 else 4
        at = first.runner.stack_pointer
        if at != second.runner.stack_pointer:
            return
        with suppress(MemoryFault):
            for slot in (at, at + size):  # an error code may lie before it
                frames = [session.memory.read(slot, 3 * size) for session in self.sessions]
                ip, _, flags = (int.from_bytes(frames[0][n * size : (n + 1) * size], "little") for n in range(3))
                other = int.from_bytes(frames[1][2 * size :], "little")
                if first.runner.cs_base + ip == before and flags ^ other == UNSEEN_FLAGS:
                    second.memory.write(slot + 2 * size, frames[0][2 * size :])

    def _copy_accessed_bits(self) -> None:
        """Give the second the accessed bits of paging structures as the first has them.

        A CPU may set them ahead of an access. Source: SDM volume 3A, 4.8.
        """
        first, second = self.sessions
        if not first.runner.sregs.cr0 & CR0_PG:
            return
        for page in first.guest.holding.paging_pages(first.runner):
            with suppress(MemoryFault):
                one, other = (session.physical.read(page, state.PAGE) for session in self.sessions)
                if one == other:
                    continue
                for at in range(0, state.PAGE, 4):  # the upper half of an entry of 64 bits has none
                    if one[at] ^ other[at] == PAGE_ACCESSED and one[at + 1 : at + 4] == other[at + 1 : at + 4]:
                        second.physical.write(page + at, one[at : at + 1])

    # --- comparing two states

    def _compared(self, written: list[tuple[int, int]] | None = None, floating: bool = True) -> list[Difference]:
        """All that differs now; with ``written`` memory is compared there and around the stack, else all of it.

        ``floating``: the registers of x87 and SSE, too.
        """
        first, second = self.sessions
        found: list[Difference] = []
        missing = self._following.missing()
        if missing is not None:
            found.append(Difference("device", *missing))
        one, other = state.general(first), state.general(second)
        if one != other:
            found += of_registers(state.named(one), state.named(other))
        if bytes(first.runner.sregs) != bytes(second.runner.sregs):
            found += of_registers(*state.both(state.special(first), state.special(second)))
        if floating:
            found += self._floating()
        found += list(self._memory(written))
        return found

    def _floating(self) -> Iterator[Difference]:
        one, other = (state.floating(session) for session in self.sessions)
        for name, value in one.items():
            if value != other[name]:
                yield Difference(f"register {name}", f"0x{value[::-1].hex()}", f"0x{other[name][::-1].hex()}")

    def _memory(self, written: list[tuple[int, int]] | None) -> Iterator[Difference]:
        first, second = self.sessions
        if written is None:
            for page in state.pages(first, second):
                one, other = (session.physical.read(page, state.PAGE) for session in self.sessions)
                if one != other:
                    yield from _named_address(of_bytes("{}", one, other), page, "physical ")
            return
        for address, size in [*written, (first.runner.stack_pointer, AROUND_STACK)]:
            try:
                one, other = first.memory.read(address, size), second.memory.read(address, size)
            except MemoryFault:
                continue
            if one != other:
                yield from _named_address(of_bytes("{}", one, other), address, "")


def _named_address(found: Difference | None, start: int, kind: str) -> Iterator[Difference]:
    if found is not None:
        yield Difference(f"memory at {kind}{start + int(found.what):#x}", found.first, found.second)


def _holds_back(code: bytes, bits: int) -> bool:
    """Whether interrupts and traps may be held back until the instruction behind this one is done (STI, MOV SS)."""
    insn = disasm.decode(code, bits)
    if insn is None:
        return False
    return insn.mnemonic in ("sti", "lss") or (insn.mnemonic in ("mov", "pop") and insn.op_str.split(",")[0] == "ss")


def _is_floating(code: bytes, bits: int) -> bool:
    """Whether the instruction has to do with x87, MMX or SSE."""
    insn = disasm.decode(code, bits)
    if insn is None:
        return False
    names = [insn.reg_name(operand.reg) for operand in insn.operands if operand.type == operands.REG]
    return insn.mnemonic.startswith(("f", "pcmp", "ldmxcsr", "xrstor", "emms")) or any(
        name.startswith(("xmm", "ymm", "mm", "st(")) for name in names
    )
