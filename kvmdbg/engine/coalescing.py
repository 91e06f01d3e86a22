"""Writes that KVM collects instead of exiting: output of serial ports and debug consoles.

KVM puts them into a ring (api.rst, KVM_REGISTER_COALESCED_MMIO), which is emptied at each exit before the exit is
served, so that everything happens in the order in which the guest did it. While the guest runs without exits, a timer
kicks a vCPU out now and then, so that output is not held back.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

from kvmdbg.engine import stops
from kvmdbg.errors import DeviceFailure
from kvmdbg.kvm import abi
from kvmdbg.machine.bus import attempt

if TYPE_CHECKING:
    from kvmdbg.engine.judge import Judge
    from kvmdbg.engine.world import World
    from kvmdbg.machine.machine import Machine

ENTRY, HEADER, PAGE = 24, 8, 4096
MOST = (PAGE - HEADER) // ENTRY
HOT = 64
"""After how many writes a port's are collected: a zone makes ending the machine slower by 10 ms."""
DELAY = 0.02
"""Seconds that output may be held back."""


NOWHERE = abi.kvm_run.kvm_dirty_regs.offset // 4
"""Two words of struct kvm_run that are both 0 after each exit."""


class Coalescing:
    """The zones and the ring of one machine."""

    def __init__(self, machine: Machine, world: World, judge: Judge) -> None:
        self._machine = machine
        self._world = world
        self._judge = judge
        self._lock = threading.Lock()
        self._zones: dict[int, Any] = {}
        self._hot: set[int] = set()
        self._where = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        system = machine.system
        if system.check_extension(abi.KVM_CAP_COALESCED_PIO):
            self._where = system.check_extension(abi.KVM_CAP_COALESCED_MMIO) * PAGE

    @property
    def first(self) -> int:
        """Where the ring's first index lies in the 32-bit view of a vCPU's pages; the last is behind it.

        Two words that are always the same where there is no ring.
        """
        return self._where // 4 if self._where else NOWHERE

    @property
    def active(self) -> bool:
        """Whether any port's writes are collected."""
        return bool(self._zones)

    @property
    def ports(self) -> Container[int]:
        """The ports whose writes are collected."""
        return self._zones

    def arm(self) -> None:
        """Have just those ports collected whose devices allow it and that nobody looks at.

        None while slots guard pages: what was collected and given to a device cannot be taken back (engine/retreat.py).
        """
        if not self._where or not (self._hot or self._zones):
            return
        vm = self._machine.vm
        wanted = {
            port: device
            for device in self._machine.bus.devices
            for port in getattr(device, "coalesced", ())
            if port in self._hot and not self._judge.observes_port(port, 1) and not self._machine.memory.guards
        }
        for port in self._zones.keys() - wanted.keys():
            vm.unregister_coalesced_zone(port, 1, pio=True)
        for port in wanted.keys() - self._zones.keys():
            vm.register_coalesced_zone(port, 1, pio=True)
        self._zones = wanted
        if wanted:
            self._start_timer()

    def heat(self, port: int) -> None:
        """The guest has written often to this port: collect what it writes, where its device allows that."""
        self._hot.add(port)
        self.arm()

    def drain(self) -> None:
        """Give the devices what was collected; on a vCPU's thread."""
        if not self._where:
            return
        page, raw = self._machine.vcpus[0].page, self._machine.vcpus[0].raw
        at = self._where
        with self._lock:
            first, last = (int.from_bytes(page[at + n : at + n + 4], "little") for n in (0, 4))
            if first == last:
                return
            for begin, end in [(first, last)] if first < last else [(first, MOST), (0, last)]:
                if begin < end:
                    self._give(raw, at + HEADER + begin * ENTRY, at + HEADER + end * ENTRY)
            page[at : at + 4] = last.to_bytes(4, "little")

    def discard(self) -> None:
        """Drop what was collected: the guest goes back to before it."""
        if self._where:
            page, at = self._machine.vcpus[0].page, self._where
            with self._lock:
                page[at : at + 4] = bytes(page[at + 4 : at + 8])

    def _give(self, raw: Any, start: int, end: int) -> None:
        low, high, data = raw[start:end:ENTRY], raw[start + 1 : end : ENTRY], raw[start + 16 : end : ENTRY]
        ports: Iterable[int] = (a | b << 8 for a, b in zip(low, high, strict=True))
        if low == low[:1] * len(low) and high == high[:1] * len(high):
            self._write(low[0] | high[0] << 8, data)
            return
        for port, value in zip(ports, data, strict=True):
            self._write(port, bytes((value,)))

    def _write(self, port: int, data: bytes) -> None:
        """Give a device what was collected; one that fails stops the guest, and its writes are exits from then on."""
        device = self._zones[port]
        try:
            attempt(device, device.write_many, data)
        except DeviceFailure as error:
            self._hot.discard(port)
            self.arm()
            where = f"wrote to port {port:#x}, some instructions ago"
            message = f"device {error.device} failed when the guest {where}: {error.what}"
            here = next(one for one in self._world.runners if one is threading.current_thread())
            self._world.stop(stops.ErrorStop(vcpu=here.index, pc=0, message=message))

    # --- output that is held back ------------------------------------------------------------------

    def _start_timer(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="kvmdbg-coalesced", daemon=True)
            self._thread.start()
        self._wake.set()

    def _waiting(self) -> bytes:
        """The ring's two indexes: the same for a while and unequal, when something is held back."""
        return bytes(self._machine.vcpus[0].page[self._where : self._where + 8])

    def _watch(self) -> None:
        before = b""
        while self._where:
            self._wake.wait()
            if not self._world.running:
                self._wake.clear()
                continue
            try:
                now = self._waiting()
                if now[:4] != now[4:] and now[:4] == before[:4]:
                    self._world.runners[0].kick()
            except Exception:  # the machine is being made anew
                now = b""
            before = now
            threading.Event().wait(DELAY)

    def close(self) -> None:
        """The machine is going away."""
        self._where = 0
        self._zones = {}
        self._wake.set()
