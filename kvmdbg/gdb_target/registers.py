"""One vCPU's registers by the names of descriptions.py, read once a stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdbstub import Description, TargetError
from kvmdbg.errors import KvmdbgError
from kvmdbg.kvm import abi
from kvmdbg.x86 import registers as names
from kvmdbg.x86.xsave import AVX, SSE, X87, XsaveArea

if TYPE_CHECKING:
    from kvmdbg.core.session import Session
    from kvmdbg.engine.runner import Runner

MSR_KERNEL_GS_BASE = 0xC0000102
GENERAL = {name: name for name in (field[0] for field in abi.kvm_regs._fields_)} | {
    f"e{name}": f"r{name}" for name in ("ax", "bx", "cx", "dx", "si", "di", "bp")
}
AT_HAND = {*GENERAL, "eip", "esp"}
CONTROL = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop", "mxcsr")


def full_tags(fpu: XsaveArea) -> int:
    """The x87 tag word with two bits a register, from FXSAVE's abridged one (Intel SDM volume 1, 10.5.1.1)."""
    top, word = fpu.fsw >> 11 & 7, 0
    for physical in range(8):
        if not fpu.ftwx >> physical & 1:
            tag = 3
        else:
            data = bytes(fpu.fpr[(physical - top) & 7])
            exponent = int.from_bytes(data[8:10], "little") & 0x7FFF
            mantissa = int.from_bytes(data[:8], "little")
            if exponent == 0x7FFF:
                tag = 2
            elif exponent == 0:
                tag = 1 if mantissa == 0 else 2
            else:
                tag = 0 if mantissa >> 63 else 2
        word |= tag << 2 * physical
    return word


def _used(tags: bytes) -> tuple[int, int]:
    """Of a full tag word: which registers are not empty, as FXSAVE keeps it, and what is no tag at all."""
    value = int.from_bytes(tags, "little")
    return sum(1 << n for n in range(8) if value >> 2 * n & 3 != 3), value >> 16


def _put(area: XsaveArea, name: str, data: bytes) -> None:
    """Write a register of the area."""
    value = int.from_bytes(data, "little")
    if name[:3] == "xmm":
        area.xmm[int(name[3:])][:] = data
    elif name[:3] == "ymm":
        area.upper[int(name[3:-1])][:] = data
    elif name == "mxcsr":
        area.mxcsr = value
    elif name == "fctrl":
        area.fcw = value
    elif name == "fstat":
        area.fsw = value
    elif name == "ftag":
        area.ftwx = _used(data)[0]
    elif name == "fop":
        area.last_opcode = value
    elif name == "fioff":
        area.last_ip = area.last_ip & ~0xFFFFFFFF | value
    elif name == "fiseg":
        area.last_ip = area.last_ip & 0xFFFFFFFF | (value & 0xFFFF) << 32
    elif name == "fooff":
        area.last_dp = area.last_dp & ~0xFFFFFFFF | value
    elif name == "foseg":
        area.last_dp = area.last_dp & 0xFFFFFFFF | (value & 0xFFFF) << 32
    else:
        area.fpr[int(name[2:])][:10] = data
    area.xstate_bv |= AVX if name[:3] == "ymm" else SSE if name[:3] in ("xmm", "mxc") else X87


