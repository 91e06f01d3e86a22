"""Writes that KVM collects instead of exiting: output of serial ports and debug consoles.

KVM puts them into a ring (kvm/coalesced.py), which is emptied at each exit before the exit is
served, so that everything happens in the order in which the guest did it. While the guest runs without exits, a timer
kicks a vCPU out now and then, so that output is not held back.
"""

from __future__ import annotations

import threading
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from kvmdbg.engine import stops
from kvmdbg.errors import DeviceFailure
from kvmdbg.machine.bus import attempt

if TYPE_CHECKING:
    from kvmdbg.engine.judge import Judge
    from kvmdbg.engine.world import World
    from kvmdbg.machine.machine import Machine

OFTEN = 64
"""After how many writes a port's are collected: a zone makes ending the machine slower by 10 ms."""
DELAY = 0.02
"""Seconds that output may be held back."""


class Coalescing:
    """The zones and the ring of one machine."""

    def __init__(self, machine: Machine, world: World, judge: Judge) -> None:
        self._machine = machine
        self._world = world
        self._judge = judge
        self._lock = threading.Lock()
        self._zones: dict[int, Any] = {}
        self._often: set[int] = set()
        self._ring = machine.vcpus[0].ring
        self.reads_watched = False
        """Debug registers watch what is read: an ``outs`` has to exit, as no register fires for it."""
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

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
        if self._ring is None or not (self._often or self._zones):
            return
        vm = self._machine.vm
        wanted = {
            port: device
            for device in self._machine.bus.devices
            for port in getattr(device, "coalesced", ())
            if port in self._often and not self._judge.observes_port(port, 1)
            if not (self.reads_watched or self._machine.memory.guards)
        }
        for port in self._zones.keys() - wanted.keys():
            vm.unregister_coalesced_zone(port, 1, pio=True)
        for port in wanted.keys() - self._zones.keys():
            vm.register_coalesced_zone(port, 1, pio=True)
        self._zones = wanted
        if wanted:
            self._start_timer()

    def collect_from(self, port: int) -> None:
        """The guest has written often to this port: collect what it writes, where its device allows that."""
        self._often.add(port)
        self.arm()

    def drain(self) -> None:
        """Give the devices what was collected; on a vCPU's thread."""
        ring = self._ring
        if ring is None or not ring.waiting:
            return
        with self._lock:
            for port, data in ring.writes():
                self._write(port, data)
            ring.drop()

    def discard(self) -> None:
        """Drop what was collected: the guest goes back to before it."""
        if self._ring is not None:
            with self._lock:
                self._ring.drop()

    def _write(self, port: int, data: bytes) -> None:
        """Give a device what was collected; one that fails stops the guest, and its writes are exits from then on."""
        device = self._zones[port]
        try:
            attempt(device, device.write_many, data)
        except DeviceFailure as error:
            self._often.discard(port)
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

    def _watch(self) -> None:
        before = b""
        while (ring := self._ring) is not None:
            self._wake.wait()
            if not self._world.running:
                self._wake.clear()
                continue
            try:
                now = ring.indexes
                if ring.waiting and now[:4] == before[:4]:
                    self._world.runners[0].kick()
            except Exception:  # the machine is being made anew
                now = b""
            before = now
            threading.Event().wait(DELAY)

    def close(self) -> None:
        """The machine is going away."""
        self._ring = None
        self._zones = {}
        self._wake.set()
