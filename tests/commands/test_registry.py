"""Names, prefixes, usage lines, and parsing against parameter types, without a session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Any

import pytest

from kvmdbg.commands import catalogue
from kvmdbg.commands.parameters import FileArg, FlagWordType, FormatType, RestType, WordType, parse_format
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import GROUPS, REGISTRY, Command, Registry, command
from kvmdbg.commands.user import User
from kvmdbg.errors import UsageError

catalogue.load()


def resolved(line: str) -> str:
    return REGISTRY.resolve(line).command.name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("b", "break"),
        ("br", "break"),
        ("tb", "tbreak"),
        ("tbr", "tbreak"),
        ("hb", "hbreak"),
        ("d", "delete"),
        ("del", "delete"),
        ("dis", "disable"),
        ("disas", "disassemble"),
        ("disp", "display"),
        ("und", "undisplay"),
        ("en", "enable"),
        ("cond", "condition"),
        ("ign", "ignore"),
        ("comm", "commands"),
        ("cl", "clear"),
        ("wat", "watch"),
        ("rw", "rwatch"),
        ("aw", "awatch"),
        ("c", "continue"),
        ("cont", "continue"),
        ("s", "step"),
        ("si", "stepi"),
        ("n", "next"),
        ("ni", "nexti"),
        ("fin", "finish"),
        ("u", "until"),
        ("adv", "advance"),
        ("x", "x"),
        ("p", "print"),
        ("i", "info"),
        ("l", "list"),
        ("h", "help"),
        ("r", "run"),
        ("k", "kill"),
        ("q", "quit"),
        ("i r", "info registers"),
        ("inf reg", "info registers"),
        ("info all", "info all-registers"),
        ("i b", "info breakpoints"),
        ("i wat", "info watchpoints"),
        ("info s", "info stack"),
        ("i li", "info line"),
        ("i pr", "info program"),
        ("sho conf", "show confirm"),
        ("set conf off", "set confirm"),
        ("set $rax = 1", "set"),
        ("set {u8}0x1000 = 1", "set"),
        ("set var $ax=1", "set var"),
        ("set width = 3", "set"),
        ("dump mem.bin 0 4", "dump"),
        ("dump memory f 0 4", "dump memory"),
        ("dump binary memory f 0 4", "dump binary"),
        ("!ls", "shell"),
        ("p$ax", "print"),
        ("p/x $ax", "print"),
        ("x/4xw 0", "x"),
        ("catch io 0x10", "catch io"),
        ("catch shutdown", "catch"),
        ("symbol-file a.elf", "symbol-file"),
    ],
)
def test_what_fingers_know(typed: str, name: str) -> None:
    assert resolved(typed) == name


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("con", "'con' is ambiguous: condition, context, continue"),
        ("brek", "'brek' is no command; did you mean break?"),
        ("stpe", "'stpe' is no command; did you mean step?"),
        ("info regsters", "'info regsters' is no command; did you mean info registers?"),
        ("zzz", "'zzz' is no command; try help"),
        ("$ax", "'$ax' does not start with a command; try help"),
        ("si.x", "'si.x' is no command"),
    ],
)
def test_unknown_and_ambiguous(typed: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        REGISTRY.resolve(typed)
    assert str(caught.value).startswith(message)


def test_resolve_takes_the_line_apart() -> None:
    found = REGISTRY.resolve("  x/4xw  $sp, 3")
    assert (found.command.name, found.suffix, found.rest, found.column) == ("x", "4xw", "  $sp, 3", 7)
    assert REGISTRY.resolve("info reg ax").rest == " ax"
    assert REGISTRY.resolve("x").suffix is None


def test_a_name_belongs_to_one_command() -> None:
    mine = Registry()

    @command("one", aliases=("o",), group="support", example="one", registry=mine)
    def one(dbg: Any) -> None:
        """First."""

    with pytest.raises(ValueError, match="two: the name o belongs to one"):

        @command("two", aliases=("o",), group="support", example="two", registry=mine)
        def two(dbg: Any) -> None:
            """Second."""

    with pytest.raises(ValueError, match="docstring"):

        @command("three", group="support", example="three", registry=mine)
        def three(dbg: Any) -> None: ...


def sample() -> Command:
    mine = Registry()

    @command("sample", group="support", example="sample", registry=mine)
    def sample(
        dbg: Any,
        form: Annotated[Any, FormatType()] = None,
        way: Annotated[str, WordType("on|off", ("on", "off"))] = "on",
        fast: Annotated[bool, FlagWordType("fast")] = False,
        *names: Annotated[str, WordType("NAME", strict=False)],
    ) -> None:
        """Takes one of everything."""

    found = mine.get("sample")
    assert found is not None
    return found


def test_usage_follows_from_the_signature() -> None:
    assert sample().usage == "sample[/FMT] [on|off] [fast] [NAME]..."


def test_arguments_in_order() -> None:
    one = sample()
    dbg: Any = None
    assert one.parse("", None, dbg) == [None, "on", False]
    assert one.parse(" of fast a, b", None, dbg) == [None, "off", True, "a", "b"]
    assert one.parse("off b", "2x", dbg) == [parse_format("2x"), "off", False, "b"]
    with pytest.raises(UsageError, match="'maybe' is none of on, off"):
        one.parse("maybe", None, dbg)


def test_left_over_text_and_missing_arguments_are_named() -> None:
    dbg: Any = None
    run = REGISTRY.get("pwd")
    assert run is not None
    with pytest.raises(UsageError, match=r"pwd: 'now please' was not understood; usage: pwd"):
        run.parse(" now please", None, dbg)
    with pytest.raises(UsageError, match=r"pwd takes no /x; usage: pwd"):
        run.parse("", "x", dbg)
    apropos = REGISTRY.get("apropos")
    assert apropos is not None
    with pytest.raises(UsageError, match="apropos needs REGEX; usage: apropos REGEX"):
        apropos.parse("  ", None, dbg)


@pytest.mark.parametrize(
    ("text", "count", "letter", "unit"),
    [("4xw", 4, "x", 4), ("xw4", None, None, None), ("i", None, "i", None), ("b", None, None, 1), ("wx", None, "x", 4)],
)
def test_format(text: str, count: int | None, letter: str | None, unit: int | None) -> None:
    if text == "xw4":
        with pytest.raises(UsageError, match="/xw4 is no format"):
            parse_format(text)
        return
    found = parse_format(text)
    assert (found.count, found.letter, found.unit) == (count, letter, unit)


@pytest.mark.parametrize("text", ["4q", "xx", "bw"])
def test_format_mistakes_name_the_letter(text: str) -> None:
    with pytest.raises(UsageError, match=f"/{text}: '{text[-1]}' is no format letter"):
        parse_format(text)


def test_every_command_is_explained() -> None:
    for one in REGISTRY:
        assert one.group in GROUPS, one.name
        assert one.examples, one.name
        assert one.summary.rstrip().endswith((".", ",", ":")) or len(one.text.split()) > 3, one.name
        assert one.usage.startswith(one.name)
        for parameter in one.parameters:
            assert parameter.type.metavar, one.name


def test_every_example_shows_its_command() -> None:
    for one in REGISTRY:
        lines = [line for example in one.examples for line in example.splitlines()]
        assert one.name in {name for line in lines for name in _names(line)}, one.name


def _names(line: str) -> set[str]:
    """The command of a line and, of two words, its first; none of a line that an example's own definition explains."""
    try:
        found = REGISTRY.resolve(line).command
    except UsageError:
        return set()
    return {found.name, found.words[0]} if len(line.split()) > 1 else {found.name}


