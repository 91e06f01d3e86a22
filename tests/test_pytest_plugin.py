"""The plugin, as a test suite of somebody else's sees it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from kvmdbg.pytest_plugin import Builds

TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/pytest.md"
PLUGIN = ("-p", "kvmdbg.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess(*PLUGIN, timeout=50 * TIME_SCALE)


@pytest.mark.kvm
def test_the_page_about_it(pytester: pytest.Pytester) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    run(pytester, source).assert_outcomes(passed=3)


@pytest.mark.kvm
def test_a_failure_shows_the_guest(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        def test_one(kvm_guest):
            dbg = kvm_guest(asm="start: mov eax, 7; out 0x80, al; mov dx, 0x3f8; out dx, al; hlt", mode="long")
            dbg.run(timeout=5)
            assert dbg.regs.rax == 8

        def test_that_runs(kvm_guest):
            dbg = kvm_guest(asm="again: out 0x80, al; jmp again")
            dbg.resume()
            while not dbg.exits.total:
                pass
            assert False
        """,
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*kvmdbg: guest 0*", "halted (KVM_EXIT_HLT)*", "rax[*]0000000000000007*", "=> 0x*", "last exits:",
            "  out port 0x80, 1 byte, data 0x07", "  hlt", "output: b'?x07'",
            "*kvmdbg: guest 0*", "interrupted at*", "*<again*", "last exits:", "  out port 0x80*",
        ]
    )  # fmt: skip


@pytest.mark.kvm
@pytest.mark.e2e  # needs gcc
@pytest.mark.parametrize("mode", ["real", "prot", "long"])
def test_c_in_each_mode(pytester: pytest.Pytester, mode: str) -> None:
    result = run(
        pytester,
        f'''
        C = """
        int total;
        static void say(const char *text)
        {{
            while (*text)
                __asm__ volatile("outb %0, $0xe9" :: "a"(*text++));
        }}
        __attribute__((noinline)) int add(int a, int b) {{ return a + b; }}
        void _start(void)
        {{
            total = add(2, 3);
            say("hello");
            __asm__ volatile("hlt");
        }}
        """

        def test_one(kvm_guest):
            dbg = kvm_guest(c=C, mode={mode!r}, load=0x2000, devices=["isa-debugcon"])
            dbg.break_at("add")
            assert dbg.run(timeout=5).reason == "breakpoint"
            assert dbg.run(timeout=5).reason == "halted"
            assert dbg.output == b"hello"
            assert dbg.evaluate("*(int*)&total").value == 5
            assert dbg.vcpu.mode.name.startswith({mode!r})
        ''',
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("asm='mov ax,'", "*LoadError: guest.s:1: Error: expecting operand*"),
        ("c='int f(void) { return 1 }'", "*LoadError: guest.c:1:23: error: expected ';' before*"),
        ("asm='hlt', mode='unreal'", "*UsageError: there is no mode 'unreal': the modes are real, prot, long"),
        ("asm='hlt', c='int a;'", "*UsageError: a guest is made of one thing: a path, asm= or c="),
        ("'nowhere.bin'", "*LoadError: *nowhere.bin*"),
        ("asm=''", "*LoadError: this source makes no code"),
        ("asm=5", "*UsageError: asm= and c= are text, not 5"),
        ("asm='hlt').close() or kvm_guest.exits(None", "*UsageError: None is no guest of this test's kvm_guest"),
    ],
)
def test_mistakes_are_one_sentence_at_the_tests_line(pytester: pytest.Pytester, call: str, says: str) -> None:
    result = run(pytester, f"def test_one(kvm_guest):\n    kvm_guest({call})\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f">       kvm_guest({call})".replace("[", "[[]"), f"E {says}"])
    assert "build.py" not in result.stdout.str()


def test_without_a_compiler(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent / "nothing"))
    result = run(pytester, "def test_one(kvm_guest):\n    kvm_guest(asm='hlt')\n")
    result.stdout.fnmatch_lines(["*UsageError: as is not installed: guests from source need binutils, and gcc for C"])


def test_the_same_source_is_built_once(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    builds = Builds(tmp_path_factory)
    made: list[str] = []

    def build(text: str, folder: Path, **options: object) -> tuple[Path, Path]:
        made.append(text)
        for name in ("flat", "elf"):
            (folder / name).write_text(f"{text} {options}")
        return folder / "flat", folder / "elf"

    def of(text: str, name: str, **options: object) -> str:
        (tmp_path / name).mkdir()
        image, symbols = builds.of(build, text, tmp_path / name, **options)
        assert (image, symbols) == (tmp_path / name / "flat", tmp_path / name / "elf")
        return image.read_text()

    assert of("hlt", "one", mode="real", address=1) == of("hlt", "two", mode="real", address=1)
    assert made == ["hlt"]
    assert of("hlt", "three", mode="long", address=1) == "hlt {'mode': 'long', 'address': 1}"
    assert of("nop", "four", mode="real", address=1).startswith("nop")
    assert made == ["hlt", "hlt", "nop"]
