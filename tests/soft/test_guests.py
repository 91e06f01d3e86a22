"""The guests of guests/ on the software engine: no /dev/kvm is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kvmdbg
from kvmdbg.engine import stops

GUESTS = Path(__file__).parents[2] / "guests"


@pytest.mark.parametrize(
    ("guest", "options", "output"),
    [
        ("hello16.bin", {"load": 0x1000, "registers": {"rax": 2, "rbx": 2}}, b"4\n"),
        ("modes.bin", {}, b"RPL"),
        ("kernel-O2.elf", {}, b"fill 21"),
        ("multiboot.elf", {"cmdline": "quiet debug=1"}, b"command line: quiet debug=1"),
        ("linux.elf", {}, b""),
        ("ide.elf", {}, b"done"),
    ],
)
def test_guest_prints_what_it_prints_on_kvm_and_halts(guest: str, options: dict[str, Any], output: bytes) -> None:
    with kvmdbg.open(GUESTS / guest, engine="soft", serial="none", **options) as dbg:
        assert isinstance(dbg.run(timeout=60), stops.HaltedStop)
        assert output in dbg.output


def test_firmware_reads_a_device_in_a_string_and_writes_to_rom_in_vain() -> None:
    with kvmdbg.open(bios=GUESTS / "rom.bin", memory="64M", engine="soft", serial="none") as dbg:
        with pytest.warns(RuntimeWarning, match="wrote to ROM"):
            dbg.run(timeout=60)
        assert b"memory: 64 MiB; ab" in dbg.output
