"""The calls that led to where the guest stands: backtrace, frame, up, down, info frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import CommandTextArg, NumberType, RestType
from kvmdbg.commands.print_settings import frame_arguments, frame_arguments_kind, style_of
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Group, Message, Result, SourceText, Table
from kvmdbg.commands.views import MORE_PARTS
from kvmdbg.commands.words import functions_of_frames
from kvmdbg.debuginfo.backtrace import CALLED, Frame
from kvmdbg.debuginfo.demangled import demangled, in_two
from kvmdbg.debuginfo.surroundings import called_instead
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.numbers import counted
from kvmdbg.record import replace

FARTHEST = 100_000
"""So many frames are looked through for the outermost ones."""
IN_CONTEXT = 5
"""Frames that the context shows."""
FEW = 50
"""So many are shown where no number is said."""
CountsArg = Annotated[
    str, RestType("[full] [-frame-arguments KIND] [COUNT|-COUNT]", words=("full", "-frame-arguments"))
]
SAME_HERE = {
    "-past-main": ("on", "enable", "1", "yes", ""),
    "-past-entry": ("on", "enable", "1", "yes", ""),
    "-raw-frame-arguments": ("on", "off", "enable", "disable", "1", "0", "yes", "no", ""),
    "-entry-values": ("no", "default"),
    "-frame-info": ("auto",),
}
"""Options of gdb's backtrace that say what is done anyhow, with the values that do."""
WITHOUT_VALUE = ("full", "-full", "-hide", "hide", "-no-filters", "no-filters")


@command(
    "backtrace",
    aliases=("bt", "where"),
    group="data",
    example=("break divide", "run", "backtrace", "bt full 1"),
    guest="guests/kernel-O0.elf",
    py="dbg.backtrace()",
)
def backtrace(dbg: Interpreter, counts: CountsArg = "") -> Result:
    """Show the calls that led here with their arguments, innermost first, at most COUNT; and why there are no more.

    By call frame information (DWARF) where the image has some, else by frame pointers ($rbp, $ebp, $bp). A function
    that was inlined has a frame of its own. -COUNT shows the outermost ones, `bt full` the local variables of each,
    -frame-arguments all|scalars|none|presence which arguments (set print frame-arguments says it for all).
    """
    full, kind, number = _options(counts, frame_arguments(dbg))
    count = dbg.number(number) if number else FEW
    if not count:
        raise UsageError("COUNT must be at least 1, or negative for the outermost frames")
    found = dbg.session.backtrace(count if count > 0 else FARTHEST)
    frames = found.frames if count > 0 else found.frames[count:]
    selected = dbg.session.frame.number
    if not full:
        rows, data = _rows(dbg, frames, selected, kind)
        columns = ["", "Address", "Symbol", "Source", "Arguments", "Found by"]
        if not any(row[4] for row in rows):  # nothing is known of them, as in programs of assembly
            rows, columns = [(*row[:4], row[5]) for row in rows], [*columns[:4], columns[5]]
        table = Table("frames", tuple(columns), tuple(rows), data=tuple(data))
        return Group((table, Message(f"({found.end})", data={"end": found.end})))
    parts: list[Result] = []
    for one in frames:
        mark = "*" if one.number == selected and selected else ""
        parts += [_line_of(dbg, one, mark, kind), _locals_of(dbg, one)]
    return Group((*parts, Message(f"({found.end})", data={"end": found.end})))


@command(
    "info stack",
    aliases=("s",),
    group="info",
    example=("break divide", "run", "info stack 2"),
    guest="guests/kernel-O0.elf",
    py="dbg.backtrace()",
)
def info_stack(dbg: Interpreter, counts: CountsArg = "") -> Result:
    """Show the calls that led here: the same as backtrace. The memory of the stack is in telescope $sp."""
    return backtrace(dbg, counts)


