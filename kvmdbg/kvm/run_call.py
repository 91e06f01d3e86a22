"""The call of KVM_RUN: OSError as the kernel says, InterruptedError where a signal has ended it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable


def _by_libc() -> Callable[[int, int], int]:
    """``fcntl.ioctl`` of Python 3.14 and later begins again where a signal ends it: no kick would reach a guest."""
    libc_ioctl = ctypes.CDLL(None, use_errno=True).ioctl
    libc_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
    get_errno = ctypes.get_errno

    def call(fd: int, request: int) -> int:
        result: int = libc_ioctl(fd, request, None)
        if result < 0:
            number = get_errno()
            raise OSError(number, os.strerror(number))
        return result

    return call


def kvm_run_call(version: tuple[int, ...] = sys.version_info[:2]) -> Callable[[int, int], int]:
    """What takes a vCPU's descriptor and KVM_RUN."""
    if version >= (3, 14):
        return _by_libc()
    from fcntl import ioctl

    return ioctl
