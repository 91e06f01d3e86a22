"""A page that is guarded for a watchpoint or a planted trap: what the CPU does there is as without the guard."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop, HaltedStop, Stop, WatchpointStop
from kvmdbg.pytest_plugin import Guests
from tests.conftest import TIME_SCALE
from tests.core.long_mode_handler import with_handler
from tests.interrupt_controllers import ticks

pytestmark = pytest.mark.kvm

PAGE = 0x9000
BEGIN = """
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x9800
    mov bp, 0x9900
    mov word ptr [0x60 * 4], offset vector
    mov word ptr [0x60 * 4 + 2], ax
    mov word ptr [6 * 4], offset undefined
    mov word ptr [6 * 4 + 2], ax
    mov eax, 0x11223344
    mov ebx, 0x55667788
    mov ecx, 0x99aabbcc
    mov esi, 0x12345678
    mov edi, 0x9abcdef0
    jmp go
vector: iret
undefined:
    push bp
    mov bp, sp
    add word ptr [bp + 2], 2
    pop bp
    iret
other: retf
go:
"""
INSTRUCTIONS = {
    "a software interrupt": "int 0x60",
    "an exception": "ud2",
    "pusha": "pusha",
    "pushad": "pushad",
    "popa": "pusha; popa",
    "enter": "enter 8, 3",
    "leave": "enter 4, 0; leave",
    "a far call": ".byte 0x9a; .word other, 0",
    "a far return": "push 0; push offset back; retf; back:",
    "sgdt": "sgdt [0x9400]",
    "lgdt": "mov dword ptr [0x9400], 0x17; lgdt [0x9400]",
    "fxsave": "fxsave [0x9400]",
    "xchg": "xchg eax, [0x9400]",
    "a write into the next page": "mov [0x9ffe], eax",
    "rep movsb": "mov si, 0x1000; mov di, 0x9400; mov cx, 20; cld; rep movsb",
    "pushf and popf": "pushf; popf; pushf; pop ax",
}


def end(dbg: Session) -> tuple[str, dict[str, int], bytes]:
    """Why it ended, all general registers and two pages of memory."""
    stop = dbg.run(timeout=50)
    names = "rax rbx rcx rdx rsi rdi rbp rsp rip rflags".split()
    return stop.reason, {name: dbg.regs.get(name) for name in names}, dbg.physical.read(PAGE, 0x2000)


@pytest.mark.parametrize("held", ["write", "access", "breakpoints"])
@pytest.mark.parametrize("instruction", INSTRUCTIONS.values(), ids=list(INSTRUCTIONS))
def test_an_instruction_in_a_guarded_page(kvm_guest: Guests, instruction: str, held: str) -> None:
    """Several writes of one instruction, frames and stacks lie in the page, none of them in the watched bytes."""
    asm = BEGIN + instruction + "\nhlt"
    alone = end(kvm_guest(asm=asm))
    dbg = kvm_guest(asm=asm)
    if held == "breakpoints":
        for place in range(PAGE + 0x10, PAGE + 0x60, 0x10):  # from the fifth on no debug register holds them
            dbg.break_at(place)
    else:
        for place in range(PAGE + 0x10, PAGE + 0x60, 0x10):
            dbg.watch(place, 2, held)
    assert end(dbg) == alone


@pytest.mark.parametrize("page", [0x0, 0xF000])
@pytest.mark.parametrize(
    "instruction",
    ["mov sp, 8; pusha", "mov sp, 2; int 0x60", "mov sp, 4; ud2", "mov sp, 4; .byte 0x9a; .word other, 0"],
)
def test_a_stack_that_goes_on_at_the_other_end_of_its_segment(kvm_guest: Guests, instruction: str, page: int) -> None:
    asm = BEGIN + instruction + "\nhlt"
    alone, dbg = (kvm_guest(asm=asm, registers={"rsp": 0x9800}) for _ in range(2))
    for place in range(page + 0xE00, page + 0xE50, 0x10):
        dbg.watch(place, 2)
    assert end(dbg) == end(alone)
    for place in (0, 0xFFF0):
        assert dbg.physical.read(place, 0x10) == alone.physical.read(place, 0x10)


@pytest.mark.parametrize("kind", ["write", "access"])
def test_the_frame_of_an_exception_is_a_write(kvm_guest: Guests, kind: str) -> None:
    """Real mode: FLAGS, CS and IP are pushed to 0x97fa."""
    dbg = kvm_guest(asm=BEGIN + "bad: ud2\nhlt")
    for place in range(PAGE + 0x10, PAGE + 0x50, 0x10):
        dbg.watch(place, 1)  # takes the debug registers, which need not see what the CPU pushes by itself
    watch = dbg.watch(0x97FA, 6, kind)
    stop = dbg.run(timeout=50)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.kind, stop.hits, dbg.regs.ip) == ("write", (watch,), dbg.symbols["undefined"])
    assert dbg.physical.read(0x97FA, 2) == dbg.symbols["bad"].to_bytes(2, "little")


@pytest.mark.parametrize("kind", ["write", "read", "access"])
def test_a_watch_beside_the_frames_of_long_mode(kvm_guest: Guests, kind: str) -> None:
    """Nothing touches what is watched; the frames of #DE and #PF lie in its page."""
    divide = with_handler(0, "xor ecx, ecx\nmov eax, 1\nbad: div ecx\nhlt", "add qword ptr [rsp], 2")
    fault = with_handler(14, "mov rax, 0x7f0000000000\nbad: mov rcx, [rax]\nhlt", "pop rdx\nadd qword ptr [rsp], 3")
    for text in (divide, fault):
        alone = kvm_guest(asm=text, mode="long")
        assert isinstance(alone.run(timeout=50), HaltedStop)
        dbg = kvm_guest(asm=text, mode="long")
        watch = dbg.watch(0x6100, 1, kind)
        assert isinstance(dbg.run(timeout=50), HaltedStop)
        assert (watch.hits, dbg.regs.snapshot()) == (0, alone.regs.snapshot())
        assert dbg.physical.read(0x6F00, 0x100) == alone.physical.read(0x6F00, 0x100)


