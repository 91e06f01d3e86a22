"""The virtual CPUs and their address translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, NumberType, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Group, Message, Result, Table, Text
from kvmdbg.errors import UsageError
from kvmdbg.x86.modes import CR0_PG, CR4_LA57
from kvmdbg.x86.paging import Mapping, Walk

VcpuArg = Annotated[int | None, NumberType("NUMBER")]


@command(
    "vcpu",
    aliases=("thread", "t"),
    group="info",
    example=("vcpu", "vcpu 1"),
    guest="--irqchip --cpus 2 --load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.select({number})",
)
def vcpu(dbg: Interpreter, number: VcpuArg = None) -> Result:
    """Make a virtual CPU the current one: registers, memory and steps are its from then on."""
    if number is not None:
        count = len(list(dbg.session.vcpus))
        if number >= count:
            raise UsageError(
                f"there is no vCPU {number}; there {'is only 0' if count == 1 else f'are 0 to {count - 1}'}"
            )
        dbg.session.select(number)
    one = dbg.session.vcpu
    cs, ip = one.cs_ip
    sentence = f"vCPU {one.index}, {one.mode.name}, at {cs:04x}:{ip:x}, linear {one.pc:#x}."
    return Message(sentence, data={"vcpu": one.index, "pc": one.pc})


@command(
    "translate",
    group="data",
    example="translate kernel_main",
    guest="guests/kernel-O0.elf",
    py="dbg.translate({address})",
)
def translate(dbg: Interpreter, address: AddressArg) -> Result:
    """Walk the page tables for a linear address: each entry, the page and its rights, the physical address."""
    if address.space == "phys":
        raise UsageError(
            f"translate takes a linear address; info mappings phys:{address.address:#x} shows what maps it"
        )
    return page_walk(dbg.session.translate(address.address))


def page_walk(walk: Walk) -> Result:
    """Each entry of a walk, the page and its rights, the physical address."""
    rows = tuple(
        (str(one.level), one.name, f"{one.table:#x}", str(one.index), f"{one.value:#x}") for one in walk.entries
    )
    data = tuple({"name": e.name, "table": e.table, "index": e.index, "value": e.value} for e in walk.entries)
    values = {"linear": f"{walk.linear:#x}"}
    numbers = {"linear_address": walk.linear, "physical_address": walk.physical}
    if walk.physical is None:
        values["fault"] = walk.fault or "not mapped"
    else:
        values["physical"] = f"{walk.physical:#x}"
        if walk.entries:
            rights = [walk.writable and "writable", walk.user and "user", walk.executable and "executable"]
            values["page"] = f"{walk.page_size:#x} bytes, " + (", ".join(r for r in rights if r) or "read-only")
        else:
            values["page"] = "paging is off: linear is physical"
    summary = Fields("", values, numbers)
    if not rows:
        return summary
    return Group((Table("page walk", ("Level", "Entry", "Table", "Index", "Value"), rows, data=data), summary))


@command(
    "info mappings",
    aliases=("map",),
    group="info",
    example=("advance kernel_main", "info mappings", "info mappings kernel_main", "info mappings phys:0x100000"),
    guest="guests/kernel-O0.elf",
    py="dbg.mappings()",
)
def info_mappings(dbg: Interpreter, address: AddressArg | None = None) -> Result:
    """Show all that the page tables map, neighbours with the same rights as one; or the range that holds ADDRESS.

    With phys:ADDRESS: every range that maps this physical address, and where in it.
    """
    found = dbg.session.mappings()
    if address is None:
        return mappings_table(found)
    if address.space == "phys":
        found = [one for one in found if one.physical <= address.address < one.physical + one.size]
    else:
        found = [one for one in found if one.linear <= address.address < one.linear + one.size]
    if address.space == "phys":
        empty = f"Nothing maps physical {address.address:#x}."
    else:
        empty = f"{address.address:#x} is not mapped: {dbg.session.translate(address.address).fault}."
    return mappings_table(found, empty, address.address if address.space == "phys" else None)


def mappings_table(
    mappings: Sequence[Mapping], empty: str = "Nothing is mapped.", physical: int | None = None
) -> Table:
    """Mappings, a row each; with ``physical`` also where this address is in each."""
    rows = tuple(
        (
            f"{one.linear:#x}",
            f"{one.linear + one.size - 1:#x}",
            f"{one.physical:#x}",
            _bytes(one.size),
            one.rights,
            "" if physical is None else f"{one.linear + physical - one.physical:#x}",
        )
        for one in mappings
    )
    data = tuple(
        {"linear": one.linear, "physical": one.physical, "size": one.size, "rights": one.rights} for one in mappings
    )
    there = "There" if rows and physical is not None else ""
    return Table("mappings", ("Linear from", "to", "Physical from", "Size", "Rights", there), rows, empty, data)


@command(
    "info mem",
    group="info",
    example=("advance long64", "info mem"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.mappings()",
)
def info_mem(dbg: Interpreter) -> Result:
    """Show what the page tables map as QEMU's monitor does: first address, end, size, rights of user, read, write.

    For programs that know QEMU's lines, as pwndbg and gef, which ask for them with `monitor info mem`. `info mappings`
    tells more.
    """
    runner = dbg.session.runner
    if not runner.sregs.cr0 & CR0_PG:
        return Text("PG disabled\n")
    whole: list[tuple[int, int, str]] = []
    for one in dbg.session.mappings():
        start, rights = one.linear, f"{'u' if one.user else '-'}r{'w' if one.writable else '-'}"
        if whole and whole[-1][1:] == (start, rights):
            start = whole.pop()[0]
        whole.append((start, one.linear + one.size, rights))
    beyond = 1 << (57 if runner.sregs.cr4 & CR4_LA57 else 48)  # the end of the last address, as QEMU writes it
    ends = [end if end < 1 << 64 else beyond for _, end, _ in whole]
    lines = [
        f"{start:016x}-{shown:016x} {end - start:016x} {rights}\n"
        for (start, end, rights), shown in zip(whole, ends, strict=True)
    ]
    return Text("".join(lines))


def _bytes(size: int) -> str:
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift and not size & (1 << shift) - 1:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


SnapshotArg = Annotated[
    str, WordType("SNAPSHOT", lambda dbg: [one.name for one in dbg.session.snapshots], strict=False)
]


@command(
    "diff", group="data", example=("snapshot save before", "stepi 3", "diff before"), py="dbg.differences({before})"
)
def diff(dbg: Interpreter, before: SnapshotArg, after: SnapshotArg = "") -> Result:
    """Show what differs between a snapshot and now, or a second snapshot: registers, memory, mappings."""
    found = dbg.session.differences(before, after or None)
    parts: list[Result] = []
    registers = tuple((name, f"{old:#x}", f"{new:#x}") for name, old, new in found.registers)
    if registers:
        values = tuple({"name": name, "before": old, "after": new} for name, old, new in found.registers)
        parts.append(Table("registers", ("Register", "Before", "After"), registers, data=values))
    if found.memory:
        rows = tuple(
            (f"{one.address:#x}", str(len(one.before)), _hex(one.before), _hex(one.after)) for one in found.memory
        )
        memory = tuple({"address": c.address, "before": c.before.hex(), "after": c.after.hex()} for c in found.memory)
        parts.append(Table("memory", ("Physical", "Bytes", "Before", "After"), rows, data=memory))
    changed = [("-", one) for one in found.gone] + [("+", one) for one in found.new]
    if changed:
        lines = tuple((sign, f"{m.linear:#x}", f"{m.physical:#x}", _bytes(m.size), m.rights) for sign, m in changed)
        parts.append(Table("mappings", ("", "Linear", "Physical", "Size", "Rights"), lines))
    return Group(tuple(parts)) if parts else Message("Nothing differs.")


def _hex(data: bytes) -> str:
    return data[:12].hex(" ") + (" ..." if len(data) > 12 else "")
