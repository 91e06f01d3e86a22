"""``kvmdbg --doctor``: each fact by itself, whatever else is wrong with the host."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg import cli, doctor
from kvmdbg.kvm.rights import advice
from kvmdbg.soft import library
from kvmdbg.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
TITLES = [title for title, _ in doctor.SECTIONS]


def titles(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(" ")]


def block(monkeypatch: pytest.MonkeyPatch, error: OSError | str) -> None:
    """Opening /dev/kvm gives ``error``, or the file of that name."""
    open_it = os.open

    def refuse(path: object, *rest: int, **more: int) -> int:
        if path != doctor.DEVICE:
            return open_it(path, *rest, **more)  # type: ignore[arg-type]
        if isinstance(error, OSError):
            raise error
        return open_it(error, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.kvm
@pytest.mark.kvm_alone
def test_all_is_well() -> None:
    found = doctor.examine()
    assert found.healthy and titles(found.text) == TITLES
    assert "on KVM       it printed 4, as it should" in found.text and "single step" in found.text
    assert "  but  " not in found.text
    assert f"{VERSION}, in {ROOT}/kvmdbg" in found.text and "capstone 5" in found.text
    assert "gdb -ex 'target remote :1234'" in found.text and "lldb -o 'gdb-remote 1234'" in found.text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), "load the module (modprobe kvm_intel"),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to open /dev/kvm: "),
        (OSError(errno.EBUSY, "Device or resource busy"), "Device or resource busy; is a KVM module loaded?"),
        ("/dev/null", "is not a KVM device"),
    ],
)
def test_without_kvm_the_rest_is_told(error: OSError | str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, error)
    found = doctor.examine()
    assert titles(found.text) == TITLES
    assert says in found.text and "Traceback" not in found.text
    assert "target remote" in found.text and "capstone" in found.text
    assert found.healthy and "in software  it printed 4, as it should" in found.text


def test_without_kvm_and_unicorn_no_guest_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, FileNotFoundError(errno.ENOENT, "No such file"))
    monkeypatch.setattr(library, "find", lambda: None)
    library.load.cache_clear()
    found = doctor.examine()
    assert not found.healthy and titles(found.text) == TITLES and "kvmdbg[soft]" in found.text


def test_rights_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pwd

    device = tmp_path / "kvm"
    device.touch()
    device.chmod(0o600)
    monkeypatch.setattr(doctor, "DEVICE", str(device))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: ("me", "x", number))
    rows = [what for name, what in doctor._rows(doctor._kvm)[0] if name == str(device)]
    assert len(rows) == 1 and rows[0].startswith("-rw-------")
    assert rows[0].endswith(f", which me may not open: {advice(str(device))}")


def test_what_nobody_thought_of_is_a_row() -> None:
    def breaks() -> Iterator[doctor.Row]:
        yield "first", "known"
        raise ZeroDivisionError("by nothing")

    assert doctor._rows(breaks) == ([("first", "known"), ("but", "ZeroDivisionError: by nothing")], True)


@pytest.mark.parametrize(
    ("script", "says"),
    [("echo; echo 'gdb of mine 99'", "gdb of mine 99, "), ("exit 3", "tells no version (status 3), ")],
)
def test_other_debuggers(script: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gdb").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "gdb").chmod(0o755)
    (tmp_path / "lldb").write_text("#!/nonexistent\n")
    (tmp_path / "lldb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    rows = dict(doctor._debuggers())
    assert rows["gdb"] == f"{says}{tmp_path}/gdb" and rows["lldb"].startswith("does not start (")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert dict(doctor._debuggers())["gdb"] == "is not there"


def test_needs_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["capstone>=5", "nothere>=1", 'lz4>=4; extra == "linux"', "pytest>=8; extra == 'dev'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    rows = dict(doctor._kvmdbg())
    assert rows["needs"].startswith("capstone 5") and rows["missing"] == "nothere: pip install nothere"
    assert rows["extras"].startswith("lz4") or rows["extras"] == "none"


def test_the_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for healthy, status in ((True, 0), (False, 1)):
        monkeypatch.setattr(doctor, "examine", lambda healthy=healthy: doctor.Findings("a\x1b[31m\n", healthy))
        assert cli.main(["--doctor"]) == status
        assert capsys.readouterr().out == "a\\x1b[31m\n"


def test_nothing_of_it_is_imported_otherwise() -> None:
    code = "import sys; from kvmdbg import cli; cli.main(['--version']); print('kvmdbg.doctor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"
