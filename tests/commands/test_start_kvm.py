"""start: to the guest's main function."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.errors import UsageError

from .conftest import Typist

pytestmark = pytest.mark.kvm


def test_a_kernels_main_function_counts(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    assert kernel.type("start").splitlines() == [
        "Temporary breakpoint 1 at kernel_main (0x10035f).",
        "Temporary breakpoint 1 at 0x10035f <kernel_main+0x4> (main.c:18).",
    ]
    assert not list(kernel.dbg.session.breakpoints)


def test_a_guest_without_one_is_not_started(hello: Typist) -> None:
    hello.type("stepi")
    before = hello.dbg.session.vcpu.pc
    with pytest.raises(UsageError, match=r"no main function \(main, kmain, kernel_main\): starti stops before"):
        hello.type("start")
    assert hello.dbg.session.vcpu.pc == before


def test_who_does_not_agree_has_no_breakpoint_left(opened: Callable[..., Typist]) -> None:
    kernel = opened("kernel-O0.elf")
    kernel.type("stepi 2")
    before = kernel.dbg.session.vcpu.pc
    kernel.dbg.user.confirm = lambda question: False
    assert kernel.type("start") == ""
    assert kernel.dbg.session.vcpu.pc == before and not list(kernel.dbg.session.breakpoints)
