"""Feature bits of CPUID by their names.

Names as Linux's /proc/cpuinfo has them. Source: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
"""

from __future__ import annotations

_WORDS: dict[tuple[int, int, str], str] = {
    (
        1,
        0,
        "edx",
    ): "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr "
    "sse sse2 ss ht tm ia64 pbe",
    (
        1,
        0,
        "ecx",
    ): "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 "
    "sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor",
    (
        7,
        0,
        "ebx",
    ): "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx "
    "rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni "
    "avx512bw avx512vl",
    (
        7,
        0,
        "ecx",
    ): "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg - "
    "avx512_vpopcntdq - la57 - - - - - rdpid - - cldemote - movdiri movdir64b enqcmd sgx_lc",
    (
        7,
        0,
        "edx",
    ): "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - "
    "pconfig - ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl intel_stibp flush_l1d arch_capabilities - ssbd",
    (
        0x80000001,
        0,
        "edx",
    ): "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    (
        0x80000001,
        0,
        "ecx",
    ): "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop "
    "skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx",
    (0x80000007, 0, "edx"): "- - - - - - - - constant_tsc",
    (0x4000_0001, 0, "eax"): "kvm_clocksource kvm_nop_io_delay kvm_mmu_op kvm_clocksource2 kvm_async_pf kvm_steal_time "
    "kvm_pv_eoi kvm_pv_unhalt - kvm_pv_tlb_flush - kvm_pv_ipi kvm_poll_control",
}
FEATURES: dict[str, tuple[int, int, str, int]] = {
    name: (leaf, subleaf, register, bit)
    for (leaf, subleaf, register), names in _WORDS.items()
    for bit, name in enumerate(names.split())
    if name != "-"
}
"""Leaf, sub-leaf, register and bit of each feature."""


def names(leaf: int, subleaf: int, register: str, value: int) -> list[str]:
    """The features that are set in a register of a leaf."""
    words = _WORDS.get((leaf, subleaf, register), "").split()
    return [name for bit, name in enumerate(words) if name != "-" and value >> bit & 1]
