from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError
from kvmdbg.loaders import load
from kvmdbg.machine.boot import (
    GENERAL,
    BootState,
    SegmentState,
    boot_state,
    descriptor,
    identity_map,
    identity_pages,
)
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Segment
from kvmdbg.x86.modes import LONG64, PROT32, REAL, mode_of

GUESTS = Path(__file__).resolve().parents[2] / "guests"
MIB = 1 << 20
GIB = 1 << 30
DATA_SEGMENTS = ("ds", "es", "fs", "gs", "ss")


def image(mode: str, *segments: Segment, entry: Entry | None = None, **fields: object) -> Image:
    return Image("guest", "flat", list(segments), mode, entry or Entry(None, segments[0].address), **fields)  # type: ignore[arg-type]


def start(guest: Image, memory: int = 16 * MIB) -> BootState:
    return boot_state(guest, LoadOptions(memory=memory), memory)


def code(address: int, size: int = 16) -> Segment:
    return Segment(address, b"\xf4" * size, name="image")


def mode(state: BootState) -> object:
    return mode_of(state.cr0, state.efer, state.general["rflags"], state.segments["cs"].l, state.segments["cs"].db)


def test_hello16() -> None:
    options = LoadOptions(load=0x1000)
    state = boot_state(load(GUESTS / "hello16.bin", options), options, MIB)
    cs = state.segments["cs"]
    assert (cs.selector, cs.base, state.general["rip"], state.general["rflags"]) == (0, 0, 0x1000, 2)
    assert state.writes == []
    assert mode(state) == REAL


def test_counter16() -> None:
    options = LoadOptions(load=0x10000, entry="0x1000:0", memory=512 * MIB)
    state = boot_state(load(GUESTS / "counter16.bin", options), options, options.memory)
    for name in ("cs", *DATA_SEGMENTS):
        segment = state.segments[name]
        assert (segment.selector, segment.base, segment.limit) == (0x1000, 0x10000, 0xFFFF)
    assert (state.general["rip"], state.general["rsp"], state.general["rflags"]) == (0, 0xFFFF, 2)


def test_boot_sector() -> None:
    state = boot_state(load(GUESTS / "boot16.bin"), LoadOptions(), MIB)
    assert (state.general["rip"], state.general["rsp"], state.general["rdx"]) == (0x7C00, 0x7C00, 0x80)
    assert all(state.segments[name].base == 0 for name in ("cs", *DATA_SEGMENTS))


def test_general_registers_are_complete_and_zero_but_for_the_entry() -> None:
    state = start(image("real", code(0x1000)))
    assert tuple(state.general) == GENERAL
    assert {name: value for name, value in state.general.items() if value} == {
        "rip": 0x1000,
        "rsp": 0x1000,
        "rflags": 2,
    }


@pytest.mark.parametrize(
    ("address", "entry", "cs", "ip"),
    [
        (0x1000, None, 0, 0x1000),
        (0xFFFF, None, 0, 0xFFFF),
        (0x10000, None, 0x1000, 0),
        (0x12345, None, 0x1234, 5),
        (0x20000, 0x2000A, 0x2000, 0xA),
        (0x20000, 0x30010, 0x3001, 0),
        (0xFFFF0, None, 0xFFFF, 0),
        (0x100000, None, 0xFFFF, 0x10),
        (0x10FFE0, 0x10FFEF, 0xFFFF, 0xFFFF),
    ],
)
def test_real_mode_entry_at_a_linear_address(address: int, entry: int | None, cs: int, ip: int) -> None:
    guest = image("real", code(address, 0x20000), entry=Entry(None, address if entry is None else entry))
    state = start(guest)
    assert (state.segments["cs"].selector, state.general["rip"]) == (cs, ip)
    assert all(state.segments[name].selector == cs for name in DATA_SEGMENTS)


def test_real_mode_entry_out_of_reach() -> None:
    with pytest.raises(LoadError, match="0x10fff0 of guest is out of reach in real mode; use --mode prot or long"):
        start(image("real", code(0x10FFF0)))


@given(st.integers(0, 0x10FFEF), st.integers(0, 0x1FFFF))
def test_real_mode_enters_where_it_was_told(address: int, offset: int) -> None:
    target = min(address + offset, 0x10FFEF)
    state = start(image("real", code(address, 0x20000), entry=Entry(None, target)))
    cs = state.segments["cs"]
    assert cs.base == cs.selector << 4
    assert cs.base + state.general["rip"] == target
    assert 0 <= cs.selector <= 0xFFFF
    assert 0 <= state.general["rip"] <= 0xFFFF


