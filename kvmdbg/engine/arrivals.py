"""What comes to a vCPU by itself: interrupts of the machine's own controllers, and the deadlines of its devices.

Whoever raises a line only queues it there. The vCPU looks before it is entered, and is kicked out of the guest where
that is to be soon. Where KVM has the interrupt controllers nothing comes this way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kvmdbg.engine import alarm, stops
from kvmdbg.kvm import abi
from kvmdbg.machine import kick
from kvmdbg.x86.registers import EFLAGS_IF

if TYPE_CHECKING:
    from kvmdbg.engine.exit_loop import ExitLoop
    from kvmdbg.engine.guest import Guest

LONGEST_WAIT = 3600.0
"""Seconds between two looks at whether anything has come."""


class Arrivals:
    """At the vCPU ``at``, on its thread."""

    def __init__(self, at: ExitLoop, guest: Guest) -> None:
        self._at = at
        self._guest = guest
        self._board = guest.machine.board
        self._alarm: alarm.Alarm | None = None
        self._alarm_at: int | None = None
        self.handed_in = 0
        """How many interrupts."""
        self.present = self._board.pic is not None

    @property
    def call_for_it(self) -> bool:
        """Whether there is anything to look at; cheap, for each step."""
        pic = self._board.pic
        return pic is not None and (pic.pending or self._board.attention or self._board.time.due)

    @property
    def ask_to_come_in(self) -> bool:
        """Whether an interrupt waits that may come into the steps at hand."""
        pic = self._board.pic
        return pic is not None and pic.pending and self._at.lets_interrupts_in

    def begin(self) -> None:
        """The guest goes on: have everything looked at."""
        self._board.attention = self.present

    def end(self) -> None:
        """The vCPU's thread ends."""
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def meet(self) -> stops.Stop | None:
        """Before a free run: do what is due, wait where the vCPU is halted, hand in an interrupt.

        The stop where it is halted for good; it also ends where the vCPU is to stop.
        """
        self.look()
        if self._at.vcpu.halted:
            stop = self.wait()
            if stop is not None or self._at.vcpu.halted:
                return stop
        self.hand_in()
        self._set_alarm()
        return None

    def look(self) -> None:
        """Do what is due."""
        board = self._board
        board.attention = False
        if board.time.due:
            now = board.time.now()
            board.arrived(board.time.name, "pass_to", now)
            board.time.pass_to(now)

    def hand_in(self) -> bool:
        """Hand in the interrupt that is asked for, if any, where the vCPU takes it now; else it is to exit as soon as
        it does. Whether one was."""
        at, pic = self._at, self._board.pic
        cpu = at.vcpu
        if pic is None or not pic.pending:
            cpu.wants_window = False
            return False
        if at.untold_event or not cpu.takes_interrupt():
            cpu.wants_window = True
            return False
        at.handed = self._guest.door.outside.arrival(at, pic)
        if at.handed is None:
            cpu.wants_window = False
            return False
        self.handed_in += 1
        cpu.interrupt(at.handed)
        cpu.halted = False  # also where it came to a hlt that the vCPU is not waited for any more, as it is to stop
        cpu.wants_window = pic.pending
        return True

    def _set_alarm(self) -> None:
        """Have the vCPU kicked when the next deadline is due."""
        when = self._board.time.next_on_host
        if when == self._alarm_at:
            return
        if self._alarm is None:
            self._alarm = alarm.make()
        self._alarm.set(when)
        self._alarm_at = when

    # --- hlt ---------------------------------------------------------------------------------------

    def halt(self) -> bool:
        """At the end of a hlt: whether the vCPU waits there for an interrupt, as one may come."""
        if not (self._guest.machine.irqchip or self._may_come):
            return False
        self._at.vcpu.set_mp_state(abi.KVM_MP_STATE_HALTED)
        self.begin()
        return True

    @property
    def _may_come(self) -> bool:
        return bool(self._at.vcpu.regs.rflags & EFLAGS_IF) and self._board.may_be_interrupted

    def wait(self) -> stops.Stop | None:
        """Wait until an interrupt ends the hlt, or the vCPU is to stop; the stop where none can come."""
        board, cpu = self._board, self._at.vcpu
        pic = board.pic
        if board.time.driven:  # whoever drives it hands in what ends the hlt
            return self._at.stop(stops.HaltedStop)
        while True:
            if self._guest.world.stopping:
                return None
            if pic is not None and pic.pending and cpu.regs.rflags & EFLAGS_IF:
                cpu.halted = False
                return None
            if not self._may_come:
                cpu.halted = False
                return self._at.stop(stops.HaltedStop)
            until = board.time.next_on_host
            left = LONGEST_WAIT if until is None else (until - time.monotonic_ns()) / 1e9
            if left > 0:
                kick.take(min(left, LONGEST_WAIT))
            self.look()
