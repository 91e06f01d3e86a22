"""Single steps that hardware or KVM makes hard: events, flags, failures."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import EmulationFailureStop, HaltedStop, ShutdownStop, StepStop, Stop
from tests.core.conftest import Boot
from tests.core.test_breakpoints_kvm import gate64

pytestmark = pytest.mark.kvm


def handler(dbg, vector: int, code: bytes = b"\x43\xcf") -> None:  # type: ignore[no-untyped-def]
    """A real-mode handler at 0x2000: inc bx; iret."""
    dbg.physical.write(vector * 4, bytes.fromhex("00200000"))
    dbg.physical.write(0x2000, code)


def test_into_a_software_interrupt_and_back(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("90 cd20 40 f4"), registers={"rsp": 0x8000})
    handler(dbg, 0x20)
    assert [dbg.step().pc for _ in range(5)] == [0x1001, 0x2000, 0x2001, 0x1003, 0x1004]
    assert (dbg.regs.ax, dbg.regs.bx) == (1, 1)
    assert dbg.regs.rflags & 0x100 == 0


def test_into_an_exception(boot: Boot) -> None:
    """Division by zero: the next step is at the handler's entry."""
    dbg = boot(bytes.fromhex("31c9 f7f1 40 f4"), registers={"rsp": 0x8000})  # xor cx, cx; div cx
    handler(dbg, 0, bytes.fromhex("b90100 cf"))  # mov cx, 1; iret
    assert [dbg.step().pc for _ in range(5)] == [0x1002, 0x2000, 0x2003, 0x1002, 0x1004]


@pytest.mark.parametrize("entry", [0x2000, 0x1002], ids=["of a handler", "of plain code"])
def test_an_instruction_within_which_a_handler_begins(boot: Boot, entry: int) -> None:
    dbg = boot(bytes.fromhex("0f0b 2eff065a60 f4"), registers={"rsp": 0x8000})  # ud2; inc word ptr cs:[0x605a]
    handler(dbg, 6, bytes.fromhex("2eff065a60 f4"))
    places = {vector: 0x3000 + vector for vector in range(32)} | {6: entry, 11: entry + 2}
    for vector, place in places.items():  # more than there are debug registers
        dbg.physical.write(vector * 4, place.to_bytes(4, "little"))
    assert [dbg.step().pc for _ in range(3)] == [entry, entry + 5, entry + 6]
    assert (dbg.physical.read(0x605A, 2), dbg.regs.sp) == (b"\1\0", 0x7FFA)


def test_into_an_exception_in_long_mode(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("90 0f0b 90 f4"), 64)  # nop; ud2
    dbg.regs.set("idtr_base", 0x8000)
    dbg.regs.set("idtr_limit", 0xFFF)
    dbg.physical.write(0x8000 + 6 * 16, gate64(0x2000))
    # handler: add qword [rsp], 2; iretq
    dbg.physical.write(0x2000, bytes.fromhex("4883042402 48cf"))
    found = []
    for _ in range(8):
        stop = dbg.step()
        found.append(stop.pc)
        if isinstance(stop, HaltedStop):
            break
    assert found == [0x1001, 0x2000, 0x2005, 0x1003, 0x1004, 0x1005]


def test_a_step_over_iret_leaves_its_frame(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("48cf 90 f4"), 64, registers={"rsp": 0x8000})
    frame = b"".join(value.to_bytes(8, "little") for value in (0x1002, 8, 0x10002, 0x9000, 0x10))
    dbg.physical.write(0x8000, frame)
    assert dbg.step().pc == 0x1002
    assert dbg.physical.read(0x8000, 40) == frame


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_step_leaves_no_trap_flag_behind(boot: Boot, bits: int) -> None:
    dbg = boot(b"\x9c\x58\x90\xf4", bits, registers={"rsp": 0x8000})  # pushf; pop ax; nop; hlt
    dbg.step()
    assert dbg.memory.read(dbg.vcpu.stack, 2)[1] & 1 == 0
    dbg.step()
    assert dbg.regs.ax & 0x100 == 0
    dbg.step()
    assert isinstance(dbg.run(timeout=20), HaltedStop)


def test_the_frame_of_an_interrupt_has_no_trap_flag(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("cd20 90 f4"), registers={"rsp": 0x8000})
    handler(dbg, 0x20)
    assert dbg.step().pc == 0x2000
    assert dbg.physical.read(0x7FFE, 2)[1] & 1 == 0
    assert isinstance(dbg.run(timeout=20), HaltedStop)


