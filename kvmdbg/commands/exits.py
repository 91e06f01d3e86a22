"""The exits of the virtual CPU: catch them, trace them, count them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, ConditionArg, NumberType, RestType, WordType
from kvmdbg.commands.registry import Later, command
from kvmdbg.commands.results import Message, Result
from kvmdbg.errors import SessionStateError, UsageError
from kvmdbg.record import replace


def exit_kinds(dbg: Interpreter) -> list[str]:
    """Every word for what can be caught."""
    from kvmdbg.engine.breakpoints import catch_kinds

    return catch_kinds()


class VectorType(NumberType):
    """A vector: a number, or the name of an exception as #PF or pf."""

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[int | Later, int] | None:
        from kvmdbg.engine.events import EXCEPTIONS

        word = text[pos:].split()[0]
        for vector, name in EXCEPTIONS.items():
            if name.strip("#").lower() == word.strip("#").lower():
                return vector, pos + len(word)
        return super().parse(text, pos, dbg)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        from kvmdbg.engine.events import EXCEPTIONS

        return [name for name in EXCEPTIONS.values() if name.startswith("#") and name.startswith(prefix)]


ACTIONS = ("stop", "nostop", "print", "noprint", "pass", "nopass")


class HandledType(VectorType):
    """A number, unless an action stands in its place."""

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[int | Later, int] | None:
        return None if text[pos:].split()[0] in ACTIONS else super().parse(text, pos, dbg)


#: What `handle` calls the one field that its VALUE filters by.
FILTERED = {
    "io": "port", "mmio": "address", "msr": "index", "msr_read": "index", "msr_write": "index", "exception": "vector",
    "interrupt": "vector", "cpuid": "leaf", "hypercall": "nr",
}  # fmt: skip

PortArg = Annotated[int | None, NumberType("PORT")]
CountedArg = Annotated[int | None, NumberType("COUNT", least=1)]
IndexArg = Annotated[int | None, NumberType("INDEX")]
LeafArg = Annotated[int | None, NumberType("LEAF")]
NrArg = Annotated[int | None, NumberType("NR")]
HandledCountArg = Annotated[int | None, HandledType("COUNT", least=1)]
ValueArg = Annotated[int | None, HandledType("VALUE")]
VectorArg = Annotated[int | None, VectorType("VECTOR")]
InOutArg = Annotated[str | None, WordType("in|out", ("in", "out"), optional_match=True)]
ReadWriteArg = Annotated[str | None, WordType("read|write", ("read", "write"), optional_match=True)]
ModeArg = Annotated[
    str | None,
    WordType("MODE", ("real", "v86", "prot16", "prot32", "long", "compat16", "compat32"), optional_match=True),
]
KindArg = Annotated[str, WordType("KIND", exit_kinds)]
ActionArg = Annotated[str, WordType("ACTION", ACTIONS)]


def _span(start: int | None, count: int | None) -> int | range | None:
    return start if start is None or count is None else range(start, start + count)


def _catch(dbg: Interpreter, kind: str, condition: str | None, what: str, **chosen: Any) -> Result:
    made = dbg.session.catch(kind, when=condition, **chosen)
    made.location = made.describe()
    dbg.session.variables["bpnum"] = made.number
    sentence = f"Catchpoint {made.number}: {what}" + (f" if {condition}" if condition else "") + "."
    shown = {name: [v.start, v.stop] if isinstance(v, range) else v for name, v in made.filters.items()}
    return Message(sentence, data={"number": made.number, "kind": kind, **shown})


def _about(*parts: str | int | range | None) -> str:
    shown = []
    for part in parts:
        if isinstance(part, range):
            shown.append(f"{part.start:#x} to {part.stop - 1:#x}")
        elif part is not None and part != "":
            shown.append(f"{part:#x}" if isinstance(part, int) else part)
    return " ".join(shown)


@command(
    "catch io",
    group="exits",
    example=("catch io out 0x10 if $value == 3", "run"),
    guest="--load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.catch('io', port={port}, direction={direction}, when={condition})",
)
def catch_io(
    dbg: Interpreter,
    direction: InOutArg = None,
    port: PortArg = None,
    count: CountedArg = None,
    condition: ConditionArg = None,
) -> Result:
    """Stop the guest when it reads or writes an I/O port: PORT (or COUNT ports from there), or any without one.

    A condition sees the access as $port, $size and $value.
    """
    span = _span(port, count)
    what = _about("port" if port is not None else "any port", span, direction)
    return _catch(dbg, "io", condition, what, direction=direction, port=span)


