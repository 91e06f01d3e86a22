"""The virtual CPUs and their address translation."""

from __future__ import annotations

from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, NumberType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Group, Message, Result, Table
from kvmdbg.errors import UsageError

VcpuArg = Annotated[int | None, NumberType("NUMBER")]


@command("vcpu", aliases=("thread", "t"), group="info", example=("vcpu", "vcpu 0"), py="dbg.select({number})")
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


@command("translate", group="data", example="translate 0x1000", py="dbg.translate({address})")
def translate(dbg: Interpreter, address: AddressArg) -> Result:
    """Walk the page tables for a linear address: each entry, the page and its rights, the physical address."""
    walk = dbg.session.translate(address.address)
    rows = tuple(
        (str(one.level), one.name, f"{one.table:#x}", str(one.index), f"{one.value:#x}") for one in walk.entries
    )
    data = tuple({"name": e.name, "table": e.table, "index": e.index, "value": e.value} for e in walk.entries)
    values = {"linear": f"{address.address:#x}"}
    numbers = {"linear_address": address.address, "physical_address": walk.physical}
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