def _options(text: str, kind: str) -> tuple[bool, str, str]:
    """Whether ``bt full`` is meant, which arguments are shown (``kind`` without an option), the COUNT. UsageError."""
    words, full, rest = text.split(), False, list[str]()
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        near = [one for one in (*SAME_HERE, *WITHOUT_VALUE, "-frame-arguments") if one.startswith(word)]
        name = word if word in WITHOUT_VALUE else near[0] if len(near) == 1 and re.match(r"-[a-z]", word) else ""
        if name in WITHOUT_VALUE:
            full = full or name.endswith("full")
        elif name == "-frame-arguments":
            kind = frame_arguments_kind(words.pop(0) if words else "")
        elif name:
            value = words.pop(0) if words and not re.match(r"-|\d{2,}|[2-9]", words[0]) else ""
            if value not in SAME_HERE[name]:
                raise UsageError(f"backtrace {name} {value}: kvmdbg has only {SAME_HERE[name][0]}".replace("  ", " "))
        elif re.match(r"-[a-z]", word):
            raise UsageError(f"backtrace has no option {word}; there are full, -frame-arguments KIND, COUNT and -COUNT")
        else:
            rest.append(word)
    if len(rest) > 1:
        raise UsageError(f"backtrace takes one COUNT, not {' '.join(rest)}")
    return full, kind, rest[0] if rest else ""


def short_backtrace(dbg: Interpreter) -> Result:
    """The innermost frames, for the context."""
    return backtrace(dbg, str(IN_CONTEXT))


MORE_PARTS["backtrace"] = short_backtrace


def _rows(
    dbg: Interpreter, frames: tuple[Frame, ...], selected: int, kind: str
) -> tuple[list[tuple[str, ...]], list[dict[str, Any]]]:
    rows: list[tuple[str, ...]] = []
    data: list[dict[str, Any]] = []
    before: Frame | None = None
    for one in frames:
        label, place = frame_place(dbg, one)
        arguments = arguments_of(dbg, one)
        how, before = one.how + _on_the_way(dbg, before, one), one
        mark = "*" if one.number == selected and selected else ""
        shown = arguments_shown(arguments, kind)
        rows.append((f"{mark}#{one.number}", f"{one.pc:#x}", label, place, shown, how))
        data.append(
            {"frame": one.number, "pc": one.pc, "sp": one.sp, "symbol": label, "source": place, "how": how}
            | {"arguments": arguments}
        )
    return rows, data


def _on_the_way(dbg: Interpreter, frame: Frame | None, caller: Frame) -> str:
    """Of a caller which function it has called that has jumped on, and so has no frame."""
    if frame is None or frame.inlined or CALLED in (frame.how, caller.how):
        return ""
    name = called_instead(dbg.session.files, frame, caller)
    return f", by tail calls of {in_two(demangled(name))[0]}" if name else ""


def arguments_of(dbg: Interpreter, frame: Frame) -> dict[str, str]:
    """The arguments of a frame's function and their values, as far as they are known."""
    if frame.how == CALLED:
        return {}
    try:
        style = replace(style_of(dbg), pretty=False, array=False)
        return dbg.session.contexts.source_of(frame).values(parameters=True, style=style)
    except KvmdbgError:
        return {}


def arguments_shown(arguments: dict[str, str], kind: str) -> str:
    """Arguments in a line: all, those of structures and arrays as ..., only names, or only that there are some."""
    if kind == "presence":
        return "..." if arguments else ""
    shown = {
        name: "..." if kind == "none" or (kind == "scalars" and value.startswith("{")) else value
        for name, value in arguments.items()
    }
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def _locals_of(dbg: Interpreter, frame: Frame) -> Result:
    try:
        values = dbg.session.contexts.source_of(frame).values(parameters=False, style=style_of(dbg))
    except KvmdbgError as error:
        return Message(f"        {error}")
    lines = "\n".join(f"{name} = {value}" for name, value in values.items()) or "No locals."
    text = "        " + lines.replace("\n", "\n        ")
    return Message(text, data={"frame": frame.number, "locals": values})