@command(
    "catch mmio",
    group="exits",
    example=(
        "advance prot32",
        "stepi 2",
        "catch mmio write 0xfee00000,0x1000",
        'asm/n $pc "mov [0xfee00020], eax"',
        "continue",
    ),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.catch('mmio', address={address}, direction={direction}, when={condition})",
)
def catch_mmio(
    dbg: Interpreter,
    direction: ReadWriteArg = None,
    address: AddressArg | None = None,
    count: CountedArg = None,
    condition: ConditionArg = None,
) -> Result:
    """Stop the guest when it touches a guest-physical address outside its memory: ADDRESS, or any without one.

    With COUNT that many bytes from there. A condition sees the access as $address, $size and $value.
    """
    span = _span(address.address if address else None, count)
    what = _about("physical" if address else "any address outside memory", span, direction)
    return _catch(dbg, "mmio", condition, what, direction=direction, address=span)


@command(
    "catch msr",
    group="exits",
    example=("catch msr write 0xc0000080", "run"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.catch('msr', index={index}, when={condition})",
)
def catch_msr(
    dbg: Interpreter, access: ReadWriteArg = None, index: IndexArg = None, condition: ConditionArg = None
) -> Result:
    """Stop the guest when it executes RDMSR or WRMSR: of INDEX, or of any without one. KVM exits for these only then.

    A condition sees the access as $index and $value.
    """
    what = _about("MSR" if index is not None else "any MSR", index, access)
    return _catch(dbg, f"msr_{access}" if access else "msr", condition, what, index=index)


@command(
    "catch exception",
    group="exits",
    example=("advance fill", "catch exception #PF", "continue"),
    guest="guests/kernel-O0.elf",
    py="dbg.catch('exception', vector={vector}, when={condition})",
)
def catch_exception(dbg: Interpreter, vector: VectorArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest at the handler of an exception, before its first instruction: VECTOR (or #PF …), or of any.

    Breakpoints on the handlers in the guest's table do it, and follow when the guest changes the table or loads
    another. A condition sees $vector, $ip, and $error_code and $address (CR2) where there are any.
    """
    from kvmdbg.engine.events import vector_name

    what = "any exception" if vector is None else f"exception {vector_name(vector)}"
    return _catch(dbg, "exception", condition, what, vector=vector)


@command(
    "catch interrupt",
    group="exits",
    example=("catch interrupt 0x21", "catch interrupt"),
    py="dbg.catch('interrupt', vector={vector}, when={condition})",
)
def catch_interrupt(dbg: Interpreter, vector: VectorArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest at the handler of an interrupt: VECTOR, or any from 32 on. It works as catch exception does."""
    what = "any interrupt" if vector is None else f"interrupt {vector:#x}"
    return _catch(dbg, "interrupt", condition, what, vector=vector)


@command(
    "catch mode",
    group="exits",
    example=("catch mode prot32", "run"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.catch('mode', new={mode}, when={condition})",
)
def catch_mode(dbg: Interpreter, mode: ModeArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest behind the instruction that changed the CPU's mode: to MODE, or to any.

    No KVM exits for that, so the vCPU is stepped until then.
    """
    return _catch(dbg, "mode", condition, f"mode {mode}" if mode else "any change of mode", new=mode)


@command(
    "catch cpuid",
    group="exits",
    example=("catch cpuid 0x40000000", "catch cpuid"),
    py="dbg.catch('cpuid', leaf={leaf}, when={condition})",
)
def catch_cpuid(dbg: Interpreter, leaf: LeafArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest behind a CPUID: of LEAF, or any. No KVM exits for that, so the vCPU is stepped until then."""
    return _catch(dbg, "cpuid", condition, _about("cpuid leaf" if leaf is not None else "cpuid", leaf), leaf=leaf)


@command(
    "catch hypercall",
    group="exits",
    example=("catch hypercall", "catch hypercall 9"),
    py="dbg.catch('hypercall', nr={nr}, when={condition})",
)
def catch_hypercall(dbg: Interpreter, nr: NrArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest behind a VMCALL or VMMCALL: number NR (in RAX), or any. The vCPU is stepped until then."""
    return _catch(dbg, "hypercall", condition, _about("hypercall" if nr is not None else "any hypercall", nr), nr=nr)


@command("catch hlt", group="exits", example=("catch hlt", "run"), py="dbg.catch('hlt', when={condition})")
def catch_hlt(dbg: Interpreter, condition: ConditionArg = None) -> Result:
    """Stop the guest when it halts, also where an interrupt would wake it again."""
    return _catch(dbg, "hlt", condition, "hlt")


@command(
    "catch",
    group="exits",
    example=("catch io 0x10", "catch shutdown", "run"),
    guest="--load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.catch({kind}, when={condition})",
)
def catch(dbg: Interpreter, kind: KindArg, condition: ConditionArg = None) -> Result:
    """Stop the guest at exits of one kind; some kinds also take a port, an address or a number.

    The kinds are the exit reasons of linux/kvm.h in lower case, without KVM_EXIT_, `any` for all of those, and what no
    KVM exits for and the debugger finds out by itself: exception, interrupt, mode, cpuid, hypercall, rdtsc, and magic,
    which is xchg bx, bx.
    """
    return _catch(dbg, kind, condition, f"exit {kind}" if kind not in ("rdtsc",) else kind)


@command(
    "tcatch",
    group="exits",
    example=("tcatch io 0x10", "run", "info breakpoints"),
    guest="--load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.catch(..., temporary=True)",
)
def tcatch(dbg: Interpreter, what: Annotated[str, RestType("KIND ...", "", tuple(FILTERED))]) -> Iterator[Result]:
    """Catch something once: the catchpoint is deleted when it stops the guest. What follows is as for catch."""
    results = list(dbg.run_lines([f"catch {what}"]))
    dbg.session.breakpoints.get(dbg.session.variables["bpnum"]).temporary = True
    for one in results:
        if isinstance(one, Message) and "number" in one.data:  # not what set trace-commands shows
            one = replace(one, text=f"Temporary c{one.text[1:]}")
        yield one


@command(
    "handle",
    group="exits",
    example=("handle io 0x10 nostop print", "set limit-exits 3", "run"),
    guest="--load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="@dbg.on.exit({kind})",
)
def handle(
    dbg: Interpreter, kind: KindArg, value: ValueArg = None, count: HandledCountArg = None, *actions: ActionArg
) -> Result:
    """Say what is done at exits of one kind: with VALUE only of that port, address, MSR or vector (COUNT of them).

    stop or nostop: whether the guest stops; print or noprint: whether it is shown as it happens; pass or nopass:
    whether an access reaches its device (else writes go nowhere and reads give ones). nostop holds against wider
    catchpoints, so `catch io` and `handle io 0x80 nostop` stop at all ports but one. Said again, only what is
    named changes. `delete` undoes it.
    """
    from kvmdbg.engine.breakpoints import Catchpoint

    if not actions:
        raise UsageError(f"handle: say what is to be done, one or more of {', '.join(ACTIONS)}")
    if "nopass" in actions and kind not in ("io", "mmio", "msr", "msr_read", "msr_write"):
        raise UsageError(f"handle: {kind} cannot be kept from anything; nopass is for io, mmio and msr")
    field = FILTERED.get(kind)
    if value is not None and field is None:
        raise UsageError(f"handle: exits of kind {kind} have nothing to be chosen by; say `handle {kind} ...`")
    span = _span(value, count)
    filters = {field: span} if field is not None and span is not None else {}
    known = [p for p in dbg.session.breakpoints.catchpoints() if (p.kind, p.filters) == (kind, filters)]
    point = next((p for p in known if p.function is None and p.condition is None), None)
    if point is None:
        point = dbg.session.add_point(Catchpoint(kind, filters))
    elif dbg.session.state == "running":
        raise SessionStateError("the guest is running: interrupt it first")
    for action in actions:
        name = {"stop": "stops", "print": "prints", "pass": "passes"}[action.removeprefix("no")]
        setattr(point, name, not action.startswith("no"))
    point.when = "after" if point.passes else "before"
    words = [
        f"{'' if point.stops else 'no'}stop", f"{'' if point.prints else 'no'}print",
        f"{'' if point.passes else 'no'}pass",
    ]  # fmt: skip
    dbg.session.variables["bpnum"] = point.number
    text = f"{_about(kind, span)}: {', '.join(words)} (catchpoint {point.number})."
    return Message(text, data={"number": point.number, "kind": kind, "actions": words})


@command(
    "why",
    group="exits",
    example=("advance kernel_main", "asm/n $pc ud2", "continue", "why"),
    guest="guests/kernel-O0.elf",
    py="dbg.last_stop.autopsy",
)
def why(dbg: Interpreter) -> Result:
    """Say what killed the guest: after a triple fault, a refused entry, or an instruction that KVM cannot run.

    Which exception came first and why it could not be handled, the last instructions (found by running the way from
    the last exit again on a copy of the guest), and the last exits.
    """
    from kvmdbg.commands.views import why_part
    from kvmdbg.engine.stops import FatalStop

    stop = dbg.session.last_stop
    if not isinstance(stop, FatalStop) or stop.autopsy is None:
        text = "the guest has not stopped yet" if stop is None else stop.describe()
        return Message(f"Nothing has killed the guest: {text}.")
    return why_part(dbg, stop.autopsy)
