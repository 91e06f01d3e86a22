"""Page walks in every paging mode: none, 32-bit (PSE, PSE-36), PAE, 4-level and 5-level.

Source: Intel SDM volume 3A, chapter 4. Nothing is written: accessed and dirty bits stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmdbg.errors import MemoryFault
from kvmdbg.faces import InNotebooks
from kvmdbg.masks import LOW32
from kvmdbg.record import record
from kvmdbg.x86.modes import CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA

Read = Callable[[int, int], bytes]
EFER_NXE = 1 << 11
PRESENT, WRITABLE, USER, LARGE, NX = 1, 2, 4, 0x80, 1 << 63
ADDRESS_52 = ((1 << 52) - 1) & ~0xFFF


@record
class Limits:
    """What this CPU's paging structures may hold.

    ``address_bits`` are those of its physical addresses (MAXPHYADDR); ``gib_pages``: there are pages of 1 GiB;
    ``pse36``: large pages of 32-bit paging may lie above 4 GiB; ``bit_8_reserved``: in the two uppermost tables, as on
    AMD's.
    """

    address_bits: int = 52
    gib_pages: bool = True
    pse36: bool = True
    bit_8_reserved: bool = False


def limits(cpuid: Callable[[int], tuple[int, int, int, int]]) -> Limits:
    """The limits of the CPU whose CPUID leaves (EAX, EBX, ECX, EDX; zeros for none) these are."""
    most, *vendor = cpuid(0x80000000)
    name = b"".join(one.to_bytes(4, "little") for one in (vendor[0], vendor[2], vendor[1]))
    pae, pse36 = cpuid(1)[3] >> 6 & 1, cpuid(1)[3] >> 17 & 1
    bits = cpuid(0x80000008)[0] & 0xFF if most >= 0x80000008 else 0
    gib_pages = bool(cpuid(0x80000001)[3] >> 26 & 1)
    return Limits(bits or (36 if pae else 32), gib_pages, bool(pse36), name in (b"AuthenticAMD", b"HygonGenuine"))


ANY_CPU = Limits()


@record
class WalkEntry:
    """One paging-structure entry of a walk: number ``index`` of the table at guest-physical ``table``."""

    level: int
    name: str
    table: int
    index: int
    value: int
    size: int

    @property
    def address(self) -> int:
        """Guest-physical address of the entry itself."""
        return self.table + self.index * self.size


@record
class Walk(InNotebooks):
    """How a linear address translates. ``physical`` is None and ``fault`` says why where it does not."""

    linear: int
    physical: int | None
    entries: tuple[WalkEntry, ...]
    page_size: int
    writable: bool
    user: bool
    executable: bool
    fault: str | None = None
    reserved_bits: bool = False
    """The entry is present, and faults for bits that must be clear."""


@record
class _Level:
    name: str
    shift: int
    bits: int
    large: bool


PT, PD = _Level("PTE", 12, 9, False), _Level("PDE", 21, 9, True)
PDPT, PML4, PML5 = _Level("PDPTE", 30, 9, True), _Level("PML4E", 39, 9, False), _Level("PML5E", 48, 9, False)
PAE_PDPT = _Level("PDPTE", 30, 2, False)
LEGACY_PT, LEGACY_PD = _Level("PTE", 12, 10, False), _Level("PDE", 22, 10, True)


def _levels(cr4: int, efer: int) -> tuple[tuple[_Level, ...], int, int]:
    """(levels from the top, bytes an entry, mask of CR3's table address)."""
    if efer & EFER_LMA:
        four = (PML4, PDPT, PD, PT)
        return ((PML5, *four) if cr4 & CR4_LA57 else four), 8, ADDRESS_52
    if cr4 & CR4_PAE:
        return (PAE_PDPT, PD, PT), 8, 0xFFFFFFE0
    return (LEGACY_PD, LEGACY_PT), 4, 0xFFFFF000


def _frame(entry: int, level: _Level, size: int) -> int:
    """The page that a leaf entry maps; its reserved bits are clear."""
    if size == 4:
        if level is LEGACY_PD:  # PSE-36: bits 20:13 are bits 39:32 of the address
            return entry & 0xFFC00000 | (entry >> 13 & 0xFF) << 32
        return entry & 0xFFFFF000
    return entry & ADDRESS_52 & -(1 << level.shift)


def _is_large(entry: int, level: _Level, size: int, cr4: int) -> bool:
    return level.large and bool(entry & LARGE) and (size == 8 or bool(cr4 & CR4_PSE))


def _reserved(level: _Level, size: int, efer: int, large: bool, cpu: Limits) -> int:
    """The bits that must be clear in a present entry, or the access faults (SDM volume 3A, 4.3 to 4.5; AMD APM 2, 5.3).

    What a PAE PDPTE reserves is checked when CR3 is loaded.
    """
    if size == 4:
        address_bits = min(cpu.address_bits, 40) if cpu.pse36 else 32
        return _bits(address_bits - 32 + 13, 22) if large else 0
    if level is PAE_PDPT:
        return 0
    found = 0 if efer & EFER_NXE else NX
    found |= _bits(cpu.address_bits, 52 if efer & EFER_LMA else 63)
    if large:
        found |= _bits(13, level.shift)
        if level is PDPT and not cpu.gib_pages:
            found |= LARGE
    elif level in (PML4, PML5):
        found |= LARGE | (1 << 8 if cpu.bit_8_reserved else 0)
    return found


def _bits(first: int, end: int) -> int:
    """A number with the bits from ``first`` to before ``end`` set."""
    return max((1 << end) - (1 << first), 0)


def walk(read_phys: Read, cr0: int, cr3: int, cr4: int, efer: int, linear: int, cpu: Limits = ANY_CPU) -> Walk:
    """Translate ``linear``; ``read_phys(address, size)`` reads guest-physical memory (MemoryFault where none is)."""
    if not cr0 & CR0_PG:
        return Walk(linear, linear & LOW32, (), 0x1000, True, True, True)
    levels, size, mask = _levels(cr4, efer)
    if efer & EFER_LMA:
        width = 57 if cr4 & CR4_LA57 else 48
        top = linear >> width - 1
        if top not in (0, (1 << 65 - width) - 1):
            return Walk(linear, None, (), 0, False, False, False, "the address is not canonical")
    else:
        linear &= LOW32
    table = cr3 & mask
    entries: list[WalkEntry] = []
    writable = user = executable = True
    for depth, level in enumerate(levels):
        index = linear >> level.shift & (1 << level.bits) - 1
        at = table + index * size
        try:
            value = int.from_bytes(read_phys(at, size), "little")
        except MemoryFault:
            why = f"the {level.name} at {at:#x} is outside the guest's memory"
            return Walk(linear, None, tuple(entries), 0, False, False, False, why)
        entries.append(WalkEntry(len(levels) - depth, level.name, table, index, value, size))
        if not value & PRESENT:
            why = f"the {level.name} at {at:#x} is not present ({value:#x})"
            return Walk(linear, None, tuple(entries), 0, False, False, False, why)
        is_large = _is_large(value, level, size, cr4)
        if reserved := value & _reserved(level, size, efer, is_large, cpu):
            why = f"the {level.name} at {at:#x} has reserved bits set ({reserved:#x} of {value:#x})"
            return Walk(linear, None, tuple(entries), 0, False, False, False, why, reserved_bits=True)
        if level is not PAE_PDPT:
            writable &= bool(value & WRITABLE)
            user &= bool(value & USER)
            if size == 8 and efer & EFER_NXE and value & NX:
                executable = False
        if is_large or level.shift == 12:
            page = 1 << level.shift
            physical = _frame(value, level, size) + (linear & page - 1)
            return Walk(linear, physical, tuple(entries), page, writable, user, executable)
        table = value & (ADDRESS_52 if size == 8 else 0xFFFFF000)
    raise AssertionError("a walk ends at a page")


def tables(read_phys: Read, cr0: int, cr3: int, cr4: int, efer: int) -> Iterator[int]:
    """Guest-physical addresses of the 4 KiB pages that hold paging structures, each once."""
    if not cr0 & CR0_PG:
        return
    levels, size, mask = _levels(cr4, efer)
    seen: set[tuple[int, int]] = set()
    pages: set[int] = set()
    todo = [(cr3 & mask, 0)]
    while todo:
        table, depth = todo.pop()
        if (table, depth) in seen:
            continue
        seen.add((table, depth))
        level = levels[depth]
        if table & ~0xFFF not in pages:
            pages.add(table & ~0xFFF)
            yield table & ~0xFFF
        if level.shift == 12:
            continue
        try:
            raw = read_phys(table, size << level.bits)
        except MemoryFault:
            continue
        for at in range(0, len(raw), size):
            value = int.from_bytes(raw[at : at + size], "little")
            if value & PRESENT and not _is_large(value, level, size, cr4):
                todo.append((value & (ADDRESS_52 if size == 8 else 0xFFFFF000), depth + 1))


@record
class Mapping:
    """Linear addresses ``linear`` to ``linear + size - 1`` map to consecutive ones from ``physical`` on."""

    linear: int
    physical: int
    size: int
    writable: bool
    user: bool
    executable: bool

    @property
    def access(self) -> str:
        """``rwx`` or less."""
        return f"r{'w' if self.writable else ''}{'x' if self.executable else ''}"

    @property
    def rights(self) -> str:
        """``rwx`` and ``u`` for user or ``s`` for supervisor."""
        return f"r{'w' if self.writable else '-'}{'x' if self.executable else '-'} {'u' if self.user else 's'}"


_Piece = tuple[int, int, int, bool, bool, bool]
MOST_MAPPINGS = 200_000


def mappings(read_phys: Read, cr0: int, cr3: int, cr4: int, efer: int, cpu: Limits = ANY_CPU) -> list[Mapping]:
    """Everything that is mapped, by linear address; neighbours with the same rights are one.

    Tables that are shared, or hold themselves, are looked at once for each level. At most ``MOST_MAPPINGS`` pieces.
    """
    if not cr0 & CR0_PG:
        return [Mapping(0, 0, 1 << 32, True, True, True)]
    levels, size, mask = _levels(cr4, efer)
    known: dict[tuple[int, int], list[_Piece]] = {}

    def table(address: int, depth: int) -> list[_Piece]:
        """Pieces of the table at ``address``, their linear addresses counted from where it begins."""
        found = known.get((address, depth))
        if found is not None:
            return found
        known[address, depth] = found = []
        level = levels[depth]
        try:
            raw = read_phys(address, size << level.bits)
        except MemoryFault:
            return found
        reserved = [_reserved(level, size, efer, large, cpu) for large in (False, True)]
        for index in range(1 << level.bits):
            value = int.from_bytes(raw[index * size : (index + 1) * size], "little")
            is_large = _is_large(value, level, size, cr4)
            if not value & PRESENT or value & reserved[is_large]:
                continue
            start = index << level.shift
            writable, user, executable = True, True, True
            if level is not PAE_PDPT:
                writable, user = bool(value & WRITABLE), bool(value & USER)
                executable = not value & NX  # reserved without EFER.NXE
            if level.shift == 12 or is_large:
                _append(found, (start, _frame(value, level, size), 1 << level.shift, writable, user, executable))
            else:
                for at, physical, length, w, u, x in table(
                    value & (ADDRESS_52 if size == 8 else 0xFFFFF000), depth + 1
                ):
                    _append(found, (start + at, physical, length, w and writable, u and user, x and executable))
            if len(found) > MOST_MAPPINGS:
                break
        return found

    width = levels[0].shift + levels[0].bits
    sign = 1 << width - 1 if efer & EFER_LMA else 0
    pieces = table(cr3 & mask, 0)
    halves: list[Mapping] = []
    for at, physical, length, writable, user, executable in pieces:
        if sign and at < sign < at + length:  # the two halves of linear memory do not touch
            halves.append(Mapping(at, physical, sign - at, writable, user, executable))
            at, physical, length = sign, physical + sign - at, at + length - sign
        linear = at | (1 << 64) - (1 << width) if sign and at & sign else at
        halves.append(Mapping(linear, physical, length, writable, user, executable))
    return halves


def _append(pieces: list[_Piece], piece: _Piece) -> None:
    if pieces:
        at, physical, length, *rights = pieces[-1]
        if at + length == piece[0] and physical + length == piece[1] and tuple(rights) == piece[3:]:
            pieces[-1] = (at, physical, length + piece[2], *piece[3:])
            return
    pieces.append(piece)
