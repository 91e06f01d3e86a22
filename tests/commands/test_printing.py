"""print with a space before its format, and printf."""

from __future__ import annotations

import pytest

from kvmdbg.commands.parameters import split_arguments
from kvmdbg.errors import KvmdbgError, UsageError
from tests.commands.conftest import Typist

pytestmark = pytest.mark.kvm


@pytest.mark.parametrize("line", ["print/x 0x10 + 1", "print /x 0x10 + 1", "p /x 0x11", "p   /x17"])
def test_the_format_may_stand_apart(hello: Typist, line: str) -> None:
    if line.endswith("/x17"):
        with pytest.raises(UsageError):
            hello.type(line)
    else:
        assert hello.type(line) == "$1 = 0x11"


def test_x_too(hello: Typist) -> None:
    assert hello.type("x /2xb 0x1000") == hello.type("x/2xb 0x1000") == "0x1000:  0xba  0xf8"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (r'printf "ax is %d\n", $ax', "ax is 2\n"),
        (r'printf "%5d|%-5d|%05d|%+d", 7, 7, 7, 7', "    7|7    |00007|+7"),
        (r'printf "%#x %X %o %u", 255, 255, 8, -1', "0xff FF 10 4294967295"),
        (r'printf "%lx %hhd %p", -1, 255, 16', "ffffffffffffffff -1 0x10"),
        (r'printf "%c%% %s.", 65, $text', "A% hi."),
        (r'printf "%d %d", ($ax, $bx) == 2, f(1)', None),
        (r'printf "no values\t\101"', "no values\tA"),
    ],
)
def test_printf(hello: Typist, line: str, shown: str | None) -> None:
    hello.dbg.session.memory.write(0x3000, b"hi\0")
    hello.type("set $text = 0x3000")
    if shown is None:
        with pytest.raises(KvmdbgError):
            hello.type(line)
    else:
        assert hello.type(line) == shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("printf", "text in double quotes"),
        ("printf 5", "text in double quotes"),
        ('printf "%d"', "1 conversions, and 0 values"),
        ('printf "x", 1', "0 conversions, and 1 values"),
        ('printf "%d" 1', "a comma is expected"),
        ('printf "%y", 1', "no conversion %y"),
    ],
)
def test_mistakes(hello: Typist, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hello.type(line)


def test_commas_within_brackets_and_quotes_separate_nothing() -> None:
    assert split_arguments("f(a, b), ',', \"x,y\", c[1,2]") == ["f(a, b)", "','", '"x,y"', "c[1,2]"]