def test_a_jump_to_itself_is_a_step(boot: Boot) -> None:
    dbg = boot(b"\xeb\xfe")
    for _ in range(5):
        stop = dbg.step()
        assert isinstance(stop, StepStop)
        assert stop.pc == 0x1000


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_each_step_makes_progress(boot: Boot, bits: int) -> None:
    """Also where the instruction touches a page for the first time."""
    # mov [rdi or bx], eax twice on fresh pages, between nops
    dbg = boot(bytes.fromhex("90 8907 90 8807 90 f4"), bits, registers={"rdi": 0x3000, "rbx": 0x3000})
    assert [dbg.step().pc for _ in range(5)] == [0x1001, 0x1003, 0x1004, 0x1006, 0x1007]


def test_an_instruction_that_kvm_cannot_run_is_named(boot: Boot) -> None:
    """popcnt: hardware runs it; a KVM that emulates says which instruction it was."""
    dbg = boot(bytes.fromhex("90 f30fb8c3 f4"), 32, registers={"rbx": 0xFF})
    stop = dbg.run(timeout=20)
    if isinstance(stop, EmulationFailureStop):
        assert stop.pc == 0x1001
        assert stop.instruction == bytes.fromhex("f30fb8c3")
        assert "popcnt" in stop.text
        assert "0x1001" in stop.describe()
    else:
        assert isinstance(stop, HaltedStop)
        assert dbg.regs.eax == 8


LOSES_TRAP_FLAG = {
    "popf": ("9c 9d 90 90 40 40 f4", 16, {}),  # pushf; popf; nop; nop; inc ax; inc ax; hlt
    "device in user space": ("a3000000d0 90 90 40 40 40 f4", 32, {}),  # mov [0xd0000000], eax; …
    "device in the kernel": ("a18000e0fe 90 90 40 40 40 f4", 32, {"cpus": 2}),  # mov eax, [0xfee00080]; …
}


@pytest.mark.parametrize("code, bits, options", LOSES_TRAP_FLAG.values(), ids=LOSES_TRAP_FLAG)
def test_a_run_of_steps_goes_on_after(boot: Boot, code: str, bits: int, options: dict[str, int]) -> None:
    """KVM drops EFLAGS.TF when it emulates an instruction, and popf writes it."""
    dbg = boot(bytes.fromhex(code), bits, registers={"rsp": 0x8000, "rax": 0}, **options)
    stop = dbg.step(5)
    assert isinstance(stop, StepStop), stop.describe()
    assert (stop.pc, dbg.regs.eax & 0xFFFF) == (0x1000 + len(bytes.fromhex(code)) - 2, 1 if bits == 16 else 2)


@pytest.mark.parametrize("way", ["stop", "catch", "break"])
def test_no_trap_of_a_step_over_an_exit_reaches_the_guest(boot: Boot, way: str) -> None:
    # out 0x80, al; in al, 0x81; nop; inc bx; hlt; the handler of #DB at 0x1100: inc word [0x9000]; iret
    code = bytes.fromhex("e680 e481 90 43 f4")
    dbg = boot(code.ljust(0x100, b"\x90") + bytes.fromhex("ff060090 cf"))
    dbg.physical.write(4, (0x1100).to_bytes(4, "little"))
    if way == "catch":
        dbg.catch("io", port=0x80)
    if way == "break":
        dbg.break_at(0x1000)
        assert dbg.run(timeout=10).pc == 0x1000
    else:
        assert dbg.step().pc == 0x1002
    stop = dbg.run(timeout=10)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert (stop.pc, dbg.regs.bx, dbg.physical.read(0x9000, 2)) == (0x1007, 1, b"\0\0")


def test_a_step_over_pause_is_one_instruction(boot: Boot) -> None:
    """QEMU's SVM steps the next one with it."""
    dbg = boot(bytes.fromhex("f390 40 f390 f390 40 f4"))  # pause; inc ax; pause; pause; inc ax; hlt
    assert [dbg.step().pc for _ in range(5)] == [0x1002, 0x1003, 0x1005, 0x1007, 0x1008]
    assert dbg.regs.ax == 2
    point = dbg.break_at(0x1002)
    dbg.regs.pc = 0x1000
    dbg.step()
    assert point.hits == 1


