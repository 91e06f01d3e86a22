"""CPUID's features, set and hidden as ``--cpu`` says."""

from __future__ import annotations

from kvmdbg.errors import NotSupportedHere, UsageError
from kvmdbg.kvm import abi
from kvmdbg.x86 import cpuid


def apply_features(table: abi.kvm_cpuid2, changes: str) -> None:
    """Set and clear feature bits in a CPUID table, as ``+avx,-smep``. UsageError for a name that is none."""
    for word in filter(None, (part.strip() for part in changes.split(","))):
        name = word.lstrip("+-").lower()
        if name not in cpuid.FEATURES or word[0] not in "+-":
            import difflib

            near = difflib.get_close_matches(name, cpuid.FEATURES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"--cpu takes +FEATURE and -FEATURE, as /proc/cpuinfo names them, not {word!r}{hint}")
        leaf, subleaf, register, bit = cpuid.FEATURES[name]
        for one in table.entries[: table.nent]:
            if (one.function, one.index) == (leaf, subleaf):
                value = getattr(one, register)
                setattr(one, register, value | 1 << bit if word[0] == "+" else value & ~(1 << bit))
                break
        else:
            if word[0] == "+":
                raise UsageError(f"--cpu: this host's CPUID has no leaf {leaf:#x}, where {name} is")


def check_features(table: abi.kvm_cpuid2, changes: str) -> None:
    """NotSupportedHere where KVM did not take a change: one that runs user code natively cannot hide all of it."""
    for word in filter(None, (part.strip() for part in changes.split(","))):
        leaf, subleaf, register, bit = cpuid.FEATURES[word.lstrip("+-").lower()]
        for one in table.entries[: table.nent]:
            is_set = bool(getattr(one, register) >> bit & 1)
            if (one.function, one.index) == (leaf, subleaf) and is_set != (word[0] == "+"):
                raise NotSupportedHere(
                    f"this KVM does not take --cpu {word}: it keeps what the CPU itself shows; "
                    "one on hardware virtualization takes it"
                )
