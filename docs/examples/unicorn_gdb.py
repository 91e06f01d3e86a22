"""A CPU of the emulator unicorn for gdb and lldb: python unicorn_gdb.py 1234, and gdb -ex 'target remote :1234'."""

import sys
import threading
from signal import SIGINT, SIGSEGV

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc, UcError, x86_const

from gdbstub import Address, Description, Feature, Point, Register, Resume, Server, Stopped, Target, TargetError
from gdbstub.target import HasBreakpoints

PROGRAM = bytes.fromhex("31c0 ffc0 89042500200000 ebf5")  # xor eax, eax; again: inc eax; mov [0x2000], eax; jmp again
NAMES = [*"rax rbx rcx rdx rsi rdi rbp rsp".split(), *(f"r{number}" for number in range(8, 16)), "rip"]
NAMES += "eflags cs ss ds es fs gs".split()
GENERIC = {"rip": "pc", "rsp": "sp", "rbp": "fp", "eflags": "flags"}  # lldb's words
X87 = "fctrl fstat ftag fiseg fioff foseg fooff fop".split()  # gdb wants to have these; they are shown as 0
REGISTERS = [Register(name, 64 if name[0] == "r" else 32, generic=GENERIC.get(name)) for name in NAMES]
REGISTERS += [*(Register(f"st{number}", 80, "i387_ext") for number in range(8)), *(Register(name, 32) for name in X87)]
X86_64 = Description("x86-64", (Feature("org.gnu.gdb.i386.core", tuple(REGISTERS)),), architecture="i386:x86-64")
IDS = [getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in NAMES]


class Cpu(Target, HasBreakpoints):
    running = False

    def __init__(self, uc: Uc) -> None:
        self.uc, self.interrupted = uc, False
        self.points: set[int] = set()
        uc.ctl_exits_enabled(True)  # it ends before instructions at these addresses

    @property
    def pc(self) -> int:
        return int(self.uc.reg_read(x86_const.UC_X86_REG_RIP))

    def description(self, thread: int) -> Description:
        return X86_64

    def read_register(self, thread: int, layout: Description, number: int) -> bytes:
        value = self.uc.reg_read(IDS[number]) if number < len(IDS) else 0
        return value.to_bytes(layout.registers[number].size, "little")

    def write_register(self, thread: int, layout: Description, number: int, data: bytes) -> None:
        if number < len(IDS):
            self.uc.reg_write(IDS[number], int.from_bytes(data, "little"))

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        try:
            return bytes(self.uc.mem_read(address, length))
        except UcError as error:
            raise TargetError(f"{address:#x}: {error}") from None

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        try:
            self.uc.mem_write(address, data)
        except UcError as error:
            raise TargetError(f"{address:#x}: {error}") from None

    def insert(self, point: Point) -> None:
        if point.kind not in ("sw", "hw"):
            raise TargetError("there are no watchpoints here")
        self.points.add(point.address)

    def remove(self, kind: str, address: int, length: int) -> None:
        self.points.discard(address)

    def remove_all(self) -> None:
        self.points.clear()

    def resume(self, what: Resume) -> None:
        self.running, self.interrupted = True, False
        threading.Thread(target=self.run, args=(bool(what.steps),), daemon=True).start()

    def interrupt(self) -> None:
        self.interrupted = True

    def run(self, step: bool) -> None:
        try:
            self.go(set(), 1)  # off a breakpoint
            while not step and not self.interrupted and self.pc not in self.points:
                self.go(self.points, 100_000)
            stop = Stopped(1, SIGINT) if self.interrupted else Stopped(1, reason="" if step else "swbreak")
        except UcError as error:
            stop = Stopped(1, SIGSEGV, text=str(error))
        self.running = False
        self.on_stop(stop)

    def go(self, ends: set[int], count: int) -> None:
        self.uc.ctl_set_exits(sorted(ends))
        self.uc.ctl_flush_tb()
        self.uc.emu_start(self.pc, 0, count=count)


if __name__ == "__main__":
    machine = Uc(UC_ARCH_X86, UC_MODE_64)
    machine.mem_map(0x1000, 0x2000)
    machine.mem_write(0x1000, PROGRAM)
    machine.reg_write(x86_const.UC_X86_REG_RIP, 0x1000)
    server = Server(Cpu(machine), Address.parse(sys.argv[1]), tell=print)
    server.start()
    print(f"target remote {server.address.remote}", flush=True)
    server.finished.wait()
