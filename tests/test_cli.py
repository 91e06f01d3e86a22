"""The command line: options, exit status, what goes to which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvmdbg import cli
from kvmdbg.errors import UsageError
from kvmdbg.numbers import size

TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
ROOT = Path(__file__).resolve().parents[1]
HELLO = ["--load", "0x1000", "--reg", "rax=2", "--reg", "rbx=2", "guests/hello16.bin"]
COUNTER = ["--memory", "512M", "--load", "0x10000", "--entry", "0x1000:0", "guests/counter16.bin"]


def kvmdbg(*arguments: str, stdin: str = "", timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmdbg", *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


# -- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4096", 4096),
        ("0x1000", 4096),
        ("0b101", 5),
        ("0o17", 15),
        ("512M", 512 << 20),
        ("0x10K", 16 << 10),
        ("1g", 1 << 30),
        ("2MiB", 2 << 20),
        ("1_000", 1000),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "M", "12X", "-1", "0x", "1.5M"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        size(text)


def test_commands_keep_their_order() -> None:
    found = cli.parser().parse_args(["-ex", "b 1", "-x", "f", "--run", "-ex", "c", "guest"])
    assert found.commands == [("line", "b 1"), ("file", "f"), ("line", "run"), ("line", "c")]
    assert found.guest == "guest"


def test_symbols_with_a_base() -> None:
    found = cli.parser().parse_args(["--symbols", "a@b.elf@0x1000", "--symbols", "c.elf"])
    assert found.symbols == [("a@b.elf", 0x1000), ("c.elf", 0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which guest?"),
        (["--reg", "rax", "g"], "'rax' is not NAME=VALUE"),
        (["--reg", "raxx=1", "g"], "there is no register raxx; did you mean rax?"),
        (["--reg", "rax=two", "g"], "'two' is no number"),
        (["--memory", "lots", "g"], "'lots' is no size"),
        (["--cpus", "0", "g"], "0 is not between 1 and 255"),
        (["--mode", "virtual", "g"], "invalid choice"),
        (["--frobnicate", "g"], "unrecognized arguments"),
        (["--tui", "--batch", "g"], "--tui needs a terminal"),
        (["--cmdline", "quiet", "guests/hello16.bin"], "guests/hello16.bin is a flat image, which takes none"),
    ],
)
def test_mistakes_end_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    seen = capsys.readouterr()
    assert message in seen.err
    assert seen.out == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kvmdbg ")


# -- runs --------------------------------------------------------------------------------------------------------


@pytest.mark.kvm
def test_first_guest() -> None:
    found = kvmdbg("--batch", "--run", *HELLO)
    assert found.stdout == "4\n"
    assert found.stderr.count("\n") == 1 and "Halted" in found.stderr
    assert found.returncode == 0


@pytest.mark.kvm
def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    """It would run for ever, through bytes that are no code."""
    (tmp_path / "notes.txt").write_text("This is only a text file.\n")
    told = f"{tmp_path}/notes.txt is text: a source is to be assembled or compiled first"
    found = kvmdbg("--batch", "-ex", "p 1", str(tmp_path / "notes.txt"))
    assert found.stderr.startswith(f"kvmdbg: {told}") and found.stdout == "" and found.returncode == 1
    found = kvmdbg("--json", "-ex", "p 1", str(tmp_path / "notes.txt"))
    assert json.loads(found.stdout.splitlines()[0])["text"].startswith(told)
    assert kvmdbg("--batch", "--format", "flat", "-ex", "p 1", str(tmp_path / "notes.txt")).stderr == ""


@pytest.mark.kvm
def test_first_guest_as_json() -> None:
    found = kvmdbg("--batch", "--json", "--run", "-ex", "p $rip", "-ex", "nonsense", *HELLO)
    objects = [json.loads(line) for line in found.stdout.splitlines()]
    assert [one["type"] for one in objects] == ["output", "stop", "value", "error"]
    assert objects[0]["text"] == "4\n"
    assert objects[1]["stop"] == "halted"
    assert objects[2]["value"] == 0x100C
    assert "nonsense" in objects[3]["text"] and objects[3]["error"] == "UsageError"
    assert found.stderr == "" and found.returncode == 1


@pytest.mark.kvm
def test_commands_of_options_files_and_their_order(tmp_path: Path) -> None:
    script = tmp_path / "my script.kvmdbg"
    script.write_text("# a comment\nbreak 0x1003\ncontinue\np/x $dx\n")
    found = kvmdbg("--batch", "-ex", "p 1", "-x", str(script), "-ex", "p 2", *HELLO)
    assert found.stdout.splitlines() == ["$1 = 1", "Breakpoint 1 at 0x1003.", "$2 = 0x3f8", "$3 = 2"]
    assert "reakpoint 1" in found.stderr and found.returncode == 0


@pytest.mark.kvm
def test_a_file_stops_at_its_first_error(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("p 1\n\np 1 +\np 2\n")
    found = kvmdbg("--batch", "-x", str(script), "-ex", "p 3", *HELLO)
    assert f"{script}:3: " in found.stderr
    assert found.stdout.splitlines() == ["$1 = 1", "$2 = 3"]
    assert found.returncode == 1


@pytest.mark.kvm
def test_commands_from_a_pipe() -> None:
    found = kvmdbg(*HELLO, stdin="set context none\nsi\n\nbreak 0x1005\ncommands\nsilent\np $al\nend\nc\nquit 7\n")
    lines = found.stdout.splitlines()
    assert "0x1003" in lines[0]
    assert lines[1:] == ["Breakpoint 1 at 0x1005.", "$1 = 4"]
    assert found.returncode == 7
    assert "\033" not in found.stdout


@pytest.mark.kvm
def test_missing_guest_and_missing_kvm(tmp_path: Path) -> None:
    found = kvmdbg("--batch", "--run", "no-such-file.bin")
    assert found.returncode == 1 and "no-such-file.bin" in found.stderr and "Traceback" not in found.stderr


@pytest.mark.kvm
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("bogus", "'bogus' is no PORT, HOST:PORT, unix:PATH or stdio"),
        ("unix:/nonexistent/x", "cannot listen at unix:/nonexistent/x: No such file"),
        ("99999", "'99999' is no PORT"),
    ],
)
def test_addresses_for_gdb_that_cannot_be_had(address: str, says: str) -> None:
    found = kvmdbg("--gdb", address, *HELLO)
    assert found.returncode == 2 and says in found.stderr and found.stderr.count("\n") == 1


@pytest.mark.kvm
def test_gdb_is_served_by_a_command() -> None:
    lines = ["gdbserver 0", "info gdbserver", "gdbserver follow-mode off", "info gdbserver", "gdbserver stop"]
    found = kvmdbg("--batch", *(word for line in lines for word in ("-ex", line)), "-ex", "gdbserver stop", *HELLO)
    assert found.stdout.startswith("gdb may attach: target remote 127.0.0.1:")
    assert "none is attached. Options: follow-mode on, console off." in found.stdout
    assert "follow-mode off, console off" in found.stdout
    assert found.returncode == 1 and "gdb is not served" in found.stderr


@pytest.mark.kvm
@pytest.mark.parametrize("command", ["restore {} 0x5000", "source {}", "add-symbol-file {}"])
@pytest.mark.parametrize(
    ("file", "says"), [("/dev/zero", "is not a file"), ("/", "is a directory"), ("nothere", "No such file")]
)
def test_files_that_are_none(command: str, file: str, says: str) -> None:
    found = kvmdbg("--batch", "-ex", command.format(file), *HELLO, timeout=10 * TIME_SCALE)
    assert says in found.stderr and found.stderr.count("\n") == 1 and found.returncode == 1


@pytest.mark.kvm
def test_what_fails_loses_nothing(tmp_path: Path) -> None:
    """Neither the symbols nor the file that were to be replaced."""
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    commands = ["symbol-file nothere", "info symbol 0x7c16", f"dump {kept} 0xfffff000 100"]
    found = kvmdbg(
        "--batch", "--symbols", "guests/boot16.elf", *(word for one in commands for word in ("-ex", one)), *HELLO
    )
    assert "func" in found.stdout and found.returncode == 1
    assert kept.read_text() == "as it was"


@pytest.mark.kvm
@pytest.mark.kvm_alone
def test_two_vcpus() -> None:
    found = kvmdbg("--batch", "--cpus", "2", "-ex", "vcpu 1", "-ex", "info vcpus", "-ex", "vcpu 2", *HELLO)
    rows = [line.split() for line in found.stdout.splitlines()[2:]]
    assert [row[-1] for row in rows] == ["runnable", "INIT)"]
    assert rows[1][:3] == ["*", "1", "real"]
    assert "there is no vCPU 2" in found.stderr and found.returncode == 1


@pytest.mark.kvm
def test_ctrl_c_ends_with_130() -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "kvmdbg", "--batch", "-ex", "p 42", "--run", "-ex", "p 1", *COUNTER],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "$1 = 42\n"
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=10)
    assert running.returncode == 130
    assert out == "" and "Traceback" not in err
    assert "interrupt" in err.lower()


@pytest.mark.kvm
def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    running = subprocess.Popen(
        [sys.executable, "-m", "kvmdbg", "--batch", "-ex", "info registers", "-ex", "info registers", *HELLO],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    os.close(read)
    _, err = running.communicate(timeout=60)
    assert err == ""
    assert running.returncode == 128 + signal.SIGPIPE


HEAVY = {
    *("prompt_toolkit", "pygments", "capstone", "elftools", "platformdirs", "pathlib", "fractions"),
    *("kvmdbg.commands.of_others", "kvmdbg.commands.printing", "kvmdbg.commands.examine"),
    *("kvmdbg.debuginfo.orc", "kvmdbg.debuginfo.call_frame_info", "kvmdbg.x86.cpuid"),
    *("kvmdbg.debuginfo.dwarf", "kvmdbg.debuginfo.source", "kvmdbg.debuginfo.demangled", "copy", "fnmatch"),
    *(
        f"kvmdbg.core.{part}"
        for part in ("calls", "context", "frames", "hooks", "linux", "locations", "moves", "points")
    ),
    *(f"kvmdbg.core.{part}" for part in ("patches", "peripherals", "recordings", "skips", "snapshots", "traces")),
}


@pytest.mark.kvm
@pytest.mark.kvm_alone
def test_batch_imports_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from kvmdbg import cli\n"
        "status = cli.main(sys.argv[1:])\n"
        f"heavy = {HEAVY} & set(sys.modules) - before\n"
        "print(sorted(heavy)); sys.exit(status)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, "--batch", "--run", *HELLO], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert found.stdout == "4\n[]\n"


def test_version_is_in_one_place() -> None:
    import tomllib

    found = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in found["project"] and found["project"]["dynamic"] == ["version"]
    assert found["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "kvmdbg.version.VERSION"}


def test_packages_are_typed() -> None:
    import tomllib

    found = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in found["tool"]["setuptools"]["package-data"]["*"]
    assert [one for one in ("kvmdbg", "gdbstub") if not (ROOT / one / "py.typed").is_file()] == []


@pytest.mark.kvm
def test_one_ex_may_hold_a_body() -> None:
    found = kvmdbg("--batch", "-ex", "b 0x1005", "-ex", "commands\nsilent\np $al\nend", "--run", *HELLO)
    assert found.stdout.splitlines() == ["Breakpoint 1 at 0x1005.", "$1 = 4"]
    assert found.stderr == "" and found.returncode == 0


@pytest.mark.kvm
def test_traced_exits_in_batch_go_to_stderr() -> None:
    found = kvmdbg("--batch", "-ex", "trace exits on io", "--run", *HELLO)
    assert found.stdout == "Each exit of io is shown from now on.\n4\n"
    assert found.stderr.splitlines()[:2] == [
        "0x1007: out port 0x3f8, 1 byte, data 0x34",
        "0x100a: out port 0x3f8, 1 byte, data 0x0a",
    ]


@pytest.mark.kvm
def test_the_guests_own_exit_status(tmp_path: Path) -> None:
    guest = tmp_path / "guest.bin"
    guest.write_bytes(bytes.fromhex("b010 e6f4 f4"))  # mov al, 0x10; out 0xf4, al; hlt
    options = ("--batch", "--load", "0x1000", "--device", "isa-debug-exit,iobase=0xf4", "--run", str(guest))
    ended = kvmdbg(*options)
    assert (ended.returncode, ended.stdout) == (33, "")
    assert ended.stderr.startswith("The guest ended with status 33: it wrote 0x10 to port 0xf4")
    assert json.loads(kvmdbg("--json", *options).stdout)["status"] == 33
    assert kvmdbg(*options, "-ex", "continue").returncode == 0  # it halted at last
    assert kvmdbg(*options, "-ex", "nonsense").returncode == 1
    assert kvmdbg(*options, "-ex", "quit").returncode == 0


@pytest.mark.kvm
def test_a_guest_that_dies_is_no_success(tmp_path: Path) -> None:
    guest = tmp_path / "guest.bin"
    guest.write_bytes(bytes.fromhex("0f011d 0a100000 0f0b 90 000000000000"))  # lidt [0x100a], which is empty; ud2
    where = ("--mode", "prot", "--load", "0x1000")
    options = ("--batch", *where)
    patience = 30 * TIME_SCALE  # what killed it is found by stepping
    died = kvmdbg(*options, "--run", str(guest), timeout=patience)
    assert died.stderr.startswith("Shutdown (triple fault) at 0x1007")
    assert died.returncode == 4
    assert kvmdbg(*where, str(guest), stdin="run\nwhy\n", timeout=patience).returncode == 4
    assert kvmdbg(*options, "--run", "-ex", "nonsense", str(guest), timeout=patience).returncode == 1
    back = ("-ex", "snapshot save first", "--run", "-ex", "snapshot restore first")
    saved = kvmdbg(*options, *back, str(guest), timeout=patience)
    assert saved.returncode == 0


def test_the_devices_are_listed() -> None:
    shown = kvmdbg("--device", "help")
    assert shown.returncode == 0
    assert "isa-debug-exit,iobase=0x501,iosize=0x2\n    the guest ends itself" in shown.stdout


@pytest.mark.kvm
@pytest.mark.parametrize("name", ["plain", "a b", "a'b", 'a"b', "a'b\"c d", 'a\\"b', "back\\slash", "end\\"])
def test_command_files_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("print 42\n")
    assert kvmdbg("--batch", "-x", str(tmp_path / name), *HELLO).stdout == "$1 = 42\n"