@pytest.mark.parametrize("stops_at", [(), ("bad",), ("undefined",), ("bad", "undefined")])
def test_a_handler_in_a_guarded_page(kvm_guest: Guests, stops_at: tuple[str, ...]) -> None:
    """The step that passes a breakpoint delivers the exception, and then the guard refuses the handler."""
    asm = BEGIN + "bad: ud2\nhlt\nspare: .space 20"
    alone, dbg = (kvm_guest(asm=asm, registers={"rsp": 0x9800}) for _ in range(2))
    for place in range(dbg.symbols["spare"], dbg.symbols["spare"] + 20, 4):
        dbg.watch(place, 1, "access")
    for place in stops_at:
        dbg.break_at(dbg.symbols[place])
    for place in stops_at:
        stop = dbg.run(timeout=50)
        assert isinstance(stop, BreakpointStop) and stop.pc == dbg.symbols[place], stop.describe()
    assert end(dbg) == end(alone)


DESCRIPTORS_BESIDE_CODE = """
.code16
    cli
    xor ax, ax
    mov ds, ax
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xea
    .word protected, 8
.code32
protected:
    mov ax, 16
    mov ds, ax
    mov ss, ax
    mov esp, 0x7000
    call func
    call func
    hlt
func:
    inc dword ptr [0x600]
    ret
    .balign 8
gdt: .quad 0, 0x00cf9a000000ffff, 0x00cf93000000ffff
gdtr: .word 23
    .long gdt
spare: .long 0
"""


@pytest.mark.parametrize("held", ["write", "phys", "func"])
def test_accessed_bits_in_a_guarded_page(kvm_guest: Guests, held: str) -> None:
    """The CPU sets them in descriptors that lie beside the code (an emulated one perhaps not all of them)."""
    alone = kvm_guest(asm=DESCRIPTORS_BESIDE_CODE)
    assert isinstance(alone.run(timeout=50), HaltedStop)
    dbg = kvm_guest(asm=DESCRIPTORS_BESIDE_CODE)
    if held == "write":
        for place in range(5):
            dbg.watch(dbg.symbols["spare"] + place % 4, 1)
    elif held == "phys":
        dbg.break_at(f"phys:{dbg.symbols['spare']:#x}")
    else:
        dbg.break_at(dbg.symbols["func"])
        for _ in range(2):
            stop = dbg.run(timeout=50)
            assert isinstance(stop, BreakpointStop), stop.describe()
    stop = dbg.run(timeout=50)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.physical.read(0x600, 4) == b"\x02\0\0\0"
    gdt = dbg.symbols["gdt"]
    assert dbg.physical.read(gdt, 24) == alone.physical.read(gdt, 24)


FAULT_ON_A_WATCHED_STACK = with_handler(
    0,
    "mov rsp, 0x9000; xor ecx, ecx; mov eax, 1; cdq; div ecx; mov al, 'k'; mov dx, 0x3f8; out dx, al; hlt",
    "add qword ptr [rsp], 2",
)


def test_a_stack_that_comes_into_a_guarded_page(kvm_guest: Guests) -> None:
    """Nothing tells the debugger that RSP has moved; the frame of #DE is the first that is written there."""
    dbg = kvm_guest(asm=FAULT_ON_A_WATCHED_STACK, mode="long", load=0x10000)
    for place in range(0x8100, 0x8128, 8):
        dbg.watch(place, 1)
    stop = dbg.run(timeout=50)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.output == b"k"