def test_rest_keeps_the_text() -> None:
    assert RestType().parse("a  b ", 0, None) == ("a  b", 5)  # type: ignore[arg-type]


SHELL_ONLY = """
    layout focus
    alias append apropos cd complete define define-prefix display "delete display" "disable display" "enable display"
    document echo eval gdbserver "gdbserver console" "gdbserver follow-mode" "gdbserver stop" help info
    "info display" "info gdbserver" "info settings" if loop_break loop_continue pipe plot pwd python
    python-interactive quit save "save breakpoints" "screen live" tui set shell show silent snapshot source
    trace "tui disable" "tui enable" "tui new-layout" undisplay while winheight winwidth with refresh "info win"
"""


def test_every_command_has_its_twin_in_python() -> None:
    """Or is a matter of the shell: its prompt, its files of commands, its displays."""
    import inspect
    import re
    import shlex

    from kvmdbg.core.session import Session

    catalogue.load()
    without = {one.name for one in REGISTRY if not one.py and not one.name.startswith(("set ", "show "))}
    assert without == set(shlex.split(SHELL_ONLY))
    given_by_parts = set(re.findall(r"\bself\.([a-z]\w*)(?=.*=)", inspect.getsource(Session)))
    for one in REGISTRY:
        for name in re.findall(r"dbg\.(\w+)", one.py):
            assert hasattr(Session, name) or name in given_by_parts, f"{one.name}: {name}"


