"""Frames by what they are (number, address of the stack, function), shown or not: info frame, select-frame and kin."""

from __future__ import annotations

from typing import Annotated

from kvmdbg.commands.frames import FARTHEST, NameArg, UpArg, down_by, frame_place, shown_frame, up_by
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ExpressionTextArg, RestType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Result
from kvmdbg.commands.words import functions_of_frames
from kvmdbg.debuginfo.backtrace import Frame, call_frame_address
from kvmdbg.errors import UsageError

WAYS = ("level", "address", "function", "view")
VIEW = "frames are found from where the guest stands, none is made up: set $pc and $sp, or x/16xg ADDRESS"


class SpecType(RestType):
    """A frame: NUMBER, level NUMBER, address ADDRESS, function NAME."""

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        if prefix.startswith("function "):
            return [f"function {name}" for name in functions_of_frames(prefix.removeprefix("function "), dbg)]
        return [word for word in WAYS[:-1] if word.startswith(prefix)]


SpecArg = Annotated[str, SpecType("[level NUMBER|address ADDRESS|function NAME|NUMBER]")]


def frame_of(dbg: Interpreter, spec: str) -> Frame:
    """The frame that is meant. UsageError."""
    word, _, rest = spec.partition(" ")
    way = next((one for one in WAYS if word and one.startswith(word)), "")
    if not spec:
        return dbg.session.frame
    if way and not rest:
        raise UsageError(f"{way} of what? A frame is NUMBER, level NUMBER, address ADDRESS or function NAME")
    if way == "function":
        return frame_of_function(dbg, rest.strip())
    if way == "address":
        return _frame_at(dbg, dbg.number(rest))
    if way == "view":
        raise UsageError(VIEW)
    number = dbg.number(rest if way else spec)
    frames = dbg.session.backtrace(max(number, 0) + 1).frames
    if not 0 <= number < len(frames):
        raise UsageError(f"there is no frame {number}: the last one is {frames[-1].number}")
    return frames[number]


def frame_of_function(dbg: Interpreter, name: str) -> Frame:
    """The innermost frame of a function. UsageError."""
    for one in dbg.session.backtrace(FARTHEST).frames:
        near = dbg.session.symbols.nearest(one.place)
        symbol = near[0].name if near is not None and not one.inlined else ""
        plain = one.name.partition("(")[0]
        if name in (one.name, plain, symbol) or plain.endswith(f"::{name}"):
            return one
    raise UsageError(f"no frame of a function {name}")


def _frame_at(dbg: Interpreter, address: int) -> Frame:
    """The frame whose call frame address this is, as info frame shows it. UsageError."""
    for one in dbg.session.backtrace(FARTHEST).frames:
        if not one.inlined and call_frame_address(dbg.session.vcpu, dbg.session.files, one) == address:
            return one
    raise UsageError(f"no frame's call frame is at {address:#x}; info frame shows where one is")


@command(
    "frame function", group="data", example=("break divide", "run", "frame function kernel_main"),
    guest="guests/kernel-O0.elf", py="dbg.select_frame(number)",
)  # fmt: skip
def frame_function(dbg: Interpreter, name: NameArg) -> Result:
    """Select the innermost frame of a function."""
    return shown_frame(dbg, frame_of_function(dbg, name).number)


@command(
    "frame address", group="data", example=("break divide", "run", "info frame", "frame address 0x10efb8"),
    guest="guests/kernel-O0.elf", py="dbg.select_frame(number)",
)  # fmt: skip
def frame_address(dbg: Interpreter, address: ExpressionTextArg) -> Result:
    """Select the frame whose call frame is at an address, as info frame shows it."""
    return shown_frame(dbg, frame_of(dbg, f"address {address}").number)


@command(
    "select-frame",
    group="data",
    example=("break divide", "run", "select-frame 1", "select-frame function run_tasks", "frame"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame(number)",
)
def select_frame(dbg: Interpreter, frame: SpecArg = "") -> None:
    """Select a frame as the command frame does, and show nothing."""
    dbg.session.select_frame(frame_of(dbg, frame).number)


@command(
    "up-silently",
    group="data",
    example=("break divide", "run", "up-silently", "frame"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame(dbg.frame.number + {count})",
)
def up_silently(dbg: Interpreter, count: UpArg = 1) -> None:
    """Select the frame that called the selected one, or the one COUNT frames out, and show nothing."""
    dbg.session.select_frame(up_by(dbg, count))


@command(
    "down-silently",
    group="data",
    example=("break divide", "run", "up 2", "down-silently", "frame"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame(dbg.frame.number - {count})",
)
def down_silently(dbg: Interpreter, count: UpArg = 1) -> None:
    """Select the frame that the selected one called, or the one COUNT frames in, and show nothing."""
    dbg.session.select_frame(down_by(dbg, count))


@command(
    "info frame",
    aliases=("f",),
    group="info",
    example=("break divide", "run", "info frame", "info frame 1"),
    guest="guests/kernel-O0.elf",
    py="dbg.frame",
)
def info_frame(dbg: Interpreter, frame: SpecArg = "") -> Result:
    """Show the selected frame, or another: its place, its call frame, its caller, and the registers that calls keep."""
    chosen = frame_of(dbg, frame)
    label, place = frame_place(dbg, chosen)
    values = {"frame": str(chosen.number), "at": f"{chosen.pc:#x} <{label}>" if label else f"{chosen.pc:#x}"}
    if place:
        values["source"] = place
    values["stack pointer"] = f"{chosen.sp:#x}"
    cfa = call_frame_address(dbg.session.vcpu, dbg.session.files, chosen)
    if cfa is not None:
        values["call frame"] = f"{cfa:#x}"
    trace = dbg.session.backtrace(chosen.number + 2)
    if chosen.number < len(trace.frames) and trace.frames[chosen.number].inlined:
        values["inlined"] = f"into {frame_place(dbg, trace.frames[chosen.number + 1])[0]}"
    caller = dbg.session.frames.caller_of(trace.frames[chosen.number])
    if caller is not None:
        values["called from"] = f"{caller.pc:#x} <{frame_place(dbg, caller)[0]}>, by {caller.how}"
    else:
        values["called from"] = f"not known: {trace.end}"
    wide = dbg.session.vcpu.mode.bits == 64
    known = {name if wide else f"e{name[1:]}": value for name, value in chosen.regs.items() if wide or name.isalpha()}
    values["registers"] = ", ".join(f"{name} {value:#x}" for name, value in known.items())
    return Fields("", values)
