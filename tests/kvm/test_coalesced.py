"""The ring of collected writes, as KVM leaves it (linux/kvm.h, struct kvm_coalesced_mmio_ring)."""

from __future__ import annotations

import mmap
import struct

import pytest

from kvmdbg.kvm.coalesced import CoalescedRing

AT = 0x1000
PLACES = (4096 - 8) // 24
"""As the kernel has it: KVM_COALESCED_MMIO_MAX."""


class Kvm:
    """Fills the ring as KVM does."""

    def __init__(self, first: int) -> None:
        self.pages = mmap.mmap(-1, 0x2000)
        self.ring = CoalescedRing(self.pages, AT)
        self._last = first
        struct.pack_into("<II", self.pages, AT, first, first)

    def write(self, port: int, data: bytes) -> None:
        for value in data:
            entry = struct.pack("<QIIB7x", port, 1, 1, value)
            struct.pack_into("24s", self.pages, AT + 8 + 24 * self._last, entry)
            self._last = (self._last + 1) % PLACES
            struct.pack_into("<I", self.pages, AT + 4, self._last)


def told(kvm: Kvm) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for port, data in kvm.ring.writes():
        found[port] = found.get(port, b"") + data
    return found


@pytest.mark.parametrize("first", [0, 1, PLACES - 5, PLACES - 1])
def test_all_that_was_written_in_order(first: int) -> None:
    kvm = Kvm(first)
    assert not kvm.ring.waiting and told(kvm) == {}
    kvm.write(0x3F8, b"abcdefghijkl")
    assert kvm.ring.waiting and told(kvm) == {0x3F8: b"abcdefghijkl"}
    kvm.ring.drop()
    assert not kvm.ring.waiting and told(kvm) == {}


@pytest.mark.parametrize("others", [(0xE9, 0x3F9), (0x3F9,), (0x2F8,), (0x3E8, 0x402)])
def test_ports_are_kept_apart(others: tuple[int, ...]) -> None:
    kvm = Kvm(PLACES - 3)
    for value in range(4):
        for port in (0x3F8, *others):
            kvm.write(port, bytes([value]))
    assert told(kvm) == dict.fromkeys((0x3F8, *others), bytes(range(4)))


def test_as_full_as_it_gets() -> None:
    kvm = Kvm(7)
    kvm.write(0x3F8, bytes(range(PLACES - 1)))
    assert told(kvm) == {0x3F8: bytes(range(PLACES - 1))}
