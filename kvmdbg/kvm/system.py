"""/dev/kvm itself: version, extensions, new VMs (api.rst section 4, "system ioctls")."""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from ctypes import sizeof
from typing import TYPE_CHECKING, Any

from kvmdbg.errors import KvmIoctlError, KvmUnavailable
from kvmdbg.kvm import abi
from kvmdbg.kvm.rights import advice

with suppress(ImportError):  # Windows; System says so
    import fcntl

if TYPE_CHECKING:
    from kvmdbg.kvm.vm import Vm


MOST_MSRS = 1024


def ioctl(fd: int, name: str, request: int, argument: Any = 0, detail: str = "") -> int:
    """Issue an ioctl, again where a signal interrupts it; a refusal becomes KvmIoctlError with its ``name``."""
    while True:
        try:
            result = fcntl.ioctl(fd, request, argument)
        except InterruptedError:  # KVM_CREATE_VM, when the process is stopped (Ctrl-Z)
            continue
        except OSError as error:
            raise KvmIoctlError(name, error.errno or 0, detail) from None
        assert isinstance(result, int)
        return result


class System:
    """An open /dev/kvm. Close it, or use it as a context manager."""

    def __init__(self, path: str = "/dev/kvm") -> None:
        if sys.platform != "linux":
            raise KvmUnavailable("KVM is a part of Linux, and this is another system")
        try:
            self.fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            raise KvmUnavailable(
                f"{path} does not exist: load the module (modprobe kvm_intel or modprobe kvm_amd), "
                "switch virtualization on in the firmware, or enable nested virtualization if this is a virtual machine"
            ) from None
        except PermissionError:
            raise KvmUnavailable(f"no permission to open {path}: {advice(path)}") from None
        except OSError as error:
            raise KvmUnavailable(f"cannot open {path}: {error.strerror}; is a KVM module loaded?") from None
        try:
            version = fcntl.ioctl(self.fd, abi.KVM_GET_API_VERSION, 0)
        except OSError:
            os.close(self.fd)
            raise KvmUnavailable(f"{path} is not a KVM device: it does not answer KVM_GET_API_VERSION") from None
        if version != abi.KVM_API_VERSION:
            os.close(self.fd)
            raise KvmUnavailable(
                f"{path} speaks KVM API version {version}, kvmdbg needs {abi.KVM_API_VERSION}: "
                "use a Linux kernel from 2.6.22 on"
            )

    def check_extension(self, extension: int) -> int:
        """What KVM_CHECK_EXTENSION says: 0 where it lacks the extension, else a positive value."""
        return ioctl(self.fd, "KVM_CHECK_EXTENSION", abi.KVM_CHECK_EXTENSION, extension)

    def require(self, extension: int, name: str, without: str) -> int:
        """The extension's value, or KvmUnavailable with what cannot be done ``without`` it."""
        value = self.check_extension(extension)
        if not value:
            raise KvmUnavailable(f"this KVM lacks {name}: {without}")
        return value

    @property
    def vcpu_mmap_size(self) -> int:
        """Bytes of a vCPU's shared page area (struct kvm_run and what follows it)."""
        return ioctl(self.fd, "KVM_GET_VCPU_MMAP_SIZE", abi.KVM_GET_VCPU_MMAP_SIZE)

    def supported_cpuid(self) -> abi.kvm_cpuid2:
        """The CPUID leaves that this host can give to a guest."""
        cpuid = abi.kvm_cpuid2(nent=abi.CPUID_ENTRIES)
        assert sizeof(cpuid) > 1024  # fcntl.ioctl then works on the buffer itself
        ioctl(self.fd, "KVM_GET_SUPPORTED_CPUID", abi.KVM_GET_SUPPORTED_CPUID, cpuid)
        return cpuid

    def msr_indices(self) -> list[int]:
        """The MSRs that make up a vCPU's state on this host (KVM_GET_MSR_INDEX_LIST)."""
        buffer = bytearray(struct.pack("I", MOST_MSRS) + bytes(4 * MOST_MSRS))
        ioctl(self.fd, "KVM_GET_MSR_INDEX_LIST", abi.KVM_GET_MSR_INDEX_LIST, buffer)
        count = int.from_bytes(buffer[:4], "little")
        return list(struct.unpack_from(f"{count}I", buffer, 4))

    def create_vm(self) -> Vm:
        """A new virtual machine without memory or vCPUs."""
        from kvmdbg.kvm.vm import Vm

        return Vm(self, ioctl(self.fd, "KVM_CREATE_VM", abi.KVM_CREATE_VM))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> System:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
