"""Programs of the kinds that people put into boot sectors: games, loaders, small systems."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from tests.conftest import TIME_SCALE

pytestmark = pytest.mark.kvm
LIMIT = 50.0 * TIME_SCALE


def assembled(source: str, folder: Path) -> bytes:
    flat, _ = from_assembly(f"{source}\n.org 510; .byte 0x55, 0xaa", folder, address=0x7C00)
    return flat.read_bytes()


def opened(path: Path) -> Session:
    dbg = kvmdbg.open(path, serial="none", symbols=[(str(path.parent / "guest.elf"), 0)])
    dbg.world.guest_rate = 1 / TIME_SCALE  # on a slow machine handlers take longer than the time between two events
    return dbg


def run_until(dbg: Session, seen: Callable[[], bool]) -> None:
    """Let the guest run until something is to be seen of it."""
    dbg.resume()
    until = time.monotonic() + LIMIT
    while not seen():
        assert time.monotonic() < until, dbg.screen()
        assert dbg.state == "running", dbg.last_stop
        time.sleep(0.02)


SNAKE = """
    xor ax, ax; mov ds, ax; mov ax, 3; int 0x10
    mov ax, 0xb800; mov es, ax
    cli; mov word ptr [0x70], offset tick; mov word ptr [0x72], 0; sti
    mov di, 1600
play:
    mov ah, 1; int 0x16; jz move
    mov ah, 0; int 0x16
    cmp al, 27; je over
    mov [letter], al
move:
    mov al, [letter]; mov ah, 0x2a; stosw
    cmp di, 1760; jb wait1; mov di, 1600
wait1:
    mov al, [ticks]; wait2: hlt; cmp al, [ticks]; je wait2
    jmp play
over:
    mov si, offset text; print: lodsb; test al, al; jz end; mov ah, 14; mov bx, 7; int 0x10; jmp print
end: cli; hlt
tick: push ds; push ax; xor ax, ax; mov ds, ax; inc byte ptr [ticks]; pop ax; pop ds; iret
letter: .byte '*'
ticks: .byte 0
text: .asciz "GAME OVER"
"""


def test_a_game_that_counts_ticks_and_polls_keys(tmp_path: Path) -> None:
    (tmp_path / "snake.img").write_bytes(assembled(SNAKE, tmp_path))
    with opened(tmp_path / "snake.img") as dbg:
        run_until(dbg, lambda: "**" in dbg.screen()[10])
        dbg.press("o")
        run_until_more = time.monotonic() + LIMIT
        while "oo" not in dbg.screen()[10]:
            assert time.monotonic() < run_until_more
            time.sleep(0.02)
        dbg.press("esc")
        stop = dbg.wait(LIMIT)
        assert isinstance(stop, stops.HaltedStop), stop
        assert dbg.screen()[0] == "GAME OVER"


TETRIS = """
    xor ax, ax; mov ds, ax; mov ax, 0x13; int 0x10
    cli
    mov eax, [0x24]; mov [old], eax
    mov word ptr [0x24], offset keyboard; mov word ptr [0x26], 0
    sti
    mov ax, 0xa000; mov es, ax
draw:
    rdtsc; and al, 0x0f; or al, 0x20; mov dl, al
    movzx di, byte ptr [column]; shl di, 3
    mov cx, 8
1:  push cx; mov cx, 8; mov al, dl; rep stosb; add di, 312; pop cx; loop 1b
    mov ah, 0; int 0x1a; mov bx, dx
2:  mov ah, 0; int 0x1a; cmp dx, bx; je 2b
    cmp byte ptr [quit], 1; jne draw
    mov ax, 3; int 0x10
    cli; hlt
keyboard:
    push ax; push ds; xor ax, ax; mov ds, ax
    in al, 0x60
    cmp al, 0x4d; jne 3f; inc byte ptr [column]
3:  cmp al, 0x01; jne 4f; mov byte ptr [quit], 1
4:  pop ds; pop ax
    .byte 0x2e, 0xff, 0x2e; .word offset old
column: .byte 0
quit: .byte 0
old: .long 0
"""


HOOKS = """
    xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7c00
    mov word ptr [5*4], offset print_screen; mov [5*4+2], ax
    mov word ptr [0x1b*4], offset control_break; mov [0x1b*4+2], ax
1:  hlt
    jmp 1b
print_screen:
    inc byte ptr [0x500]
    iret
control_break:
    inc byte ptr [0x501]
    iret
