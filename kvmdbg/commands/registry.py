"""The table of commands: one decorated function is one command.

::

    @command("break", aliases=("b", "br"), group="breakpoints", example="break 0x7c00 if $ax == 1")
    def break_(dbg: Interpreter, location: LocationArg | None = None, condition: ConditionArg = None) -> Result:
        '''Stop the guest before it executes the instruction at LOCATION.'''

The function's first parameter is the :class:`~kvmdbg.commands.interpreter.Interpreter` (its ``session`` attribute is
the session). Every further parameter is annotated ``Annotated[T, SomeParameter(...)]`` (``parameters.py`` has short
names for the usual ones); the annotation parses its part of the line, completes it, and names it in the usage line.
A parameter with a default is optional, ``*args`` takes as many as there are.

What reaches the host outside of the guest says so, because clients of the GDB stub may not do it: a file's name is a
``FileType`` (or another type with ``host = True``), and a command that runs something or changes the process itself
has ``host=True``.

From this one function follow: parsing, completion, ``help``, the generated docs/commands.md, gdb's ``monitor`` and
the JSON output (the result's own).

Words resolve as in gdb: an exact name or alias wins, then a unique prefix; the words of "info registers" each may be
shortened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, get_args, get_type_hints

from kvmdbg.commands.results import Result, StopReport
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter
    from kvmdbg.engine.stops import Stop

#: The groups of ``help``, in the order shown, with their titles.
GROUPS: dict[str, str] = {
    "running": "Running the guest",
    "breakpoints": "Breakpoints and watchpoints",
    "exits": "Exits of the virtual CPU",
    "data": "Registers, memory and expressions",
    "info": "The state of things",
    "files": "Files and symbols",
    "gdb": "Serving gdb and lldb",
    "settings": "Settings",
    "support": "Help, macros and the session itself",
}

#: The flag of a code object that has ``*args``; inspect.CO_VARARGS without importing inspect.
CO_VARARGS = 4

_WORD = re.compile(r"\s*([!|]|[A-Za-z_][A-Za-z0-9_-]*)")


@record
class Candidate:
    """One completion: ``text`` replaces the line from column ``start`` on; ``description`` is shown beside it."""

    text: str
    start: int = 0
    description: str = ""


class ParameterType(Protocol):
    """How one argument is read from a command line."""

    #: Name in usage lines, e.g. "ADDRESS".
    metavar: str

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Any, int] | None:
        """The argument that starts at ``text[pos]`` (never a space) and the column after it.

        None: there is none of this kind here (then an optional parameter takes its default).
        Raises UsageError or ExpressionError when it is one with a mistake. Nothing is evaluated here: completion
        parses, too. What asks the guest for its value is given as a ``Later``.
        """

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        """What the word ``prefix`` may become."""


@record
class Later:
    """An argument that was parsed and has its value only when the command runs, from ``evaluate``."""

    evaluate: Callable[[Interpreter], Any]


@record
class Parameter:
    """One parameter of a command's function."""

    name: str
    type: ParameterType
    optional: bool
    many: bool
    default: Any = None
    suffix: bool = False  # taken from the "/4xw" on the command word
    host: bool = False  # names something of the host's, as a file

    @property
    def usage(self) -> str:
        """As shown in a usage line: "ADDRESS", "[COUNT]", "[NAME]..."."""
        if self.suffix:
            return f"[{self.type.metavar}]"
        text = self.type.metavar
        if self.many:
            return f"[{text}]..." if self.optional else f"{text}..."
        return f"[{text}]" if self.optional else text


