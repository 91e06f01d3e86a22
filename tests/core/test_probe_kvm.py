"""What the probe finds does not depend on how busy the host is."""

from __future__ import annotations

import time

import pytest

from kvmdbg.engine.probe import _ask, _Prober

pytestmark = [pytest.mark.kvm, pytest.mark.kvm_alone]


def steps_late(prober: _Prober) -> bool:
    """The answer on a host where the guest waits for the CPU longer than it may run."""
    enter = prober.vcpu.run

    def late() -> None:
        time.sleep(0.4)
        enter()

    prober.vcpu.run = late  # type: ignore[method-assign]
    return prober.step_works("real")


def never_exits(prober: _Prober) -> bool:
    prober.set_up("real", b"\xeb\xfe")
    return prober.run() is None


def test_a_guest_that_waits_for_the_cpu_is_not_given_up() -> None:
    assert _ask(steps_late)


def test_a_guest_that_never_exits_is_given_up() -> None:
    assert _ask(never_exits)
