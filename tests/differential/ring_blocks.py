"""Blocks that run at CPL 3 for a stretch: there by a return, back by interrupts, faults and system calls."""

from __future__ import annotations

import re

from tests.differential.maker import KINDS, Block, Maker, block
from tests.differential.program import AT_CPL_0, CODE, DATA_AGAIN, LABEL, LEAVE, USER

USER_STACK = 0xBC00
AT_CPL_3 = (
    "arithmetic", "constant", "load_or_store", "unary", "store_constant", "through_pointer", "bits", "loop", "branch",
    "call", "self_modification", "string", "push_pop", "push_flags", "push_constants", "frame", "decimal",
    "overflow_trap", "undefined_opcode", "division_by_zero", "general_protection", "page_fault",
    "fault_in_string", "trap_flag", "fence", "floating_point", "vector", "port_write", "port_read", "serial_text",
    "string_to_port", "string_from_port", "mmio", "string_to_mmio",
)  # fmt: skip
"""Kinds that do there what they do at CPL 0, with I/O privilege level 3."""
EFER, STAR, LSTAR, FMASK = 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176


def _apart(lines: Block, number: int) -> Block:
    """The lines with labels that no other block of these stretch has."""
    lines = [LABEL.sub(lambda match: match[0] if match[1] == "end" else f"{{s{number}_{match[1]}}}", x) for x in lines]
    return [f"s{number}_{line}" if re.fullmatch(r"\w+:", line) else line for line in lines]


def _wrmsr(number: int, low: str, high: int = 0) -> Block:
    return [f"mov ecx, {number:#x}", f"mov eax, {low}", f"mov edx, {high:#x}", "wrmsr"]


def _enter(m: Maker, stack: int, flags: int) -> Block:
    """To {user}, at CPL 3."""
    code, data = USER[m.mode]
    way = m.pick(["iret", "iret", "retf", "sys"])
    frame = [f"push {data:#x}", f"push {stack:#x}"]
    to = [f"push {code:#x}", f"mov {m.ax}, {{user}}", f"push {m.ax}"]
    if way == "iret":
        return [*frame, f"push {flags:#x}", *to, "iretq" if m.mode == "long" else "iretd", "user:"]
    if way == "retf":
        return [*frame, *to, m.far_return(), "user:"]
    if m.mode == "long":
        msrs = [f"mov ecx, {EFER:#x}", "rdmsr", "or eax, 1", "wrmsr", *_wrmsr(STAR, "0", 0x20 << 16 | CODE)]
        to_user = ["mov ecx, {user}", f"mov r11d, {flags & ~0x200:#x}", "db 480f07", "user:", "mov r11d, 0"]
        return [*msrs, *to_user, f"mov rsp, {stack:#x}"]
    return [*_wrmsr(SYSENTER_CS, "0x18"), "mov edx, {user}", f"mov ecx, {stack:#x}", "db 0f35", "user:"]


def _leave(m: Maker) -> Block:
    way = m.pick([f"int {LEAVE:#x}", "ud2", "ud2", "hlt"])
    return [f"mov {m.word} [{m.layout.resume:#x}], {{back}}+{AT_CPL_0:#x}", way, "nop", "back:"]


def _begin(m: Maker) -> Block:
    """After an outer return DS and ES hold nothing that code at CPL 3 may use."""
    return [] if m.mode == "long" else [f"mov eax, {USER['prot'][1]:#x}", "mov ds, ax", "mov es, ax"]


def _stack(m: Maker) -> int:
    return m.pick([USER_STACK, USER_STACK, m.layout.stack - 0x180])


@block(modes="prot long", weight=3)
def user_stretch(m: Maker) -> Block:
    """Code of other kinds, at CPL 3."""
    names = set(AT_CPL_3).difference(m.unfit)
    kinds = [kind for kind in KINDS if kind.name in names and m.mode in kind.modes]
    lines = []
    for number in range(m.rng.randrange(1, 7)):
        if m.rng.random() < 0.15 and "software_interrupt" not in m.unfit:  # which is a #GP on some KVMs in software
            lines += _apart(m.faulting(m.pick(["int 0x20", "int 0x21", "int 0x2f", "int3", "int 0x22"])), number)
            continue
        kind = m.rng.choices(kinds, [kind.weight for kind in kinds])[0]
        lines += _apart(kind.make(m), number)
    flags = 0x3002 | m.pick([0, 0, 0x200])
    return [*_enter(m, _stack(m), flags), *_begin(m), *lines, *_leave(m), *m.leaf()]


@block(modes="prot long")
def forbidden(m: Maker) -> Block:
    """What only CPL 0 may do."""
    choices = [["hlt"], ["cli"], [f"mov {m.ax}, cr0"], ["mov ecx, 0x10", "wrmsr"], ["in al, 0x80"], ["clts"]]
    choices += [["mov eax, 0x10", "mov fs, ax"], ["int 0x8"], [f"mov {m.ax}, dr7"], ["db 0f01f8"], ["sti"]]
    choices += [[f"mov eax, {DATA_AGAIN:#x}", "mov ss, ax"], [f"push {CODE}", f"push {m.ax}", m.far_return()]]
    if m.mode == "long":
        choices += [["mov rax, 0x200000", m.pick(["mov ebx, dword ptr [rax]", "mov byte ptr [rax], bl"])]]
        choices += [["mov rax, 0x200000", "jmp rax"], ["swapgs"]]
    lines = []
    for number in range(m.rng.randrange(1, 4)):
        lines += _apart(m.faulting(*m.pick(choices)), number) + m.leaf()
    return [*_enter(m, _stack(m), 2), *_begin(m), *lines, *_leave(m)]


@block(modes="prot long", weight=2)
def system_call(m: Maker) -> Block:
    flags = m.pick([2, 0x202, 0xCD7 & ~0x400])
    if m.mode == "long":
        begin = [f"mov ecx, {EFER:#x}", "rdmsr", "or eax, 1", "wrmsr", *_wrmsr(STAR, "0", 0x20 << 16 | CODE)]
        begin += [*_wrmsr(LSTAR, "{system_call}"), *_wrmsr(FMASK, hex(m.pick([0x700, 0x300, 0x47700])))]
        call = ["syscall", "mov r11d, 0"]
    else:
        begin = [*_wrmsr(SYSENTER_CS, "0x18"), *_wrmsr(SYSENTER_ESP, hex(m.layout.stack))]
        begin += [*_wrmsr(SYSENTER_EIP, "{system_call}")]
        call = ["mov ecx, esp", "mov edx, {behind}", "sysenter", "behind:"]
    lines: Block = []
    for number in range(m.rng.randrange(1, 4)):
        lines += [*_apart(call, number), *m.leaf()]
    return [*begin, *_enter(m, _stack(m), flags), *_begin(m), *lines, *_leave(m)]