class ThreadRegisters:
    """The registers of ``runner``. Values are kept until something changes them."""

    def __init__(self, session: Session, runner: Runner) -> None:
        self._session = session
        self.runner = runner
        self._seen = -1
        self._area: XsaveArea | None = None
        self._whole: dict[str, bytes] = {}

    def _fresh(self) -> None:
        self.runner.require_stopped()
        if self._seen != self.runner.changes:
            self._area = None
            self._whole.clear()
            self._seen = self.runner.changes

    @property
    def area(self) -> XsaveArea:
        """x87, SSE and AVX. KVM_GET_FPU would leave out mxcsr."""
        if self._area is None:
            self._area = XsaveArea.from_buffer_copy(self.runner.call(self.runner.vcpu.get_xsave))
        return self._area

    # --- reading -----------------------------------------------------------------------------------

    def all(self, layout: Description) -> bytes:
        """All registers of a description."""
        self._fresh()
        found = self._whole.get(layout.key)
        if found is None:
            found = self.runner.call(lambda: b"".join(self._read(one.name, one.size) for one in layout.registers))
            self._whole[layout.key] = found
        return found

    def one(self, layout: Description, number: int) -> bytes:
        """One of them."""
        register = layout.registers[number]
        if register.name in AT_HAND:  # asked for at each stop: without all the others, and nothing is kept of them
            self.runner.require_stopped()
            size = register.size
            return (self._number(register.name) & (1 << 8 * size) - 1).to_bytes(size, "little")
        at = layout.offsets[number]
        return self.all(layout)[at : at + register.size]

    def value(self, name: str) -> int:
        """The register's value, for expressions: also on its vCPU's thread while that handles an exit."""
        general = GENERAL.get(name)
        if general is not None and name not in ("rip", "rsp"):
            value = int(getattr(self.runner.vcpu.regs, general))
            return value & 0xFFFFFFFF if name[0] == "e" else value
        return int.from_bytes(self._read(name, 16), "little")

    def _read(self, name: str, size: int) -> bytes:
        if name[:2] == "st" and name[2:].isdigit():
            return bytes(self.area.fpr[int(name[2:])])[:10]
        if name[:3] == "xmm":
            return bytes(self.area.xmm[int(name[3:])])
        if name[:3] == "ymm":
            return self.area.ymm_high(int(name[3:-1]))
        value = self._number(name)
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def _number(self, name: str) -> int:
        runner = self.runner
        if name in ("eip", "rip"):
            return int(runner.pc)
        if name in ("esp", "rsp"):
            return int(runner.stack_pointer)
        if name == "eflags":
            return int(runner.vcpu.regs.rflags)
        if name in GENERAL:
            return int(getattr(runner.vcpu.regs, GENERAL[name]))
        if name == "k_gs_base":
            return runner.call(lambda: runner.vcpu.get_msr(MSR_KERNEL_GS_BASE)) or 0
        if name in CONTROL:
            area = self.area
            values: dict[str, int] = {
                "fctrl": area.fcw, "fstat": area.fsw, "ftag": full_tags(area), "fiseg": area.last_ip >> 32 & 0xFFFF,
                "fioff": area.last_ip & 0xFFFFFFFF, "foseg": area.last_dp >> 32 & 0xFFFF,
                "fooff": area.last_dp & 0xFFFFFFFF, "fop": area.last_opcode, "mxcsr": area.mxcsr,
            }  # fmt: skip
            return values[name]
        view = self._session.vcpus[runner.index]
        return int(view.registers.get(name))

    # --- writing -----------------------------------------------------------------------------------

    def write_all(self, layout: Description, data: bytes) -> None:
        """Write those registers whose bytes differ."""
        now = self.all(layout)
        for number, register in enumerate(layout.registers):
            at = layout.offsets[number]
            new = data[at : at + register.size]
            if new != now[at : at + register.size]:
                self.write(layout, number, new)

    def write(self, layout: Description, number: int, data: bytes) -> None:
        """Write one register. TargetError where the CPU does not take it, which then has the value that it had."""
        self._fresh()
        register = layout.registers[number]
        name, size = register.name, register.size
        before = self._read(name, size)
        try:
            self._write(name, data)
            self.runner.changes += 1
            self._fresh()
            taken = self._read(name, size)
            if taken != data and not (name == "ftag" and _used(taken) == _used(data)):
                self._write(name, before)
                raise TargetError(f"{name} cannot hold {int.from_bytes(data, 'little'):#x}")
        except KvmdbgError as error:
            raise TargetError(str(error)) from None
        finally:
            self.runner.changes += 1

    def _write(self, name: str, data: bytes) -> None:
        runner = self.runner
        value = int.from_bytes(data, "little")
        if name in CONTROL or name[:3] in ("xmm", "ymm") or (name[:2] == "st" and name[2:].isdigit()):
            area = XsaveArea.from_buffer_copy(self.area)
            _put(area, name, data)
            runner.call(lambda: runner.vcpu.set_xsave(abi.kvm_xsave.from_buffer_copy(area)))
        elif name == "k_gs_base":
            if not runner.call(lambda: runner.vcpu.set_msr(MSR_KERNEL_GS_BASE, value)):
                raise TargetError("this vCPU does not take that value for k_gs_base")
        else:
            self._write_number(name, value)

    def _write_number(self, name: str, value: int) -> None:
        runner = self.runner
        registers = self._session.vcpus[runner.index].registers
        if name in ("eip", "rip"):
            registers.set("pc", value)
        elif name in ("esp", "rsp"):
            if runner.mode.bits == 64:
                registers.set("rsp", value)
                return
            offset, wide = value - int(runner.sregs.ss.base), runner.sregs.ss.db
            if not 0 <= offset <= (0xFFFFFFFF if wide else 0xFFFF):
                base = int(runner.sregs.ss.base)
                raise TargetError(f"{value:#x} cannot be reached from SS base {base:#x}: write $ss and $sp")
            registers.set("esp" if wide else "sp", offset)
        else:
            known = names.lookup(name)
            if known is not None and value >> known.bits:  # gdb has selectors and limits wider than they are
                raise TargetError(f"{name} cannot hold {value:#x}")
            registers.set(name, value)
