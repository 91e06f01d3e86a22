"""The x86 state in words: what a guest has set up, and what is malformed in it."""

from __future__ import annotations

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.errors import KvmdbgError, NotSupportedHere, UsageError
from kvmdbg.kvm import abi
from kvmdbg.pytest_plugin import Guests
from kvmdbg.x86.cpuid import FEATURES
from kvmdbg.x86.xsave import SSE, X87

pytestmark = pytest.mark.kvm

SYSTEM = """
    lgdt [rip + gdtr]
    lidt [rip + idtr]
    mov ax, 0x18
    ltr ax
    hlt
handler: hlt
    .balign 16
gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
    .quad 0x0000890020000067, 0
    .quad 0x00ef9b000000ffff
    .quad 0x0000860000000000, 0
gdtr: .word 63
    .quad gdt
    .balign 16
idt: .quad 0x00008e0000081008, 0
    .quad 0x00008e0000101008, 0
    .quad 0x0000850000081008, 0
    .quad 0x00000e0000081008, 0
    .quad 0x00008e0000081008, 0x00000000_80000000
    .quad 0x00008e0000081008, 0x00000000_00008000
idtr: .word 0x5f
    .quad idt
""".replace("_", "")


@pytest.fixture
def system(kvm_guest: Guests) -> Session:
    dbg = kvm_guest(asm=SYSTEM, mode="long")
    dbg.memory.write(0x2004, (0x8000).to_bytes(8, "little"))
    dbg.memory.write(0x2024, (0x9000).to_bytes(8, "little"))
    assert isinstance(dbg.run(timeout=20), stops.HaltedStop)
    return dbg


def rows(dbg: Session, line: str) -> list[dict[str, object]]:
    (result,) = Interpreter(dbg).execute(line)
    found = result.to_json()["rows"]
    assert isinstance(found, list)
    return found


def typed(dbg: Session, line: str) -> str:
    return "\n".join(result.plain(100) for result in Interpreter(dbg).execute(line))


def test_the_gdt_and_what_is_malformed_in_it(system: Session) -> None:
    found = {row["selector"]: (row["kind"], row["problems"]) for row in rows(system, "info gdt")}
    assert found[0] == ("null", [])
    assert found[8] == ("64-bit code, execute/read, DPL 0", [])
    assert found[0x18] == ("TSS (busy), DPL 0", [])
    assert found[0x28] == ("64-bit code, execute/read, DPL 0", ["L and D are both set"])
    assert found[0x30][1] == ["16-bit system type in long mode", "belongs into an IDT"]
    assert "! L and D are both set" in typed(system, "info gdt")


def test_the_idt_and_what_is_malformed_in_it(system: Session) -> None:
    found = {row["vector"]: (row["target"], row["problems"]) for row in rows(system, "info idt")}
    assert found == {
        0: (0x1008, []),
        1: (0x1008, ["selector 0x10 is no code segment"]),
        2: (0x1008, ["type 0x5 is none of a gate"]),
        3: (0x1008, ["not present"]),
        4: (0x8000000000001008, ["its address is not canonical"]),
        5: (0x0000800000001008, ["its address is not canonical"]),
    }


def test_the_tss(system: Session) -> None:
    fields = system.state_of.tss()
    assert (fields["rsp0"], fields["ist1"], fields["iomap"]) == (0x8000, 0x9000, 0)
    assert "rsp0   0x8000" in typed(system, "info tss")


