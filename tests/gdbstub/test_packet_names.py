"""Which packet a body is, and what every packet says of threads, processes, errors and running."""

from __future__ import annotations

import pytest

from gdbstub.errors import TargetError
from gdbstub.registry import PACKET_SIZE, PACKETS, find
from gdbstub.target import Exited, Killed, Resume, Stopped
from gdbstub.testing import FakeTarget, Loop
from tests.gdbstub.expedited import bare


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
def loop(target: FakeTarget) -> Loop:
    return Loop(target)


@pytest.mark.parametrize(
    ("body", "name", "rest"),
    [
        (b"g", "g", b""), (b"m100,4", "m", b"100,4"), (b"?", "?", b""), (b"!", "!", b""), (b"qC", "qC", b""),
        (b"qCRC:0,4", "qCRC:", b"0,4"), (b"qSupported", "qSupported", b""),
        (b"qSupported:a;b", "qSupported", b":a;b"),
        (b"vCont?", "vCont?", b""), (b"vCont;c", "vCont", b";c"), (b"vCont", "vCont", b""),
        (b"vKill;1", "vKill", b";1"),
        (b"qRegisterInfo1f", "qRegisterInfo", b"1f"), (b"qThreadExtraInfo,1", "qThreadExtraInfo", b",1"),
        (b"Qqemu.sstep=5", "Qqemu.sstep", b"=5"), (b"qqemu.sstepbits", "qqemu.sstepbits", b""),
        (b"vStopped", "vStopped", b""),
        (b"qRcmd,00", "qRcmd,", b"00"), (b"QNonStop:1", "QNonStop:", b"1"), (b"kx", "k", b"x"), (b"T1", "T", b"1"),
    ],
)  # fmt: skip
def test_bodies_and_their_packets(body: bytes, name: str, rest: bytes) -> None:
    found = find(body)
    assert found is not None and (found[0].name, found[1]) == (name, rest)


@pytest.mark.parametrize(
    "body", [b"", b"qCx", b"vContx", b"qSupportedx", b"vStoppedx", b"qRegister", b"Y", b"\xff", b"v", b"q", b"Q"]
)
def test_bodies_that_are_none(body: bytes) -> None:
    assert find(body) is None


def test_every_packet_is_found_by_its_name() -> None:
    for name, one in PACKETS.items():
        found = find(name.encode())
        assert found is not None and found[0] is one and found[1] == b""
    assert PACKET_SIZE == 0x20000


# --- threads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "thread"),
    [(b"1", 1), (b"2", 2), (b"0", 0), (b"-1", -1), (b"p1.2", 2), (b"p1.-1", -1), (b"p1", -1), (b"p-1", -1),
     (b"p-1.2", 2),
     (b"p0.0", 0), (b"p0.1", 1), (b"p1.0", 0)],
)  # fmt: skip
def test_ids_of_threads(loop: Loop, text: bytes, thread: int) -> None:
    assert loop.client.parse_thread(text) == thread


@pytest.mark.parametrize(
    ("text", "says"),
    [(b"3", "no thread 3"), (b"p2.1", "no process 2"), (b"p1.9", "no thread 9"), (b"ff", "no thread 255")],
)
def test_ids_of_none(loop: Loop, text: bytes, says: str) -> None:
    with pytest.raises(TargetError, match=f"there is {says}") as error:
        loop.client.parse_thread(text)
    assert error.value.number == 3


def test_choosing_threads(loop: Loop, target: FakeTarget) -> None:
    assert loop.ask(b"Hg2") == b"OK" and loop.client.thread == 2
    for any_thread in (b"Hg0", b"Hg-1"):
        loop.ask(b"Hg2")
        assert loop.ask(any_thread) == b"OK" and loop.client.thread == 1
    for body, chosen in ((b"Hc2", 2), (b"Hc0", -1), (b"Hc-1", -1), (b"Hc1", 1)):
        assert loop.ask(body) == b"OK" and loop.client.resume_thread == chosen
    assert loop.ask(b"Hx1")[:1] == b"E"


