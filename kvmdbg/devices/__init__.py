"""Devices, one file each; they know machine's interfaces only."""

from kvmdbg.devices import cmos as cmos
from kvmdbg.devices import debug_exit as debug_exit
from kvmdbg.devices import debugcon as debugcon
from kvmdbg.devices import i8042 as i8042
from kvmdbg.devices import pci as pci
from kvmdbg.devices import post as post
from kvmdbg.devices import power as power
from kvmdbg.devices import vga as vga
