"""Which exception an instruction raises (Intel SDM volume 2; volume 3A, 4 and 5)."""

from __future__ import annotations

import pytest

from kvmdbg.x86 import faults
from kvmdbg.x86.faults import DE, GP, NM, NP, PF, SS, UD, Fault
from tests.x86.cpu import CODE, EXPAND_DOWN, LONG_CODE, READ_ONLY, Cpu
from tests.x86.states import descriptor

# --- fetching -----------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_nop() -> None:
    for mode in ("real", "prot", "long"):
        assert Cpu(mode).fault() is None


def test_fetch_beyond_the_limit_of_cs() -> None:
    assert Cpu("prot").set(cs_limit=0xFFF).fault() == (GP, "ip 0x1000 is beyond the limit of CS, 0xfff")
    assert Cpu("prot").set(cs_limit=0x1000).fault() is None
    assert Cpu("real").set(rip=0x10000).fault() == (GP, "ip 0x10000 is beyond the limit of CS, 0xffff")
    assert Cpu("long").set(cs_limit=0).fault() is None


def test_fetch_of_no_canonical_address() -> None:
    assert Cpu("long").set(rip=1 << 47).fault() == (GP, "rip 0x800000000000 is not canonical")


def test_fetch_where_no_memory_is() -> None:
    text = "there is no memory at the instruction's physical address 0x20000"
    assert Cpu("prot").set(rip=0x20000).fault() == (GP, text)
    assert Cpu("prot").set(rip=0x1FFFF).fault() != (GP, text)


def test_fetch_of_a_page() -> None:
    cpu = Cpu("long")
    cpu.page(0x1000, 0)
    vector, why = cpu.fault() or (0, "")
    assert vector == PF and why.startswith("fetching the instruction at 0x1000: PML4E[0] 0x11007 -> PDPTE[0] 0x12007")
    assert why.endswith("PTE[1] 0x0 -> the PTE at 0x13008 is not present (0x0)")
    found = faults.first_fault(cpu.state)
    assert found is not None and (found.address, found.error_code) == (0x1000, 0)


# --- rights of pages (SDM volume 3A, 4.6.1) -----------------------------------------------------------

WP, SMEP, SMAP, NXE, AC = 1 << 16, 1 << 20, 1 << 21, 1 << 11, 1 << 18
READ, WRITE, FETCH = {}, {"write": True}, {"execute": True}
NOT_USER, NOT_WRITABLE = "user code may not touch a supervisor page", "the page is read-only"
NOT_EXECUTABLE = "the page is not executable (XD)"
NOT_RUN = "it is a user page, and CR4.SMEP keeps the kernel from running it"
NOT_TOUCHED = "it is a user page, and CR4.SMAP keeps the kernel from it"


