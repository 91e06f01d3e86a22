"""No /dev/kvm, no permission, another version: one sentence that says what to do, and exit status 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmdbg import cli
from kvmdbg.errors import KvmUnavailable
from kvmdbg.kvm import System, abi, system

HELLO = str(Path(__file__).parents[2] / "guests" / "hello16.bin")


def opening(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(path: str, flags: int, *rest: object) -> int:
        raise error

    monkeypatch.setattr(system.os, "open", refuse)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory"), ["does not exist", "modprobe", "firmware"]),
        (PermissionError(13, "Permission denied"), ["no permission", "do this"]),
        (OSError(19, "No such device"), ["No such device", "module"]),
    ],
)
def test_message(monkeypatch: pytest.MonkeyPatch, error: OSError, words: list[str]) -> None:
    opening(monkeypatch, error)
    monkeypatch.setattr(system, "advice", lambda path: f"do this to {path}")
    with pytest.raises(KvmUnavailable) as caught:
        System()
    text = str(caught.value)
    assert "\n" not in text
    for word in ["/dev/kvm", *words]:
        assert word in text


def test_a_file_that_is_no_kvm(tmp_path: Path) -> None:
    path = tmp_path / "kvm"
    path.write_bytes(b"")
    with pytest.raises(KvmUnavailable, match="not a KVM device"):
        System(str(path))


def test_another_api_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.os, "open", lambda path, flags: os.dup(0))
    monkeypatch.setattr(system.fcntl, "ioctl", lambda fd, request, argument=0: 11)
    with pytest.raises(KvmUnavailable, match="API version 11, kvmdbg needs 12"):
        System()


def test_a_missing_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.os, "open", lambda path, flags: os.dup(0))
    answers = {abi.KVM_GET_API_VERSION: 12, abi.KVM_CHECK_EXTENSION: 0}
    monkeypatch.setattr(system.fcntl, "ioctl", lambda fd, request, argument=0: answers[request])
    with pytest.raises(KvmUnavailable, match=r"lacks KVM_CAP_SYNC_REGS: it needs Linux 4\.17"):
        System().require(abi.KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS", "it needs Linux 4.17 or later")


def test_the_command_ends_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opening(monkeypatch, PermissionError(13, "Permission denied"))
    monkeypatch.setattr("sys.argv", ["kvmdbg", "--engine", "kvm", "--batch", "--run", HELLO])
    real_open = os.open
    assert real_open is not None
    assert cli.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no permission to open /dev/kvm: " in err
    assert "Traceback" not in err
