"""The devices of a PC, as a guest's code meets them."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.devices.i8042 import keys_of, scan_codes
from kvmdbg.engine import stops
from kvmdbg.engine.coalescing import OFTEN
from kvmdbg.errors import UsageError
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm


def typed(dbg: Session, line: str) -> str:
    return "\n".join(result.plain(100) for result in Interpreter(dbg).execute(line))


# --- output that KVM collects ------------------------------------------------------------------------------

WRITER = """
    mov dx, 0x3f8
    mov si, offset text
again:
    lodsb
    test al, al
    jz done
    out dx, al
    jmp again
done: hlt
text: .asciz "{}"
"""


def test_output_is_collected_and_in_order(kvm_guest: Guests) -> None:
    text = "The quick brown fox. " * 40
    dbg = kvm_guest(asm=WRITER.format(text))
    dbg.run(timeout=20)
    assert dbg.output == text.encode()
    assert dbg.uart.sent == len(text)
    if dbg.guest.coalescing.active:
        assert sum(dbg.exits.by_reason.values()) < OFTEN + len(text) / 50


def test_the_order_of_output_and_other_exits(kvm_guest: Guests) -> None:
    source = """
        mov dx, 0x3f8; mov cx, 100; mov al, '.'; many: out dx, al; loop many
        mov al, 'a'; out dx, al; out 0xe9, al; inc ax; out 0x99, al; out dx, al; in al, 0x99; hlt
    """
    dbg = kvm_guest(asm=source, devices=["isa-debugcon"])
    seen: list[tuple[str, bytes]] = []
    dbg.on.io_out(0x99)(lambda event: seen.append(("out", dbg.output)))
    dbg.on.io_in(0x99)(lambda event: seen.append(("in", dbg.output)))
    dbg.run()
    dots = b"." * 100
    assert seen == [("out", dots + b"aa"), ("in", dots + b"aab")]


def test_a_hook_takes_the_port_out_of_the_collection(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=WRITER.format("hello"))
    seen = bytearray()
    dbg.on.io_out(0x3F8, when="before")(lambda event: seen.append(event.value))
    dbg.run()
    assert (bytes(seen), dbg.output) == (b"hello", b"hello")
    dbg.hooks.remove("<lambda>")
    dbg.regs.rip = 0x1000
    dbg.run()
    assert (bytes(seen), dbg.output) == (b"hello", b"hellohello")


def test_output_is_not_held_back_while_the_guest_computes(kvm_guest: Guests, time_scale: float) -> None:
    dbg = kvm_guest(asm="sti; mov dx, 0x3f8; mov cx, 100; mov al, 'x'; many: out dx, al; loop many\nhere: jmp here")
    dbg.resume()
    end = time.monotonic() + 5 * time_scale
    while len(dbg.output) < 100 and time.monotonic() < end:
        time.sleep(0.01)
    assert dbg.state == "running"
    dbg.interrupt()
    assert dbg.output == b"x" * 100


def test_the_divisor_is_no_output(kvm_guest: Guests) -> None:
    source = """
    mov dx, 0x3f8; mov al, 'B'; mov cx, 100; many: out dx, al; loop many
    mov dx, 0x3fb; mov al, 0x83; out dx, al
    mov dx, 0x3f8; mov al, 0x41; out dx, al
    mov dx, 0x3fb; mov al, 3; out dx, al
    mov dx, 0x3f8; mov al, 'A'; out dx, al
    hlt
    """
    dbg = kvm_guest(asm=source)
    dbg.run()
    assert (dbg.output, dbg.uart.divisor) == (b"B" * 100 + b"A", 0x41)


# --- the serial port's other side ---------------------------------------------------------------------------

ECHO = """
    mov dx, 0x3fd
wait: in al, dx
    test al, 1
    jz wait
    mov dx, 0x3f8
    in al, dx
    out dx, al
    cmp al, 10
    jne again
    hlt
again: mov dx, 0x3fd
    jmp wait
