"""EFLAGS.TF: the debugger's own steps leave no trace of it, and a guest that sets it gets each #DB as it does alone."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop, HaltedStop, StepStop
from kvmdbg.pytest_plugin import Guests
from tests.conftest import TIME_SCALE
from tests.core.long_mode_handler import with_handler
from tests.differential.proof import keeps_resume_flag

pytestmark = pytest.mark.kvm

FAULT = """
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [6 * 4], offset handler
    mov word ptr [6 * 4 + 2], ax
    mov word ptr [1 * 4], offset debug
    mov word ptr [1 * 4 + 2], ax
    nop
fault: ud2
    nop
    pushf
    pop ax
    hlt
handler:
    push bp
    mov bp, sp
    add word ptr [bp + 2], 2
    pop bp
    iret
debug:
    inc word ptr [0x5000]
    iret
"""
OWN = """
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [4], offset debug
    mov word ptr [6], ax
    pushf
    pop cx
    or cx, 0x100
    push cx
    popf
    nop
    nop
here: mov ax, ss
    nop
    pushf
    pop dx
    mov di, dx
    and dx, 0xfeff
    push dx
    popf
    nop
    hlt
debug:
    inc word ptr [0x600]
    iret
"""


def word(dbg: Session, address: int) -> int:
    return int.from_bytes(dbg.physical.read(address, 2), "little")


@pytest.mark.parametrize("condition", [None, "0"])
@pytest.mark.parametrize("beyond", [False, True], ids=["first four", "beyond four"])
def test_passing_a_breakpoint_on_a_fault(kvm_guest: Guests, condition: str | None, beyond: bool) -> None:
    """TF is not in the frame, and the breakpoint on the handler's first instruction is hit."""
    dbg = kvm_guest(asm=FAULT)
    if beyond:
        for place in range(0x9000, 0x9004):
            dbg.break_at(place)
    fault = dbg.break_at("fault", when=condition)
    handler = dbg.break_at("handler")
    if condition is None:
        assert dbg.run(timeout=50).breakpoints == (fault,)
    stop = dbg.run(timeout=50)
    assert isinstance(stop, BreakpointStop), stop.describe()
    assert (stop.hits, dbg.regs.ip) == ((handler,), dbg.symbols["handler"])
    assert word(dbg, dbg.regs.sp + 4) & 0x100 == 0
    assert isinstance(dbg.run(timeout=50), HaltedStop)
    assert (dbg.regs.ax & 0x100, word(dbg, 0x5000), handler.hits) == (0, 0, 1)


def test_a_guest_that_steps_itself(kvm_guest: Guests) -> None:
    """The same number of #DBs run, stepped, with a breakpoint in the middle, by a limit of instructions, and where a
    watchpoint stops the instructions that push while TF is set."""
    alone = kvm_guest(asm=OWN)
    assert isinstance(alone.run(timeout=50), HaltedStop)
    assert alone.regs.di & 0x100
    wanted = word(alone, 0x600), alone.regs.di, alone.physical.read(0x6F00, 0x100)
    for way in ("step", "breakpoint", "limit", "trace", "watch", "step to watch"):
        dbg = kvm_guest(asm=OWN)
        if way in ("watch", "step to watch"):
            pushed = dbg.watch(0x6FFE, 2)
            while not isinstance(dbg.run(timeout=50) if way == "watch" else dbg.step(), HaltedStop):
                pass
            assert pushed.hits >= 4  # and the frames, where a debug register does not hold it
        elif way == "step":
            while isinstance(dbg.step(), StepStop):
                pass
        elif way == "breakpoint":
            dbg.break_at("here")
            assert isinstance(dbg.run(timeout=50), BreakpointStop)
            assert isinstance(dbg.run(timeout=50), HaltedStop)
        elif way == "limit":
            while not isinstance(dbg.run(instructions=3, timeout=50), HaltedStop):
                pass
        else:
            dbg.trace_instructions()
            assert isinstance(dbg.run(timeout=50), HaltedStop)
        assert (word(dbg, 0x600), dbg.regs.di, dbg.physical.read(0x6F00, 0x100)) == wanted, way


def test_a_guest_that_steps_itself_is_watched_at_its_handlers(kvm_guest: Guests) -> None:
    """The table of handlers, which lies at 0 here, is guarded for that."""
    alone, dbg = kvm_guest(asm=OWN), kvm_guest(asm=OWN)
    assert isinstance(alone.run(timeout=50), HaltedStop)
    seen: list[int] = []
    dbg.on.exception()(lambda event: seen.append(event.pc))
    assert isinstance(dbg.run(exits=1000, timeout=50), HaltedStop)
    assert word(dbg, 0x600) == word(alone, 0x600) == len(seen)
    assert dbg.regs.snapshot() == alone.regs.snapshot()


