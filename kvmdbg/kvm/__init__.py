"""A thin, typed binding of the KVM ABI: one module per descriptor level.

``system`` is /dev/kvm, ``vm`` what KVM_CREATE_VM gives, ``vcpu`` what
KVM_CREATE_VCPU gives, ``exits`` what KVM_RUN comes back with, ``abi`` the
structures and numbers. Source throughout: Linux Documentation/virt/kvm/api.rst
and include/uapi/linux/kvm.h.
"""

from kvmdbg.kvm.system import System
from kvmdbg.kvm.vcpu import Vcpu
from kvmdbg.kvm.vm import Vm

__all__ = ["System", "Vcpu", "Vm"]
