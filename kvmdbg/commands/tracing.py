"""What happened: traces of exits and instructions, counts, plots, coverage, profile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from kvmdbg.commands.exits import exit_kinds
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ConditionArg, FileArg, FileType, WordType, _word_end
from kvmdbg.commands.registry import command, skip_separator, skip_space
from kvmdbg.commands.results import BarPlot, Group, Message, Result, Table
from kvmdbg.errors import UsageError
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.observe.trace import InsnTrace


@record
class KindsType:
    """Any number of kinds of exits."""

    metavar: str = "KIND..."

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[tuple[str, ...], int] | None:
        found: list[str] = []
        while pos < len(text):
            end = _word_end(text, pos)
            word = text[pos:end]
            if word in ("to", "if"):
                break
            kind = WordType("KIND", exit_kinds).parse(text, pos, dbg)
            assert kind is not None
            found.append(kind[0])
            pos = skip_separator(text, end)
        return (tuple(found), pos) if found else None

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return [word for word in [*exit_kinds(dbg), "to", "if"] if word.startswith(prefix)]


@record
class ToFileType(FileType):
    """``to FILE``."""

    metavar: str = "to FILE"

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        end = _word_end(text, pos)
        if text[pos:end] != "to":
            return None
        at = skip_space(text, end)
        if at == len(text):
            raise UsageError("to: a file is missing")
        return super().parse(text, at, dbg)


SwitchArg = Annotated[str, WordType("on|off", ("on", "off"))]
KindsArg = Annotated[tuple[str, ...], KindsType()]
ToFileArg = Annotated[str | None, ToFileType()]
LEAST_SECONDS = 0.1
TABLES = ("reason", "port", "address", "function", "instruction")
TableArg = Annotated[str, WordType("TABLE", TABLES, optional_match=True)]
SortArg = Annotated[str, WordType("count|name", ("count", "name"))]


@command(
    "trace exits",
    group="exits",
    example=("trace exits on io if $value >= 2", "set limit-exits 4", "run", "trace exits off"),
    guest="--load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.trace_exits(*{kinds}, path={path}, when={condition})",
)
def trace_exits(
    dbg: Interpreter,
    switch: SwitchArg,
    kinds: KindsArg = (),
    path: ToFileArg = None,
    condition: ConditionArg = None,
) -> Result:
    """Show each exit in one line as it happens, or put them into a file; with KINDs only those.

    The name of the FILE says its format: .json is Chrome's and Perfetto's (open it in ui.perfetto.dev), .jsonl has a
    JSON object an exit, anything else a line of text with time, vCPU, place and data. A condition sees an exit's
    fields as that of a catchpoint does ($port, $value, $address, $index ...).
    """
    session = dbg.session
    if switch == "off":
        trace = session.exit_trace
        session.end_trace_exits()
        sink = trace.sink if trace is not None else None
        if trace is None or sink is None:
            return Message("Exits are no longer traced.")
        count = f"Not all of the {trace.count}" if sink.lost else f"{trace.count}"
        return Message(f"Exits are no longer traced. {count} are in {sink.path}.")
    session.trace_exits(*kinds, when=condition, path=path, show=dbg.show_exit)
    what = f"Each exit{' of ' + ', '.join(kinds) if kinds else ''}" + (f" if {condition}" if condition else "")
    return Message(f"{what} {f'goes to {path}' if path else 'is shown'} from now on.")


@command(
    "info exits",
    group="exits",
    example=("set limit-exits 100", "run", "info exits", "info exits port"),
    guest="--load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.exits.by_reason, dbg.exits.by_port, dbg.exits.by_address",
)
def info_exits(dbg: Interpreter, table: TableArg = "", sort: SortArg = "count") -> Result:
    """Count the exits so far, by reason, port and address, with their share and how many a second.

    TABLE is one of them, or function or instruction: those are counted from `set exit-places on` on. Sorted by count,
    or by name. The seconds are those that the guest ran; of less than a tenth of one no rate is told.
    """
    counts = dbg.session.exits
    seconds = dbg.session.world.seconds
    total = counts.total
    by_place = _by_place(dbg)
    tables: dict[str, tuple[str, tuple[str, ...], dict[tuple[Any, ...], int]]] = {
        "reason": ("exits by reason", ("Reason",), {(name,): count for name, count in counts.by_reason.items()}),
        "port": ("exits by port", ("Access", "Port"), dict(counts.by_port.items())),
        "address": ("exits by address", ("Access", "Address"), dict(counts.by_address.items())),
        "function": ("exits by function", ("Function", "Exit"), by_place[0]),
        "instruction": ("exits by instruction", ("Instruction", "Exit"), by_place[1]),
    }
    if table in ("function", "instruction") and dbg.session.traces.exit_places is None:
        raise UsageError(f"exits are not counted by {table}: set exit-places on, then let the guest run")
    made = []
    for name in [table] if table else TABLES:
        title, heads, found = tables[name]
        if table or found or name == "reason":
            made.append(_counted(title, heads, found, total, seconds, sort))
    return made[0] if len(made) == 1 else Group(tuple(made))


def _counted(
    title: str, heads: tuple[str, ...], found: dict[tuple[Any, ...], int], total: int, seconds: float, sort: str
) -> Table:
    order = sorted(found.items(), key=lambda one: one[0] if sort == "name" else (-one[1], one[0]))
    rows, data = [], []
    for key, count in order:
        shown = tuple(f"{part:#x}" if isinstance(part, int) else part for part in key)
        rate = f"{count / seconds:,.0f}" if seconds > LEAST_SECONDS else "-"
        rows.append((*shown, str(count), f"{100 * count / total:.1f} %" if total else "-", rate))
        names = [head.lower() for head in heads]
        data.append(
            {**dict(zip(names, key, strict=True)), "count": count, "share": count / total if total else 0.0}
            | {"rate": count / seconds if seconds else 0.0}
        )
    columns = (*heads, "Count", "Share", "A second")
    return Table(title, columns, tuple(rows), "The guest has not left the CPU yet.", tuple(data))


def _by_place(dbg: Interpreter) -> tuple[dict[tuple[Any, ...], int], dict[tuple[Any, ...], int]]:
    functions: dict[tuple[Any, ...], int] = {}
    instructions: dict[tuple[Any, ...], int] = {}
    places = dbg.session.traces.exit_places
    for (what, pc), count in places.counts.items() if places is not None else ():
        near = dbg.session.symbols.nearest(pc)
        name = near[0].name if near else "(no symbol)"
        functions[name, what] = functions.get((name, what), 0) + count
        label = dbg.session.symbols.format(pc)
        instructions[f"{pc:#x} {label}".rstrip(), what] = count
    return functions, instructions


@command(
    "plot exits",
    group="exits",
    example=("trace exits on to exits.jsonl", "run", "plot exits"),
    varies="the times of exits differ from run to run",
    py="dbg.exit_trace.seen",
)
def plot_exits(dbg: Interpreter, path: FileArg = "") -> Result:
    """Plot the traced exits over time: as bars in the terminal, or into FILE.

    The file is an .svg; that needs pygal (pip install 'kvmdbg[plot]').
    """
    trace = dbg.session.exit_trace
    if trace is None:
        raise UsageError("no exits are traced: trace exits on, then let the guest run")
    seen = list(trace.seen)
    if not seen:
        return Message("No exits were traced yet.")
    first, last = seen[0].time, seen[-1].time
    width = max((last - first) / 20, 1e-9)
    kinds = sorted({one.exit.kind for one in seen})
    counts = {kind: [0] * 20 for kind in kinds}
    for one in seen:
        counts[one.exit.kind][min(int((one.time - first) / width), 19)] += 1
    if not path:
        rows = tuple((f"{first + n * width:.4f} s", sum(counts[kind][n] for kind in kinds)) for n in range(20))
        return BarPlot(f"exits in steps of {width * 1e3:.3g} ms", rows)
    try:
        import pygal
    except ImportError:
        raise UsageError(
            "a plot in a file needs pygal: pip install 'kvmdbg[plot]'; without a file it is shown here"
        ) from None
    if not path.endswith(".svg"):
        raise UsageError(f"{path}: plots are written as .svg")
    chart = pygal.StackedBar(title=f"exits in steps of {width * 1e3:.3g} ms", x_label_rotation=45)
    chart.x_labels = [f"{first + n * width:.4f}" for n in range(20)]
    for kind in kinds:
        chart.add(kind, counts[kind])
    try:
        chart.render_to_file(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return Message(f"{len(seen)} exits are plotted in {path}.", data={"file": path, "exits": len(seen)})


@command("plot", group="exits", example="plot")
def plot(dbg: Interpreter) -> Result:
    """Draw something; the words that may follow are listed without one."""
    from kvmdbg.commands.info import subcommand_table

    return subcommand_table(dbg, "plot")


class LastTrace:
    """The last trace of instructions, also when it has ended."""

    trace: InsnTrace | None = None


@command(
    "trace insn",
    group="exits",
    example=("trace insn on insns.txt", "stepi 4", "trace insn off", "shell cat insns.txt"),
    py="dbg.trace_instructions({path})",
)
def trace_insn(dbg: Interpreter, switch: SwitchArg, path: FileArg = "") -> Result:
    """Keep which instructions run, by stepping the guest; with FILE each goes there with the registers it changed.

    `info coverage` and `info profile` then tell of them, also after `trace insn off`.
    """
    last = dbg.kept(LastTrace)
    if switch == "off":
        trace = dbg.session.instructions
        last.trace = trace or last.trace
        dbg.session.end_trace_instructions()
        return Message(f"Instructions are no longer traced; {trace.total if trace else 0} ran.")
    last.trace = dbg.session.trace_instructions(path or None)
    return Message(f"Instructions are traced from now on{f', to {path}' if path else ''}; the guest is stepped.")


def _insn_trace(dbg: Interpreter) -> InsnTrace:
    trace = dbg.kept(LastTrace).trace
    if trace is None:
        raise UsageError("no instructions were traced: trace insn on, then let the guest run")
    return trace


@command(
    "info coverage",
    group="exits",
    example=("advance again", "trace insn on", "set limit-instructions 100", "continue", "info coverage"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="coverage.by_function(dbg, trace)",
)
def info_coverage(dbg: Interpreter, path: FileArg = "") -> Result:
    """Show how many instructions of each symbol ran while they were traced.

    With FILE coverage goes there: .info is lcov's format (by source line; the ELF file needs line information),
    .drcov DynamoRIO's (by basic block, as Lighthouse and others read it).
    """
    from kvmdbg.observe import coverage

    trace = _insn_trace(dbg)
    if path:
        return _written(dbg, trace, path)
    rows, data = [], []
    for one in coverage.by_function(dbg.session, trace):
        of = str(one.of) if one.of else "?"
        share = f"{100 * one.ran / one.of:.0f} %" if one.of else ""
        rows.append((one.name, f"{one.address:#x}", str(one.ran), of, share, str(one.executed)))
        data.append({"name": one.name, "address": one.address, "ran": one.ran, "of": one.of, "executed": one.executed})
    columns = ("Symbol", "Address", "Ran", "Of", "", "Times")
    return Table("coverage", columns, tuple(rows), "No instruction has run yet.", tuple(data))


@command(
    "info profile",
    group="exits",
    example=("advance again", "trace insn on", "set limit-instructions 100", "continue", "info profile"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="trace.folded",
)
def info_profile(dbg: Interpreter, path: FileArg = "") -> Result:
    """Show where the instructions ran that were traced, by symbol: in it, and in it and what it called.

    With FILE (.folded) stacks go there, from which flamegraph.pl and speedscope draw a flame graph.
    """
    trace = _insn_trace(dbg)
    if path:
        return _written(dbg, trace, path)
    own: dict[str, int] = {}
    all_in: dict[str, int] = {}
    for stack, count in trace.folded.items():
        own[stack[-1]] = own.get(stack[-1], 0) + count
        for name in set(stack):
            all_in[name] = all_in.get(name, 0) + count
    total = sum(own.values()) or 1
    rows, data = [], []
    for name, count in sorted(all_in.items(), key=lambda one: (-own.get(one[0], 0), one[0])):
        mine = own.get(name, 0)
        rows.append((name, str(mine), f"{100 * mine / total:.1f} %", str(count), f"{100 * count / total:.1f} %"))
        data.append({"name": name, "own": mine, "with_calls": count})
    columns = ("Symbol", "Own", "", "With calls", "")
    return Table("profile", columns, tuple(rows), "No instruction has run yet.", tuple(data))


def _written(dbg: Interpreter, trace: Any, path: str) -> Result:
    from kvmdbg.observe import coverage

    about = coverage.write(dbg.session, trace, path)
    return Message(f"{about} in {os.fspath(path)}.", data={"file": path, "about": about})