def frame_place(dbg: Interpreter, frame: Frame) -> tuple[str, str]:
    """Symbol and source line of a frame; of a function that has inlined the next one, the line of the call."""
    if frame.how == CALLED:
        return "function called from kvmdbg", ""
    line = dbg.session.source.at(frame.place)
    place = (line.file, line.line) if line is not None else None
    if frame.call is not None:
        place = frame.call
    near = dbg.session.symbols.nearest(frame.place)
    offset = frame.pc - near[0].address if near is not None else 0
    name = in_two(demangled(near[0].name))[0] if near is not None else ""
    label = f"{name}+{offset:#x}" if offset and name else name
    if frame.inlined:
        label = f"{frame.name} (inlined)"
    elif "::" in frame.name and near is not None:
        label = f"{frame.name}+{offset:#x}" if offset else frame.name
    return label, f"{place[0].rpartition('/')[2]}:{place[1]}" if place is not None else ""


def _line_of(dbg: Interpreter, one: Frame, mark: str = "", kind: str = "") -> Message:
    """A frame in one line, as gdb has it."""
    label, place = frame_place(dbg, one)
    arguments = arguments_of(dbg, one)
    shown = arguments_shown(arguments, kind or frame_arguments(dbg))
    text = f"{mark}#{one.number}  {one.pc:#x}" + (f" <{label}>" if label else "")
    text += (f" ({shown})" if shown else "") + (f" at {place}" if place else "")
    data = {"frame": one.number, "pc": one.pc, "symbol": label, "source": place, "arguments": arguments}
    return Message(text, data=data)


class FrameType(NumberType):
    """The number of a frame."""

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        if dbg.session.state != "stopped":
            return []
        numbers = [str(one.number) for one in dbg.session.backtrace(MOST_OFFERED).frames]
        return [number for number in numbers if number.startswith(prefix)] or super().complete(prefix, dbg)


MOST_OFFERED = 20
"""So many frames are offered."""
FrameArg = Annotated[int, FrameType("NUMBER")]


def shown_frame(dbg: Interpreter, number: int | None = None) -> Result:
    """Select a frame, or leave it, and show it with its line of source."""
    chosen = dbg.session.frame if number is None else dbg.session.select_frame(number)
    frames = dbg.session.backtrace(chosen.number + 1).frames
    chosen = frames[chosen.number] if chosen.number < len(frames) else chosen
    parts: list[Result] = [_line_of(dbg, chosen)]
    line = dbg.session.source.at(chosen.place)
    place = chosen.call or ((line.file, line.line) if line is not None else None)
    text = dbg.source_lines(place[0]) if place is not None else ()
    if place is not None and 0 < place[1] <= len(text):
        parts.append(SourceText(place[0], ((place[1], text[place[1] - 1], True),)))
        dbg.session.locations.note_listed(*place)
    return Group(tuple(parts))


