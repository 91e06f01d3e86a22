"""Guests of a few instructions, booted on the real /dev/kvm."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kvmdbg
from kvmdbg.core.session import Session

MODES = {16: "real", 32: "prot", 64: "long"}
BUSY_REGISTERS = [0x9000, 0x9001, 0x9002, 0x9003]
"""Addresses that no test executes: breakpoints on them take the four debug registers."""

Boot = Callable[..., Session]

# Bochs, which the kvm_intel machine runs on, holds the host's interrupts back while a guest has EFLAGS.IF clear (real
# VT-x does not): a guest that loops there without an exit would hold up the whole machine.
NEEDS_IF = os.environ.get("KVMDBG_MACHINE") == "kvm_intel"


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """``boot(code, bits)``: a session on these bytes at 0x1000, in real, protected or long mode."""
    sessions: list[Session] = []

    def start(code: bytes, bits: int = 16, *, load: int = 0x1000, memory: str = "4M", **options: Any) -> Session:
        if NEEDS_IF:
            options["registers"] = {"rflags": 0x202, **options.get("registers", {})}
        path = tmp_path / f"guest{len(sessions)}.bin"
        path.write_bytes(code)
        session = kvmdbg.open(path, format="flat", mode=MODES[bits], load=load, memory=memory, **options)
        sessions.append(session)
        return session

    yield start
    for session in sessions:
        session.close()


def take_debug_registers(session: Session) -> None:
    """Leave no debug register to the breakpoints that a test sets afterwards."""
    for address in BUSY_REGISTERS:
        session.break_at(address)
