"""The page that `report` writes: where the guest stands and how it came there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from kvmdbg.commands import info, state
from kvmdbg.commands.as_html import account, as_html
from kvmdbg.commands.displays import enabled_displays
from kvmdbg.commands.examine import hex_dump, read
from kvmdbg.commands.frames import backtrace
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.machine import translate
from kvmdbg.commands.memory import telescope
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import REGISTRY
from kvmdbg.commands.results import Group, Message, Result, Screen, Table
from kvmdbg.commands.tracing import info_exits
from kvmdbg.commands.values import address_label
from kvmdbg.commands.views import context
from kvmdbg.engine.stops import FatalStop, Stop
from kvmdbg.errors import KvmdbgError, LoadError
from kvmdbg.html import parts
from kvmdbg.html.page import fragment, page, section
from kvmdbg.record import record
from kvmdbg.version import VERSION

if TYPE_CHECKING:
    from kvmdbg.core.session import Session

OUTPUT, ROWS, SEEN = 20_000, 60, 100
"""The last so many bytes that the guest wrote, rows of tables and traced exits are shown."""
AROUND = 64
"""Bytes of memory shown around what a register points to."""
CALLS = 30
Section = tuple[str, str, str]


@record
class Report:
    """The page, and its parts for a notebook: ``head`` and each section's heading and contents."""

    title: str
    head: str
    sections: tuple[Section, ...]
    foot: str

    @property
    def html(self) -> str:
        """The whole file."""
        return page(self.title, self.head, self.sections, self.foot)

    def _repr_html_(self) -> str:
        bodies = (f"<section><h2>{parts.name(text)}</h2>{body}</section>" for _, text, body in self.sections)
        return fragment(f"<header>{self.head}</header>{''.join(bodies)}")

    def write(self, path: str | os.PathLike[str]) -> None:
        """LoadError where it cannot be written."""
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.html)
        except OSError as error:
            raise LoadError(f"cannot write {os.fspath(path)}: {error.strerror}") from None


def of_session(session: Session, path: str | os.PathLike[str] | None) -> Report:
    """The same for a session that has no shell (``dbg.report``)."""
    dbg = Interpreter(session)
    try:
        found = report_of(dbg)
    finally:
        dbg.close()
    if path is not None:
        found.write(path)
    return found


def report_of(dbg: Interpreter) -> Report:
    """Everything at once, while the guest stands still."""
    session = dbg.session
    session.require_stopped()
    stop = session.last_stop
    sentence = _sentence(dbg, stop)
    image = os.path.basename(str(session.image.path))
    vcpu = session.vcpu
    cs, ip = vcpu.cs_ip
    label = address_label(dbg, vcpu.pc)
    where = f"{vcpu.mode.name}, {cs:04x}:{ip:x}, linear {vcpu.pc:#x} {label}".rstrip()
    bad = " bad" if stop is not None and (stop.is_error or isinstance(stop, FatalStop)) else ""
    head = f"<h1>{parts.name(image)}</h1>{parts.paragraph(sentence, f'sentence{bad}')}"
    head += parts.paragraph(f"vCPU {vcpu.index}, {where}", "r-note")
    sections = tuple(_sections(dbg, stop))
    made = time.strftime("%Y-%m-%d %H:%M:%S")
    foot = parts.escaped(f"kvmdbg {VERSION}, {made}; the guest is {session.image.path}, {session.image.format}")
    return Report(f"{image}: {sentence}", head, sections, foot)


def _sentence(dbg: Interpreter, stop: Stop | None) -> str:
    if stop is None:
        return "The guest has not run yet." if dbg.session.fresh else "The guest stands where it was put."
    return getattr(REGISTRY.stop_report(dbg, stop), "sentence", stop.describe())


def _sections(dbg: Interpreter, stop: Stop | None) -> Iterator[Section]:
    session = dbg.session
    if isinstance(stop, FatalStop) and stop.autopsy is not None:
        yield section("Why", account(stop.autopsy, partial(address_label, dbg)))
    yield section("Registers", _shown(lambda: _part(dbg, "regs", stop)))
    yield section("Code", _source(dbg, stop) + _shown(lambda: _part(dbg, "code", stop)))
    yield section("Stack", _shown(lambda: _part(dbg, "stack", stop)))
    yield section("Backtrace", _shown(lambda: backtrace(dbg, str(CALLS))))
    if displays := enabled_displays(dbg):
        yield section("Displays", "".join(as_html(one) for one in displays))
    yield section("Screen", _shown(lambda: Screen(session.peripherals.shown())))
    if output := session.output:
        yield section("Output", _output(output))
    yield section("Timeline", _timeline(dbg))
    yield section("Breakpoints", _shown(lambda: info.info_breakpoints(dbg)))
    yield section("Page walks", _walks(dbg))
    yield section("Memory", _memory(dbg))
    yield section("Segments", _shown(lambda: state.info_segments(dbg)) + _shown(lambda: state.info_cr(dbg)))
    yield section("Tables", _tables(dbg))
    yield section("Exits", _shown(lambda: info_exits(dbg)) + _last_exits(dbg))
    yield section("Machine", _machine(dbg))