@command(
    "frame",
    aliases=("f",),
    group="data",
    example=("break divide", "run", "frame 1", "frame"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame({number})",
)
def frame(dbg: Interpreter, number: FrameArg | None = None) -> Result:
    """Select a frame of the backtrace by its number, or show the selected one.

    Its variables and registers are meant from then on (print $pc, x/i $pc, info registers, finish), until the guest
    goes on. Of the registers that calls need not keep, those of the CPU are shown.
    """
    return shown_frame(dbg, number)


@command(
    "frame level", group="data", example=("break divide", "run", "frame level 1"), guest="guests/kernel-O0.elf",
    py="dbg.select_frame({number})",
)  # fmt: skip
def frame_level(dbg: Interpreter, number: FrameArg) -> Result:
    """Select a frame of the backtrace by its number (the same as frame)."""
    return shown_frame(dbg, number)


class FunctionType(RestType):
    """A function that has a frame."""

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return functions_of_frames(prefix, dbg)


NameArg = Annotated[str, FunctionType("NAME")]


@command(
    "frame apply",
    group="data",
    example=("break divide", "run", "frame apply 2 info args"),
    guest="guests/kernel-O0.elf",
    py="[dbg.contexts.source_of(frame) for frame in dbg.backtrace().frames]",
)
def frame_apply(dbg: Interpreter, text: CommandTextArg) -> Iterator[Result]:
    """Run a command in several frames: frame apply all|COUNT|-COUNT|level NUMBER|NUMBER-NUMBER [-q] [-c] [-s] COMMAND.

    -q leaves the frames themselves out, -c goes on after errors, -s goes on and says nothing of them.
    """
    which, flags, line = _applied(dbg, text)
    before = dbg.session.frame.number
    try:
        for one in which:
            chosen = dbg.session.select_frame(one)
            try:
                results = list(dbg.run_lines([line]))
            except KvmdbgError as error:
                if "s" in flags:
                    continue
                if "c" not in flags:
                    raise
                results = [Message(str(error), "warning")]
            if "q" not in flags:
                yield _line_of(dbg, chosen)
            yield from results
    finally:
        if dbg.session.state == "stopped":
            dbg.session.select_frame(before)


def _applied(dbg: Interpreter, text: str) -> tuple[list[int], set[str], str]:
    """The frames, the flags and the command of ``frame apply``."""
    match = re.match(r"(all|-?\d+|level\s+(?:\d+(?:-\d+)?\s+)+)\s*((?:-[qcs]\s+)*)(?:--\s+)?(\S.*)$", text)
    if match is None:
        raise UsageError("frame apply needs frames and a command, as in frame apply 2 info locals")
    words = match[1].split()
    last = dbg.session.backtrace(FARTHEST).frames[-1].number
    if words[0] == "all":
        which = list(range(last + 1))
    elif words[0] == "level":
        which = []
        for word in words[1:]:
            low, high = (counted(one or word) for one in word.partition("-")[::2])
            which += range(low, min(high, max(low, last + 1)) + 1)  # the first that is not there is told
    else:
        count = counted(words[0])
        which = list(range(last + 1))[:count] if count >= 0 else list(range(last + 1))[count:]
    return which, set(re.findall(r"-([qcs])", match[2])), match[3]


@command(
    "faas",
    group="data",
    example=("break divide", "run", "faas print left"),
    guest="guests/kernel-O0.elf",
    py="[dbg.contexts.source_of(frame) for frame in dbg.backtrace().frames]",
)
def faas(dbg: Interpreter, text: CommandTextArg) -> Iterator[Result]:
    """Run a command in all frames, those left out where it errs: the same as frame apply all -s."""
    return frame_apply(dbg, f"all -s {text}")


UpArg = Annotated[int, NumberType("COUNT", least=-FARTHEST)]


@command(
    "up",
    group="data",
    example=("break divide", "run", "up", "up 2"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame(dbg.frame.number + {count})",
)
def up(dbg: Interpreter, count: UpArg = 1) -> Result:
    """Select the frame that called the selected one, or the one COUNT frames out."""
    return shown_frame(dbg, up_by(dbg, count))


def up_by(dbg: Interpreter, count: int) -> int:
    """The number of the frame COUNT frames out, or of the last one. UsageError for one where there is none."""
    if count < 0:
        return down_by(dbg, -count)
    last = dbg.session.backtrace(dbg.session.frame.number + count + 1).frames[-1].number
    if count == 1 and last <= dbg.session.frame.number:
        raise UsageError("this is the outermost frame that is known")
    return min(last, dbg.session.frame.number + count)


@command(
    "down",
    group="data",
    example=("break divide", "run", "up", "down"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame(dbg.frame.number - {count})",
)
def down(dbg: Interpreter, count: UpArg = 1) -> Result:
    """Select the frame that the selected one called, or the one COUNT frames in."""
    return shown_frame(dbg, down_by(dbg, count))


def down_by(dbg: Interpreter, count: int) -> int:
    """The number of the frame COUNT frames in, or of the first one. UsageError for one where there is none."""
    if count < 0:
        return up_by(dbg, -count)
    if count == 1 and not dbg.session.frame.number:
        raise UsageError("this is the innermost frame")
    return max(dbg.session.frame.number - count, 0)
