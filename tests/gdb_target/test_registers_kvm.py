"""What gdb reads and writes of a vCPU's registers."""

from __future__ import annotations

import pytest

from gdbstub.testing import Loop
from kvmdbg.pytest_plugin import Guests
from tests.gdb_target.conftest import Attach

pytestmark = pytest.mark.kvm


def number(client: Loop, name: str) -> int:
    return client.client.layout.number(name)


def read(client: Loop, name: str) -> int:
    return int.from_bytes(bytes.fromhex(client.ask(b"p%x" % number(client, name)).decode()), "little")


def write(client: Loop, name: str, value: int) -> bytes:
    size = client.client.layout.registers[number(client, name)].size
    return client.ask(b"P%x=%b" % (number(client, name), value.to_bytes(size, "little").hex().encode()))


@pytest.mark.parametrize("mode", ["real", "prot", "long"])
def test_mxcsr(kvm_guest: Guests, attach: Attach, mode: str) -> None:
    """Its value after reset, and what is written: KVM_GET_FPU and KVM_SET_FPU leave it out."""
    client = attach(kvm_guest(asm="hlt", mode=mode))
    assert read(client, "mxcsr") == 0x1F80
    assert write(client, "mxcsr", 0x3F80) == b"OK"
    assert write(client, "xmm3", 1 << 100) == b"OK"
    assert (read(client, "mxcsr"), read(client, "xmm3")) == (0x3F80, 1 << 100)
    assert write(client, "mxcsr", 0xFFFFFFFF)[:1] == b"E"
    assert read(client, "mxcsr") == 0x3F80


def test_the_guest_sees_what_was_written(kvm_guest: Guests, attach: Attach) -> None:
    dbg = kvm_guest(asm="fxsave [0x3000]; hlt", mode="prot")
    dbg.regs.cr4 |= 1 << 9  # OSFXSR
    client = attach(dbg)
    for name, value in (("mxcsr", 0x3F80), ("fctrl", 0x27F), ("xmm1", 0x1234)):
        assert write(client, name, value) == b"OK"
    dbg.run()
    saved = bytes(dbg.memory[0x3000:0x3200])
    assert saved[:2] == bytes.fromhex("7f02")
    assert saved[24:28] == bytes.fromhex("803f0000")
    assert saved[176:178] == bytes.fromhex("3412")


def test_the_x87(kvm_guest: Guests, attach: Attach) -> None:
    client = attach(kvm_guest(asm="hlt", mode="long"))
    assert (read(client, "fctrl"), read(client, "ftag")) == (0x37F, 0xFFFF)
    for name, value in (
        ("fstat", 7 << 11), ("st0", 0x3FFF_8000_0000_0000_0000), ("ftag", 0x3FFF), ("fiseg", 0x10), ("fioff", 0x1234),
        ("foseg", 0x18), ("fooff", 0xFFFF_0000), ("fop", 0x123),
    ):  # fmt: skip
        assert write(client, name, value) == b"OK", name
        assert read(client, name) == value, name
    assert (read(client, "fiseg"), read(client, "fioff"), read(client, "st0") >> 64) == (0x10, 0x1234, 0x3FFF)


@pytest.mark.parametrize(
    ("name", "value"),
    [("fctrl", 0x1037F), ("fiseg", 0x10000), ("ftag", 0x1FFFF), ("cs", 0x10008), ("cr8", 0x55), ("gdtr_limit", 1 << 16),
     ("dr7", 1 << 40), ("efer", 0xF0F0F0F0), ("mxcsr", 1 << 31)],
)  # fmt: skip
def test_a_register_that_cannot_be_written_says_so(kvm_guest: Guests, attach: Attach, name: str, value: int) -> None:
    client = attach(kvm_guest(asm="hlt", mode="long"))
    before = client.ask(b"g")
    assert write(client, name, value)[:1] == b"E"
    assert client.ask(b"g") == before


def test_the_description_while_the_shell_lets_the_guest_run(kvm_guest: Guests, attach: Attach) -> None:
    dbg = kvm_guest(asm="again: jmp again", mode="long")
    client = attach(dbg)
    client.ask(b"qSupported:error-message+")
    dbg.step()
    before = dbg.regs.cr0  # known of this stop
    dbg.resume()
    described = b"qXfer:features:read:target.xml:0,ff"
    assert before and client.ask(described) == b"E.the guest is running: interrupt it first"
    dbg.interrupt()
    assert client.ask(described)[:2] == b"m<"
