"""Named moments of the guest to go back to, and running variants from one of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.machine import snapshot
from kvmdbg.machine.memory import PAGE
from kvmdbg.printable import printable_name
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.core.differences import Differences
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.runner import Runner
    from kvmdbg.engine.stops import Stop
    from kvmdbg.engine.views import VcpuView

V = TypeVar("V")


class Owner(Protocol):
    """Whose guest it is."""

    runners: list[Runner]
    vcpu: VcpuView
    """The current one."""

    @property
    def guest(self) -> Guest: ...

    @property
    def output(self) -> bytes:
        """All that the guest has sent to its serial port."""

    def require_stopped(self) -> None:
        """SessionStateError while the guest runs or is dead."""

    def interrupt(self) -> Stop | None:
        """Stop the guest if it runs."""

    def note_restored(self, output: bytes) -> None:
        """Is told that the machine has an earlier state again, up to which the guest had sent ``output``."""


@record
class Snapshot:
    """A moment of the guest: ``pc`` linear, ``output`` the bytes of serial output up to there, ``made`` Unix time."""

    name: str
    state: snapshot.MachineState
    pc: int
    output: bytes
    made: float
    foreign: bool = False
    """It comes from a file, and KVM or a device may refuse what is in it."""

    def __repr__(self) -> str:
        return f"<Snapshot {self.name!r} at {self.pc:#x}, {self.size >> 10} KiB>"

    @property
    def size(self) -> int:
        """Bytes of memory that are not zero."""
        return len(self.state.pages) * PAGE


class Snapshots:
    """All snapshots by name: ``save``, ``restore``, ``delete``, ``write``, ``read``. ``image`` is the guest's file."""

    def __init__(self, owner: Owner, image: str) -> None:
        self._owner = owner
        self._image = image
        self._named: dict[str, Snapshot] = {}
        self.at_restore: list[Callable[[Snapshot], None]] = []
        """Called when ``restore`` has gone back to a moment."""

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(list(self._named.values()))

    def __len__(self) -> int:
        return len(self._named)

    def __getitem__(self, name: str) -> Snapshot:
        """The snapshot of that name; UsageError where there is none."""
        if name not in self._named:
            raise UsageError(f"there is no snapshot {name!r}; there are: {', '.join(self._named) or 'none'}")
        return self._named[name]

    def save(self, name: str) -> Snapshot:
        """Keep this moment under a name, in place of one that has it already."""
        found = self._named[name] = self.take(name)
        return found

    def add(self, one: Snapshot) -> None:
        """Add a moment that was taken, under its name."""
        self._named[one.name] = one

    def take(self, name: str = "") -> Snapshot:
        """This moment, without keeping it."""
        owner, guest = self._owner, self._owner.guest
        owner.require_stopped()
        machine = guest.machine
        vcpus = []
        for runner in owner.runners:
            runner.call(runner.vcpu.flush_regs)
            vcpus.append(runner.call(partial(snapshot.save_vcpu, runner.vcpu, guest.msrs, machine.irqchip)))
        pages, chips = guest.memory_history.save(), snapshot.save_chips(machine)
        state = snapshot.MachineState(pages, machine.memory.size, tuple(vcpus), chips, machine.bus.save())
        return Snapshot(name, state, owner.vcpu.pc, owner.output, time.time())

    def restore(self, wanted: str | Snapshot) -> Snapshot:
        """Go back to the moment of that name, or to one that ``take``, ``save`` or ``read`` gave."""
        found = wanted if isinstance(wanted, Snapshot) else self[wanted]
        self.put_back(found)
        for tell in self.at_restore:
            tell(found)
        return found

    def put_back(self, wanted: Snapshot) -> int:
        """Go back to a moment of this guest; how many pages of memory had to be written.

        Breakpoints, watchpoints and hooks stay as they are. UsageError where it is of a guest of another kind.
        """
        if not wanted.foreign:
            return self._put_back(wanted)
        here = self.take()
        try:
            return self._put_back(wanted)
        except KvmdbgError as error:
            self._put_back(here)
            raise UsageError(f"snapshot {wanted.name!r} cannot be restored: {error}") from None

    def _put_back(self, wanted: Snapshot) -> int:
        owner, guest = self._owner, self._owner.guest
        owner.require_stopped()
        machine, state = guest.machine, wanted.state
        snapshot.check_fits(state, machine)
        try:
            machine.bus.load(state.devices)
        except ValueError as error:
            raise UsageError(f"snapshot {wanted.name!r} does not fit this guest: {error}") from None
        written = guest.memory_history.restore(state.pages)
        snapshot.load_chips(machine, state.chips)
        for runner, vcpu in zip(owner.runners, state.vcpus, strict=True):
            runner.call(partial(self._load, runner, vcpu))
        owner.note_restored(wanted.output)
        return written

    def _load(self, runner: Runner, state: snapshot.VcpuState) -> None:
        """On the vCPU's thread; its special registers are fetched there, too: each visit of the thread takes long."""
        snapshot.load_vcpu(runner.vcpu, state, self._owner.guest.msrs)
        runner.vcpu.show_regs(state.regs)
        runner.start_anew()
        _ = runner.sregs

    def delete(self, name: str) -> None:
        """Forget the snapshot of that name."""
        del self._named[self[name].name]

    def write(self, name: str, path: str | os.PathLike[str]) -> None:
        """Put a snapshot into a file. LoadError."""
        found = self[name]
        about = {"name": found.name, "pc": found.pc, "output": found.output.hex(), "made": found.made}
        snapshot.write_file(os.fspath(path), found.state, about | {"image": self._image})

    def read(self, path: str | os.PathLike[str], name: str | None = None) -> Snapshot:
        """Take in the snapshot in a file, under its own name or another. LoadError when it is damaged."""
        state, about = snapshot.read_file(os.fspath(path), self._owner.guest.machine)
        output = bytes.fromhex(about["output"])
        found = Snapshot(name or printable_name(about["name"]), state, about["pc"], output, about["made"], foreign=True)
        self._named[found.name] = found
        return found

    def differences(self, before: str, after: str | None = None) -> Differences:
        """What differs between a snapshot and now, or a second snapshot. UsageError for a name that is none."""
        from kvmdbg.core.differences import between

        owner = self._owner
        first, second = self[before], self[after] if after is not None else self.take()
        return between(first.state, second.state, owner.vcpu.index, owner.guest.machine.paging_limits)

    def runs_from_here(self, variants: Iterable[V], run: Callable[[V], Stop]) -> Iterator[tuple[V, Stop]]:
        """``run`` for each variant, from this moment each time; after the last one it is this moment again."""
        here = self.take()
        try:
            for variant in variants:
                yield variant, run(variant)
                self._owner.interrupt()
                self.put_back(here)
        finally:
            self._owner.interrupt()
            self.put_back(here)
