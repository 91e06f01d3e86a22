"""The x86 state beside the registers: descriptor tables, MSRs, FPU, CPUID, events, interrupt controllers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from kvmdbg.devices.pic import Pic
from kvmdbg.devices.pit import Pit
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.kvm import abi
from kvmdbg.masks import LOW64
from kvmdbg.record import record
from kvmdbg.x86 import cpuid, descriptors, gates
from kvmdbg.x86.descriptors import Gate
from kvmdbg.x86.modes import EFER_LMA
from kvmdbg.x86.xsave import SSE, XsaveArea

if TYPE_CHECKING:
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.engine.vcpu_thread import VcpuThread
    from kvmdbg.machine.machine import Machine

D = TypeVar("D")
MOST_DESCRIPTORS = 8192
LAST_MSR = 0xFFFF_FFFF


@record
class TableEntry:
    """One descriptor of a GDT or LDT: ``index`` in the table, and what is wrong with it."""

    index: int
    selector: int
    address: int
    segment: descriptors.Segment
    problems: tuple[str, ...]


@record
class Handler:
    """One entry of the IDT or the real-mode table: where it leads, in words, and what is wrong with it."""

    vector: int
    address: int
    target: int | None
    text: str
    problems: tuple[str, ...]


class State:
    """That of the vCPU which ``of`` gives with its machine's inspection, when it rests."""

    def __init__(self, of: Callable[[], tuple[Inspection, VcpuThread]]) -> None:
        self._of = of

    @property
    def _vcpu(self) -> VcpuThread:
        return self._of()[1]

    @property
    def _machine(self) -> Machine:
        return self._of()[0].machine

    def _read(self, linear: int, size: int) -> bytes:
        space, vcpu = self._of()
        return space.read_linear(vcpu, linear, size)

    @property
    def ia32e(self) -> bool:
        return bool(self._vcpu.sregs.efer & EFER_LMA)

    @property
    def has_ldt(self) -> bool:
        ldt = self._vcpu.sregs.ldt
        return not ldt.unusable and bool(ldt.present) and bool(ldt.selector & ~3)

    @property
    def has_tss(self) -> bool:
        tr = self._vcpu.sregs.tr
        loaded = not tr.unusable and bool(tr.present) and bool(tr.selector & ~3)
        return loaded and tr.type in descriptors.TSS_TYPES

    # --- descriptor tables -------------------------------------------------------------------------

    def descriptors(self, table: str) -> list[TableEntry]:
        """The entries of the "gdt" or "ldt". MemoryFault where it is not mapped, UsageError where there is none."""
        sregs = self._vcpu.sregs
        if table == "ldt" and not self.has_ldt:
            raise UsageError("there is no LDT: LDTR holds a null selector")
        where = sregs.gdt if table == "gdt" else sregs.ldt
        found: list[TableEntry] = []
        count = min((where.limit + 1) // 8, MOST_DESCRIPTORS)
        data = self._mapped(where.base, count * 8)
        index = 0
        while index < len(data) // 8:
            raw = int.from_bytes(data[index * 8 : index * 8 + 8], "little")
            wide = not raw >> 44 & 1 and raw and self.ia32e and index + 1 < len(data) // 8
            if wide:
                raw = int.from_bytes(data[index * 8 : index * 8 + 16], "little")
            segment = descriptors.segment(raw)
            problems = tuple(descriptors.problems(segment, ia32e=self.ia32e))
            selector = index * 8 | (4 if table == "ldt" else 0)
            found.append(TableEntry(index, selector, where.base + index * 8, segment, problems))
            index += 2 if wide else 1
        return found

    def _mapped(self, address: int, size: int) -> bytes:
        """As much of this range as can be read from its start on; MemoryFault when nothing can."""
        data = b""
        while len(data) < size:
            length = min(size - len(data), 4096 - (address + len(data)) % 4096)
            try:
                data += self._read(address + len(data), length)
            except MemoryFault:
                if not data and size:
                    raise
                break
        return data

    def handlers(self) -> list[Handler]:
        """The entries of the IDT, or of the table of real mode, that are not zero."""
        runner = self._vcpu
        idt, mode = runner.sregs.idt, runner.mode
        size = gates.gate_size(mode)
        data = self._mapped(idt.base, min(idt.limit + 1, 256 * size) // size * size)
        found = []
        for vector in range(len(data) // size):
            raw = int.from_bytes(data[vector * size : (vector + 1) * size], "little")
            if not raw:
                continue
            address = idt.base + vector * size
            if size == 4:
                segment, offset = raw >> 16, raw & 0xFFFF
                text = f"{segment:04x}:{offset:04x}"
                found.append(Handler(vector, address, segment * 16 + offset, text, ()))
                continue
            gate = descriptors.gate(raw, size)
            found.append(Handler(vector, address, gate.offset, gate.describe(), tuple(self._gate_problems(gate))))
        return found

    def _gate_problems(self, gate: Gate) -> Iterator[str]:
        from kvmdbg.x86 import faults

        space, runner = self._of()
        state = faults.State(runner.vcpu.regs, runner.sregs, space.physical.read, space.machine.paging_limits)
        if gate.is_malformed or (self.ia32e and gate.type not in (14, 15)):
            yield f"type {gate.type:#x} is none of a gate"
            return
        if not gate.present:
            yield "not present"
        target = faults.descriptor(state, gate.selector) if gate.selector & ~3 else "it is the null selector"
        if isinstance(target, str):
            yield f"selector {gate.selector:#x}: {target}"
        elif not target.is_code:
            yield f"selector {gate.selector:#x} is no code segment"
        elif self.ia32e and (not target.l or target.db):
            yield f"selector {gate.selector:#x} is no 64-bit code"
        if self.ia32e and not faults.canonical(gate.offset, runner.sregs.cr4):
            yield "its address is not canonical"

    def tss(self) -> dict[str, int]:
        """The fields of the task state segment that matter, by their names in the SDM. UsageError where there is none.

        Source: Intel SDM volume 3A, figures 7-2 (32-bit) and 7-11 (64-bit).
        """
        tr = self._vcpu.sregs.tr
        if not self.has_tss:
            raise UsageError("TR holds no TSS")
        if tr.type in (1, 3):
            fields = {"sp0": (2, 2), "ss0": (4, 2), "sp1": (6, 2), "ss1": (8, 2), "ip": (14, 2), "flags": (16, 2)}
        elif self.ia32e:
            fields = {f"rsp{n}": (4 + 8 * n, 8) for n in range(3)} | {f"ist{n}": (28 + 8 * n, 8) for n in range(1, 8)}
            fields["iomap"] = (102, 2)
        else:
            fields = {"esp0": (4, 4), "ss0": (8, 2), "esp1": (12, 4), "ss1": (16, 2), "cr3": (28, 4), "eip": (32, 4),
                      "eflags": (36, 4), "ldt": (96, 2), "iomap": (102, 2)}  # fmt: skip
        data = self._mapped(tr.base, min(tr.limit + 1, 0x68))
        return {
            name: int.from_bytes(data[at : at + size], "little")
            for name, (at, size) in fields.items()
            if at + size <= len(data)
        }

    # --- MSRs, CPUID -------------------------------------------------------------------------------

    def msr(self, index: int) -> int:
        """An MSR of the current vCPU; UsageError where it has none of that index."""
        runner = self._vcpu
        runner.require_stopped()
        value = runner.call(lambda: runner.vcpu.get_msr(index)) if 0 <= index <= LAST_MSR else None
        if value is None:
            raise UsageError(f"this vCPU has no MSR {index:#x}")
        return value

    def set_msr(self, index: int, value: int) -> None:
        """Write an MSR; UsageError where the vCPU refuses the value."""
        runner = self._vcpu
        runner.require_stopped()
        taken = 0 <= index <= LAST_MSR and runner.call(lambda: runner.vcpu.set_msr(index, value & LOW64))
        if not taken:
            self.msr(index)
            raise UsageError(f"the vCPU does not take {value:#x} for MSR {index:#x}")
        runner.forget()

    def cpuid(self) -> list[tuple[int, int, dict[str, int], list[str]]]:
        """What the guest's CPUID gives: leaf, sub-leaf, the four registers, the features set in them."""
        runner = self._vcpu
        table = runner.call(runner.vcpu.get_cpuid)
        found = []
        for one in table.entries[: table.nent]:
            values = {name: int(getattr(one, name)) for name in ("eax", "ebx", "ecx", "edx")}
            names = [word for reg, value in values.items() for word in cpuid.names(one.function, one.index, reg, value)]
            found.append((int(one.function), int(one.index), values, names))
        return sorted(found, key=lambda row: row[:2])

    @property
    def has_avx(self) -> bool:
        """Whether the vCPU has YMM registers (CPUID leaf 1, ECX bit 28)."""
        runner = self._vcpu
        table = runner.call(runner.vcpu.get_cpuid)
        return any(one.function == 1 and one.ecx >> 28 & 1 for one in table.entries[: table.nent])

    # --- floating point ----------------------------------------------------------------------------

    def fpu(self) -> XsaveArea:
        """The x87 and SSE state."""
        runner = self._vcpu
        runner.require_stopped()
        return XsaveArea.from_buffer_copy(runner.call(runner.vcpu.get_xsave))

    def vectors(self) -> list[bytes]:
        """XMM0 to XMM15 (16 bytes each), or YMM (32) where the vCPU has AVX."""
        area = self.fpu()
        low = [bytes(area.xmm[n]) for n in range(16)]
        if not self.has_avx:
            return low
        return [half + area.ymm_high(n) for n, half in enumerate(low)]

    def set_vector(self, number: int, data: bytes) -> None:
        """Write an XMM register."""
        runner = self._vcpu
        area = self.fpu()
        area.xmm[number][:] = data
        area.xstate_bv |= SSE
        runner.call(lambda: runner.vcpu.set_xsave(abi.kvm_xsave.from_buffer_copy(area)))

    # --- events ------------------------------------------------------------------------------------

    def events(self) -> dict[str, str]:
        """What is about to be delivered, or held back (struct kvm_vcpu_events), in words."""
        from kvmdbg.engine.events import vector_name

        runner = self._vcpu
        runner.require_stopped()
        one: Any = runner.call(runner.vcpu.get_events)
        exception = "none"
        if one.exception.injected or one.exception.pending:
            exception = f"{vector_name(one.exception.nr)} {'injected' if one.exception.injected else 'pending'}"
            if one.exception.has_error_code:
                exception += f", error code {one.exception.error_code:#x}"
        interrupt = "none"
        if one.interrupt.injected:
            interrupt = f"vector {one.interrupt.nr:#x}{' (INT instruction)' if one.interrupt.soft else ''}"
        nmi = [word for word, on in (("injected", one.nmi.injected), ("pending", one.nmi.pending)) if on] or ["none"]
        enabled = bool(runner.vcpu.regs.rflags & 1 << 9)
        shadow = {0: "", 1: "after mov ss", 2: "after sti"}.get(one.interrupt.shadow, "")
        window = "open" if enabled and not shadow else f"closed ({shadow or 'EFLAGS.IF is clear'})"
        return {
            "exception": exception, "interrupt": interrupt,
            "nmi": ", ".join(nmi) + (" (masked)" if one.nmi.masked else ""), "interrupt window": window,
            "triple fault": "pending" if one.triple_fault_pending else "none",
        }  # fmt: skip

    # --- interrupt controllers ---------------------------------------------------------------------

    def _needs_irqchip(self) -> None:
        if not self._machine.irqchip:
            raise UsageError("this guest has no interrupt controllers of KVM's: start it with --irqchip")

    def _own(self, kind: type[D]) -> D | None:
        """The machine's own device of this kind; None where it is KVM's."""
        found = next((one for one in self._machine.bus.devices if isinstance(one, kind)), None)
        if found is None and not self._machine.irqchip:
            raise UsageError("this guest has no interrupt controllers: start it with --irqchip kernel or user")
        return found

    def pic(self) -> dict[str, dict[str, int]]:
        """Registers of the two 8259s (those of struct kvm_pic_state)."""
        own = self._own(Pic)
        if own is not None:
            return own.registers()
        names = ("last_irr", "irr", "imr", "isr", "priority_add", "irq_base")
        vm = self._machine.vm
        return {
            word: dict(zip(names, bytes(vm.get_irqchip(chip).chip)[:6], strict=True))
            for chip, word in enumerate(("master", "slave"))
        }

    def ioapic(self) -> list[int]:
        """The 24 redirection entries of the IOAPIC (struct kvm_ioapic_state)."""
        self._needs_irqchip()
        raw = bytes(self._machine.vm.get_irqchip(2).chip)
        return [int.from_bytes(raw[24 + 8 * n : 32 + 8 * n], "little") for n in range(24)]

    def lapic(self) -> dict[str, int]:
        """Registers of the current vCPU's local APIC (Intel SDM volume 3A, table 10-1)."""
        self._needs_irqchip()
        runner = self._vcpu
        raw = bytes(runner.call(runner.vcpu.get_lapic).regs)
        places = {
            "id": 0x20, "version": 0x30, "tpr": 0x80, "ppr": 0xA0, "ldr": 0xD0, "dfr": 0xE0, "svr": 0xF0, "esr": 0x280,
            "icr low": 0x300, "icr high": 0x310, "lvt timer": 0x320, "lvt thermal": 0x330, "lvt perf": 0x340,
            "lvt lint0": 0x350, "lvt lint1": 0x360, "lvt error": 0x370, "initial count": 0x380, "current count": 0x390,
            "divide": 0x3E0,
        }  # fmt: skip
        found = {name: int.from_bytes(raw[at : at + 4], "little") for name, at in places.items()}
        for name, start in (("isr", 0x100), ("irr", 0x200)):
            words = [int.from_bytes(raw[start + 16 * n : start + 16 * n + 4], "little") for n in range(8)]
            found[name] = sum(word << 32 * n for n, word in enumerate(words))
        return found

    def pit(self) -> list[dict[str, int]]:
        """The three channels of the timer (of struct kvm_pit_channel_state what there is)."""
        own = self._own(Pit)
        if own is not None:
            return own.registers()
        raw = bytes(self._machine.vm.get_pit().channels)
        names = ("count_latched", "status_latched", "status", "read_state", "write_state", "write_latch", "rw_mode",
                 "mode", "bcd", "gate")  # fmt: skip
        channels = []
        for n in range(3):
            one = raw[24 * n : 24 * n + 24]
            values = {"count": int.from_bytes(one[:4], "little"), "latched": int.from_bytes(one[4:6], "little")}
            channels.append(values | dict(zip(names, one[6:16], strict=True)))
        return channels
