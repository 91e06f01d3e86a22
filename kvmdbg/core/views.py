"""What a stopped guest looks like: memory by linear and physical address, and one vCPU.

Reads never show a trap of the debugger's, also not while the guest runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.core.registers import RegisterFile
from kvmdbg.errors import MemoryFault
from kvmdbg.kvm.abi import KVM_MP_STATE_HALTED, KVM_MP_STATE_NAMES
from kvmdbg.x86.modes import Mode

if TYPE_CHECKING:
    from kvmdbg.core.runner import Runner
    from kvmdbg.core.session import Session

PAGE = 4096


class PhysicalMemory:
    """Guest-physical memory: ``read``, ``write``, and ``memory[a:b]``."""

    space = "physical"

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes; MemoryFault names the first address that is not there."""
        return self._session.traps.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self._session.traps.write(address, data)

    def __getitem__(self, key: int | slice) -> bytes:
        if isinstance(key, slice):
            if key.start is None or key.stop is None or key.step is not None:
                raise MemoryFault(0, "read", self.space, "a slice of memory needs a start and an end")
            return self.read(key.start, key.stop - key.start)
        return self.read(key, 1)

    def __setitem__(self, key: int | slice, data: bytes | int) -> None:
        start = key.start if isinstance(key, slice) else key
        raw = bytes((data,)) if isinstance(data, int) else bytes(data)
        if isinstance(key, slice) and key.stop is not None and len(raw) != key.stop - start:
            raise MemoryFault(start, "write", self.space, f"{len(raw)} bytes do not fill {key.stop - start}")
        self.write(start, raw)


class LinearMemory(PhysicalMemory):
    """Memory as the paging of one vCPU shows it: the current one unless ``runner`` is given."""

    space = "linear"

    def __init__(self, session: Session, runner: Runner | None = None) -> None:
        super().__init__(session)
        self._runner = runner

    def read(self, address: int, size: int) -> bytes:
        return self._session.read_linear(self._runner or self._session.runner, address, size)

    def write(self, address: int, data: bytes) -> None:
        self._session.write_linear(self._runner or self._session.runner, address, data)


class VcpuView:
    """One vCPU as its user sees it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.index = runner.index
        self.registers = RegisterFile(runner)

    @property
    def mode(self) -> Mode:
        return self._runner.mode

    @property
    def pc(self) -> int:
        """Linear address of the next instruction."""
        return self._runner.pc

    @property
    def cs_ip(self) -> tuple[int, int]:
        """CS selector and raw instruction pointer."""
        return int(self._runner.sregs.cs.selector), int(self._runner.vcpu.regs.rip)

    @property
    def cpl(self) -> int:
        return self._runner.cpl

    @property
    def stack(self) -> int:
        """Linear address of the top of the stack."""
        return self._runner.stack_pointer

    @property
    def halted(self) -> bool:
        """Whether the stopped vCPU waits for an interrupt, in a hlt that has not ended."""
        return self._runner.call(self._runner.vcpu.get_mp_state) == KVM_MP_STATE_HALTED

    @property
    def state(self) -> str:
        """ "running", or what KVM's MP state says of a stopped vCPU ("runnable", "halted", "uninitialized …")."""
        if self._runner.in_guest:
            return "running"
        state = self._runner.call(self._runner.vcpu.get_mp_state)
        return KVM_MP_STATE_NAMES.get(state, f"mp state {state}")
