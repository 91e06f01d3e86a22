"""Whether /dev/kvm of this host runs guests. Apart from kvmdbg.kvm, which is what is being tested."""

from __future__ import annotations

import fcntl
import os

KVM_CREATE_VM = 0xAE01  # _IO(KVMIO, 0x01) of linux/kvm.h


def why_unusable(path: str = "/dev/kvm") -> str:
    """Why no VM can be made here, in a few words; "" when one can."""
    try:
        kvm = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{path} cannot be opened: {os.strerror(error.errno or 0)}"
    try:
        os.close(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
    except OSError as error:
        return f"{path} makes no VM: {os.strerror(error.errno or 0)}"
    finally:
        os.close(kvm)
    return ""
