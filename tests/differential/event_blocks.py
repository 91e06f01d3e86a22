"""Blocks that leave their segment, and those that raise something: far transfers, interrupts, exceptions."""

from __future__ import annotations

from tests.differential.maker import POINTER, Block, Maker, block
from tests.differential.program import CODE, CODE_AGAIN, DATA, DATA_AGAIN

# --- far transfers ---------------------------------------------------------------------------------


@block(modes="real prot")
def far_jump(m: Maker) -> Block:
    if m.mode == "prot":
        return [f"farjmp {m.pick([CODE, CODE_AGAIN])} {{there}}", "nop", "there:", *m.leaf()]
    return ["farjmp 0 {there}", "nop", "there:", *m.leaf()]


@block()
def far_return(m: Maker) -> Block:
    selector = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    return [f"push {selector:#x}", f"mov {m.ax}, {{there}}", f"push {m.ax}", m.far_return(), "nop", "there:", *m.leaf()]


@block(modes="real prot")
def far_call(m: Maker) -> Block:
    selector = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    return [f"farcall {selector} {{function}}", "jmp {on}", "function:", *m.leaf(), m.far_return(), "on:", *m.leaf()]


@block()
def far_indirect(m: Maker) -> Block:
    """Through a pointer in memory."""
    selector = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    place = m.layout.far_pointer
    offset = 2 if m.mode == "real" else 4
    through = {"real": f"db ff2e{place & 0xFF:02x}{place >> 8:02x}", "prot": "db ff2d", "long": "db ff2c25"}[m.mode]
    if m.mode != "real":
        through += place.to_bytes(4, "little").hex()
    return [
        f"mov {POINTER[offset]} [{place:#x}], {{there}}",
        f"mov word ptr [{place + offset:#x}], {selector:#x}",
        through,
        "nop",
        "there:",
        *m.leaf(),
    ]


@block()
def interrupt_return(m: Maker) -> Block:
    """A frame made by hand."""
    code = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    lines = [f"mov {m.bx}, {m.sp}"]
    if m.mode == "long":
        lines += [f"push {m.pick([DATA, DATA_AGAIN]):#x}", "push rbx"]
    lines += [m.pushf, f"push {code:#x}", f"mov {m.ax}, {{there}}", f"push {m.ax}"]
    return [*lines, {"real": "iret", "prot": "iretd", "long": "iretq"}[m.mode], "nop", "there:", *m.leaf()]


@block(weight=2)
def software_interrupt(m: Maker) -> Block:
    return [m.pick(["int 0x20", "int 0x21", "int 0x2f", "int3", "int 0x22"]), *m.leaf()]


@block(modes="real prot")
def overflow_trap(m: Maker) -> Block:
    return ["mov al, 0x7f", f"add al, {m.pick(['0', '1'])}", "into", *m.leaf()]


# --- exceptions ------------------------------------------------------------------------------------


@block(weight=2)
def undefined_opcode(m: Maker) -> Block:
    return [*m.faulting(m.pick(["ud2", "ud2", "db 0fb9c0"])), *m.leaf()]


@block()
def division_by_zero(m: Maker) -> Block:
    if m.rng.random() < 0.5:
        return [*m.faulting("xor bl, bl", "div bl"), *m.leaf()]
    return [*m.faulting("mov dx, 0x1234", "mov bx, 1", "div bx"), *m.leaf()]


@block(modes="prot long")
def general_protection(m: Maker) -> Block:
    choices = [["mov eax, 0x33", "mov fs, ax"], ["mov eax, 0xff00", "mov es, ax"], ["mov ecx, 0x12345", "rdmsr"]]
    if m.mode == "long":
        choices += [["mov rax, 0x8000000000000000", "mov qword ptr [rax], rbx"]]
        choices += [["mov rax, 0x8000000000000000", "push qword ptr [rax]"]]
    return [*m.faulting(*m.pick(choices)), *m.leaf()]


@block(modes="real")
def segment_limit(m: Maker) -> Block:
    return [*m.faulting("mov bx, 0xffff", m.pick(["mov ax, word ptr [bx]", "mov word ptr [bx], ax"])), *m.leaf()]


@block(modes="long")
def page_fault(m: Maker) -> Block:
    line = m.pick(
        ["mov qword ptr [rax], rbx", "mov ebx, dword ptr [rax]", "inc byte ptr [rax]", "push qword ptr [rax]"]
    )
    return [*m.faulting("mov rax, 0x7f0000000000", line), *m.leaf()]


@block(modes="long")
def fault_in_string(m: Maker) -> Block:
    """rep movsb runs into an address that is not canonical after some bytes."""
    return [
        *m.faulting(
            f"mov rsi, {m.layout.data:#x}",
            f"mov rdi, {0x800000000000 - m.rng.randrange(4):#x}",
            "mov ecx, 8",
            "rep movsb",
        ),
        *m.leaf(),
    ]


@block()
def trap_flag(m: Maker) -> Block:
    """The guest steps itself for a few instructions: its #DB handler counts."""
    place = "ss:[bp+1]" if m.mode == "real" else f"[{m.sp}+1]"
    begin = [m.pushf, *(["mov bp, sp"] if m.mode == "real" else [])]
    on, off = f"or byte ptr {place}, 1", f"and byte ptr {place}, 0xfe"
    between = m.pick([[], [], _behind_0f(m), [*_behind_0f(m), *_behind_0f(m)]])
    source = [f"mov {m.si}, {m.layout.data & -16:#x}"] if between else []
    return [*source, *begin, on, m.popf, *m.leaf(), *between, *m.leaf(), *begin, off, m.popf, *m.leaf()]


def _behind_0f(m: Maker) -> Block:
    """Some KVM in software emulates it, or lets the CPU run it; memory at [si], [esi], [rsi]."""
    at = 4 if m.mode == "real" else 6
    in_memory = ["01", 0], ["01", 1], ["01", 4], ["ae", 7], ["c7", 1], ["1c", 0], ["1f", 0], ["18", 1]
    opcode, group = m.pick(in_memory)
    return [m.pick(["lfence", "mfence", "db f30f1efa", "db 0f01e0", *4 * [f"db 0f{opcode}{group << 3 | at:02x}"]])]
