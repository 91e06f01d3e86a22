"""alias, pipe, with, logging, define and its hooks, Python at the prompt, dprintf, save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.errors import KvmdbgError, UsageError

from .conftest import Typist

pytestmark = pytest.mark.kvm


# -- the scripts of gdb's manual, in the chapter on canned sequences of commands


def test_manual_adder(hello: Typist) -> None:
    hello.type("define adder\n  print $arg0 + $arg1 + $arg2\nend")
    hello.type("document adder\nPrints the sum of three numbers.\nif you want\nend")
    assert hello.type("adder 1 2 3") == "$1 = 6"
    assert "Prints the sum of three numbers.\nif you want" in hello.type("help adder")


def test_manual_adder_of_two_or_three(hello: Typist) -> None:
    hello.type(
        "define adder\n  if $argc == 2\n    print $arg0 + $arg1\n  end\n  if $argc == 3\n"
        "    print $arg0 + $arg1 + $arg2\n  end\nend"
    )
    assert hello.type("adder 1 2") == "$1 = 3"
    assert hello.type("adder 1 2 3") == "$2 = 6"


def test_manual_adder_of_many(hello: Typist) -> None:
    hello.type(
        'define adder\n  set $i = 0\n  set $sum = 0\n  while $i < $argc\n    eval "set $sum = $sum + $arg%d", $i\n'
        "    set $i = $i + 1\n  end\n  print $sum\nend"
    )
    assert hello.type("adder 1 2 3 4") == "$1 = 10"
    assert hello.type("adder") == "$2 = 0"


def test_manual_hooks(hello: Typist) -> None:
    hello.type("define hook-echo\necho <<<---\nend")
    hello.type("define hookpost-echo\necho --->>>\\n\nend")
    texts = [one.plain() for one in hello.results("echo Hello World")]
    assert "".join(texts) == "<<<---Hello World--->>>\n"


def test_manual_hook_of_stop(hello: Typist) -> None:
    hello.type("define hook-stop\nset $stopped = $stopped + 1\nend")
    hello.type("define hookpost-stop\nprint $stopped\nend")
    hello.type("set $stopped = 0")
    assert hello.type("stepi").endswith("$1 = 1")
    assert hello.type("stepi").endswith("$2 = 2")


def test_manual_echo_over_lines(hello: Typist) -> None:
    lines = "echo This is some text\\n\\\nwhich is continued\\n\\\nonto several lines.\\n"
    assert hello.type(lines) == "This is some text\nwhich is continued\nonto several lines.\n"


def test_manual_prefix(hello: Typist) -> None:
    with pytest.raises(UsageError, match="define-prefix abc makes one"):
        hello.type("define abc def\nend")
    hello.type("define-prefix abc\ndefine abc def\necho command 'abc def' on $arg0\nend")
    hello.type("define abc\necho command 'abc' on $arg0\nend")
    assert hello.type("abc def 1") == "command 'abc def' on 1"
    assert hello.type("abc 2") == "command 'abc' on 2"


def test_loops_are_left(hello: Typist) -> None:
    hello.type("set $i = 0")
    shown = hello.type(
        "while 1\nset $i = $i + 1\nif $i == 2\nloop_continue\nend\nif $i > 3\nloop_break\nend\nprint $i\nend"
    )
    assert shown == "$1 = 1\n$2 = 3"
    with pytest.raises(KvmdbgError, match="stands in no while"):
        hello.type("loop_break")


def test_hooks_of_a_word_behind_another(hello: Typist) -> None:
    hello.type("define info hook-registers\necho before\nend")
    assert hello.type("info registers ip").startswith("before")
    with pytest.raises(UsageError, match="define hook-print"):
        hello.type("define hook-p\nend")


# -- alias, pipe, with


def test_alias(hello: Typist) -> None:
    hello.type("alias words = x/2xw")
    assert hello.type("words 0x1000") == "0x1000:  0x0003f8ba  0xee3004d8"
    hello.type("alias -a pp = print /x")
    assert hello.type("pp 255") == "$1 = 0xff"
    assert [one.text for one in hello.dbg.complete("word")] == ["words"]
    assert [one.text for one in hello.dbg.complete("p")].count("pp") == 0
    assert "$eax" in [one.text for one in hello.dbg.complete("pp $ea")]
    assert hello.dbg.complete("pp $ea")[0].start == len("pp ")
    hello.type("alias info mine = info registers ip")
    assert hello.type("info mine") == hello.type("info registers ip")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alias print = x", "print is a command of kvmdbg already"),
        ("alias mine = nosuch", "'nosuch' is no command"),
        ("alias mine", "alias needs a name, = and a command"),
        ("pipe print 1", "pipe needs a command, | and a program"),
        ("with output-radix 16 print 1", "with needs a setting, its value, -- and a command"),
        ("with nosuch 1 -- print 1", "there is no setting nosuch"),
        ("with output-radix 7 -- print 1", "output-radix must be"),
        ("set logging maybe", "'maybe' is none of"),
        ("set logging enabled perhaps", "neither on nor off"),
        ("set logging file", "needs a FILE"),
        ("python 1 +", "python: invalid syntax"),
        ("python\nx = 1\n  y = 2\nend", "python: unexpected indent, line 2"),
        ("python raise SystemExit", "use quit"),
        ("save breakpoints x", "nothing to save"),
        ("dprintf *0x1003", "dprintf needs a place, a comma and a text"),
        ('dprintf *0x1003,"%d"', "1 conversions, and 0 values"),
        ('printf "%n", 1', "printf has no conversion %n"),
    ],
)
def test_mistakes(hello: Typist, line: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        hello.type(line)
    assert said in str(error.value)


def test_pipe(hello: Typist) -> None:
    assert hello.type("pipe print 5 | cat -n") == "     1\t$1 = 5\n"
    assert hello.type("| print 6 | tr 6 7").strip() == "$2 = 7"
    assert hello.type("pipe -d ## print 1|2 ## cat").strip() == "$3 = 3"
    hello.type("pipe print 1 | exit 3")
    assert hello.type("print $_shell_exitcode") == "$5 = 3"


def test_with(hello: Typist) -> None:
    assert hello.type("with output-radix 16 -- print 255") == "$1 = 0xff"
    with pytest.raises(KvmdbgError):
        hello.type("with output-radix 16 -- print nosuch")
    assert hello.type("print 255") == "$2 = 255"
    assert "with output-radix 16" in [one.text for one in hello.dbg.complete("with output-radix 1")] or [
        one.text for one in hello.dbg.complete("with output-radix 1")
    ] == ["output-radix 10", "output-radix 16"]


def test_logging(hello: Typist, tmp_path: Path) -> None:
    log = tmp_path / "log"
    hello.type(f"set logging file {log}")
    assert hello.type("set logging enabled on") == f"Copying output to {log}."
    assert hello.type("print 1\necho a\nprint 2") == "$1 = 1\na\n$2 = 2"
    with pytest.raises(KvmdbgError):
        hello.type("print nosuch")
    hello.type("set logging enabled off")
    hello.type("print 3")
    lines = log.read_text().splitlines()
    assert lines[:3] == ["$1 = 1", "a", "$2 = 2"] and "nosuch" in lines[3] and "$3 = 3" not in lines
    hello.type("set logging overwrite on\nset logging redirect on\nset logging enabled on")
    assert hello.type("print 4") == ""
    hello.type("set logging enabled off")
    assert log.read_text().splitlines()[0] == "$4 = 4"


def test_clients_of_the_stub_reach_no_programs(hello: Typist) -> None:
    hello.dbg.user.host_allowed = False
    for line in ("pipe print 1 | cat", "| print 1 | cat", "python 1", "pi 1", "save breakpoints x", "set logging on"):
        with pytest.raises(UsageError, match="--gdb-allow-host"):
            hello.type(line)


def test_programs_of_a_user_without_a_terminal_of_their_own(hello: Typist, capfd: pytest.CaptureFixture[str]) -> None:
    hello.type("shell echo beside >&2")
    assert capfd.readouterr().err == "beside\n"
    hello.dbg.user.has_terminal = False
    assert hello.type("shell echo told >&2; cat") == "told\n"
    assert hello.type("pipe print 1 | cat >&2") == "$1 = 1\n"
    assert capfd.readouterr() == ("", "")


# -- Python


def test_python(hello: Typist) -> None:
    assert hello.type("python print(hex(dbg.regs.ax))") == "0x2\n"
    assert hello.type("py\nfor i in range(2):\n    if i:\n        print('is', i)\nend") == "is 1\n"
    hello.type("python mine = dbg.regs.ax + 1")
    assert hello.type("pi mine") == "3\n"
    assert hello.type("pi\nmine * 2\n'a'\nNone\nend") == "6\n'a'\n"
    assert hello.type("python print(command('print 7'), end='')") == "$1 = 7\n"
    assert hello.type("define three\npython\nif True:\n  print(3)\nend\nend\nthree") == "3\n"


def test_python_that_fails(hello: Typist) -> None:
    with pytest.raises(KvmdbgError, match="ZeroDivisionError"):
        hello.type("python 1 / 0")
    with pytest.raises(KvmdbgError, match="no register"):
        hello.type("python dbg.regs['rbq']")


# -- dprintf and save


def test_dprintf(hello: Typist) -> None:
    told: list[str] = []
    hello.dbg.user.on_event = lambda result: told.append(result.plain())
    hello.type('dprintf *0x1005,"al is %d, %s, %c, %#x\\n", $al, "text", 65, $pc')
    hello.type("stepi 2")
    hello.type("continue")
    assert told == ["al is 4, text, A, 0x1005\n"]
    assert "dprintf" in hello.type("info breakpoints")


def test_saved_breakpoints_are_the_same_again(hello: Typist, tmp_path: Path) -> None:
    hello.type("break *0x1003 if $al == 4")
    hello.type("ignore 1 2")
    hello.type("commands 1\nsilent\nif $al\nprint $al\nend\nend")
    hello.type("tbreak 0x100:7")
    hello.type("watch *(u16*)0x5000 if $ax == 1")
    hello.type("rwatch 0x5000,8")
    hello.type("catch io out 0x3f8 8")
    hello.type("catch msr read 0x10")
    hello.type("catch shutdown")
    hello.type("handle io 0x80 nostop print")
    hello.type('dprintf *0x1005,"al is %d\\n", $al')
    hello.type("disable 3")
    before = _described(hello)
    saved = tmp_path / "points"
    assert "Saved 9 of 9" in hello.type(f"save breakpoints {saved}")
    hello.type("delete")
    hello.type(f"source {saved}")
    assert _described(hello) == before


def _described(typist: Typist) -> list[dict[str, object]]:
    found = []
    for one in typist.dbg.session.breakpoints:
        data = {key: value for key, value in one.to_json().items() if key not in ("number", "held_by", "location")}
        where = (getattr(one, "address", None), getattr(one, "length", None), getattr(one, "filters", None))
        found.append({**data, "where": where, "commands": one.commands})
    return found


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ('"%5d|%-5d|%05d", 3, 3, 3', "    3|3    |00003"),
        ('"%x %X %#x %o", 255, 255, 255, 8', "ff FF 0xff 10"),
        ('"%c%c", 65, 66', "AB"),
        ('"%c%c%c|", 10, 9, 0', "\n\t|"),
        ('"%s and %5s", "one", "two"', "one and   two"),
        ('"%u", -1', "4294967295"),
        ('"%lu", -1', "18446744073709551615"),
        ('"%d", 4294967295', "-1"),
        ('"%p %p", 0, 16', "(nil) 0x10"),
        ('"%.2f", (u32)0x3fc00000', "1.50"),
        ('"100%%"', "100%"),
        ('"a\\tb\\101"', "a\tbA"),
    ],
)
def test_printf(hello: Typist, template: str, shown: str) -> None:
    assert hello.type(f"printf {template}") == shown


# -- settings


def test_gdbs_settings(hello: Typist) -> None:
    for line in ("set pagination off", "set height 0", "set width 0", "set history save off", "set history size 100"):
        assert hello.type(line) == ""
    assert hello.type("show pagination") == "pager is off."
    assert hello.type("show history save") == "history-save is off."
    assert "size" in hello.type("show history")
    assert hello.type("set style enabled off") == ""
    assert hello.type("show style enabled") == "style-enabled is off."
    assert "changes nothing" in hello.type("set style sources on")
    assert hello.type("set style sources on") == ""  # told once
    assert "history expansion changes nothing" in hello.type("set history expansion on")
    hello.type("set hist size 5")
    assert hello.dbg.settings["history-size"] == 5
    assert "language is always auto" in hello.type("show language")
    hello.type("set trace-commands on")
    assert hello.type("print 1") == "+print 1\n$1 = 1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("show listsise", "there is no setting listsise; did you mean listsize?"),
        ("set listsise 3", "did you mean set listsize?"),
        ("set listsize 0", "at least 1"),
    ],
)
def test_mistakes_in_settings(hello: Typist, line: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        hello.type(line)
    assert said in str(error.value)


def test_fuzzy_completion(hello: Typist) -> None:
    from kvmdbg.machine.image import Symbol
    from kvmdbg.ui.offered import offered

    texts = lambda line: [one.text for one in offered(hello.dbg, line)]  # noqa: E731
    assert texts("set fcmp") == []
    hello.type("set fuzzy-completion on")
    assert texts("set fcmp") == ["fuzzy-completion"]
    assert "breakpoint-hold" in texts("set bhold")
    assert texts("print $rdi") == ["$rdi"]
    hello.dbg.session.symbols.add(
        [Symbol(name, 0x1000, 1, "function", "global") for name in ("a" * 200, "a" * 40 + "_b")]
    )
    assert texts(f"print {'a' * 30}b") == ["a" * 40 + "_b"]  # and ends


# -- the context


def test_arguments_at_a_call(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    kernel.type("advance shrink")
    kernel.type("python\nwhile not command('x/i $pc').split('call')[1:]:\n    dbg.step()\nend")
    shown = kernel.type("x/i $pc")
    assert "call" in shown and "divide" in shown
    assert "value=0x3e8" in shown and "by=0x4" in shown


def test_backtrace_in_the_context(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    kernel.dbg.settings.set("context", "backtrace")
    assert "shrink" in kernel.type("advance divide")


@pytest.mark.parametrize("line", ["refresh", "info win", "winwidth src +5", "winheight src +5"])
def test_what_needs_the_full_screen_says_so(hello: Typist, line: str) -> None:
    assert "full-screen mode only" in hello.type(line)


def test_widths_of_panes(hello: Typist) -> None:
    hello.type("winwidth src 70\nwinwidth cmd 40")
    assert hello.dbg.settings["tui-widths"] == {"source": 70, "log": 40}
    hello.type("winwidth src")
    assert hello.type("show tui-widths") == "tui-widths is log=40."
    with pytest.raises(UsageError, match="'wide' is no number of columns"):
        hello.type("winwidth src wide")


def test_a_log_that_cannot_be_written_loses_nothing(counter: Typist) -> None:
    told: list[str] = []
    counter.dbg.user.on_event = lambda result: told.append(result.plain())
    counter.type(
        "trace exits on\nset limit-exits 3\nset logging file /dev/full\nset logging redirect on\nset logging on"
    )
    assert counter.type("run") == "Stopped at 0x10004 after 3 exits."
    assert [one[:24] for one in told] == ["cannot write /dev/full: ", *["0x10002: out port 0x10, "] * 3]
    counter.type("set logging on")
    shown: list[str] = []
    with pytest.raises(KvmdbgError, match="cannot write /dev/full: No space left on device; logging is off"):
        shown.extend(one.plain() for one in counter.dbg.execute("print 2"))
    assert shown == ["$1 = 2"]


def test_with_one_of_gdbs_settings(hello: Typist) -> None:
    assert "$1 = 2" in hello.type("with verbose on -- print 2")
    with pytest.raises(UsageError, match="stepi goes into"):
        hello.type("with step-mode on -- print 2")
    hello.type("with print frame-arguments none -- print 2")
    assert hello.type("show print frame-arguments").endswith("is all.")
