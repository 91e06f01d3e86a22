"""Hooks and catchpoints on everything a guest may do, with guests of a few instructions."""

from __future__ import annotations

import pytest

import kvmdbg
from kvmdbg import SWALLOW, Stop
from kvmdbg.engine import stops
from kvmdbg.engine.hook_calls import Event
from kvmdbg.errors import NotSupportedHere, UsageError
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

PORTS = """
    mov al, 1
    out 0x10, al
    mov dx, 0x3f9
    mov ax, 0x1234
first:
    out dx, ax
    in al, 0x60
    mov bl, al
    in al, 0x62
    mov bh, al
done: hlt
"""


def test_out_is_seen_with_its_place(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)
    seen: list[tuple[int, int, int, int]] = []

    @dbg.on.io_out(port=range(0x3F8, 0x400))
    def uart(event: Event) -> None:
        seen.append((event.port, event.size, event.value, event.pc))

    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert seen == [(0x3F9, 2, 0x1234, dbg.symbols["first"])]
    assert dbg.hooks["uart"].hits == 1


def test_the_place_of_each_out_in_a_row(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="one: out 0x80, al\ntwo: out 0x80, al\nthree: out dx, al\nfour: out dx, eax\nhlt")
    places: list[int] = []
    dbg.regs.dx = 0x80
    dbg.on.io_out(0x80)(lambda event: places.append(event.pc))
    dbg.run()
    assert places == [dbg.symbols[name] for name in ("one", "two", "three", "four")]


def test_a_hook_answers_a_read(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)

    @dbg.on.io_in(0x60, when="before")
    def scancode(event: Event) -> int:
        assert event.value is None
        return 0x1C

    after: list[int] = []
    dbg.on.io_in(0x60, name="after")(lambda event: after.append(event.value))
    dbg.run()
    assert (dbg.regs.bl, dbg.regs.bh) == (0x1C, 0xFF)
    assert after == [0x1C]


@pytest.mark.parametrize("when", ["before", "after"])
def test_registers_that_a_hook_writes_do_not_cost_the_read(kvm_guest: Guests, when: str) -> None:
    dbg = kvm_guest(asm=PORTS)

    @dbg.on.io_in(0x60, when=when)
    def note(event: Event) -> None:
        event.regs.rsi = 7
        event.regs.ah = 0x55
        assert (event.regs.rsi, event.regs.ah) == (7, 0x55)

    dbg.press("a")
    dbg.run()
    assert (dbg.regs.bl, dbg.regs.bh, dbg.regs.rsi, dbg.regs.ah) == (0x1E, 0xFF, 7, 0x55)


def test_a_hook_sends_the_guest_elsewhere_from_a_read(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)
    dbg.on.io_in(0x60, name="away")(lambda event: event.regs.set("rip", dbg.symbols["done"]))
    dbg.run()
    assert (dbg.regs.rip, dbg.regs.bx) == (dbg.symbols["done"] + 1, 0)