@pytest.mark.parametrize(
    ("first", "body", "resume"),
    [
        ((), b"c", Resume({}, frozenset((1, 2)))), ((), b"s", Resume({1: (0, 0)})),
        ((b"Hg2",), b"s", Resume({2: (0, 0)})),
        ((b"Hc2",), b"c", Resume({}, frozenset((2,)))), ((b"Hc2",), b"s", Resume({2: (0, 0)})),
        ((), b"C05", Resume({}, frozenset((1, 2)))), ((), b"S05", Resume({1: (0, 0)})),
        ((), b"vCont;s:1;c", Resume({1: (0, 0)}, frozenset((2,)))), ((), b"vCont;c", Resume({}, frozenset((1, 2)))),
        ((), b"vCont;C05:2", Resume({}, frozenset((2,)))), ((), b"vCont;S05:2", Resume({2: (0, 0)})),
        ((), b"vCont;r100,110:2;t", Resume({2: (0x100, 0x110)})), ((), b"vCont;t:1;c", Resume({}, frozenset((2,)))),
        ((b"Hg2",), b"vCont;s:0", Resume({2: (0, 0)})), ((), b"vCont;s:1;s:1;c:1", Resume({1: (0, 0)})),
        ((), b"vCont;s", Resume({1: (0, 0), 2: (0, 0)})), ((), b"vCont;s:p1.-1", Resume({1: (0, 0), 2: (0, 0)})),
    ],
)  # fmt: skip
def test_what_runs(loop: Loop, target: FakeTarget, first: tuple[bytes, ...], body: bytes, resume: Resume) -> None:
    for one in first:
        loop.ask(one)
    loop.send(body)
    assert target.resumed == resume


@pytest.mark.parametrize("body", [b"vCont;t", b"vCont;q", b"vCont;r100", b"vCont;", b"vCont"])
def test_nothing_to_run(loop: Loop, target: FakeTarget, body: bytes) -> None:
    assert loop.ask(body)[:1] == b"E" and target.resumes == 0 and not loop.client.waiting


@pytest.mark.parametrize(
    ("body", "pc"), [(b"c300", 0x300), (b"s300", 0x300), (b"C05;300", 0x300), (b"S05;300", 0x300), (b"s", 0x100)]
)
def test_going_on_elsewhere(loop: Loop, target: FakeTarget, body: bytes, pc: int) -> None:
    target.ram[pc] = 0x02  # HALT
    assert bare(loop.send(body)[-1]) == b"T00thread:1;" and target.values[1][0] == pc + 1


def test_target_that_refuses_to_run(loop: Loop, target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(what: Resume) -> None:
        raise TargetError("no", 0x16)

    monkeypatch.setattr(target, "resume", refuse)
    assert loop.ask(b"c") == b"E16" and not loop.client.waiting


# --- stop replies and errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "plain", "multiprocess"),
    [
        (Exited(3), b"W03", b"W03;process:1"), (Exited(0x1FF), b"Wff", b"Wff;process:1"),
        (Killed(11), b"X0b", b"X0b;process:1"),
        (Stopped(2, 2), b"T02thread:2;", b"T02thread:p1.2;"),
        (Stopped(1, 5, "swbreak"), b"T05thread:1;", b"T05thread:p1.1;"),
        (Stopped(1, 5, "rwatch", 0xAB), b"T05thread:1;rwatch:ab;", b"T05thread:p1.1;rwatch:ab;"),
    ],
)  # fmt: skip
def test_stop_replies(target: FakeTarget, stop: Stopped, plain: bytes, multiprocess: bytes) -> None:
    target.stop = stop
    assert bare(Loop(target).ask(b"?")) == plain
    loop = Loop(target)
    loop.ask(b"qSupported:multiprocess+")
    assert bare(loop.ask(b"?")) == multiprocess


@pytest.mark.parametrize("reason", ["swbreak", "hwbreak"])
def test_reasons_only_for_clients_that_know_them(target: FakeTarget, reason: str) -> None:
    target.stop = Stopped(1, 5, reason)
    for features, told in ((b"", b""), (reason.encode() + b"+", reason.encode() + b":;"), (b"xyz+", b"")):
        loop = Loop(target)
        loop.ask(b"qSupported:" + features)
        assert bare(loop.ask(b"?")) == b"T05thread:1;" + told


