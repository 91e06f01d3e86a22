"""Mappings, differences, pointer chains, and memory as a whole."""

from __future__ import annotations

import random

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.pytest_plugin import Guests
from kvmdbg.x86 import disasm, paging

pytestmark = pytest.mark.kvm


def typed(dbg: Session, line: str) -> str:
    return "\n".join(result.plain(100) for result in Interpreter(dbg).execute(line))


def test_mappings(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt", mode="long", memory="4M")
    shown = typed(dbg, "info mappings").splitlines()
    assert shown[0].split()[:3] == ["Linear", "from", "to"]
    assert shown[1].split()[0] == "0x0"
    assert "rwx" in shown[1]
    assert typed(dbg, "info mappings $pc").count("\n") == 1
    assert "0x1000" in typed(dbg, "info mappings phys:0x1000").splitlines()[1].split()[-1]
    assert typed(dbg, "info mappings 0x7fff00000000").startswith("0x7fff00000000 is not mapped: the PML4E at")
    assert typed(dbg, "info mappings phys:0xff0000000000000") == "Nothing maps physical 0xff0000000000000."


@pytest.mark.kvm_alone
@pytest.mark.parametrize("seed", range(6))
def test_walks_against_kvms_own_over_random_page_tables(kvm_guest: Guests, seed: int) -> None:
    dbg = kvm_guest(asm="hlt", mode="long", memory="4M")
    chance = random.Random(seed)
    tables = range(0x100000, 0x110000, 0x1000)
    for table in tables:
        for _ in range(24):
            low = chance.choice([0, 1, 3, 5, 7, 0x83, 0x87, 0x8000000000000003])
            target = chance.choice([*tables, 0x200000, 0x201000])
            dbg.physical.write(table + chance.randrange(512) * 8, (target & -0x1000 | low).to_bytes(8, "little"))
    sregs = type(dbg.runner.sregs).from_buffer_copy(dbg.runner.sregs)
    sregs.cr3 = tables[0]
    dbg.runner.set_sregs(sregs)
    places = [one.linear + chance.randrange(one.size) for one in dbg.mappings()[:200]]
    places += [chance.randrange(1 << 47) for _ in range(50)]
    assert len(places) > 60
    for linear in places:
        walk = dbg.translate(linear)
        theirs = dbg.runner.call(lambda linear=linear: dbg.runner.vcpu.translate(linear))  # type: ignore[misc]
        assert bool(theirs.valid) == (walk.physical is not None), (hex(linear), walk)
        if walk.physical is not None:
            assert theirs.physical_address == walk.physical, hex(linear)


def test_what_differs(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov eax, 7\nmov [0x5004], eax\nmov byte ptr [0x5100], 1\nhlt", memory="1M")
    dbg.snapshots.save("before")
    assert typed(dbg, "diff before") == "Nothing differs."
    dbg.run()
    found = dbg.differences("before")
    assert ("rax", 0, 7) in found.registers
    assert [(one.address, one.before, one.after) for one in found.memory] == [
        (0x5004, b"\0", b"\7"),
        (0x5100, b"\0", b"\1"),
    ]
    shown = typed(dbg, "diff before")
    assert "rax       0x0" in shown
    assert "0x5004" in shown
    dbg.snapshots.save("after")
    assert typed(dbg, "diff before after") == shown
    with pytest.raises(UsageError, match="there is no snapshot 'x'"):
        typed(dbg, "diff x")


def test_a_changed_mapping(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt", mode="long", memory="4M")
    dbg.snapshots.save("before")
    walk = dbg.translate(0x200000)
    dbg.physical.write(walk.entries[-1].address, (walk.entries[-1].value & ~2).to_bytes(8, "little"))
    shown = typed(dbg, "diff before")
    assert "+  0x200000" in shown
    assert "r-x" in shown


def test_telescope(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm='hlt\ntext: .asciz "hello world"\nself: .quad self', mode="long", memory="1M")
    dbg.regs.rsp = 0x8000
    symbols = dbg.symbols
    for at, value in ((0x8000, 0x9000), (0x9000, symbols["text"]), (0x8008, symbols["self"]), (0x8010, 5)):
        dbg.memory.write(at, value.to_bytes(8, "little"))
    rows = [line.split(None, 2) for line in typed(dbg, "telescope $sp 3").splitlines()[1:]]
    assert rows[0] == ["0x8000", "+0x0", f"0x9000 -> {symbols['text']:#x} <text> -> 'hello world'"]
    assert rows[1][2] == f"{symbols['self']:#x} <self> -> {symbols['self']:#x} <self>"
    assert rows[2][2] == "0x5"
    assert "cannot read" in typed(dbg, "telescope 0x7fff00000000 2")


def test_compare_fill_checksum_strings(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt", memory="1M")
    assert typed(dbg, "fill 0x5000 7 0xde 0xad") == "Filled 7 bytes from 0x5000."
    assert dbg.memory[0x5000:0x5008] == bytes.fromhex("deaddeaddeadde00")
    typed(dbg, "fill phys:0x6000 7 222 173")
    assert typed(dbg, "compare 0x5000 0x6000 7") == "7 bytes are the same."
    dbg.memory[0x6002] = 1
    assert typed(dbg, "compare 0x5000 0x6000 7").splitlines()[1].split() == ["+0x2", "0x5002", "de", "0x6002", "01"]
    dbg.memory.write(0x7000, b"123456789")
    assert "0xcbf43926" in typed(dbg, "checksum 0x7000 9")
    dbg.memory.write(0x7010, b"\1abc\0hello\0" + "wide".encode("utf-16-le") + b"\0\0")
    assert [line.split() for line in typed(dbg, "strings 0x7010 40").splitlines()[1:]] == [
        ["0x7015", "hello"], ["0x701b", "UTF-16", "wide"],
    ]  # fmt: skip
    assert "abc" in typed(dbg, "strings 0x7010 40 3")
    with pytest.raises(UsageError, match="are no bytes"):
        typed(dbg, "fill 0x5000 3 300")
    with pytest.raises(MemoryFault):
        typed(dbg, "fill 0xfffff 3 1")


def test_a_map_of_no_paging() -> None:
    assert paging.mappings(lambda at, size: b"", 0, 0, 0, 0)[0].rights == "rwx u"


def test_instructions_are_shown_up_to_a_number_and_until_it_is_to_end(
    kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Interpreter(kvm_guest(asm="hlt"))
    with pytest.raises(UsageError, match="more than 131,072 instructions"):
        list(shell.execute("x/200000i 0"))
    seen = []

    def classify(code: bytes, address: int, bits: int, base: int) -> None:
        seen.append(address)
        shell.user.cancelled = len(seen) == 10

    monkeypatch.setattr(disasm, "classify", classify)
    with pytest.raises(UsageError, match="interrupted"):
        list(shell.execute("x/1000i 0"))
    assert len(seen) == 10