def test_a_step_into_a_handler_whose_frame_is_watched(kvm_guest: Guests) -> None:
    """The watchpoint is told before the trap at the entry: EFLAGS.TF of the step's is taken out of the frame there."""
    dbg = kvm_guest(asm=FAULT.replace("fault: ud2", "fault: int 6\n    nop"))
    dbg.break_at("fault", temporary=True)
    assert isinstance(dbg.run(timeout=50), BreakpointStop)
    dbg.watch(0x6FFA, 6, when="0")
    dbg.step()
    assert dbg.regs.ip == dbg.symbols["handler"]
    assert word(dbg, 0x6FFE) & 0x100 == 0


def test_steps_run_nothing_but_the_guests_own_way(kvm_guest: Guests) -> None:
    """What lies at 0xfff0, where a reset's ip points, is no code of this guest's."""
    dbg = kvm_guest(asm=OWN)
    dbg.physical.write(0xFFF0, bytes.fromhex("fe060006 ebfe"))  # inc byte ptr [0x600]; jmp to itself
    for _ in range(5):
        dbg.step()
    assert word(dbg, 0x600) == 0


def test_a_step_shows_the_flag_and_brings_the_trap(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=OWN)
    dbg.break_at("here", temporary=True)
    assert isinstance(dbg.run(timeout=50), BreakpointStop)
    assert dbg.regs.eflags & 0x100
    before = word(dbg, 0x600)
    dbg.step()
    assert (dbg.regs.ip, dbg.regs.eflags & 0x100) == (dbg.symbols["here"] + 2, 0x100)
    dbg.step()
    assert (dbg.regs.ip, dbg.regs.eflags & 0x100) == (dbg.symbols["debug"], 0)
    dbg.step()
    assert word(dbg, 0x600) == before + 1


def test_a_snapshot_holds_the_flag_and_the_trap_that_waits(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=OWN)
    dbg.break_at("here", temporary=True)
    dbg.run(timeout=50)
    dbg.step()
    dbg.snapshots.save("waiting")
    ends = []
    for _ in range(2):
        assert isinstance(dbg.run(timeout=50), HaltedStop)
        ends.append((word(dbg, 0x600), dbg.regs.di))
        dbg.snapshots.restore("waiting")
    assert ends[0] == ends[1]


TRAPPED = """
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov bx, 0xd000
    mov es, bx
    mov word ptr [4], offset debug
    mov word ptr [6], ax
    mov word ptr [0x80], offset interrupt
    mov word ptr [0x82], ax
    mov si, 0x3000
    mov di, 0x4000
    mov bx, 0
    mov dx, 0x80
    pushf
    pop cx
    or cx, 0x100
    push cx
    mov cx, 3
    popf
here:
    {instructions}
    mov bp, [0x600]
    pushf
    pop dx
    and dx, 0xfeff
    push dx
    popf
    hlt
debug:
    inc word ptr [0x600]
    iret
interrupt:
    iret
"""


@pytest.mark.parametrize(
    "instructions",
    [
        "int 0x20",
        "into",
        "push ds; pop es; rep movsb",
        "push ds; pop es; mov sp, 0x4f00; rep movsb; mov sp, 0x7000",
        "push ds; pop es; rep stosw",
        "push ds; pop es; movsw",
        "lfence; nop; mfence; pushf; pop ax",
        "lfence; int 0x20",
        "lfence; lfence; inc dx; lfence",
        "mov eax, 3; mov dr6, eax; nop; mov eax, dr6",
        "sgdt [si]; sidt [si]; smsw ax; smsw [si]; invlpg [si]; clflush [si]",
        "cmpxchg8b [si]; fxsave [si]; fxrstor [si]; nop word ptr [si]; prefetchw [si]",
    ],
)
def test_a_guest_that_steps_itself_over_other_instructions(kvm_guest: Guests, instructions: str) -> None:
    """As many #DBs as alone, at the same places: stepped, with breakpoints, and with the data's page guarded."""
    text = TRAPPED.format(instructions=instructions.replace("; ", "\n"))
    alone = kvm_guest(asm=text)
    assert isinstance(alone.run(timeout=50), HaltedStop)
    wanted = alone.regs.snapshot(), word(alone, 0x600), alone.physical.read(0x3000, 0x4000)
    for way in ("step", "breakpoints", "write", "read", "access", "step, guarded"):
        dbg = kvm_guest(asm=text)
        if way.startswith("step"):
            if "guarded" in way:
                dbg.watch(0x4080, 4, when="0")
            while isinstance(dbg.step(), StepStop):
                pass
        elif way == "breakpoints":
            for place in ("here", "interrupt", "debug"):
                dbg.break_at(place, when="0")
            assert isinstance(dbg.run(timeout=50), HaltedStop)
        else:
            dbg.watch(0x4080, 4, way)
            assert isinstance(dbg.run(timeout=50), HaltedStop)
        assert (dbg.regs.snapshot(), word(dbg, 0x600), dbg.physical.read(0x3000, 0x4000)) == wanted, way