def test_the_code_of_another_address_space(boot: Boot) -> None:
    """The same linear page is other code after CR3 has been written: its fence is one step, where KVM runs on."""
    dbg = boot(b"\xf4", 64, registers={"rip": 0x2000, "rbx": 0x24000})
    for top, third_page in ((0x20000, 0x3000), (0x24000, 0x5000)):
        for level in range(3):
            dbg.physical.write(top + level * 0x1000, (top + level * 0x1000 + 0x1000 | 3).to_bytes(8, "little"))
        pages = [number << 12 for number in range(512)]
        pages[3] = third_page
        dbg.physical.write(top + 0x3000, b"".join((one | 3).to_bytes(8, "little") for one in pages))
    code = {
        0x2000: "e9fb0f0000",  # jmp 0x3000
        0x3000: "90 90 90 ffc0 e906f0ffff",  # nop; nop; nop; inc eax; jmp 0x2010
        0x2010: "0f22db e9e80f0000",  # mov cr3, rbx; jmp 0x3000
        0x5000: "0faee8 ffc0 e916f0ffff",  # lfence; inc eax; jmp 0x2020
        0x2020: "90 f4",
    }
    for address, text in code.items():
        dbg.physical.write(address, bytes.fromhex(text))
    dbg.regs.cr3 = 0x20000
    record: list[bytes] = []
    stop = dbg.step(11, record)
    assert isinstance(stop, StepStop), stop.describe()
    places = [int.from_bytes(regs[128:136], "little") for regs in record]
    expected = [0x3000, 0x3001, 0x3002, 0x3003, 0x3005, 0x2010, 0x2013, 0x3000, 0x3003, 0x3005, 0x2020]
    assert [hex(place) for place in places] == [hex(place) for place in expected]


def test_steps_one_at_a_time_see_what_is_changed_between(boot: Boot) -> None:
    """Code, handlers, registers and pending events that the user changes are those of the next step."""
    dbg = boot(bytes.fromhex("90 90 cd20 90 cd20 90 90 f4"), registers={"rsp": 0x8000})
    handler(dbg, 0x20)
    assert [dbg.step().pc for _ in range(5)] == [0x1001, 0x1002, 0x2000, 0x2001, 0x1004]
    dbg.physical.write(0x20 * 4, bytes.fromhex("00300000"))
    dbg.physical.write(0x3000, bytes.fromhex("0faee8 42 cf"))  # lfence; inc dx; iret
    assert [dbg.step().pc for _ in range(5)] == [0x1005, 0x3000, 0x3003, 0x3004, 0x1007]
    dbg.physical.write(0x1007, bytes.fromhex("0faee8 43"))  # lfence; inc bx
    assert [dbg.step().pc for _ in range(2)] == [0x100A, 0x100B]
    assert (dbg.regs.bx, dbg.regs.dx) == (2, 1)
    dbg.regs.pc = 0x1001
    assert dbg.step().pc == 0x1002
    dbg.regs.dr6 |= 0x4000  # the guest's, and not the step's, to be taken back at the handler
    assert dbg.step().pc == 0x3000
    assert dbg.regs.dr6 & 0x4000


def test_a_frame_that_kills_the_guest_has_no_trap_flag(boot: Boot) -> None:
    """SS, RSP, EFLAGS and CS of the #UD go to the start of memory, for RIP there is none before it.

    Or nothing goes there: that is as the KVM at hand likes, but the same in a step.
    """

    def last_words(dbg: Session) -> tuple[Stop, bytes]:
        dbg.regs.set("idtr_base", 0x8000)
        dbg.regs.set("idtr_limit", 0xFFF)
        dbg.physical.write(0x8000 + 6 * 16, gate64(0x2000))
        stop = dbg.step() if dbg.regs.rbx else dbg.run()
        frame = bytearray(dbg.physical.read(0, 32))
        if dbg.runner.host.shutdown_resets:  # docs/limits.md
            frame[9] &= ~1
        return stop, frame

    free, stepped = (last_words(boot(bytes.fromhex("0f0b f4"), 64, registers={"rsp": 32, "rbx": n})) for n in (0, 1))
    assert isinstance(free[0], ShutdownStop)
    assert isinstance(stepped[0], ShutdownStop)
    assert free[1] == stepped[1]
