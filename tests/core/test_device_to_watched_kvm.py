"""An instruction that reads from a device and writes to what is watched reads once, whatever guards the page."""

from __future__ import annotations

import pytest

from kvmdbg.engine import stops
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

COPIES = "mov esi, 0xd0000000; mov edi, 0x5000; mov ecx, 4; cld; rep movsb; mov eax, 0xd0000004; mov eax, [eax]; hlt"


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("engine", [pytest.param("kvm", marks=pytest.mark.kvm_alone), "soft"])
def test_a_device_is_read_once(kvm_guest: Guests, engine: str, caught: bool) -> None:
    dbg = kvm_guest(asm=COPIES, mode="prot", load=0x1000, engine=engine, serial="none")
    watch = dbg.watch(0x5000, 4)
    if caught:
        dbg.catch("mmio", address=0xD0000000)
    reads = []
    fifo = iter(range(1, 100))

    @dbg.on.mmio_read(when="before")
    def read(access):  # type: ignore[no-untyped-def]
        reads.append(access.address)
        return next(fifo)

    while not isinstance(stop := dbg.run(timeout=20), stops.HaltedStop):
        assert isinstance(stop, (stops.WatchpointStop, stops.CaughtStop)), stop.describe()
    assert reads == [*range(0xD0000000, 0xD0000004), 0xD0000004]
    assert dbg.memory.read(0x5000, 4) == bytes((1, 2, 3, 4)) and dbg.regs.eax == 5
    assert watch.hits == 4
