"""How guests of tests set the interrupt controllers and the timer up, as assembly."""

from __future__ import annotations

TIMER_ONLY = """
        mov al, 0x11
        out 0x20, al
        mov al, 8
        out 0x21, al
        mov al, 4
        out 0x21, al
        mov al, 1
        out 0x21, al
        mov al, 0xfe
        out 0x21, al
        mov al, 0x34
        out 0x43, al
"""
"""The 8259A gives vectors from 8 on and lets IRQ 0 through; channel 0 of the 8254 (mode 2) waits for its two bytes."""