@pytest.mark.parametrize(
    ("rights", "cpl", "access", "cr0", "cr4", "rflags", "why"),
    [
        (3, 0, READ, 0, 0, 0, ""), (3, 0, WRITE, WP, 0, 0, ""), (3, 0, FETCH, WP, SMEP | SMAP, 0, ""),
        (3, 3, READ, 0, 0, 0, NOT_USER), (3, 3, WRITE, WP, 0, 0, NOT_USER), (3, 3, FETCH, 0, 0, 0, NOT_USER),
        (7, 3, READ, 0, 0, 0, ""), (7, 3, WRITE, WP, 0, 0, ""), (7, 3, FETCH, 0, SMEP | SMAP, 0, ""),
        (5, 3, READ, 0, SMAP, 0, ""), (5, 3, WRITE, 0, 0, 0, NOT_WRITABLE), (5, 3, WRITE, WP, 0, 0, NOT_WRITABLE),
        (1, 0, WRITE, 0, 0, 0, ""), (1, 0, WRITE, WP, 0, 0, NOT_WRITABLE), (1, 0, READ, WP, 0, 0, ""),
        (3 | 1 << 63, 0, FETCH, 0, 0, 0, NOT_EXECUTABLE), (3 | 1 << 63, 0, READ, 0, 0, 0, ""),
        (7, 0, FETCH, 0, 0, 0, ""), (7, 0, FETCH, 0, SMEP, 0, NOT_RUN), (7, 0, FETCH, 0, SMEP, AC, NOT_RUN),
        (7, 0, FETCH, 0, SMAP, 0, ""), (7, 0, READ, 0, SMEP, 0, ""),
        (7, 0, READ, 0, SMAP, 0, NOT_TOUCHED), (7, 0, WRITE, 0, SMAP, 0, NOT_TOUCHED),
        (7, 0, READ, 0, SMAP, AC, ""), (7, 0, WRITE, WP, SMAP, AC, ""), (3, 0, READ, 0, SMAP, 0, ""),
    ],
)  # fmt: skip
def test_rights_of_a_page(
    rights: int, cpl: int, access: dict[str, bool], cr0: int, cr4: int, rflags: int, why: str
) -> None:
    cpu = Cpu("long", cpl=cpl)
    cpu.page(0x3000, 0x3000 | rights)
    cpu.regs.rflags |= rflags
    cpu.sregs.cr0 |= cr0
    cpu.sregs.cr4 |= cr4
    cpu.sregs.efer |= NXE
    found = faults.page_fault(cpu.state, 0x3210, **access)
    if not why:
        assert found is None
    else:
        doing = {"write": "writing to", "execute": "fetching the instruction at"}.get(next(iter(access), ""), "reading")
        assert found is not None and (found.vector, found.address) == (PF, 0x3210)
        assert found.why.startswith(f"{doing} 0x3210: {why} (PML4E[0] 0x11007 -> ")
        code = 1 | ("write" in access) << 1 | (cpl == 3) << 2 | ("execute" in access) << 4
        assert found.error_code == code


def test_a_reserved_bit_is_told_as_a_page_that_is_there() -> None:
    """Bit 3 comes with bit 0 (SDM volume 3A, 4.7)."""
    cpu = Cpu("long")
    cpu.page(0x3000, 0x3003 | 1 << 63)  # no EFER.NXE
    found = faults.page_fault(cpu.state, 0x3210, write=True)
    assert found is not None and (found.vector, found.error_code) == (PF, 0xB)


def test_supervisor_access_by_itself_at_cpl_3() -> None:
    """The CPU reads its tables as supervisor, whatever CPL is."""
    cpu = Cpu("long", cpl=3)
    cpu.page(0x3000, 0x3000 | 3)
    assert faults.page_fault(cpu.state, 0x3000, user=False) is None
    assert faults.page_fault(cpu.state, 0x3000, user=True) is not None


def test_without_paging_no_page_faults() -> None:
    assert faults.page_fault(Cpu("prot").state, 0xFFFFF000, write=True) is None


# --- the instruction by itself ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "code", "changes", "fault"),
    [
        ("prot", "0f0b", {}, (UD, "ud2 always raises it")),
        ("prot", "0fb9c0", {}, (UD, "ud1 always raises it")),
        ("long", "06", {}, (UD, "06 90 90 90 is no instruction")),
        ("prot", "cc", {}, (3, "int3")), ("prot", "f1", {}, (1, "int1")),
        ("prot", "cd80", {}, (0x80, "int 0x80")), ("prot", "cdff", {}, (0xFF, "int 0xff")),
        ("prot", "ce", {"rflags": 2 | 1 << 11}, (4, "into, with OF set")), ("prot", "ce", {}, None),
        # SSE (SDM volume 3A, table 13-1) and x87 (volume 3A, table 2-2)
        ("prot", "0f58c1", {"cr4": 1 << 9}, None),
        ("prot", "0f58c1", {}, (UD, "addps is SSE, and CR4.OSFXSR is clear")),
        ("prot", "0f58c1", {"cr4": 1 << 9, "cr0": 0x15}, (UD, "addps is SSE, and CR0.EM is set")),
        ("prot", "0f58c1", {"cr4": 1 << 9, "cr0": 0x19}, (NM, "addps is SSE, and CR0.TS is set")),
        ("prot", "0f1808", {"cr0": 0x1D, "rax": 0x2000}, None),  # prefetch has no XMM register
        ("prot", "c5fc58c1", {"cr4": 1 << 9}, (UD, "vaddps is AVX, and CR4.OSXSAVE is clear")),
        ("prot", "c5fc58c1", {"cr4": 1 << 9 | 1 << 18}, None),
        ("prot", "d8c1", {}, None),
        ("prot", "d8c1", {"cr0": 0x15}, (NM, "fadd is x87, and CR0.EM is set")),
        ("prot", "d8c1", {"cr0": 0x19}, (NM, "fadd is x87, and CR0.TS is set")),
        ("prot", "90", {"cr0": 0x1D}, None),
    ],
)  # fmt: skip
def test_instruction_by_itself(mode: str, code: str, changes: dict[str, int], fault: tuple[int, str] | None) -> None:
    assert Cpu(mode, code).set(**changes).fault() == fault


