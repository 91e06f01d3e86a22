"""What a service sees of its caller: registers by their names, memory, the flags that the caller gets back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kvmdbg.x86.registers import EFLAGS_CF, EFLAGS_IF, EFLAGS_ZF

if TYPE_CHECKING:
    from kvmdbg.firmware.environment import Environment
    from kvmdbg.kvm import abi


IRQ_VECTORS = frozenset((*range(0x08, 0x10), *range(0x70, 0x78)))
NAMES: dict[int, str] = {
    0x00: "divide error", 0x01: "single step", 0x02: "NMI", 0x03: "breakpoint", 0x04: "overflow", 0x05: "print screen",
    0x06: "invalid opcode", 0x07: "no coprocessor", 0x0C: "stack fault", 0x0D: "general protection",
    0x10: "video", 0x11: "equipment", 0x12: "memory size", 0x13: "disk", 0x14: "serial port", 0x15: "system",
    0x16: "keyboard", 0x17: "printer", 0x18: "no boot disk", 0x19: "boot", 0x1A: "clock", 0x20: "DOS", 0x21: "DOS",
    0x2F: "DOS multiplex", 0x33: "mouse driver", 0x67: "expanded memory",
}  # fmt: skip
"""What interrupts are for."""


FUNCTIONS: dict[int, dict[int, str]] = {
    0x10: {0x14: "LCD fonts", 0x15: "physical display",
           0xFE: "shadow buffer", 0xFF: "update the screen"},
    0x13: {0x06: "format and mark bad", 0x07: "format the drive", 0x0A: "read with ECC", 0x0B: "write with ECC",
           0x0E: "read the buffer", 0x0F: "write the buffer", 0x12: "test the RAM", 0x13: "test the drive",
           0x19: "park the heads", 0x1A: "format an ESDI drive", 0x45: "lock the drive", 0x46: "eject the medium",
           0x4A: "emulate a disk", 0x4C: "emulate a disk and boot", 0x4D: "boot catalog", 0x50: "send a packet"},
    0x14: {0x04: "extended initialisation", 0x05: "modem control"},
    0x15: {0x00: "cassette motor on", 0x01: "cassette motor off", 0x02: "cassette read", 0x03: "cassette write",
           0x0F: "format ESDI", 0x20: "operating system", 0x21: "power-on errors", 0x40: "system profile",
           0x41: "wait for an event", 0x42: "switch off", 0x43: "status", 0x44: "modem", 0x80: "open a device",
           0x81: "close a device", 0x82: "end a program", 0x84: "joystick", 0x85: "SysReq",
           0x89: "to protected mode", 0xBC: "timer", 0xC3: "watchdog", 0xC4: "option select",
           0xC5: "system information", 0xD8: "EISA", 0xDA: "memory size", 0xE8: "memory map", 0xE9: "SpeedStep"},
    0x16: {0x04: "key click", 0x0A: "keyboard identity", 0x13: "DBCS shift", 0x14: "shift status line",
           0x20: "122-key read", 0x21: "122-key status", 0x22: "122-key shift", 0xF0: "CPU speed"},
    0x17: {0x03: "EPP"},
    0x1A: {0x08: "set the power-on alarm", 0x09: "read the alarm", 0x0A: "read the day counter",
           0x0B: "set the day counter", 0x35: "word from port", 0x80: "sound", 0xB0: "infrared", 0xB1: "PCI",
           0xB2: "RTC", 0xB4: "Plug and Play", 0xBB: "TCG"},
}  # fmt: skip
"""What functions are for that a BIOS may have and this one lacks, by interrupt and AH (Ralf Brown's interrupt list)."""


def name_of(interrupt: int, function: int) -> str:
    """What an interrupt's function is called, in brackets with a space before; else what the interrupt is for."""
    name = FUNCTIONS.get(interrupt, {}).get(function) or NAMES.get(interrupt)
    return f" ({name})" if name else ""


class Caller(Protocol):
    """The vCPU that has called, as the engine shows it to firmware."""

    @property
    def regs(self) -> abi.kvm_regs:
        """The general registers; ``changed`` says that they have been written to."""
        ...

    @property
    def sregs(self) -> abi.kvm_sregs: ...

    @property
    def takes_interrupts(self) -> bool:
        """Whether interrupts come in, which is not so while it is stepped."""
        ...

    def changed(self) -> None: ...

    def read(self, address: int, size: int) -> bytes:
        """Linear memory. MemoryFault."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Linear memory. MemoryFault."""
        ...

    def write_physical(self, address: int, data: bytes) -> None:
        """MemoryFault."""
        ...

    def set_sregs(self, sregs: abi.kvm_sregs) -> None: ...


class _Part:
    """A register, or a part of one: ``shift`` and ``bits`` of the 64-bit register ``name``."""

    __slots__ = ("mask", "name", "shift")

    def __init__(self, name: str, bits: int = 16, shift: int = 0) -> None:
        self.name, self.shift, self.mask = name, shift, (1 << bits) - 1

    def __get__(self, call: Call, owner: type[Call]) -> int:
        return getattr(call.regs, self.name) >> self.shift & self.mask  # type: ignore[no-any-return]

    def __set__(self, call: Call, value: int) -> None:
        old = getattr(call.regs, self.name)
        setattr(call.regs, self.name, old & ~(self.mask << self.shift) | (value & self.mask) << self.shift)
        call.caller.changed()


def part(regs: abi.kvm_regs, name: str) -> int:
    """A general register, or a part of one, by its name: eax, ax, al."""
    if name[1] in "lh":
        return getattr(regs, f"r{name[0]}x") >> (8 if name[1] == "h" else 0) & 0xFF  # type: ignore[no-any-return]
    return getattr(regs, "r" + name[-2:]) & (0xFFFFFFFF if name[0] == "e" else 0xFFFF)  # type: ignore[no-any-return]


class Call:
    """One call of a service. ``frame`` is what of the stack lies above IP, CS and FLAGS of the caller, in bytes."""

    __slots__ = ("_stack", "bios", "caller", "frame", "regs", "vector")

    eax, ebx, ecx, edx = (_Part(name, 32) for name in ("rax", "rbx", "rcx", "rdx"))
    ax, bx, cx, dx = (_Part(name) for name in ("rax", "rbx", "rcx", "rdx"))
    al, bl, cl, dl = (_Part(name, 8) for name in ("rax", "rbx", "rcx", "rdx"))
    ah, bh, ch, dh = (_Part(name, 8, 8) for name in ("rax", "rbx", "rcx", "rdx"))
    si, di, bp, sp = (_Part(name) for name in ("rsi", "rdi", "rbp", "rsp"))

    def __init__(self, caller: Caller, bios: Environment, vector: int, frame: int = 0) -> None:
        self.caller = caller
        self.bios = bios
        self.vector = vector
        self.frame = frame
        self.regs = caller.regs
        self._stack: int | None = None

    def base(self, segment: str) -> int:
        """The linear address at which a segment begins."""
        return int(getattr(self.caller.sregs, segment).base)

    @property
    def es(self) -> int:
        return int(self.caller.sregs.es.selector)

    def set_segment(self, name: str, selector: int) -> None:
        """Load a segment register as real mode does."""
        sregs = self.caller.sregs
        getattr(sregs, name).selector = selector
        getattr(sregs, name).base = selector << 4
        self.caller.set_sregs(sregs)

    def far(self, segment: str, offset: int) -> int:
        """The linear address of an offset in a segment."""
        return self.base(segment) + (offset & 0xFFFF)

    def read(self, address: int, size: int) -> bytes:
        return self.caller.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self.caller.write(address, data)

    def write_physical(self, address: int, data: bytes) -> None:
        self.caller.write_physical(address, data)

    def byte(self, address: int) -> int:
        return self.caller.read(address, 1)[0]

    def word(self, address: int) -> int:
        return int.from_bytes(self.caller.read(address, 2), "little")

    def set_byte(self, address: int, value: int) -> None:
        self.caller.write(address, bytes((value & 0xFF,)))

    def set_word(self, address: int, value: int) -> None:
        self.caller.write(address, (value & 0xFFFF).to_bytes(2, "little"))

    # --- the caller's frame

    def _at(self, offset: int) -> int:
        if self._stack is None:
            self._stack = self.base("ss")
        mask = 0xFFFFFFFF if self.caller.sregs.ss.db else 0xFFFF
        return self._stack + ((int(self.regs.rsp) + self.frame + offset) & mask)

    @property
    def back(self) -> tuple[int, int]:
        """CS and IP to which it returns."""
        data = self.read(self._at(0), 4)
        return int.from_bytes(data[2:], "little"), int.from_bytes(data[:2], "little")

    @property
    def flags(self) -> int:
        """The flags that the caller gets back."""
        return self.word(self._at(4))

    @flags.setter
    def flags(self, value: int) -> None:
        self.set_word(self._at(4), value)

    def _set_flag(self, flag: int, on: bool) -> None:
        old = self.flags
        new = old | flag if on else old & ~flag
        if new != old:
            self.flags = new

    def carry(self, on: bool) -> None:
        """The caller's CF."""
        self._set_flag(EFLAGS_CF, on)

    @property
    def zero_flag(self) -> bool:
        """The caller's ZF as it is to be."""
        return bool(self.flags & EFLAGS_ZF)

    def zero(self, on: bool) -> None:
        """The caller's ZF."""
        self._set_flag(EFLAGS_ZF, on)

    def done(self, status: int = 0) -> None:
        """AH is ``status``, and the caller's CF says whether that is an error."""
        self.ah = status
        self.carry(status != 0)

    def branch(self, on: bool) -> None:
        """CF of the stub that called: what its code goes on with."""
        flags = int(self.regs.rflags)
        wanted = flags | EFLAGS_CF if on else flags & ~EFLAGS_CF
        if wanted != flags:
            self.regs.rflags = wanted
            self.caller.changed()

    def let_interrupts_in(self) -> None:
        """As BIOSes do with STI: on its way back to a caller that has interrupts on. Between two calls a guest that
        calls all the time would have them on for an instruction or two, which a KVM in software (PVM) misses."""
        if self.flags & EFLAGS_IF:
            self.regs.rflags |= EFLAGS_IF
            self.caller.changed()

    # --- what the user is told

    def tell_once(self, key: tuple[int, int], what: str) -> None:
        """A sentence for the user, where nothing was told of ``key`` yet."""
        if key not in self.bios.told:
            self.bios.told.add(key)
            registers = f"AX={self.ax:#06x}, BX={self.bx:#06x}, CX={self.cx:#06x}, DX={self.dx:#06x}"
            self.bios.board.tell(f"{what} ({registers})")

    def tell_unserved(self) -> None:
        """That nobody has a service for this call."""
        vector = self.vector
        if vector in IRQ_VECTORS:
            return
        cs, ip = self.back
        name = f" ({NAMES[vector]})" if vector in NAMES else ""
        if 0x10 <= vector <= 0x1A:
            call = f"int {vector:#x}, AH={self.ah:#04x}{name_of(vector, self.ah)}"
            what = f"{call}, before {cs:04x}:{ip:04x}: this BIOS has no such function"
            self.tell_once((vector, self.ah), what)
        elif vector < 8:
            self.tell_unhandled()
        else:
            place = f"{cs:04x}:{ip:04x}: nobody has set its vector, the call only returns"
            self.tell_once((vector, -1), f"int {vector:#x}{name} before {place}")

    def tell_unhandled(self) -> None:
        """That the guest does not handle this exception."""
        (cs, ip), vector = self.back, self.vector
        place = f"{cs:04x}:{ip:04x}: the guest has no handler, and the BIOS's only returns"
        self.tell_once((vector, -1), f"exception {vector} ({NAMES[vector]}) at {place}")
