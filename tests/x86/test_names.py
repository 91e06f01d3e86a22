"""Names of bits and registers, each beside its number as the manuals give it."""

from __future__ import annotations

import pytest

from kvmdbg.x86 import cpuid, flags, msrs, registers
from kvmdbg.x86.modes import COMPAT16, COMPAT32, LONG64, PROT16, PROT32, REAL, V86, Mode, mode_of
from kvmdbg.x86.registers import Register
from kvmdbg.x86.xsave import AVX, SSE, X87, XsaveArea

# --- RFLAGS, CR0, CR4, EFER (SDM volume 1, figure 3-8; volume 3A, figure 2-7, 2.2.1) ---------------------

BITS = {
    "rflags": "CF 0 PF 2 AF 4 ZF 6 SF 7 TF 8 IF 9 DF 10 OF 11 NT 14 RF 16 VM 17 AC 18 VIF 19 VIP 20 ID 21",
    "cr0": "PE 0 MP 1 EM 2 TS 3 ET 4 NE 5 WP 16 AM 18 NW 29 CD 30 PG 31",
    "cr4": "VME 0 PVI 1 TSD 2 DE 3 PSE 4 PAE 5 MCE 6 PGE 7 PCE 8 OSFXSR 9 OSXMMEXCPT 10 UMIP 11 LA57 12 VMXE 13 "
    "SMXE 14 FSGSBASE 16 PCIDE 17 OSXSAVE 18 KL 19 SMEP 20 SMAP 21 PKE 22 CET 23 PKS 24",
    "efer": "SCE 0 LME 8 LMA 10 NXE 11 SVME 12 LMSLE 13 FFXSR 14",
}


@pytest.mark.parametrize("register", BITS)
def test_each_bit(register: str) -> None:
    words = BITS[register].split()
    named = dict(zip(map(int, words[1::2]), words[::2], strict=True))
    for bit in range(64):
        assert flags.decode(register, 1 << bit) == ([named[bit]] if bit in named else [])
    assert flags.decode(register, (1 << 64) - 1) == list(named.values())


@pytest.mark.parametrize("name", ["CF", "ZF", "IF", "TF", "RF"])
def test_each_flag_by_its_own_name(name: str) -> None:
    assert flags.decode("rflags", getattr(registers, f"EFLAGS_{name}")) == [name]


@pytest.mark.parametrize(
    ("rflags", "shown"),
    [(2, "IOPL=0"), (0x246, "IF ZF PF IOPL=0"), (0x3002, "IOPL=3"), (0x1001, "CF IOPL=1"), (0x6002, "NT IOPL=2")],
)
def test_flags_as_shown(rflags: int, shown: str) -> None:
    assert flags.format_flags(rflags) == shown


# --- modes (SDM volume 3A, 2.2) -----------------------------------------------------------------------

PE, PG, LMA, VM = 1, 1 << 31, 1 << 10, 1 << 17


@pytest.mark.parametrize(
    ("cr0", "efer", "rflags", "l", "db", "mode"),
    [
        (0x10, 0, 2, 0, 0, REAL), (0x10, 0, 2 | VM, 0, 1, REAL), (PG, LMA, 2, 1, 0, REAL),
        (PE, 0, 2, 0, 1, PROT32), (PE, 0, 2, 0, 0, PROT16), (PE | PG, 0, 2, 1, 1, PROT32),
        (PE, 1 << 8, 2, 0, 1, PROT32),
        (PE | PG, 0, 2 | VM, 0, 0, V86), (PE | PG, 0, 2 | VM, 0, 1, V86),
        (PE | PG, LMA, 2, 1, 0, LONG64), (PE | PG, LMA, 2, 0, 1, COMPAT32), (PE | PG, LMA, 2, 0, 0, COMPAT16),
        (PE | PG, LMA, 2 | VM, 1, 0, LONG64),
    ],
)  # fmt: skip
def test_modes(cr0: int, efer: int, rflags: int, l: int, db: int, mode: Mode) -> None:  # noqa: E741
    assert mode_of(cr0, efer, rflags, l, db) is mode


def test_widths_of_modes() -> None:
    modes = (REAL, V86, PROT16, PROT32, LONG64, COMPAT32, COMPAT16)
    assert [one.bits for one in modes] == [16, 16, 16, 32, 64, 32, 16]
    assert [one.name for one in modes if one.segmented] == ["real", "v86"]


