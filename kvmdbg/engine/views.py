"""What a stopped guest looks like: memory by linear and physical address, and one vCPU.

Reads never show a trap of the debugger's, also not while the guest runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, overload

from kvmdbg.engine.registers import RegisterFile
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.kvm.abi import KVM_MP_STATE_HALTED, KVM_MP_STATE_NAMES
from kvmdbg.x86.modes import Mode

if TYPE_CHECKING:
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.engine.traps import Traps
    from kvmdbg.engine.vcpu_thread import VcpuThread

PAGE = 4096


class Memory:
    """``read``, ``write``, and ``memory[a:b]``."""

    space: str

    def read(self, address: int, size: int) -> bytes:
        raise NotImplementedError

    def write(self, address: int, data: bytes) -> None:
        raise NotImplementedError

    @overload
    def __getitem__(self, key: int) -> int: ...

    @overload
    def __getitem__(self, key: slice) -> bytes: ...

    def __getitem__(self, key: int | slice) -> int | bytes:
        """The byte at an address as a number; the bytes of a slice, which needs a start and an end."""
        if isinstance(key, slice):
            return self.read(key.start, _length(key))
        return self.read(key, 1)[0]

    def __setitem__(self, key: int | slice, data: bytes | int) -> None:
        """Write bytes, at an address or filling a slice; or one, as a number."""
        if isinstance(data, int) and not 0 <= data < 256:
            raise UsageError(f"{data} is no byte")
        raw = bytes((data,)) if isinstance(data, int) else bytes(data)
        if isinstance(key, slice):
            if len(raw) != _length(key):
                raise MemoryFault(key.start, "write", self.space, f"{len(raw)} bytes do not fill {_length(key)}")
            self.write(key.start, raw)
        else:
            self.write(key, raw)


class PhysicalMemory(Memory):
    """Guest-physical memory: ``read``, ``write``, and ``memory[a:b]``."""

    space = "physical"

    def __init__(self, traps: Callable[[], Traps]) -> None:
        self._traps = traps

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes; MemoryFault names the first address that is not there."""
        return self._traps().read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self._traps().write(address, data)


def _length(part: slice) -> int:
    """Bytes of a slice of memory. UsageError for one that has no start, no end or a step."""
    if part.start is None or part.stop is None or part.step is not None or part.stop < part.start:
        raise UsageError("a slice of memory needs a start and an end behind it, as in memory[0x7c00:0x7e00]")
    return int(part.stop - part.start)


class LinearMemory(Memory):
    """Memory as the paging of one vCPU shows it: ``of`` gives the memory's inspection and the vCPU that is meant."""

    space = "linear"

    def __init__(self, of: Callable[[], tuple[Inspection, VcpuThread]]) -> None:
        self._of = of

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes; MemoryFault names the first address that is not there."""
        space, runner = self._of()
        return space.read_linear(runner, address, size)

    def write(self, address: int, data: bytes) -> None:
        space, runner = self._of()
        space.write_linear(runner, address, data)


class VcpuView:
    """One vCPU as its user sees it."""

    def __init__(self, runner: VcpuThread, memory: LinearMemory) -> None:
        self._runner = runner
        self.memory = memory
        """What this vCPU sees."""
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
        return self._runner.call(self._runner.mp_state) == KVM_MP_STATE_HALTED

    @property
    def state(self) -> str:
        """ "running", or what KVM's MP state says of a stopped vCPU ("runnable", "halted", "uninitialized …")."""
        if self._runner.runs_guest:
            return "running"
        state = self._runner.call(self._runner.mp_state)
        return KVM_MP_STATE_NAMES.get(state, f"mp state {state}")
