"""The state of unicorn's CPU: its saved context, which is QEMU's CPUX86State, read and written as KVM's structures.

By its functions unicorn sets only a part of it (of a segment register just the selector), so that the context is
changed where it lies. Where things are in it was found out with unicorn 2.1 by writing known values through its
functions; ``State`` writes a few again and says so where they are elsewhere. Names are QEMU's (target/i386/cpu.h).
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint64, c_void_p
from typing import Any

from kvmdbg.errors import NotSupportedHere
from kvmdbg.kvm import abi
from kvmdbg.masks import LOW32
from kvmdbg.soft.library import REG_FPCW, REG_MXCSR, REG_RFLAGS, Library, check
from kvmdbg.x86.modes import CR0_PE, EFER_LMA, EFLAGS_VM
from kvmdbg.x86.registers import EFLAGS_RF

GENERAL = 0x28
RIP = 0xA8
EFLAGS, CC_SRC, CC_OP, DF, HFLAGS = 0xB0, 0xC0, 0xD0, 0xD4, 0xD8
SEGMENTS = {name: 0xE0 + 24 * number for number, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr"))}
GDT, IDT = 0x1A0, 0x1B8
CR0, CR2, CR3, CR4 = 0x1D0, 0x1E0, 0x1E8, 0x1F0
EFER = 0x278
FPU_TOP, FPU_STATUS, FPU_CONTROL, FPU_TAGS, FPU_REGISTERS = 0x284, 0x288, 0x28A, 0x28C, 0x298
FPU_OPCODE, FPU_IP, FPU_DP, MXCSR, XMM = 0x318, 0x320, 0x328, 0x358, 0x360
XMM_SIZE = 64
XMM_END = XMM + 16 * XMM_SIZE
XCR0 = 0x15B0
ERROR_CODE, IS_INT, NEXT_RIP, DR, OLD_EXCEPTION = 0x1530, 0x1534, 0x1538, 0x1540, 0x15A0
DR6, DR7 = DR + 6 * 8, DR + 7 * 8
NO_EXCEPTION = LOW32
TSC = 0x10
MSRS = {
    0x174: 0x12E8, 0x175: 0x12F0, 0x176: 0x12F8, 0x1A0: 0x1360, 0x277: 0x14C8, 0xC0000081: 0x1300, 0xC0000082: 0x1310,
    0xC0000083: 0x1318, 0xC0000084: 0x1320, 0xC0000102: 0x1328, 0xC0000103: 0x1348,
}  # fmt: skip
"""SYSENTER_CS, _ESP and _EIP, MISC_ENABLE, PAT, STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, TSC_AUX."""

CC_OP_EFLAGS = 1
CC_FLAGS = 0x8D5
"""CF, PF, AF, ZF, SF and OF, which QEMU keeps apart, and makes when somebody asks."""
OF_RESULT = 0xC4
"""PF, ZF and SF."""
EFLAGS_DF = 1 << 10
INHIBIT_IRQ = 1 << 3
"""In hflags: the shadow of sti and mov ss."""
CS32, SS32, ADDSEG, PE, LMA, CS64, OSFXSR, SMAP = (1 << bit for bit in (4, 5, 6, 7, 14, 15, 22, 23))

KVM_ORDER = (0, 3, 1, 2, 6, 7, 4, 5)
"""rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp of struct kvm_regs, by their numbers in instructions."""


def pack_segment(segment: Any) -> int:
    """The attributes as QEMU has them: the upper half of a descriptor."""
    attributes: int = (
        segment.type << 8 | segment.s << 12 | segment.dpl << 13 | segment.present << 15 | segment.avl << 20
        | segment.l << 21 | segment.db << 22 | segment.g << 23
    )  # fmt: skip
    return attributes


class State:
    """The context of the engine ``uc``. ``save`` fetches it, ``load`` gives it back."""

    def __init__(self, library: Library, uc: c_void_p) -> None:
        self._library, self._uc = library, uc
        size = library.quick.uc_context_size(uc)
        self._context = c_void_p()
        check(library.quick.uc_context_alloc(uc, ctypes.byref(self._context)), "uc_context_alloc")
        assert self._context.value is not None
        array = (ctypes.c_ubyte * size).from_address(self._context.value)
        self.bytes = memoryview(array).cast("B")
        self.u16 = self.bytes[: size // 2 * 2].cast("H")
        self.u32 = self.bytes[: size // 4 * 4].cast("I")
        self.u64 = self.bytes[: size // 8 * 8].cast("Q")
        self._sregs_made = self._xsave_made = b"", b""
        """The structure that was written last, and what lay where it has been put: while the same lies there, writing
        it again would change nothing. Going back to a snapshot is quick so."""
        self._save, self._restore = library.quick.uc_context_save, library.quick.uc_context_restore
        self.save()
        if size < OLD_EXCEPTION + 8 or not self._is_as_known():
            raise NotSupportedHere("this unicorn keeps its state otherwise than 2.1.4: pip install 'unicorn==2.1.4'")

    def _is_as_known(self) -> bool:
        known = self.u32[OLD_EXCEPTION // 4] == NO_EXCEPTION and self.u64[DR7 // 8] == 0x400
        known &= self.u64[EFER // 8] == 0x500 and self.u64[CR0 // 8] == 0x11
        return known and self.u32[CC_OP // 4] == CC_OP_EFLAGS

    def save(self) -> None:
        self._save(self._uc, self._context)

    def load(self) -> None:
        """What is in the context becomes the CPU's state. No exception is under way then."""
        self.u32[OLD_EXCEPTION // 4] = NO_EXCEPTION
        self._restore(self._uc, self._context)

    def go_back_to(self, before: bytes, flags: int) -> None:
        """To a state that was saved in the middle of an instruction, unless it has been given up there already.

        ``flags`` are those of ``flags_amid`` there: unicorn makes them again where it gives the instruction up.
        """
        if before[RIP : RIP + 8] != self.bytes[RIP : RIP + 8]:
            self.bytes[:] = before
        self.flags = flags
        self.load()

    def flags_amid(self, *, stepped: bool = False) -> int:
        """RFLAGS while an instruction is under way, ``save`` having been called.

        Unicorn has put them together before it, in the place of what they are made of; but not where what it translates
        as one begins with the instruction, as at the begin of a page, and the one before made them. The flags that
        follow from the result alone, which is kept elsewhere, tell which. It is always so where the guest steps itself
        by EFLAGS.TF (``stepped``): each instruction is translated alone.
        """
        value = c_uint64()
        check(self._library.quick.uc_reg_read(self._uc, REG_RFLAGS, ctypes.byref(value)), "uc_reg_read")
        made = self.u64[CC_SRC // 8]
        together = not stepped and not made & ~CC_FLAGS and not (value.value ^ made) & OF_RESULT
        of_cc = made if together else value.value
        direction = EFLAGS_DF if self.u32[DF // 4] != 1 else 0
        return self.u64[EFLAGS // 8] & ~(CC_FLAGS | EFLAGS_DF) | of_cc & CC_FLAGS | direction

    def close(self) -> None:
        for view in (self.u16, self.u32, self.u64, self.bytes):
            view.release()
        self._library.quick.uc_context_free(self._context)

    # --- general registers

    @property
    def rip(self) -> int:
        """EIP outside of 64-bit code, though a jump below 0 leaves its sign in the upper half."""
        rip = self.u64[RIP // 8]
        return rip if self.u32[HFLAGS // 4] & CS64 else rip & 0xFFFFFFFF

    @rip.setter
    def rip(self, value: int) -> None:
        self.u64[RIP // 8] = value

    @property
    def flags(self) -> int:
        """RFLAGS: unicorn puts them together in EFLAGS at the end of each run, and before each instruction."""
        return self.u64[EFLAGS // 8] | 2

    @flags.setter
    def flags(self, value: int) -> None:
        self.u64[EFLAGS // 8] = value & 0x3F7FD7 | 2  # where it starts to run it takes the rest from here
        self.u64[CC_SRC // 8] = value & CC_FLAGS
        self.u32[CC_OP // 4] = CC_OP_EFLAGS
        self.u32[DF // 4] = 0xFFFFFFFF if value & EFLAGS_DF else 1

    def clear_resume_flag(self) -> bool:
        """EFLAGS.RF is clear behind each instruction but an IRET that sets it; unicorn leaves it over most of them.
        Whether it was set."""
        if not self.u64[EFLAGS // 8] & EFLAGS_RF:
            return False
        self.u64[EFLAGS // 8] &= ~EFLAGS_RF
        self.load()
        return True

    def regs_to(self, to: memoryview) -> None:
        """Into struct kvm_regs, as 64-bit words."""
        words = self.u64
        first = GENERAL // 8
        to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7] = (
            words[first], words[first + 3], words[first + 1], words[first + 2],
            words[first + 6], words[first + 7], words[first + 4], words[first + 5],
        )  # fmt: skip
        to[8:16] = words[first + 8 : first + 16]
        to[16], to[17] = self.rip, self.flags

    def regs_from(self, source: memoryview) -> None:
        words = self.u64
        first = GENERAL // 8
        for at, number in enumerate(KVM_ORDER):
            words[first + number] = source[at]
        words[first + 8 : first + 17] = source[8:17]
        self.flags = source[17]

    # --- special registers

    def special(self) -> bytes:
        """All that ``sregs_to`` reads, as it lies there."""
        return bytes(self.bytes[HFLAGS : EFER + 8])

    def sregs_to(self, sregs: abi.kvm_sregs) -> None:
        words, doubles = self.u64, self.u32
        for name, at in SEGMENTS.items():
            segment = getattr(sregs, name)
            segment.selector = doubles[at // 4] & 0xFFFF
            segment.base = words[at // 8 + 1]
            segment.limit = doubles[at // 4 + 4]
            flags = doubles[at // 4 + 5]
            segment.type, segment.s, segment.dpl, segment.present = (
                flags >> 8 & 15, flags >> 12 & 1, flags >> 13 & 3, flags >> 15 & 1,
            )  # fmt: skip
            segment.avl, segment.l, segment.db, segment.g = (
                flags >> 20 & 1, flags >> 21 & 1, flags >> 22 & 1, flags >> 23 & 1,
            )  # fmt: skip
            segment.unusable = 0 if segment.present else 1
        sregs.ss.dpl = doubles[HFLAGS // 4] & 3
        for table, at in ((sregs.gdt, GDT), (sregs.idt, IDT)):
            table.base, table.limit = words[at // 8 + 1], doubles[at // 4 + 4] & 0xFFFF
        sregs.cr0, sregs.cr2 = words[CR0 // 8], words[CR2 // 8]
        sregs.cr3, sregs.cr4, sregs.efer = words[CR3 // 8], words[CR4 // 8], words[EFER // 8]

    def sregs_from(self, sregs: abi.kvm_sregs) -> bool:
        """Whether what translates addresses has changed."""
        wanted = bytes(sregs)
        if (wanted, self.special()) == self._sregs_made:
            return False
        words, doubles = self.u64, self.u32
        for name, at in SEGMENTS.items():
            segment = getattr(sregs, name)
            doubles[at // 4] = segment.selector
            words[at // 8 + 1] = segment.base
            doubles[at // 4 + 4] = segment.limit
            doubles[at // 4 + 5] = 0 if segment.unusable and name != "ss" else pack_segment(segment)
        for table, at in ((sregs.gdt, GDT), (sregs.idt, IDT)):
            words[at // 8 + 1], doubles[at // 4 + 4] = table.base, table.limit
        before = [words[at // 8] for at in (CR0, CR3, CR4, EFER)]
        words[CR2 // 8] = sregs.cr2
        now = [int(one) for one in (sregs.cr0 | 0x10, sregs.cr3, sregs.cr4, sregs.efer)]
        for at, value in zip((CR0, CR3, CR4, EFER), now, strict=True):
            words[at // 8] = value
        self.derive_hflags(int(sregs.ss.dpl) if sregs.cr0 & CR0_PE else 0)
        self._sregs_made = wanted, self.special()
        return before != now

    def derive_hflags(self, cpl: int) -> None:
        """Make hflags, which QEMU derives from the other registers, fit them."""
        words, doubles = self.u64, self.u32
        cr0, cr4, efer = words[CR0 // 8], words[CR4 // 8], words[EFER // 8]
        virtual = words[EFLAGS // 8] & EFLAGS_VM
        if virtual:
            cpl = 3
        found = cpl | (PE if cr0 & CR0_PE else 0) | (cr0 & 0xE) << 8 | doubles[HFLAGS // 4] & INHIBIT_IRQ
        found |= (OSFXSR if cr4 & 1 << 9 else 0) | (SMAP if cr4 & 1 << 21 else 0) | (LMA if efer & EFER_LMA else 0)
        code = doubles[SEGMENTS["cs"] // 4 + 5]
        if efer & EFER_LMA and code & 1 << 21:
            found |= CS32 | SS32 | CS64
        else:
            found |= CS32 if code & 1 << 22 else 0
            found |= SS32 if doubles[SEGMENTS["ss"] // 4 + 5] & 1 << 22 else 0
            flat = not any(words[SEGMENTS[name] // 8 + 1] for name in ("ds", "es", "ss"))
            if not cr0 & CR0_PE or virtual or not found & CS32 or not flat:
                found |= ADDSEG
        doubles[HFLAGS // 4] = found

    @property
    def paging(self) -> tuple[int, int, int, int]:
        """CR0, CR3, CR4 and EFER."""
        return self.u64[CR0 // 8], self.u64[CR3 // 8], self.u64[CR4 // 8], self.u64[EFER // 8]

    @property
    def cpl(self) -> int:
        return self.u32[HFLAGS // 4] & 3

    @property
    def shadow(self) -> bool:
        """No interrupt comes before the next instruction."""
        return bool(self.u32[HFLAGS // 4] & INHIBIT_IRQ)

    @shadow.setter
    def shadow(self, on: bool) -> None:
        at = HFLAGS // 4
        self.u32[at] = self.u32[at] | INHIBIT_IRQ if on else self.u32[at] & ~INHIBIT_IRQ

    @property
    def pc(self) -> int:
        """The linear address of the next instruction."""
        rip = self.u64[RIP // 8]
        if self.u32[HFLAGS // 4] & CS64:
            return rip
        return self.u64[SEGMENTS["cs"] // 8 + 1] + rip & 0xFFFFFFFF

    # --- floating point

    def xsave_to(self, xsave: abi.kvm_xsave) -> None:
        """Into the layout of XSAVE's standard form (SDM volume 1, 13.4)."""
        area = memoryview(xsave).cast("B")
        top = self.u32[FPU_TOP // 4] & 7
        status = self.u16[FPU_STATUS // 2] & ~0x3800 | top << 11
        tags = sum(1 << n for n in range(8) if not self.bytes[FPU_TAGS + n])
        for at, value in ((0, self.u16[FPU_CONTROL // 2]), (2, status), (4, tags), (6, self.u16[FPU_OPCODE // 2])):
            area[at : at + 2] = value.to_bytes(2, "little")
        area[8:16] = self.bytes[FPU_IP : FPU_IP + 8]
        area[16:24] = self.bytes[FPU_DP : FPU_DP + 8]
        area[24:28] = self.bytes[MXCSR : MXCSR + 4]
        area[28:32] = (0xFFFF).to_bytes(4, "little")
        for n in range(8):
            at = FPU_REGISTERS + 16 * (top + n & 7)
            area[32 + 16 * n : 42 + 16 * n] = self.bytes[at : at + 10]
        for n in range(16):
            at = XMM + XMM_SIZE * n
            area[160 + 16 * n : 176 + 16 * n] = self.bytes[at : at + 16]
        area[512] = 3

    def xsave_from(self, xsave: abi.kvm_xsave) -> None:
        area = bytes(xsave)
        if (area, bytes(self.bytes[FPU_TOP:XMM_END])) == self._xsave_made:
            return
        status = int.from_bytes(area[2:4], "little")
        top = status >> 11 & 7
        self.u32[FPU_TOP // 4] = top
        self.u16[FPU_STATUS // 2] = status & ~0x3800
        self.u16[FPU_OPCODE // 2] = int.from_bytes(area[6:8], "little")
        for n in range(8):
            self.bytes[FPU_TAGS + n] = not area[4] >> n & 1
            at = FPU_REGISTERS + 16 * (top + n & 7)
            self.bytes[at : at + 10] = area[32 + 16 * n : 42 + 16 * n]
        self.bytes[FPU_IP : FPU_IP + 8] = area[8:16]
        self.bytes[FPU_DP : FPU_DP + 8] = area[16:24]
        for n in range(16):
            at = XMM + XMM_SIZE * n
            self.bytes[at : at + 16] = area[160 + 16 * n : 176 + 16 * n]
        self.load()
        for register, data in ((REG_FPCW, area[0:2]), (REG_MXCSR, area[24:28])):  # QEMU derives rounding from these
            value = c_uint64(int.from_bytes(data, "little"))
            check(self._library.quick.uc_reg_write(self._uc, register, ctypes.byref(value)), "uc_reg_write")
        self.save()
        self._xsave_made = area, bytes(self.bytes[FPU_TOP:XMM_END])