"""


def test_polled_input(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=ECHO)
    typed(dbg, "send hi\\n")
    assert isinstance(dbg.run(timeout=5), stops.HaltedStop)
    assert dbg.output == b"hi\n"


def test_a_file(kvm_guest: Guests, tmp_path: Path) -> None:
    path = tmp_path / "serial.txt"
    dbg = kvm_guest(asm=WRITER.format("to a file"), serial=f"file:{path}")
    dbg.run()
    assert path.read_bytes() == dbg.output == b"to a file"
    assert f"file {path}" in typed(dbg, "info device uart")


def test_a_tcp_port(kvm_guest: Guests, time_scale: float) -> None:
    dbg = kvm_guest(asm=ECHO, serial="tcp:0")
    kind, _, place = dbg.uart.where.partition(" ")
    host, _, port = place.rpartition(":")
    assert (kind, host) == ("tcp", "127.0.0.1")
    with socket.create_connection((host, int(port)), timeout=10 * time_scale) as client:
        dbg.resume()
        client.sendall(b"ping\n")
        stop = dbg.wait(10 * time_scale)
        assert isinstance(stop, stops.HaltedStop), stop
        client.settimeout(10 * time_scale)
        got = b""
        while not got.endswith(b"\n"):
            got += client.recv(100)
    assert got == dbg.output == b"ping\n"


def test_a_pseudo_terminal(kvm_guest: Guests, time_scale: float) -> None:
    dbg = kvm_guest(asm=ECHO, serial="pty")
    end = os.open(dbg.uart.where.partition(" ")[2], os.O_RDWR | os.O_NOCTTY)
    try:
        dbg.resume()
        os.write(end, b"pong\n")
        assert isinstance(dbg.wait(10 * time_scale), stops.HaltedStop)
        got = b""
        while not got.endswith(b"\n"):
            got += os.read(end, 100)
        assert got == b"pong\n"
    finally:
        os.close(end)


@pytest.mark.parametrize("where", ["nonsense", "tcp:x", "tcp:99999", "file:", "file:/no/such/folder/x"])
def test_places_that_are_none(kvm_guest: Guests, where: str) -> None:
    with pytest.raises(UsageError, match="--serial"):
        kvm_guest(asm="hlt", serial=where)


INTERRUPTS = """
    xor ax, ax
    mov ds, ax
    mov word ptr [0x24 * 4], offset serial
    mov [0x24 * 4 + 2], ax
    mov word ptr [0x21 * 4], offset keyboard
    mov [0x21 * 4 + 2], ax
    mov sp, 0x8000
    mov al, 0x11; out 0x20, al
    mov al, 0x20; out 0x21, al
    mov al, 4; out 0x21, al
    mov al, 1; out 0x21, al
    mov al, 0xed; out 0x21, al
    mov dx, 0x3f9; mov al, 1; out dx, al
    sti
ready:
again: cmp byte ptr [0x5000], 'q'
    jne again
    out 0x99, al
stay: jmp stay
serial:
    push ax
    push dx
    mov dx, 0x3f8
    in al, dx
    mov [0x5000], al
    out dx, al
    mov al, 0x20
    out 0x20, al
    pop dx
    pop ax
    iret
