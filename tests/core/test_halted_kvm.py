"""A vCPU that waits in a HLT, in the kernel, is told as halted when it is stopped from outside."""

from __future__ import annotations

import pytest

from kvmdbg.core import stops
from tests.core.conftest import Boot

pytestmark = pytest.mark.kvm


@pytest.mark.parametrize("code", ["f4 ebfd", "fa f4 ebfd", "fb f4 ebfd"])
@pytest.mark.parametrize("cpus", [1, 2])
def test_limit_in_a_halt(boot: Boot, code: str, cpus: int) -> None:
    dbg = boot(bytes.fromhex(code), bits=32, cpus=cpus, irqchip=True)
    stop = dbg.run(timeout=0.5)
    assert isinstance(stop, stops.LimitStop) and stop.halted
    assert stop.describe().endswith("after 0.5 s, halted: it waits for an interrupt")
    assert stop.to_json()["halted"] is True
    dbg.resume()
    again = dbg.interrupt()
    assert isinstance(again, stops.InterruptedStop) and again.halted and "halted: it waits" in again.describe()


@pytest.mark.parametrize("irqchip", [False, True])
def test_limit_in_a_loop(boot: Boot, irqchip: bool) -> None:
    dbg = boot(bytes.fromhex("ebfe"), bits=32, irqchip=irqchip)
    stop = dbg.run(timeout=0.2)
    assert isinstance(stop, stops.LimitStop) and not stop.halted and stop.describe().endswith("after 0.2 s")
    assert "halted" not in stop.to_json()
