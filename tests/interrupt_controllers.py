"""How guests of tests set the interrupt controllers and the timer up, as assembly."""

from __future__ import annotations


def timer_only(first_vector: int) -> str:
    """The 8259A lets IRQ 0 through, as this vector; channel 0 of the 8254 (mode 2) waits for its two bytes."""
    return f"""
        mov al, 0x11
        out 0x20, al
        mov al, {first_vector}
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


def ticks(vector: int) -> str:
    """The same, and 72.8 ticks a second as this vector."""
    return (
        timer_only(vector)
        + """
        mov al, 0
        out 0x40, al
        mov al, 0x40
        out 0x40, al
"""
    )


TIMER_ONLY = timer_only(8)