def test_real_mode_stack_does_not_start_inside_the_image() -> None:
    low = start(image("real", code(0x1000, 0x2000), entry=Entry(None, 0x1800)))
    assert low.general["rsp"] == 0x1000
    at_start_of_segment = start(image("real", code(0x10000)))
    assert at_start_of_segment.general["rsp"] == 0xFFFF
    given_selector = start(image("real", code(0x7C00, 512), entry=Entry(0x7C0, 0)))
    assert given_selector.general["rsp"] == 0xFFFF


def test_real_mode_control_state_is_that_of_reset() -> None:
    """SDM volume 3A, table 9-1."""
    state = start(image("real", code(0x1000)))
    assert (state.cr0, state.cr3, state.cr4, state.efer) == (0x60000010, 0, 0, 0)
    assert state.gdt == (0, 0xFFFF)
    assert state.idt == (0, 0xFFFF)


def test_protected_mode() -> None:
    state = start(image("prot", code(MIB)))
    assert mode(state) == PROT32
    assert state.cr0 & 1
    assert (state.cr3, state.cr4, state.efer) == (0, 0, 0)
    assert state.segments["cs"] == SegmentState(0x08, 0, 0xFFFFFFFF, 11, db=1, g=1)
    for name in DATA_SEGMENTS:
        assert state.segments[name] == SegmentState(0x10, 0, 0xFFFFFFFF, 3, db=1, g=1)
    assert state.general["rip"] == MIB
    assert state.idt == (0, 0)


def written(state: BootState, name: str) -> Segment:
    return next(one for one in state.writes if one.name == name)


@pytest.mark.parametrize("kind", ["prot", "long"])
def test_gdt_in_memory_agrees_with_the_segment_registers(kind: str) -> None:
    state = start(image(kind, code(MIB)))
    gdt = written(state, "GDT")
    assert state.gdt == (gdt.address, len(gdt.data) - 1)
    assert gdt.data[:8] == bytes(8)
    for name in ("cs", "ds"):
        segment = state.segments[name]
        assert gdt.data[segment.selector : segment.selector + 8] == descriptor(segment)


@pytest.mark.parametrize(
    ("segment", "value"),
    [
        (SegmentState(8, 0, 0xFFFFFFFF, 11, db=1, g=1), 0x00CF9B000000FFFF),
        (SegmentState(8, 0, 0xFFFFFFFF, 11, l=1, g=1), 0x00AF9B000000FFFF),
        (SegmentState(16, 0, 0xFFFFFFFF, 3, db=1, g=1), 0x00CF93000000FFFF),
        (SegmentState(16, 0x12345678, 0xABCDE, 3, dpl=3), 0x120AF3345678BCDE),
    ],
)
def test_descriptor_layout(segment: SegmentState, value: int) -> None:
    assert struct.unpack("<Q", descriptor(segment)) == (value,)


def test_stack_is_the_topmost_bytes_of_its_area() -> None:
    state = start(image("prot", code(MIB)))
    stack = written(state, "stack")
    assert (stack.data, stack.size, state.general["rsp"]) == (b"", 0x1000, stack.end)


def walk(state: BootState, linear: int) -> int | None:
    """The physical address by 4-level paging, read from what boot_state wrote."""

    def entry(table: int, index: int) -> int:
        home = next(one for one in state.writes if one.contains(table))
        value: int = struct.unpack_from("<Q", home.data, table - home.address + 8 * index)[0]
        return value

    table = state.cr3
    for shift in (39, 30):
        found = entry(table, linear >> shift & 511)
        if not found & 1:
            return None
        assert not found & 0x80  # no 1 GiB pages
        table = found & ~0xFFF
    found = entry(table, linear >> 21 & 511)
    assert found & 0x83 == 0x83
    return (found & ~0x1FFFFF) + (linear & 0x1FFFFF)


