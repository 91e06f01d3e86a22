"""What the source defines and where, by regular expressions: info functions, variables, types and scope; rbreak."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Annotated

from kvmdbg.commands.choosing import Chosen, chosen_by
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import LocationArg, RestType
from kvmdbg.commands.pointers import CodeRanges
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Group, Message, Result, Table
from kvmdbg.debuginfo import names
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.names import Defined, Definition
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.machine.image import Symbol
from kvmdbg.numbers import compiled
from kvmdbg.regex import Regex

RegexArg = Annotated[str, RestType("[-q] [-n] [-t TYPE] [REGEX]", words=("-q", "-n", "-t"))]


def _defined(
    dbg: Interpreter,
    what: str,
    chosen: Chosen,
    read: Callable[[DebugFiles], Defined],
    kind: str = "",
) -> Result:
    """All definitions of a kind whose names match, by file; then the symbols that no debug information tells of."""
    regex = chosen.text
    defined = read(dbg.session.files)
    found = {(one.file, one.declared, one.line): one for one in defined.found if chosen.takes(one.name, one.type)}
    by_file: dict[str, list[Definition]] = {}
    for one in sorted(found.values(), key=_order):
        by_file.setdefault(one.file, []).append(one)
    of_name = f'All {what} matching regular expression "{regex}"' if regex else f"All defined {what}"
    of_type = f' with type matching regular expression "{chosen.type_text}"' if chosen.type is not None else ""
    lines = [of_name + of_type + (" :" if of_type and not regex else ":")]  # as gdb
    for file, those in by_file.items():
        lines += ["", f"File {os.path.basename(file) or file}:"]
        lines += [f"{one.line or ''}{':' if one.line else ''}\t{one.declared}" for one in those]
    others = [] if chosen.debug_only or chosen.type else _without_debug_information(dbg, chosen.name, kind)
    told = {one.address for one in defined.found}
    others = [one for one in others if one.address not in told or not one.name.startswith(("_Z", "_R"))]
    if others:
        lines += ["", "Non-debugging symbols:", *(f"{one.address:#010x}  {one.name}" for one in others)]
    if len(lines) == 1 and chosen.quiet:
        lines = [""]
    elif len(lines) == 1 and chosen.type is not None:
        lines = [f"No {what}{of_type} match '{regex}'."]
    elif len(lines) == 1 and (regex or defined.damaged):
        lines = [f"No {what} match '{regex}'." if regex else f"No {what} are known."]
    elif len(lines) == 1:
        lines = [f"No {what} are known: compile with -g."]
    data: list[dict[str, object]] = [
        {"name": one.name, "declared": one.declared, "file": one.file, "line": one.line, "address": one.address}
        for one in found.values()
    ]
    data += [{"name": one.name, "address": one.address} for one in others]
    shown = Message("\n".join(lines), data={what: data})
    return Group((shown, *_told(defined))) if defined.damaged else shown


def _order(one: Definition) -> tuple[object, ...]:
    """By file; in it what is known everywhere, then what only the file knows, by name: as gdb."""
    return one.file, one.declared.startswith("static "), one.name, one.line, one.declared


def _told(defined: Defined) -> list[Message]:
    return [Message(f"{one}.", "warning") for one in defined.damaged]


def _without_debug_information(dbg: Interpreter, pattern: Regex[str], kind: str) -> list[Symbol]:
    """Those of functions or of objects; a symbol without a type (a label of assembly) is what its section is."""
    if not kind:
        return []
    code = dbg.kept(CodeRanges).of(dbg.session.files.placed)

    def is_of_kind(one: Symbol) -> bool:
        if one.kind != "notype":
            return one.kind == kind
        is_code = not code or any(start <= one.address < end for start, end in code)
        return is_code == (kind == "function")

    def is_told_of(address: int) -> bool:
        for dwarf, base in dbg.session.files.dwarf():
            try:
                if any(unit.ranges for unit in dwarf.units_at(address - base)):
                    return True
            except KvmdbgError:
                continue
        return False

    known = set(dbg.session.c_variables.outer_names()) if kind == "object" and dbg.session.c_variables.known else set()
    found = [one for one in dbg.session.symbols if is_of_kind(one) and pattern.search(one.name)]
    found = [one for one in found if one.name not in known and not is_told_of(one.address)]
    return sorted({(one.address, one.name): one for one in found}.values(), key=lambda one: (one.address, one.name))


@command(
    "info functions",
    group="info",
    example="info functions ^run",
    guest="guests/kernel-O0.elf",
    py="[one for one in dbg.symbols if one.kind == 'function']",
)
def info_functions(dbg: Interpreter, regex: RegexArg = "") -> Result:
    """List the functions whose names match a regular expression, by file, with what they take and return (DWARF).

    Behind them come symbols of code without debug information; -n leaves them out, and -t, which takes a regular
    expression for the type. -q says nothing where none match.
    """
    return _defined(dbg, "functions", chosen_by(regex, "qnt"), names.functions, "function")


@command(
    "info variables",
    group="info",
    example="info variables task",
    guest="guests/kernel-O0.elf",
    py="[one for one in dbg.symbols if one.kind == 'object']",
)
def info_variables(dbg: Interpreter, regex: RegexArg = "") -> Result:
    """List the variables outside of functions whose names match a regular expression, by file, with their types."""
    return _defined(dbg, "variables", chosen_by(regex, "qnt"), names.variables, "object")


@command(
    "info types",
    group="info",
    example="info types task",
    guest="guests/kernel-O0.elf",
    py="dbg.c_variables.type_names()",
)
def info_types(dbg: Interpreter, regex: Annotated[str, RestType("[-q] [REGEX]", words=("-q",))] = "") -> Result:
    """List the types whose names match a regular expression, by file."""
    return _defined(dbg, "types", chosen_by(regex, "q"), names.types)


@command(
    "info address",
    group="info",
    example=("info address tasks", "info address divide"),
    guest="guests/kernel-O0.elf",
    py="dbg.symbols[name]",
)
def info_address(dbg: Interpreter, name: Annotated[str, RestType("NAME", "expression")]) -> Result:
    """Say where a variable, a function or another symbol is kept: its address, its register, its place in the frame."""
    variables = dbg.session.c_variables
    found = variables.find(name) if variables.known else None
    if found is not None:
        kind = "a parameter" if found.is_parameter else "a local variable" if found.owner else "static storage"
        try:
            place = variables.place(found)
        except KvmdbgError as error:
            return Message(f'Symbol "{name}" is {kind}: {error}.', data={"name": name})
        where = f"at address {place.address:#x}" if place.address is not None else ""
        if not where and not place.register and kind == "static storage":
            return Message(f'Symbol "{name}" is constant.', data={"name": name})
        where = where or (f"in ${place.register}" if place.register else "worked out, it is kept nowhere")
        return Message(f'Symbol "{name}" is {kind} {where}.', data={"name": name, "address": place.address})
    if variables.known and variables.constant(name) is not None:
        return Message(f'Symbol "{name}" is constant.', data={"name": name})
    symbol = variables.symbol(name)
    if symbol is not None:
        address = symbol.address
    else:
        found_at = dbg.session.locations.find(name, entry=True)
        if not found_at.by_name:
            raise UsageError(f"{name} is a value, no name: print &{name} and info symbol {name} say where it is")
        address = found_at.first.address
    is_function = symbol is None or symbol.kind == "function"
    kind = "a function" if is_function else "a number" if symbol and symbol.kind == "absolute" else "a symbol"
    return Message(f'Symbol "{name}" is {kind} at address {address:#x}.', data={"name": name, "address": address})


@command(
    "info scope",
    group="info",
    example="info scope divide",
    guest="guests/kernel-O0.elf",
    py="dbg.c_variables.seen_from(address).visible(parameters=False)",
)
def info_scope(dbg: Interpreter, location: LocationArg) -> Result:
    """List what code at a place sees of its function: arguments, locals, static variables, labels (DWARF)."""
    seen = dbg.session.c_variables.seen_from(location.address)
    try:
        variables = [*seen.visible(parameters=True), *seen.visible(parameters=False)]
    except UsageError:
        variables = []
    rows = []
    for one in variables:
        address = seen.place(one).address if one.is_static else None
        kind = "argument" if one.is_parameter else "local" if address is None else "static"
        rows.append((one.name, one.type.name, str(one.type.size), kind, "" if address is None else f"{address:#x}"))
    labels = dbg.session.source.labels_at(location.address)
    rows += [(name, "", "", "label", f"{address:#x}") for name, address in labels.items()]
    empty = f"Nothing local is known at {location.text}."
    return Table(f"scope {location.text}", ("Name", "Type", "Bytes", "Kind", "Address"), tuple(rows), empty)


def _from_here(path: str) -> str:
    """The path as it is from the working directory, where it lies below."""
    here = os.path.relpath(path)
    return path if here.startswith("..") else here


@command(
    "info source", group="info", example=("break divide", "run", "info source"), guest="guests/kernel-O0.elf",
    py="dbg.source.at(dbg.vcpu.pc)",
)  # fmt: skip
def info_source(dbg: Interpreter) -> Result:
    """Show the current source file: where it is, its language, what compiled it, its debug information."""
    file = dbg.session.locations.current_file()
    missing = [Message(f"{one}.", "warning") for one in dbg.session.files.missing]
    if file is None:
        return Group((Message("No source file is known."), *missing))
    found = dbg.session.source.path(file)
    values = {"file": file, "found at": _from_here(found) if found else "nowhere; directory FOLDER says where"}
    lines = len(dbg.source_lines(file))
    values |= {"lines": str(lines)} if lines else {}
    for path, unit, about in names.units(dbg.session.files):
        if unit.path == file:
            values |= {"compiled in": unit.folder, "language": about["language"], "compiler": about["producer"]}
            values |= {"debug information": f"DWARF {about['version']} in {path}"}
            break
    shown = Fields("", {name: value for name, value in values.items() if value})
    return Group((shown, *missing)) if missing else shown


def _part_and_pattern(text: str) -> tuple[Callable[[str], str], Regex[str]]:
    """What of a file's name a regular expression is for, and that."""
    parts = {"-dirname": os.path.dirname, "-basename": os.path.basename}
    chosen: set[str] = set()
    while match := re.match(r"-(-|\w+)(?=\s|$)\s*", text):
        text = text[match.end() :]
        if match[1] == "-":
            break
        near = [name for name in parts if name.startswith(f"-{match[1]}")]
        if not near:
            raise UsageError(f"-{match[1]} is none of {', '.join(parts)}; -- goes before a REGEX that begins with -")
        chosen.update(near)
    if len(chosen) > 1:
        raise UsageError("info sources takes one of -dirname, -basename")
    if chosen and not text:
        raise UsageError(f"info sources {chosen.pop()} needs a REGEX")
    return parts[chosen.pop()] if chosen else str, compiled(text)


