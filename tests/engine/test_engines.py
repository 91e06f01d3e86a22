"""Which engine runs the guest: KVM, or software where there is none."""

from __future__ import annotations

import pytest

from kvmdbg.engine import host
from kvmdbg.engine.host import KvmHost, host_of
from kvmdbg.engine.soft_host import SoftHost
from kvmdbg.errors import KvmUnavailable, NotSupportedHere, UsageError
from kvmdbg.soft import library


class NoKvm:
    def __init__(self) -> None:
        raise KvmUnavailable("/dev/kvm does not exist")


class SomeKvm:
    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KVMDBG_ENGINE", raising=False)


def test_auto_takes_kvm_where_it_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "System", SomeKvm)
    found, note = host_of()
    assert isinstance(found, KvmHost) and not note


def test_auto_takes_software_where_it_cannot_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "System", NoKvm)
    found, note = host_of("auto")
    assert isinstance(found, SoftHost)
    assert note == "/dev/kvm does not exist. The guest runs in software (--engine soft)."


def test_without_both_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "System", NoKvm)
    monkeypatch.setattr(library, "find", lambda: None)
    with pytest.raises(KvmUnavailable, match=r"^/dev/kvm does not exist; .*pip install 'kvmdbg\[soft\]'"):
        host_of("auto")
    with pytest.raises(NotSupportedHere, match=r"pip install 'kvmdbg\[soft\]'"):
        host_of("soft")


def test_the_environment_is_asked_where_nobody_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVMDBG_ENGINE", "soft")
    assert isinstance(host_of()[0], SoftHost)
    assert isinstance(host_of("kvm")[0], KvmHost)
    monkeypatch.setenv("KVMDBG_ENGINE", "warp")
    with pytest.raises(UsageError, match=r"no engine 'warp' \(of the environment's KVMDBG_ENGINE\): there are"):
        host_of()
