"""Results as HTML, for reports and notebooks: tables become tables, the rest its pieces in the look of their roles."""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg.commands.results import (
    Disassembly,
    Fields,
    Group,
    Message,
    Registers,
    Result,
    Screen,
    Stack,
    StopReport,
    Table,
    Text,
)
from kvmdbg.commands.screen_results import text_lines
from kvmdbg.core.peripherals import png_of
from kvmdbg.devices.display import Characters, Picture
from kvmdbg.html import parts
from kvmdbg.observe.autopsy import Autopsy

WIDTH = 100
"""Columns that a result may take which is laid out in columns."""


def as_html(result: Result) -> str:
    """A result, escaped."""
    match result:
        case Group():
            return "".join(as_html(one) for one in result.results)
        case Message():
            return parts.paragraph(result.text, f"r-{result.level}" if result.level != "info" else "")
        case Text():
            return f'<pre class="flow">{parts.escaped(result.text)}</pre>'
        case Table():
            return _table(result)
        case Fields():
            return parts.table(("", ""), result.values.items(), title=result.title)
        case Registers():
            return _registers(result)
        case Disassembly():
            return _code(result)
        case Stack():
            return _stack(result)
        case Screen(shown=Characters() as text):
            return _text_screen(text)
        case Screen(shown=Picture() as picture):
            about = f"{picture.width} x {picture.height} pixels, {picture.used} colours"
            return parts.picture(png_of(picture), about) + parts.paragraph(about, "r-note")
        case StopReport():
            return _stop(result)
        case _:
            return parts.block(result.pieces(WIDTH))


def _table(result: Table) -> str:
    if not result.rows:
        return parts.paragraph(result.empty)
    filled = [at for at, name in enumerate(result.columns) if name or any(row[at] for row in result.rows)]
    columns = [result.columns[at] for at in filled]
    rows = [[row[at] for at in filled] for row in result.rows]
    cells = [[parts.name(cell) for cell in row] for row in rows]
    for row, look in zip(cells, result.looks, strict=False):
        row[-1] = parts.spans(look)
    return parts.raw_table(columns, cells, notes=result.notes)


def _registers(result: Registers) -> str:
    found = []
    for one in result.values:
        pieces = [("register", f"{one.name:<{result.name_width}}"), ("", " "), *one.value_pieces()]
        meant = [("flags", f"  {one.decoded}")] if one.decoded else []
        kind = ' class="whole"' if meant else ""
        found.append(f"<div{kind}>{parts.spans([*pieces, *meant])}</div>")
    return f'<div class="regs">{"".join(found)}</div>'


def _code(result: Disassembly) -> str:
    rows = []
    role = "code-att" if result.syntax == "att" else "code"
    labels = any(line.label for line in result.lines)
    for line in result.lines:
        mark = ("mark", "=>") if line.current else ("breakpoint", "b") if line.breakpoints else ("", "")
        place = f"{line.seg_off}  {line.address:#08x}" if line.seg_off else f"{line.address:#010x}"
        code = parts.code(f"{line.mnemonic:<7} {line.operands}".rstrip(), role)
        behind = [("label", f"  {line.target_label}" if line.target_label else "")]
        behind += [("stop", f"  ({line.branch})" if line.branch else "")]
        values = result.values_of(line)
        behind += [("note", f"\n{values}" if values else "")]
        row = [parts.span(*mark), parts.span("breakpoint" if line.breakpoints else "address", place)]
        row += [parts.span("label", line.label)] if labels else []
        row += [f'<span class="on-wide">{line.data.hex(" ")}</span>'] if result.raw else []
        rows.append([*row, code + parts.spans(behind)])
    width = 3 + labels + result.raw
    return parts.raw_table([""] * width, rows, title=result.title, kind="code")


def _stack(result: Stack) -> str:
    rows = [
        [
            parts.span("address", f"{one.address:#010x}"),
            parts.span("note", f"sp+{one.offset:#x}"),
            parts.spans(one.pieces(result.bits, WIDTH)),
        ]
        for one in result.slots
    ]
    note = parts.paragraph(result.note, "r-note") if result.note else ""
    return (parts.raw_table(("", "", ""), rows) if rows else "") + note


def _text_screen(shown: Characters) -> str:
    lines = [list(one) for one in text_lines(shown)]
    if not any(text.strip() or role for line in lines for role, text in line):
        return parts.paragraph(f"Nothing is on the screen ({shown.columns} columns, {len(shown.rows)} rows of text).")
    return parts.block((piece for line in lines for piece in (*line, ("", "\n"))), "screen")


def account(autopsy: Autopsy, label: Callable[[int], str] = lambda address: "") -> str:
    """What killed the guest, in order; the last instructions, with their labels, and exits."""
    found = parts.numbered(autopsy.account)
    if autopsy.instructions:
        rows = [
            [parts.span("address", f"{at:#x}"), parts.span("label", label(at)), parts.code(text)]
            for at, text in autopsy.instructions
        ]
        found += f"<h3>Last instructions</h3>{parts.raw_table(('', '', ''), rows)}"
    if autopsy.exits:
        found += f"<h3>Last exits</h3>{parts.table(('',), [(text,) for text in autopsy.exits])}"
    return found


def _stop(result: StopReport) -> str:
    found = [parts.paragraph(result.sentence, "sentence")]
    for part in result.parts:
        found += [f"<h3>{parts.name(part.name)}</h3>", as_html(part.content)]
    return "".join([*found, *(as_html(one) for one in result.displays)])