@pytest.mark.parametrize(
    "instructions",
    [
        "out dx, al",
        "outsb",
        "rep outsb",
        "stosb",
        "rep stosb",
        "es; add byte ptr [0], 1",
        "insb",
        "es; lodsb",
        "in al, dx",
    ],
)
def test_a_guest_that_steps_itself_over_an_access_to_a_device(kvm_guest: Guests, instructions: str) -> None:
    """A KVM that emulates all code forgets the #DB behind some: so it does where the debugger steps."""
    text = TRAPPED.format(instructions=instructions.replace("; ", "\n"))
    alone, dbg, passing = (kvm_guest(asm=text, memory="512K") for _ in range(3))
    assert isinstance(alone.run(timeout=50), HaltedStop)
    while isinstance(dbg.step(), StepStop):
        pass
    passing.break_at("here", when="0")
    assert isinstance(passing.run(timeout=50), HaltedStop)
    for other in (dbg, passing):
        assert (other.regs.snapshot(), word(other, 0x600)) == (alone.regs.snapshot(), word(alone, 0x600))


def test_a_return_that_sets_the_resume_flag(kvm_guest: Guests) -> None:
    """It is in the frame of what the next instruction raises, stepped or not; but an emulated CPU that keeps it for as
    long as it likes may clear it where a step ends."""
    body = """
        mov rbx, rsp
        push 0x10
        push rbx
        push 0x10002
        push 8
        lea rax, [rip + there]
        push rax
        iretq
    there: int3
        nop
        hlt
    """
    text = with_handler(3, body, "nop")
    frames = []
    for way in ("alone", "step", "breakpoint"):
        dbg = kvm_guest(asm=text, mode="long")
        if way == "breakpoint":
            dbg.break_at("there", when="0")
        while isinstance(dbg.step() if way == "step" else dbg.run(timeout=50), StepStop):
            pass
        assert isinstance(dbg.last_stop, HaltedStop)
        frame = bytearray(dbg.physical.read(0x6F00, 0x100))
        if keeps_resume_flag():
            frame[0xEA] &= 0xFE
        frames.append((frame, dbg.regs.snapshot()))
    assert frames[1:] == frames[:1] * 2


# What KVM completes by itself or leaves the guest for, and what else is special about a step.
KINDS = {
    "nop": "90",
    "out": "e680",
    "in": "e464",
    "rdmsr": "b9800000c0 0f32",
    "wrmsr": "b9800000c0 0f32 0f30",
    "cpuid": "31c0 0fa2",
    "mov cr0": "0f20c0 0f22c0",
    "mov dr7": "0f21f8 0f23f8",
    "mmio write": "c605000000d041",
    "rep outsb": "be00200000 b903000000 ba80000000 f36e",
    "invlpg": "0f013d00400000",
    "pushf popf": "9c 9d",
    "mov ss": "8cd0 8ed0",
    "sti": "fb fa",
    "hlt": "f4",
}


@pytest.mark.parametrize("code", KINDS.values(), ids=list(KINDS))
def test_a_free_run_after_a_step(kvm_guest: Guests, tmp_path_factory: pytest.TempPathFactory, code: str) -> None:
    """The step's trap does not wait in the CPU for the run, nor for a state that is put back."""
    body = bytes.fromhex(code)
    path = tmp_path_factory.mktemp("guest") / "guest.bin"
    path.write_bytes(bytes.fromhex("bc00700000") + body + bytes.fromhex("90 9c 58 90 f4"))
    ends = []
    for steps in (False, True):
        dbg = kvm_guest(path, mode="prot", load=0x1000)
        dbg.snapshots.save("start")
        for _ in range(2):
            if steps:
                while dbg.regs.rip < 0x1005 + len(body) and dbg.step().reason in ("step", "halted"):
                    pass
            stop = dbg.run(timeout=50)
            if code == KINDS["hlt"] and not steps:
                stop = dbg.run(timeout=50)
            ends.append((stop.reason, dbg.regs.rip, dbg.regs.rax & 0x8D5))
            while steps and dbg.step().reason == "step" and dbg.regs.rip < 0x1005:
                pass
            dbg.snapshots.restore("start")
    assert len(set(ends)) == 1, ends