@pytest.mark.parametrize(("code", "software"), [("cc", True), ("f1", False), ("cd21", True), ("0f0b", False)])
def test_which_are_software_interrupts(code: str, software: bool) -> None:
    found = faults.first_fault(Cpu("prot", code).state)
    assert found is not None and found.software == software


# --- privilege ----------------------------------------------------------------------------------------

PRIVILEGED = {
    "hlt": "f4", "clts": "0f06", "invd": "0f08", "wbinvd": "0f09", "rdmsr": "0f32", "wrmsr": "0f30",
    "lgdt": "0f0115" "00200000",
    "lidt": "0f011d" "00200000", "lldt": "0f00d0", "ltr": "0f00d8", "lmsw": "0f01f0", "invlpg": "0f013d" "00200000",
}  # fmt: skip
MOVES = {"mov cr0": "0f22c0", "from cr3": "0f20d8", "mov dr7": "0f23f8", "from dr6": "0f21f0"}
PORTS = {"cli": "fa", "sti": "fb", "in": "ec", "out": "e680", "insb": "6c", "outsd": "6f"}


@pytest.mark.parametrize("name", PRIVILEGED)
def test_privileged_instructions(name: str) -> None:
    for cpl in (1, 3):
        assert Cpu("prot", PRIVILEGED[name], cpl=cpl).fault() == (GP, f"{name} is for CPL 0, and CPL is {cpl}")
    if name not in ("lldt", "ltr"):
        assert Cpu("prot", PRIVILEGED[name]).fault() is None


@pytest.mark.parametrize("name", MOVES)
def test_moves_to_control_and_debug_registers(name: str) -> None:
    assert Cpu("prot", MOVES[name], cpl=3).fault() == (GP, "mov is for CPL 0, and CPL is 3")
    assert Cpu("prot", MOVES[name]).fault() is None


def test_swapgs_at_cpl_3() -> None:
    assert Cpu("long", "0f01f8", cpl=3).fault() == (GP, "swapgs is for CPL 0, and CPL is 3")


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize(
    ("cpl", "iopl", "allowed"), [(0, 0, True), (3, 3, True), (1, 1, True), (3, 0, False), (3, 2, False)]
)
def test_instructions_that_iopl_allows(name: str, cpl: int, iopl: int, allowed: bool) -> None:
    cpu = Cpu("prot", PORTS[name], cpl=cpl).set(rflags=2 | iopl << 12, rsi=0x2000, rdi=0x2000)
    assert cpu.fault() == (None if allowed else (GP, f"{name} at CPL {cpl} with IOPL {iopl}"))


# --- memory operands ----------------------------------------------------------------------------------

LOAD, STORE, LOAD_SS, STORE_ES = "8b00", "8900", "368b00", "268900"  # mov eax, [eax] and so on
WORD_AT_END = "668b00"


