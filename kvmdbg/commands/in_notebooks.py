"""What values of the API look like in notebooks: as the commands that show them, in the look of the report."""

from __future__ import annotations

from typing import Any

from kvmdbg.commands import as_html as html
from kvmdbg.commands.machine import mappings_table, page_walk
from kvmdbg.commands.results import (
    CodeLine,
    Disassembly,
    Fields,
    Group,
    Message,
    Registers,
    RegisterValue,
    Result,
    Screen,
    Table,
)
from kvmdbg.debuginfo.backtrace import Backtrace
from kvmdbg.devices.display import Picture
from kvmdbg.engine.registers import RegisterFile
from kvmdbg.engine.stops import FatalStop, Stop
from kvmdbg.html import parts
from kvmdbg.html.page import fragment
from kvmdbg.x86 import flags, registers
from kvmdbg.x86.disasm import Insn
from kvmdbg.x86.paging import Mapping, Walk


def as_html(value: object) -> str:
    """A part of a page."""
    if isinstance(value, Stop):
        return fragment(_stop(value))
    return fragment(html.as_html(_result(value)))


def _result(value: Any) -> Result:
    match value:
        case Walk():
            return page_walk(value)
        case RegisterFile():
            return _registers(value)
        case Backtrace():
            return _backtrace(value)
        case Picture():
            return Screen(value)
        case [Mapping(), *_]:
            return mappings_table(value)
        case [Insn(), *_]:
            return Disassembly(
                tuple(CodeLine(one.address, one.data, one.mnemonic, one.operands) for one in value), True
            )
        case []:
            return Message("Nothing.")
    return Message(repr(value))


def _stop(stop: Stop) -> str:
    """The sentence, what it is about, and the account of the guest's death."""
    text = stop.describe()
    bad = " bad" if stop.is_error or isinstance(stop, FatalStop) else ""
    found = parts.paragraph(f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}", f"sentence{bad}")
    facts = {name: value for name, value in stop.to_json().items() if name not in ("text", "autopsy")}
    found += html.as_html(Fields("", {name: _shown(value) for name, value in facts.items()}))
    if isinstance(stop, FatalStop) and stop.autopsy is not None:
        found += html.account(stop.autopsy)
    return found


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return hex(value) if isinstance(value, int) and value > 9 else str(value)


def _registers(file: RegisterFile) -> Registers:
    """All of ``snapshot``, in their full width."""
    changed = file.changed()
    found = []
    for name, value in file.snapshot().items():
        row = registers.lookup(name)
        assert row is not None
        meant = flags.format_flags(value) if name == "rflags" else ""
        if name in flags.DECODED and name != "rflags":
            meant = " ".join(flags.decode(name, value))
        found.append(RegisterValue(name, value, row.bits, name in changed, meant))
    return Registers(tuple(found), "grid")


def _backtrace(found: Backtrace) -> Result:
    rows = tuple((f"#{one.number}", f"{one.pc:#x}", one.name, f"{one.sp:#x}", one.how) for one in found.frames)
    return Group((Table("frames", ("", "Address", "Function", "Stack", "Found by"), rows), Message(f"({found.end})")))
