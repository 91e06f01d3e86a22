"""Differences that are known, each with its reason: docs/lockstep.md has the same list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kvmdbg.lockstep.outcome import Outcome


@dataclass(frozen=True)
class Listed:
    """``covers`` says of an outcome's instruction, its name and bytes, whether this is it."""

    name: str
    engine: str
    reason: str
    covers: Callable[[str, bytes, Outcome], bool]


def _named(*names: str) -> Callable[[str, bytes, Outcome], bool]:
    return lambda name, code, outcome: name in names


def _handler(outcome: Outcome) -> bool:
    """Whether only one of the two went to a handler: RIP and RSP differ."""
    what = {one.what for one in outcome.differences}
    return {"register rip", "register rsp"} <= what


def _only(outcome: Outcome, *what: str) -> bool:
    return all(one.what in what for one in outcome.differences)


def _number(text: str) -> int:
    return int(text.replace(" ", ""), 16)


RESERVED = frozenset(f"flag bit {bit} of rflags" for bit in (3, 5, 15, *range(22, 64)))
COMPARES = ("fcomi", "fucomi", "fcompi", "fucompi", "fcomip", "fucomip")
LISTED = (
    Listed(
        "lzcnt, tzcnt", "kvm", "KVM's instruction emulator runs bsr and bsf", _named("lzcnt", "tzcnt")
    ),
    Listed(
        "aam, aad", "kvm", "KVM's instruction emulator sets flags by more than AL", _named("aam", "aad")
    ),
    Listed(
        "cmpxchg", "kvm", "KVM's instruction emulator clears the upper half of a register that is left as it is",
        lambda name, code, outcome: name == "cmpxchg" and all(
            one.what.startswith("register r") and int(one.first, 16) == int(one.second, 16) & 0xFFFFFFFF
            for one in outcome.differences
        ),
    ),
    Listed(
        "refused read and write", "kvm", "KVM's instruction emulator reads from the device before it finds #GP",
        lambda name, code, outcome: all(
            one.what == "device" and one.first.startswith("mmio read") and one.second == "no access"
            for one in outcome.differences
        ),
    ),
    Listed(
        "movbe", "kvm", "KVM's instruction emulator raises #UD where CPUID has no MOVBE", _named("movbe")
    ),
    Listed(
        "limits of segments", "soft", "unicorn checks no limit of a data segment",
        lambda name, code, outcome: _handler(outcome),
    ),
    Listed(
        "exception flags of x87", "soft", "unicorn sets PE, C1 and most others of the status word never",
        lambda name, code, outcome: _only(outcome, "register x87 status word"),
    ),
    Listed(
        "fcomi, fucomi", "soft", "unicorn leaves OF, SF and AF, which a CPU clears",
        lambda name, code, outcome: name in COMPARES and _only(outcome, "flag AF", "flag SF", "flag OF"),
    ),
    Listed("pcmpestrm, pcmpestri", "soft", "unicorn takes the lengths otherwise", _named("pcmpestrm", "pcmpestri")),
    Listed("rcpps, rsqrtps", "soft", "approximations, which each CPU has its own of", _named("rcpps", "rsqrtps")),
    Listed(
        "reserved flags", "kvm", "QEMU, under its SVM, leaves numbers in EFLAGS behind some rotates and shifts",
        lambda name, code, outcome: any(one.what in RESERVED and one.first == "1" for one in outcome.differences),
    ),
    Listed(
        "dirty bit of a device's page", "kvm", "KVM looks the page up for the read of an instruction that writes, too",
        lambda name, code, outcome: all(
            one.what.startswith("memory") and _number(one.first) | 0x40 == _number(one.second)
            for one in outcome.differences
        ),
    ),
    Listed(
        "blsi", "kvm", "QEMU before 9.1, under its SVM, sets CF the other way round",
        lambda name, code, outcome: name == "blsi" and _only(outcome, "flag CF"),
    ),
)  # fmt: skip


def listed(outcome: Outcome, engines: tuple[str, str]) -> str | None:
    """The name of what a difference is, None where it is none of these."""
    if outcome.at is None:
        return None
    name = outcome.at.text.split()[0]
    for one in LISTED:
        if one.engine in engines and one.covers(name, outcome.at.code, outcome):
            return one.name
    return None
