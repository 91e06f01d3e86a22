"""The shipped images are what their sources say, and what the tests of the engine rely on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kvmdbg.loaders import Entry, Image, LoadOptions, load
from kvmdbg.machine.boot import boot_state
from kvmdbg.x86.modes import mode_of

GUESTS = Path(__file__).resolve().parents[2] / "guests"
FLAT = sorted(path.stem for path in GUESTS.glob("*.asm"))
ELF = sorted(path.name for path in GUESTS.glob("*.elf"))
HELLO16 = bytes.fromhex("ba f803 00d8 0430 ee b00a ee f4")
COUNTER16 = bytes.fromhex("31c0 e710 40 ebfb")


def needs(*programs: str) -> None:
    """Skips where a program is missing."""
    missing = [one for one in programs if shutil.which(one) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: the shipped guests cannot be rebuilt here")


def build(directory: Path, target: str) -> None:
    command = ["make", "-s", "-C", str(GUESTS), f"O={directory}", f"{directory}/{target}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_source_has_its_image() -> None:
    assert FLAT == [
        "bios_disk",
        "bios_keys",
        "bios_memory",
        "bios_pixels",
        "boot16",
        "counter16",
        "hello16",
        "modes",
        "rom",
        "screens",
    ]
    assert ELF == [
        "boot16.elf",
        "hvt.elf",
        "ide.elf",
        "kernel-O0.elf",
        "kernel-O2.elf",
        "linux.elf",
        "long64.elf",
        "mb32.elf",
        "modes.elf",
        "multiboot.elf",
        "smp.elf",
    ]


@pytest.mark.parametrize("name", FLAT)
def test_flat_image_is_what_nasm_makes_of_its_source(tmp_path: Path, name: str) -> None:
    needs("make", "nasm")
    build(tmp_path, f"{name}.bin")
    assert (tmp_path / f"{name}.bin").read_bytes() == (GUESTS / f"{name}.bin").read_bytes()


@pytest.mark.parametrize(
    "name", [name for name in ELF if not name.startswith(("hvt", "ide", "kernel", "linux", "multiboot", "smp"))]
)
def test_elf_image_loads_what_its_source_makes(tmp_path: Path, name: str) -> None:
    """Not compared byte by byte: section order and padding are the linker version's."""
    needs("make", "nasm", "gcc", "ld")
    build(tmp_path, name)
    made, shipped = load(tmp_path / name), load(GUESTS / name)
    assert made.segments == shipped.segments
    assert made.entry == shipped.entry
    assert {(s.name, s.address, s.size, s.kind) for s in made.symbols} == {
        (s.name, s.address, s.size, s.kind) for s in shipped.symbols
    }


@pytest.mark.parametrize("name", ["kernel-O0.elf", "kernel-O2.elf"])
def test_kernel_has_what_its_sources_name(tmp_path: Path, name: str) -> None:
    """Its code is the compiler version's."""
    needs("make", "gcc", "ld")
    build(tmp_path, name)
    made, shipped = load(tmp_path / name), load(GUESTS / name)
    assert made.entry == shipped.entry
    names = [{one.name.partition(".")[0] for one in image.symbols} for image in (made, shipped)]
    assert {"_start", "kernel_main", "run_tasks", "demand_page", "handle", "all", "traps"} <= names[0] & names[1]


def test_the_two_first_guests_are_the_documented_bytes() -> None:
    assert (GUESTS / "hello16.bin").read_bytes() == HELLO16
    assert len(HELLO16) == 12
    assert (GUESTS / "counter16.bin").read_bytes() == COUNTER16


def test_images_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in GUESTS.iterdir()}
    assert max(sizes.values()) < 64 * 1024
    assert sizes["boot16.bin"] == sizes["modes.bin"] == 512


@pytest.mark.parametrize("name", ["boot16", "modes"])
def test_symbol_twin_holds_the_same_bytes(name: str) -> None:
    (segment,) = load(GUESTS / f"{name}.elf").segments
    assert (segment.address, segment.data) == (0x7C00, (GUESTS / f"{name}.bin").read_bytes())


def symbols(image: Image) -> set[str]:
    return {one.name for one in image.symbols}


@pytest.mark.parametrize(
    ("file", "format_", "mode", "names"),
    [
        ("boot16.bin", "bootsector", "real", set()),
        ("modes.bin", "bootsector", "real", set()),
        ("boot16.elf", "elf", "prot", {"start", "again", "func", "counter"}),
        ("modes.elf", "elf", "prot", {"start", "real_out", "prot32", "prot_out", "long64", "long_out", "done"}),
        ("mb32.elf", "multiboot", "prot", {"_start", "again", "func", "counter", "magic", "information"}),
        ("long64.elf", "elf", "long", {"_start", "main", "again", "func", "print", "counter", "message"}),
    ],
)
def test_guest_is_recognised_and_has_its_names(file: str, format_: str, mode: str, names: set[str]) -> None:
    image = load(GUESTS / file)
    assert (image.format, image.mode) == (format_, mode)
    assert names <= symbols(image)
    state = boot_state(image, LoadOptions(), 2 << 20)
    cs = state.segments["cs"]
    assert mode_of(state.cr0, state.efer, 2, cs.l, cs.db).name.startswith(mode)


def test_long64_has_functions_with_sizes() -> None:
    found = {one.name: one for one in load(GUESTS / "long64.elf").symbols}
    assert found["main"].kind == found["func"].kind == "function"
    assert found["main"].address + found["main"].size > found["again"].address > found["main"].address
    assert (found["counter"].kind, found["counter"].size) == ("object", 8)


def test_mb32_enters_at_start() -> None:
    image = load(GUESTS / "mb32.elf")
    start = next(one.address for one in image.symbols if one.name == "_start")
    assert image.entry == Entry(None, start)
