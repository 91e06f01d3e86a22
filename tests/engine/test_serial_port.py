"""What is kept of what a guest sends without end."""

from __future__ import annotations

import pytest

from kvmdbg.engine import serial_port
from kvmdbg.engine.listeners import Listeners
from kvmdbg.engine.serial_port import SerialPort


@pytest.mark.parametrize("where", ["stdio", "none"])
def test_the_last_bytes_are_kept(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "KEPT", 1000)
    port = SerialPort(where, Listeners())
    sent = b""
    for n in range(500):
        data = b"line %d\n" % n
        sent += data
        port._sent(data)
        assert len(port.output) <= 2000
        assert sent.endswith(bytes(port.output))
        assert len(port.output) >= min(len(sent), 1000)