def test_a_twin_in_python_names_what_its_command_takes() -> None:
    from string import Formatter

    catalogue.load()
    for one in REGISTRY:
        named = {name for _, name, _, _ in Formatter().parse(one.py) if name is not None}
        assert named <= {parameter.name for parameter in one.parameters}, one.name


def test_a_line_in_python() -> None:
    catalogue.load()
    command = REGISTRY.get("break")
    assert command is not None
    assert command.in_python([Place("main", 0x1000), "$ax == 1"]) == "dbg.break_at('main', when='$ax == 1')"
    assert command.in_python([Place("0x7c00", 0x7C00), None]) == "dbg.break_at(0x7c00)"


def test_reference_pages_are_not_stale() -> None:
    from kvmdbg.commands import reference
    from tests.docs.transcripts import without_outputs

    pages = reference.pages()
    assert set((reference.DOCS / "commands").iterdir()) | {reference.DOCS / "commands.md"} == set(pages)
    for file, text in pages.items():
        assert without_outputs(file.read_text()) == text, f"{file.name} is stale: make docs"


def test_an_example_that_stays_keeps_its_output() -> None:
    from kvmdbg.commands import reference

    shown = "```console\n$ kvmdbg x\n(kvmdbg real) fork 2\n> stepi\n> end\nStepped.\n```\n"
    bare = "```console\n$ kvmdbg x\n(kvmdbg) fork 2\n(kvmdbg) stepi\n(kvmdbg) end\n```\n"
    assert reference.with_outputs(f"New\n\n{bare}", f"Old\n\n{shown}") == f"New\n\n{shown}"
    other = bare.replace("fork 2", "fork 3")
    assert reference.with_outputs(other, shown) == other


REACH_THE_HOST = [
    "cd",
    "gdbserver",
    "layout",
    "pipe",
    "pwd",
    "python",
    "python-interactive",
    "set history-filename",
    "set logging",
    "shell",
    "tui",
    "tui enable",
]


def test_what_reaches_the_host_says_so() -> None:
    """For clients of the GDB stub may not do it: files by the type of a parameter, all else by ``host=True``."""
    assert [one.name for one in REGISTRY if one.host] == REACH_THE_HOST
    for one in REGISTRY:
        for parameter in one.parameters:
            words = f"{parameter.name} {parameter.type.metavar}".lower()
            named = any(word in words for word in ("file", "path", "folder", "director", "shell", "socket"))
            assert parameter.host == named or one.host, f"{one.name}: is {parameter.name} a name on the host?"


def test_a_client_of_the_stub_is_refused_before_anything_is_done() -> None:
    mine = Registry()
    calls: list[str] = []

    @command("keep", group="support", example="keep x", registry=mine)
    def keep(dbg: Any, file: FileArg = "") -> None:
        """Keep."""
        calls.append(file)

    stranger: Any = SimpleNamespace(user=User())
    stranger.user.host_allowed = False
    one = mine.resolve("keep").command
    assert one.parse("", None, stranger) == [""]
    with pytest.raises(UsageError, match="--gdb-allow-host"):
        one.parse(" x", None, stranger)
    assert not calls
