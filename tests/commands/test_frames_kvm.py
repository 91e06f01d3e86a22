"""Frames, arguments and locals, and groups of registers, named as gdb names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.errors import UsageError

from .conftest import GUESTS, Typist

pytestmark = pytest.mark.kvm


@pytest.fixture
def kernel(opened: Callable[..., Typist]) -> Typist:
    typist = opened(GUESTS / "kernel-O0.elf")
    typist.type("advance divide")
    return typist


def _call_frame(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("call frame")]
    return line.split()[-1]


def test_a_frame_by_the_address_of_its_stack(kernel: Typist) -> None:
    address = _call_frame(kernel.type("info frame 1"))
    assert kernel.type("frame").startswith("#0 ")  # only shown, not selected
    assert kernel.type(f"frame address {address}").startswith("#1 ")
    kernel.type("frame 0")
    assert kernel.type(f"select-frame address {address}") == ""
    assert kernel.type("info frame").startswith("frame          1")


@pytest.mark.parametrize("spec", ["2", "level 2", "function run_tasks"])
def test_info_frame_on_another(kernel: Typist, spec: str) -> None:
    assert "run_tasks+" in kernel.type(f"info frame {spec}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("select-frame 99", "there is no frame 99: the last one is 4"),
        ("select-frame -1", "there is no frame -1"),
        ("select-frame function nosuch", "no frame of a function nosuch"),
        ("select-frame level", "A frame is NUMBER, level NUMBER"),
        ("frame address 0", "no frame's call frame is at 0x0"),
        ("frame view 0x1000", "set \\$pc and \\$sp"),
        ("bt -frame-arguments some", "frame-arguments is one of all, scalars, none, presence"),
        ("bt -past-main off", "kvmdbg has only on"),
        ("bt -zzz", "backtrace has no option -zzz"),
        ("info args -z", "-z is none of -q, -t"),
        ("info functions -x y", "-x is none of -q, -n, -t"),
    ],
)
def test_refused(kernel: Typist, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kernel.type(line)


def test_arguments_of_frames(kernel: Typist) -> None:
    assert "value=1000, by=4" in kernel.type("bt -frame-arguments all 1")
    assert "value=..., by=..." in kernel.type("bt -frame-arguments none")
    assert kernel.type("bt -past-main on no-filters 2") == kernel.type("bt -no-filters 2") == kernel.type("bt 2")
    kernel.type("set print frame-arguments presence")
    assert "(...)" in kernel.type("frame")
    assert "is presence." in kernel.type("show print frame-arguments")


def test_locals_by_name_and_type(kernel: Typist) -> None:
    assert "value" in kernel.type("info args ^v") and "by" not in kernel.type("info args ^v")
    assert "by" in kernel.type("info args -t u64") and kernel.type("info args -t struct") == "No arguments."
    assert kernel.type("info locals -q") == ""


def test_names_by_type(kernel: Typist) -> None:
    functions = kernel.type('info functions -t "^u64 (u64"')
    assert "divide(u64, u64)" in functions and "shrink" not in functions
    assert kernel.type("info functions -q nosuch") == ""
    assert "struct task all[3]" in kernel.type('info variables -t "struct task"')


def test_groups_of_registers(kernel: Typist) -> None:
    assert kernel.type("info registers float") == kernel.type("info float")
    assert kernel.type("info registers vector") == kernel.type("info vector")
    assert "cr3" in kernel.type("info registers system")
    assert kernel.type("info all-registers rip rax") == kernel.type("info registers rip rax")
    both = kernel.type("info registers rip xmm0")
    assert both.startswith("rip") and "v4_float" in both


def test_complete(kernel: Typist) -> None:
    assert kernel.type("complete info reg") == "info registers"
    assert kernel.type("complete p va").splitlines() == ["p value"]


def test_a_function_that_is_qualified(kernel: Typist) -> None:
    assert kernel.type("break -qualified divide").startswith("Breakpoint 1 at -qualified divide (0x1005ae)")
    assert "0x1005ae" in kernel.type("tbreak -q divide if value == 3")
    with pytest.raises(UsageError, match="a condition must mean something now"):
        kernel.type("break -force-condition divide if nosuch")


def test_the_source_where_the_frame_is(kernel: Typist) -> None:
    there = kernel.type("list")
    kernel.type("list kernel_main")
    assert kernel.type("list .") == there
    kernel.type("up")
    assert "=> 21" in kernel.type("list .") or "21      task->total" in kernel.type("list .")


def test_memory_is_appended_as_gdb_has_it(kernel: Typist, tmp_path: Path) -> None:
    file = tmp_path / "all.bin"
    kernel.type(f"dump binary memory {file} 0x100000 0x100004\nappend binary memory {file} 0x100004 0x100008")
    assert file.read_bytes() == kernel.dbg.session.memory[0x100000:0x100008]


def test_apropos_with_an_option(kernel: Typist) -> None:
    assert "watch" in kernel.type("apropos -v watchpoint")
