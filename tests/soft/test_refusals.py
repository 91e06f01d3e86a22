"""What a CPU refuses and unicorn lets pass, on the software engine (SDM volume 2)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.soft.refusals import lock_is_refused
from kvmdbg.soft.state import State
from kvmdbg.soft.system import SoftVm
from tests.soft.long_mode import GDT, PML4, TABLES, run

NOT_CANONICAL = 0x800000000000
BOTH_L_AND_D, ABSENT_DATA, ABSENT_DATA_3 = 0xEF9B000000FFFF, 0xCF13000000FFFF, 0xCF73000000FFFF
OSXSAVE = "mov rax, cr4; or eax, 0x40000; mov cr4, rax; xor edx, edx; "
TABLE = f"mov word ptr [0x1800], 0xfff; movabs rax, {NOT_CANONICAL}; mov [0x1802], rax; "
UD2 = b"\x0f\x0b"


def with_descriptor(raw: int) -> Callable[[kvmdbg.Session], None]:
    """As the one of selector 0x40."""

    def set_up(dbg: kvmdbg.Session) -> None:
        dbg.memory.write(GDT + 0x40, struct.pack("<Q", raw))
        dbg.memory.write(TABLES, struct.pack("<H", 0x47))

    return set_up


@pytest.mark.parametrize(
    ("code", "bits", "refused"),
    [
        ("f0 90", 64, True),
        ("f0 f4", 32, True),
        ("f0 fa", 16, True),
        ("f0 01 08", 64, False),  # lock add [rax], ecx
        ("f0 01 c8", 64, True),  # lock add eax, ecx
        ("f0 03 08", 64, True),  # lock add ecx, [rax]
        ("f0 48 0f b1 0f", 64, False),  # lock cmpxchg [rdi], rcx
        ("f0 48 0f b1 0f", 32, True),  # lock dec eax
        ("66 f0 ff 00", 32, False),  # lock inc word ptr [eax]
        ("f0 66 ff 00", 32, False),
        ("f0 ff 30", 32, True),  # lock push [eax]
        ("f0 83 38 01", 64, True),  # lock cmp [rax], 1
        ("f0 83 08 01", 64, False),  # lock or [rax], 1
        ("f0 f7 18", 64, False),  # lock neg [rax]
        ("f0 f7 20", 64, True),  # lock mul [rax]
        ("f0 0f ba 20 01", 64, True),  # lock bt [rax], 1
        ("f0 0f ba 28 01", 64, False),  # lock bts [rax], 1
        ("f0 0f c7 0f", 64, False),  # lock cmpxchg8b [rdi]
        ("f0 0f c7 c9", 64, True),
        ("f0 0f 20 c0", 64, True),
        ("90", 64, False),
        ("01 c8", 64, False),
    ],
)
def test_where_a_lock_prefix_may_be(code: str, bits: int, refused: bool) -> None:
    assert lock_is_refused(bytes.fromhex(code), bits) is refused


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "offset"),
    [
        ("xor eax, eax; ltr ax", 2),
        ("mov eax, 3; ltr ax", 5),
        ("mov word ptr [0x1800], 0; ltr [0x1800]", 9),
        (TABLE + "lgdt [0x1800]", 29),
        (TABLE + "lidt [0x1800]", 29),
        ("mov eax, 3; mov ss, ax", 5),
        ("mov word ptr [0x1800], 1; mov ss, [0x1800]", 9),
        ("mov word ptr [0x1804], 2; lss esp, [0x1800]", 9),
        (OSXSAVE + "xor ecx, ecx; mov eax, 7; xsetbv", 20),
        (OSXSAVE + "xor ecx, ecx; mov eax, 2; xsetbv", 20),
        ("xor ecx, ecx; rdpmc", 2),
    ],
)
def test_gp_with_error_code_0(tmp_path: Path, code: str, offset: int, step: bool) -> None:
    ended = run(tmp_path, code, step=step)
    assert (ended.vector, ended.offset, ended.error_code) == (13, offset, 0)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    "code",
    [
        "xor eax, eax; mov ss, ax; mov ebx, 7",
        "mov word ptr [0x1800], 0x10; mov ss, [0x1800]; mov ebx, 7",
        "lgdt [0x3000]; lidt [0x3010]; mov ebx, 7",
        "xor eax, eax; lldt ax; mov ebx, 7",
        OSXSAVE + "xor ecx, ecx; mov eax, 3; xsetbv; xgetbv; lea ebx, [eax + 4]",
        "push 8; lea rax, [rip + there]; push rax; retfq; hlt; there: mov ebx, 7",
        "xor ecx, ecx; mov rdi, rsp; rep insb; mov ebx, 7",
    ],
)
def test_what_is_not_refused_is_done(tmp_path: Path, code: str, step: bool) -> None:
    ended = run(tmp_path, code + "; ud2", step=step)
    assert (ended.vector, ended.registers["rbx"]) == (6, 7)


@pytest.mark.parametrize("step", [False, True])
def test_xsetbv_where_it_is_none(tmp_path: Path, step: bool) -> None:
    assert run(tmp_path, "xor ecx, ecx; xor eax, eax; xor edx, edx; xsetbv", step=step).vector == 6


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "offset"),
    [
        (b"\x6a\x40\x6a\x00\x48\xcb", 4),  # push 0x40; push 0; retfq
        (b"\x6a\x40\x6a\x00\x48\xca\x10\x00", 4),
        (b"\x6a\x10\x54\x6a\x02\x6a\x40\x6a\x00\x48\xcf", 9),  # iretq
        (b"\x6a\x40\x6a\x00\xff\x2c\x24", 4),  # ljmp [rsp]: that reads 0 as CS
        (b"\xc7\x44\x24\xf0\x00\x20\x00\x00\xc7\x44\x24\xf4\x40\x00\x00\x00\xff\x6c\x24\xf0", 16),
        (b"\xc7\x44\x24\xf0\x00\x20\x00\x00\xc7\x44\x24\xf4\x40\x00\x00\x00\xff\x5c\x24\xf0", 16),
    ],
)
def test_cs_with_both_l_and_d_is_refused(tmp_path: Path, code: bytes, offset: int, step: bool) -> None:
    ended = run(tmp_path, code, step=step, setup=with_descriptor(BOTH_L_AND_D))
    assert (ended.vector, ended.offset) == (13, offset)
    assert ended.error_code == (0 if b"\x2c" in code else 0x40)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "raw", "offset"),
    [
        ("push 0x40; push rsp; push 2; push 8; push 0x2000; iretq", ABSENT_DATA, 12),
        ("push 0x43; push rsp; push 2; push 0x2b; push 0x2000; iretq", ABSENT_DATA_3, 12),
        ("push 0x43; push rsp; push 0x2b; push 0x2000; retfq", ABSENT_DATA_3, 10),
    ],
)
def test_a_stack_segment_that_is_not_present(tmp_path: Path, code: str, raw: int, offset: int, step: bool) -> None:
    ended = run(tmp_path, code, step=step, setup=with_descriptor(raw))
    assert (ended.vector, ended.offset, ended.error_code) == (12, offset, 0x40)


@pytest.mark.parametrize("step", [False, True])
def test_a_code_segment_that_is_not_present_is_another_fault(tmp_path: Path, step: bool) -> None:
    code = "push 0x10; push rsp; push 2; push 0x40; push 0x2000; iretq"
    ended = run(tmp_path, code, step=step, setup=with_descriptor(0xAF1B000000FFFF))
    assert (ended.vector, ended.offset, ended.error_code) == (11, 12, 0x40)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("code", [b"\xf0\x90", b"\xf0\xfa", b"\xf0\xcd\x80", b"\x66\xf0\x01\xc8", b"\xf0\x0f\x32"])
@pytest.mark.parametrize("cpl", [0, 3])
def test_lock_where_none_may_be(tmp_path: Path, code: bytes, cpl: int, step: bool) -> None:
    ended = run(tmp_path, b"\x90" + code, cpl=cpl, step=step)
    assert (ended.vector, ended.offset) == (6, 1)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "error_code"),
    [(b"\x66\xcd\x80", 0x402), (b"\xf3\x66\xcd\x0d", 0x6A), (b"\x48\xcd\x80", 0x402), (b"\x66\xcc", 0x1A)],
)
def test_a_refused_int_with_prefixes_is_where_they_are(
    tmp_path: Path, code: bytes, error_code: int, step: bool
) -> None:
    ended = run(tmp_path, b"\x90" + code, cpl=3, step=step)
    assert (ended.vector, ended.offset, ended.error_code) == (13, 1, error_code)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("code", [b"\x66\xcd\x06", b"\x48\xcd\x06", b"\xb0\x66\xcd\x06"])
def test_an_int_with_prefixes_comes_back_behind_it(tmp_path: Path, code: bytes, step: bool) -> None:
    ended = run(tmp_path, code, step=step)
    assert (ended.vector, ended.offset) == (6, len(code))


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("code", ["rep insb", "rep insw", "rep outsd"])
def test_a_repeated_string_instruction_for_a_port_is_refused_with_a_count_of_0(
    tmp_path: Path, code: str, step: bool
) -> None:
    start = "xor ecx, ecx; mov edx, 0x20; lea rdi, [rsp - 16]; mov rsi, rdi; "
    ended = run(tmp_path, start + code, cpl=3, step=step)
    assert (ended.vector, ended.offset, ended.error_code) == (13, 15, 0)
    ended = run(tmp_path, start.replace("0x20", "0x80") + code + "; ud2", cpl=3, step=step)
    assert ended.vector == (6 if code == "rep insb" else 13)  # the map lets one byte


def test_pages_of_1_gib_are_told_of(tmp_path: Path) -> None:
    def set_up(dbg: kvmdbg.Session) -> None:
        dbg.memory.write(PML4 + 0x1008, struct.pack("<Q", 0x87))

    ended = run(tmp_path, "mov eax, 0x80000001; cpuid; mov eax, 0x40001800; mov rsi, [rax]; ud2", setup=set_up)
    assert (ended.vector, ended.registers["rdx"] >> 26 & 1) == (6, 1)


def test_fast_strings_are_on(tmp_path: Path) -> None:
    ended = run(tmp_path, "mov ecx, 0x1a0; rdmsr; ud2")
    assert ended.registers["rax"] & 1


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    "code", ["9a 00 00 00 00 08 00", "f0 0f 04", "f0 0f ff c0", "f0 d6", "66 ce", "f0 ea 00 00 00 00 08 00"]
)
def test_instructions_that_there_are_not(
    tmp_path: Path, code: str, step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    read = SoftVm.bytes_at

    def reads(vm: SoftVm, state: State, linear: int, size: int) -> bytes:
        sizes.append(size)
        return read(vm, state, linear, size)

    monkeypatch.setattr(SoftVm, "bytes_at", reads)
    ended = run(tmp_path, b"\x90" + bytes.fromhex(code), step=step)
    assert (ended.vector, ended.offset) == (6, 1)
    assert max(sizes) <= 0x1001  # unicorn tells a size of 4 GB
