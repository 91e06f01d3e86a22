"""info: the state of things."""

from __future__ import annotations

import re
from typing import Annotated

from kvmdbg.commands.enabled import Enabled
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import NumbersArg, RegisterType, RestType, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Group, Registers, RegisterValue, Result, Table
from kvmdbg.commands.settings import ALL_PARTS, CONTEXT_PARTS
from kvmdbg.commands.values import address_label
from kvmdbg.commands.views import context, register_value
from kvmdbg.engine.breakpoints import Breakpoint, Point, Watchpoint
from kvmdbg.errors import DeviceFailure, UsageError
from kvmdbg.machine.bus import Device, attempt
from kvmdbg.record import replace

#: Register groups of x86.registers that `info registers GROUP` knows, with what gdb's plain list shows first.
GROUP_WORDS = ("general", "segment", "base", "control", "debug", "table", "msr", "all")


class RegisterOrGroupType(RegisterType):
    """A register or one of the groups of registers."""

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return [
            word for word in (*GROUP_WORDS, "float", "vector", "system") if word.startswith(prefix)
        ] + super().complete(prefix, dbg)


OF_FPU = ("float", "vector", "sse", "mmx")
"""gdb's groups that are not in x86.registers."""
SYSTEM = ("segment", "base", "control", "debug", "table", "msr")
"""What gdb's group of that name is here."""
PatternArg = Annotated[str, WordType("TEXT", strict=False)]
PartsArg = Annotated[str, RestType("PARTS", words=(*ALL_PARTS, "all"))]
RegistersArg = Annotated[str, RegisterOrGroupType("REGISTER|GROUP")]


@command("info", aliases=("i", "inf"), group="info", example="info")
def info(dbg: Interpreter) -> Result:
    """Show the state of something; the words that may follow are listed without one."""
    return subcommand_table(dbg, "info")


def subcommand_table(dbg: Interpreter, word: str) -> Table:
    """The sub-commands of a word with their summaries."""
    found = dbg.registry.subcommands(word)
    rows = tuple((one.name, one.summary) for one in found)
    return Table(f"{word} commands", ("Command", "What it does"), rows, prose=True)


def _grouped(group: str) -> list[str]:
    from kvmdbg.x86 import registers

    rows = [registers.lookup(name) for name in registers.names()]
    found = [row for row in rows if row is not None and row.parent in (None, "", row.name)]
    if group == "general":
        return [row.name for row in found if row.group in ("general", "ip", "flags")]
    return [row.name for row in found if group in ("all", row.group)]


def _state_of_fpu(dbg: Interpreter, name: str) -> Result | None:
    """What is shown of a register of the FPU or a vector, or of all; None for other registers."""
    from kvmdbg.commands.state import info_fpu, info_vectors

    if name in ("float", "mmx") or re.fullmatch(
        r"st[0-7]?|f(ctrl|stat|tag|iseg|ioff|oseg|ooff|op)|mxcsr|mm[0-7]", name
    ):
        return info_fpu(dbg)
    if name in ("vector", "sse"):
        return info_vectors(dbg)
    return info_vectors(dbg, name) if name[1:3] == "mm" else None


def _with_address(dbg: Interpreter, one: RegisterValue) -> RegisterValue:
    """As gdb has it: the program counter with its symbol, pointers to the stack in hexadecimal."""
    if one.name in ("pc", "rip", "eip", "ip"):
        return replace(one, address=f"{one.value:#x} {address_label(dbg, dbg.session.frame.pc)}".rstrip())
    if one.name in ("sp", "fp", "rsp", "rbp", "esp", "ebp"):
        return replace(one, address=f"{one.value:#x}")
    return one


