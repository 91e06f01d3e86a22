"""The call frames of the selected vCPU, and which of them the user looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import UsageError
from kvmdbg.x86 import registers

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

    def chosen(self, runner: DebuggedVcpu) -> Frame | None:
        """The frame that the user has chosen on a vCPU; None while it is that of its pc."""
        if self._chosen is not None and runner is self._control.runner and self._chosen_at == self._here():
            return self._chosen
        return None

    def of(self, runner: DebuggedVcpu) -> Frame:
        """The selected frame of a vCPU: that of its pc, until ``select`` chooses another at this stop."""
        from kvmdbg.debuginfo.backtrace import innermost

        return self.chosen(runner) or innermost(self._control.vcpus[runner.index])

    def register(self, runner: DebuggedVcpu, name: str) -> int | None:
        """A register as it was in the frame that the user has chosen, by its name in lower case.

        None where that is the register's own value: in the innermost frame, and of those that calls do not keep.
        """
        frame = self.chosen(runner)
        if frame is None:
            return None
        bits = self._control.vcpus[runner.index].mode.bits
        if name == "pc":
            return frame.pc
        if name == "sp" or name == "fp":
            value = frame.regs.get(f"r{name.replace('f', 'b')}")
            return None if value is None else value & (1 << bits) - 1
        register = registers.lookup(name)
        if register is None:
            return None
        whole = register.parent or register.name
        if whole == "rip":
            base = 0 if bits == 64 else self._control.vcpus[runner.index].registers.get("cs_base")
            return frame.pc - base & (1 << register.bits) - 1
        value = frame.regs.get(whole)
        return None if value is None else value >> register.shift & (1 << register.bits) - 1

    def backtrace(self, most: int = 100) -> Backtrace:
        """The call frames of the selected vCPU, innermost first."""
        from kvmdbg.debuginfo.backtrace import backtrace

        self._control.require_stopped()
        return backtrace(self._control.vcpu, self._files, most)

    def select(self, number: int) -> Frame:
        """Choose the frame whose variables are meant, counted from the innermost, 0. UsageError where it is none."""
        self._control.require_stopped()
        found = self.backtrace(max(number, 0) + 1)
        if not 0 <= number < len(found.frames):
            raise UsageError(f"there is no frame {number}: the last one is {len(found.frames) - 1} ({found.end})")
        self._chosen = found.frames[number] if number else None
        self._chosen_at = self._here()
        return found.frames[number]

    def choose(self, frame: Frame | None) -> None:
        """Choose a frame that was chosen here before; None: that of pc."""
        self._chosen, self._chosen_at = frame, self._here()

    def caller_of(self, frame: Frame) -> Frame | None:
        """The frame that a frame's function returns to, past those that it was inlined into; None if not known."""
        frames = self.backtrace(frame.number + 60).frames
        number = frame.number
        while number < len(frames) and frames[number].inlined:
            number += 1
        return frames[number + 1] if number + 1 < len(frames) else None
