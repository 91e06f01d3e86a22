"""A vCPU in software, for hosts without KVM: unicorn's translator behind the protocol of a vCPU (machine/cpu.py)."""
