"""What a user of gdb types behind commands that are here, too: it does what gdb does, or what to type is said."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from kvmdbg.errors import ExpressionError, KvmdbgError
from tests.commands.conftest import GUESTS, Typist

pytestmark = pytest.mark.kvm


@pytest.fixture
def kernel(opened: Callable[..., Typist]) -> Typist:
    return opened(GUESTS / "kernel-O0.elf")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("b divide thread 1", "break PLACE if $_thread == N"),
        ("tbreak divide task 1", "break PLACE if $_thread == N"),
        ("watch value mask 0xff", "watch ADDRESS LENGTH"),
        ("c -a", "all vCPUs go on together"),
        ("source -v /tmp/nosuch", "set trace-commands on"),
        ("stepi &", "tbreak PLACE and continue &"),
        ("finish &", "tbreak PLACE and continue &"),
        ("handle SIGINT nostop", "a guest has no signals"),
        ("r rax=1", "set $rax = 1"),
        ("r @rax", "info registers rax"),
        ("u $pc L3", "x/3i $pc"),
        ("u /3", "x/3i $pc"),
        ("u 0x1005ae 0x1005c2", "disassemble 0x1005ae,0x1005c2"),
        ('s -a 0x100000 L100 "abc"', 'find 0x100000, +0x100, "abc"'),
        ("s -b 0x100000 L1000 55", "find/b 0x100000, +0x1000, 0x55"),
        ('bp count "k"', "behind break count"),
        ("k 5", "backtrace 5"),
        ("dp $sp", "telescope $sp"),
        ("du 0x5000", "x/hs 0x5000"),
        ("? poi(@rsp)", "*(long*)($rsp)"),
        ("~*k", "backtrace"),
        ("~1s", "vcpu 1"),
        ("watch r 0x5000", "rwatch 0x5000"),
        ("watch w 0x5000", "watch 0x5000"),
        ("watch stop", "commands N with continue"),
        ("delete all", "delete alone"),
        ("info idt 3", "info idt shows all"),
        ("set eax=5", "set $eax = 5"),
        ("i /b 0x60", "info devices"),
        ("info registers -a", "vcpu N selects"),
        ("display -pretty -- value", "display/FMT value, set print pretty on"),
        ("print -f x -- 1", "print/x 1"),
        ("b -n count", "break count"),
        ("tb -a 0x1005ae", "tbreak *0x1005ae"),
        ("br s -n count", "breakpoint set -n count"),
        ("br list", "info breakpoints"),
        ("disassemble -n count", "di -n count"),
        ("thread continue", "by continue"),
        ("th l", "info vcpus"),
        ("thread plan list", "info program"),
        ("frame diagnose", "info frame"),
        ("command list", "help lists the commands"),
        ("source info", "info source"),
        ("print -r -- 1", "print -repeats 5 -- EXPRESSION"),
    ],
)
def test_what_to_type_is_said(kernel: Typist, line: str, says: str) -> None:
    with pytest.raises(KvmdbgError) as error:
        kernel.type(line)
    assert says in str(error.value)


def test_it_is_said_within_a_macro(kernel: Typist) -> None:
    kernel.type("define mine\nc -a\nend")
    with pytest.raises(KvmdbgError, match="all vCPUs go on together"):
        kernel.type("mine")


def test_one_setting_of_the_log(kernel: Typist) -> None:
    kernel.type("set logging file a.txt")
    assert kernel.type("show logging file") == "logging file is a.txt."
    assert kernel.type("show logging redirect") == "logging redirect is off."


def test_the_classes_of_help(kernel: Typist) -> None:
    assert "info registers" in kernel.type("help status")
    assert "select-frame" in kernel.type("help stack")
    assert "alias NAME" in kernel.type("help aliases")
    assert "trace exits" in kernel.type("help tracepoints")
    assert "define NAME" in kernel.type("help user-defined")
    kernel.type("define mine\necho a\nend")
    assert "mine" in kernel.type("help user-defined")


@pytest.mark.parametrize("line", ["display nosuch", "display/4xw nosuch", "display/i nosuch + 1", "display 1 +"])
def test_no_display_of_what_there_is_not(kernel: Typist, line: str) -> None:
    with pytest.raises(ExpressionError):
        kernel.type(line)
    assert kernel.type("info display") == "There are no displays."


def test_a_display_of_what_cannot_be_read_now_is_one(kernel: Typist) -> None:
    assert kernel.type("display *(int*)0x7fffffff0000").startswith("1: ")
    assert "0x7fffffff0000" in kernel.type("info display")


@pytest.mark.parametrize("name", ["$nosuch", "$bpnum"])
def test_a_variable_without_a_value_is_void(kernel: Typist, name: str) -> None:
    assert kernel.type(f"print {name}") == "$1 = void"
    assert kernel.type(f"output {name}") == "void"


def test_a_mistyped_register_is_not_void(kernel: Typist) -> None:
    with pytest.raises(ExpressionError, match=r"did you mean \$r"):
        kernel.type("print $rxa")


def test_a_call_of_no_function_names_it(kernel: Typist) -> None:
    with pytest.raises(ExpressionError, match=r"'nosuch'.*called as"):
        kernel.type("call nosuch(1)")
    with pytest.raises(ExpressionError, match=r"'dividee'.*did you mean divide"):
        kernel.type("call dividee(1)")


@pytest.mark.parametrize(
    ("line", "says"), [("gpa2hva 0x1000", "x/4xg phys:"), ("bm div*", "rbreak"), ("p2p", "telescope")]
)
def test_words_of_others_name_their_equal(kernel: Typist, line: str, says: str) -> None:
    with pytest.raises(KvmdbgError, match=says):
        kernel.type(line)


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("bt -full -- 1", "bt full 1"),
        ("bt -- -1", "bt -1"),
        ("frame apply all -q -- p 1", "frame apply all -q p 1"),
        ("faas -- p 1", "faas p 1"),
        ("pipe -- p 1 | cat", "pipe p 1 | cat"),
        ("pipe -d % -- p 1 % cat", "pipe -d % p 1 % cat"),
    ],
)
def test_dashes_end_the_options(kernel: Typist, line: str, same: str) -> None:
    kernel.type("advance divide")
    theirs, ours = (re.sub(r"\$\d+ = ", "", kernel.type(one)) for one in (line, same))
    assert theirs == ours


def test_info_sources_by_a_part_of_the_name(kernel: Typist) -> None:
    """Compared with gdb: -dirname, -basename, abbreviated too, and what it refuses."""
    main = kernel.type("info sources main")
    assert "kernel/main.c" in main
    assert kernel.type("info sources -basename -- ^main") == main
    assert kernel.type("info sources -b ^main") == kernel.type("info sources -- main") == main
    assert kernel.type("info sources -dirname main") == "No source files are known."
    assert (
        kernel.type("info sources -dirname -- kernel") == kernel.type("info sources") == kernel.type("info sources --")
    )
    with pytest.raises(KvmdbgError, match="info sources -basename needs a REGEX"):
        kernel.type("info sources -basename")
    with pytest.raises(KvmdbgError, match="info sources takes one of -dirname, -basename"):
        kernel.type("info sources -basename -dirname x")
    with pytest.raises(KvmdbgError, match="-x is none of -dirname, -basename"):
        kernel.type("info sources -x")


def test_apropos_takes_a_regular_expression(kernel: Typist) -> None:
    assert kernel.type("apropos ^T[bh]\\+reak$").splitlines()[1].startswith("tbreak ")
    assert kernel.type("apropos -- ^t[bh]\\+reak$") == kernel.type("apropos ^t[bh]\\+reak$")
    assert kernel.type("apropos -v -- ^tbreak$") == kernel.type("help tbreak")
    both = kernel.type("apropos -v ^t[bh]\\+reak$")
    assert both == kernel.type("help tbreak") + "\n\n" + kernel.type("help thbreak")
    with pytest.raises(KvmdbgError, match="apropos needs a REGEX, as in apropos coverage"):
        kernel.type("apropos -v")
    with pytest.raises(KvmdbgError, match="is no regular expression"):
        kernel.type("apropos [")
