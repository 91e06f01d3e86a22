"""The registers of one vCPU by name, as far as a stopped guest's can be read and written."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from kvmdbg.errors import UsageError
from kvmdbg.faces import InNotebooks
from kvmdbg.kvm import abi
from kvmdbg.x86 import registers as names

if TYPE_CHECKING:
    from kvmdbg.engine.vcpu_thread import VcpuThread

GENERAL = tuple(field[0] for field in abi.kvm_regs._fields_)
_SEGMENT = {
    "cs": "cs", "ds": "ds", "es": "es", "fs": "fs", "gs": "gs", "ss": "ss", "tr": "tr", "ldtr": "ldt",
}  # fmt: skip
_CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")


def _special(sregs: abi.kvm_sregs, name: str) -> int:
    """One of the registers in struct kvm_sregs."""
    if name in _SEGMENT:
        return int(getattr(sregs, _SEGMENT[name]).selector)
    stem, _, part = name.rpartition("_")
    if stem in _SEGMENT and part in ("base", "limit"):
        return int(getattr(getattr(sregs, _SEGMENT[stem]), part))
    if stem in ("gdtr", "idtr"):
        return int(getattr(getattr(sregs, stem[:3]), part))
    return int(getattr(sregs, name))


class RegisterFile(InNotebooks):
    """Registers of one vCPU: ``regs["rax"]``, ``regs.rax``, ``regs.get("ax")``, and the same for setting.

    Values are unsigned integers. ``pc`` is the linear address of the next
    instruction (CS base + rip); ``sp`` and ``fp`` are rsp and rbp at the mode's width.
    """

    __slots__ = ("_before", "_runner")
    _before: tuple[abi.kvm_regs, abi.kvm_sregs] | None
    _runner: VcpuThread

    def __init__(self, runner: VcpuThread) -> None:
        object.__setattr__(self, "_runner", runner)
        object.__setattr__(self, "_before", None)

    # --- storage -----------------------------------------------------------------------------------

    def _load(self, name: str) -> int:
        runner: VcpuThread = self._runner
        runner.require_stopped()
        if name in GENERAL:
            return int(getattr(runner.vcpu.regs, name))
        if name.startswith("dr"):
            debug = runner.call(runner.vcpu.get_debugregs)
            return int(getattr(debug, name)) if name in ("dr6", "dr7") else int(debug.db[int(name[2:])])
        return _special(runner.sregs, name)

    def _store(self, name: str, value: int) -> None:
        runner: VcpuThread = self._runner
        if name in GENERAL:
            before = runner.pc if name == "rip" else 0
            runner.set_general(name, value)
            if name == "rip":
                runner.unreported.moved(before, runner.pc)
            return
        if name.startswith("dr"):
            debug = runner.call(runner.vcpu.get_debugregs)
            if name in ("dr6", "dr7"):
                setattr(debug, name, value)
            else:
                debug.db[int(name[2:])] = value
            runner.call(lambda: runner.vcpu.set_debugregs(debug))
            runner.forget()
            return
        sregs = abi.kvm_sregs.from_buffer_copy(runner.sregs)
        stem, _, part = name.rpartition("_")
        if name in _SEGMENT:
            segment: Any = getattr(sregs, _SEGMENT[name])
            segment.selector = value
            if runner.mode.segmented:
                segment.base = value << 4
        elif stem in _SEGMENT:
            setattr(getattr(sregs, _SEGMENT[stem]), part, value)
        elif stem in ("gdtr", "idtr"):
            setattr(getattr(sregs, stem[:3]), part, value)
        else:
            setattr(sregs, name, value)
        runner.set_sregs(sregs)

    # --- access by name ----------------------------------------------------------------------------

    def _pseudo(self, name: str) -> str:
        bits = self._runner.mode.bits
        stem = {"sp": "sp", "fp": "bp"}[name]
        return {16: stem, 32: "e" + stem, 64: "r" + stem}[bits]

    def get(self, name: str) -> int:
        """The register's value; UsageError for a name that is none."""
        name = name.lower()
        if name == "pc":
            return self._runner.pc
        if name in ("sp", "fp"):
            name = self._pseudo(name)
        register = names.lookup(name)
        if register is None:
            raise UsageError(f"no register {name!r}")
        return names.extract(register, self._load(register.parent))

    def set(self, name: str, value: int) -> None:
        """Write a register. In real mode a selector takes its base along; ``pc`` is mapped back through CS."""
        name = name.lower()
        self._runner.require_stopped()
        if name == "pc":
            base = self._runner.cs_base
            offset = value - base
            limit = (1 << 64) if self._runner.mode.bits == 64 else (1 << 32)
            if not 0 <= offset < limit or (self._runner.mode.segmented and offset > 0xFFFF):
                raise UsageError(
                    f"linear address {value:#x} cannot be reached from CS base {base:#x}: set $cs and $rip"
                )
            name, value = "rip", offset
        elif name in ("sp", "fp"):
            name = self._pseudo(name)
        register = names.lookup(name)
        if register is None:
            raise UsageError(f"no register {name!r}")
        if not register.writable:
            raise UsageError(f"register {name} cannot be written")
        value &= (1 << register.bits) - 1
        self._store(register.parent, names.insert(register, self._load(register.parent), value))

    def behind(self, name: str) -> dict[str, int]:
        """The whole registers that ``set(name, …)`` may change, with their values; for ``put_back``."""
        name = {"pc": "rip"}.get(name, name)
        register = names.lookup(self._pseudo(name) if name in ("sp", "fp") else name)
        if register is None:
            return {}
        found = {register.parent: self._load(register.parent)}
        if register.parent in _SEGMENT:
            found[f"{register.parent}_base"] = self._load(f"{register.parent}_base")
        return found

    def put_back(self, values: dict[str, int]) -> None:
        """Make registers what they were at ``behind``."""
        for name, value in values.items():
            self._store(name, value)

    __getitem__ = get
    __setitem__ = set

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.get(name)
        except UsageError as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: int) -> None:
        self.set(name, value)

    # --- the whole ---------------------------------------------------------------------------------

    def _now(self) -> tuple[abi.kvm_regs, abi.kvm_sregs]:
        runner: VcpuThread = self._runner
        runner.require_stopped()
        return abi.kvm_regs.from_buffer_copy(runner.vcpu.regs), runner.sregs

    def general(self) -> dict[str, int]:
        """General registers, rip and rflags by their full names."""
        self._runner.require_stopped()
        return {name: int(getattr(self._runner.vcpu.regs, name)) for name in GENERAL}

    def snapshot(self) -> dict[str, int]:
        """General registers, rip, rflags, selectors and control registers by their full names."""
        return values_of(*self._now())

    def remember(self) -> None:
        """Keep the values that ``changed`` compares with; the session does so at each resume."""
        object.__setattr__(self, "_before", self._now())

    def changed(self) -> builtins.set[str]:
        """Names (of ``snapshot``) whose value is not what it was before the last resume."""
        if self._before is None:
            return builtins.set()
        now = self.snapshot()
        return {name for name, value in values_of(*self._before).items() if now[name] != value}


def values_of(regs: abi.kvm_regs, sregs: abi.kvm_sregs) -> dict[str, int]:
    """General registers, rip, rflags, selectors and control registers by their full names."""
    values = {name: int(getattr(regs, name)) for name in GENERAL}
    return values | {name: _special(sregs, name) for name in (*_SEGMENT, *_CONTROL)}
