"""Completing a line, and a line that is refused, change nothing: what is typed is evaluated when the command runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.errors import KvmdbgError
from tests.commands.conftest import Typist

pytestmark = pytest.mark.kvm

CHANGES = "$rdx=0x99"


def state(typist: Typist) -> list[object]:
    session = typist.dbg.session
    keyboard = next(one for one in session.devices if one.name == "i8042")
    return [session.regs.snapshot(), session.memory[0x2000:0x2004], dict(session.variables), keyboard.save()]


@pytest.mark.parametrize("expression", [CHANGES, "*(u16*)0x2000=0xbeef", "$port(0x60, 1)", "$mine=7", "$rdx++"])
@pytest.mark.parametrize(
    "line",
    [
        "x {} ", "x/4xw {} ", "break {} ", "break *{} ", "tbreak {} i", "until {} ", "advance {}", "stepi {} ",
        "watch {} ", "hexdump 0x1000 {} ", "hexdump {} $", "fill {} 4 9", "compare {} {} 4", "info symbol {} ",
        "catch io {} ", "catch exception {} ", "ignore 1 {} ", "translate {} ", "frame {} ", "print {} ", "list {} ",
    ],
)  # fmt: skip
def test_completion_changes_nothing(hello: Typist, line: str, expression: str) -> None:
    hello.dbg.session.type("a")
    hello.dbg.session.evaluate("$rdx=0")
    before = state(hello)
    hello.dbg.complete(line.replace("{}", expression))
    assert state(hello) == before


@pytest.mark.parametrize(
    "line",
    [
        f"break {CHANGES} nonsense",
        f"break {CHANGES} if (",
        f"x {CHANGES} nonsense",
        f"hexdump {CHANGES} 0",
        f"hexdump {CHANGES} $nosuch",
        f"watch {CHANGES} 0",
        f"ignore 9 {CHANGES}",
        f"catch io {CHANGES} if )",
        f"frame {CHANGES}",
        f"vcpu {CHANGES}",
        f"fill *(u16*)0x2000={CHANGES} 4 nosuch",
        f'printf "%d %d", {CHANGES}, nosuch',
        "x *(u8*)0x2000=1 nonsense",
        "hexdump $mine=0x1000, -1",
        "compare $zf=1 $sp=7 nonsense",
        "hexdump $ds=0x99, 0",
        "hexdump $pc=0x2000, 0",
    ],
)
def test_refused_line_has_done_nothing(hello: Typist, line: str) -> None:
    before = state(hello)
    bases = [hello.dbg.session.regs.get(f"{name}_base") for name in ("cs", "ds")]
    with pytest.raises(KvmdbgError):
        hello.type(line)
    assert state(hello) == before
    assert [hello.dbg.session.regs.get(f"{name}_base") for name in ("cs", "ds")] == bases
    assert len(hello.dbg.session.breakpoints) == 0


def test_variable_keeps_its_old_value_and_type(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    kernel.type("set $mine = (unsigned char)3")
    kernel.dbg.session.convenience.types["mine"] = kept = kernel.dbg.session.evaluate("(unsigned char)3").type
    with pytest.raises(KvmdbgError):
        kernel.type("hexdump $mine=0x100000, 0")
    assert kernel.dbg.session.variables["mine"] == 3 and kernel.dbg.session.convenience.types["mine"] == kept


def test_what_lines_within_a_line_have_done_stays(hello: Typist) -> None:
    with pytest.raises(KvmdbgError):
        hello.type("set $i = 0\nwhile $i++ < 3\nset $done = $i\nx 0xffffffffff nonsense\nend")
    assert hello.dbg.session.variables == {"i": 1, "done": 1}


def test_what_was_changed_before_the_guest_ran_stays(hello: Typist) -> None:
    with pytest.raises(KvmdbgError):
        hello.type("define both\nstepi $cl=1\nx 0 nonsense\nend\nboth")
    assert hello.dbg.session.regs.cl == 1 and hello.dbg.session.regs.pc != 0x1000


def test_expression_is_evaluated_once(hello: Typist) -> None:
    hello.type("set $n = 0x2000\nwatch $n++,4")
    hello.type('printf "%s", $n++')
    assert hello.dbg.session.variables["n"] == 0x2002


def test_completion_of_every_command_changes_nothing(hello: Typist) -> None:
    before = state(hello)
    for command in hello.dbg.registry:
        for typed in ("{} ", "1 {} ", "{}, ", "{} {} ", "on {} ", "0x80 {} if {} ", "/x {} "):
            hello.dbg.complete(f"{command.name} {typed.format(CHANGES, CHANGES)}")
            assert state(hello) == before, command.name


def test_what_is_drawn_while_typing_changes_nothing(hello: Typist) -> None:
    from kvmdbg.ui.lexer import tokens
    from kvmdbg.ui.toolbar import facts, toolbar

    before = state(hello)
    for line in (f"print {CHANGES}", f"x/4xw {CHANGES} ", "print $port(0x60)", f"while {CHANGES}"):
        tokens(hello.dbg, line)
        hello.dbg.opened_body(line)
        facts(hello.dbg)
        toolbar(hello.dbg, 80)
    assert state(hello) == before


@pytest.mark.parametrize(
    "line",
    [
        "disable N.1", "disable 1.N", "x/Nx 0", "info line N", "list N", "break +N", "until N", "advance N",
        "set print elements N", "find/N 0, 16, 1", "frame apply N p 1", "frame apply level N p 1", "mine",
        "delete 5-999999999999", "disable 1-99999999999", "undisplay 1-99999999999",
        "info functions a\\{99999999999999\\}", "info variables -t a\\{99999999999999\\} x",
        "rbreak a\\{99999999999999\\}",
        "info sources a\\{99999999999999\\}", "skip -rfu a\\{99999999999999\\}", "skip -rfu \\(", "asm 0x2000 \udcff",
    ],
)  # fmt: skip
def test_what_is_beyond_all_numbers_is_told_in_a_sentence(hello: Typist, line: str) -> None:
    hello.type("break 0x1003\ndefine mine\necho $argN\nend".replace("N", "1" * 5000))
    with pytest.raises(KvmdbgError) as refused:
        hello.type(line.replace("N", "1" * 5000))
    assert "Exceeds the limit" not in str(refused.value)
    assert [one.number for one in hello.dbg.session.breakpoints] == [1]


def test_ranges_of_frames(hello: Typist) -> None:
    assert hello.type("frame apply level 0-0 output 7").endswith("7")
    with pytest.raises(KvmdbgError, match="there is no frame"):
        hello.type("frame apply level 0-99999999999 output 7")
    assert hello.type("frame apply level 3-2 output 7") == ""


def test_bytes_that_are_no_text_go_to_the_serial_port_as_they_are(hello: Typist) -> None:
    hello.type("send a\udcff")
    assert bytes(hello.dbg.session.uart.received) == b"a\xff"
