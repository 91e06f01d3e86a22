"""A machine of memory, devices and registers for BIOS services, without any vCPU."""

from __future__ import annotations

from kvmdbg import devices  # noqa: F401  they make themselves known
from kvmdbg.devices.registry import add, add_standard
from kvmdbg.devices.uart import COM1, PORTS, Uart
from kvmdbg.errors import MemoryFault
from kvmdbg.firmware import rom
from kvmdbg.firmware.bios import Bios
from kvmdbg.kvm import abi
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, GuestEnd

MIB = 1 << 20
STACK = 0x7000


class Memory:
    """``size`` bytes of RAM, and what devices add to it."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.size = size
        self.parts = [(0, self.data)]

    def add(self, address: int, size: int, *, of_device: bool) -> None:
        assert of_device
        self.parts.append((address, bytearray(size)))

    def _part(self, address: int, size: int) -> tuple[int, bytearray]:
        for start, data in self.parts:
            if start <= address and address + size <= start + len(data):
                return address - start, data
        raise MemoryFault(address)

    def read(self, address: int, size: int) -> bytes:
        at, data = self._part(address, size)
        return bytes(data[at : at + size])

    def write(self, address: int, new: bytes) -> None:
        at, data = self._part(address, len(new))
        data[at : at + len(new)] = new

    def zero(self, address: int, size: int) -> None:
        self.write(address, bytes(size))

    def find(self, address: int) -> Memory | None:
        return self if address < self.size else None

    def cover(self, address: int, size: int, covered: bool) -> None:
        """A device lies over it, which firmware does not go through."""

    def set_a20(self, on: bool) -> None:
        """Firmware does not go through the CPU's address lines."""


class Pc:
    """A BIOS and who calls it: ``call`` is an int instruction, and gives how the guest ends, if it does."""

    def __init__(self, memory: int = 64 * MIB, *, ram: int = 4 * MIB, has_vbe: bool = True) -> None:
        self.memory = Memory(ram)
        self.said: list[str] = []
        self.sent = bytearray()
        self.bus = Bus()
        board = self.board = Board(self.sent.extend, memory=memory)
        board.tell = self.said.append
        board.ram = self.memory  # type: ignore[assignment]
        self.uart = Uart(self.sent.extend, board, "stdio")
        self.bus.add_ports(COM1, PORTS, self.uart)
        add_standard(self.bus, board)
        if has_vbe:
            add(self.bus, "vbe", board)
        self.bios = Bios(board, self.bus, self.memory)  # type: ignore[arg-type]
        self.regs, self.sregs = abi.kvm_regs(), abi.kvm_sregs()
        self.waits = False
        """The last call has asked to be made again."""

    def start(self) -> Pc:
        """Disks are in: memory is as a guest finds it."""
        self.bios.install()
        return self

    # what firmware asks of a vCPU

    takes_interrupts = True

    def changed(self) -> None: ...

    def set_sregs(self, sregs: abi.kvm_sregs) -> None:
        self.sregs = sregs

    def read(self, address: int, size: int) -> bytes:
        return self.memory.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self.memory.write(address, data)

    write_physical = write

    # what tests ask

    def call(self, interrupt: int, *, interrupts: bool = True, **registers: int) -> GuestEnd | None:
        """``interrupts``: whether the caller has them on."""
        for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"):
            setattr(self.regs, name, 0)
        for name, value in registers.items():
            if name in ("ds", "es"):
                getattr(self.sregs, name).selector, getattr(self.sregs, name).base = value, value << 4
            else:
                setattr(self.regs, "r" + name[-2:], value)
        self.regs.rsp, self.regs.rflags = STACK, 2
        self.write(STACK, bytes.fromhex("047c 0000 0202" if interrupts else "047c 0000 0200"))
        at = rom.ENTRIES[interrupt]
        places = [place for place, number in rom.CALLS.items() if number == interrupt]
        base, self.regs.rip = next((base, rip) for base, rip in places if rip >= at)
        self.sregs.cs.selector, self.sregs.cs.base = base >> 4, base
        end = self.bios.call(self)
        self.waits = bool(self.regs.rflags & 1)
        return end

    def __getattr__(self, name: str) -> int:
        """A general register, or a part of one, by its name."""
        if len(name) == 2 and name[1] in "lh":
            return getattr(self.regs, f"r{name[0]}x") >> (8 if name[1] == "h" else 0) & 0xFF  # type: ignore[no-any-return]
        if len(name) == 2:
            return getattr(self.regs, "r" + name) & 0xFFFF  # type: ignore[no-any-return]
        if len(name) == 3 and name[0] == "e":
            return getattr(self.regs, "r" + name[1:]) & 0xFFFFFFFF  # type: ignore[no-any-return]
        raise AttributeError(name)

    @property
    def flags(self) -> int:
        return int.from_bytes(self.read(STACK + 4, 2), "little")

    @property
    def carry(self) -> bool:
        return bool(self.flags & 1)

    @property
    def zero(self) -> bool:
        return bool(self.flags & 0x40)

    def say(self, text: str) -> None:
        for char in text.encode("cp437"):
            self.call(0x10, ax=0x0E00 | char, bx=7)

    def line(self, row: int) -> str:
        return self.read(0xB8000 + 160 * row, 160)[::2].decode("cp437").rstrip()

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 2), "little")
