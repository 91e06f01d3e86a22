"""Each packet against a target that has every capability."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gdbstub import registry
from gdbstub.errors import TargetError
from gdbstub.target import Point, Resume, Stopped, Target
from gdbstub.testing import EXIT, FakeTarget, Loop, toy_description
from tests.gdbstub.expedited import bare

GDB = b"qSupported:multiprocess+;swbreak+;hwbreak+;exec-events+;error-message+;binary-upload+"


def test_what_is_offered(target: FakeTarget) -> None:
    offered = Loop(target).ask(GDB).decode().split(";")
    for feature in (
        "PacketSize=20000 QStartNoAckMode+ vContSupported+ swbreak+ hwbreak+ exec-events+ multiprocess+ error-message+ "
        "binary-upload+ qXfer:features:read+ qXfer:threads:read+ qXfer:memory-map:read+ qXfer:exec-file:read+ "
        "ConditionalBreakpoints+ BreakpointCommands+ qSearch:memory+ QThreadEvents+ PhyMemMode+"
    ).split():
        assert feature in offered, feature


class Least(Target):
    """No capability at all."""

    def __init__(self) -> None:
        self._inner = FakeTarget()

    def description(self, thread: int):  # type: ignore[no-untyped-def]
        return toy_description()

    def read_registers(self, thread, layout):  # type: ignore[no-untyped-def]
        return self._inner.read_registers(thread, layout)

    def write_registers(self, thread, layout, data):  # type: ignore[no-untyped-def]
        raise TargetError("they cannot be written")

    def read_register(self, thread, layout, number):  # type: ignore[no-untyped-def]
        return self._inner.read_register(thread, layout, number)

    def write_register(self, thread, layout, number, data):  # type: ignore[no-untyped-def]
        raise TargetError("it cannot be written", 7)

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        return self._inner.read_memory(thread, address, length)

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        raise TargetError("no")

    def resume(self, what: Resume) -> None:
        self.on_stop(Stopped(1))

    def interrupt(self) -> None:
        pass

    @property
    def running(self) -> bool:
        return False


def test_what_the_target_lacks_is_not_offered() -> None:
    loop = Loop(Least())
    offered = loop.ask(GDB)
    for name in (b"Conditional", b"memory-map", b"exec", b"qSearch", b"PhyMem"):
        assert name not in offered
    for body in (b"Z0,100,1", b"k", b"D", b"R00", b"vRun;", b"qRcmd,00", b"qOffsets", b"qSearch:memory:0;1;a"):
        assert loop.ask(body) == b"", body
    assert loop.ask(b"vFile:open:61,0,0") == b""


def test_a_target_that_names_no_threads_has_one() -> None:
    loop = Loop(Least())
    assert (loop.ask(b"qfThreadInfo"), loop.ask(b"qC"), loop.ask(b"T1")) == (b"m1", b"QC1", b"OK")
    assert loop.ask(b"T2")[:1] == b"E"


def test_unknown_packets_get_the_empty_reply(gdb: Loop) -> None:
    for body in (b"vMustReplyEmpty", b"qFuture", b"Y", b"vFuture;1", b"", b"jModulesInfo:[]", b"\xff"):
        assert gdb.ask(body) == b"", body


@pytest.mark.parametrize(
    "body",
    [b"m", b"mzz,1", b"m100", b"M100,4:00", b"X100,4:a", b"Pzz=00", b"P0", b"G00", b"Z0", b"Z9,100,1", b"Z2,100,0",
     b"vCont;q", b"vCont;r100", b"Hx1", b"qXfer:features:read:target.xml:", b"qCRC:1", b"p", b"Z0,100,1;X4,27",
     b"qRcmd,zz", b"qSearch:memory:1", b"Qqemu.PhyMemMode:2", b"QThreadEvents:2"],
)  # fmt: skip
def test_malformed_packets_get_an_error(gdb: Loop, body: bytes) -> None:
    reply = gdb.ask(body)
    assert reply[:1] == b"E" and len(reply) == 3, reply


def test_errors_have_their_text_where_it_is_understood(target: FakeTarget) -> None:
    loop = Loop(target)
    loop.ask(GDB)
    assert loop.ask(b"m20000,4") == b"E.no memory at 0x20000"
    lldb = Loop(target)
    lldb.ask(b"QEnableErrorStrings")
    assert lldb.ask(b"m20000,4") == b"E0e;" + b"no memory at 0x20000".hex().encode()
    assert Loop(target).ask(b"m20000,4") == b"E0e"


def test_a_long_malformed_packet_is_shown_by_its_beginning(target: FakeTarget) -> None:
    loop = Loop(target)
    loop.ask(GDB)
    for digits in (37, 38, 1000):
        shown = "P0=" + "z" * min(digits, 37)
        assert loop.ask(b"P0=" + b"z" * digits) == f"E.the packet '{shown}' is malformed".encode()


def test_registers(gdb: Loop, target: FakeTarget) -> None:
    assert gdb.ask(b"g") == b"0001000000ff00000000000000000000"
    assert gdb.ask(b"p1") == b"00ff0000"
    assert gdb.ask(b"P2=78563412") == b"OK"
    assert target.values[1][2] == 0x12345678
    assert gdb.ask(b"G" + b"01000000" * 4) == b"OK"
    assert target.values[1] == [1, 1, 1, 1]
    assert gdb.ask(b"p9")[:1] == b"E"
    assert gdb.ask(b"Hg2") == b"OK"
    assert gdb.ask(b"p0") == b"00020000"


def test_memory(gdb: Loop, target: FakeTarget) -> None:
    assert gdb.ask(b"M1000,4:DEADbeef") == b"OK"
    assert gdb.ask(b"m1000,4") == b"deadbeef"
    assert gdb.ask(b"X1010,4:}\x03}\x04}\x0a}]") == b"OK"
    assert target.ram[0x1010:0x1014] == b"#$*}"
    assert gdb.ask(b"X0,0:") == b"OK"
    assert gdb.ask(b"mfffe,10") == b"0000"  # what can be read
    assert gdb.ask(b"m10000,4")[:1] == b"E"
    assert gdb.ask(b"qSearch:memory:0;10000;}\x03}\x04") == b"1,1010"
    assert gdb.ask(b"qSearch:memory:0;10;zz") == b"0"


def test_binary_reads(gdb: Loop, target: FakeTarget) -> None:
    """What binary-upload+ in the reply to qSupported means: b before the data."""
    target.ram[0x10:0x14] = b"#$*}"
    assert gdb.ask(b"x10,4") == b"b#$*}"
    assert gdb.ask(b"x10,0") == b"b"
    assert gdb.ask(b"x10000,4")[:1] == b"E"


@pytest.mark.parametrize("asks", [False, True], ids=["lldb 20 and later", "before"])
def test_binary_reads_of_lldb(target: FakeTarget, asks: bool) -> None:
    """An lldb that does not know binary-upload asks for nothing first, wants OK, and then bare data."""
    loop = Loop(target)
    loop.ask(b"qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;vfork-events+")
    loop.ask(b"QThreadSuffixSupported")
    target.ram[0x10:0x13] = b"abc"
    if asks:
        assert loop.ask(b"x0,0") == b"OK"
    assert loop.ask(b"x10,3") == (b"abc" if asks else b"babc")
    assert loop.ask(b"x10,0") == (b"OK" if asks else b"b")


def test_checksum(gdb: Loop, target: FakeTarget) -> None:
    """The polynomial of gdb's xcrc32, from its documentation's table-less form."""
    data = b"123456789"
    target.write_memory(1, 0x40, data)
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    assert gdb.ask(b"qCRC:40,9") == b"C%x" % value


def test_physical_memory_mode(gdb: Loop, target: FakeTarget) -> None:
    assert gdb.ask(b"qqemu.PhyMemMode") == b"0"
    assert gdb.ask(b"Qqemu.PhyMemMode:1") == b"OK"
    assert target.physical
    for body in (b"qqemu.sstepbits", b"Qqemu.sstepbits"):  # QEMU answers both
        assert gdb.ask(body) == b"ENABLE=1,NOIRQ=2,NOTIMER=4"
    assert gdb.ask(b"qqemu.sstep") == b"0x5"
    assert gdb.ask(b"Qqemu.sstep=7") == b"OK"
    assert target.step_flags == 7
    assert gdb.ask(b"Qqemu.sstep") == b"0x7"
    assert gdb.ask(b"qqemu.sstep=0x5") == b"OK"  # as QEMU's documentation has it
    assert target.step_flags == 5
    assert gdb.ask(b"Qqemu.sstep=ff") == b"E22"


def test_threads(gdb: Loop) -> None:
    assert gdb.ask(b"qfThreadInfo") == b"m1,2"
    assert gdb.ask(b"qsThreadInfo") == b"l"
    assert gdb.ask(b"qC") == b"QC1"
    assert gdb.ask(b"T2") == b"OK"
    assert gdb.ask(b"T3")[:1] == b"E"
    assert bytes.fromhex(gdb.ask(b"qThreadExtraInfo,2").decode()) == b"core <2>"
    xml = gdb.ask(b"qXfer:threads:read::0,1000")
    assert [one.text for one in ElementTree.fromstring(xml[1:])] == ["core <1>", "core <2>"]


def test_multiprocess_ids(target: FakeTarget) -> None:
    loop = Loop(target)
    loop.ask(GDB)
    assert loop.ask(b"qC") == b"QCp1.1"
    assert loop.ask(b"Hgp1.2") == b"OK"
    assert loop.ask(b"Hcp1.-1") == b"OK"
    assert loop.ask(b"Hgp2.1")[:2] == b"E."
    assert bare(loop.ask(b"vCont;s:p1.2;c:p1.-1")) == b"T05thread:p1.2;"
    assert bare(loop.ask(b"?")) == b"T05thread:p1.2;"


def test_documents_come_in_pieces(gdb: Loop) -> None:
    whole, at = b"", 0
    while True:
        piece = gdb.ask(b"qXfer:features:read:target.xml:%x,20" % at)
        whole, at = whole + piece[1:], at + 0x20
        if piece[:1] == b"l":
            break
    names = [reg.attrib["name"] for reg in ElementTree.fromstring(whole).iter("reg")]
    assert names == ["pc", "sp", "a", "b"]
    assert gdb.ask(b"qXfer:features:read:other.xml:0,20")[:1] == b"E"
    assert b'type="ram" start="0x0" length="0x10000"' in gdb.ask(b"qXfer:memory-map:read::0,1000")
    assert gdb.ask(b"qXfer:exec-file:read::0,100")[:1] == b"E"


def test_the_name_of_the_guests_file_is_bytes(gdb: Loop, target: FakeTarget) -> None:
    name = b"caf\xe9.elf".decode("utf-8", "surrogateescape")
    target.own_files = {name: "/nowhere"}
    assert gdb.ask(b"qXfer:exec-file:read:1:0,100") == b"lcaf\xe9.elf"


@pytest.mark.parametrize("thread", [b"0", b"-1"])
def test_any_thread_in_a_suffix_is_the_current_one(gdb: Loop, target: FakeTarget, thread: bytes) -> None:
    assert gdb.ask(b"QThreadSuffixSupported") == b"OK"
    assert gdb.ask(b"p0;thread:%b;" % thread) == gdb.ask(b"p0;thread:1;") == b"00010000"


def test_monitor(gdb: Loop, target: FakeTarget) -> None:
    said = b"you said hello\n".hex().encode()
    assert gdb.send(b"qRcmd," + b"hello".hex().encode()) == [b"O" + said, b"OK"]
    replies = gdb.send(b"qRcmd," + b"fail".hex().encode())
    assert replies == [b"O" + b"that failed\n".hex().encode(), b"OK"]


def test_files(gdb: Loop, target: FakeTarget, tmp_path: Path) -> None:
    (tmp_path / "guest").write_bytes(b"\x7fELF#$}*" + bytes(100))
    (tmp_path / "secret").write_bytes(b"x")
    target.own_files = {"guest.elf": str(tmp_path / "guest")}
    assert gdb.ask(b"qXfer:exec-file:read:1:0,100") == b"lguest.elf"
    assert gdb.ask(b"vFile:setfs:0") == b"F0"
    name = b"guest.elf".hex().encode()
    assert gdb.ask(b"vFile:open:%b,0,1c0" % name) == b"F3"
    assert gdb.ask(b"vFile:pread:3,8,0") == b"F8;\x7fELF#$}*"[:15]
    assert gdb.ask(b"vFile:pread:3,ffff,6c") == b"F0;"
    status = gdb.ask(b"vFile:fstat:3")
    assert status[:4] == b"F40;" and int.from_bytes(status[4 + 28 : 4 + 36], "big") == 108
    assert gdb.ask(b"vFile:open:%b,201,1c0" % name) == b"F-1,1"  # to write
    assert gdb.ask(b"vFile:open:%b,0,0" % str(tmp_path / "secret").encode().hex().encode()) == b"F-1,2"
    assert gdb.ask(b"vFile:unlink:%b" % name) == b"F-1,16"
    assert gdb.ask(b"vFile:close:3") == b"F0"
    assert gdb.ask(b"vFile:close:3") == b"F-1,9"
    assert gdb.ask(b"vFile:pread:3,8,0") == b"F-1,9"
    for _ in range(16):
        assert gdb.ask(b"vFile:open:%b,0,0" % name)[:2] != b"F-"
    assert gdb.ask(b"vFile:open:%b,0,0" % name) == b"F-1,18"


@pytest.mark.parametrize(
    ("stop", "gdb_sees", "lldb_sees"),
    [
        (Stopped(1, 0, text="halted; at 1"), b"T00", ("exception", "halted; at 1")),
        (Stopped(1, 11, text="shutdown"), b"T0b", ("exception", "shutdown")),
        (Stopped(1, 5, text="breakpoint 1 of another"), b"T05", ("exception", "breakpoint 1 of another")),
        (Stopped(1, 5, "swbreak", text="breakpoint"), b"T05", ("breakpoint", "")),
        (Stopped(1, 5), b"T05", ("trace", "")),
        (Stopped(1, 2), b"T02", ("", "")),
    ],
    ids=["halt", "shutdown", "of another", "breakpoint", "step", "interrupt"],
)
def test_the_reason_of_a_stop(target: FakeTarget, stop: Stopped, gdb_sees: bytes, lldb_sees: tuple[str, str]) -> None:
    """lldb lets a stop with signal 0 run on unless it has a reason; gdb knows no such words."""
    gdb, lldb = Loop(target), Loop(target)
    lldb.ask(b"QListThreadsInStopReply")
    target.stop = stop
    assert bare(gdb.ask(b"?")) == gdb_sees + b"thread:1;"
    reason, description = lldb_sees
    told = bare(lldb.ask(b"?"))
    assert told.startswith(gdb_sees + b"thread:1;threads:1,2;thread-pcs:")
    assert (b"reason:" + reason.encode() + b";" in told) == bool(reason), told
    assert (b"description:" + description.encode().hex().encode() + b";" in told) == bool(description), told
    first, second = json.loads(lldb.ask(b"jThreadsInfo"))
    assert (first["reason"], first["description"], first["signal"]) == (reason, description, stop.signal)
    assert "reason" not in second


def test_lldb(target: FakeTarget) -> None:
    loop = Loop(target)
    assert loop.ask(b"QThreadSuffixSupported") == b"OK"
    assert loop.ask(b"QListThreadsInStopReply") == b"OK"
    assert loop.ask(b"p0;thread:2;") == b"00020000"
    assert loop.ask(b"g;thread:2;")[:8] == b"00020000"
    assert loop.ask(b"P2=01000000;thread:2;") == b"OK"
    assert target.values[2][2] == 1
    assert loop.ask(b"qRegisterInfo0").startswith(b"name:pc;bitsize:32;offset:0;")
    assert b"generic:pc;" in loop.ask(b"qRegisterInfo0")
    assert loop.ask(b"qRegisterInfo4") == b"E45"
    assert b"ptrsize:4" in loop.ask(b"qHostInfo")
    assert b"pid:1;" in loop.ask(b"qProcessInfo")
    assert loop.ask(b"qMemoryRegionInfo:100") == b"start:0;size:10000;permissions:rwx;"
    assert loop.ask(b"qMemoryRegionInfo:10000") == b"start:10000;size:fffffffffffeffff;"
    assert loop.ask(b"qMemoryRegionInfo:fffffffffffffffe") == b"start:10000;size:fffffffffffeffff;"
    assert loop.ask(b"qMemoryRegionInfo:ffffffffffffffff") == b"start:ffffffffffffffff;size:1;"
    threads = json.loads(loop.ask(b"jThreadsInfo"))
    assert [one["tid"] for one in threads] == [1, 2]
    assert loop.ask(b"s") == b"T05thread:1;threads:1,2;thread-pcs:101,200;00:01010000;01:00ff0000;reason:trace;"


def test_the_client_leaves(gdb: Loop, target: FakeTarget) -> None:
    gdb.ask(b"Z0,100,1")
    target.points["hw", 0x200, 1] = Point("hw", 0x200, 1, persist=True)
    gdb.client.leave()
    assert list(target.points) == [("hw", 0x200, 1)]


def test_every_packet_says_what_it_does() -> None:
    for one in registry.PACKETS.values():
        assert one.function.__doc__, one.name


def test_the_page_about_packets_is_not_stale() -> None:
    from gdbstub import reference

    page = Path(__file__).parents[2] / "docs/gdb-packets.md"
    assert page.read_text() == reference.page(), "run: make docs"


def test_a_program_that_has_ended_has_no_threads(gdb: Loop) -> None:
    assert isinstance(gdb.target, FakeTarget)
    gdb.target.ram[0x101:0x103] = bytes((EXIT, 7))
    gdb.ask(b"!")
    assert gdb.ask(b"vCont;c").startswith(b"W07")
    assert gdb.ask(b"qfThreadInfo") == b"l"
    assert b"<thread " not in gdb.ask(b"qXfer:threads:read::0,1000")
    assert gdb.ask(b"Tp1.1").startswith(b"E")
    assert gdb.ask(b"vRun;").startswith(b"T05")
    assert gdb.ask(b"qfThreadInfo") == b"m1,2"


@pytest.mark.parametrize(
    "body",
    "m-1,4|m0x1000,4|m 1000,4|m1000,-4|m1_0,4|m10000000000000000,1|M-1,1:90|x-1,1|Z0,10000000000000000,1|Z2,-10,4|"
    "qXfer:features:read:target.xml:-1,10|qCRC:-1,4|qSearch:memory:-1;4;a|p-1|P-1=00|qMemoryRegionInfo:-1|"
    "S|Szz|C|C;100|s-1|c0x100|vCont;S|vCont;Szz|vCont;Sz5|vCont;Czz:1|vCont;s5|vCont;c05:1|vCont;r-1,5|T0x1|Hg 1".split(
        "|"
    ),
)
def test_numbers_that_are_none_are_refused(target: FakeTarget, body: str) -> None:
    loop = Loop(target)
    assert loop.ask(body.encode()) == b"E16"
    assert loop.ask(b"qC") == b"QC1", "it has not been let go"


def test_another_process_is_not_killed(target: FakeTarget) -> None:
    loop = Loop(target)
    assert loop.ask(b"vKill;99") == b"E03"
    assert loop.ask(b"qC") == b"QC1"
    assert loop.ask(b"vKill;1") == b"OK"
