"""Whether /dev/kvm of this host runs guests. Apart from kvmdbg.kvm, which is what is being tested.

python -m tests.machines.dev_kvm says why it cannot be used; the exit status is 0 when it can.
"""

from __future__ import annotations

import fcntl
import os
import sys

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


if __name__ == "__main__":
    sys.exit(why_unusable() or 0)