keyboard:
    push ax
    in al, 0x60
    mov [0x5001], al
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
"""


@pytest.mark.parametrize("irqchip", ["kernel", "user"])
def test_interrupts_of_serial_port_and_keyboard(kvm_guest: Guests, time_scale: float, irqchip: str) -> None:
    dbg = kvm_guest(asm=INTERRUPTS, irqchip=irqchip)
    dbg.catch("io", port=0x99)
    dbg.resume()
    time.sleep(0.1 * time_scale)
    dbg.press("a")
    end = time.monotonic() + 10 * time_scale
    while dbg.physical[0x5001] != 0x9E and time.monotonic() < end:
        time.sleep(0.01)
    dbg.uart.feed(b"q")
    stop = dbg.wait(10 * time_scale)
    assert isinstance(stop, stops.CaughtStop), stop
    assert (dbg.output, dbg.memory[0x5001]) == (b"q", 0x9E)
    assert "IRQ 4" in typed(dbg, "info device uart")


# --- keyboard, screen, CMOS, PCI, power -----------------------------------------------------------------------


def test_keys() -> None:
    assert scan_codes("a") == b"\x1e\x9e"
    assert scan_codes("ctrl-alt-delete") == b"\x1d\x38\xe0\x53\xe0\xd3\xb8\x9d"
    assert scan_codes("-") == b"\x0c\x8c"
    assert scan_codes("shift--") == b"\x2a\x0c\x8c\xaa"
    assert keys_of("Hi!\n") == ["shift-h", "i", "shift-1", "ret"]
    assert keys_of("\x03") == ["ctrl-c"]
    with pytest.raises(UsageError, match="there is no key 'hyper'"):
        scan_codes("hyper-a")
    with pytest.raises(UsageError, match="types 'é'"):
        keys_of("é")
    for key in keys_of("".join(chr(code) for code in range(32, 127))):
        assert scan_codes(key)


def test_the_keyboard_controller(kvm_guest: Guests) -> None:
    source = """
    mov al, 0xaa; out 0x64, al; in al, 0x60; mov bl, al
    in al, 0x64; mov bh, al
    mov al, 0xf2; out 0x60, al; in al, 0x60; mov cl, al; in al, 0x60; mov ch, al; in al, 0x60; mov dl, al
    in al, 0x60; mov dh, al
    hlt
    """
    dbg = kvm_guest(asm=source)
    dbg.run()
    regs = dbg.regs
    read = (regs.bl, regs.bh & 1, regs.cl, regs.ch, regs.dl, regs.dh)
    assert read == (0x55, 0, 0xFA, 0xAB, 0x41, 0x41)  # with nothing there, the last byte
    typed(dbg, "sendkey ctrl-a")
    assert "1d 1e 9e 9d" in typed(dbg, "info device i8042")
    dbg.snapshots.save("x")
    typed(dbg, "sendkey b")
    dbg.snapshots.restore("x")
    assert "1d 1e 9e 9d" in typed(dbg, "info device i8042")


def test_the_screen(kvm_guest: Guests) -> None:
    source = """
    mov ax, 0xb800; mov es, ax; mov di, 164
    mov ax, 0x0741; stosw; mov ax, 0x07db; stosw; mov ax, 0x0703; stosw
    mov dx, 0x3d4; mov ax, 0x020f; out dx, ax; hlt
    """
    dbg = kvm_guest(asm=source)
    dbg.run()
    assert dbg.screen()[1] == "  A█♥"
    shown = typed(dbg, "screen").splitlines()
    assert len(shown) == 27
    assert shown[2] == "|  A█♥|"
    assert "cursor at row 0, column 2" in typed(dbg, "info devices")


def test_cmos_and_pci(kvm_guest: Guests) -> None:
    source = """
    mov al, 0x35; out 0x70, al; in al, 0x71; mov bh, al
    mov al, 0x34; out 0x70, al; in al, 0x71; mov bl, al
    mov al, 0x32; out 0x70, al; in al, 0x71; mov cl, al
    mov dx, 0xcf8; mov eax, 0x80000800; out dx, eax; in eax, dx; mov esi, eax
    mov dx, 0xcfc; in eax, dx; hlt
    """
    dbg = kvm_guest(asm=source, memory="48M")
    dbg.run()
    assert (dbg.regs.bx, dbg.regs.cl) == (32 * 16, 0x20)
    assert (dbg.regs.esi, dbg.regs.eax) == (0x80000800, 0xFFFFFFFF)
    assert "bus 0, device 1, function 0" in typed(dbg, "info device pci")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("mov dx, 0x604; mov ax, 0x2000; out dx, ax", "switched the machine off (port 0x604)"),
        ("mov dx, 0xb004; mov ax, 0x2000; out dx, ax", "switched the machine off"),
        ("mov dx, 0xcf9; mov al, 6; out dx, al", "asked for a reset (port 0xcf9)"),
        ("mov al, 3; out 0x92, al", "asked for a reset (port 0x92)"),
        ("mov al, 0xfe; out 0x64, al", "asked the keyboard controller for a reset"),
    ],
)
def test_ends(kvm_guest: Guests, source: str, text: str) -> None:
    stop = kvm_guest(asm=f"{source}; hlt").run()
    assert isinstance(stop, stops.ExitedStop), stop.describe()
    assert stop.status == 0
    assert text in stop.text


def test_post_codes_and_who_touched_what_nobody_has(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov al, 0x12; out 0x80, al; inc ax; out 0x80, al\nfirst: in al, 0x99\nin al, 0x99; hlt")
    dbg.run()
    assert "codes  12 13" in typed(dbg, "info device post")
    row = typed(dbg, "info unclaimed").splitlines()[1].split()
    assert row == ["in", "0x99", "1", "2", f"{dbg.symbols['first']:#x}", "first"]


LOOKS = """
    .code32
    mov ebx, 0xfee00030