@pytest.mark.parametrize(
    ("code", "changes", "fault"),
    [
        (LOAD, {"rax": 0x2000, "ds_limit": 0x2003}, None),
        (LOAD, {"rax": 0x2000, "ds_limit": 0x2002},
         (GP, "reading DS:0x2000: it is beyond the segment's limit, 0x2002")),
        (STORE, {"rax": 0x2000, "ds_limit": 0x1FFF},
         (GP, "writing to DS:0x2000: it is beyond the segment's limit, 0x1fff")),
        (LOAD_SS, {"rax": 0x2000, "ss_limit": 0x2002},
         (SS, "reading SS:0x2000: it is beyond the segment's limit, 0x2002")),
        (WORD_AT_END, {"rax": 0x2000, "ds_limit": 0x2001}, None),
        (LOAD, {"rax": 0x100, "ds_base": 0x2000, "ds_limit": 0x102},
         (GP, "reading DS:0x100: it is beyond the segment's limit, 0x102")),
        # expand-down: the valid offsets are those above the limit (SDM volume 3A, 5.3)
        (LOAD, {"rax": 0x2000, "ds_type": EXPAND_DOWN, "ds_limit": 0x1FFF}, None),
        (LOAD, {"rax": 0x2000, "ds_type": EXPAND_DOWN, "ds_limit": 0x2000},
         (GP, "reading DS:0x2000: it is beyond the segment's limit, 0x2000")),
        (LOAD, {"rax": 0x100, "ds_type": EXPAND_DOWN, "ds_limit": 0x1FFF},
         (GP, "reading DS:0x100: it is beyond the segment's limit, 0x1fff")),
        (LOAD, {"rax": 0x2000, "ds_type": CODE, "ds_limit": 0x3000}, None),  # code counts up, conforming or not
        (LOAD, {"rax": 0x2000, "ds_type": 15, "ds_limit": 0x1FFF},
         (GP, "reading DS:0x2000: it is beyond the segment's limit, 0x1fff")),
        # what may be written
        (STORE, {"rax": 0x2000, "ds_type": READ_ONLY}, (GP, "writing to DS:0x2000: the segment is not writable")),
        (LOAD, {"rax": 0x2000, "ds_type": READ_ONLY}, None),
        (STORE, {"rax": 0x2000, "ds_type": CODE}, (GP, "writing to DS:0x2000: the segment is not writable")),
        (STORE_ES, {"rax": 0x2000, "es_type": 5}, (GP, "writing to ES:0x2000: the segment is not writable")),
        # null selectors
        (LOAD, {"rax": 0x2000, "ds_unusable": 1}, (GP, "reading DS:0x2000: DS holds a null selector")),
        (LOAD, {"rax": 0x2000, "ds_selector": 3, "ds_present": 0},
         (GP, "reading DS:0x2000: DS holds a null selector")),
        # what real mode has left there, until something is loaded
        (LOAD, {"rax": 0x2000, "ds_selector": 0, "ds_limit": 0xFFFF}, None),
        (LOAD, {"rax": 0xB8000, "ds_selector": 0, "ds_limit": 0xFFFF},
         (GP, "reading DS:0xb8000: it is beyond the segment's limit, 0xffff; DS has not been loaded since real mode")),
        (LOAD, {"rax": 0x2000, "ds_selector": 4}, None),
    ],
)  # fmt: skip
def test_segments_in_protected_mode(code: str, changes: dict[str, int], fault: tuple[int, str] | None) -> None:
    assert Cpu("prot", code).set(**changes).fault() == fault


def test_segments_in_real_mode() -> None:
    """Null selectors, types and directions mean nothing there; limits do."""
    load = "a10020"  # mov ax, [0x2000]
    assert Cpu("real", load).fault() is None
    assert Cpu("real", "a30020").set(ds_type=READ_ONLY).fault() is None
    assert Cpu("real", load).set(ds_type=EXPAND_DOWN).fault() is None
    assert Cpu("real", load).set(ds_limit=0x2000).fault() == (
        GP, "reading DS:0x2000: it is beyond the segment's limit, 0x2000"
    )  # fmt: skip
    assert Cpu("real", "a1ffff").fault() == (GP, "reading DS:0xffff: it is beyond the segment's limit, 0xffff")