@command(
    "info registers",
    aliases=("r", "reg", "regs"),
    group="info",
    example=("info registers", "info registers ax ip"),
    py="dbg.regs.snapshot()",
)
def info_registers(dbg: Interpreter, *names: RegistersArg) -> Result:
    """Show registers: those named, those of a group, or the general ones and the selectors.

    A * marks what changed since the guest was last resumed. Groups: general, segment, base, control, debug, table,
    msr, all; and gdb's: float, vector (sse, mmx), system.
    """
    from kvmdbg.x86 import registers

    apart = [(name, _state_of_fpu(dbg, name)) for name in names]
    if any(found is not None for _, found in apart):
        return Group(tuple(info_registers(dbg, name) if found is None else found for name, found in apart))
    changed = dbg.session.registers.changed() if not dbg.session.frame.number else set()
    if not names:
        mode = dbg.session.vcpu.mode
        shown = list(registers.general_names(mode.bits))
        last = ["rip", "rflags"] if mode.bits == 64 else ["eip", "eflags"]
        shown = [n for n in shown if n not in ("rip", "eip", "ip", "rflags", "eflags", "flags")] + last
        shown += ["cs", "ss", "ds", "es", "fs", "gs"]
        return Registers(tuple(_with_address(dbg, register_value(dbg, name, changed)) for name in shown))
    values = []
    for name in names:
        if name in ("pc", "sp", "fp"):
            known = dbg.session.frames.register(dbg.session.runner, name)
            value = dbg.session.registers.get(name) if known is None else known
            values.append(RegisterValue(name, value, dbg.session.vcpu.mode.bits))
        elif registers.lookup(name) is not None:
            values.append(register_value(dbg, name, changed))
        elif name == "system":
            values += [register_value(dbg, one, changed) for group in SYSTEM for one in _grouped(group)]
        elif name in GROUP_WORDS:
            values += [register_value(dbg, one, changed) for one in _grouped(name)]
        else:
            import difflib

            near = difflib.get_close_matches(name, [*registers.names(), *GROUP_WORDS], n=1)
            raise UsageError(f"there is no register {name}" + (f"; did you mean {near[0]}?" if near else ""))
    return Registers(tuple(_with_address(dbg, one) for one in values))


@command("info all-registers", group="info", example="info all-registers", py="dbg.regs.snapshot()")
def info_all_registers(dbg: Interpreter, *names: RegistersArg) -> Result:
    """Show every register: general, segments with base and limit, tables, control, debug and model-specific ones.

    Those of the FPU and vectors are in info float and info vector. With names it is info registers.
    """
    return info_registers(dbg, *(names or ("all",)))


