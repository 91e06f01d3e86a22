"""What a guest runs on: how its machine is made, at the start and at each restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvmdbg.devices.fw_cfg import check_name
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
from kvmdbg.record import record

MACHINES = ("pc", "bare")


@record
class HardwareOptions:
    """What the user asks of the machine, each as ``kvmdbg.open`` has it. UsageError."""

    machine: str = "pc"
    """One of MACHINES."""
    cpus: int = 1
    irqchip: bool = False
    cpu: str = ""
    devices: Sequence[str] = ()
    disks: Sequence[str] = ()
    floppies: Sequence[str] = ()
    cdrom: str | None = None
    firmware: bool = False
    """Whether it starts in firmware, with what that looks for."""
    fw_cfg: Sequence[tuple[str, bytes]] = ()
    """Files for firmware: name and contents."""

    def __post_init__(self) -> None:
        if self.machine not in MACHINES:
            raise UsageError(f"there is no machine {self.machine!r}: there are {', '.join(MACHINES)}")
        for name, _ in self.fw_cfg:
            check_name(name)


class Hardware:
    """Of machines of ``host`` with ``memory`` bytes."""

    def __init__(self, host: Host, memory: int, options: HardwareOptions, serial: SerialPort) -> None:
        self.host = host
        self.serial = serial
        self.options = options
        self._memory = memory

    def build(self, changed: Callable[[], None]) -> Machine:
        """A machine with its devices; ``changed`` is called when a device takes its ports otherwise than before."""
        options = self.options
        machine = self.host.machine(self._memory, options.cpus, options.irqchip, self._change_cpuid)
        try:
            if options.cpu:
                check_features(machine.vcpus[0].get_cpuid(), options.cpu)
            irq = machine.vm.irq_line if machine.irqchip else None
            board = Board(self.serial.show, irq=irq, memory=machine.memory.size)
            board.ram = machine.memory
            board.changed, board.shadow = changed, machine.shadow
            board.cpus, board.firmware, board.fw_cfg = options.cpus, options.firmware, dict(options.fw_cfg)
            machine.board = board
            self._add_disks(machine)
            machine.bus.add_ports(COM1, PORTS, self.serial.attach(board))
            for text in options.devices:
                add_device(machine.bus, text, board)
            if options.machine == "pc":
                add_standard(machine.bus, board)
        except BaseException:
            machine.close()
            raise
        return machine

    def _add_disks(self, machine: Machine) -> None:
        options, disks = self.options, machine.board.disks
        for kind, files in (("disk", options.disks), ("floppy", options.floppies), ("cdrom", (options.cdrom,))):
            for file in files:
                if file is not None:
                    disks.add(file, kind)
        if any(disks):
            machine.bus.add(disks)

    def _change_cpuid(self, table: abi.kvm_cpuid2) -> None:
        """What ``cpu`` says of the features that the guest sees."""
        if self.options.cpu:
            apply_features(table, self.options.cpu)