def test_addresses_in_long_mode() -> None:
    assert Cpu("long", "488b00").set(rax=1 << 47).fault() == (GP, "the address 0x800000000000 is not canonical")
    assert Cpu("long", "36488b00").set(rax=1 << 47).fault() == (GP, "the address 0x800000000000 is not canonical")
    assert Cpu("long", "488b4500").set(rbp=1 << 47).fault() == (SS, "the address 0x800000000000 is not canonical")
    assert Cpu("long", "488b00").set(rax=0x2000, ds_limit=0, ds_unusable=1).fault() is None
    assert Cpu("long", "488900").set(rax=0x2000, ds_type=READ_ONLY).fault() is None


def test_each_page_of_an_access() -> None:
    cpu = Cpu("long", "488900").set(rax=0x2FF9)  # eight bytes, the last in the next page
    assert cpu.fault() is None
    cpu.page(0x3000, 0)
    found = faults.first_fault(cpu.state)
    assert found is not None and (found.vector, found.address) == (PF, 0x3000)
    assert Cpu("long", "488900").set(rax=0x2FF8).fault() is None
    cpu.set(rax=0x2FF8)
    assert cpu.fault() is None


def test_write_to_a_page_that_is_read_only() -> None:
    cpu = Cpu("long", "488900", cpl=3).set(rax=0x2000)
    cpu.page(0x2000, 0x2005)
    assert (cpu.fault() or (0, ""))[0] == PF
    assert Cpu("long", "488b00", cpl=3).set(rax=0x2000).fault() is None


@pytest.mark.parametrize(
    ("mode", "code", "changes", "offset"),
    [
        ("prot", "50", {"rsp": 0x2000, "ss_limit": 0x1FFE}, "0x1ffc"),  # push eax
        ("prot", "50", {"rsp": 0x12000, "ss_limit": 0x1FFE, "ss_db": 0}, "0x1ffc"),  # a stack of 16 bits
        ("real", "50", {"rsp": 0x2000, "ss_limit": 0x1FFE}, "0x1ffe"),
    ],
)
def test_pushing_beyond_the_stack(mode: str, code: str, changes: dict[str, int], offset: str) -> None:
    limit = f"{changes['ss_limit']:#x}"
    assert Cpu(mode, code).set(**changes).fault() == (
        SS, f"writing to SS:{offset}: it is beyond the segment's limit, {limit}"
    )  # fmt: skip
    assert Cpu(mode, code).set(**{**changes, "ss_limit": changes["ss_limit"] + 1}).fault() is None


# --- loading segment registers (SDM volume 2, MOV; volume 3A, 5.4) --------------------------------------

BAD_ENTRIES: list[tuple[str, int, int | None, int, str]] = [
    # target, selector, descriptor at 0x30, vector, why
    ("ds", 0x30, descriptor(3), -1, ""),
    ("ds", 0x30, descriptor(11), -1, ""),  # readable code
    ("ds", 0x30, descriptor(9), GP, "its descriptor is 32-bit code, execute-only, DPL 0"),
    ("es", 0x30, descriptor(2, s=0, flags=0), GP, "its descriptor is LDT, DPL 0"),
    ("fs", 0x30, descriptor(3, present=0), NP, "its descriptor is data, read/write, DPL 0, not present"),
    ("gs", 0x38, None, GP, "it is beyond the GDT's limit, 0x37"),
    ("gs", 0x31, descriptor(1), -1, ""),
    ("ds", 0x34, None, GP, "it is one of an LDT, and LDTR holds none"),
    ("ds", 0, None, -1, ""), ("ds", 3, None, -1, ""),
    ("ss", 0, None, GP, "it is the null selector"), ("ss", 3, None, GP, "it is the null selector"),
    ("ss", 0x30, descriptor(3), -1, ""),
    ("ss", 0x30, descriptor(1), GP, "its descriptor is data, read-only, DPL 0"),
    ("ss", 0x30, descriptor(11), GP, "its descriptor is 32-bit code, execute/read, DPL 0"),
    ("ss", 0x30, descriptor(3, dpl=3), GP, "its descriptor is data, read/write, DPL 3"),
    ("ss", 0x33, descriptor(3), GP, "its descriptor is data, read/write, DPL 0"),
    ("ss", 0x30, descriptor(3, present=0), SS, "its descriptor is data, read/write, DPL 0, not present"),
    ("cs", 0, None, GP, "it is the null selector"),
    ("cs", 0x30, descriptor(11), -1, ""), ("cs", 0x30, descriptor(9), -1, ""),
    ("cs", 0x30, descriptor(3), GP, "its descriptor is data, read/write, DPL 0"),
    ("cs", 0x30, descriptor(11, present=0), NP, "its descriptor is 32-bit code, execute/read, DPL 0, not present"),
    ("cs", 0x30, descriptor(11, flags=0b1110), -1, ""),  # L is ignored outside of long mode
    ("tr", 0, None, GP, "it is the null selector"),
    ("tr", 0x30, descriptor(9, s=0, flags=0), -1, ""), ("tr", 0x30, descriptor(1, s=0, flags=0), -1, ""),
    ("tr", 0x30, descriptor(11, s=0, flags=0), GP, "its descriptor is TSS (busy), DPL 0"),
    ("tr", 0x30, descriptor(3, s=0, flags=0), GP, "its descriptor is 16-bit TSS (busy), DPL 0"),
    ("tr", 0x30, descriptor(9), GP, "its descriptor is 32-bit code, execute-only, DPL 0"),
    ("tr", 0x30, descriptor(9, s=0, flags=0, present=0), NP, "its descriptor is TSS (available), DPL 0, not present"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "selector", "raw", "vector", "why"), BAD_ENTRIES)
