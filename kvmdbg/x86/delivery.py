"""What the CPU does to deliver an exception, an interrupt or a software interrupt, or why it cannot.

    found = deliver(State(regs, sregs, read_physical), Event.exception(13, error_code=0))
    if isinstance(found, Change):
        for physical, data in found.physical_writes(state): ...
        found.apply(regs, sregs, write=lambda linear, data: None)

``regs`` are as they were before the instruction that faults, ``rip`` at it; for an interrupt those between two
instructions. A software interrupt (INT n, INT3, INTO, INT1) has ``rip`` at the instruction and ``return_to`` behind it.
Nothing is changed. kvmdbg/x86/exceptions.py does the next thing, what comes of an exception that cannot be delivered:
#DF, and the triple fault.

Source: Intel SDM volume 2A, INT n (its pseudocode; the order of the checks is from there); volume 3A, sections 6.12 to
6.15 (delivery), 7.7 and 8.8 (TSS and stacks), 20.1.4 (real mode), 20.3 (virtual-8086 mode).
"""

from __future__ import annotations

from kvmdbg.errors import MemoryFault
from kvmdbg.masks import LOW32, LOW64
from kvmdbg.record import record
from kvmdbg.x86 import descriptors
from kvmdbg.x86.change import Change
from kvmdbg.x86.descriptors import SegmentRegister
from kvmdbg.x86.faults import (
    EFLAGS_AC,
    EFLAGS_IF,
    GP,
    NP,
    PF,
    SS,
    TS,
    Fault,
    State,
    canonical,
    descriptor,
    page_fault,
)  # fmt: skip
from kvmdbg.x86.modes import EFLAGS_VM
from kvmdbg.x86.registers import EFLAGS_RF, EFLAGS_TF, NO_FAULTS

EFLAGS_NT, EFLAGS_VIF = 1 << 14, 1 << 19
CR4_VME = 1
EXCEPTION, INTERRUPT, INT, INT3, INTO, INT1 = "exception", "interrupt", "int", "int3", "into", "int1"
SOFTWARE = frozenset((INT, INT3, INTO))
"""What the DPL of a gate may forbid; INT1 passes it."""


@record
class Event:
    """Something to be delivered through the IDT.

    ``kind`` is EXCEPTION, INTERRUPT (an external one, or an NMI), INT, INT3, INTO or INT1. ``error_code`` is pushed
    unless it is None, or the CPU in real mode. ``address`` goes into CR2. ``return_to`` is the instruction pointer that
    is pushed, RIP where it is None. ``pushes_rf``: EFLAGS.RF is set in the frame.
    """

    vector: int
    kind: str = EXCEPTION
    error_code: int | None = None
    address: int | None = None
    return_to: int | None = None
    pushes_rf: bool = False

    @classmethod
    def exception(cls, vector: int, error_code: int = 0, address: int | None = None) -> Event:
        """An exception. A fault has EFLAGS.RF in its frame; #DB is taken for a trap (SDM volume 3B, 17.3.1.1)."""
        fault = Fault(vector, "", address, error_code=error_code)
        code = error_code if fault.has_error_code else None
        return cls(vector, EXCEPTION, code, address, None, vector not in NO_FAULTS)

    @classmethod
    def interrupt(cls, vector: int) -> Event:
        """An external interrupt, or (vector 2) an NMI."""
        return cls(vector, INTERRUPT)

    @classmethod
    def software(cls, vector: int, return_to: int, kind: str = INT) -> Event:
        """INT n, INT3, INTO or INT1; ``return_to`` is the (raw) RIP of the instruction behind it."""
        return cls(vector, kind, return_to=return_to)

    @classmethod
    def of(cls, fault: Fault) -> Event:
        """What ``faults.first_fault`` has found; where a software interrupt returns to is left out."""
        if fault.software:
            return cls(fault.vector, {3: INT3, 4: INTO}.get(fault.vector, INT))
        return cls.exception(fault.vector, fault.error_code, fault.address)

    @property
    def ext(self) -> int:
        """The EXT bit of the error code of an exception that its delivery raises (SDM volume 3A, 6.13)."""
        return int(self.kind not in SOFTWARE)


@record
class Refused:
    """What is not worked out here: a task gate that is right, which leads to a task switch."""

    why: str


class _Raised(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.why)
        self.fault = fault


def deliver(state: State, event: Event) -> Change | Fault | Refused:
    """What the delivery changes; the exception that it raises instead; or why it is not worked out."""
    try:
        return _Delivery(state, event).work_out()
    except _Raised as raised:
        return raised.fault


