"""NaN and infinities: shown as gdb shows them, and JSON stays JSON."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from kvmdbg.batch import json_line
from kvmdbg.commands.results import Message
from tests.commands.conftest import Typist

pytestmark = pytest.mark.kvm

BAD = struct.pack("<6I", 0x7FC00000, 0xFF800001, 0x7F800000, 0xFF800000, 0x3FC00000, 0)


def strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_examined(hello: Typist) -> None:
    hello.dbg.session.memory[0x2000:0x2018] = BAD
    (shown,) = hello.results("x/6fw 0x2000")
    for text in ("nan(0x400000)", "-nan(0x1)", "inf", "-inf", "1.5", "0"):
        assert text in shown.plain().split()
    assert strict(json_line(shown))["values"] == ["nan", "nan", "inf", "-inf", 1.5, 0.0]
    hello.dbg.session.memory[0x2000:0x2010] = struct.pack("<2Q", 0x7FF8 << 48, 0xFFF0 << 48)
    assert hello.type("x/2fg 0x2000").split()[1:] == ["nan(0x8000000000000)", "-inf"]
    assert hello.type("x/fh 0x2000").split()[1:] == ["0"]
    assert hello.type("print 1") == "$1 = 1"


def test_printed(hello: Typist) -> None:
    hello.dbg.session.memory[0x2000:0x2018] = BAD
    assert hello.type("print/f *(u32*)0x2000") == "$1 = nan(0x400000)"
    assert hello.type("output/f *(u32*)0x2008") == "inf"
    assert hello.type("display/f *(u32*)0x200c").endswith("-inf")
    assert hello.type("print $1") == "$2 = 2143289344"


def test_vectors(hello: Typist) -> None:
    from kvmdbg.commands.state import vector_forms

    forms = vector_forms(BAD[:16])
    assert forms["v4_float"] == "{nan(0x400000), -nan(0x1), inf, -inf}"
    assert forms["v4_int32"] == "{2143289344, -8388607, 2139095040, -8388608}"
    for line in ("info fpu", "info vectors", "print $xmm0"):
        for result in hello.results(line):
            strict(json_line(result))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_result_gives_what_is_no_json(value: float) -> None:
    message = Message("", data={"deep": [{"value": (value, 1.5)}], "plain": value})
    found = strict(json_line(message))
    assert found["deep"] == [{"value": [str(value), 1.5]}] and found["plain"] == str(value)
