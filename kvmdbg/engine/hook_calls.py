"""Calling a hook: what it is called with, what it may return, and what becomes of one that raises.

None observes; a value answers (for ``when="before"``: the value read, or written instead); ``SWALLOW`` keeps an access
from its device; ``Stop("why")`` stops the guest.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Point
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.registers import RegisterFile
    from kvmdbg.engine.views import LinearMemory, VcpuView
    from kvmdbg.kvm.exits import Exit
    from kvmdbg.x86.modes import Mode

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
ANSWERABLE = frozenset(("io", "mmio", "msr_read", "msr_write", "hypercall", "cpuid", "rdtsc", "bios"))


@record
class Stop:
    """What a hook returns to stop the guest, and why."""

    reason: str = "a hook asked for it"


class _Swallow:
    def __repr__(self) -> str:
        return "kvmdbg.SWALLOW"


SWALLOW = _Swallow()
"""What a hook returns to keep an access from its device: a write goes nowhere, a read gives all ones."""


class Event:
    """What a hook is called with: the exit (whose fields are this object's too) and the vCPU it happened on.

    ``dbg`` is the session, ``vcpu`` and ``regs`` the vCPU's, ``memory`` linear memory as this vCPU sees it, ``when``
    "before" or "after". While the function runs, the vCPU may be looked at and changed as at a stop.
    """

    answer: Any

    def __init__(self, dbg: Any, vcpu: VcpuView, exit: Exit, when: str, runner: DebuggedVcpu) -> None:
        self.dbg = dbg
        self.exit = exit
        self.when = when
        self.vcpu = vcpu
        self.answer = None
        self._runner = runner

    @property
    def kind(self) -> str:
        return self.exit.kind

    @property
    def regs(self) -> RegisterFile:
        return self.vcpu.registers

    @property
    def mode(self) -> Mode:
        return self.vcpu.mode

    @property
    def memory(self) -> LinearMemory:
        return self.vcpu.memory

    @property
    def pc(self) -> int:
        """Linear address of the instruction that did it, as well as that can be told; else of the next one."""
        return int(self.dbg.control.guest.space.site_of(self._runner, self.exit))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.exit, name)

    def __repr__(self) -> str:
        return f"<Event {self.exit.describe()} on vCPU {self.vcpu.index}>"


def call(point: Point, event: Event, runner: DebuggedVcpu) -> stops.Stop | None:
    """Call a hook; the stop it asks for. Its answer, if it gives one, is put into ``event.answer``.

    One that raises stops the guest with an account of where, and is disabled.
    """
    assert point.function is not None
    runner.called = f"hook {point.name}"
    try:
        result = point.function(event)
        if isinstance(result, stops.Stop) or result is None:
            return result
        if isinstance(result, Stop):
            text = f"{point.name}: {result.reason}" if point.name else result.reason
            return _stop(point, runner, text)
        if event.when != "before" or event.kind not in ANSWERABLE:
            when = "it is called after the fact" if event.when != "before" else f"nothing answers {event.kind}"
            raise UsageError(f"it returned {result!r}, but {when}: only hooks with when='before' may answer")
        event.answer = result
        return None
    except KeyboardInterrupt:  # as after Ctrl-C; the hook is kept
        return runner.stop(stops.InterruptedStop)
    except (Exception, SystemExit) as error:
        point.enabled = False
        return _stop(point, runner, failure(point, error), failed=True)
    finally:
        runner.called = None


def _stop(point: Point, runner: DebuggedVcpu, text: str, *, failed: bool = False) -> stops.Stop:
    return stops.HookStop(vcpu=runner.index, pc=runner.pc, hits=(point,), message=text, failed=failed)


def failure(point: Point, error: Exception | SystemExit) -> str:
    """What is said of a hook that raised."""
    return f"hook {point.name} failed and is now disabled: {_account(error)}"


def _account(error: Exception | SystemExit) -> str:
    """The error and where in the hook's own code it arose."""
    import traceback

    text = f"{type(error).__name__}: {error}"
    if isinstance(error, KvmdbgError):
        text = str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
    return f"{text} (in {own[-1].name}, {own[-1].filename}:{own[-1].lineno})" if own else text