first: mov eax, [ebx]
    mov ecx, [ebx - 0x10]
    mov byte ptr [0xd0000000], 1
    mov eax, [ebx]
    mov dword ptr [0xfec00000], 1
    mov eax, [0xfed00000]
    hlt
"""


def test_an_interrupt_controller_that_is_not_there_is_told(kvm_guest: Guests) -> None:
    """Once for each; what else nobody has is listed."""
    dbg = kvm_guest(asm=LOOKS, mode="prot")
    with pytest.warns(RuntimeWarning) as told:
        dbg.run()
    first = dbg.symbols["first"]
    texts = [str(one.message) for one in told]
    words = "--irqchip kernel" if dbg.guest.host.has_kernel_irqchip else "--engine kvm --irqchip kernel"
    assert texts[0] == f"the instruction at {first:#x} read 0xfee00030: there is no local APIC; {words} has one"
    assert [text.split(": ")[1] for text in texts[1:]] == [f"there is no IOAPIC; {words} has one", "there is no HPET"]
    assert " wrote to 0xfec00000: " in texts[1] and " read 0xfed00000: " in texts[2]
    rows = [row.split() for row in typed(dbg, "info unclaimed").splitlines()[1:]]
    assert [row[:4] for row in rows] == [
        ["write", "0xd0000000", "1", "1"], ["write", "0xfec00000", "4", "1"], ["read", "0xfed00000", "4", "1"],
        ["read", "0xfee00020", "4", "1"], ["read", "0xfee00030", "4", "2"],
    ]  # fmt: skip
    assert rows[-1][4:] == [f"{first:#x}", "first"]


def test_a_hook_that_answers_stands_for_what_is_not_there(kvm_guest: Guests, recwarn: pytest.WarningsRecorder) -> None:
    dbg = kvm_guest(asm=LOOKS, mode="prot")
    dbg.on.mmio_read(when="before")(lambda access: 7)
    dbg.run()
    assert not recwarn.list and dbg.regs.eax == 7
    assert "0xfee" not in typed(dbg, "info unclaimed")


def test_nothing_is_told_of_one_that_is_there(kvm_guest: Guests, recwarn: pytest.WarningsRecorder) -> None:
    dbg = kvm_guest(asm=LOOKS.replace("mov eax, [0xfed00000]", ""), mode="prot", irqchip="kernel")
    dbg.run(timeout=2)
    assert not recwarn.list and [one[:3] for one in dbg.exits.unclaimed] == [("write", 0xD0000000, 1)]


def test_a_bare_machine_has_only_the_serial_port(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="in al, 0x60; hlt", machine="bare")
    dbg.run()
    assert dbg.regs.al == 0xFF
    assert [device.name for device in dbg.devices] == ["uart"]
    with pytest.raises(UsageError, match="no keyboard"):
        typed(dbg, "sendkey a")
    with pytest.raises(UsageError, match="no machine 'toaster'"):
        kvm_guest(asm="hlt", machine="toaster")


def test_every_device_can_be_saved_to_a_file_and_comes_back(kvm_guest: Guests, tmp_path: Path) -> None:
    """What ``save`` gives survives JSON, and ``load`` makes the same of it."""
    devices = ["isa-debugcon", "isa-debug-exit"]
    dbg = kvm_guest(asm="mov al, 0x12; out 0x80, al; out 0x70, al; out 0xe9, al; hlt", devices=devices)
    dbg.run()
    dbg.type("a")
    dbg.uart.feed(b"waiting")
    before = dbg.machine.bus.save()
    assert len(before) == 15
    dbg.snapshots.save("x")
    dbg.snapshots.write("x", tmp_path / "x")
    other = kvm_guest(asm="hlt", devices=devices)
    other.snapshots.read(tmp_path / "x")
    other.snapshots.restore("x")
    assert [(name, _plain(state)) for name, state in other.machine.bus.save()] == [
        (name, _plain(state)) for name, state in before
    ]
    other.restart()
    assert [_plain(state) for _, state in other.machine.bus.save()] != [_plain(state) for _, state in before]


def _plain(state: object) -> object:
    return [_plain(one) for one in state] if isinstance(state, list | tuple) else state