@pytest.mark.parametrize(
    ("memory", "mapped"),
    [(MIB, 4 * GIB), (3 * GIB, 4 * GIB), (4 * GIB, 5 * GIB), (5 * GIB + 1, 7 * GIB), (127 * GIB, 128 * GIB)],
)
def test_long_mode_maps_the_memory_to_itself(memory: int, mapped: int) -> None:
    state = start(image("long", code(0x8000)), memory)
    assert mode(state) == LONG64
    assert (state.efer, state.cr4 & 0x20, state.cr0 & 0x80000001) == (0x500, 0x20, 0x80000001)
    assert state.cr3 % 0x1000 == 0
    for linear in (0, 0x8000, 0x1FFFFF, 0x200000, GIB - 1, GIB, 3 * GIB + 12345, mapped - 1):
        assert walk(state, linear) == linear
    assert walk(state, mapped) is None
    assert walk(state, 1 << 39) is None


@given(st.integers(1, 127 * GIB))
def test_identity_map_is_as_large_as_announced(memory: int) -> None:
    assert len(identity_map(0x10000, memory)) == identity_pages(memory) * 0x1000


def test_memory_too_large_for_the_identity_map() -> None:
    with pytest.raises(LoadError, match="long mode starts with RAM below 128 GiB only; give less --memory"):
        start(image("long", code(MIB)), 128 * GIB)


def test_segment_that_does_not_fit_is_named() -> None:
    with pytest.raises(LoadError, match=r"^image of guest \(0xff000 to 0x101000\) does not fit the memory of 1 MiB$"):
        start(image("prot", code(0xFF000, 0x2000)), MIB)


@pytest.mark.parametrize(
    ("address", "fits"), [(3 * GIB - 16, True), (3 * GIB - 8, False), (3 * GIB, False), (4 * GIB, True)]
)
def test_segment_and_the_hole_below_4_gib(address: int, fits: bool) -> None:
    guest = image("long", code(address))
    if fits:
        assert start(guest, 6 * GIB).general["rip"] == address
    else:
        with pytest.raises(LoadError, match="does not fit the memory of 6 GiB"):
            start(guest, 6 * GIB)


def test_segment_beyond_all_addresses() -> None:
    with pytest.raises(LoadError, match="does not fit the memory of 1536 KiB"):
        start(image("long", Segment((1 << 64) - 16, b"", 1 << 64, "image")), MIB + 512 * 1024)


@pytest.mark.parametrize("kind", ["real", "prot", "long"])
def test_tr_and_ldtr_are_those_of_reset(kind: str) -> None:
    """Busy 32-bit TSS and LDT, both system segments (SDM volume 3A, table 9-1; VM entry wants TR busy)."""
    segments = start(image(kind, code(0x1000))).segments
    assert segments["tr"] == SegmentState(0, 0, 0xFFFF, 11, present=1, s=0)
    assert segments["ldtr"] == SegmentState(0, 0, 0xFFFF, 2, present=1, s=0)
    assert set(segments) == {"cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr"}


def test_segments_of_real_mode() -> None:
    segments = start(image("real", code(0x12340), entry=Entry(0x1234, 0))).segments
    assert segments["cs"] == SegmentState(0x1234, 0x12340, 0xFFFF, 11)
    for name in DATA_SEGMENTS:
        assert segments[name] == SegmentState(0x1234, 0x12340, 0xFFFF, 3)


def test_control_registers_of_long_mode() -> None:
    """PE, ET, PG; PAE, OSFXSR, OSXMMEXCPT; LME, LMA. Protected mode has PE and ET alone."""
    state = start(image("long", code(0x8000)))
    assert (state.cr0, state.cr4, state.efer) == (0x80000011, 0x620, 0x500)
    assert start(image("prot", code(0x8000))).cr0 == 0x11
    assert state.segments["cs"] == SegmentState(0x08, 0, 0xFFFFFFFF, 11, l=1, g=1)
    assert state.segments["ss"] == SegmentState(0x10, 0, 0xFFFFFFFF, 3, db=1, g=1)
    assert state.idt == (0, 0)


@pytest.mark.parametrize(("kind", "names"), [("prot", ["GDT", "stack"]), ("long", ["GDT", "page tables", "stack"])])
def test_where_structures_lie(kind: str, names: list[str]) -> None:
    """From 0x9f000 down, each aligned, one below the other."""
    state = start(image(kind, code(MIB)))
    assert [one.name for one in state.writes] == names
    gdt, stack = state.writes[0], state.writes[-1]
    assert (gdt.address, len(gdt.data)) == (0x9F000 - 0x20, 24)
    if kind == "long":
        assert state.cr3 == 0x9F000 - 0x7000 and written(state, "page tables").size == 0x6000
    assert (stack.address, stack.size) == (0x9F000 - (0x8000 if kind == "long" else 0x2000), 0x1000)


