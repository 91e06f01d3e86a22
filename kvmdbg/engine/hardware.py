"""What a guest runs on: how its machine is made, at the start and at each restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvmdbg.devices.pic import Pic
from kvmdbg.devices.pit import Pit
from kvmdbg.devices.registry import add as add_device
from kvmdbg.devices.registry import add_needed, add_standard, needs_apic
from kvmdbg.devices.uart import COM1, PORTS
from kvmdbg.engine.host import Host
from kvmdbg.engine.serial_port import SerialPort
from kvmdbg.errors import UsageError
from kvmdbg.firmware.rom import BASE as BIOS_BASE
from kvmdbg.firmware.rom import PORT as BIOS_PORT
from kvmdbg.firmware.rom import SIZE as BIOS_SIZE
from kvmdbg.kvm import abi
from kvmdbg.machine.board import Board
from kvmdbg.machine.disk import FIRST_HARD_DISK, Disks
from kvmdbg.machine.image import Image, Screen, Segment
from kvmdbg.machine.machine import Machine
from kvmdbg.record import record

MACHINES = ("pc", "bare", "hvt")
SERVICES = ("auto", "bios", "none")
LOW_MEMORY = 0x500
"""Below are the interrupt vectors and the data of the BIOS."""
BY_MULTIBOOT = ("multiboot", "multiboot2")
"""Formats of kernels that a boot loader starts, by which the BIOS's data and services are still there."""
IRQCHIPS = ("kernel", "user", "none")
"""Where the interrupt controllers are, and the timer with them."""


@record
class HardwareOptions:
    """What the user asks of the machine, each as ``kvmdbg.open`` has it. UsageError."""

    machine: str = "pc"
    """One of MACHINES."""
    cpus: int = 1
    irqchip: str | bool = ""
    """One of IRQCHIPS, or True for KVM's, False for none; "" leaves it to the machine."""
    cpu: str = ""
    devices: Sequence[str] = ()
    disks: Sequence[str] = ()
    floppies: Sequence[str] = ()
    cdrom: str | None = None
    fw_cfg: Sequence[tuple[str, bytes]] = ()
    """Files for firmware: name and contents."""
    services: str = "auto"
    """One of SERVICES: "auto" is a BIOS where the image starts in real mode and leaves it room, and this is a PC."""

    def __post_init__(self) -> None:
        if self.machine not in MACHINES:
            raise UsageError(f"there is no machine {self.machine!r}: there are {', '.join(MACHINES)}")
        if self.fw_cfg:
            from kvmdbg.devices.fw_cfg import check_name  # few sessions have any

            for name, _ in self.fw_cfg:
                check_name(name)
        if self.services not in SERVICES:
            raise UsageError(f"there is no firmware {self.services!r}: there are {', '.join(SERVICES)}")
        if self.irqchip not in ("", True, False, *IRQCHIPS):
            raise UsageError(f"interrupt controllers are {', '.join(IRQCHIPS)}, not {self.irqchip!r}")
        if self.cpus > 1 and self.controllers != "kernel":
            raise UsageError("several vCPUs need the interrupt controllers of KVM: --irqchip kernel")

    @property
    def controllers(self) -> str:
        """Whose interrupt controllers there are: one of IRQCHIPS."""
        if isinstance(self.irqchip, bool):
            return "kernel" if self.irqchip or self.cpus > 1 else "none"
        if self.irqchip:
            return self.irqchip
        if self.cpus > 1 or any(needs_apic(text) for text in self.devices):
            return "kernel"
        return "user" if self.machine == "pc" else "none"


def _is_lost_in_rom(segment: Segment, image: Image) -> bool:
    """Whether a boot loader finds ROM where it would put this segment, which the kernel does without: the linker puts
    the headers of an ELF file before code at 1 MiB where the kernel was linked as a program of Linux's."""
    in_rom = segment.address >= BIOS_BASE and segment.end <= BIOS_BASE + BIOS_SIZE
    return in_rom and image.format in BY_MULTIBOOT and segment.data[:4] == b"\x7fELF"