# --- MSRs (SDM volume 4, table 2-2; AMD APM volume 2, appendix A; Linux, msr.rst) -------------------------

MSRS = """
10 IA32_TIME_STAMP_COUNTER=tsc; 1b IA32_APIC_BASE; 3a IA32_FEATURE_CONTROL; 3b IA32_TSC_ADJUST; 48 IA32_SPEC_CTRL
49 IA32_PRED_CMD; 79 IA32_BIOS_UPDT_TRIG=bios_update_trig; 8b IA32_BIOS_SIGN_ID; 9b IA32_SMM_MONITOR_CTL; e7 IA32_MPERF
e8 IA32_APERF; fe IA32_MTRRCAP; 10a IA32_ARCH_CAPABILITIES; 10b IA32_FLUSH_CMD; 174 IA32_SYSENTER_CS
175 IA32_SYSENTER_ESP; 176 IA32_SYSENTER_EIP; 179 IA32_MCG_CAP; 17a IA32_MCG_STATUS; 17b IA32_MCG_CTL
198 IA32_PERF_STATUS; 199 IA32_PERF_CTL; 19a IA32_CLOCK_MODULATION; 19b IA32_THERM_INTERRUPT; 19c IA32_THERM_STATUS
1a0 IA32_MISC_ENABLE; 1d9 IA32_DEBUGCTL; 200 IA32_MTRR_PHYSBASE0; 201 IA32_MTRR_PHYSMASK0
250 IA32_MTRR_FIX64K_00000; 258 IA32_MTRR_FIX16K_80000; 259 IA32_MTRR_FIX16K_A0000; 268 IA32_MTRR_FIX4K_C0000
269 IA32_MTRR_FIX4K_C8000; 26a IA32_MTRR_FIX4K_D0000; 26b IA32_MTRR_FIX4K_D8000; 26c IA32_MTRR_FIX4K_E0000
26d IA32_MTRR_FIX4K_E8000; 26e IA32_MTRR_FIX4K_F0000; 26f IA32_MTRR_FIX4K_F8000; 277 IA32_PAT; 2ff IA32_MTRR_DEF_TYPE
309 IA32_FIXED_CTR0; 345 IA32_PERF_CAPABILITIES; 38d IA32_FIXED_CTR_CTRL; 38e IA32_PERF_GLOBAL_STATUS
38f IA32_PERF_GLOBAL_CTRL; 400 IA32_MC0_CTL; 401 IA32_MC0_STATUS; 480 IA32_VMX_BASIC; 600 IA32_DS_AREA; 6a0 IA32_U_CET
6a2 IA32_S_CET; 6a4 IA32_PL0_SSP; 6e0 IA32_TSC_DEADLINE; 802 IA32_X2APIC_APICID=x2apic_id; 803 IA32_X2APIC_VERSION
808 IA32_X2APIC_TPR; 80b IA32_X2APIC_EOI; 80f IA32_X2APIC_SIVR=x2apic_svr; 830 IA32_X2APIC_ICR; da0 IA32_XSS
c0000080 IA32_EFER; c0000081 IA32_STAR; c0000082 IA32_LSTAR; c0000083 IA32_CSTAR; c0000084 IA32_FMASK=sfmask
c0000100 IA32_FS_BASE; c0000101 IA32_GS_BASE; c0000102 IA32_KERNEL_GS_BASE; c0000103 IA32_TSC_AUX
c0000104 MSR_TSC_RATIO; c0010010 MSR_SYSCFG; c0010015 MSR_HWCR; c0010114 MSR_VM_CR; c0010117 MSR_VM_HSAVE_PA
4b564d00 MSR_KVM_WALL_CLOCK; 4b564d01 MSR_KVM_SYSTEM_TIME; 4b564d02 MSR_KVM_ASYNC_PF_EN; 4b564d03 MSR_KVM_STEAL_TIME
4b564d04 MSR_KVM_PV_EOI_EN; 4b564d05 MSR_KVM_POLL_CONTROL
"""


def test_msrs_by_their_numbers_in_the_manuals() -> None:
    found = {}
    for row in MSRS.replace("\n", ";").split(";"):
        if row.strip():
            number, _, name = row.strip().partition(" ")
            official, _, ours = name.partition("=")
            found[ours or official.lower().removeprefix("ia32_").removeprefix("msr_")] = int(number, 16)
            if not ours:
                assert msrs.index_of(official) == int(number, 16)
    assert found == msrs.NAMES


