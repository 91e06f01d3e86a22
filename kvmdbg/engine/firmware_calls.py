"""A call of the BIOS, as the engine sees it: an access to what is outside of the guest, and who makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvmdbg.engine.events import BiosEvent
from kvmdbg.engine.hook_calls import SWALLOW
from kvmdbg.machine.bus import GuestEnd, attempt
from kvmdbg.x86.modes import CR0_PG

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.guest import Guest
    from kvmdbg.firmware.bios import Bios
    from kvmdbg.kvm import abi


class VcpuCaller:
    """The vCPU that ``at`` is the thread of, as firmware sees it."""

    __slots__ = ("_at", "_guest", "_paged", "_traps", "regs", "sregs", "writes")

    def __init__(self, at: DebuggedVcpu, guest: Guest) -> None:
        self._at = at
        self._guest = guest
        self._traps = guest.traps
        self.regs: abi.kvm_regs = at.vcpu.regs
        self.begin()

    def begin(self) -> None:
        """Another call."""
        self.sregs: abi.kvm_sregs = self._at.sregs
        self._paged = bool(self.sregs.cr0 & CR0_PG)
        self.writes: list[tuple[int, int]] = []
        """Linear address and size of what the service has written."""

    @property
    def takes_interrupts(self) -> bool:
        return not self._at.stepping or self._at.lets_interrupts_in

    def set_sregs(self, sregs: abi.kvm_sregs) -> None:
        self._at.set_sregs(sregs)
        self.sregs = sregs

    def changed(self) -> None:
        self._at.vcpu.write_regs()

    def read(self, address: int, size: int) -> bytes:
        if self._paged:
            return self._guest.space.read_linear(self._at, address, size)
        return self._traps.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self.writes.append((address, len(data)))
        if self._paged:
            self._guest.space.write_linear(self._at, address, data)
        else:
            self._traps.write(address, data)

    def write_physical(self, address: int, data: bytes) -> None:
        self._traps.write(address, data)


class BiosCall:
    """An access: the call ``number`` (an interrupt, or what ``rom.CALLS`` has besides)."""

    __slots__ = ("_caller", "bios", "event", "number")

    kind = "bios"
    writes = of_device = is_exit = True

    def __init__(self, bios: Bios, caller: VcpuCaller, number: int) -> None:
        self.bios = bios
        self.number = number
        self._caller = caller
        ax = int(caller.regs.rax) & 0xFFFF
        self.event = BiosEvent(number, ax >> 8, ax, bios.words(caller.regs, number))

    @property
    def value(self) -> int:
        """What the log has as written: interrupt and function."""
        return self.number << 8 | self.event.function

    @property
    def name(self) -> str:
        return f"BIOS call {self.number:#x}"

    def exit(self, value: Any) -> BiosEvent:
        return self.event

    def given(self, answer: Any) -> Any:
        return self.value if answer is SWALLOW else answer

    def ask(self, at: DebuggedVcpu) -> Any:
        raise AssertionError("it is a write")

    def tell(self, at: DebuggedVcpu, value: Any) -> GuestEnd | None:
        before, at.called = at.called, "the BIOS"
        try:
            return attempt(self.bios, self.bios.call, self._caller)
        finally:
            at.called = before