class Hardware:
    """Of machines of ``host`` with ``memory`` bytes."""

    def __init__(self, host: Host, memory: int, options: HardwareOptions, serial: SerialPort) -> None:
        self.host = host
        self.serial = serial
        self.options = options
        self._memory = memory

    def build(self, image: Image, changed: Callable[[], None]) -> Machine:
        """A machine with its devices, and the BIOS where the image finds one.

        ``changed`` is called when a device takes its ports otherwise than before.
        """
        options = self.options
        is_hvt = image.format == "hvt"
        controllers = "none" if is_hvt and options.irqchip == "" and options.cpus == 1 else options.controllers
        machine = self.host.machine(self._memory, options.cpus, controllers == "kernel", self._change_cpuid)
        try:
            if options.cpu:
                from kvmdbg.engine.cpu_features import check_features  # here and below: few sessions change any

                check_features(machine.vcpus[0].get_cpuid(), options.cpu)
            irq = machine.vm.irq_line if machine.irqchip else None
            board = Board(self.serial.show, irq=irq, memory=machine.memory.size)
            board.ram = machine.memory
            board.changed, board.shadow = changed, machine.shadow
            board.set_up_chips = machine.set_up_chips
            board.cpus, board.firmware, board.fw_cfg = options.cpus, image.firmware, dict(options.fw_cfg)
            board.manifest = image.declared
            machine.board = board
            self._add_disks(machine, image)
            machine.bus.add_ports(COM1, PORTS, self.serial.attach(board))
            if is_hvt or options.machine == "pc" or controllers == "user":
                machine.bus.add(board.time)
            if controllers == "user":
                board.pic = pic = Pic(board)
                board.pit = pit = Pit(board)
                for device in (pic, pit):
                    for port in device.ports:
                        machine.bus.add_ports(port, 1, device, offset=port)
            for text in options.devices:
                add_device(machine.bus, text, board)
            if is_hvt:
                add_device(machine.bus, "hvt", board)
            elif options.machine == "hvt":
                raise UsageError(f"{image.path} is no Solo5 unikernel for hvt, and this machine takes no others")
            elif options.machine == "pc":
                add_standard(machine.bus, board)
            if image.screen is not None:
                self._show(image.screen, machine)
            add_needed(machine.bus, board)
            if self._wants_bios(image, machine):
                from kvmdbg.firmware.bios import Bios  # most guests in other modes have no use for it

                machine.bios = Bios(board, machine.bus, machine.memory, self._booted(image, board.disks))
                machine.bus.add_ports(BIOS_PORT, 1, machine.bios)
                if options.machine == "pc" and all(one.name != "vbe" for one in machine.bus.devices):
                    add_device(machine.bus, "vbe", board)
        except BaseException:
            machine.close()
            raise
        return machine

    @staticmethod
    def _show(screen: Screen, machine: Machine) -> None:
        """Have the picture there that a boot loader would have set up."""
        from kvmdbg.devices.vbe import Vbe  # few guests ask for one

        found = next((one for one in machine.bus.devices if isinstance(one, Vbe)), None)
        adapter = found or add_device(machine.bus, "vbe", machine.board)
        assert isinstance(adapter, Vbe)
        adapter.set_mode(screen.width, screen.height, screen.bits, linear=True)

    def _add_disks(self, machine: Machine, image: Image) -> None:
        options, disks = self.options, machine.board.disks
        if image.drive == "both":
            disks.add_for_both(image.path, floppy=not options.floppies, hard_disk=not options.disks)
        elif image.drive:
            disks.add(image.path, image.drive)
        for kind, files in (("disk", options.disks), ("floppy", options.floppies), ("cdrom", (options.cdrom,))):
            for file in files:
                if file is not None:
                    disks.add(file, kind)
        disks.emulate()
        if any(disks):
            machine.bus.add(disks)

    @staticmethod
    def _booted(image: Image, disks: Disks) -> int | None:
        """The number of the drive that the image comes from."""
        if image.format not in ("bootsector", "cd"):
            return None
        if image.drive == "both":
            return FIRST_HARD_DISK if disks.hard_disks and disks.hard_disks[0].path == image.path else 0
        return image.registers.get("rdx")

    def _wants_bios(self, image: Image, machine: Machine) -> bool:
        wanted = self.options.services
        if wanted == "none" or image.firmware or (self.options.machine == "bare" and wanted == "auto"):
            return False
        room = machine.memory.find(BIOS_BASE + BIOS_SIZE - 1) is not None
        taken = any(
            one.address < end and start < one.end
            for one in image.segments
            for start, end in ((0, LOW_MEMORY), (BIOS_BASE, BIOS_BASE + BIOS_SIZE))
            if not _is_lost_in_rom(one, image)
        )
        fits = (image.mode == "real" or image.format in BY_MULTIBOOT) and room and not taken
        if wanted == "bios" and not fits:
            raise UsageError(
                f"{image.path} cannot have a BIOS: that needs an entry in real mode or by multiboot, 1 MiB of memory, "
                f"and 0 to {LOW_MEMORY - 1:#x} and {BIOS_BASE:#x} to {BIOS_BASE + BIOS_SIZE - 1:#x} free"
            )
        return fits

    def _change_cpuid(self, table: abi.kvm_cpuid2) -> None:
        """What ``cpu`` says of the features that the guest sees."""
        if self.options.cpu:
            from kvmdbg.engine.cpu_features import apply_features

            apply_features(table, self.options.cpu)
