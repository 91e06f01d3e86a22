"""The call frames of the selected vCPU, and which of them the user looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from kvmdbg.debuginfo.backtrace import Backtrace, Frame
    from kvmdbg.debuginfo.files import DebugFiles
    from kvmdbg.engine.control import Control
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu


class Frames:
    """A frame that was chosen is so until the guest goes on, or another vCPU is selected, or pc or the stack pointer
    are written."""

    def __init__(self, control: Control, files: DebugFiles) -> None:
        self._control = control
        self._files = files
        self._chosen: Frame | None = None
        self._chosen_at = (-1, -1, 0, 0)

    def _here(self) -> tuple[int, int, int, int]:
        control = self._control
        return control.epoch, control.vcpu.index, control.runner.pc, control.runner.stack_pointer

    def of(self, runner: DebuggedVcpu) -> Frame:
        """The selected frame of a vCPU: that of its pc, until ``select`` chooses another at this stop."""
        from kvmdbg.debuginfo.backtrace import innermost

        if self._chosen is not None and runner is self._control.runner and self._chosen_at == self._here():
            return self._chosen
        return innermost(self._control.vcpus[runner.index])

    def backtrace(self, most: int = 100) -> Backtrace:
        """The call frames of the selected vCPU, innermost first."""
        from kvmdbg.debuginfo.backtrace import backtrace

        self._control.require_stopped()
        return backtrace(self._control.vcpu, self._files, most)

    def select(self, number: int) -> Frame:
        """Choose the frame whose variables are meant, counted from the innermost, 0. UsageError where it is none."""
        self._control.require_stopped()
        found = self.backtrace(number + 1)
        if not 0 <= number < len(found.frames):
            raise UsageError(f"there is no frame {number}: the last one is {len(found.frames) - 1} ({found.end})")
        self._chosen = found.frames[number] if number else None
        self._chosen_at = self._here()
        return found.frames[number]