@command("info sources", group="info", example="info sources", guest="guests/kernel-O0.elf", py="dbg.source.files()")
def info_sources(dbg: Interpreter, regex: Annotated[str, RestType("[-dirname|-basename] [--] REGEX")] = "") -> Result:
    """List the source files that code comes from, those whose name (or a part of it) matches a regular expression."""
    part, pattern = _part_and_pattern(regex)
    found = [file for file in dbg.session.source.files() if pattern.search(part(file))]
    rows = tuple((file, "" if dbg.session.source.path(file) else "not found here") for file in found)
    table = Table("sources", ("File", ""), rows, "No source files are known.", tuple({"file": file} for file in found))
    missing = tuple(Message(f"{one}.", "warning") for one in dbg.session.files.missing)
    return Group((table, *missing)) if missing else table


@command(
    "rbreak",
    aliases=("rb",),
    group="breakpoints",
    example=("rbreak ^run", "info breakpoints"),
    guest="guests/kernel-O0.elf",
    py="dbg.break_at(name)",
)
def rbreak(dbg: Interpreter, regex: Annotated[str, RestType("[SOURCE:]REGEX")]) -> Iterator[Result]:
    """Set a breakpoint on each function whose name matches a regular expression, or on those of one file.

    Of code without debug information symbols of functions are meant.
    """
    file, colon, rest = regex.partition(":")
    if colon and not rest.startswith(":"):
        path, pattern = dbg.session.source.find_file(file.strip()), compiled(rest.strip())
    else:
        path, pattern = "", compiled(regex)
    defined = names.functions(dbg.session.files)
    yield from _told(defined)
    found = [one for one in defined.found if pattern.search(one.name)]
    wanted: dict[int, str] = {
        one.address: one.name for one in found if one.address is not None and path in ("", one.file)
    }
    if not path:
        for symbol in _without_debug_information(dbg, pattern, "function"):
            wanted.setdefault(symbol.address, symbol.name)
    if not wanted:
        raise UsageError(f"no function matches '{regex}'")
    for address, name in sorted(wanted.items(), key=lambda one: (one[1], one[0])):
        made = dbg.session.break_at(dbg.session.source.behind_prologue(address))
        made.location = name
        dbg.session.variables["bpnum"] = made.number
        yield Message(
            f"Breakpoint {made.number} at {name} ({made.address:#x}).",
            data={"number": made.number, "address": made.address, "name": name},
        )