@record
class Command:
    """One command: its name (one or two words), how to parse its line, what to call and how to explain it.

    ``body`` says what its following lines are ("commands", "macro", "document", "python"), "" when it takes none.
    ``host``: it reaches the host, whatever its arguments are. ``guest`` and ``varies``: see :func:`command`.
    """

    name: str
    function: Callable[..., Any]
    aliases: tuple[str, ...]
    group: str
    examples: tuple[str, ...]
    repeat: bool
    body: str = ""
    py: str = ""
    host: bool = False
    guest: str = ""
    varies: str = ""

    def body_follows(self, rest: str) -> bool:
        """Whether lines up to ``end`` follow one with this behind the command's name."""
        return bool(self.body) and not (self.body == "python" and rest.strip())

    def check_host(self, dbg: Interpreter) -> None:
        """UsageError where the one who types must not reach the host."""
        if not dbg.user.host_allowed:
            raise UsageError(
                f"{self.name}: a client of the GDB stub reaches no files and commands of the host; the option "
                "--gdb-allow-host of kvmdbg lets it"
            )

    def in_python(self, arguments: list[Any]) -> str:
        """What a line of this command is in Python, on a session ``dbg``; "" where it is a matter of the shell only."""
        if not self.py:
            return ""
        plain = [p for p in self.parameters if not p.many]
        given = dict(zip((p.name for p in plain), arguments, strict=False))
        rest = arguments[len(plain) :]
        values = {name: _literal(value) for name, value in given.items()}
        for p in self.parameters:
            if p.many:
                values[p.name] = ", ".join(_literal(one) for one in rest)
        text = self.py.format_map(values)
        return re.sub(r"(, )?\b\w+=(None|'')(?=[,)])", "", text).replace("(, ", "(")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the function's annotations say; worked out when first needed."""
        found = _PARAMETERS.get(self.function)
        if found is None:
            found = _PARAMETERS[self.function] = parameters_of(self.function)
        return found

    @property
    def text(self) -> str:
        """Its documentation: the function's docstring."""
        import inspect

        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.name.split())

    @property
    def summary(self) -> str:
        """The first sentence of its documentation, on one line."""
        return self.text.split("\n\n")[0].replace("\n", " ")

    @property
    def usage(self) -> str:
        """``break [LOCATION] [if CONDITION]``."""
        suffix = "".join(p.usage for p in self.parameters if p.suffix)
        return " ".join([self.name + suffix, *(p.usage for p in self.parameters if not p.suffix)])

    def parse(self, text: str, suffix: str | None, dbg: Interpreter) -> list[Any]:
        """Arguments for ``function`` from the rest of the line, some of them a ``Later`` yet.

        Raises UsageError naming what was not understood.
        """
        pos = skip_space(text, 0)
        values: dict[str, Any] = {}
        rest: list[Any] = []
        for parameter in self.parameters:
            if parameter.suffix:
                if suffix is not None:
                    found = parameter.type.parse(suffix, 0, dbg)
                    values[parameter.name] = found[0] if found else parameter.default
                    suffix = None
                else:
                    values[parameter.name] = parameter.default
                continue
            if parameter.many:
                while pos < len(text) and (found := parameter.type.parse(text, pos, dbg)) is not None:
                    if parameter.host:
                        self.check_host(dbg)
                    rest.append(found[0])
                    pos = skip_separator(text, found[1])
                if not rest and not parameter.optional:
                    raise UsageError(self._missing(parameter, text, pos))
                continue
            found = parameter.type.parse(text, pos, dbg) if pos < len(text) else None
            if found is None:
                if not parameter.optional:
                    raise UsageError(self._missing(parameter, text, pos))
                values[parameter.name] = parameter.default
                continue
            if parameter.host:
                self.check_host(dbg)
            values[parameter.name] = found[0]
            pos = skip_separator(text, found[1])
        if suffix is not None:
            raise UsageError(f"{self.name} takes no /{suffix}; usage: {self.usage}")
        if pos < len(text):
            raise UsageError(f"{self.name}: '{text[pos:].strip()}' was not understood; usage: {self.usage}")
        positional = [values.pop(p.name) for p in self.parameters if not p.many]
        return [*positional, *rest]

    def _missing(self, parameter: Parameter, text: str, pos: int) -> str:
        if pos < len(text):
            return f"{self.name}: '{text[pos:].strip()}' is no {parameter.type.metavar}; usage: {self.usage}"
        return f"{self.name} needs {parameter.type.metavar}; usage: {self.usage}"


@record
class Resolved:
    """A command line taken apart: the command, the "/4xw" after its word (without the slash; None when absent),
    the rest of the line, and the column where the rest starts."""

    command: Command
    suffix: str | None
    rest: str
    column: int


_PARAMETERS: dict[Callable[..., Any], tuple[Parameter, ...]] = {}


