"""Unicorn's shared library, by its public C functions (unicorn/unicorn.h).

Its own Python package is not imported: that takes longer than the start of a session may, and wraps each call.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Callable, Collection
from ctypes import CFUNCTYPE, c_bool, c_int, c_int64, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

from kvmdbg.errors import NotSupportedHere

FILES = {"darwin": "libunicorn.2.dylib", "win32": "unicorn.dll"}
ARCH_X86, MODE_64 = 4, 8
READ, WRITE, EXECUTE = 1, 2, 4
ALL = READ | WRITE | EXECUTE
HOOK_INTR, HOOK_INSN, HOOK_BLOCK = 1, 2, 8
HOOK_MEMORY_INVALID, HOOK_INVALID, HOOK_TRANSLATED = 0x3F0, 1 << 14, 1 << 15
HOOK_MEMORY_VALID, HOOK_MEMORY_WRITTEN = 0xC00, 0x800
"""Reads and writes, and writes alone."""
INSN_CPUID, INSN_IN, INSN_OUT, INSN_RDTSC, INSN_RDTSCP = 113, 218, 500, 608, 609
CTL_USE_EXITS, CTL_EXITS, CTL_TB_REMOVE_CACHE, CTL_TB_FLUSH, CTL_TLB_FLUSH = 4, 6, 9, 10, 11
REG_RFLAGS, REG_FPCW, REG_MXCSR = 253, 246, 249
REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_CR4, REG_MSR = 35, 37, 38, 40, 54, 248
MEM_FETCH = frozenset((18, 21, 24))
"""Kinds of accesses, of UC_MEM_*."""
MEM_WRITE, MEM_WRITE_PROT, MEM_READ_PROT = 17, 22, 23

FOR_INTR = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)
FOR_OUT = CFUNCTYPE(None, c_void_p, c_uint32, c_int, c_uint32, c_void_p)
FOR_IN = CFUNCTYPE(c_uint32, c_void_p, c_uint32, c_int, c_void_p)
FOR_INSN = CFUNCTYPE(c_int, c_void_p, c_void_p)
FOR_CODE = CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_void_p)
FOR_MEMORY = CFUNCTYPE(c_bool, c_void_p, c_int, c_uint64, c_int, c_int64, c_void_p)
FOR_INVALID = CFUNCTYPE(c_bool, c_void_p, c_void_p)
MMIO_READ = CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_uint, c_void_p)
MMIO_WRITE = CFUNCTYPE(None, c_void_p, c_uint64, c_uint, c_uint64, c_void_p)

ARGUMENTS: dict[str, list[Any]] = {
    "uc_open": [c_int, c_int, c_void_p],
    "uc_close": [c_void_p],
    "uc_version": [c_void_p, c_void_p],
    "uc_emu_start": [c_void_p, c_uint64, c_uint64, c_uint64, c_size_t],
    "uc_emu_stop": [c_void_p],
    "uc_context_size": [c_void_p],
    "uc_context_alloc": [c_void_p, c_void_p],
    "uc_context_free": [c_void_p],
    "uc_context_save": [c_void_p, c_void_p],
    "uc_context_restore": [c_void_p, c_void_p],
    "uc_reg_read": [c_void_p, c_int, c_void_p],
    "uc_reg_write": [c_void_p, c_int, c_void_p],
    "uc_mem_map_ptr": [c_void_p, c_uint64, c_uint64, c_uint32, c_void_p],
    "uc_mem_unmap": [c_void_p, c_uint64, c_uint64],
    "uc_mem_protect": [c_void_p, c_uint64, c_uint64, c_uint32],
    "uc_mmio_map": [c_void_p, c_uint64, c_uint64, c_void_p, c_void_p, c_void_p, c_void_p],
    "uc_hook_del": [c_void_p, c_size_t],
    "uc_vmem_read": [c_void_p, c_uint64, c_uint32, c_void_p, c_size_t],
}
WITHOUT_IT = "the software engine needs unicorn (GPL-2), which pip install 'kvmdbg[soft]' brings"


def find() -> Path | None:
    """Where the library lies, if unicorn is installed."""
    spec = importlib.util.find_spec("unicorn")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "lib" / FILES.get(sys.platform, "libunicorn.so.2")
    return path if path.exists() else None


class Library:
    """``quick`` has the functions for short calls, which keep Python's lock; ``start`` lets other threads run."""

    def __init__(self, path: Path) -> None:
        try:
            self.quick = ctypes.PyDLL(str(path))
            free = ctypes.CDLL(str(path))
        except OSError as error:
            raise NotSupportedHere(f"unicorn's library cannot be loaded: {error}") from None
        for name, arguments in ARGUMENTS.items():
            getattr(self.quick, name).argtypes = arguments
        self.start = free.uc_emu_start
        self.start.argtypes = ARGUMENTS["uc_emu_start"]
        version = self.quick.uc_version(None, None)
        if version >> 16 != 0x0201:
            raise NotSupportedHere(
                f"the software engine knows unicorn 2.1, this is {version >> 24}.{version >> 16 & 0xFF}: "
                "pip install 'unicorn>=2.1,<2.2'"
            )

    def control(self, uc: c_void_p, which: int, *arguments: int) -> None:
        """uc_ctl, to write."""
        self._control(uc, which, *(c_int(one) for one in arguments))

    def set_exits(self, uc: c_void_p, addresses: Collection[int]) -> None:
        """Where what is translated from here on ends, as if there were a HLT."""
        array = (c_uint64 * max(len(addresses), 1))(*addresses)
        self._control(uc, CTL_EXITS, array, c_size_t(len(addresses)))

    def forget_code(self, uc: c_void_p, address: int) -> None:
        """What has been translated of code at a linear address."""
        self._control(uc, CTL_TB_REMOVE_CACHE, c_uint64(address), c_uint64(address + 1))

    def _control(self, uc: c_void_p, which: int, *arguments: Any) -> None:
        check(self.quick.uc_ctl(uc, c_int(which | len(arguments) << 26 | 1 << 30), *arguments), "uc_ctl")

    def hook(
        self, uc: c_void_p, kind: int, callback: Any, begin: int = 1, end: int = 0, instruction: int | None = None
    ) -> int:
        """uc_hook_add; its number, for ``uc_hook_del``. All addresses where ``begin`` is above ``end``."""
        number = c_size_t()
        arguments: list[Any] = [
            c_int(kind),
            ctypes.cast(callback, c_void_p),
            c_void_p(),
            c_uint64(begin),
            c_uint64(end),
        ]
        if instruction is not None:
            arguments.append(c_int(instruction))
        check(self.quick.uc_hook_add(uc, ctypes.byref(number), *arguments), "uc_hook_add")
        return number.value


def check(error: int, what: str) -> None:
    """Unicorn's errors are ours: what it refuses has been asked for wrongly."""
    if error:
        raise RuntimeError(f"unicorn: {what} gave error {error}")


@lru_cache(maxsize=1)
def load() -> Library:
    """NotSupportedHere where there is none."""
    path = find()
    if path is None:
        raise NotSupportedHere(WITHOUT_IT)
    return Library(path)


Callback = Callable[..., Any]