def test_structures_keep_clear_of_the_image() -> None:
    guest = image("prot", code(0x9E000, 0x1000), code(0x9B000, 0x2000), entry=Entry(None, 0x9E000))
    state = start(guest)
    assert written(state, "GDT").address == 0x9DFE0
    assert written(state, "stack").address == 0x9A000  # 0x9d000 to 0x9dfe0 is too small for a whole page


def test_little_memory_is_enough() -> None:
    state = start(image("prot", code(0x1000, 0x100)), 0x4000)
    assert written(state, "GDT").address == 0x3FE0 and written(state, "stack").address == 0x2000
    with pytest.raises(
        LoadError, match=r"no room for the stack \(4096 bytes\) below 0x3000 beside guest; load it elsewhere"
    ):
        start(image("prot", code(0x1000, 0x100)), 0x3000)


def test_first_page_stays_free() -> None:
    whole = image("prot", code(0x2000, 0x9D000))
    with pytest.raises(LoadError, match="no room for the stack"):
        start(whole)
    assert written(start(image("prot", code(0x3000, 0x9C000))), "stack").address == 0x1000


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (MIB, "1 MiB"),
        (3 * GIB, "3 GiB"),
        (MIB + 1024, "1025 KiB"),
        (4096 + 1, "4097 bytes"),
        (1023, "1023 bytes"),
        (2048, "2 KiB"),
    ],
)
def test_amounts_of_memory(size: int, text: str) -> None:
    with pytest.raises(LoadError, match=f"does not fit the memory of {text}$"):
        start(image("prot", code(1 << 40)), size)


def test_real_mode_stack() -> None:
    """Below the image, at an even address; at the segment's end where there is no room, or the entry has a selector."""
    tops = {0x7C00: 0x7C00, 0x1001: 0x1000, 0xFFFF: 0xFFFE, 0: 0xFFFF, 0x12345: 0xFFFF, 0x10000: 0xFFFF}
    for address, top in tops.items():
        assert start(image("real", code(address))).general["rsp"] == top
    assert start(image("real", code(0x7C00), entry=Entry(0, 0x7C00))).general["rsp"] == 0xFFFF


def test_entry_of_another_segment_names_what_was_loaded() -> None:
    guest = image("prot", *(code(0x1000 * n) for n in range(1, 7)), entry=Entry(None, 0x9000))
    shown = "0x1000 to 0x1010, 0x2000 to 0x2010, 0x3000 to 0x3010, 0x4000 to 0x4010"
    with pytest.raises(LoadError, match=rf"outside what was loaded \({shown}\); see --load and --entry"):
        start(guest)


def test_entry_above_4_gib() -> None:
    guest = image("prot", Segment(4 * GIB, b"x"), entry=Entry(None, 4 * GIB))
    with pytest.raises(LoadError, match="the entry 0x100000000 of guest is above 4 GiB, out of reach in prot mode"):
        start(guest, 6 * GIB)


def test_largest_memory_of_long_mode() -> None:
    assert start(image("long", code(MIB)), 127 * GIB).cr3
    with pytest.raises(LoadError, match="below 128 GiB only"):
        start(image("long", code(MIB)), 127 * GIB + 4096)


def test_pages_of_the_identity_map() -> None:
    assert [identity_pages(memory) for memory in (1, 3 * GIB, 4 * GIB, 127 * GIB)] == [6, 6, 7, 130]
    table = identity_map(0x10000, MIB)
    entries = struct.unpack(f"<{len(table) // 8}Q", table)
    assert entries[0] == 0x11003 and not any(entries[1:512])
    assert entries[512:516] == (0x12003, 0x13003, 0x14003, 0x15003) and not any(entries[516:1024])
    assert entries[1024:1027] == (0x83, 0x200083, 0x400083) and entries[-1] == 4 * GIB - (2 << 20) | 0x83


