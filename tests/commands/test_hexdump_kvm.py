"""hexdump marks what changed since an earlier stop."""

from __future__ import annotations

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm


def test_changes_are_marked(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov byte ptr [0x5001], 7\nmov byte ptr [0x5012], 8\nhlt", memory="1M")
    interpreter = Interpreter(dbg)

    def typed(line: str) -> str:
        return "\n".join(result.plain(100) for result in interpreter.execute(line))

    def changed() -> list[int]:
        (result,) = interpreter.execute("hexdump 0x5000 32")
        return list(result.to_json()["changed"])

    assert changed() == []
    typed("stepi")
    assert changed() == [1]
    assert changed() == [1], "shown again at the same stop"
    assert "00005000  00 07*00 00" in typed("hexdump 0x5000 32")
    typed("stepi")
    assert changed() == [0x12]
    assert "*" not in typed("hexdump 0x5000 16"), "another range: nothing is known of it"
    for at in range(100):
        typed(f"hexdump {0x6000 + at} 1")
    assert changed() == [], "it was shown too long ago"