class Registry:
    """All commands by name. One is filled at import (:data:`REGISTRY`); tests may make their own.

    ``stop_report`` makes what is shown of a stop, ``add_hint`` puts what was perhaps meant into an error; modules of
    commands set them.
    """

    def __init__(self) -> None:
        self.add_hint: Callable[[Interpreter, KvmdbgError, Resolved], None] = lambda dbg, error, line: None
        self.stop_report: Callable[[Interpreter, Stop], Result] = lambda dbg, stop: StopReport(stop, stop.describe())
        self._commands: dict[str, Command] = {}
        self._names: dict[str, dict[str, Command]] = {"": {}}  # first word ("" at the top) -> word -> command
        self._later: Callable[[], object] | None = None
        self._first: Mapping[str, Callable[[], object]] = {}

    def fill_later(self, fill: Callable[[], object], first: Mapping[str, Callable[[], object]]) -> None:
        """Have ``fill`` enter all commands when one is asked for; words of ``first`` have a way of their own to enter
        the commands of these names."""
        self._later, self._first = fill, first

    def _fill(self) -> None:
        if self._later is not None:
            later, self._later = self._later, None
            later()

    def add(self, found: Command) -> None:
        """Enter a command. Raises ValueError when one of its names is taken."""
        *parents, last = found.words
        level = self._names.setdefault(parents[0] if parents else "", {})
        for name in (last, *found.aliases):
            if name in level and level[name].name != found.name:
                raise ValueError(f"{found.name}: the name {name} belongs to {level[name].name}")
            level[name] = found
        self._commands[found.name] = found

    def __iter__(self) -> Iterator[Command]:
        self._fill()
        return iter(sorted(self._commands.values(), key=lambda one: one.name))

    def __len__(self) -> int:
        self._fill()
        return len(self._commands)

    def get(self, name: str) -> Command | None:
        """The command of exactly this full name ("info registers")."""
        self._fill()
        return self._commands.get(name)

    def subcommands(self, word: str) -> list[Command]:
        """The two-word commands under ``word``, by name."""
        self._fill()
        found = {one.name: one for one in self._names.get(word, {}).values()} if word else {}
        return [found[name] for name in sorted(found)]

    def names(self, parent: str = "") -> dict[str, Command]:
        """Every word (names and aliases) at the top, or after ``parent``."""
        self._fill()
        return dict(self._names.get(parent, {}))

    def comes_first(self, line: str) -> bool:
        """Whether this is the whole name of a command that is imported without the others."""
        return line in self._first

    def in_group(self, group: str) -> list[Command]:
        return [one for one in self if one.group == group]

    def resolve(self, line: str) -> Resolved:
        """Take a line apart into command, format suffix and arguments.

        Raises UsageError: unknown (with the nearest name) or ambiguous (with the candidates).
        """
        match = _WORD.match(line)
        if match is None:
            raise UsageError(f"'{line.strip()}' does not start with a command; try help")
        if self._later is not None:
            self._first.get(match[1], self._fill)()
        found = self._pick("", match[1])
        end = match.end()
        if found.name in self._names:
            second = _WORD.match(line, end)
            if second is not None and line[end : end + 1].isspace() and _ends_word(line, second.end()):
                try:
                    found = self._pick(found.name, second[1])
                    end = second.end()
                except UsageError:
                    if not found.parameters:
                        raise
        suffix = None
        slash = skip_space(line, end)  # p /x is p/x
        if line[slash : slash + 1] == "/" and any(p.suffix for p in found.parameters):
            stop = end = slash + 1
            while stop < len(line) and not line[stop].isspace():
                stop += 1
            suffix, end = line[end:stop], stop
        elif end < len(line) and match[1] not in ("!", "|") and not line[end].isspace() and not _may_touch(line[end]):
            raise UsageError(f"'{line[match.start(1) :].split()[0]}' is no command{self._hint('', match[1])}")
        return Resolved(found, suffix, line[end:], end)

    def _pick(self, parent: str, word: str) -> Command:
        level = self._names[parent]
        if word in level:
            return level[word]
        commands = {one.name: one for name, one in level.items() if name.startswith(word)}
        if len(commands) == 1:
            return next(iter(commands.values()))
        if commands:
            raise UsageError(f"'{f'{parent} {word}'.strip()}' is ambiguous: {', '.join(sorted(commands))}")
        where = f"{parent} " if parent else ""
        raise UsageError(f"'{where}{word}' is no command{self._hint(parent, word)}")

    def _hint(self, parent: str, word: str) -> str:
        where = f"{parent} " if parent else ""
        import difflib  # only when somebody mistyped

        names = [name for name in self._names[parent] if len(name) > 2]
        turned = [name for name in names if name[0] == word[0] and sorted(name) == sorted(word)]
        near = turned or difflib.get_close_matches(word, names, n=1)
        if near:
            return f"; did you mean {where}{near[0]}?"
        return f"; try help {parent}" if parent else "; try help"


