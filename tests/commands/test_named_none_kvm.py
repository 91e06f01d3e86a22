"""Lines that name nothing, or nothing that there is: they say so, and do not do it to everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.errors import KvmdbgError
from tests.commands.conftest import GUESTS, Typist

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
    kernel.type("info breakpoints 1")
    assert entry in kernel.type("x/i")
    kernel.type("break phys:0x100000")
    shown = kernel.type("x/2xb phys:0x100000")
    kernel.type("info breakpoints 3")
    assert "phys:" in shown and kernel.type("x/2xb") == shown


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


def test_a_condition_that_assigns_says_so(hello: Typist) -> None:
    said = "$ax = 3 gives a value, each time; == compares."
    assert hello.type("break *0x1003 if $ax = 3").endswith(said)
    for one in ("$ax == 3", "($n = 3) == 3", "$n++"):
        assert "compares" not in hello.type(f"break *0x1003 if {one}")
    assert hello.type("condition 1 $ax = 3").endswith(said)
    assert hello.type("watch *0x5000 if $ax = 3").endswith(said)


def test_info_address_is_of_names(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    assert kernel.type("info address RUNNING") == 'Symbol "RUNNING" is constant.'
    assert "is a function at address 0x" in kernel.type("info address divide")
    for line in ("info address $rax", "info address all[1].total", "info address 5 + 5"):
        with pytest.raises(KvmdbgError, match="is a value, no name: print &"):
            kernel.type(line)


def test_where_a_breakpoint_stops_is_listed_by_function_and_line(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    kernel.type("break divide")
    kernel.type("break *0x100000")
    assert "  in divide at tasks.c:" in kernel.type("info breakpoints 1")
    assert kernel.results("info breakpoints")[0].to_json()["rows"][0]["what"].startswith("divide <divide+")


def test_registers_of_a_frame_are_those_of_the_mode(opened: Callable[..., Typist]) -> None:
    real = opened("boot16.bin", symbols=[GUESTS / "boot16.elf", [str(GUESTS / "boot16.elf"), 0]])
    assert "registers" in (shown := real.type("info frame"))
    assert "esp 0x7c00" in shown and "rsp" not in shown and "r8" not in shown
    assert "r8 0x0" in opened("kernel-O0.elf").type("info frame")
