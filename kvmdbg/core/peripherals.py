"""Being at the guest's keyboard and in front of its screen."""

from __future__ import annotations

from kvmdbg.devices import vga
from kvmdbg.devices.i8042 import Keyboard
from kvmdbg.devices.vga import Vga
from kvmdbg.engine.control import Control
from kvmdbg.errors import UsageError
from kvmdbg.machine.bus import Device


class Peripherals:
    def __init__(self, control: Control) -> None:
        self._control = control

    @property
    def devices(self) -> list[Device]:
        return self._control.guest.machine.bus.devices

    def press(self, key: str) -> None:
        """Press and release a key of the guest's keyboard, as ``ctrl-alt-delete``. UsageError."""
        self._keyboard.press(key)

    def type(self, text: str) -> None:
        """Type a text on the guest's keyboard (US layout). UsageError."""
        self._keyboard.type(text)

    @property
    def _keyboard(self) -> Keyboard:
        for device in self.devices:
            if isinstance(device, Keyboard):
                return device
        raise UsageError("this guest has no keyboard: it was opened with --machine bare")

    def screen(self) -> list[str]:
        """The 25 lines of the text screen (code page 437), without the spaces at their ends."""
        start = next((device.start for device in self.devices if isinstance(device, Vga)), 0)
        data = self._control.guest.physical.read(vga.TEXT + 2 * start, 2 * vga.COLUMNS * vga.ROWS)
        text = data[::2].replace(b"\0", b" ").decode("cp437").translate(vga.SHOWN)
        return [text[at : at + vga.COLUMNS].rstrip() for at in range(0, len(text), vga.COLUMNS)]