def _ends_word(line: str, end: int) -> bool:
    """False within ``mem.bin`` and before ``=``: ``set width = 3`` and ``dump mem.bin 0 4`` name no sub-command."""
    after = line[end:].lstrip()
    assigned = after.startswith(("=", "+=", "-=")) and not after.startswith("==")
    return (not line[end : end + 1] or line[end].isspace() or line[end] == "/") and not assigned


def _may_touch(char: str) -> bool:
    """Characters that may follow a command word without a space: ``p$ax``, ``x&sym``, ``p(1)``, ``p*1``, ``si2`` no."""
    return char in "/$*&(!{-+\"'#"


def skip_space(text: str, pos: int) -> int:
    while pos < len(text) and text[pos].isspace():
        pos += 1
    return pos


def skip_separator(text: str, pos: int) -> int:
    pos = skip_space(text, pos)
    if pos < len(text) and text[pos] == ",":
        pos = skip_space(text, pos + 1)
    return pos


REGISTRY = Registry()

F = TypeVar("F", bound=Callable[..., Any])


def command(
    name: str,
    *,
    aliases: tuple[str, ...] = (),
    group: str,
    example: str | tuple[str, ...],
    repeat: bool = False,
    body: str = "",
    py: str = "",
    host: bool = False,
    guest: str = "",
    varies: str = "",
    registry: Registry = REGISTRY,
) -> Callable[[F], F]:
    """Make a function a command.

    ``name`` is one or two words; ``aliases`` are further last words. ``repeat``: an empty line runs it again.
    ``body``: it takes lines up to ``end`` (the interpreter reads them and passes ``body=[...]``).
    ``py`` is what the command is in Python, on a session ``dbg``, with {NAME} for its parameters; without it the
    command is a matter of the shell only. ``host``: it runs something on the host or changes the debugger's own
    process, so that clients of the GDB stub need leave for it. A parameter that names a file says so by its type.

    ``example``: the lines of a session that works as it is. Its page in docs/commands/ shows what comes out, and tests
    run it. ``guest`` is the command line of another guest than hello16.bin, ``varies`` says why what comes out is not
    the same everywhere; it is left out on the page then, as "No output is shown: …".
    """
    if group not in GROUPS:
        raise ValueError(f"{name}: no group {group}")

    def enter(function: F) -> F:
        if not function.__doc__:
            raise ValueError(f"{name}: a command needs a docstring")
        examples = (example,) if isinstance(example, str) else example
        registry.add(
            Command(
                name=name,
                function=function,
                aliases=aliases,
                group=group,
                examples=examples,
                repeat=repeat,
                body=body,
                py=py,
                host=host,
                guest=guest,
                varies=varies,
            )
        )
        return function

    return enter


def _literal(value: Any) -> str:
    """A parsed argument as Python has it: addresses by what was typed."""
    text, address = getattr(value, "text", None), getattr(value, "address", None)
    if address is not None:
        return repr(text) if text and not text[:1].isdigit() else f"{address:#x}"
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]+", value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value > 9:
        return f"{value:#x}"
    return repr(value)


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters that a command's annotations describe."""
    hints = get_type_hints(function, include_extras=True)
    code = function.__code__
    names = list(code.co_varnames[: code.co_argcount])
    defaults = dict(zip(reversed(names), reversed(function.__defaults__ or ()), strict=False))
    found = []
    for name in names[1:]:
        kind = _parameter_type(hints[name])
        if kind is None:
            raise TypeError(f"{function.__name__}: parameter {name} has no parameter type")
        suffix, host = getattr(kind, "suffix", False), getattr(kind, "host", False)
        found.append(Parameter(name, kind, name in defaults, False, defaults.get(name), suffix, host))
    if code.co_flags & CO_VARARGS:
        name = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
        kind = _parameter_type(hints[name])
        if kind is None:
            raise TypeError(f"{function.__name__}: parameter {name} has no parameter type")
        found.append(Parameter(name, kind, optional=True, many=True, host=getattr(kind, "host", False)))
    return tuple(found)


def _parameter_type(hint: Any) -> ParameterType | None:
    for extra in getattr(hint, "__metadata__", ()):
        if hasattr(extra, "parse") and hasattr(extra, "metavar"):
            return cast("ParameterType", extra)
    for inner in get_args(hint):
        if (found := _parameter_type(inner)) is not None:
            return found
    return None
