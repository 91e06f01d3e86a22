"""Guests without /dev/kvm: a vCPU that plays what a test has written, in a machine with real memory and devices."""