"""


def test_keys_that_call_interrupts(tmp_path: Path) -> None:
    """Print Screen is int 5, Ctrl-Break int 1Bh; neither is the other, and Ctrl-Print Screen is no call."""
    (tmp_path / "hooks.img").write_bytes(assembled(HOOKS, tmp_path))
    with opened(tmp_path / "hooks.img") as dbg:

        def wait_for(calls: bytes) -> None:
            until = time.monotonic() + LIMIT
            while dbg.physical.read(0x500, 2) != calls:
                assert time.monotonic() < until, dbg.physical.read(0x500, 2)
                time.sleep(0.02)

        run_until(dbg, lambda: dbg.physical.read(0x1B * 4 + 2, 2) == b"\0\0")
        dbg.press("print")
        wait_for(b"\1\0")
        dbg.press("ctrl-print")
        dbg.press("ctrl-pause")
        wait_for(b"\1\1")
        dbg.press("print")
        wait_for(b"\2\1")


def test_a_game_that_hooks_the_keyboard_and_draws(tmp_path: Path) -> None:
    (tmp_path / "tetris.img").write_bytes(assembled(TETRIS, tmp_path))
    with opened(tmp_path / "tetris.img") as dbg:

        def drawn(column: int) -> bool:
            at = 0xA0000 + 8 * column
            return (
                dbg.physical.read(at, 1)[0] & 0xF0 == 0x20 and dbg.physical.read(at + 320 * 7 + 7, 1)[0] & 0xF0 == 0x20
            )

        run_until(dbg, lambda: drawn(0))
        dbg.press("right")
        until = time.monotonic() + LIMIT
        while not drawn(1):
            assert time.monotonic() < until
            time.sleep(0.02)
        assert not drawn(2)
        dbg.press("esc")
        stop = dbg.wait(LIMIT)
        assert isinstance(stop, stops.HaltedStop), stop
        assert dbg.physical.read(0x41E, 4) == b"\xe0\x4d\x1b\x01", "the BIOS has had the keys as well"


FAT_LOADER = """
    jmp short start; nop
    .ascii "KVMDBG  "; .word 512; .byte 1; .word 1; .byte 2; .word 224; .word 2880; .byte 0xf0
    .word 9; .word 18; .word 2
    .long 0; .long 0; .byte 0, 0, 0x29; .long 1; .ascii "NO NAME    FAT12   "
start:
    xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7c00; mov [drive], dl
    mov ah, 0; int 0x13
    mov ax, 19; mov cx, 14; mov bx, 0x8000; call read
    mov di, 0x8000; mov dx, 224
entry: mov si, offset name; mov cx, 11; push di; repe cmpsb; pop di; je found
    add di, 32; dec dx; jnz entry
    mov si, offset none; jmp say
found: mov ax, [di + 26]; mov [cluster], ax
    mov ax, 1; mov cx, 9; mov bx, 0x8000; call read
    mov bx, 0x1000
next: mov ax, [cluster]; push ax; add ax, 31; mov cx, 1; call read
    pop ax; mov si, ax; shr si, 1; add si, ax; mov dx, [si + 0x8000]
    test al, 1; jz even; shr dx, 4; even: and dx, 0xfff
    mov [cluster], dx; cmp dx, 0xff8; jb next
    ljmp 0, 0x1000
read: push cx; push ax; xor dx, dx; mov cx, 18; div cx; mov cl, dl; inc cl
    xor dx, dx; mov si, 2; div si; mov ch, al; mov dh, dl; mov dl, [drive]
    mov ax, 0x0201; int 0x13; jc failed
    pop ax; inc ax; pop cx; add bx, 512; loop read
    ret
