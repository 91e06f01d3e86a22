"""Random instructions, and guests of ours, on two back ends."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.lockstep.compare import Lockstep
from tests.differential.program import MODES
from tests.lockstep import native
from tests.lockstep.harness import Found, compare, sessions
from tests.lockstep.instructions import generate

GUESTS = Path(__file__).parents[2] / "guests"
pytestmark = [pytest.mark.kvm, pytest.mark.kvm_alone, pytest.mark.timeout(120)]


@pytest.mark.parametrize("mode", MODES)
def test_random_instructions_are_the_same_on_both_engines(mode: str) -> None:
    found = Found()
    outcome = compare(generate(1, mode, 150), ("kvm", "soft"), found)
    assert outcome.same, outcome.describe()
    assert found.instructions + sum(found.not_run.values()) >= 150


def test_random_instructions_of_user_code_are_the_same_on_both_engines() -> None:
    found = Found()
    outcome = native.compare(1, 80, ("kvm", "soft"), found)
    assert outcome.same, outcome.describe()
    assert found.instructions > 60


@pytest.mark.parametrize(
    ("guest", "count"), [("boot16.bin", 3000), ("bios_disk.bin", 170), ("modes.bin", 52), ("kernel-O2.elf", 6364)]
)
def test_guests_of_ours_are_the_same_on_both_engines(guest: str, count: int) -> None:
    with (
        kvmdbg.open(GUESTS / guest, engine="kvm", serial="none") as first,
        kvmdbg.open(GUESTS / guest, engine="soft", serial="none") as second,
    ):
        found = Lockstep(first, second, ("kvm", "soft")).run(count)
    assert found.same, found.describe()
    assert count - 3 <= found.instructions <= count  # a KVM's step may run the instruction behind mov ss, too


def test_a_device_may_be_written_what_is_undefined(tmp_path: Path) -> None:
    code = bytes.fromhex("b114 660fa505eb126729 f4")  # shld word ptr [0x296712eb], ax, cl by more than its bits
    (tmp_path / "guest.bin").write_bytes(code)
    with (
        kvmdbg.open(tmp_path / "guest.bin", mode="prot", engine="kvm", serial="none") as first,
        kvmdbg.open(tmp_path / "guest.bin", mode="prot", engine="soft", serial="none") as second,
    ):
        found = Lockstep(first, second, ("kvm", "soft")).run(2)
    assert found.same, found.describe()


def test_a_difference_is_found() -> None:
    """Memory of the second guest, which an instruction reads, is made other on the way."""
    program = generate(2, "prot", 60)
    with sessions(program, ("kvm", "kvm")) as (first, second):
        both = Lockstep(first, second)
        assert both.one() is None
        at = program.layout.data
        second.memory.write(at, bytes((first.memory.read(at, 1)[0] ^ 1,)))
        found = both.whole()
    assert found is not None and [one.what for one in found.differences] == [f"memory at physical {at:#x}"]
