"""What a guest gets for the exits with which it asks: ports, MSRs, hypercalls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.coalescing import OFTEN
from kvmdbg.engine.exit_loop import ExitLoop
from kvmdbg.engine.firmware_calls import BiosCall, VcpuCaller
from kvmdbg.engine.outside import Mmio, Msr, Outcome, PortEntry, answer_string
from kvmdbg.errors import DeviceFailure
from kvmdbg.kvm import exits
from kvmdbg.machine.bus import GuestEnd, attempt
from kvmdbg.machine.layout import HPET, IOAPIC, LAPIC, PAGE
from kvmdbg.record import replace

if TYPE_CHECKING:
    from kvmdbg.firmware.bios import Bios

ONE_ITEM = (0,)
"""Where the items of an access begin that has one."""
MOST_PLACES = 10_000
"""Of how many addresses accesses are counted apart."""
MISSING = {LAPIC: "local APIC", IOAPIC: "IOAPIC", HPET: "HPET"}
"""By page: what a guest looks for there, and runs wild or waits for ever without."""


class Answering(ExitLoop):
    """Answers through the guest's door, item by item."""

    ports: dict[int, PortEntry]
    """Every way in which the guest has touched a port, by ``Cpu.io_key``."""
    bios_caller: VcpuCaller | None = None

    _told_of_rom = False
    mmio_counts: dict[tuple[str, int], int]
    """Accesses to guest-physical addresses without memory, by ("read" or "write", address)."""
    unclaimed_mmio: dict[tuple[str, int], tuple[int, int | None]]
    """Accesses to addresses that nobody has, by ("read" or "write", address): bytes and instruction of the first."""

    def wrote_to_rom(self, address: int, size: int) -> None:
        """The last exit is a write to ROM: nothing happens, and the first time that is told."""
        if not self._told_of_rom:
            self._told_of_rom = True
            at = self.guest.space.site_of(self, exits.MmioExit("write", address, size, b""))
            where = f"the instruction at {at:#x}" if at is not None else "the guest"
            self.guest.listeners.tell_warning(
                f"{where} wrote to ROM ({size} byte{'s' if size > 1 else ''} at {address:#x}): such writes change "
                "nothing, and are not told again"
            )

    def count_mmio(self, access: Mmio) -> None:
        """The last exit is this access; the first to an address that nobody has is noted, one to an APIC told.

        Hooks that may answer stand for a device.
        """
        counts, key = self.mmio_counts, (access.word, access.address)
        if key in counts:
            counts[key] += 1
        elif len(counts) < MOST_PLACES:
            counts[key] = 1
            if not (self.guest.machine.bus.has_address(access.address) or self.guest.judge.looking("mmio", "before")):
                self.forget()
                at = self.guest.space.site_of(self, access.exit(0))
                self._tell_of_missing(access, at)
                self.unclaimed_mmio[key] = access.size, at

    def _tell_of_missing(self, access: Mmio, at: int | None) -> None:
        """That a guest looks for an interrupt controller or timer which is not there, once for each."""
        page = access.address & -PAGE
        if page in MISSING and all(address & -PAGE != page for _, address in self.unclaimed_mmio):
            where = f"the instruction at {at:#x}" if at is not None else "the guest"
            verb = "wrote to" if access.writes else "read"
            engine = "" if self.guest.host.has_kernel_irqchip else "--engine kvm "
            told = f"{where} {verb} {access.address:#x}: there is no {MISSING[page]}"
            self.guest.listeners.tell_warning(told if page == HPET else f"{told}; {engine}--irqchip kernel has one")

    def port_entry(self) -> PortEntry:
        """The entry for the last exit, of a port, made when it is the first of its kind."""
        key = self.vcpu.io_key
        entry = self.ports.get(key)
        if entry is None:
            entry = self.ports[key] = PortEntry(key, self.guest.machine.bus.port(key >> 16))
            self.watch_port(entry)
            if entry.device is None:
                self.forget()
                entry.first = self.guest.space.site_of(self, entry.exit(None))
        return entry

    def watch_port(self, entry: PortEntry) -> None:
        """Find out anew whether anybody looks at this port."""
        entry.observed = self.guest.door.observes_port(entry.port, entry.size)
        entry.quiet = entry.writes and not (entry.device or entry.observed or self.plan.holds_reads_in_registers)

    def serve_io(self, entry: PortEntry) -> stops.Stop | None:
        """Answer the last exit, of this port; each item of a string instruction is an access of its own."""
        if entry.serves_cpu and entry.writes:
            return self.serve_bios(entry)
        data, size, writes, observed = self.vcpu.io_data, entry.size, entry.writes, entry.observed
        count, at = len(data) // size, 0
        if entry.count == OFTEN and not observed and writes and entry.device is not None:
            self.guest.coalescing.collect_from(entry.port)
        end: Outcome = None
        asked: stops.Stop | None = None
        try:
            items: Sequence[int] = range(0, len(data), size) if count > 1 else ONE_ITEM
            if count > 1 and not observed and answer_string(entry, data):
                items = ()
            for at in items:
                if observed:
                    value = int.from_bytes(data[at : at + size], "little") if writes else None
                    value, outcome, stop = self.guest.door.serve(self, entry, value)
                    if not writes:
                        data[at : at + size] = value.to_bytes(size, "little")
                    end, asked = outcome or end, asked or stop
                elif writes:
                    end = entry.tell(self, int.from_bytes(data[at : at + size], "little")) or end
                else:
                    data[at : at + size] = entry.answer()
        except DeviceFailure as error:
            if not writes:
                data[at:] = b"\xff" * (len(data) - at)
            return self.device_failed(error, exits.IoExit(entry.word, entry.port, size, count, b""))
        touched = None
        if self.plan.debug_registers:
            touched = self.guards.of_output(data, count) if writes else self.guards.of_input(count)
        if not observed:
            return self.ended(end) if isinstance(end, GuestEnd) else touched
        told = end is not None or asked is not None or self._postponed is not None or self.guest.listeners.exit
        if count == 1 and not told:
            return touched
        whole = exits.IoExit(entry.word, entry.port, size, count, bytes(data))
        if count > 1 and isinstance(asked, stops.CaughtStop):
            asked = replace(asked, exit=whole)
        return self.after_access(whole, end, asked) or touched

    def serve_bios(self, entry: PortEntry) -> stops.Stop | None:
        """The code of the BIOS has asked for a service: it is done as an access of its own."""
        bios: Bios = entry.device  # type: ignore[assignment]
        caller = self.bios_caller
        if caller is None:
            caller = self.bios_caller = VcpuCaller(self, self.guest)
        else:
            caller.begin()
        points = self.guest.judge.points.watchpoints()
        values = self.guards.values_of(points) if points else None
        try:
            stop = self._call_bios(bios, caller)
        except DeviceFailure as error:
            self.complete()
            return self.stop(stops.ErrorStop, message=f"device {error.device} failed at a call: {error.what}")
        touched = self.guards.of_service(caller.writes, values) if values and stop is None else None
        return stop or touched

    def _call_bios(self, bios: Bios, caller: VcpuCaller) -> stops.Stop | None:
        if not self.guest.judge.observed:
            ended = attempt(bios, bios.call, caller)
            return None if ended is None else self.ended(ended)
        number = bios.number(caller)
        if number is None:
            return None
        access = BiosCall(bios, caller, number)
        _, end, asked = self.guest.door.serve(self, access, access.value)
        return self.after_access(access.event, end, asked)

    def after_access(self, exit: exits.Exit, outcome: Outcome, asked: stops.Stop | None) -> stops.Stop | None:
        """Behind an access that has passed the door: the stop that it leads to, its instruction done."""
        self.guest.listeners.tell_exit(exit)
        if self._postponed is not None:
            stop = self.complete()
            self.make_changes()
            if stop is not None:
                return stop
        if isinstance(outcome, GuestEnd):
            return self.ended(outcome)
        return None if asked is None else self.complete() or replace(asked, pc=self.pc)

    def device_failed(self, error: DeviceFailure, exit: exits.IoExit | exits.MmioExit) -> stops.Stop:
        """The stop for a device of somebody's that cannot serve this access, behind its instruction."""
        at = self.guest.space.site_of(self, exit)
        where = f"port {exit.port:#x}" if isinstance(exit, exits.IoExit) else f"the MMIO address {exit.address:#x}"
        verb = "wrote to" if exit.direction in ("out", "write") else "read"
        self.complete()
        message = f"device {error.device} failed when the instruction at {at:#x} {verb} {where}: {error.what}"
        return self.stop(stops.ErrorStop, message=message)

    def ended(self, end: GuestEnd) -> stops.Stop:
        return self.complete() or self.stop(stops.ExitedStop, status=end.status, text=end.text)

    def _on_msr(self) -> stops.Stop | None:
        """RDMSR or WRMSR that a hook or catchpoint wants: done as KVM would have, unless a hook answers.

        One that KVM gives us for another reason is refused (#GP).
        """
        exit = self.vcpu.exit()
        assert isinstance(exit, exits.MsrReadExit | exits.MsrWriteExit)
        access = Msr(exit.index, exit.reason, isinstance(exit, exits.MsrWriteExit))
        value, outcome, asked = self.guest.door.serve(self, access, exit.value)
        refused = outcome is not None if access.writes else value is None
        self.vcpu.answer_msr(None if refused else value)
        self.forget()
        return self.after_access(access.exit(value), outcome, asked)

    def _on_hypercall(self) -> None:
        self.vcpu.answer_hypercall((1 << 64) - 1000)  # -KVM_ENOSYS