def delivery_fault(state: State, fault: Fault) -> Fault | None:
    """Why the CPU cannot deliver this exception: the one that delivery itself raises; None when it can."""
    found = deliver(state, Event.of(fault))
    return found if isinstance(found, Fault) else None


class _Delivery:
    def __init__(self, state: State, event: Event) -> None:
        self.state, self.event = state, event
        self.where = f"gate {event.vector} of the IDT"
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, bytes]] = []
        self.segments: dict[str, SegmentRegister] = {}
        returns = int(state.regs.rip) if event.return_to is None else event.return_to
        self.returns = returns if state.long else returns & LOW32
        self.flags = int(state.regs.rflags) | (EFLAGS_RF if event.pushes_rf else 0)

    def work_out(self) -> Change | Refused:
        if self.state.mode.name == "real":
            return self._real()
        if self.state.mode.name == "v86" and self.event.kind == INT:
            redirected = self._redirected()
            if redirected is not None:
                return redirected
        gate = self._gate()
        if gate.type == descriptors.TASK_GATE:
            return self._task(gate)
        code = self._target(gate)
        cpl = self.state.cpl
        inner = not code.type & descriptors.CONFORMING and code.dpl < cpl
        if self.state.mode.name == "v86":
            if not inner or code.dpl:
                why = f"{self._to(gate)}: its DPL is {code.dpl}, which leads nowhere from virtual-8086 mode"
                raise self._bad(GP, gate.selector, why)
            return self._to_ring(gate, code, 0, inner=True)
        return self._to_ring(gate, code, code.dpl if inner else cpl, inner=inner)

    # --- exceptions of the delivery itself

    def _fault(self, vector: int, why: str, code: int = 0) -> _Raised:
        """One whose error code is 0 but for EXT and ``code``."""
        return _Raised(Fault(vector, why, error_code=code | self.event.ext))

    def _bad(self, vector: int, selector: int, why: str) -> _Raised:
        return self._fault(vector, why, selector & 0xFFFC)

    def _bad_gate(self, vector: int, why: str) -> _Raised:
        return self._fault(vector, why, self.event.vector << 3 | 2)

    def _read(self, linear: int, size: int, what: str, vector: int = GP) -> int:
        """From a table at ``linear``; ``vector`` is raised where no memory is, of which the manual says nothing."""
        self._mapped(linear, size, f"{what}, which is not mapped")
        try:
            return int.from_bytes(self.state.read(linear, size), "little")
        except MemoryFault as error:
            raise _Raised(Fault(vector, f"{what}, where no memory is ({error.why})")) from error

    def _mapped(self, linear: int, size: int, what: str) -> None:
        """Reading there raises no page fault. The CPU reads its tables as supervisor."""
        self.reads.append((linear, size))
        for at in (linear, linear + size - 1):
            fault = page_fault(self.state, at, user=False, implicit=True)
            if fault is not None:
                raise _Raised(Fault(PF, f"{what}: {fault.why}", fault.address, error_code=fault.error_code))

    # --- real mode, and INT n in virtual-8086 mode

    def _real(self) -> Change:
        state, vector = self.state, self.event.vector
        idt = state.sregs.idt
        if vector * 4 + 3 > idt.limit:
            text = f"base {int(idt.base):#x}, limit {int(idt.limit):#x}"
            why = f"entry {vector} of the interrupt table is beyond its limit: {text}"
            raise self._fault(GP, why, vector << 3 | 2)
        entry = self._read(idt.base + vector * 4 & LOW32, 4, f"entry {vector} of the interrupt table")
        sp = int(state.regs.rsp) & state.stack_mask()
        for slot in (sp - 2, sp - 4, sp - 6):
            if (slot & state.stack_mask()) + 1 > int(state.sregs.ss.limit):
                raise self._fault(SS, f"the stack pointer {sp:#x} leaves no room for a frame of 6 bytes")
        clear = EFLAGS_IF | EFLAGS_TF | EFLAGS_RF | EFLAGS_AC
        return self._through_vector(entry, self.flags & 0xFFFF, int(state.regs.rflags) & ~clear)

    def _through_vector(self, entry: int, pushed: int, flags: int) -> Change:
        state = self.state
        selector = entry >> 16
        cs = state.sregs.cs
        self.segments["cs"] = SegmentRegister(
            selector, selector << 4, cs.limit, cs.type, cs.present, cs.dpl, cs.db, cs.s, cs.l, cs.g, cs.avl, 0
        )
        user = state.mode.name == "v86"
        top = int(state.regs.rsp) & LOW32
        frame = (pushed, int(cs.selector), self.returns & 0xFFFF)
        self._push(frame, 2, top, user=user, what=f"the stack pointer {top & 0xFFFF:#x}")
        return self._changed(entry & 0xFFFF, flags)

    def _redirected(self) -> Change | None:
        """INT n in virtual-8086 mode where no gate is used; None where one is."""
        state, n = self.state, self.event.vector
        flags = int(state.regs.rflags)
        iopl = flags >> 12 & 3
        doing = f"int {n:#x} in virtual-8086 mode"
        if not state.sregs.cr4 & CR4_VME:
            if iopl < 3:
                raise self._fault(GP, f"{doing} with IOPL {iopl}")
            return None
        tr = state.sregs.tr
        at = self._read(tr.base + 102, 2, "the TSS's I/O map base") - 32 + n // 8
        redirect = at < 0 or at > tr.limit or self._read(tr.base + at, 1, "the redirection bit map") >> n % 8 & 1
        if redirect:
            if iopl < 3:
                raise self._fault(GP, f"{doing} with IOPL {iopl}, which the TSS's bit map does not redirect")
            return None
        entry = self._read(n * 4, 4, f"entry {n} of the interrupt table")
        if iopl == 3:
            return self._through_vector(entry, flags & 0xFFFF, flags & ~(EFLAGS_TF | EFLAGS_IF))
        pushed = flags & 0xFFFF & ~EFLAGS_IF | 3 << 12 | (EFLAGS_IF if flags & EFLAGS_VIF else 0)
        return self._through_vector(entry, pushed, flags & ~(EFLAGS_TF | EFLAGS_VIF))

    # --- the gate, and where it leads

    def _gate(self) -> descriptors.Gate:
        state, event, where = self.state, self.event, self.where
        idt, size = state.sregs.idt, 16 if state.ia32e else 8
        if event.vector * size + size - 1 > idt.limit:
            limits = f"base {int(idt.base):#x}, limit {int(idt.limit):#x}"
            raise self._bad_gate(GP, f"{where} is beyond its limit: {limits}")
        address = int(idt.base) + event.vector * size
        gate = descriptors.gate(self._read(address, size, f"{where} lies at {address:#x}"), size)
        shown = f"{where} (at {address:#x}: {gate.raw & LOW64:#x})"
        if not gate.raw:
            raise self._bad_gate(GP, f"{shown} is empty")
        if gate.is_malformed or (state.ia32e and gate.type not in (14, 15)):
            kind = descriptors.SYSTEM_TYPES[gate.type]
            raise self._bad_gate(GP, f"{shown} is malformed: type {gate.type:#x} is {kind}")
        if event.kind in SOFTWARE and gate.dpl < state.cpl:
            raise self._bad_gate(GP, f"{shown} has DPL {gate.dpl}: an INT at CPL {state.cpl} may not use it")
        if not gate.present:
            raise self._bad_gate(NP, f"{shown} is not present")
        return gate

    def _task(self, gate: descriptors.Gate) -> Refused:
        to = f"{self.where} is a task gate for {gate.selector:#x}"
        found = "it is one of an LDT" if gate.selector & 4 else self._descriptor(gate.selector, GP, to)
        if isinstance(found, str):
            raise self._bad(GP, gate.selector, f"{to}: {found}")
        if found.s or found.type not in (1, 9):
            raise self._bad(GP, gate.selector, f"{to}: that is no available TSS but {found.describe()}")
        if not found.present:
            raise self._bad(NP, gate.selector, f"{to}: that TSS is not present")
        return Refused(f"{to}: task switches are not done")

    def _to(self, gate: descriptors.Gate) -> str:
        return f"{self.where} leads to {gate.selector:#x}:{gate.offset:#x}"

    def _descriptor(self, selector: int, vector: int, doing: str) -> descriptors.Segment:
        """The descriptor of a selector; ``vector`` is raised where there is none."""
        state = self.state
        table = state.sregs.ldt if selector & 4 else state.sregs.gdt
        at = table.base + (selector & ~7)
        if (selector & ~7) + 7 <= table.limit:
            self._read(at, 8, f"{doing}: its descriptor lies at {at:#x}", vector)
        found = descriptor(state, selector)
        if isinstance(found, str):
            raise self._bad(vector, selector, f"{doing}: {found}")
        return found

    def _mark_accessed(self, found: descriptors.Segment, selector: int) -> None:
        """A descriptor that is loaded gets its accessed bit."""
        if self.state.marks_accessed and not found.type & descriptors.ACCESSED:
            table = self.state.sregs.ldt if selector & 4 else self.state.sregs.gdt
            access = found.raw >> 40 & 0xFF | descriptors.ACCESSED
            self.writes.append((table.base + (selector & ~7) + 5, bytes((access,))))

    def _target(self, gate: descriptors.Gate) -> descriptors.Segment:
        state, to = self.state, self._to(gate)
        if not gate.selector & ~3:
            raise self._fault(GP, f"{to}: that is the null selector")
        found = self._descriptor(gate.selector, GP, to)
        if not found.is_code:
            raise self._bad(GP, gate.selector, f"{to}: that is no code segment but {found.describe()}")
        if found.dpl > state.cpl:
            why = f"{to}: that segment's DPL {found.dpl} is below the CPU's privilege {state.cpl}"
            raise self._bad(GP, gate.selector, why)
        if state.ia32e and (not found.l or found.db):
            why = f"{to}: in long mode a handler's segment must be 64-bit code, it is {found.describe()}"
            raise self._bad(GP, gate.selector, why)
        if not found.present:
            raise self._bad(NP, gate.selector, f"{to}: that segment is not present")
        return found

    # --- the stack and the frame

    def _to_ring(self, gate: descriptors.Gate, code: descriptors.Segment, cpl: int, *, inner: bool) -> Change:
        state, event = self.state, self.event
        regs, sregs = state.regs, state.sregs
        width = 8 if state.ia32e else descriptors.GATE_TYPES[gate.type]
        offset = gate.offset if width > 2 else gate.offset & 0xFFFF
        frame = [self.flags, int(sregs.cs.selector), self.returns]
        if event.error_code is not None:
            frame.append(event.error_code)
        if state.ia32e or inner:
            frame = [int(sregs.ss.selector), int(regs.rsp) & (LOW64 if state.long else LOW32), *frame]
        if state.mode.name == "v86":
            frame = [int(getattr(sregs, name).selector) for name in ("gs", "fs", "ds", "es")] + frame
        stack: SegmentRegister | None = None
        if state.ia32e:
            top, whence = self._long_stack(gate, cpl, inner=inner)
            if inner:
                stack = descriptors.null(cpl)
        elif inner:
            stack, top, whence = self._inner_stack(cpl)
        else:
            top = int(regs.rsp) & LOW32
            whence = f"SS:SP {int(sregs.ss.selector):#x}:{top & state.stack_mask():#x}"
        what = f"the stack for {self.where}, {whence}"
        if not state.ia32e:
            self._room(stack or sregs.ss, top, width, len(frame), what, int(stack.selector) if stack else 0)
        self._entry(gate, code, offset)
        if stack is not None:
            self.segments["ss"] = stack
        self._push(tuple(frame), width, top, user=cpl == 3, implicit=inner, what=what)
        self._mark_accessed(code, gate.selector)
        self.segments["cs"] = descriptors.loaded(code, gate.selector & ~3 | cpl)
        if state.mode.name == "v86":
            self.segments |= {name: descriptors.null() for name in ("ds", "es", "fs", "gs")}
        clear = EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | (EFLAGS_IF if gate.type in (6, 14) else 0)
        return self._changed(offset, int(regs.rflags) & ~clear)

    def _entry(self, gate: descriptors.Gate, code: descriptors.Segment, offset: int) -> None:
        if self.state.ia32e and not canonical(offset, self.state.sregs.cr4):
            raise self._fault(GP, f"{self._to(gate)}: that address is not canonical")
        if not self.state.ia32e and offset > code.limit:
            raise self._fault(GP, f"{self._to(gate)}: that is beyond the segment's limit, {code.limit:#x}")

    def _long_stack(self, gate: descriptors.Gate, cpl: int, *, inner: bool) -> tuple[int, str]:
        """The stack pointer before it is aligned, and where it is from."""
        tr = self.state.sregs.tr
        if not gate.ist and not inner:
            top, whence = int(self.state.regs.rsp), "RSP"
        else:
            offset = 28 + 8 * gate.ist if gate.ist else 4 + 8 * cpl
            whence = f"IST {gate.ist}" if gate.ist else f"RSP{cpl}"
            if offset + 7 > tr.limit:
                why = f"{self.where} takes its stack from {whence}, beyond the TSS's limit {int(tr.limit):#x}"
                raise self._bad(TS, int(tr.selector), why)
            top = self._of_tss(offset, 8, f"{self.where} takes its stack from {whence}, but the TSS cannot be read")
        return top, f"{whence} {top:#x}"

    def _of_tss(self, offset: int, size: int, doing: str) -> int:
        linear = int(self.state.sregs.tr.base) + offset
        self._mapped(linear, size, doing)
        try:
            return int.from_bytes(self.state.read(linear, size), "little")
        except MemoryFault as error:
            raise _Raised(Fault(PF, f"{doing}: {error}", linear)) from error

    def _inner_stack(self, cpl: int) -> tuple[SegmentRegister, int, str]:
        tr, where = self.state.sregs.tr, self.where
        wide = tr.type & 8
        offset, size = (4 + 8 * cpl, 4) if wide else (2 + 4 * cpl, 2)
        if offset + 2 * size - 1 > tr.limit or not tr.present:
            raise self._bad(TS, int(tr.selector), f"{where} needs the stack of a TSS, and TR holds none")
        doing = f"{where} takes its stack from the TSS, which cannot be read"
        top = self._of_tss(offset, size, doing)
        selector = self._of_tss(offset + size, 2, doing)
        whose = f"the stack for {where}, SS{cpl} {selector:#x}"
        if not selector & ~3:
            raise self._fault(TS, f"{whose}: that is the null selector")
        if selector & 3 != cpl:
            raise self._bad(TS, selector, f"{whose}: its RPL is not {cpl}")
        found = self._descriptor(selector, TS, whose)
        if found.dpl != cpl or not found.is_writable:
            raise self._bad(TS, selector, f"{whose}: that is no writable segment of DPL {cpl} but {found.describe()}")
        if not found.present:
            raise self._bad(SS, selector, f"{whose}: that segment is not present")
        self._mark_accessed(found, selector)
        return descriptors.loaded(found, selector), top, f"ESP{cpl} {top:#x}"

    def _room(self, ss: SegmentRegister, top: int, width: int, count: int, what: str, selector: int) -> None:
        """Whether the segment has room for the frame."""
        if ss.unusable or not ss.present:
            raise self._bad(SS, selector, f"{what}: SS holds no usable segment")
        mask = LOW32 if ss.db else 0xFFFF
        down = ss.type & 12 == 4
        for n in range(1, count + 1):
            at = top - n * width & mask
            last = at + width - 1
            if (at <= ss.limit or last > mask) if down else last > ss.limit:
                raise self._bad(SS, selector, f"{what}: it is beyond the segment's limit, {int(ss.limit):#x}")

    def _push(
        self, frame: tuple[int, ...], width: int, top: int, *, user: bool, implicit: bool = False, what: str
    ) -> None:
        """Write the frame below ``top``, its first word at the highest address."""
        state = self.state
        ss = self.segments.get("ss", state.sregs.ss)
        mask = LOW64 if state.ia32e else LOW32 if ss.db else 0xFFFF
        base, linear_mask = (0, mask) if state.ia32e else (int(ss.base), LOW32)
        if state.ia32e:
            top &= ~15
        known: set[int] = set()
        for n, value in enumerate(frame, 1):
            linear = base + (top - n * width & mask) & linear_mask
            if state.ia32e and not canonical(linear, state.sregs.cr4):
                raise self._fault(SS, f"{what}, is not canonical")
            for at in (linear, linear + width - 1):
                if at >> 12 not in known:
                    self._check_push(at, user=user, implicit=implicit, what=what)
                    known.add(at >> 12)
            self.writes.append((linear, (value & (1 << 8 * width) - 1).to_bytes(width, "little")))
        self.sp = top & ~mask | top - len(frame) * width & mask

    def _check_push(self, at: int, *, user: bool, implicit: bool, what: str) -> None:
        state = self.state
        fault = page_fault(state, at, write=True, user=user, implicit=implicit)
        if fault is not None:
            why = f"{what}, cannot be written: {fault.why}"
            raise _Raised(Fault(PF, why, at, error_code=fault.error_code))
        physical = state.walk(at).physical or 0
        try:
            state.read_physical(physical, 1)
        except MemoryFault as error:
            why = f"{what}, has no memory behind it ({physical:#x})"
            raise _Raised(Fault(PF, why, at, error_code=2)) from error

    def _changed(self, rip: int, flags: int) -> Change:
        regs = {"rip": rip, "rsp": self.sp, "rflags": flags}
        control = {} if self.event.address is None else {"cr2": self.event.address}
        return Change(regs, self.segments, control, tuple(self.writes), tuple(self.reads))