@command(
    "info breakpoints",
    aliases=("b", "br", "break"),
    group="info",
    example=("break func if $cx == 3", "tbreak again", "run", "info breakpoints"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="list(dbg.breakpoints)",
)
def info_breakpoints(dbg: Interpreter, *numbers: NumbersArg) -> Result:
    """List breakpoints, watchpoints and catchpoints: where, how each is held, conditions, hits, commands."""
    from kvmdbg.commands.examine import go_on_at

    found = points_table(dbg, numbers, "breakpoints", "No breakpoints, watchpoints or catchpoints.")
    listed = {int(str(row["number"])) for row in found.data}
    placed = [one for one in dbg.session.breakpoints if isinstance(one, Breakpoint) and one.number in listed]
    placed = [one for one in placed if not one.pending]
    if placed:
        go_on_at(dbg, placed[-1].address, placed[-1].space)
    return found


@command(
    "info watchpoints",
    aliases=("wat",),
    group="info",
    example=("watch 0x5000,4", "info watchpoints"),
    py="dbg.breakpoints.watchpoints()",
)
def info_watchpoints(dbg: Interpreter, *numbers: NumbersArg) -> Result:
    """List watchpoints."""
    return points_table(dbg, numbers, "watchpoints", "No watchpoints.", only="watchpoint")


def point_type(one: Point) -> str:
    """gdb's word for it: "breakpoint", "hw breakpoint", "watchpoint", "read watchpoint", "catchpoint", …"""
    if one.function is not None:
        return "hook"
    if isinstance(one, Watchpoint):
        return {"write": "watchpoint", "read": "read watchpoint"}.get(one.kind, "acc watchpoint")
    if isinstance(one, Breakpoint):
        return "hw breakpoint" if one.hardware else "breakpoint"
    return "catchpoint"


def _notes(one: Point) -> tuple[str, ...]:
    found = []
    if one.condition:
        found.append(f"stop only if {one.condition}")
    handled = ["nostop"] * (not one.stops) + ["print"] * one.prints + ["nopass"] * (not one.passes)
    if handled:
        found.append(", ".join(handled))
    if one.hits:
        found.append(f"already hit {one.hits} time{'s' if one.hits != 1 else ''}")
    if one.ignore:
        found.append(f"ignore next {one.ignore} hit{'s' if one.ignore != 1 else ''}")
    return (*found, *(f"  {line}" for line in one.commands))


def location_label(dbg: Interpreter, address: int) -> str:
    """ "in emit at inlined.c:6": the function and the source line of an address, as far as they are known."""
    at = dbg.session.locations.at(address)
    line = f"at {at.file.rpartition('/')[2]}:{at.line}" if at.file else ""
    return " ".join(part for part in (f"in {at.function}" if at.function else "", line) if part)


def _in_source(dbg: Interpreter, one: Breakpoint) -> str:
    """The function and line of a breakpoint, as gdb lists it; "" where no source is known."""
    if one.space != "linear" or not dbg.session.locations.at(one.address).file:
        return ""
    return location_label(dbg, one.address)


def points_table(dbg: Interpreter, numbers: tuple[list[int], ...], title: str, empty: str, only: str = "") -> Table:
    """All breakpoints of the session (or the numbered ones) as a table."""
    wanted = {number for some in numbers for number in some}
    rows: list[tuple[str, ...]] = []
    data: list[dict[str, object]] = []
    notes: dict[int, tuple[str, ...]] = {}
    for one in dbg.session.breakpoints:
        kind = point_type(one)
        if (wanted and one.number not in wanted) or only not in kind:
            continue
        place, what = "", one.describe()
        if one.function is not None:
            what = f"{one.name}: {what}"
        if isinstance(one, Breakpoint | Watchpoint):
            place = f"{'phys:' if one.space == 'phys' else ''}{one.address:#x}"
            label = address_label(dbg, one.address) if one.space == "linear" else ""
            shown = "" if what in (place, label.strip("<>")) else what
            what = " ".join(part for part in (shown, label) if part)
        if isinstance(one, Watchpoint):
            what = f"{what} ({one.length} byte{'s' if one.length != 1 else ''})".strip()
        if about := _notes(one):
            notes[len(rows)] = about
        disposition = dbg.kept(Enabled).disposition(one)
        places = one.places if isinstance(one, Breakpoint) else []
        if isinstance(one, Breakpoint) and (one.pending or places):
            place, what = "(pending)" if one.pending else f"{len(places)} locations", one.location
        seen = what
        if isinstance(one, Breakpoint) and not one.pending and not places and one.function is None:
            seen = _in_source(dbg, one) or what
        rows.append((str(one.number), kind, disposition, "y" if one.enabled else "n", place, seen, one.held_by))
        for number, each in enumerate(places, 1):
            rows.append(
                (
                    f"{one.number}.{number}", "", "", "y" if each.switched_on else "n", f"{each.address:#x}",
                    location_label(dbg, each.address), each.held_by,
                )
            )  # fmt: skip
        facts = {name: getattr(one, name) for name in ("address", "length", "space") if hasattr(one, name)}
        if places:
            facts["locations"] = [
                {"address": each.address, "enabled": each.switched_on, "hits": each.hits} for each in places
            ]
        if isinstance(one, Breakpoint) and one.pending:
            facts["pending"] = True
        data.append({**one.to_json(), **facts, "what": what, "commands": list(one.commands)})
    if wanted:
        empty = f"No {title.removesuffix('s')} matching '{' '.join(map(str, sorted(wanted)))}'."
    columns = ("Num", "Type", "Disp", "Enb", "Address", "What", "Held by")
    return Table(title, columns, tuple(rows), empty, tuple(data), notes)


@command(
    "info symbols",
    group="info",
    example="info symbols",
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="list(dbg.symbols)",
)
def info_symbols(dbg: Interpreter, pattern: PatternArg = "") -> Result:
    """List the symbols known, or those whose name contains TEXT."""
    found = [one for one in dbg.session.symbols if pattern.lower() in one.name.lower()]
    rows = tuple((f"{one.address:#x}", str(one.size), one.kind, one.name) for one in found)
    data = tuple({"address": s.address, "size": s.size, "kind": s.kind, "name": s.name} for s in found)
    empty = (
        f"No symbol contains '{pattern}'." if pattern else "No symbols; symbol-file FILE reads them from an ELF file."
    )
    return Table("symbols", ("Address", "Size", "Kind", "Name"), rows, empty, data)


@command(
    "info vcpus",
    aliases=("threads",),
    group="info",
    example="info vcpus",
    guest="--irqchip --cpus 2 --load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.vcpus",
)
def info_vcpus(dbg: Interpreter) -> Result:
    """List the virtual CPUs: which is the current one, mode, place and state."""
    current = dbg.session.vcpu.index
    rows, data = [], []
    for one in dbg.session.vcpus:
        cs, ip = one.cs_ip
        label = address_label(dbg, one.pc)
        mark = "*" if one.index == current else ""
        state = str(getattr(one, "state", "")) or dbg.session.state
        rows.append((mark, str(one.index), one.mode.name, f"{cs:04x}:{ip:x}", f"{one.pc:#x} {label}".strip(), state))
        data.append({"vcpu": one.index, "current": one.index == current, "mode": one.mode.name, "pc": one.pc})
    columns = ("", "vCPU", "Mode", "CS:IP", "Linear", "State")
    return Table("vcpus", columns, tuple(rows), data=tuple(data))


@command("info memory", aliases=("slots",), group="info", example="info memory", py="dbg.slots")
def info_memory(dbg: Interpreter) -> Result:
    """List the guest-physical memory slots."""
    rows, data = [], []
    for one in dbg.session.slots:
        kind = "read-only" if one.read_only else "ram"
        rows.append((str(one.number), f"{one.address:#x}", f"{one.address + one.size:#x}", _size(one.size), kind))
        data.append({"slot": one.number, "address": one.address, "size": one.size, "kind": kind})
    return Table("memory", ("Slot", "Start", "End", "Size", "Kind"), tuple(rows), "No memory.", tuple(data))


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"


def _description(device: Device) -> str:
    try:
        return str(attempt(device, device.describe))
    except DeviceFailure as error:
        return f"cannot be described: {error.what}"


@command("info devices", aliases=("ports",), group="info", example="info devices", py="dbg.devices")
def info_devices(dbg: Interpreter) -> Result:
    """List the devices with the ports and addresses they answer."""
    rows = tuple((one.name, _description(one)) for one in dbg.session.devices)
    return Table("devices", ("Device", "What it answers"), rows, "No devices.")


@command(
    "info host", group="info", example="info host", varies="it is what this host's KVM and CPU have", py="dbg.host"
)
def info_host(dbg: Interpreter) -> Result:
    """Show what this host's KVM can do, as probed: how breakpoints and watchpoints are held, stepping, capabilities."""
    return Fields("host", dict(dbg.session.host))


@command(
    "info program",
    aliases=("pr",),
    group="info",
    example=("break func", "run", "info program"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.image, dbg.state, dbg.last_stop",
)
def info_program(dbg: Interpreter) -> Result:
    """Show the guest's image, its state and the last stop."""
    image = dbg.session.image
    values = {"image": str(image.path), "format": image.format, "state": dbg.session.state}
    if dbg.session.state != "dead":
        vcpu = dbg.session.vcpu
        cs, ip = vcpu.cs_ip
        values |= {"mode": vcpu.mode.name, "at": f"{cs:04x}:{ip:x}, linear {vcpu.pc:#x}"}
    values["last stop"] = dbg.runs.last_stop.describe() if dbg.runs.last_stop else "none yet"
    return Fields("", values)


@command("info settings", aliases=("set",), group="info", example="info settings")
def info_settings(dbg: Interpreter) -> Result:
    """List the settings and their values (the same as show)."""
    rows = tuple((one.name, dbg.settings.shown(one.name), one.text) for one in dbg.settings)
    return Table("settings", ("Setting", "Value", "What it is"), rows, prose=True)


@command(
    "context",
    aliases=("ctx",),
    group="info",
    example=("context", "context regs,code"),
    py="dbg.regs, dbg.disassemble(dbg.vcpu.pc, 6)",
)
def show_context(dbg: Interpreter, parts: PartsArg = "") -> Result:
    """Show the context view again, as at a stop: all parts but backtrace, or those named."""
    from kvmdbg.commands.results import Group
    from kvmdbg.commands.settings import read_parts

    return Group(
        tuple(part.content for part in context(dbg, read_parts(parts) if parts else CONTEXT_PARTS, dbg.runs.last_stop))
    )