def test_selectors(target: str, selector: int, raw: int | None, vector: int, why: str) -> None:
    cpu = Cpu("prot")
    if raw is not None:
        cpu.entry(0x30, raw)
    found = faults.selector_fault(cpu.state, selector, target)
    if vector < 0:
        assert found is None
    else:
        code = selector & ~3  # the table's bit stays, the RPL goes (SDM volume 3A, 6.13)
        assert found == Fault(vector, f"loading {target.upper()} with {selector:#x}: {why}", error_code=code)


def test_selectors_in_long_mode() -> None:
    assert faults.selector_fault(Cpu("long").state, 0, "ss") is None  # a null SS is allowed below CPL 3
    assert faults.selector_fault(Cpu("long").state, 1, "ss") == Fault(
        GP, "loading SS with 0x1: it is the null selector"
    )
    assert faults.selector_fault(Cpu("long", cpl=3).state, 0, "ss") == Fault(
        GP, "loading SS with 0x0: it is the null selector"
    )
    cpu = Cpu("long")
    cpu.entry(0x30, descriptor(11, flags=0b1110))
    found = faults.selector_fault(cpu.state, 0x30, "cs")
    assert found is not None and found.vector == GP and found.why.endswith("DPL 0, with both L and D set")
    cpu.entry(0x30, descriptor(11, flags=LONG_CODE))
    assert faults.selector_fault(cpu.state, 0x30, "cs") is None


def test_local_descriptor_table() -> None:
    cpu = Cpu("prot").set(ldt_unusable=0, ldt_present=1, ldt_selector=0x28, ldt_base=0x900, ldt_limit=7)
    cpu.ram.put(0x900, descriptor(3, base=0x1234))
    found = faults.descriptor(cpu.state, 4)
    assert not isinstance(found, str) and found.base == 0x1234
    assert faults.descriptor(cpu.state, 0xC) == "it is beyond the LDT's limit, 0x7"
    for lost in ({"ldt_present": 0}, {"ldt_unusable": 1}, {"ldt_selector": 3}):
        gone = (
            Cpu("prot").set(ldt_unusable=0, ldt_present=1, ldt_selector=0x28, ldt_base=0x900, ldt_limit=7).set(**lost)
        )
        assert faults.descriptor(gone.state, 4) == "it is one of an LDT, and LDTR holds none"