def test_msr_by_name_and_by_number() -> None:
    assert msrs.name_of(0xC0000080) == "efer" and msrs.name_of(0x11) == ""
    for name in ("lstar", "LSTAR", "IA32_LSTAR", "msr_lstar", "MSR_IA32_LSTAR"):
        assert msrs.index_of(name) == 0xC0000082
    assert msrs.index_of("lstar2") is None


# --- CPUID (SDM volume 2A, CPUID; AMD APM volume 3, appendix E; Linux, cpuid.rst) --------------------------

FEATURES = {
    (1, "edx"): "fpu 0 vme 1 pse 3 tsc 4 msr 5 pae 6 cx8 8 apic 9 sep 11 mtrr 12 pge 13 pat 16 pse36 17 "
    "mmx 23 sse2 26 pbe 31",
    (1, "ecx"): "pni 0 monitor 3 vmx 5 fma 12 cx16 13 pcid 17 x2apic 21 tsc_deadline_timer 24 "
    "xsave 26 avx 28 hypervisor 31",
    (7, "ebx"): "fsgsbase 0 sgx 2 smep 7 erms 9 invpcid 10 mpx 14 smap 20 clflushopt 23 clwb 24 sha_ni 29 avx512vl 31",
    (7, "ecx"): "avx512vbmi 1 umip 2 pku 3 shstk 7 avx512_vpopcntdq 14 la57 16 rdpid 22 movdir64b 28 sgx_lc 30",
    (7, "edx"): "avx512_4vnniw 2 fsrm 4 md_clear 10 serialize 14 ibt 20 spec_ctrl 26 arch_capabilities 29 ssbd 31",
    (0x80000001, "edx"): "syscall 11 mp 19 nx 20 fxsr_opt 25 pdpe1gb 26 rdtscp 27 lm 29 3dnow 31",
    (0x80000001, "ecx"): "lahf_lm 0 svm 2 abm 5 ibs 10 wdt 13 fma4 16 topoext 22 bpext 26 mwaitx 29",
    (0x80000007, "edx"): "constant_tsc 8",
    (0x40000001, "eax"): "kvm_clocksource 0 kvm_clocksource2 3 kvm_pv_unhalt 7 kvm_pv_tlb_flush 9 kvm_poll_control 12",
}  # fmt: skip


def test_features_of_cpuid() -> None:
    for (leaf, register), text in FEATURES.items():
        words = text.split()
        for name, bit in zip(words[::2], map(int, words[1::2]), strict=True):
            assert cpuid.FEATURES[name] == (leaf, 0, register, bit)
            assert cpuid.names(leaf, 0, register, 1 << bit) == [name]
    assert cpuid.names(1, 0, "edx", 1 << 10 | 1 << 20) == []  # nothing has these bits
    assert cpuid.names(1, 0, "edx", 0b11) == ["fpu", "vme"]
    assert cpuid.names(1, 0, "eax", 1) == cpuid.names(2, 0, "edx", 1) == cpuid.names(7, 1, "ebx", 1) == []
    assert "-" not in cpuid.FEATURES


# --- registers (SDM volume 1, 3.4 and 3.7.2) ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parent", "bits", "shift"),
    [
        *((f"r{one}x", f"r{one}x", 64, 0) for one in "abcd"), *((f"e{one}x", f"r{one}x", 32, 0) for one in "abcd"),
        *((f"{one}x", f"r{one}x", 16, 0) for one in "abcd"), *((f"{one}l", f"r{one}x", 8, 0) for one in "abcd"),
        *((f"{one}h", f"r{one}x", 8, 8) for one in "abcd"),
        *((f"r{one}", f"r{one}", 64, 0) for one in ("si", "di", "sp", "bp")),
        *((f"e{one}", f"r{one}", 32, 0) for one in ("si", "di", "sp", "bp")),
        *((one, f"r{one}", 16, 0) for one in ("si", "di", "sp", "bp")),
        *((f"{one}l", f"r{one}", 8, 0) for one in ("si", "di", "sp", "bp")),
        *((f"r{n}", f"r{n}", 64, 0) for n in range(8, 16)), *((f"r{n}d", f"r{n}", 32, 0) for n in range(8, 16)),
        *((f"r{n}w", f"r{n}", 16, 0) for n in range(8, 16)), *((f"r{n}b", f"r{n}", 8, 0) for n in range(8, 16)),
        *((f"r{n}l", f"r{n}", 8, 0) for n in range(8, 16)),
        ("rip", "rip", 64, 0), ("eip", "rip", 32, 0), ("ip", "rip", 16, 0),
        ("rflags", "rflags", 64, 0), ("eflags", "rflags", 32, 0), ("flags", "rflags", 16, 0),
        *((one, one, 16, 0) for one in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr")),
        *((f"{one}_base", f"{one}_base", 64, 0) for one in ("cs", "fs", "tr", "ldtr")),
        *((f"{one}_limit", f"{one}_limit", 32, 0) for one in ("cs", "ss", "tr", "ldtr")),
        ("gdtr", "gdtr_base", 64, 0), ("idtr_base", "idtr_base", 64, 0), ("idtr_limit", "idtr_limit", 16, 0),
        *((f"cr{n}", f"cr{n}", 64, 0) for n in (0, 2, 3, 4, 8)),
        *((f"dr{n}", f"dr{n}", 64, 0) for n in (0, 1, 2, 3, 6, 7)),
        ("efer", "efer", 64, 0), ("apic_base", "apic_base", 64, 0),
    ],
)  # fmt: skip
def test_registers(name: str, parent: str, bits: int, shift: int) -> None:
    for written in (name, name.upper()):
        found = registers.lookup(written)
        assert found is not None and (found.name, found.parent, found.bits, found.shift) == (name, parent, bits, shift)
        assert found.writable
    assert name in registers.names()


