"""Why the CPU cannot deliver an exception or interrupt: gates, the code they lead to, the stack of the frame.

Source: Intel SDM volume 3A, sections 6.12 to 6.15 (delivery), 7.7 and 8.8 (TSS and stacks).
"""

from __future__ import annotations

from kvmdbg.errors import MemoryFault
from kvmdbg.x86 import descriptors
from kvmdbg.x86.faults import GP, LOW32, NP, PF, SS, TS, Fault, State, canonical, descriptor, page_fault


def delivery_fault(state: State, fault: Fault) -> Fault | None:
    """Why the CPU cannot deliver this exception: the one that delivery itself raises; None when it can."""
    if state.mode.name == "real":
        return _real_delivery(state, fault)
    idt, size = state.sregs.idt, 16 if state.ia32e else 8
    where = f"gate {fault.vector} of the IDT"
    if fault.vector * size + size - 1 > idt.limit:
        return Fault(GP, f"{where} is beyond its limit: base {int(idt.base):#x}, limit {int(idt.limit):#x}")
    address = idt.base + fault.vector * size
    table = page_fault(state, address, user=False)
    if table is not None:
        return Fault(PF, f"{where} lies at {address:#x}, which is not mapped: {table.why}", address)
    try:
        gate = descriptors.gate(int.from_bytes(state.read(address, size), "little"), size)
    except MemoryFault as error:
        return Fault(GP, f"{where} lies at {address:#x}, where no memory is ({error.why})")
    shown = f"{where} (at {address:#x}: {gate.raw & (1 << 64) - 1:#x})"
    if not gate.raw:
        return Fault(GP, f"{shown} is empty")
    if gate.is_malformed or (state.ia32e and gate.type not in (14, 15)):
        return Fault(GP, f"{shown} is malformed: type {gate.type:#x} is {descriptors.SYSTEM_TYPES[gate.type]}")
    if fault.software and gate.dpl < state.cpl:
        return Fault(GP, f"{shown} has DPL {gate.dpl}: an INT at CPL {state.cpl} may not use it")
    if not gate.present:
        return Fault(NP, f"{shown} is not present")
    if gate.type == descriptors.TASK_GATE:
        return None
    return _target(state, gate, where) or _stack(state, gate, where)


def _real_delivery(state: State, fault: Fault) -> Fault | None:
    idt = state.sregs.idt
    if fault.vector * 4 + 3 > idt.limit:
        text = f"base {int(idt.base):#x}, limit {int(idt.limit):#x}"
        return Fault(GP, f"entry {fault.vector} of the interrupt table is beyond its limit: {text}")
    sp = int(state.regs.rsp) & 0xFFFF
    if sp in (1, 3, 5):
        return Fault(SS, f"the stack pointer {sp:#x} leaves no room for a frame of 6 bytes")
    return None


def _target(state: State, gate: descriptors.Gate, where: str) -> Fault | None:
    to = f"{where} leads to {gate.selector:#x}:{gate.offset:#x}"
    if not gate.selector & ~3:
        return Fault(GP, f"{to}: that is the null selector")
    found = descriptor(state, gate.selector)
    if isinstance(found, str):
        return Fault(GP, f"{to}: {found}")
    if not found.is_code:
        return Fault(GP, f"{to}: that is no code segment but {found.describe()}")
    if not found.present:
        return Fault(NP, f"{to}: that segment is not present")
    if found.dpl > state.cpl:
        return Fault(GP, f"{to}: that segment's DPL {found.dpl} is below the CPU's privilege {state.cpl}")
    if state.ia32e and (not found.l or found.db):
        return Fault(GP, f"{to}: in long mode a handler's segment must be 64-bit code, it is {found.describe()}")
    if state.ia32e and not canonical(gate.offset, state.sregs.cr4):
        return Fault(GP, f"{to}: that address is not canonical")
    if not state.ia32e and gate.offset > found.limit:
        return Fault(GP, f"{to}: that is beyond the segment's limit, {found.limit:#x}")
    return None


def _stack(state: State, gate: descriptors.Gate, where: str) -> Fault | None:
    """Whether the frame can be pushed (SDM volume 3A, 6.12.1 and 6.14.2)."""
    sregs = state.sregs
    target = descriptor(state, gate.selector)
    inner = not isinstance(target, str) and not target.type & descriptors.CONFORMING and target.dpl < state.cpl
    if state.ia32e:
        if not gate.ist and not inner:
            top, whence = int(state.regs.rsp), "RSP"
        else:
            offset = 28 + 8 * gate.ist if gate.ist else 4
            whence = f"IST {gate.ist}" if gate.ist else "RSP0"
            if offset + 7 > sregs.tr.limit:
                return Fault(
                    TS, f"{where} takes its stack from {whence}, beyond the TSS's limit {int(sregs.tr.limit):#x}"
                )
            try:
                top = int.from_bytes(state.read(sregs.tr.base + offset, 8), "little")
            except MemoryFault as error:
                return Fault(PF, f"{where} takes its stack from {whence}, but the TSS cannot be read: {error}")
        at, size = (top & ~15) - 48, 48
        if not canonical(at & (1 << 64) - 1, sregs.cr4):
            return Fault(SS, f"the stack for {where}, {whence} {top:#x}, is not canonical")
        return _push(state, at & (1 << 64) - 1, size, f"the stack for {where}, {whence} {top:#x}")
    if inner:
        if sregs.tr.limit < 11 or not sregs.tr.present:
            return Fault(TS, f"{where} needs the stack of a TSS, and TR holds none")
        try:
            top = int.from_bytes(state.read(sregs.tr.base + 4, 4), "little")
        except MemoryFault as error:
            return Fault(PF, f"{where} takes its stack from the TSS, which cannot be read: {error}")
        return _push(state, top - 24 & LOW32, 24, f"the stack for {where}, ESP0 {top:#x}")
    esp = int(state.regs.rsp) & state.stack_mask()
    offset = esp - 16 & state.stack_mask()
    whence = f"the stack for {where}, SS:SP {int(sregs.ss.selector):#x}:{esp:#x}"
    if sregs.ss.unusable or not sregs.ss.present:
        return Fault(SS, f"{whence}: SS holds no usable segment")
    down = sregs.ss.type & 12 == 4
    if offset <= sregs.ss.limit if down else offset + 15 > sregs.ss.limit:
        return Fault(SS, f"{whence}: it is beyond the segment's limit, {int(sregs.ss.limit):#x}")
    return _push(state, sregs.ss.base + offset & LOW32, 16, whence)


def _push(state: State, at: int, size: int, what: str) -> Fault | None:
    for linear in (at + size - 1, at):  # pushing goes down
        fault = page_fault(state, linear, write=True, user=False)
        if fault is not None:
            return Fault(PF, f"{what}, cannot be written: {fault.why}", linear)
        try:
            physical = state.walk(linear).physical
            state.read_physical(0 if physical is None else physical, 1)
        except MemoryFault:
            return Fault(PF, f"{what}, has no memory behind it ({physical:#x})", linear)
    return None