def test_a_hook_replaces_or_swallows_what_is_written(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov dx, 0x3f8; mov al, 'a'; out dx, al; mov al, 'b'; out dx, al; mov al, 'c'; out dx, al; hlt")

    @dbg.on.io_out(0x3F8, when="before", value=range(ord("a"), ord("c")))
    def upper(event: Event) -> object:
        return ord("A") if event.value == ord("a") else SWALLOW

    dbg.run()
    assert dbg.output == b"Ac"


def test_each_item_of_a_string_instruction_is_an_access(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm='mov si, offset text; mov cx, 5; mov dx, 0x3f8; rep outsb; hlt\ntext: .ascii "hello"')
    dbg.on.io_out(0x3F8, when="before")(lambda event: event.value - 32)
    dbg.run()
    assert dbg.output == b"HELLO"


def test_a_hook_stops_the_guest_behind_the_instruction(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)

    @dbg.on.io_out(0x10)
    def post(event: Event) -> Stop:
        return Stop(f"POST code {event.value}")

    stop = dbg.run()
    assert isinstance(stop, stops.HookStop)
    assert stop.message == "post: POST code 1"
    assert stop.pc == 0x1004
    assert stop.to_json()["stop"] == "hook"
    assert isinstance(dbg.run(), stops.HaltedStop)


def test_a_hook_that_fails_says_where_and_is_disabled(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)

    @dbg.on.io_out(0x10)
    def broken(event: Event) -> None:
        raise ValueError("no such code")

    stop = dbg.run()
    assert isinstance(stop, stops.HookStop)
    assert "hook broken failed and is now disabled: ValueError: no such code (in broken, " in stop.message
    assert __file__ in stop.message
    assert not dbg.hooks["broken"].enabled
    assert isinstance(dbg.run(), stops.HaltedStop)


def test_an_answer_after_the_fact_is_a_mistake(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)
    dbg.on.io_in(0x60)(lambda event: 5)
    stop = dbg.run()
    assert "returned 5, but it is called after the fact" in stop.describe()


def test_hooks_are_listed_disabled_and_removed(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)
    seen: list[int] = []

    def count(event: Event) -> None:
        seen.append(event.port)

    dbg.on.io_out()(count)
    dbg.on.io_out(0x10)(count)
    assert [hook.name for hook in dbg.hooks] == ["count", "count-2"]
    dbg.hooks["count"].enabled = False
    dbg.run()
    assert seen == [0x10]
    dbg.hooks.remove("count-2")
    dbg.hooks.remove("count")
    assert len(dbg.hooks) == len(dbg.breakpoints) == 0
    with pytest.raises(UsageError, match="there is no hook 'count'; there are: none"):
        dbg.hooks["count"]


def test_filters_by_mode_and_pc_and_conditions(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)
    first = dbg.symbols["first"]
    seen: list[str] = []
    dbg.on.io_out(mode="long")(lambda event: seen.append("long"))
    dbg.on.io_out(mode="real", pc=first)(lambda event: seen.append("real"))
    dbg.on.io_out(condition="$value == 0x1234 && $ax == 0x1234")(lambda event: seen.append("condition"))
    dbg.on.io_out(size=lambda size: size == 1)(lambda event: seen.append("size"))
    dbg.run()
    assert sorted(seen) == ["condition", "real", "size"]


MMIO = """
    mov eax, [0xd0000000]
    mov [0xd0000008], eax
    hlt
"""


def test_mmio(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=MMIO, mode="prot", memory="2M")
    writes: list[tuple[int, int, int, int]] = []
    dbg.on.mmio_read(range(0xD0000000, 0xD0001000), when="before")(lambda event: 0xCAFE)
    dbg.on.mmio_write()(lambda event: writes.append((event.address, event.size, event.value, event.pc)))
    dbg.run()
    assert dbg.regs.eax == 0xCAFE
    assert writes == [(0xD0000008, 4, 0xCAFE, 0x1005)]


def test_insn_memory_hlt_exit_and_stop(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov byte ptr [0x5002], 7\nhere: nop\nhlt")
    seen: list[object] = []
    dbg.on.insn("here")(lambda event: seen.append(("insn", event.address, event.regs.rip)))
    dbg.on.memory(range(0x5000, 0x5010))(
        lambda event: seen.append(("memory", event.access, event.address, event.size, event.value))
    )
    dbg.on.hlt()(lambda event: seen.append(("hlt", event.pc)))
    dbg.on.stop()(lambda stop: seen.append(stop.reason))
    here = dbg.symbols["here"]
    dbg.run()
    assert seen == [("memory", "write", 0x5002, 1, 7), ("insn", here, here), ("hlt", here + 1), "halted"]


MSRS = """
    mov ecx, 0x10
    mov eax, 5
    xor edx, edx
    wrmsr
    mov ecx, 0x174
    mov eax, 0x77
    wrmsr
    rdmsr
    mov ebx, eax
    mov ecx, 0x10
    rdmsr
    hlt
"""


def test_msrs_that_are_wanted_exit_and_no_others(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=MSRS, mode="prot")
    seen: list[tuple[str, int, int]] = []
    dbg.on.msr_write(0x174)(lambda event: seen.append(("write", event.index, event.value)))
    dbg.on.msr_read(0x174)(lambda event: seen.append(("read", event.index, event.value)))
    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert seen == [("write", 0x174, 0x77), ("read", 0x174, 0x77)]
    assert dbg.regs.ebx == 0x77
    assert dbg.exits.by_reason == {"msr_write": 1, "msr_read": 1, "hlt": 1}
    for hook in list(dbg.hooks):
        dbg.hooks.remove(hook.name)
    dbg.regs.rip = 0x1000
    dbg.run()
    assert dbg.exits.by_reason == {"msr_write": 1, "msr_read": 1, "hlt": 2}


def test_a_hook_answers_an_msr_that_no_cpu_has(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov ecx, 0x4b564d99; rdmsr; wrmsr; hlt", mode="prot")
    dbg.on.msr_read(0x4B564D99, when="before")(lambda event: 0x1_0000_0002)
    dbg.on.msr_write(0x4B564D99, when="before")(lambda event: SWALLOW)
    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert (dbg.regs.eax, dbg.regs.edx) == (2, 1)


def test_all_msrs(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=MSRS, mode="prot")
    point = dbg.catch("msr")
    stop = dbg.run()
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert stop.hits == (point,)
    assert stop.exit.to_json() | {"reason": 0} == {"kind": "msr_write", "index": 0x10, "reason": 0, "value": 5}
    assert stop.pc == dbg.runner.pc
    assert dbg.regs.rip == 0x100E


def test_x2apic_msrs_are_refused(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt")
    with pytest.raises(NotSupportedHere, match="0x802"):
        dbg.catch("msr", index=0x802)


def test_cpuid_and_hypercall_are_answered(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov eax, 0x40000000; cpuid; mov esi, ebx; mov eax, 0x99; mov ebx, 3; .byte 0x0f, 1, 0xc1; hlt")
    dbg.on.cpuid(0x40000000, when="before")(lambda event: (1, 0x6D766B, 3, 4))
    calls: list[tuple[int, int]] = []

    @dbg.on.hypercall(when="before")
    def service(event: Event) -> int:
        calls.append((event.nr, event.args[0]))
        return 0x55

    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert (dbg.regs.esi, dbg.regs.eax) == (0x6D766B, 0x55)
    assert calls == [(0x99, 3)]


def test_a_mode_change_is_caught_where_it_happens(kvm_guest: Guests) -> None:
    dbg = kvm_guest(
        asm="""
        lgdt gdtr
        mov eax, cr0
        or al, 1
        mov cr0, eax
        .byte 0x66, 0xea
        .long wide
        .word 8
        .code32
    wide: hlt
    gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
    gdtr: .word 23
        .long gdt
        """
    )
    changes: list[tuple[str, str]] = []
    dbg.on.mode_change(name="changes")(lambda event: changes.append((event.old, event.new)))
    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert changes == [("real", "prot16"), ("prot16", "prot32")]


def test_a_caught_mode_change_stops(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov eax, cr0; or al, 1; mov cr0, eax\nhere: hlt")
    dbg.catch("mode", new="prot16")
    stop = dbg.run()
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert (stop.pc, stop.describe()) == (dbg.symbols["here"], "catchpoint 1: mode real -> prot16")


IVT = """
    xor ax, ax
    mov ds, ax
    mov word ptr [6 * 4], offset handler
    mov word ptr [6 * 4 + 2], ax
    mov word ptr [0x20 * 4], offset other
    mov word ptr [0x20 * 4 + 2], ax
    mov sp, 0x8000
    nop
bad: ud2
back: int 0x20
behind: hlt
handler:
    pop bx
    add bx, 2
    push bx
    iret
other:
    iret
"""


def test_an_exception_in_real_mode_with_a_handler_that_is_set_while_the_guest_runs(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=IVT)
    seen: list[tuple[str, int, int]] = []
    dbg.on.exception(6)(lambda event: seen.append((event.kind, event.vector, event.ip)))
    dbg.on.interrupt(0x20)(lambda event: seen.append((event.kind, event.vector, event.ip)))
    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    symbols = dbg.symbols
    assert seen == [("exception", 6, symbols["bad"]), ("interrupt", 0x20, symbols["behind"])]


def test_a_caught_exception_stops_at_its_handler(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=IVT)
    dbg.catch("exception")
    stop = dbg.run()
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert stop.pc == dbg.symbols["handler"]
    assert f"exception 6 (#UD) at {dbg.symbols['bad']:#x}" in stop.describe()
    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()


LONG = """
    lea rax, [rip + handler]
    lea rdi, [rip + idt + 14 * 16]
    mov [rdi], ax
    mov word ptr [rdi + 2], cs
    mov word ptr [rdi + 4], 0x8e00
    shr rax, 16
    mov [rdi + 6], ax
    lidt [rip + idtr]
    mov rax, 0x7fffdead0000
bad: mov byte ptr [rax], 1
after: hlt
handler:
    add rsp, 8
    add qword ptr [rsp], 3
    iretq
    .align 16
idt: .skip 32 * 16
idtr: .word 32 * 16 - 1
    .quad idt
"""


def test_a_page_fault_in_long_mode_after_lidt(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=LONG, mode="long")
    dbg.catch("exception", vector=14)
    stop = dbg.run()
    lidt = dbg.symbols["bad"] - 17
    assert list(dbg.guest.vectors.sure.values()) == [(lidt, lidt)]
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert stop.exit.to_json() == {
        "kind": "exception", "vector": 14, "ip": dbg.symbols["bad"], "others": (), "error_code": 2,
        "address": 0x7FFFDEAD0000,
    }  # fmt: skip
    assert stop.pc == dbg.symbols["handler"]
    stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()


def test_a_session_says_what_there_is_to_catch(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt")
    with pytest.raises(UsageError, match=r"no exit kind 'nonsense'; there are: any, msr, .*exception.*mmio.*mode"):
        dbg.catch("nonsense")
    assert kvmdbg.Stop("x").reason == "x"


def test_handle_shows_without_a_stop(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PORTS)
    shown: list[str] = []
    from kvmdbg.commands.interpreter import Interpreter

    interpreter = Interpreter(dbg)
    interpreter.user.on_event = lambda result: shown.append(result.plain())

    def typed(line: str) -> str:
        return "\n".join(result.plain() for result in interpreter.execute(line))

    assert typed("catch io") == "Catchpoint 1: any port."
    assert typed("handle io 0x10 nostop print") == "io 0x10: nostop, print, pass (catchpoint 2)."
    assert typed("handle io 0x60 nostop nopass") == "io 0x60: nostop, noprint, nopass (catchpoint 3)."
    assert "Catchpoint 1: out port 0x3f9, 2 bytes, data 0x1234" in typed("run")
    assert shown == ["out port 0x10, 1 byte, data 0x01"]
    assert "in port 0x62" in typed("continue")
    assert dbg.regs.bl == 0xFF
    assert "nostop, print" in typed("info breakpoints")
    typed("handle io 0x60 print stop")
    assert dbg.breakpoints.get(3).stops
    assert not dbg.breakpoints.get(3).passes


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("handle io 0x80", "handle: say what is to be done"),
        ("handle mode nopass", "handle: mode cannot be kept from anything"),
        ("handle hlt 3 nostop", "handle: exits of kind hlt have nothing to be chosen by"),
        ("handle io 0x80 stop nothing", "'nothing' is none of stop, nostop"),
        ("catch msr 0x803", "KVM does not exit for MSR 0x803"),
        ("tcatch nonsense", "'nonsense' is none of any, msr"),
    ],
)
def test_mistakes(kvm_guest: Guests, line: str, sentence: str) -> None:
    from kvmdbg.commands.interpreter import Interpreter

    interpreter = Interpreter(kvm_guest(asm="hlt"))
    with pytest.raises(kvmdbg.KvmdbgError) as caught:
        list(interpreter.execute(line))
    assert sentence in str(caught.value)
    assert len(interpreter.session.breakpoints) == 0


def test_a_temporary_catchpoint(kvm_guest: Guests) -> None:
    from kvmdbg.commands.interpreter import Interpreter

    dbg = kvm_guest(asm=PORTS)
    interpreter = Interpreter(dbg)
    assert [r.plain() for r in interpreter.execute("tcatch io in 0x60,2")] == [
        "Temporary catchpoint 1: port 0x60 to 0x61 in."
    ]
    assert isinstance(dbg.run(), stops.CaughtStop)
    assert len(dbg.breakpoints) == 0
    assert isinstance(dbg.run(), stops.HaltedStop)


def test_the_end_can_be_hooked(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="out 0x99, al; ud2", mode="prot")
    seen: list[str] = []
    dbg.on.shutdown()(lambda event: seen.append(f"shutdown {event.when}"))
    dbg.on.exit("any")(lambda event: seen.append(event.kind))
    stop = dbg.run()
    assert isinstance(stop, stops.ShutdownStop), stop.describe()
    assert seen == ["io", "shutdown after", "shutdown"]


def test_an_instruction_that_kvm_cannot_run_can_be_hooked(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov eax, 0xd0000000\nbad: cmpxchg16b [rax]\nhlt", mode="long")
    table = dbg.translate(0).entries[1].table
    dbg.physical.write(table + 3 * 8, (0xC0000083).to_bytes(8, "little"))  # 1 GiB at 3 GiB, where no memory is
    seen: list[int] = []
    dbg.on.emulation_failure()(lambda event: seen.append(event.pc))
    stop = dbg.run(timeout=20)
    if isinstance(stop, stops.EmulationFailureStop):
        assert seen == [dbg.symbols["bad"]]
    else:  # a KVM that can, or one without pages of 1 GiB
        assert seen == []


def test_an_ignore_count_and_commands_of_a_catchpoint(kvm_guest: Guests) -> None:
    from kvmdbg.commands.interpreter import Interpreter

    dbg = kvm_guest(asm="mov cx, 5\nagain: out 0x99, al\nloop again\nhlt")
    interpreter = Interpreter(dbg)
    lines = iter(["silent", "print $cx", "end"])
    list(interpreter.execute("catch io 0x99"))
    list(interpreter.execute("ignore 1 3"))
    list(interpreter.execute("commands 1", lambda: next(lines)))
    assert [result.plain() for result in interpreter.execute("run")] == ["$1 = 2"]