def test_system_descriptors_of_long_mode_have_16_bytes() -> None:
    cpu = Cpu("long")
    cpu.entry(0x28, descriptor(9, base=0x12345678, limit=0x67, s=0, flags=0))
    cpu.ram.put(0x830, 0xFFFF8000, 4)
    found = faults.descriptor(cpu.state, 0x28)
    assert not isinstance(found, str) and found.base == 0xFFFF8000_12345678
    cpu.set(gdt_limit=0x2F)  # its second half is beyond the table
    found = faults.descriptor(cpu.state, 0x28)
    assert not isinstance(found, str) and found.base == 0x12345678
    assert isinstance(faults.descriptor(cpu.set(gdt_limit=0x2E).state, 0x28), str)


def test_descriptor_table_that_cannot_be_read() -> None:
    cpu = Cpu("long")
    cpu.page(0x0, 0)
    found = faults.descriptor(cpu.state, 8)
    assert found == "the GDT at 0x800 cannot be read (the PTE at 0x13000 is not present (0x0))"


LOADS_OF_SEGMENTS = [
    ("8ed8", {"rax": 0xFFFF0000 | 0x48}, "DS with 0x48"), ("8ec1", {"rcx": 0x48}, "ES with 0x48"),
    ("8ed0", {"rax": 0x48}, "SS with 0x48"), ("8ee0", {"rax": 0x48}, "FS with 0x48"),
    ("8ee8", {"rax": 0x48}, "GS with 0x48"),
    ("8e18", {"rax": 0x2000}, "DS with 0x4848"), ("1f", {"rsp": 0x2000}, "DS with 0x4848"),
    ("07", {"rsp": 0x2000}, "ES with 0x4848"), ("17", {"rsp": 0x2000}, "SS with 0x4848"),
    ("0fa1", {"rsp": 0x2000}, "FS with 0x4848"), ("1f", {"rsp": 0xF0002000, "ss_db": 0}, "DS with 0x4848"),
    ("1f", {"rsp": 0x1000, "ss_base": 0x1000}, "DS with 0x4848"),
    ("ea00100000" "4800", {}, "CS with 0x48"), ("9a00100000" "4800", {}, "CS with 0x48"),
    ("cb", {"rsp": 0x1FFC}, "CS with 0x4848"), ("cf", {"rsp": 0x1FFC}, "CS with 0x4848"),
    ("66cb", {"rsp": 0x1FFE}, "CS with 0x4848"), ("66cf", {"rsp": 0x1FFE}, "CS with 0x4848"),
    ("0f00d8", {"rax": 0x48}, "TR with 0x48"), ("0f0018", {"rax": 0x2000}, "TR with 0x4848"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "changes", "what"), LOADS_OF_SEGMENTS)
def test_instructions_that_load_segments(code: str, changes: dict[str, int], what: str) -> None:
    cpu = Cpu("prot", code).set(**changes)
    cpu.ram.put(0x2000, b"\x48" * 32)
    assert cpu.fault() == (GP, f"loading {what}: it is beyond the GDT's limit, 0x37")


@pytest.mark.parametrize(
    ("mode", "db", "code", "at"),
    [
        ("long", 0, "48cb", 8),
        ("long", 0, "48cf", 8),
        ("long", 0, "cf", 4),
        ("prot", 0, "cb", 2),
        ("prot", 0, "66cb", 4),
        ("prot", 1, "cb", 4),
        ("prot", 1, "66cb", 2),
        ("prot", 1, "66cf", 2),
    ],
)
def test_slot_of_a_far_return(mode: str, db: int, code: str, at: int) -> None:
    cpu = Cpu(mode, code).set(rsp=0x2000, cs_db=db)
    cpu.ram.put(0x2000 + at, 0x48, 2)
    assert cpu.fault() == (GP, "loading CS with 0x48: it is beyond the GDT's limit, 0x37")


@pytest.mark.parametrize("code", ["cb", "cf", "1f", "8e18", "f730", "0f0018"])
def test_where_no_memory_is_nothing_is_known(code: str) -> None:
    """retf, iret, pop ds, mov ds, [eax], div [eax], ltr [eax]: what they would read decides."""
    assert Cpu("prot", code).set(rsp=0x7000000, rax=0x7000000).fault() is None