def test_the_table_of_real_mode(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt\nhere: iret", firmware="none")
    dbg.physical.write(0x21 * 4, dbg.symbols["here"].to_bytes(2, "little") + b"\0\0")
    assert [(row["vector"], row["text"]) for row in rows(dbg, "info ivt")] == [(0x21, "0000:1001")]
    assert "<here>" in typed(dbg, "info idt")


def test_tables_that_are_not_there(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt", mode="long", irqchip="none")
    assert typed(dbg, "info idt").startswith("The table of handlers at")
    assert typed(dbg, "info tss") == "TR holds no TSS."
    assert typed(dbg, "info ldt") == "There is no LDT: LDTR holds a null selector."
    for what in ("pic", "ioapic", "lapic", "pit"):
        assert "--irqchip" in typed(dbg, f"info {what}")
        with pytest.raises(UsageError, match="--irqchip"):
            getattr(dbg.state_of, what)()
    sregs = type(dbg.runner.sregs).from_buffer_copy(dbg.runner.sregs)
    sregs.idt.base, sregs.idt.limit = 0x7FFF00000000, 0xFFF
    sregs.gdt.base, sregs.gdt.limit = 0x7FFF00000000, 0xFFF
    dbg.runner.set_sregs(sregs)
    for what in ("gdt", "idt"):
        with pytest.raises(KvmdbgError, match="cannot read linear address 0x7fff00000000"):
            typed(dbg, f"info {what}")


def test_control_registers_and_segments(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt", mode="long")
    assert "PE ET PG" in typed(dbg, "info cr")
    assert "long mode active" in typed(dbg, "info efer")
    assert "64-bit code, execute/read, DPL 0" in typed(dbg, "info segments")
    assert "real mode" in typed(kvm_guest(asm="hlt"), "info segments")


def test_msrs_by_name_and_number(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov ecx, 0xc0000102; rdmsr; hlt", mode="long")
    assert typed(dbg, "msr IA32_EFER") == "efer (0xc0000080) = 0x500  LME LMA"
    assert typed(dbg, "msr kernel_gs_base 0x123456789") == "kernel_gs_base (0xc0000102) = 0x123456789"
    dbg.run()
    assert (dbg.regs.eax, dbg.regs.edx) == (0x23456789, 1)
    with pytest.raises(UsageError, match="no MSR 0x4b564d99"):
        typed(dbg, "msr 0x4b564d99")
    with pytest.raises(UsageError, match="does not take"):
        typed(dbg, "msr efer 0xf0f0f0f0")


def test_the_last_instructions_as_json(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="nop\nud2", mode="long")
    dbg.run()
    (why,) = Interpreter(dbg).execute("why")
    rows = next(one for one in why.to_json()["results"] if one.get("title") == "last instructions")["rows"]
    at = dbg.resolve("_start")[0] + 1
    assert rows[-1] == {"address": at, "symbol": dbg.symbols.format(at), "text": "ud2"}


def test_the_fpu(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt", mode="long")
    runner = dbg.runner
    fpu = dbg.state_of.fpu()
    fpu.xstate_bv |= X87 | SSE
    fpu.fsw, fpu.ftwx = 7 << 11, 0x80
    for at, byte in enumerate(bytes.fromhex("0000000000000080ff3f")):  # 1.0
        fpu.fpr[0][at] = byte
    for at, byte in enumerate(bytes.fromhex("0000803f 00000040 00004040 00008040")):
        fpu.xmm[1][at] = byte
    runner.call(lambda: runner.vcpu.set_xsave(abi.kvm_xsave.from_buffer_copy(fpu)))
    assert "mxcsr  0x1f80" in typed(dbg, "info fpu")
    assert "st0       1      3fff8" in typed(dbg, "info fpu")
    assert "st1       empty" in typed(dbg, "info fpu")
    assert "{1, 2, 3, 4}" in typed(dbg, "info vectors")
    shown = typed(dbg, "info registers xmm1")
    assert shown == typed(dbg, "info xmm xmm1")
    assert {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in shown.splitlines()} == {
        "v4_float": "{1, 2, 3, 4}",
        "v2_double": "{2.0000004731118679, 512.00012254714966}",
        "v16_int8": "{0, 0, -128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, -128, 64}",
        "v8_int16": "{0, 16256, 0, 16384, 0, 16448, 0, 16512}",
        "v4_int32": "{1065353216, 1073741824, 1077936128, 1082130432}",
        "v2_int64": "{4611686019492741120, 4647714816524288000}",
        "uint128": "85735205748011485687928662073142149120",
    }
    assert typed(dbg, "output $xmm1.v4_float[1] + 0.5") == "2.5"
    assert typed(dbg, "print $xmm1").startswith("$1 = {v4_float = {1, 2, 3, 4}, v2_double = {2.00")
    assert typed(dbg, "print $1.v8_int16[1]") == "$2 = 16256"
    assert typed(dbg, "output $st0 / 3") == "0.333333333333333333342"
    typed(dbg, "set var $xmm1.v4_float[1] = 0.5")
    assert typed(dbg, "output $xmm1.v4_float") == "{1, 0.5, 3, 4}"
    typed(dbg, "set var $st3 = 1.5")
    assert typed(dbg, "output $st3 + 1") == "2.5" and "st3       1.5" in typed(dbg, "info fpu")
    with pytest.raises(UsageError, match="there is no vector register xmm16"):
        typed(dbg, "info vectors xmm16")


def test_debug_registers_and_events(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt", mode="prot")
    dbg.regs.dr1 = 0x5000
    dbg.regs.dr7 = 0x400 | 1 << 2 | 1 << 20 | 3 << 22
    row = next(row for row in typed(dbg, "info debugregs").splitlines() if row.startswith("dr1"))
    assert row.split() == ["dr1", "0x5000", "write,", "4", "bytes", "local"]
    assert "closed (EFLAGS.IF is clear)" in typed(dbg, "info events")
    runner = dbg.runner
    events = runner.call(runner.vcpu.get_events)
    events.exception.injected, events.exception.nr, events.exception.has_error_code = 1, 13, 1
    events.exception.error_code = 0x18
    runner.call(lambda: runner.vcpu.set_events(events))
    assert "13 (#GP) injected, error code 0x18" in typed(dbg, "info events")


def test_cpuid_and_hiding_features(kvm_guest: Guests) -> None:
    asm = "mov eax, 1; xor ecx, ecx; cpuid; hlt"
    plain = kvm_guest(asm=asm, mode="prot")
    plain.run()
    names = typed(plain, "info cpuid 1").split()
    hidden = 0
    for name in ("hypervisor", "x2apic", "popcnt", "tsc_deadline_timer"):
        if name not in names:
            continue
        try:
            dbg = kvm_guest(asm=asm, mode="prot", cpu=f"-{name}")
        except NotSupportedHere as error:
            assert f"does not take --cpu -{name}" in str(error)
            continue
        hidden += 1
        dbg.run()
        bit = FEATURES[name][3]
        assert (dbg.regs.ecx >> bit & 1, plain.regs.ecx >> bit & 1) == (0, 1)
        assert name not in typed(dbg, "info cpuid 1").split()
    assert hidden
    for cpu in ("avx", "-avy", "+"):
        with pytest.raises(UsageError, match="--cpu takes"):
            kvm_guest(asm=asm, mode="prot", cpu=cpu)
    with pytest.raises(UsageError, match="no leaf 0x12345678"):
        typed(plain, "info cpuid 0x12345678")


def test_interrupt_controllers(kvm_guest: Guests) -> None:
    asm = """
    mov al, 0x11; out 0x20, al
    mov al, 0x20; out 0x21, al
    mov al, 4; out 0x21, al
    mov al, 1; out 0x21, al
    mov al, 0xfb; out 0x21, al
    mov al, 0x34; out 0x43, al; mov al, 0x9c; out 0x40, al; mov al, 0x2e; out 0x40, al
    out 0x99, al
    hlt
    """
    dbg = kvm_guest(asm=asm, irqchip=True)
    dbg.catch("io", port=0x99)
    dbg.run(timeout=20)
    assert dbg.state_of.pic()["master"]["irq_base"] == 0x20
    assert "11111011" in typed(dbg, "info pic")
    assert (dbg.state_of.pit()[0]["count"], dbg.state_of.pit()[0]["mode"]) == (0x2E9C, 2)
    assert len(dbg.state_of.ioapic()) == 24
    assert "masked" in typed(dbg, "info ioapic")
    assert dbg.state_of.lapic()["version"] & 0xFF == 0x14
    assert "lvt timer" in typed(dbg, "info lapic")
