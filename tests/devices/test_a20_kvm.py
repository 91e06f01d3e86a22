"""Address line 20: while it is held low the first MiB of memory is found again in the second, as on a PC."""

from __future__ import annotations

import pytest

from kvmdbg.engine import stops
from kvmdbg.pytest_plugin import Guests
from tests.conftest import TIME_SCALE

pytestmark = pytest.mark.kvm
ENGINES = [pytest.param("kvm", marks=pytest.mark.kvm_alone), "soft"]

LOOKS = """
    mov ax, 0xffff; mov fs, ax; xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov di, 0x600
    {lines}
    cli; hlt
look:
    mov word ptr [0x500], 0x1111; .byte 0x64; mov word ptr [0x510], 0x2222
    xor ax, ax; cmp word ptr [0x500], 0x2222; sete al; mov [di], al; inc di; ret
"""
PORT_92 = "in al, 0x92; and al, 0xfc; out 0x92, al; call look; in al, 0x92; or al, 2; out 0x92, al; call look"
OUTPUT_PORT = "; ".join(
    f"mov al, 0xd1; out 0x64, al; mov al, {value}; out 0x60, al; call look" for value in (0xDD, 0xDF)
)
COMMANDS = "; ".join(f"mov al, {value}; out 0x64, al; call look" for value in (0xDD, 0xDF))
BIOS = "; ".join(
    f"mov ax, {function}; int 0x15; jc bad; mov ax, 0x2402; int 0x15; mov [di], al; inc di; call look"
    for function in (0x2400, 0x2401)
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("lines", "found"),
    [(PORT_92, b"\1\0"), (OUTPUT_PORT, b"\1\0"), (COMMANDS, b"\1\0"), (f"{BIOS}; bad:", b"\0\1\1\0")],
    ids=["port 0x92", "output port", "commands", "BIOS"],
)
def test_who_tests_it_finds_it_as_it_is(kvm_guest: Guests, engine: str, lines: str, found: bytes) -> None:
    dbg = kvm_guest(asm=LOOKS.format(lines=f"call look; {lines}"), memory="4M", engine=engine, firmware="bios")
    stop = dbg.run(timeout=20 * TIME_SCALE)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert dbg.physical.read(0x600, 1 + len(found)) == b"\0" + found


@pytest.mark.parametrize("engine", ENGINES)
def test_the_debugger_and_snapshots_follow_it(kvm_guest: Guests, engine: str) -> None:
    dbg = kvm_guest(asm=LOOKS.format(lines=COMMANDS), memory="4M", engine=engine)
    off = dbg.break_at("look")
    dbg.physical.write(0x100500, b"second")
    dbg.physical.write(0x500, b"first ")
    dbg.snapshots.save("on")
    assert isinstance(dbg.run(timeout=20 * TIME_SCALE), stops.BreakpointStop)
    assert dbg.physical.read(0x100500, 6) == b"first "
    dbg.physical.write(0x1004FE, b"..")
    assert dbg.physical.read(0x4FE, 4) == b"..fi"
    dbg.snapshots.save("off")
    dbg.snapshots.restore("on")
    assert dbg.physical.read(0x100500, 6) == b"second"
    dbg.snapshots.restore("off")
    assert dbg.physical.read(0x100500, 6) == b"first "
    off.enabled = False
    assert isinstance(dbg.run(timeout=20 * TIME_SCALE), stops.HaltedStop)
    assert dbg.physical.read(0x600, 2) == b"\1\0"
    assert dbg.physical.read(0x100502, 4) == b"cond"


def test_what_is_written_there_meets_watchpoints_and_breakpoints(kvm_guest: Guests) -> None:
    """By its own addresses at least; what is planted or guarded in the first MiB does no harm in the second."""
    dbg = kvm_guest(asm=LOOKS.format(lines=COMMANDS), memory="4M")
    dbg.break_at("look")
    dbg.watch(0x500, 2)
    reasons = []
    while not isinstance(stop := dbg.run(timeout=20 * TIME_SCALE), stops.HaltedStop):
        reasons.append(stop.reason)
    assert reasons.count("breakpoint") == 2 and reasons.count("watchpoint") in (2, 3), reasons
    assert dbg.physical.read(0x600, 2) == b"\1\0"
