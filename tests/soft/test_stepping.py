"""Steps of the software engine, and registers that are written between them."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly

FLAGS = 0xCD7
"""All arithmetic flags, DF, and the one that is always set."""


def test_flags_that_are_written_are_the_guests(tmp_path: Path) -> None:
    from_assembly("mov bx, 1\nmov cx, 2\npushf\npop ax\nhlt", tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none") as dbg:
        dbg.registers.rflags = FLAGS
        dbg.step()
        assert dbg.registers.rflags == FLAGS
        dbg.registers.rip += 3
        dbg.step(2)
        assert dbg.registers.rflags == FLAGS and dbg.registers.ax == FLAGS
        assert (dbg.registers.bx, dbg.registers.cx) == (1, 0)


def test_many_steps_at_once_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    from_assembly("mov cx, 5\nagain: add ax, cx\nloop again\nhlt", tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none") as dbg:
        record: list[bytes] = []
        stop = dbg.step(8, record)
        assert stop.reason == "step" and len(record) == 8 and dbg.registers.ax == 5 + 4 + 3 + 2


def test_steps_go_on_at_every_place_of_a_page(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\x40" * 0x1010)
    with kvmdbg.open(
        tmp_path / "guest.bin", format="flat", load=0x1000, engine="soft", serial="none", irqchip="none"
    ) as dbg:
        assert dbg.step(0x1010).pc == 0x2010


@pytest.mark.parametrize("ahead", [0x2, 0x1, 0x100, 0x700, 0x5000])
def test_an_instruction_that_writes_to_what_follows_is_one_step(tmp_path: Path, ahead: int) -> None:
    """Unicorn begins it again, as it has translated both together. ``add [bx+si], al`` is two zeros."""
    (tmp_path / "guest.bin").write_bytes(bytes(0x800) + b"\xf4")
    registers = {"rax": 0x40, "rbx": 0x1000 + ahead}
    with kvmdbg.open(
        tmp_path / "guest.bin", load=0x1000, engine="soft", serial="none", irqchip="none", registers=registers
    ) as dbg:
        for steps, value in ((1, 0x40), (1, 0x80)) if ahead > 2 else ((1, 0x40),):
            assert dbg.step(steps).reason == "step"
            assert dbg.memory.read(0x1000 + ahead, 1)[0] == value and dbg.registers.rip == 0x1000 + value // 0x20


def test_trap_flag_of_the_guests_own(tmp_path: Path) -> None:
    """A popf that clears it: four traps, stepped or not."""
    from_assembly(
        "cli\nxor ax, ax\nmov ds, ax\nmov word ptr [4], 0x101c\nmov word ptr [6], 0\npush 0x102\npopf\nnop\nnop\n"
        "push 2\npopf\nnop\nhlt\ninc bx\niret",
        tmp_path,
    )
    ends = []
    for stepped in (False, True):
        with kvmdbg.open(
            tmp_path / "guest.bin", load=0x1000, engine="soft", serial="none", irqchip="none", firmware="none"
        ) as dbg:
            stop = dbg.step(30) if stepped else dbg.run(timeout=20)
            ends.append((stop.reason, dbg.registers.bx, dbg.registers.rflags))
    assert ends[0] == ends[1] == ("halted", 4, 2), ends


@pytest.mark.parametrize("instruction", ["out dx, al", "outsb", "in al, dx", "insb", "cpuid", "rdtsc", "nop"])
@pytest.mark.parametrize("stepped", [False, True])
def test_trap_flag_of_the_guests_own_over_what_ends_a_run(tmp_path: Path, instruction: str, stepped: bool) -> None:
    """A trap behind each of the five after the first popf. INS writes to a device here: RAM ends at 0x80000."""
    from_assembly(
        "mov ax, 0xd000\nmov es, ax\nmov word ptr [4], offset trap\nmov sp, 0x7000\nmov dx, 0x80\npush 0x102\npopf\n"
        f"{instruction}\npushf\npop ax\npush 2\npopf\nhlt\ntrap: inc bp\nmov [0x5000], bp\niret",
        tmp_path,
    )
    options = {"engine": "soft", "serial": "none", "irqchip": "none", "machine": "bare", "memory": "512K"}
    with kvmdbg.open(tmp_path / "guest.bin", **options) as dbg:
        stop = dbg.step(40) if stepped else dbg.run(timeout=20)
        assert (stop.reason, dbg.registers.bp, dbg.registers.rflags) == ("halted", 5, 2)
