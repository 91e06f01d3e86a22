"""The debugger's traps in guest memory: planted and lifted, and hidden from whoever reads, under one lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from kvmdbg.machine.memory import GuestMemory


class Traps:
    """The traps that lie in ``memory`` now. Any thread may call any method at any time.

    The bytes that count as the guest's are those under the traps: ``read`` gives them, and what is written goes there.
    """

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self.written: Callable[[int, bytes], None] | None = None
        """Told of what ``write`` writes."""
        self._planted: dict[int, tuple[int, int]] = {}
        """The trap and the byte under it, by guest-physical address."""

    def plant(self, address: int, trap: int) -> None:
        """Put ``trap`` over the byte at a guest-physical address; where one lies already, nothing is done."""
        self.plant_all((address,), trap)

    def plant_all(self, addresses: Iterable[int], trap: int) -> None:
        """The same for many addresses."""
        with self._lock:
            new = {address: trap for address in addresses if address not in self._planted}
            for address, under in self._memory.exchange(new).items():
                self._planted[address] = trap, under

    def lift(self, *addresses: int) -> None:
        """Take these traps out, as far as they are there."""
        with self._lock:
            self._lift(addresses)

    def lift_all(self) -> None:
        """Take every trap out."""
        with self._lock:
            if self._planted:
                self._lift(list(self._planted))

    def _lift(self, addresses: Iterable[int]) -> None:
        under, traps = {}, {}
        for address in addresses:
            if address in self._planted:
                traps[address], under[address] = self._planted.pop(address)
        # where another byte lies the guest has written over the trap
        self._memory.exchange(under, traps)

    @contextmanager
    def kept(self) -> Iterator[dict[int, tuple[int, int]]]:
        """While inside, memory holds just these traps (each with the byte under it, by guest-physical address)."""
        with self._lock:
            yield dict(self._planted)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While inside, memory itself holds what is under the traps; no vCPU may run."""
        with self._lock:
            under = {address: byte for address, (_, byte) in self._planted.items()}
            traps = {address: trap for address, (trap, _) in self._planted.items()}
            self._memory.exchange(under, traps)
            try:
                yield
            finally:
                self._memory.exchange(traps, under)

    @contextmanager
    def replaced(self, planted: dict[int, tuple[int, int]]) -> Iterator[None]:
        """Memory is given back what it held when these traps lay in it."""
        with self._lock:
            yield
            self._planted = dict(planted)

    @property
    def under(self) -> dict[int, int]:
        """The bytes under the traps, by guest-physical address."""
        with self._lock:
            return {
                address: under
                for address, (trap, under) in self._planted.items()
                if self._memory.read(address, 1)[0] == trap
            }

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes as the guest knows them; MemoryFault names the first address that is not there."""
        with self._lock:
            data = self._memory.read(address, size)
            found = self._within(address, size) if self._planted else None
            if not found:
                return data
            patched = bytearray(data)
            for at in found:
                trap, under = self._planted[at]
                if patched[at - address] == trap:
                    patched[at - address] = under
            return bytes(patched)

    def write(self, address: int, data: bytes) -> None:
        """Write under the traps, which stay. All of ``data``, or nothing: MemoryFault."""
        if self.written is not None:
            self.written(address, data)
        with self._lock:
            found = self._within(address, len(data)) if self._planted else None
            if not found:
                self._memory.write(address, data)
                return
            patched = bytearray(data)
            for at in found:
                patched[at - address] = self._planted[at][0]
            self._memory.write(address, bytes(patched))
            for at in found:
                self._planted[at] = self._planted[at][0], data[at - address]

    def _within(self, address: int, size: int) -> list[int]:
        return [at for at in self._planted if address <= at < address + size]