TRAPS_BEFORE_A_WATCHED_STACK = with_handler(3, "xor ebx, ebx; int3; mov rsp, 0x9100; int3; hlt", "inc ebx")


def test_a_trap_of_the_guests_own_before_a_guard_is_met(kvm_guest: Guests) -> None:
    """Where the vCPU goes back for the guard, the trap that KVM was given after an exit for it is delivered again."""
    dbg = kvm_guest(asm=TRAPS_BEFORE_A_WATCHED_STACK, mode="long", load=0x10000)
    for place in range(0x9800, 0x9828, 8):
        dbg.watch(place, 1)
    stop = dbg.run(timeout=50)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.regs.ebx == 2


HANDLERS_ACROSS_PAGES = """
.code64
    mov rsp, 0x7000
    lgdt [gdtr]
    lea rax, [rip + handler]
    mov rdi, offset idt
    call gate
    lea rax, [rip + double]
    mov rdi, offset idt + 8 * 16
    call gate
    lidt [idtr]
    mov edx, 0x3fd
    {between}
    xor ecx, ecx
    mov eax, 1
    cdq
    div ecx
    mov al, 'k'
say:
    mov dx, 0x3f8
    out dx, al
    hlt
gate:
    mov [rdi], ax
    mov word ptr [rdi + 2], 8
    mov word ptr [rdi + 4], 0x8e00
    shr rax, 16
    mov [rdi + 6], ax
    shr rax, 16
    mov [rdi + 8], eax
    ret
handler:
    add qword ptr [rsp], 2
    iretq
double:
    mov al, 'd'
    jmp say
    .balign 8
idtr: .word 9 * 16 - 1
    .quad idt
gdtr: .word 23
    .quad gdt
    .balign 8
gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
    .org 0x2000 - 64
idt: .skip 9 * 16
"""


@pytest.mark.parametrize("between", ["nop", "in al, dx"])
def test_handlers_that_come_into_a_withdrawn_page(kvm_guest: Guests, between: str) -> None:
    """The gate of #DE cannot be read there, and that of #DF can: no exit tells that the CPU has taken the other one."""
    dbg = kvm_guest(asm=HANDLERS_ACROSS_PAGES.format(between=between), mode="long", load=0x10000)
    for place in range(5):  # from the fifth on no debug register holds them
        dbg.watch(dbg.symbols["idt"] + 0x20 + place, 1, "access")
    stop = dbg.run(timeout=50)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.output == b"k"


SAYS_MUCH_BEFORE_THE_FAULT = """
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [0], offset handler
    mov [2], ax
    mov dx, 0x3f8
    mov al, '.'
    mov cx, 200
again: out dx, al
    mov [0x9000], al
    loop again
    mov sp, 0x9800
    div cl
    mov al, 'k'
    out dx, al
    hlt
handler:
    push bp
    mov bp, sp
    add word ptr [bp + 2], 2
    pop bp
    iret
"""


def test_what_was_collected_for_a_device_is_not_said_twice(kvm_guest: Guests) -> None:
    """The frame of #DE meets the guard, and the guest goes back to its last exit; so do writes that KVM collects."""
    dbg = kvm_guest(asm=SAYS_MUCH_BEFORE_THE_FAULT)
    dbg.listeners.exit.clear()  # nothing is collected for who looks at each exit
    for place in range(0x9700, 0x9728, 8):
        dbg.watch(place, 1)
    stop = dbg.run(timeout=50)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.output == b"." * 200 + b"k"


def stops(dbg: Session, most: int = 60) -> list[Stop]:
    """What it stops for until it halts."""
    found = []
    for _ in range(most):
        stop = dbg.run(timeout=50)
        if isinstance(stop, HaltedStop):
            return found
        found.append(stop)
    raise AssertionError(f"still {stop.describe()}")


@pytest.mark.parametrize("instruction", ["rep stosb", "rep movsb"])
@pytest.mark.parametrize("kind", ["write", "access"])
def test_each_round_of_a_repeated_instruction_counts(kvm_guest: Guests, instruction: str, kind: str) -> None:
    """A watch in the middle of what is written, held by stepping (its page is the one of the stack) and otherwise."""
    asm = f"mov sp, 0x9800; mov si, 0x5000; mov di, 0x9700; mov cx, 40; mov al, 1; push ax; {instruction}; hlt"
    dbg = kvm_guest(asm=asm)
    dbg.physical.write(0x5000, b"\x55" * 40)
    for place in (0x9710, 0x9711, 0x9712, 0x9713, 0x9714):
        dbg.watch(place, 1, kind)
    found = stops(dbg)
    assert [(stop.address, stop.kind) for stop in found if isinstance(stop, WatchpointStop)] == [
        (place, "write") for place in range(0x9710, 0x9715)
    ]
    assert (dbg.regs.cx, dbg.regs.di) == (0, 0x9728)


