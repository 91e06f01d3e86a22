"""A CPU of the emulator unicorn for gdb and lldb: python unicorn_gdb.py 1234, and gdb -ex 'target remote :1234'."""

import sys
from collections.abc import Collection

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc, UcError, x86_const

from gdbstub import Address, Server, TargetError
from gdbstub.emulator import Emulator
from gdbstub.x86 import X86_64

PROGRAM = bytes.fromhex("31c0 ffc0 89042500200000 ebf5")  # xor eax, eax; again: inc eax; mov [0x2000], eax; jmp again
NAMES = [one.name for one in X86_64.registers if one.group != "float"]  # those of the x87 are shown as 0
IDS = {name: getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in NAMES}


class Cpu(Emulator):
    def __init__(self, uc: Uc) -> None:
        super().__init__(X86_64)
        self.uc = uc
        uc.ctl_exits_enabled(True)  # it ends before instructions at these addresses

    def register(self, name: str) -> int:
        return int(self.uc.reg_read(IDS[name])) if name in IDS else 0

    def set_register(self, name: str, value: int) -> None:
        if name in IDS:
            self.uc.reg_write(IDS[name], value)

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

    def run(self, ends: Collection[int], count: int) -> None:
        self.uc.ctl_set_exits(sorted(ends))
        self.uc.ctl_flush_tb()
        try:
            self.uc.emu_start(self.register("rip"), 0, count=count)
        except UcError as error:
            raise TargetError(str(error)) from None


if __name__ == "__main__":
    machine = Uc(UC_ARCH_X86, UC_MODE_64)
    machine.mem_map(0x1000, 0x2000)
    machine.mem_write(0x1000, PROGRAM)
    machine.reg_write(x86_const.UC_X86_REG_RIP, 0x1000)
    server = Server(Cpu(machine), Address.parse(sys.argv[1]), tell=print)
    server.start()
    print(f"target remote {server.address.remote}", flush=True)
    server.finished.wait()