def test_real_mode_loads_any_selector() -> None:
    for code in ("8ed8", "1f", "ea00104800", "cb", "cf"):
        cpu = Cpu("real", code).set(rax=0x48, rsp=0x2000)
        assert cpu.fault() is None


# --- division -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "values", "why"),
    [
        ("f7f1", {"rcx": 0}, "div by zero"), ("f7f9", {"rcx": 1 << 32}, "idiv by zero"),
        ("f6f1", {"rcx": 0x100}, "div by zero"),
        ("f7f1", {"rcx": 1, "rdx": 1}, "div: the quotient does not fit 32 bits"),
        ("f7f1", {"rcx": 2, "rdx": 1}, None), ("f7f1", {"rcx": 1, "rax": 0xFFFFFFFF}, None),
        ("f7f1", {"rcx": 1, "rax": 1 << 32}, None), ("f7f1", {"rcx": 1, "rdx": 1 << 32}, None),
        ("66f7f1", {"rcx": 1, "rdx": 1}, "div: the quotient does not fit 16 bits"),
        ("f6f1", {"rcx": 1, "rax": 0x100}, "div: the quotient does not fit 8 bits"),
        ("f6f1", {"rcx": 2, "rax": 0x1FF}, None), ("f6f1", {"rcx": 1, "rax": 0x100FF}, None),
        ("f6f5", {"rcx": 0x0200, "rax": 0x1FF}, None),  # div ch
        ("f7f9", {"rcx": 0xFFFFFFFF, "rdx": 0xFFFFFFFF, "rax": 0x80000000}, "idiv: the quotient does not fit 32 bits"),
        ("f7f9", {"rcx": 1, "rdx": 0xFFFFFFFF, "rax": 0x80000000}, None), ("f7f9", {"rcx": 1, "rax": 0x7FFFFFFF}, None),
        ("f7f9", {"rcx": 1, "rax": 0x80000000}, "idiv: the quotient does not fit 32 bits"),
        ("f7f9", {"rcx": 1, "rdx": 0xFFFFFFFF, "rax": 0x7FFFFFFF}, "idiv: the quotient does not fit 32 bits"),
        ("f7f9", {"rcx": 0xFFFFFFFE, "rdx": 0xFFFFFFFF, "rax": 0}, "idiv: the quotient does not fit 32 bits"),
        ("f7f9", {"rcx": 0xFFFFFFFE, "rdx": 0xFFFFFFFF, "rax": 0x2}, None),
        ("f6f9", {"rcx": 0xFF, "rax": 0x80}, None),
        ("f6f9", {"rcx": 0xFF, "rax": 0x81}, "idiv: the quotient does not fit 8 bits"),
        ("f6f9", {"rcx": 2, "rax": 0xFF01}, None),  # -255 / 2 is -127, towards zero
        ("f6f9", {"rcx": 2, "rax": 0xFEFF}, None),  # -257 / 2 is -128
        ("f6f9", {"rcx": 2, "rax": 0xFEFE}, "idiv: the quotient does not fit 8 bits"),  # -258 / 2 is -129
        ("f738", {"rax": 0x3000}, "idiv by zero"), ("f630", {"rax": 0x2000}, None),
        ("d400", {}, "aam with base 0"), ("d40a", {}, None),
    ],
)  # fmt: skip
def test_division(code: str, values: dict[str, int], why: str | None) -> None:
    cpu = Cpu("prot", code).set(**values)
    cpu.ram.put(0x2000, 0xFF, 1)
    assert cpu.fault() == (None if why is None else (DE, why))


def test_division_of_64_bits() -> None:
    text = "div: the quotient does not fit 64 bits"
    assert Cpu("long", "48f7f1").set(rcx=1 << 63, rdx=1 << 63).fault() == (DE, text)
    assert Cpu("long", "48f7f1").set(rcx=1 << 63, rdx=(1 << 63) - 1, rax=(1 << 64) - 1).fault() is None
    assert Cpu("long", "48f7f9").set(rcx=1, rax=1 << 63).fault() == (DE, f"i{text}")
