"""Emulated machines whose /dev/kvm is a real kvm_amd or kvm_intel module.

Neither needs virtualization hardware: QEMU's emulator has SVM, Bochs has VT-x. Each boots the distribution's own
kernel and runs one command, by default the tests marked ``kvm``.
"""