def _shown(make: Callable[[], Result], title: str = "") -> str:
    """A result; what cannot be shown says why."""
    try:
        found = as_html(make())
    except KvmdbgError as error:
        found = parts.paragraph(str(error), "r-warning")
    return f"<h3>{parts.name(title)}</h3>{found}" if title else found


def _part(dbg: Interpreter, name: str, stop: Stop | None) -> Result:
    found = context(dbg, (name,), stop)
    return found[0].content if found else Message("Nothing to show.")


def _source(dbg: Interpreter, stop: Stop | None) -> str:
    found = context(dbg, ("source",), stop)
    return as_html(found[0].content) if found else ""


def _output(output: bytes) -> str:
    text = output[-OUTPUT:].decode("utf-8", "replace").replace("\r\n", "\n")
    left_out = len(output) - OUTPUT
    note = parts.paragraph(f"The {left_out} bytes before are left out.", "r-note") if left_out > 0 else ""
    return f'{note}<pre class="flow">{parts.escaped(text)}</pre>'


def _timeline(dbg: Interpreter) -> str:
    session = dbg.session
    happened = list(session.happened)
    rows = [
        (f"{one.seconds:.6f} s", f"{one.pc:#x} {address_label(dbg, one.pc)}".strip() if one.pc is not None else "",
         one.text)
        for one in happened[-ROWS:]
    ]  # fmt: skip
    note = f"The {len(happened) - ROWS} before are left out." if len(happened) > ROWS else ""
    found = parts.paragraph(note, "r-note") if note else ""
    found += parts.table(("Guest ran", "At", "What happened"), rows) if rows else parts.paragraph("No stop yet.")
    trace = session.exit_trace
    seen = list(trace.seen)[-SEEN:] if trace is not None else []
    if seen:
        lines = [(f"{one.time:.6f} s", f"{one.pc:#x} {one.symbol}".strip(), one.exit.describe()) for one in seen]
        found += f"<h3>Exits that were traced</h3>{parts.table(('Time', 'At', 'Exit'), lines)}"
    return found


def _walks(dbg: Interpreter) -> str:
    vcpu = dbg.session.vcpu
    found = ""
    for name, address in (("pc", vcpu.pc), ("sp", vcpu.stack)):
        found += _shown(lambda address=address: translate(dbg, Place("", address)), f"{name} = {address:#x}")  # type: ignore[misc]
    return found


def _memory(dbg: Interpreter) -> str:
    """Where the general registers point to, and where the stack's slots lead."""
    session = dbg.session
    found = _shown(lambda: telescope(dbg, None, 12), "stack, followed")
    shown: set[int] = set()
    for name in _general(dbg):
        value = session.registers.get(name)
        start = value & ~15
        if value < 0x400 or start in shown:
            continue
        shown.add(start)
        try:
            data = read(dbg, Place("", start), AROUND)
        except KvmdbgError:
            continue
        label = f" {address_label(dbg, value)}".rstrip()
        found += f"<h3>{parts.name(f'{name} = {value:#x}{label}')}</h3>{as_html(hex_dump(dbg, start, data))}"
    return found


def _general(dbg: Interpreter) -> list[str]:
    from kvmdbg.x86 import registers

    names = registers.general_names(dbg.session.vcpu.mode.bits)
    left_out = ("rflags", "eflags", "flags", "rip", "eip", "ip")
    return [one for one in names if one not in left_out]


def _tables(dbg: Interpreter) -> str:
    found = ""
    tables: list[tuple[str, Callable[[Interpreter], Result]]] = [
        ("GDT", state.info_gdt), ("LDT", state.info_ldt), ("TSS", state.info_tss), ("IDT", state.info_idt),
    ]  # fmt: skip
    for name, make in tables:
        found += _shown(lambda make=make: _few(make(dbg)), name)  # type: ignore[misc]
    return found


def _few(result: Result) -> Result:
    """A long table's first rows."""
    if not isinstance(result, Table) or len(result.rows) <= ROWS:
        return result
    rest = Message(f"{len(result.rows) - ROWS} more.")
    return Group((Table(result.title, result.columns, result.rows[:ROWS]), rest))


def _last_exits(dbg: Interpreter) -> str:
    exits = list(dbg.session.runner.last_exits())
    if not exits:
        return ""
    return f"<h3>Last exits of this vCPU</h3>{parts.table(('',), [(text,) for text in exits])}"


def _machine(dbg: Interpreter) -> str:
    session = dbg.session
    found = _shown(lambda: info.info_vcpus(dbg)) if len(session.vcpus) > 1 else ""
    found += _shown(lambda: info.info_memory(dbg), "memory") + _shown(lambda: info.info_devices(dbg), "devices")
    if files := session.files.symbol_files:
        found += f"<h3>symbol files</h3>{parts.table(('', ''), [(file, f'{base:#x}') for file, base in files])}"
    return found