failed: mov si, offset bad
say: lodsb; test al, al; jz stop; mov ah, 14; mov bx, 7; int 0x10; jmp say
stop: cli; hlt
drive: .byte 0
cluster: .word 0
name: .ascii "KERNEL  BIN"
none: .asciz "no kernel"
bad: .asciz "read error"
"""


def fat12(loader: bytes, contents: bytes, clusters: list[int]) -> bytes:
    """A floppy of 1.44 MB with KERNEL.BIN, whose contents lie in these clusters."""
    image = bytearray(loader.ljust(1440 * 1024, b"\0"))
    table = [0xFF0, 0xFFF] + [0] * 3070
    for this, following in zip(clusters, [*clusters[1:], 0xFFF], strict=True):
        table[this] = following
    packed = b"".join((a | b << 12).to_bytes(3, "little") for a, b in zip(table[::2], table[1::2], strict=True))
    for start in (1, 10):
        image[512 * start : 512 * start + len(packed[:4608])] = packed[:4608]
    entry = b"KERNEL  BIN" + bytes(15) + struct.pack("<HI", clusters[0], len(contents))
    image[512 * 19 : 512 * 19 + 64] = b"OTHER   TXT".ljust(32, b"\0") + entry
    for number, cluster in enumerate(clusters):
        part = contents[512 * number : 512 * (number + 1)]
        image[512 * (cluster + 31) : 512 * (cluster + 31) + len(part)] = part
    return bytes(image)


def test_a_loader_of_fat12(tmp_path: Path) -> None:
    loader = assembled(FAT_LOADER, tmp_path)
    text = "mov si, offset text; 1: lodsb; test al, al; jz 2f; mov ah, 14; mov bx, 7; int 0x10; jmp 1b; 2: cli; hlt"
    flat, _ = from_assembly(f'{text}; .org 1100; text: .asciz "kernel of three clusters"', tmp_path, address=0x1000)
    path = tmp_path / "floppy.img"
    path.write_bytes(fat12(loader, flat.read_bytes(), [5, 900, 7]))
    with kvmdbg.open(path, serial="none") as dbg:
        assert dbg.regs.dl == 0
        assert isinstance(dbg.run(timeout=LIMIT), stops.HaltedStop)
        assert dbg.screen()[0] == "kernel of three clusters"
        dbg.restart()
        dbg.machine.board.disks.floppies[0].write(19, bytes(512))
        dbg.run(timeout=LIMIT)
        assert dbg.screen()[0] == "no kernel"


TIMER = """
    cli; xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7c00
    mov al, 0x34; out 0x43, al; mov ax, 11932; out 0x40, al; mov al, ah; out 0x40, al
    mov eax, [0x20]; mov [old], eax
    mov word ptr [0x20], offset timer; mov word ptr [0x22], 0
    sti
1:  hlt; cmp word ptr [count], 50; jb 1b
    cli; hlt
timer: push ax; push ds; xor ax, ax; mov ds, ax
    inc word ptr [count]; test byte ptr [count], 3; jz 2f
    mov al, 0x20; out 0x20, al; pop ds; pop ax; iret
2:  pop ds; pop ax; .byte 0x2e, 0xff, 0x2e; .word offset old
count: .word 0
old: .long 0
"""


def test_a_timer_that_calls_the_old_handler_now_and_then(tmp_path: Path) -> None:
    (tmp_path / "timer.img").write_bytes(assembled(TIMER, tmp_path))
    with opened(tmp_path / "timer.img") as dbg:
        stop = dbg.run(timeout=LIMIT)
        assert isinstance(stop, stops.HaltedStop), stop.describe()
        assert dbg.memory[dbg.symbols["count"]] == 50
        assert dbg.physical.read(0x46C, 1)[0] == 12


SHELL = """
    xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7c00; mov [drive], dl
line: mov al, '$'; call put; mov di, 0x8000
key: mov ah, 0; int 0x16
    cmp al, 8; jne 1f; cmp di, 0x8000; je key; dec di; call put; mov al, ' '; call put; mov al, 8; call put; jmp key
1:  cmp al, 13; je enter
    stosb; call put; jmp key
enter: mov byte ptr [di], 0; call newline
    mov al, [0x8000]; cmp al, 's'; je save; cmp al, 'l'; je load; cmp al, 'q'; je quit
    mov al, '?'; call put; call newline; jmp line
save: mov ax, 0x0301; mov bx, 0x8000; jmp disk
load: mov ax, 0x0201; mov bx, 0x8200
disk: mov cx, 0x0102; mov dh, 1; mov dl, [drive]; int 0x13; jc quit
    mov si, 0x8200; 2: lodsb; test al, al; jz 3f; call put; jmp 2b
