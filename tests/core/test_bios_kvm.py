"""Guests that boot and call the BIOS, on a vCPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.engine import stops

pytestmark = pytest.mark.kvm
Booted = Callable[..., Session]
PRINT = "print: lodsb; test al, al; jz 1f; mov ah, 0xe; mov bx, 7; int 0x10; jmp print; 1: ret"


def boot_sector(source: str, folder: Path, rest: bytes = b"") -> Path:
    """A boot sector of GNU assembler, with ``rest`` behind it."""
    flat, _ = from_assembly(f"{source}\n.org 510; .byte 0x55, 0xaa", folder, address=0x7C00)
    path = folder / "boot.img"
    path.write_bytes(flat.read_bytes() + rest)
    return path


@pytest.fixture
def booted(tmp_path: Path) -> Iterator[Booted]:
    """Opens a boot sector of this source."""
    sessions: list[Session] = []

    def open(source: str, rest: bytes = b"", **options: Any) -> Session:
        path = boot_sector(source, tmp_path, rest)
        dbg = kvmdbg.open(path, serial="none", symbols=[(str(tmp_path / "guest.elf"), 0)], **options)
        sessions.append(dbg)
        return dbg

    yield open
    for dbg in sessions:
        dbg.close()


def run(dbg: Session) -> stops.Stop:
    return dbg.run(timeout=20)


def test_a_boot_sector_prints(booted: Booted) -> None:
    dbg = booted(f'mov si, offset text; call print; cli; hlt; {PRINT}; text: .asciz "hello\\r\\nthere"')
    assert dbg.regs.rflags & 0x200, "a BIOS leaves interrupts on"
    assert isinstance(run(dbg), stops.HaltedStop)
    assert dbg.screen()[:3] == ["hello", "there", ""]


def test_it_reads_the_rest_of_its_file(booted: Booted) -> None:
    dbg = booted(
        "mov ax, 0x0201; mov cx, 2; mov dh, 0; mov bx, 0x9000; int 0x13; jc 2f; mov si, bx; call print; 2: cli; hlt;"
        + PRINT,
        b"from sector 2\0",
    )
    assert dbg.memory[0x7E00:0x7E04] == bytes(4), "a BIOS loads one sector"
    run(dbg)
    assert dbg.screen()[0] == "from sector 2"


@pytest.mark.parametrize("drive", [0, 0x80])
def test_a_small_image_is_in_both_drives(booted: Booted, drive: int) -> None:
    dbg = booted(f"mov ax, 0x0201; mov cx, 3; mov dx, {drive}; mov bx, 0x9000; int 0x13; cli; hlt", b"x" * 700)
    assert dbg.regs.dl == 0x80
    run(dbg)
    assert dbg.memory[0x9000:0x9200] == b"x" * 188 + bytes(324)


def test_without_a_bios_all_of_the_file_is_loaded(booted: Booted) -> None:
    dbg = booted("hlt", b"x" * 700, firmware="none")
    assert dbg.memory[0x7E00 : 0x7E00 + 700] == b"x" * 700
    assert dbg.memory[0:0x500] == bytes(0x500)
    assert not dbg.regs.rflags & 0x200


def test_keys_are_waited_for(booted: Booted) -> None:
    dbg = booted("1: xor ah, ah; int 0x16; mov ah, 0xe; int 0x10; cmp al, 13; jne 1b; cli; hlt")
    stop = run(dbg)
    dbg.type("Hi!\n")
    while dbg.screen()[0] != "Hi!":
        stop = dbg.run(timeout=5)
    assert stop.pc < 0x8000


def test_a_disk_alone_is_booted(tmp_path: Path) -> None:
    path = boot_sector("hlt", tmp_path, bytes(512))
    for options, drive in (({"disks": [str(path)]}, 0x80), ({"floppies": [str(path)]}, 0)):
        with kvmdbg.open(serial="none", **options) as dbg:  # type: ignore[arg-type]
            assert (dbg.regs.dl, dbg.vcpu.pc) == (drive, 0x7C00)
    other = tmp_path / "other"
    other.write_bytes(bytes(5120))
    with pytest.raises(kvmdbg.KvmdbgError, match="nothing can be booted"):
        kvmdbg.open(disks=[str(other)])
    with kvmdbg.open(disks=[str(other)], floppies=[str(path)], serial="none") as dbg:
        assert dbg.regs.dl == 0


def test_a_jump_to_the_reset_vector_boots_again(booted: Booted) -> None:
    dbg = booted("inc word ptr [0x600]; cmp word ptr [0x600], 3; jb 1f; cli; hlt; 1: ljmp 0xf000, 0xfff0")
    run(dbg)
    assert dbg.memory[0x600] == 3
    dbg = booted("inc word ptr [0x600]; cmp word ptr [0x600], 3; jb 1f; cli; hlt; 1: int 0x19")
    run(dbg)
    assert dbg.memory[0x600] == 3


def test_a_hooked_vector_is_chained(booted: Booted) -> None:
    dbg = booted(
        "xor ax, ax; mov ds, ax; mov eax, [0x40]; mov [old], eax; mov word ptr [0x40], offset mine;"
        "mov word ptr [0x42], 0; mov ax, 0x0e41; mov bx, 7; int 0x10; cli; hlt;"
        "mine: inc byte ptr [count]; .byte 0x2e, 0xff, 0x2e; .word offset old; count: .byte 0; old: .long 0"
    )
    run(dbg)
    assert dbg.screen()[0] == "A"
    assert dbg.memory[dbg.symbols["count"]] == 1


def test_what_nobody_serves_is_told_once(booted: Booted) -> None:
    dbg = booted("mov cx, 3; 1: mov ah, 0xbb; int 0x13; mov ah, 9; int 0x21; mov ah, 0x84; int 0x15; loop 1b; cli; hlt")
    said: list[str] = []
    dbg.listeners.on_warning(said.append)
    run(dbg)
    first, second, third = said
    assert first.startswith("int 0x13, AH=0xbb (disk), before 0000:7c07: this BIOS has no such function (AX=0x")
    assert second.startswith("int 0x21 (DOS) before 0000:7c0b: nobody has set its vector")
    assert third.startswith("int 0x15, AH=0x84 (joystick), before 0000:7c0f: this BIOS has no such function")


def test_calls_are_recorded_and_given_back(booted: Booted) -> None:
    source = (
        f"mov ax, 0x0201; mov cx, 2; mov dh, 0; mov bx, 0x9000; int 0x13; mov si, bx; call print; mov ah, 2; int 0x1a;"
        f"mov ah, 0; int 0x16; cli; hlt; {PRINT}"
    )
    dbg = booted(source, b"text\0", irqchip="none")
    with dbg.record() as log:
        dbg.type("q")
        run(dbg)
    before = dbg.memory[0x400:0x500], dbg.memory[0xB8000:0xB8FA0], dbg.regs.snapshot()
    other = booted(source, b"text\0", irqchip="none")
    other.replay(log)
    assert (other.memory[0x400:0x500], other.memory[0xB8000:0xB8FA0], other.regs.snapshot()) == before


def test_a_hook_can_answer_for_the_bios(booted: Booted) -> None:
    dbg = booted("mov ax, 0x0e41; mov bx, 7; int 0x10; mov ax, 0x0e42; int 0x10; cli; hlt")
    seen: list[str] = []

    @dbg.on.exit("bios", when="before")
    def keep(event: Any) -> Any:
        seen.append(event.exit.describe())
        return kvmdbg.SWALLOW if event.ax & 0xFF == 0x41 else None

    run(dbg)
    assert dbg.screen()[0] == "B"
    assert "BIOS call int 0x10, AH=0x0e (teletype output): AL=0x41 'A', BH=0x00, BL=0x07" in seen


def test_catch_bios(booted: Booted) -> None:
    dbg = booted("mov ax, 0x0e41; mov bx, 7; int 0x10; int 0x12; cli; hlt")
    dbg.catch("bios", when="$interrupt == 0x12")
    stop = run(dbg)
    assert isinstance(stop, stops.CaughtStop)
    assert "int 0x12" in stop.describe()


CALLS = "mov ax, 0x0e41; mov bx, 7; int 0x10; nop; int 0x10; nop; cli; hlt"


def test_a_call_is_one_step(booted: Booted) -> None:
    dbg = booted(CALLS)
    dbg.step(2)
    stop = dbg.step()
    assert (stop.pc, dbg.screen()[0]) == (0x7C08, "A")
    records: list[bytes] = []
    stop = dbg.step(2, record=records)
    assert (stop.pc, len(records), dbg.screen()[0]) == (0x7C0B, 2, "AA")
    dbg.restart()
    dbg.step(2)
    dbg.break_at(0xF0000 + dbg.physical.read(0x40, 1)[0] + (dbg.physical.read(0x41, 1)[0] << 8))
    stop = dbg.step()
    assert isinstance(stop, stops.BreakpointStop), "whoever wants to see its code has a breakpoint there"
    assert dbg.step().pc == stop.pc + 2
    assert dbg.screen()[0] == "A"
    assert dbg.step().pc == 0x7C08


def test_a_chained_call_ends_where_the_guest_goes_on(booted: Booted) -> None:
    dbg = booted("pushf; .byte 0x9a; vector: .long 0; nop; hlt")
    dbg.memory.write(dbg.symbols["vector"], dbg.physical.read(0x12 * 4, 4))
    dbg.step(1)
    assert (dbg.step().pc, dbg.regs.ax) == (0x7C06, 639)


def test_catch_interrupt_says_what_is_asked(booted: Booted) -> None:
    dbg = booted(CALLS)
    dbg.catch("interrupt", vector=0x10)
    stop = run(dbg)
    words = "interrupt 0x10 at 0x7c08: int 0x10, AH=0x0e (teletype output): AL=0x41 'A', BH=0x00, BL=0x07"
    assert words in stop.describe()


def test_a_call_that_waits_is_caught_once(booted: Booted) -> None:
    dbg = booted("again: mov ah, 0; int 0x16; mov ah, 0x0e; int 0x10; jmp again")
    point = dbg.catch("interrupt", vector=0x16)

    def caught() -> str:
        while not isinstance(stop := run(dbg), stops.CaughtStop):  # a slow machine needs longer
            assert isinstance(stop, stops.LimitStop)
        return stop.describe()

    caught()
    for number, key in enumerate("ab", 1):
        dbg.press(key)
        assert "wait for a key" in caught()
        assert dbg.screen()[0] == "ab"[:number]
    assert point.hits == 3


def test_a_key_that_is_held_is_seen_by_a_guest_that_looks_now_and_then(booted: Booted) -> None:
    """Once in a tick, as games do for Shift and Ctrl."""
    source = (
        "1: mov ah, 0; int 0x1a; cmp dx, bp; je 1b; mov bp, dx; mov ah, 2; int 0x16; test al, 2; jz 1b;"
        "2: mov ah, 2; int 0x16; test al, 2; jnz 2b; cli; hlt"
    )
    dbg = booted(source)
    dbg.press("shift", hold=500)
    assert isinstance(run(dbg), stops.HaltedStop)


def test_a_call_is_no_exception(booted: Booted) -> None:
    dbg = booted("mov ax, 0x0e41; mov bx, 7; int 0x10; ud2")
    dbg.catch("exception")
    stop = run(dbg)
    assert isinstance(stop, stops.CaughtStop)
    assert "exception 6 (#UD)" in stop.describe()


def warned(dbg: Session) -> str:
    """Run to the first warning."""
    said: list[str] = []

    def told(text: str) -> None:
        said.append(text)
        dbg.interrupt()

    dbg.listeners.on_warning(told)
    run(dbg)
    (sentence,) = said
    return sentence


@pytest.mark.parametrize(
    ("leads_to", "before"), [(0, "mov word ptr [0], 0xfeeb"), (0x5000, "mov word ptr [0x40], 0x5000")]
)
def test_a_call_through_an_empty_vector_is_told(booted: Booted, leads_to: int, before: str) -> None:
    """With the registers at the int, though the guest changes them on its way through what lies there."""
    code = f"xor ax, ax; mov ds, ax; {before}; mov ax, 0x0e41; mov bx, 0x9000; mov cx, 3; mov dx, 4; int 0x10; hlt"
    dbg = booted(code, firmware="none")
    sentence = warned(dbg)
    place = dbg.memory.read(0x7C00, 40).index(b"\xcd\x10") + 0x7C00
    assert sentence == (
        f"int 0x10, AH=0x0e, at 0000:{place:04x}: its vector leads to 0000:{leads_to:04x}, where no "
        "code is, and the guest runs through what lies there (AX=0x0e41, BX=0x9000, CX=0x0003, DX=0x0004)"
    )


def test_the_registers_of_a_guest_on_whose_way_devices_answered_are_those_of_now(booted: Booted) -> None:
    """The way to the int cannot be gone again: what the port gave is not known any more."""
    dbg = booted("in al, 0x64; cmp al, 0xff; je 1f; mov ax, 0x0e41; int 0x10; 1: cli; hlt", firmware="none")
    sentence = warned(dbg)
    assert "by now AX=0x" in sentence


@pytest.mark.parametrize("irqchip", ["user", "kernel"])
def test_interrupts_of_timer_and_keyboard_come(booted: Booted, irqchip: str) -> None:
    dbg = booted(
        "xor ax, ax; mov ds, ax; mov ax, [0x46c]; add ax, 3; 1: hlt; cmp [0x46c], ax; jb 1b;"
        "mov ah, 0; int 0x16; cli; mov bx, ax; mov al, 0xfe; out 0x64, al; hlt",
        irqchip=irqchip,
    )
    dbg.type("k")
    stop = run(dbg)
    assert isinstance(stop, stops.ExitedStop), stop.describe()
    assert dbg.regs.bx == 0x256B
    assert dbg.physical.read(0x46C, 1)[0] >= 3


@pytest.mark.parametrize("length", [2, 64])
def test_what_a_service_writes_is_watched(booted: Booted, length: int) -> None:
    dbg = booted("mov ax, 0x0201; mov cx, 2; mov dh, 0; mov bx, 0x9000; int 0x13; cli; hlt", b"x" * 512)
    dbg.watch(0x9010, length=length)
    stop = run(dbg)
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert (stop.kind, stop.new[:2]) == ("write", b"xx")
    assert isinstance(run(dbg), stops.HaltedStop)
    dbg.restart()
    while not isinstance(stop := dbg.step(), stops.WatchpointStop):
        assert stop.pc < 0x7C20


def test_a_guest_that_waits_for_a_key_comes_back(booted: Booted) -> None:
    dbg = booted("mov ah, 0; int 0x16; mov ah, 0xe; int 0x10; mov ax, 0x0301; mov cx, 5; int 0x13; cli; hlt")
    dbg.run(timeout=0.5)
    dbg.snapshots.save("waits")
    for key in "ab":
        dbg.snapshots.restore("waits")
        assert not dbg.machine.board.disks.hard_disks[0].changed
        dbg.type(key)
        assert isinstance(run(dbg), stops.HaltedStop)
        assert dbg.screen()[0] == key
        assert dbg.machine.board.disks.hard_disks[0].changed == 1


def test_vectors_that_share_code_are_told_apart(booted: Booted) -> None:
    dbg = booted("int 0x22; int 0x21; nop; int 0x60; cli; hlt")
    dbg.catch("interrupt", vector=0x21)
    stop = run(dbg)
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert stop.exit.describe().startswith("interrupt 0x21 at 0x7c04"), stop.exit.describe()
    assert isinstance(run(dbg), stops.HaltedStop)
    assert {vector for vector, _ in dbg.machine.bios.counts} >= {0x21, 0x22, 0x60}


def test_a_step_knows_handlers_that_have_moved(booted: Booted) -> None:
    """What a step knows of the table and of the handlers' code is looked at again when either has changed."""
    dbg = booted(
        "xor ax, ax; mov ds, ax; cli; mov word ptr [0], offset first; mov word ptr [2], ax; div al;"
        "mov word ptr [0], offset second; div al; hlt;"
        "first: push bp; mov bp, sp; add word ptr [bp+2], 2; pop bp; iret;"
        "second: push bp; mov bp, sp; add word ptr [bp+2], 2; pop bp; mov bx, 7; iret"
    )
    places = []
    while len(places) < 40 and not isinstance(stop := dbg.step(), stops.HaltedStop):
        places.append(stop.pc)
    assert {dbg.resolve("first")[0], dbg.resolve("second")[0]} <= set(places)
    assert dbg.regs.bx == 7


def test_an_instruction_that_this_kvm_never_ends_is_told(booted: Booted) -> None:
    """One has int 80h to 82h for itself, in real mode too; interrupts wait meanwhile."""
    dbg = booted(
        "xor ax, ax; mov ds, ax; mov word ptr [0x204], offset 1f; mov [0x206], ax; int 0x81; cli; hlt; 1: iret"
    )
    stop = run(dbg)
    stuck = isinstance(stop, stops.ErrorStop) and "the guest does not get on" in stop.message
    assert stuck or isinstance(stop, stops.HaltedStop), stop.describe()
