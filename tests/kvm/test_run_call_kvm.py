"""KVM_RUN as it is called on Python 3.14 and later, whose ``fcntl.ioctl`` does not end where a signal comes in."""

from __future__ import annotations

import fcntl
import os

import pytest

from kvmdbg.kvm import abi, run_page
from kvmdbg.kvm.run_call import kvm_run_call
from kvmdbg.pytest_plugin import Guests

NEW = kvm_run_call((3, 14))


def test_which_call_it_is() -> None:
    assert kvm_run_call((3, 13)) is fcntl.ioctl
    assert NEW is not fcntl.ioctl


def test_what_the_kernel_refuses() -> None:
    with open("/dev/null", "rb") as null, pytest.raises(OSError) as refused:
        NEW(null.fileno(), abi.KVM_RUN)
    assert refused.value.args == (25, os.strerror(25))


@pytest.mark.kvm
@pytest.mark.parametrize("step", [False, True])
def test_a_guest_that_never_exits_is_stopped(kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch, step: bool) -> None:
    monkeypatch.setattr(run_page, "kvm_run", NEW)
    dbg = kvm_guest(asm="sti; start: inc eax; jmp start")  # Bochs needs EFLAGS.IF (see conftest)
    if step:
        dbg.step(3)
    stop = dbg.run(timeout=0.5)
    assert stop.reason == "limit", stop.describe()
    assert dbg.regs.eax
