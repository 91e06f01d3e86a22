"""What a guest runs on: how its machine is made, at the start and at each restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvmdbg.devices.registry import add as add_device
from kvmdbg.devices.registry import add_standard
from kvmdbg.devices.uart import COM1, PORTS
from kvmdbg.engine.cpu_features import apply_features, check_features
from kvmdbg.engine.host import Host
from kvmdbg.engine.serial_port import SerialPort
from kvmdbg.errors import UsageError
from kvmdbg.kvm import abi
from kvmdbg.machine.board import Board
from kvmdbg.machine.machine import Machine

MACHINES = ("pc", "bare")


class Hardware:
    """Of machines of ``host``; ``machine`` is one of MACHINES, ``memory`` in bytes, the rest as ``kvmdbg.open`` has it.

    UsageError.
    """

    def __init__(
        self,
        host: Host,
        memory: int,
        cpus: int,
        devices: Sequence[str],
        machine: str,
        irqchip: bool,
        cpu: str,
        serial: SerialPort,
    ) -> None:
        if machine not in MACHINES:
            raise UsageError(f"there is no machine {machine!r}: there are {', '.join(MACHINES)}")
        self.host = host
        self.serial = serial
        self._memory = memory
        self._cpus = cpus
        self._devices = tuple(devices)
        self._machine = machine
        self._irqchip = irqchip
        self._cpu = cpu

    def build(self, changed: Callable[[], None]) -> Machine:
        """A machine with its devices; ``changed`` is called when a device takes its ports otherwise than before."""
        machine = self.host.machine(self._memory, self._cpus, self._irqchip, self._change_cpuid)
        try:
            if self._cpu:
                check_features(machine.vcpus[0].get_cpuid(), self._cpu)
            irq = machine.vm.irq_line if machine.irqchip else None
            board = Board(self.serial.show, irq=irq, memory=machine.memory.size)
            board.changed = changed
            machine.board = board
            machine.bus.add_ports(COM1, PORTS, self.serial.attach(board))
            for text in self._devices:
                add_device(machine.bus, text, board)
            if self._machine == "pc":
                add_standard(machine.bus, board)
        except BaseException:
            machine.close()
            raise
        return machine

    def _change_cpuid(self, table: abi.kvm_cpuid2) -> None:
        """What ``cpu`` says of the features that the guest sees."""
        if self._cpu:
            apply_features(table, self._cpu)
