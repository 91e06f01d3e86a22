"""x86 knowledge: pure functions and data, no I/O, no KVM."""
