"""What a BIOS gives a guest: services behind interrupts, each a function here. The code in the guest is our own."""
