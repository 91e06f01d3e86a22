"""Devices, one file each; they know machine's interfaces only."""
