"""Names of model-specific registers.

Source: Intel SDM volume 4, chapter 2 (architectural MSRs); AMD APM volume 2, appendix A; Linux's
Documentation/virt/kvm/x86/msr.rst for KVM's own.
"""

from __future__ import annotations

NAMES = {
    "tsc": 0x10, "apic_base": 0x1B, "feature_control": 0x3A, "tsc_adjust": 0x3B, "spec_ctrl": 0x48, "pred_cmd": 0x49,
    "bios_update_trig": 0x79, "bios_sign_id": 0x8B, "smm_monitor_ctl": 0x9B, "mperf": 0xE7, "aperf": 0xE8,
    "mtrrcap": 0xFE, "arch_capabilities": 0x10A, "flush_cmd": 0x10B, "sysenter_cs": 0x174, "sysenter_esp": 0x175,
    "sysenter_eip": 0x176, "mcg_cap": 0x179, "mcg_status": 0x17A, "mcg_ctl": 0x17B, "perf_status": 0x198,
    "perf_ctl": 0x199, "clock_modulation": 0x19A, "therm_interrupt": 0x19B, "therm_status": 0x19C,
    "misc_enable": 0x1A0, "debugctl": 0x1D9, "mtrr_physbase0": 0x200, "mtrr_physmask0": 0x201,
    "mtrr_fix64k_00000": 0x250, "mtrr_fix16k_80000": 0x258, "mtrr_fix16k_a0000": 0x259, "mtrr_fix4k_c0000": 0x268,
    "mtrr_fix4k_c8000": 0x269, "mtrr_fix4k_d0000": 0x26A, "mtrr_fix4k_d8000": 0x26B, "mtrr_fix4k_e0000": 0x26C,
    "mtrr_fix4k_e8000": 0x26D, "mtrr_fix4k_f0000": 0x26E, "mtrr_fix4k_f8000": 0x26F, "pat": 0x277,
    "mtrr_def_type": 0x2FF, "perf_capabilities": 0x345, "fixed_ctr0": 0x309, "fixed_ctr_ctrl": 0x38D,
    "perf_global_status": 0x38E, "perf_global_ctrl": 0x38F, "mc0_ctl": 0x400, "mc0_status": 0x401, "vmx_basic": 0x480,
    "ds_area": 0x600, "u_cet": 0x6A0, "s_cet": 0x6A2, "pl0_ssp": 0x6A4, "tsc_deadline": 0x6E0, "x2apic_id": 0x802,
    "x2apic_version": 0x803, "x2apic_tpr": 0x808, "x2apic_eoi": 0x80B, "x2apic_svr": 0x80F, "x2apic_icr": 0x830,
    "xss": 0xDA0, "efer": 0xC0000080, "star": 0xC0000081, "lstar": 0xC0000082, "cstar": 0xC0000083,
    "sfmask": 0xC0000084, "fs_base": 0xC0000100, "gs_base": 0xC0000101, "kernel_gs_base": 0xC0000102,
    "tsc_aux": 0xC0000103, "tsc_ratio": 0xC0000104, "syscfg": 0xC0010010, "hwcr": 0xC0010015, "vm_cr": 0xC0010114,
    "vm_hsave_pa": 0xC0010117, "kvm_wall_clock": 0x4B564D00, "kvm_system_time": 0x4B564D01,
    "kvm_async_pf_en": 0x4B564D02, "kvm_steal_time": 0x4B564D03, "kvm_pv_eoi_en": 0x4B564D04,
    "kvm_poll_control": 0x4B564D05,
}  # fmt: skip
_BY_INDEX = {index: name for name, index in NAMES.items()}


def name_of(index: int) -> str:
    """The MSR's name, "" where it has none here."""
    return _BY_INDEX.get(index, "")


def index_of(name: str) -> int | None:
    """The index of a name, with or without IA32_ and MSR_ before it, in any case."""
    word = name.lower()
    for prefix in ("msr_", "ia32_"):
        word = word.removeprefix(prefix)
    return NAMES.get(word)
