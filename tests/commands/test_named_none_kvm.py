"""Lines that name nothing, or nothing that there is: they say so, and do not do it to everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.errors import KvmdbgError
from tests.commands.conftest import Typist

pytestmark = pytest.mark.kvm


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("enable once", "enable once needs the NUMBERs"),
        ("enable count 2", "enable count needs the NUMBERs"),
        ("enable delete", "enable delete needs the NUMBERs"),
        ("set print", "set print needs a NAME; there are address, "),
        ("show user nosuch", "nosuch is no command made with define"),
        ("dprintf main", 'a place, a comma and a text are needed, as in dprintf main,"'),
        ('x/s "text"', "in no memory of the guest: it has no address"),
        ("x/2xb {1, 2}", "in no memory of the guest: it has no address"),
    ],
)
def test_what_is_refused(hello: Typist, line: str, said: str) -> None:
    hello.type("break *0x1003")
    before = [(one.enabled, one.temporary) for one in hello.dbg.session.breakpoints]
    with pytest.raises(KvmdbgError) as refused:
        hello.type(line)
    assert said in str(refused.value)
    assert [(one.enabled, one.temporary) for one in hello.dbg.session.breakpoints] == before
    assert "Disp" in hello.type("info breakpoints") and " keep " in hello.type("info breakpoints")


def test_a_table_of_numbers_that_there_are_not(hello: Typist) -> None:
    hello.type("break *0x1003")
    assert hello.type("info breakpoints 9 7") == "No breakpoint matching '7 9'."
    assert hello.type("info watchpoints 9") == "No watchpoint matching '9'."
    assert hello.type("info watchpoints") == "No watchpoints."


def test_x_goes_on_where_another_command_has_shown_a_place(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    entry = f"0x{kernel.dbg.session.symbols['divide']:08x}"
    kernel.type("x/2xb 0x100000")
    kernel.type("info line divide")
    assert kernel.type("x/i").split()[0] == entry
    kernel.type("break *divide")
    kernel.type("break *0x100000")
    kernel.type("info breakpoints 1")
    assert kernel.type("x/i").split()[1 if kernel.type("x/i")[0] == "b" else 0]  # goes on behind it
    kernel.type("info breakpoints 1")
    assert entry in kernel.type("x/i")


def test_words_of_the_fpu(hello: Typist) -> None:
    assert hello.type("print/x $mxcsr, $mxcsr") == "$1 = 0x1f80" and hello.type("print/x $fctrl") == "$2 = 0x37f"
    hello.type("set $mxcsr = 0x1f00")
    hello.type("set $fctrl = 0x27f")
    assert hello.type("print/x $mxcsr") == "$3 = 0x1f00"
    shown = hello.type("info registers mxcsr")
    assert "0x1f00" in shown and "0x027f" in shown
    for value in ("-1", "1.5", "0x100000000", "0x80000000"):
        with pytest.raises(KvmdbgError, match="this register holds bits of 0x"):
            hello.type(f"set $mxcsr = {value}")
    assert hello.type("print/x $mxcsr") == "$4 = 0x1f00"
