"""Devices, one file each; they know machine's interfaces only."""

from kvmdbg.devices import debug_exit as debug_exit
from kvmdbg.devices import debugcon as debugcon