def test_segments_of_an_image() -> None:
    one = Segment(0x1000, b"abc", 0x10, "text", linked=0x8000)
    assert (one.end, one.linear, Segment(0x1000, b"abc").size, Segment(0x1000, b"abc").linear) == (
        0x1010,
        0x8000,
        3,
        0x1000,
    )
    assert [one.contains(address) for address in (0xFFF, 0x1000, 0x100F, 0x1010)] == [False, True, True, False]
    assert Segment(5, b"ab", 2).end == 7
    for wrong in ({"address": -1, "data": b""}, {"address": 0, "data": b"abc", "size": 2}):
        with pytest.raises(ValueError, match="segment ''"):
            Segment(**wrong)  # type: ignore[arg-type]
    assert Segment(0, b"").end == 0


def test_image_of_multiboot() -> None:
    assert Image("g", "multiboot", [], "prot", Entry(None, 0)).multiboot
    assert not Image("g", "elf", [], "prot", Entry(None, 0)).multiboot
    assert LoadOptions().memory == 128 * MIB


def test_overlapping_segments_are_named() -> None:
    guest = image("prot", Segment(MIB, b"a", 0x2000, "text"), Segment(MIB + 0x1FFF, b"b", name="data"))
    with pytest.raises(
        LoadError, match=r"text of guest \(0x100000 to 0x102000\) overlaps data \(0x101fff to 0x102000\)"
    ):
        start(guest)


@pytest.mark.parametrize("kind", ["real", "prot", "long"])
def test_entry_outside_the_image(kind: str) -> None:
    with pytest.raises(LoadError, match=r"the entry 0x2000 of guest lies outside what was loaded \(0x1000 to 0x1010\)"):
        start(image(kind, code(0x1000), entry=Entry(None, 0x2000)))


def test_seg_off_outside_real_mode() -> None:
    with pytest.raises(LoadError, match="the entry is an address and not SEG:OFF"):
        start(image("prot", code(MIB), entry=Entry(8, MIB)))


def test_protected_mode_entry_above_4_gib() -> None:
    with pytest.raises(LoadError, match="above 4 GiB, out of reach in prot mode"):
        start(image("prot", code(5 * GIB)), 6 * GIB)


def test_structures_of_the_boot_protocol() -> None:
    asked: list[tuple[int, int]] = []

    def build(address: int, memory: int) -> bytes:
        asked.append((address, memory))
        return b"info"

    wanted = BootStructure("information", 64, build, "rsi", align=256)
    state = start(image("prot", code(MIB), structures=[wanted], registers={"rax": 7}))
    placed = written(state, "information")
    assert asked == [(placed.address, 16 * MIB)]
    assert placed.address % 256 == 0
    assert (placed.data, placed.size) == (b"info", 64)
    assert (state.general["rsi"], state.general["rax"]) == (placed.address, 7)


def test_multiboot_guest() -> None:
    options = LoadOptions(cmdline="quiet", memory=32 * MIB)
    state = boot_state(load(GUESTS / "mb32.elf", options), options, options.memory)
    info = written(state, "multiboot information")
    assert (state.general["rax"], state.general["rbx"]) == (0x2BADB002, info.address)
    (command,) = struct.unpack_from("<I", info.data, 16)
    assert info.data[command - info.address :].startswith(b"quiet\0")
    assert mode(state) == PROT32


@pytest.mark.parametrize("kind", ["prot", "long"])
def test_no_room_for_the_structures(kind: str) -> None:
    with pytest.raises(LoadError, match=r"no room for the \w+.* below 0x9f000 beside guest"):
        start(image(kind, code(0x1000, 0x9E000)))
    with pytest.raises(LoadError, match="no room for the"):
        start(image(kind, code(0x1000)), 0x2000)


@given(
    st.sampled_from(["prot", "long"]),
    st.integers(0x8000, 64 * MIB),
    st.lists(st.tuples(st.integers(0, 0xA0000), st.integers(1, 0x8000)), min_size=1, max_size=8),
)
def test_nothing_placed_overlaps_anything(kind: str, memory: int, spans: list[tuple[int, int]]) -> None:
    guest = image(kind, *(code(address, size) for address, size in spans))
    try:
        state = start(guest, memory)
    except LoadError as error:
        assert "guest" in str(error)
        return
    everything = sorted([*guest.segments, *state.writes], key=lambda one: one.address)
    assert everything[-1].end <= memory
    for before, after in pairwise(everything):
        assert before.end <= after.address
    assert all(one.address >= 0x1000 and one.end <= 0x9F000 for one in state.writes)