def test_errors_in_each_form(target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise TargetError("a#b$c}d*é", 0x1F)

    monkeypatch.setattr(target, "read_memory", refuse)
    assert Loop(target).ask(b"m0,1") == b"E1f"
    gdb, lldb = Loop(target), Loop(target)
    gdb.ask(b"qSupported:error-message+")
    assert gdb.ask(b"m0,1") == b"E.abcd?"
    lldb.ask(b"QEnableErrorStrings")
    assert lldb.ask(b"m0,1") == b"E1f;" + "a#b$c}d*é".encode().hex().encode()


def test_internal_errors_are_reported(target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    from gdbstub.client import Client

    def fails(*_: object) -> bytes:
        raise RuntimeError("bug")

    monkeypatch.setattr(target, "read_memory", fails)
    said: list[str] = []
    loop = Loop(target)
    loop.client = Client(target, report=said.append)
    assert loop.ask(b"m0,1") == b"E01" and len(said) == 1
    assert said[0].startswith("A packet failed: internal error: RuntimeError('bug') at ")


# --- memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b"m1000,0", b""), (b"M1000,0:", b"OK"), (b"X1000,0:", b"OK"), (b"M1000,2:aabbcc", b"E"),
        (b"M1000,3:aabb", b"E"),
        (b"X1000,1:ab", b"E"), (b"M1000:aa", b"E"), (b"m1000", b"E"), (b"Mfffe,2:aabb", b"OK"),
        (b"Mffff,2:aabb", b"E0e"),
    ],
)  # fmt: skip
def test_lengths(loop: Loop, body: bytes, reply: bytes) -> None:
    found = loop.ask(body)
    assert found[:1] == b"E" if reply == b"E" else found == reply


def test_long_reads_are_cut(loop: Loop, target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def read(thread: int, address: int, length: int) -> bytes:
        asked.append(length)
        return b""

    monkeypatch.setattr(target, "read_memory", read)
    for length in (1 << 20, (1 << 20) + 1, 1 << 40):
        loop.ask(b"m0,%x" % length)
    assert asked == [1 << 20, PACKET_SIZE, PACKET_SIZE]


@pytest.mark.parametrize("size", [0, 1, 9, 4096])
def test_checksum_of_memory(loop: Loop, target: FakeTarget, size: int) -> None:
    target.ram[0x100 : 0x100 + size] = bytes(n * 7 & 0xFF for n in range(size))
    value = 0xFFFFFFFF
    for byte in target.ram[0x100 : 0x100 + size]:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    assert loop.ask(b"qCRC:100,%x" % size) == b"C%x" % value
    assert loop.ask(b"qCRC:fff0,20")[:1] == b"E"


@pytest.mark.parametrize(
    ("span", "found"),
    [
        (b"0;10000", 0x1000),
        (b"1000;4", 0x1000),
        (b"1000;3", None),
        (b"1001;100", None),
        (b"0;1004", 0x1000),
        (b"0;1003", None),
        (b"f84;80", 0x1000),
        (b"f84;7f", None),
    ],
)
def test_searching(loop: Loop, target: FakeTarget, span: bytes, found: int | None) -> None:
    target.ram[0x1000:0x1004] = b"a;#b"
    assert loop.ask(b"qSearch:memory:" + span + b";a;}\x03b") == (b"0" if found is None else b"1,%x" % found)


def test_offsets_and_other_answers(loop: Loop) -> None:
    assert loop.ask(b"qOffsets") == b"Text=1000;Data=2000;Bss=2000"
    assert [loop.ask(body) for body in (b"qAttached", b"qSymbol::", b"QProgramSignals:", b"QPassSignals:")] == [
        b"1", b"OK", b"OK", b"OK",
    ]  # fmt: skip
    assert [loop.ask(b"QThreadEvents:%d" % n)[:1] for n in range(3)] == [b"O", b"O", b"E"]
    assert loop.ask(b"Qqemu.PhyMemMode:1") == b"OK" and loop.ask(b"qqemu.PhyMemMode") == b"1"
    assert loop.ask(b"Qqemu.PhyMemMode:0") == b"OK" and loop.ask(b"qqemu.PhyMemMode") == b"0"
