"""The lower bits of an address or a register."""

LOW32, LOW64 = (1 << 32) - 1, (1 << 64) - 1