PAGING_ON = 0x7C91
"""In guests/modes.bin the instruction that turns it on."""


@pytest.mark.parametrize("kind", ["write", "access"])
def test_paging_structures_that_are_watched_before_they_are_used(kind: str) -> None:
    """The accessed bits that the CPU sets are there, and no stop is told for them."""
    tables = (0x1000, 0x2000, 0x3000)
    with kvmdbg.open(Path(__file__).parents[2] / "guests" / "modes.bin", serial="none") as dbg:
        for address in tables:
            dbg.watch(address, 64, kind)
        stop: Stop = dbg.run(timeout=60)
        while isinstance(stop, WatchpointStop):
            assert stop.instruction is not None and stop.instruction < PAGING_ON, stop.describe()
            stop = dbg.run(timeout=60)
        assert isinstance(stop, HaltedStop), stop.describe()
        assert [dbg.physical.read(address, 1) for address in tables] == [b"\x23", b"\x23", b"\xa3"]


LINKED = """
        mov rsp, 0x9000
        mov rbx, cr3
        and rbx, -4096
        mov rbx, [rbx]
        and rbx, -4096
        mov rbx, [rbx]
        and rbx, -4096
        mov qword ptr [0x30000], 0x40003
        mov dword ptr [rbx + 8 * 100], 0x30003
        mov dword ptr [rbx + 8 * 100 + 4], 0
        mov eax, 200 << 20
        mov byte ptr [rax], 5
        out 0x80, al
        hlt
"""
"""A page table at 0x30000 comes into the page directory, and maps 200 MiB to 0x40000."""


@pytest.mark.parametrize("kind", ["write", "access"])
def test_a_watched_page_becomes_a_page_table_while_cr3_stays(kvm_guest: Guests, kind: str) -> None:
    dbg = kvm_guest(asm=LINKED, mode="long")
    dbg.watch(0x30100, 64, kind)
    stop = dbg.run(timeout=60)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.physical.read(0x30000, 8) == (0x40063).to_bytes(8, "little")
    assert dbg.physical.read(0x40000, 1) == b"\x05"


TICK_WITH_ITS_STACK_ELSEWHERE = """
.code64
    lgdt [gdtr]
    lidt [idtr]
    mov ax, 0x18
    ltr ax
    {timer}
    mov rsp, 0x8000
    {between}
    sti
    hlt
done:
    cli
    hlt
fault:
    cli
    hlt
tick:
    inc ecx
    mov al, 0x20
    out 0x20, al
    iretq
.balign 16
gdt: .quad 0, 0x00af9a000000ffff, 0x00cf93000000ffff
    .word 0x67, tss, 0x8900, 0, 0, 0, 0, 0
gdtr: .word 39
    .quad gdt
idtr: .word 0x21 * 16 - 1
    .quad idt
tss: .long 0; .skip 32; .quad 0x6000; .skip 60
idt: .skip 14 * 16
    .word fault, 8, 0x8e01, 0, 0, 0, 0, 0
    .skip (0x20 - 15) * 16
    .word tick, 8, 0x8e00, 0, 0, 0, 0, 0
"""


@pytest.mark.parametrize("irqchip", ["kernel", "user"])
@pytest.mark.parametrize("between", ["out 0x80, al", ""], ids=["an exit", "no exit"])
def test_a_tick_on_a_stack_that_came_to_a_guarded_page(kvm_guest: Guests, between: str, irqchip: str) -> None:
    """#PF has a stack of its own: KVM may deliver it in the place of a tick whose frame cannot be pushed."""
    asm = TICK_WITH_ITS_STACK_ELSEWHERE.format(timer=ticks(0x20), between=between)
    dbg = kvm_guest(asm=asm, mode="long", irqchip=irqchip, memory="4M")
    for place in range(0x7000, 0x7050, 0x10):  # from the fifth on no debug register holds them
        dbg.break_at(place)
    ends_at, _ = (dbg.break_at(name).address for name in ("done", "fault"))
    stop = dbg.run(timeout=20 * TIME_SCALE)
    assert stop.pc == ends_at, stop.describe()
    assert dbg.regs.rcx  # more than one where the machine is slow
    stop = dbg.run(timeout=20 * TIME_SCALE)
    assert (stop.reason, stop.pc) == ("halted", ends_at + 2)
