"""hexdump marks what changed since an earlier stop; what was looked at goes on until the guest stops again."""

from __future__ import annotations

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import UsageError
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


def test_looking_goes_on_until_the_next_stop(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="nop\nnop\nnop\nhlt", memory="1M")
    dbg.memory.write(0x5000, bytes(range(64)))
    first, second = Interpreter(dbg), Interpreter(dbg)

    def typed(line: str, interpreter: Interpreter = first) -> str:
        return "\n".join(result.plain(100) for result in interpreter.execute(line))

    assert typed("x/2xb 0x5000").split() == ["0x5000:", "0x00", "0x01"]
    assert typed("x/2").split() == ["0x5002:", "0x02", "0x03"]
    assert typed("hexdump").startswith("00005004  04 05 06 07")
    with pytest.raises(UsageError, match="x needs an ADDRESS"):
        typed("x", second)
    begun = typed("disassemble").splitlines()[0]
    assert typed("disassemble") != begun
    typed("stepi")
    assert typed("disassemble").splitlines()[0].startswith("=>")
    with pytest.raises(UsageError, match="hexdump needs an ADDRESS"):
        typed("hexdump")
    assert typed("x/1 0x5000").split() == ["0x5000:", "0x00"], "the format holds"
    typed("display/2xb 0x5008")
    typed("stepi")
    assert typed("x").split() == ["0x500a:", "0x0a"], "a display was looked at last"