3:  call newline; jmp line
quit: int 0x19
put: mov ah, 14; mov bx, 7; int 0x10; ret
newline: mov al, 13; call put; mov al, 10; jmp put
drive: .byte 0
"""


def test_a_small_system_that_writes_to_its_disk_and_boots_again(tmp_path: Path) -> None:
    (tmp_path / "shell.img").write_bytes(assembled(SHELL, tmp_path))
    before = (tmp_path / "shell.img").read_bytes()
    with opened(tmp_path / "shell.img") as dbg:
        dbg.type("sxe\by\n")
        run_until(dbg, lambda: dbg.screen()[2] == "$")
        assert dbg.screen()[0] == "$sxy"
        dbg.type("l\n")
        time_out = time.monotonic() + LIMIT
        while dbg.screen()[4] != "$":
            assert time.monotonic() < time_out, dbg.screen()
            time.sleep(0.02)
        dbg.interrupt()
        assert dbg.screen()[3] == "sxy"
        dbg.type("q\nl\n")
        run_until(dbg, lambda: dbg.screen()[7] == "$")
        dbg.interrupt()
        assert dbg.screen()[5:7] == ["$l", "sxy"], "it has booted again, and its disk is as it was"
    assert (tmp_path / "shell.img").read_bytes() == before


MOUSE = """
    xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7000
    mov ax, 0xc205; mov bh, 3; int 0x15; jc failed
    mov ax, 0xc207; mov bx, offset moved; int 0x15; jc failed
    mov ax, 0xc200; mov bh, 1; int 0x15; jc failed
    out 0x98, al
again:
    hlt
    cmp byte ptr [0x5010], 2; jb again
failed:
    out 0x99, al
    jmp failed
moved:                                  # far: status, X, Y, 0 on the stack
    push bp; mov bp, sp; push si; push ds
    xor si, si; mov ds, si
    movzx si, byte ptr [0x5010]; shl si, 3
    mov ax, [bp + 12]; mov [si + 0x5020], ax
    mov ax, [bp + 10]; mov [si + 0x5022], ax
    mov ax, [bp + 8]; mov [si + 0x5024], ax
    mov ax, [bp + 6]; mov [si + 0x5026], ax
    inc byte ptr [0x5010]
    pop ds; pop si; pop bp
    retf
"""


def test_a_mouse_by_the_bios(tmp_path: Path) -> None:
    (tmp_path / "mouse.bin").write_bytes(assembled(MOUSE, tmp_path))
    with opened(tmp_path / "mouse.bin") as dbg:
        dbg.catch("io", port=0x98)
        assert "0x98" in dbg.run(timeout=LIMIT).describe()
        dbg.peripherals.move_mouse(4, 3, 1)
        dbg.peripherals.move_mouse(-1, 0, 0)
        dbg.catch("io", port=0x99)
        stop = dbg.run(timeout=LIMIT)
        assert isinstance(stop, stops.CaughtStop) and "0x99" in stop.describe(), stop.describe()
        assert struct.unpack("<8H", dbg.physical.read(0x5020, 16)) == (0x29, 4, 0xFD, 0, 0x18, 0xFF, 0, 0)


EVENT = """
    xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7000
    mov byte ptr [0x5000], 1
    mov ax, 0x8300; mov bx, 0x5000; mov cx, 0; mov dx, 20000; int 0x15; jc failed
    mov ax, 0x8300; int 0x15; jnc failed
again:
    hlt
    test byte ptr [0x5000], 0x80; jz again
    mov al, 0x0b; out 0x70, al; in al, 0x71
    mov [0x5001], al
    out 0x99, al
failed:
    out 0x98, al
    jmp failed
"""


def test_an_event_after_some_time(tmp_path: Path) -> None:
    (tmp_path / "event.bin").write_bytes(assembled(EVENT, tmp_path))
    with opened(tmp_path / "event.bin") as dbg:
        for port in (0x98, 0x99):
            dbg.catch("io", port=port)
        began = dbg.machine.board.time.now()
        stop = dbg.run(timeout=LIMIT)
        assert isinstance(stop, stops.CaughtStop) and "0x99" in stop.describe(), stop.describe()
        assert dbg.machine.board.time.now() - began >= 19_000_000
        assert dbg.physical.read(0x5000, 2) == b"\x81\x02", "the clock has no periodic interrupts any more"


def test_the_window_of_a_vesa_mode_is_moved_by_a_far_call(tmp_path: Path) -> None:
    """As programs of VESA 1.2 do it, for whom an int takes too long."""
    source = """
        xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7c00
        mov ax, 0x4f01; mov cx, 0x101; mov di, 0x8000; int 0x10
        mov ax, 0x4f02; mov bx, 0x101; int 0x10
        mov dx, 3; xor bx, bx; .byte 0xff, 0x1e; .word 0x800c  # call far [the mode's WinFuncPtr]
        mov ax, 0x4f05; mov bx, 0x100; int 0x10
        cli; hlt
    """
    (tmp_path / "vesa.img").write_bytes(assembled(source, tmp_path))
    with opened(tmp_path / "vesa.img") as dbg:
        stop = dbg.run(LIMIT)
        assert isinstance(stop, stops.HaltedStop), stop
        assert (dbg.regs.dx, dbg.regs.ax) == (3, 0x4F)
