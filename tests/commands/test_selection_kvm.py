"""What a user looks at, the frame, is of one stop: it goes with a run, a restart, a restore and the guest's end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.errors import SessionStateError, UsageError
from tests.commands.conftest import Typist

pytestmark = pytest.mark.kvm


@pytest.fixture
def inside(opened: Callable[..., Typist]) -> Typist:
    kernel = opened("kernel-O0.elf")
    kernel.type("snapshot save start\nbreak divide\nrun\nsnapshot save there\nup")
    assert kernel.dbg.session.frame.number == 1
    return kernel


@pytest.mark.parametrize(
    "line", ["restart", "snapshot restore start", "snapshot restore there", "stepi", "continue", "run"]
)
def test_frame_ends_with_the_stop(inside: Typist, line: str) -> None:
    session = inside.dbg.session
    inside.dbg.user.confirm = lambda question: True
    if line == "restart":
        session.restart()
    else:
        inside.type(line)
    assert session.frame.number == 0 and session.frame.pc == session.regs.pc
    assert inside.type("frame").startswith(f"#0  {session.regs.pc:#x}")


def test_frame_ends_with_the_guest(inside: Typist) -> None:
    inside.type("kill")
    with pytest.raises(SessionStateError):
        inside.type("up")
    inside.type("run")
    assert inside.dbg.session.frame.number == 0


@pytest.mark.parametrize("line", ["set $pc = $pc + 1", "set $sp = $sp - 8", "set $rip = outb"])
def test_frame_ends_when_the_innermost_is_another(inside: Typist, line: str) -> None:
    with pytest.raises(UsageError, match="of the selected frame is not in the register now: select frame 0"):
        inside.type(line)
    session = inside.dbg.session
    name = line.split()[1].lstrip("$")
    session.regs.set(name, session.regs.get(name) + 1)
    assert session.frame.number == 0 and session.frame.pc == session.regs.pc


def test_frame_is_kept_while_the_guest_rests(inside: Typist) -> None:
    inside.type("print 1\nx/4xw $sp\nset $mine = 3")
    assert inside.dbg.session.frame.number == 1
