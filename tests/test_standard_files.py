"""stdin, stdout and stderr that are closed, full, or that nobody reads; what the host refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: A flat guest that prints 2,000 lines, then halts:
#: mov cx, 2000; mov dx, 0x3f8; l: mov al, 'A'; out dx, al; mov al, 10; out dx, al; loop l; hlt.
TALKER = bytes.fromhex("b9d007 baf803 b041 ee b00a ee e2f8 f4")
ENDLESS = bytes.fromhex("baf803 b041 ee b00a ee ebf8")
FULL = "cannot write to the standard output: No space left on device"


def shell(line: str, guest: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line of bash in which ``kvmdbg`` is the command and ``$guest`` a guest."""
    path = folder / "guest.bin"
    path.write_bytes(guest)
    return subprocess.run(
        ["bash", "-c", f'kvmdbg() {{ "{sys.executable}" -m kvmdbg --load 0x1000 "$@"; }}; guest="{path}"; {line}'],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


@pytest.mark.kvm
@pytest.mark.parametrize("guest", [TALKER, ENDLESS], ids=["ends", "endless"])
@pytest.mark.parametrize("options", ["--batch", "--batch --json", ""])
def test_a_full_stdout_ends_it_with_one_sentence(guest: bytes, options: str, tmp_path: Path) -> None:
    found = shell(f"kvmdbg {options} --run -ex 'p 1' $guest >/dev/full", guest, tmp_path)
    assert found.returncode == 1 and found.stderr == f"kvmdbg: {FULL}\n"


@pytest.mark.kvm
def test_a_closed_stdout_ends_it_with_one_sentence(tmp_path: Path) -> None:
    found = shell("kvmdbg --batch --run $guest >&-", TALKER, tmp_path)
    assert found.returncode == 1
    assert found.stderr == "kvmdbg: cannot write to the standard output: it is closed\n"


@pytest.mark.kvm
def test_a_closed_stdin_has_ended_and_a_closed_stderr_hides_what_goes_there(tmp_path: Path) -> None:
    found = shell("kvmdbg --run $guest <&-", TALKER, tmp_path)
    assert found.returncode == 0 and found.stdout.count("A\n") == 2000 and found.stderr == ""
    found = shell("kvmdbg --batch --run -ex nonsense $guest 2>&-", TALKER, tmp_path)
    assert found.returncode == 1 and found.stdout == "A\n" * 2000
    found = shell("kvmdbg --batch --run $guest <&- >&- 2>&-", TALKER, tmp_path)
    assert found.returncode == 1


@pytest.mark.kvm
def test_a_full_stderr_is_a_failure(tmp_path: Path) -> None:
    found = shell("kvmdbg --batch --run -ex 'p 1' $guest 2>/dev/full", TALKER, tmp_path)
    assert found.returncode == 1 and found.stdout.endswith("$1 = 1\n")


@pytest.mark.kvm
@pytest.mark.parametrize("options", ["--batch", "--batch --json", ""])
def test_head_ends_a_guest_that_runs(options: str, tmp_path: Path) -> None:
    found = shell(f"kvmdbg {options} --run $guest | head -1; echo ${{PIPESTATUS[0]}}", ENDLESS, tmp_path)
    first, status = found.stdout.splitlines()
    assert first in ("A", '{"type": "output", "text": "A\\n", "data": "410a"}') and status == "141"
    assert found.stderr == ""


@pytest.mark.parametrize("options", ["--help", "--version", "--device help"])
def test_what_needs_no_guest_notices_it_too(options: str, tmp_path: Path) -> None:
    found = shell(f"kvmdbg {options} >/dev/full", b"", tmp_path)
    assert found.returncode == 1 and found.stderr == f"kvmdbg: {FULL}\n"
    found = shell(f"kvmdbg {options} | true; echo ${{PIPESTATUS[0]}}", b"", tmp_path)
    assert found.stdout in ("141\n", "0\n") and found.stderr == ""  # true may be slower


def test_an_error_is_no_traceback_on_a_closed_stderr(tmp_path: Path) -> None:
    assert shell("kvmdbg missing.bin 2>&-", b"", tmp_path).returncode == 1
    assert shell("kvmdbg --json missing.bin >/dev/full", b"", tmp_path).stderr == f"kvmdbg: {FULL}\n"


@pytest.mark.kvm
@pytest.mark.parametrize("files", range(5, 20))
def test_few_files_are_told_in_a_sentence(files: int, tmp_path: Path) -> None:
    """From too few to open the guest to enough for all; each number fails at another place."""
    found = shell(f"ulimit -n {files}; kvmdbg --batch --run $guest", TALKER, tmp_path)
    if found.returncode:
        assert "Too many open files" in found.stderr and found.stderr.count("\n") == 1, found.stderr
        assert "internal error" not in found.stderr
    else:
        assert found.stdout == "A\n" * 2000


@pytest.mark.kvm
@pytest.mark.parametrize(
    ("commands", "says"),
    [
        ("-ex 'break *0x1006 if *(u8*)0xffffffffffff == 1' --run", "condition of breakpoint 1"),
        ("-ex 'catch io if 1 / ($port - $port)' --run", "condition of breakpoint 1"),
    ],
)
def test_a_stop_that_is_an_error_gives_status_1(commands: str, says: str, tmp_path: Path) -> None:
    found = shell(f"kvmdbg --batch {commands} -ex 'p 5' $guest", TALKER, tmp_path)
    assert says in found.stderr and found.stdout.endswith("$1 = 5\n")
    assert found.returncode == 1
