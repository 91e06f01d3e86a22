"""A condition sees the fields of the one event that it judges, on that vCPU; the user's variables stay the user's."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Catchpoint
from kvmdbg.engine.event_scope import ABSENT, field, fields_of_kinds
from kvmdbg.engine.events import EVENTS, event
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.kvm.exits import Exit, IoExit
from kvmdbg.pytest_plugin import Guests
from kvmdbg.record import record
from tests.core.conftest import Boot

pytestmark = pytest.mark.kvm

# mov al, 0x41; out 0x80, al; mov eax, [0xd0000000]; mov al, 0x42; out 0x81, al; hlt
PORTS_AND_MMIO = bytes.fromhex("b041 e680 a1000000d0 b042 e681 f4")


def caught(dbg: Session, most: int = 5) -> list[str]:
    """What the guest stops for, up to its halt."""
    found = []
    for _ in range(most):
        stop = dbg.run(timeout=20)
        if isinstance(stop, stops.HaltedStop):
            return found
        found.append(stop.exit.describe() if isinstance(stop, stops.CaughtStop) else stop.describe())
    raise AssertionError(found)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("$port == 0x80", ["out port 0x80, 1 byte, data 0x41"]),
        ("$port == 0x81", ["out port 0x81, 1 byte, data 0x42"]),
        ("$port != 0x80", ["out port 0x81, 1 byte, data 0x42"]),
        ("$port < 0x1000", ["out port 0x80, 1 byte, data 0x41", "out port 0x81, 1 byte, data 0x42"]),
        ("0x81 == $port && $value == 0x42", ["out port 0x81, 1 byte, data 0x42"]),
        ("($port & 0xff) + 1 == 0x81", ["out port 0x80, 1 byte, data 0x41"]),
        ("$size == 4", ["mmio read 0xd0000000, 4 bytes, data 0xffffffff"]),
        (
            "$address == 0xd0000000 || $port == 0x81",
            ["mmio read 0xd0000000, 4 bytes, data 0xffffffff", "out port 0x81, 1 byte, data 0x42"],
        ),
        ("100 / ($port - 0x80 + 1) == 50", ["out port 0x81, 1 byte, data 0x42"]),
        ("*(u8*)$port != 0x77", ["out port 0x80, 1 byte, data 0x41", "out port 0x81, 1 byte, data 0x42"]),
        ("$vector == 3", None),
    ],
)  # fmt: skip
def test_fields_are_those_of_the_event(boot: Boot, condition: str, expected: list[str] | None) -> None:
    dbg = boot(PORTS_AND_MMIO, bits=32)
    dbg.catch("any", when=condition)
    if expected is None:
        assert caught(dbg) == []
    else:
        assert caught(dbg) == expected


def test_users_variables_are_kept(boot: Boot) -> None:
    dbg = boot(PORTS_AND_MMIO, bits=32)
    dbg.evaluate("$size = 512")
    dbg.evaluate("$port = 7")
    dbg.evaluate("$seen = 0")
    dbg.catch("io", when="$port == 0x81 && $size == 1 && ++$seen")
    dbg.watch(0x9000, 4, when="$size == 1")
    assert caught(dbg) == ["out port 0x81, 1 byte, data 0x42"]
    assert dbg.variables == {"size": 512, "port": 7, "seen": 1}


def test_users_variable_is_seen_where_the_event_has_no_such_field(boot: Boot) -> None:
    dbg = boot(PORTS_AND_MMIO, bits=32)
    dbg.evaluate("$least = 0x42")
    dbg.catch("io", when="$value >= $least")
    assert caught(dbg) == ["out port 0x81, 1 byte, data 0x42"]


@pytest.mark.parametrize(
    ("kind", "condition", "message"),
    [
        ("hlt", "$port == 1", "no register, flag or variable $port"),
        ("io", "$direction == 1", "$direction is no number here but 'out'"),
    ],
)
def test_what_is_no_field_is_a_mistake(boot: Boot, kind: str, condition: str, message: str) -> None:
    dbg = boot(PORTS_AND_MMIO, bits=32)
    dbg.catch(kind, when=condition)
    assert message in dbg.run(timeout=20).describe()


def test_event_is_seen_at_the_stop_and_not_later(boot: Boot) -> None:
    dbg = boot(PORTS_AND_MMIO, bits=32)
    dbg.catch("io", when="$port == 0x80")
    dbg.run(timeout=20)
    assert (dbg.evaluate("$port").value, dbg.evaluate("$value").value) == (0x80, 0x41)
    dbg.evaluate("$value = 3")
    assert (dbg.evaluate("$port").value, dbg.evaluate("$value").value) == (0x80, 3)
    dbg.step()
    with pytest.raises(KvmdbgError, match=r"no register, flag or variable \$port"):
        dbg.evaluate("$port")
    assert dbg.variables == {"value": 3}


def test_watchpoint_sees_its_own_access(boot: Boot) -> None:
    # mov word [0x9000], 5; mov word [0x9100], 6; hlt
    dbg = boot(bytes.fromhex("c70600900500 c70600910600 f4"))
    dbg.evaluate("$new = 5")
    dbg.watch(0x9000, 2, when="$new == 6")
    dbg.watch(0x9100, 2, when="$new == 6 && $old == 0 && $address == 0x9100")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, stops.WatchpointStop) and stop.address == 0x9100
    assert dbg.variables == {"new": 5} and dbg.evaluate("$new").value == 5 and dbg.evaluate("$old").value == 0
    assert isinstance(dbg.run(timeout=20), stops.HaltedStop)


def test_exception_sees_ip_and_not_the_register(boot: Boot) -> None:
    # mov word [0], 0x1100; mov word [2], 0; xor cx, cx; div cx; hlt; the handler is a hlt
    code = bytes.fromhex("c70600000011 c70602000000 31c9 f7f1 f4")
    dbg = boot(code.ljust(0x100, b"\x90") + b"\xf4", registers={"rsp": 0x8000})
    dbg.catch("exception", when="$ip == 0x100e && $vector == 0")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, stops.CaughtStop) and stop.pc == 0x1100
    dbg.restart()
    dbg.breakpoints.clear()
    dbg.catch("exception", when="$ip != 0x100e || $error_code == 0")
    assert caught(dbg) == []


def test_fields_of_cpuid(boot: Boot) -> None:
    # xor ecx, ecx; mov eax, 1; cpuid; mov eax, 4; mov ecx, 1; cpuid; hlt
    dbg = boot(bytes.fromhex("31c9 b801000000 0fa2 b804000000 b901000000 0fa2 f4"), bits=32)
    dbg.catch("cpuid", when="$subleaf == 1 && $leaf == 4")
    assert caught(dbg) == ["cpuid leaf 0x4, sub-leaf 0x1"]


def test_fields_of_an_event_of_a_plugin(boot: Boot) -> None:
    @event
    @record
    class Door(Exit):
        kind: ClassVar[str] = "door"
        height: int
        label: bytes
        width: int | None = None

    try:
        dbg = boot(PORTS_AND_MMIO, bits=32)
        point = Catchpoint("door", {})
        dbg.add_point(point, "$height == 7 && $label == 0x4241")
        asked: list[Any] = []

        @dbg.on.io_out(0x80)
        def offer(seen: Any) -> None:
            for height in (6, 7):
                asked.append(dbg.offer(dbg.runner, Door(height, b"AB"))[1])

        assert caught(dbg) == []
        assert asked[0] is None and asked[1].exit.height == 7
    finally:
        del EVENTS["door"]


def test_trace_of_several_kinds_has_one_condition(boot: Boot) -> None:
    dbg = boot(PORTS_AND_MMIO, bits=32)
    trace = dbg.trace_exits("io", "mmio", when="$port == 0x81 || $address == 0xd0000000")
    assert caught(dbg) == []
    assert [one.exit.kind for one in trace.seen] == ["mmio", "io"]


def test_absent_field() -> None:
    exit = IoExit("in", 0x80, 1, 1, b"")
    assert field(exit, "value") is ABSENT and field(exit, "nosuch") is ABSENT and field(exit, "describe") is ABSENT
    assert [ABSENT == 0, ABSENT != 0, ABSENT < 1, ABSENT > 1] == [False] * 4
    assert (5 + ABSENT) is ABSENT and (ABSENT & 0xFF) is ABSENT and (-ABSENT) is ABSENT and (1 << ABSENT) is ABSENT
    assert {"port", "value", "values"} <= fields_of_kinds(["io"]) and "port" not in fields_of_kinds(["mmio"])
    assert {"port", "address", "suberror"} <= fields_of_kinds(["any"]) and "leaf" not in fields_of_kinds(["any"])
    assert fields_of_kinds(["msr_read", "msr_write"]) >= {"index", "value"}


@pytest.mark.parametrize(
    ("kind", "filters", "said"),
    [
        (
            "bios",
            {"vector": 0x13},
            "bios cannot be filtered by 'vector', only by ax, call, function, ",
        ),
        ("io", {"port": 0x80, "vale": 1}, "io cannot be filtered by 'vale'"),
        ("hlt", {"port": 1}, "hlt cannot be filtered by 'port', only by mode, pc"),
    ],
)
def test_filters_that_nothing_passes_are_refused(
    kvm_guest: Guests, kind: str, filters: dict[str, Any], said: str
) -> None:
    dbg = kvm_guest(asm="hlt")
    for refused in (dbg.catch, dbg.on.exit):
        with pytest.raises(UsageError) as error:
            refused(kind, **filters)
        assert str(error.value).startswith(said)
    assert not dbg.breakpoints.catchpoints()
    for name in ("port", "pc", "mode"):
        chosen: dict[str, Any] = {name: 1}
        dbg.catch("io", **chosen)