FLAGS_FROM_A_DEVICE = """
    xor ax, ax
    mov ds, ax
    mov word ptr [4], offset debug
    mov [6], ax
    mov bx, 0xa000
    mov ss, bx
    mov sp, 0x7000
    popf
    mov ss, ax
    mov cx, 3
    nop
    hlt
debug:
    inc word ptr [0x600]
    push bp
    mov bp, sp
    and byte ptr [bp + 7], 0xfe
    pop bp
    iret
"""


def test_flags_that_a_device_gives(kvm_guest: Guests) -> None:
    """There is no memory at 0xa7000: popf reads ones there, TF among them, and the guest sets another stack at once."""
    alone = kvm_guest(asm=FLAGS_FROM_A_DEVICE, memory="512K")
    assert isinstance(alone.run(timeout=50), HaltedStop)
    assert word(alone, 0x600) == 1
    dbg = kvm_guest(asm=FLAGS_FROM_A_DEVICE, memory="512K")
    while isinstance(stop := dbg.step(), StepStop):
        pass
    assert isinstance(stop, HaltedStop), stop.describe()
    assert (word(dbg, 0x600), dbg.regs.cx) == (1, 3)


SOFTWARE_INTERRUPT = """
.code64
    lidt [idtr]
    mov rsp, 0x7000
    pushf
    or qword ptr [rsp], 0x100
    popf
    int 0x20
    hlt
handler:
    iretq
.balign 16
idtr: .word 0x20f
    .quad idt
idt: .skip 16
    .word handler, 8, 0x8e00, 0, 0, 0, 0, 0
    .skip 30 * 16
    .word handler, 8, 0x8e00, 0, 0, 0, 0, 0
"""


def test_the_guests_own_flag_where_an_instruction_is_not_done(kvm_guest: Guests) -> None:
    """A KVM in software does no int in 64-bit mode: it is told there, with the guest's registers."""
    alone = kvm_guest(asm=SOFTWARE_INTERRUPT, mode="long")
    wanted = alone.run(timeout=50)
    dbg = kvm_guest(asm=SOFTWARE_INTERRUPT, mode="long")
    while isinstance(stop := dbg.step(), StepStop):
        pass
    assert stop == wanted and dbg.regs.snapshot() == alone.regs.snapshot()


FAULTS = """
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [0x18], offset undefined
    mov word ptr [0x1a], ax
    pushf
    pop cx
    or cx, 0x100
    push cx
    popf
    .byte 0x0f, 0x01, 0xd1
    hlt
undefined:
    mov bp, sp
    mov bx, [bp + 4]
    hlt
"""


def test_the_guests_own_flag_in_the_frame_of_an_undefined_instruction(kvm_guest: Guests) -> None:
    """XSETBV without CR4.OSXSAVE, which a KVM in software leaves to the CPU."""
    alone = kvm_guest(asm=FAULTS)
    assert isinstance(alone.run(timeout=50), HaltedStop) and alone.regs.bx & 0x100
    dbg = kvm_guest(asm=FAULTS)
    while isinstance(dbg.step(), StepStop):
        pass
    assert dbg.regs.snapshot() == alone.regs.snapshot()


def test_a_guest_that_steps_itself_over_int1(kvm_guest: Guests) -> None:
    """QEMU's SVM loses int1 and the instruction behind it, debugger or not: there the guest ends in neither way."""
    text = TRAPPED.format(instructions="int1\nnop")
    alone, dbg = kvm_guest(asm=text), kvm_guest(asm=text)
    ends = isinstance(alone.run(timeout=2 * TIME_SCALE), HaltedStop)
    stop = dbg.step()
    for _ in range(200):
        if isinstance(stop, StepStop):
            stop = dbg.step()
    assert isinstance(stop, HaltedStop) == ends, stop.describe()
    if ends:
        assert (dbg.regs.snapshot(), word(dbg, 0x600)) == (alone.regs.snapshot(), word(alone, 0x600))
