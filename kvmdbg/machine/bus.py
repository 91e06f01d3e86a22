"""Where port and MMIO accesses go: devices register ranges, everything else answers all ones."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from kvmdbg.errors import DeviceFailure, KvmdbgError
from kvmdbg.record import record

T = TypeVar("T")


@record
class GuestEnd:
    """The guest has ended itself with exit status ``status``; ``text`` says how."""

    status: int
    text: str


class Device(Protocol):
    """What the bus asks of a device. ``offset`` counts from the start of the range it registered.

    A write may end the guest: it gives how, then. A device that has ports and MMIO may have ``read_mmio`` and
    ``write_mmio``, with the same arguments, for the latter. One that wants string instructions whole may have
    ``read_string(offset, size, count)``, which gives the bytes of all items, and ``write_string(offset, size, data)``.
    A machine that starts again has new devices.
    """

    name: str

    def read(self, offset: int, size: int) -> int: ...

    def write(self, offset: int, size: int, value: int) -> GuestEnd | None: ...

    def describe(self) -> str: ...

    def save(self) -> Any: ...

    def load(self, state: Any) -> None: ...


def ask(device: Device, offset: int, size: int, read: Callable[[int, int], int] | None = None) -> bytes:
    """What a device answers to a read of ``size`` bytes. DeviceFailure where that is no such number."""
    value: Any = attempt(device, read or device.read, offset, size)
    try:
        return operator.index(value).to_bytes(size, "little")
    except (TypeError, OverflowError):
        wanted = f"a number of {size} byte{'s' if size > 1 else ''}"
        raise DeviceFailure(device.name, f"it answered {value!r}, which is not {wanted}") from None


def tell(
    device: Device, offset: int, size: int, value: int, write: Callable[[int, int, int], GuestEnd | None] | None = None
) -> GuestEnd | None:
    """Write to a device; how the guest ends if it does by that. DeviceFailure."""
    end: Any = attempt(device, write or device.write, offset, size, value)
    if end is not None and not isinstance(end, GuestEnd):
        raise DeviceFailure(device.name, f"its write returned {end!r}, which is neither None nor a GuestEnd")
    return end


def attempt(device: Device, method: Callable[..., T], *arguments: Any) -> T:
    """Call a method of a device; what it raises as a DeviceFailure that says where it arose."""
    try:
        return method(*arguments)
    except DeviceFailure:
        raise
    except (Exception, SystemExit) as error:
        import traceback

        text = str(error) if isinstance(error, KvmdbgError) else f"{type(error).__name__}: {error}"
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise DeviceFailure(device.name, f"{text} (in {last.name}, {last.filename}:{last.lineno})") from error


PLAIN = frozenset((int, bool, float, str, bytes, type(None)))


def copy_of(state: Any) -> Any:
    """A copy of what a device has saved that shares nothing with it, which is to cost little: it is made of lists,
    dictionaries and what cannot be changed; of anything else copy.deepcopy's."""
    kind = type(state)
    if kind in PLAIN:
        return state
    if kind is list:
        return [one if type(one) in PLAIN else copy_of(one) for one in state]
    if kind is dict:
        return {copy_of(key): copy_of(one) for key, one in state.items()}
    if kind is tuple:
        return tuple(map(copy_of, state))
    from copy import deepcopy  # which takes long to import

    return deepcopy(state)


def _saved(device: Device) -> Any:
    return copy_of(device.save())


class Bus:
    """Ports (16-bit) and MMIO ranges of devices."""

    def __init__(self) -> None:
        self._ports: dict[int, tuple[Device, int]] = {}
        self._mmio: list[tuple[int, int, Device]] = []
        self.devices: list[Device] = []

    def add_ports(self, base: int, count: int, device: Device, *, offset: int = 0) -> None:
        """Give a device ``count`` ports; it is told the first as ``offset``. ValueError when one is taken."""
        ports = range(base, base + count)
        for port in ports:
            if port in self._ports:
                raise ValueError(f"port {port:#x} belongs to {self._ports[port][0].name} already")
        self._ports.update({port: (device, port - base + offset) for port in ports})
        self.add(device)

    def add_mmio(self, base: int, size: int, device: Device) -> None:
        """Give a device ``size`` guest-physical addresses. ValueError when another has one of them."""
        for start, end, other in self._mmio:
            if start < base + size and base < end:
                raise ValueError(f"the addresses {start:#x} to {end - 1:#x} belong to {other.name} already")
        self._mmio.append((base, base + size, device))
        self.add(device)

    def add(self, device: Device) -> None:
        """A device is part of the machine, be it without ports and addresses."""
        if device not in self.devices:
            self.devices.append(device)

    def save(self) -> list[tuple[str, Any]]:
        """Name and state of every device, a copy of its own. DeviceFailure."""
        return [(device.name, attempt(device, _saved, device)) for device in self.devices]

    def load(self, states: list[tuple[str, Any]]) -> None:
        """Give every device its state of ``save`` back. ValueError when it was of other devices."""
        if [name for name, _ in states] != [device.name for device in self.devices]:
            raise ValueError(f"its devices were {', '.join(name for name, _ in states)}")
        for device, (_, state) in zip(self.devices, states, strict=True):
            attempt(device, device.load, copy_of(state))

    def port(self, port: int) -> tuple[Device, int] | None:
        """The device at this port and the port's offset in it."""
        return self._ports.get(port)

    def port_ranges(self) -> Iterator[tuple[int, int, Device]]:
        """(first port, last port, device) of every device."""
        for device in self.devices:
            ports = sorted(p for p, (d, _) in self._ports.items() if d is device)
            if ports:
                yield ports[0], ports[-1], device

    def mmio_ranges(self) -> Iterator[tuple[int, int, Device]]:
        """(first address, last address, device) of every MMIO range."""
        for start, end, device in self._mmio:
            yield start, end - 1, device

    def read_port(self, port: int, size: int) -> int:
        found = self._ports.get(port)
        return int.from_bytes(ask(*found, size), "little") if found else (1 << size * 8) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        found = self._ports.get(port)
        if found:
            tell(*found, size, value)

    def _at(self, address: int) -> tuple[Device, int] | None:
        for start, end, device in self._mmio:
            if start <= address < end:
                return device, address - start
        return None

    def has_address(self, address: int) -> bool:
        """Whether a device has this guest-physical address."""
        return self._at(address) is not None

    def read_mmio(self, address: int, size: int) -> int:
        """What a device answers, all ones where there is none. DeviceFailure."""
        found = self._at(address)
        if found is None:
            return (1 << size * 8) - 1
        return int.from_bytes(ask(*found, size, getattr(found[0], "read_mmio", None)), "little")

    def write_mmio(self, address: int, size: int, value: int) -> GuestEnd | None:
        """Write to the device there, if any; how the guest ends if it does by that. DeviceFailure."""
        found = self._at(address)
        return tell(*found, size, value, getattr(found[0], "write_mmio", None)) if found else None