def test_what_is_no_register() -> None:
    assert all(registers.lookup(name) is None for name in ("r16", "r7", "cr1", "cr5", "dr4", "dr5", "rx", "sih", ""))
    assert len(registers.names()) == len(set(registers.names())) == 16 * 4 + 4 + 8 + 3 + 3 + 8 * 3 + 2 * 3 + 5 + 2 + 6


def test_parts_of_a_register() -> None:
    value = 0x1122334455667788
    parts = {"rax": value, "eax": 0x55667788, "ax": 0x7788, "al": 0x88, "ah": 0x77}
    for name, part in parts.items():
        register = registers.lookup(name)
        assert isinstance(register, Register) and registers.extract(register, value) == part
    changed = {"rax": 0xFFFFFFFFFFFFFFFF, "eax": 0x11223344FFFFFFFF, "ax": 0x112233445566FFFF, "al": 0x11223344556677FF,
               "ah": 0x112233445566FF88}  # fmt: skip
    for name, whole in changed.items():
        register = registers.lookup(name)
        assert register is not None and registers.insert(register, value, (1 << 64) - 1) == whole
        assert registers.insert(register, value, 0) == whole & ~(((1 << register.bits) - 1) << register.shift)


def test_registers_as_shown_in_a_mode() -> None:
    assert registers.general_names(64) == registers.GENERAL and len(registers.GENERAL) == 18
    assert registers.general_names(16) == registers.general_names(32)
    assert registers.general_names(32)[:2] == ("eax", "ebx") and registers.general_names(32)[-2:] == ("eip", "eflags")


def test_flags_by_number() -> None:
    assert (registers.EFLAGS_TF, registers.EFLAGS_RF, registers.DR6_BS) == (0x100, 0x10000, 0x4000)
    assert {1, 3, 4, 8, 18} < registers.NO_FAULTS and not registers.NO_FAULTS & {0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17}


# --- XSAVE (SDM volume 1, 13.4 and table 10-2) -----------------------------------------------------------


def test_layout_of_the_xsave_area() -> None:
    wanted = {
        "fcw": 0, "fsw": 2, "ftwx": 4, "last_opcode": 6, "last_ip": 8, "last_dp": 16, "mxcsr": 24, "mxcsr_mask": 28,
        "fpr": 32, "xmm": 160, "xstate_bv": 512, "xcomp_bv": 520, "upper": 576,
    }  # fmt: skip
    assert {name: getattr(XsaveArea, name).offset for name in wanted} == wanted
    assert XsaveArea.upper.size == XsaveArea.xmm.size == 256 and XsaveArea.fpr.size == 128
    assert (X87, SSE, AVX) == (1, 2, 4)


def test_upper_half_of_ymm_is_zero_until_avx_is_in_use() -> None:
    area = XsaveArea(xstate_bv=3)
    area.upper[5][:] = range(16)
    assert area.ymm_high(5) == bytes(16)
    area.xstate_bv = AVX
    assert area.ymm_high(5) == bytes(range(16)) and area.ymm_high(4) == bytes(16)
