"""Named bits of RFLAGS, CR0, CR4 and EFER.

Source: Intel SDM volume 1, section 3.4.3; volume 3A, sections 2.3, 2.5 and 2.2.1.
"""

from __future__ import annotations

DECODED: dict[str, tuple[tuple[str, int, str], ...]] = {
    "rflags": (
        ("CF", 0, "carry"), ("PF", 2, "parity"), ("AF", 4, "auxiliary carry"), ("ZF", 6, "zero"), ("SF", 7, "sign"),
        ("TF", 8, "trap"), ("IF", 9, "interrupts enabled"), ("DF", 10, "direction"), ("OF", 11, "overflow"),
        ("NT", 14, "nested task"), ("RF", 16, "resume"), ("VM", 17, "virtual 8086"), ("AC", 18, "alignment check"),
        ("VIF", 19, "virtual interrupt"), ("VIP", 20, "virtual interrupt pending"), ("ID", 21, "CPUID available"),
    ),
    "cr0": (
        ("PE", 0, "protected mode"), ("MP", 1, "monitor coprocessor"), ("EM", 2, "emulation"),
        ("TS", 3, "task switched"), ("ET", 4, "extension type"), ("NE", 5, "numeric error"),
        ("WP", 16, "write protect"), ("AM", 18, "alignment mask"), ("NW", 29, "not write-through"),
        ("CD", 30, "cache disable"), ("PG", 31, "paging"),
    ),
    "cr4": (
        ("VME", 0, "virtual 8086 extensions"), ("PVI", 1, "virtual interrupts"), ("TSD", 2, "time stamp disable"),
        ("DE", 3, "debugging extensions"), ("PSE", 4, "page size extensions"), ("PAE", 5, "physical address extension"),
        ("MCE", 6, "machine check"), ("PGE", 7, "global pages"), ("PCE", 8, "performance counters"),
        ("OSFXSR", 9, "FXSAVE and SSE"), ("OSXMMEXCPT", 10, "SSE exceptions"), ("UMIP", 11, "user-mode prevention"),
        ("LA57", 12, "5-level paging"), ("VMXE", 13, "VMX"), ("SMXE", 14, "SMX"), ("FSGSBASE", 16, "FSGSBASE"),
        ("PCIDE", 17, "process-context identifiers"), ("OSXSAVE", 18, "XSAVE"), ("KL", 19, "key locker"),
        ("SMEP", 20, "supervisor execution prevention"), ("SMAP", 21, "supervisor access prevention"),
        ("PKE", 22, "protection keys"), ("CET", 23, "control-flow enforcement"), ("PKS", 24, "supervisor keys"),
    ),
    "efer": (
        ("SCE", 0, "SYSCALL"), ("LME", 8, "long mode enable"), ("LMA", 10, "long mode active"),
        ("NXE", 11, "no-execute"), ("SVME", 12, "SVM"), ("LMSLE", 13, "segment limits"), ("FFXSR", 14, "fast FXSAVE"),
    ),
}  # fmt: skip


def decode(register: str, value: int) -> list[str]:
    """Names of the bits that are set, from bit 0 up."""
    return [name for name, bit, _ in DECODED[register] if value >> bit & 1]


def format_flags(rflags: int) -> str:
    """The set flags and the I/O privilege level, as "ZF PF IOPL=0"."""
    names = list(reversed(decode("rflags", rflags)))
    return " ".join([*names, f"IOPL={rflags >> 12 & 3}"])
