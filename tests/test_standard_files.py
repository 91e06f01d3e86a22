"""stdin, stdout and stderr that are closed, full, or that nobody reads; full disks; what the host refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kvmdbg

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


def test_a_line_of_stdin_that_never_ends(tmp_path: Path) -> None:
    found = shell("ulimit -v 4000000; kvmdbg --engine soft $guest </dev/zero", TALKER, tmp_path)
    assert found.returncode == 2
    assert found.stderr == "kvmdbg: cannot read commands from the standard input: a line is longer than 1 MiB\n"


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


@pytest.mark.kvm
def test_a_check_that_cannot_be_told(tmp_path: Path) -> None:
    expected = 'arguments = ["--load", "0x1000"]\noutput = "A"\n'
    manifest = "".join(f'[[guest]]\nname = "{name}"\nimage = "guest.bin"\n{expected}' for name in "ab")
    (tmp_path / "check.toml").write_text(manifest)
    check = f'"{sys.executable}" -m kvmdbg check {tmp_path} -j 1'
    found = shell(f"{check} >/dev/full", TALKER, tmp_path)
    assert found.returncode == 1 and found.stderr == f"kvmdbg: {FULL}\n"
    found = shell(f"{check} >&-", TALKER, tmp_path)
    assert found.returncode == 1 and found.stderr == "kvmdbg: cannot write to the standard output: it is closed\n"
    found = shell(f"{check} | head -1; echo ${{PIPESTATUS[0]}}", TALKER, tmp_path)
    assert found.stdout.splitlines()[1:] == ["141"] and found.stderr == ""


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


@pytest.mark.kvm
def test_what_a_script_prints(tmp_path: Path) -> None:
    (tmp_path / "talker.py").write_text("def main(dbg, args):\n    while True:\n        print('x' * 50)\n")
    found = shell(
        f"kvmdbg {tmp_path}/talker.py $guest | head -1; echo ${{PIPESTATUS[0]}}",
        TALKER,
        tmp_path,
    )
    assert found.stdout == "x" * 50 + "\n141\n" and found.stderr == ""
    found = shell(f"kvmdbg {tmp_path}/talker.py $guest >/dev/full", TALKER, tmp_path)
    assert found.returncode == 1 and found.stderr == f"kvmdbg: {FULL}\n"


# -- files that cannot be written ----------------------------------------------------------------------------------

LOST = "cannot write /dev/full: No space left on device"


@pytest.mark.kvm
@pytest.mark.parametrize(
    ("options", "output"),
    [
        ("-ex 'trace insn on /dev/full' -ex 'stepi 3' -ex 'trace insn off' -ex 'p 1'", "3 ran.\n$1 = 1"),
        ("-ex 'trace exits on to /dev/full' --run -ex 'p 1'", "A\n$1 = 1"),
        ("-ex 'trace exits on io to /dev/full' --run -ex 'trace exits off'", "Not all of the 4000 are in /dev/full."),
        ("--serial file:/dev/full --run -ex 'p 1'", "$1 = 1"),
        ("-ex 'dump /dev/full 0x1000 10' -ex 'p 1'", "$1 = 1"),
        ("-ex 'snapshot save a' -ex 'snapshot write a /dev/full' -ex 'p 1'", "$1 = 1"),
        ("-ex 'trace insn on' -ex si -ex 'info coverage /dev/full' -ex 'p 1'", "$1 = 1"),
    ],
)
@pytest.mark.parametrize("json", ["", "--json"])
def test_a_full_disk_is_told_once_and_gives_status_1(options: str, output: str, json: str, tmp_path: Path) -> None:
    found = shell(f"kvmdbg --batch {json} {options} $guest", TALKER, tmp_path)
    told = found.stdout if json else found.stderr
    assert found.returncode == 1
    if "coverage" in options:
        assert "has to end in .info" in told
    else:
        assert told.count(LOST) == 1, told
    assert "Traceback" not in found.stderr
    if not json:
        assert found.stdout.rstrip().endswith(output)
    assert Path("/dev/full").is_char_device()


@pytest.mark.kvm
def test_a_snapshot_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("precious")
    found = shell(
        f"cd {tmp_path}; ulimit -n 64; mkdir new.part; kvmdbg --batch -ex 'snapshot save a' "
        "-ex 'snapshot write a new' -ex 'snapshot write a missing/new' $guest",
        TALKER, tmp_path,
    )  # fmt: skip
    assert found.stderr.splitlines() == [
        "kvmdbg: cannot write new: Is a directory",
        "kvmdbg: cannot write missing/new: No such file or directory",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guest.bin", "new.part", "old"]


@pytest.mark.kvm
def test_a_script_is_warned_of_what_is_lost(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(TALKER)
    with kvmdbg.open(tmp_path / "guest.bin", load=0x1000, serial="file:/dev/full") as dbg:
        with pytest.warns(RuntimeWarning, match=f"--serial: {LOST}; what the guest sends is lost"):
            assert "halted" in dbg.run(timeout=30).describe()
        assert dbg.output == b"A\n" * 2000


# -- stdin is the guest's serial input -----------------------------------------------------------------------------

#: Echoes COM1, polled, until it reads q:
#: s: mov dx, 0x3fd; w: in al, dx; test al, 1; jz w; mov dx, 0x3f8; in al, dx; out dx, al; cmp al, 'q'; jne s; hlt.
ECHO = bytes.fromhex("bafd03 ec a801 74fb baf803 ec ee 3c71 75ef f4")

#: Reads without asking for anything to be there, until it reads q, which it echoes: mov dx, 0x3f8; r: in al, dx;
#: cmp al, 'q'; jne r; out dx, al; hlt.
SKIP = bytes.fromhex("baf803 ec 3c71 75fb ee f4")


@pytest.mark.kvm
@pytest.mark.parametrize(
    "line",
    [
        "printf helloq | kvmdbg --batch --run --serial stdio $guest",
        "(printf hel; sleep 1; printf loq) | kvmdbg --batch --run $guest",
        "printf helloq >input; kvmdbg --batch --run $guest <input",
        "printf 'helloq and more' | kvmdbg --batch -ex run -ex 'p 1' $guest",
        "printf hello | kvmdbg --batch -ex 'set limit-time 3' --run $guest",
    ],
)
def test_what_is_piped_reaches_the_guest(line: str, tmp_path: Path) -> None:
    found = shell(f"cd {tmp_path}; {line}", ECHO, tmp_path)
    assert found.stdout.startswith("hello") and found.returncode == 0
    assert ("Halted" if "limit" not in line else "after 3 s") in found.stderr and found.stderr.count("\n") == 1


@pytest.mark.kvm
def test_more_input_than_is_read_ahead(tmp_path: Path) -> None:
    found = shell("(head -c 80000 /dev/zero; printf q) | kvmdbg --batch --run $guest | wc -c", SKIP, tmp_path)
    assert found.stdout == "1\n", found.stderr


@pytest.mark.kvm
def test_input_that_the_guest_does_not_look_for_is_left_to_others(tmp_path: Path) -> None:
    found = shell("printf 'a\\nb\\n' | (kvmdbg --batch --run $guest >/dev/null; cat)", TALKER, tmp_path)
    assert found.stdout == "a\nb\n"
