"""What a BIOS gives a guest: services behind interrupts, each a function here. The code in the guest is our own."""

from kvmdbg.firmware import clock as clock
from kvmdbg.firmware import colours as colours
from kvmdbg.firmware import disk_services as disk_services
from kvmdbg.firmware import keyboard as keyboard
from kvmdbg.firmware import ports as ports
from kvmdbg.firmware import restart as restart
from kvmdbg.firmware import system as system
from kvmdbg.firmware import video as video
from kvmdbg.firmware.bios import Bios as Bios
