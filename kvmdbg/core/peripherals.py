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
        """The lines of the text screen (code page 437), 25 mostly, without the spaces at their ends."""
        adapter = next((device for device in self.devices if isinstance(device, Vga)), None)
        where, start, columns, rows, pitch = vga.TEXT, 0, 80, 25, 80
        if adapter is not None:
            where, start = adapter.text, adapter.start
            columns, rows, pitch = adapter.columns, adapter.rows, adapter.pitch
        read = self._control.guest.physical.read
        lines = [read(where + 2 * (start + row * pitch), 2 * columns)[::2] for row in range(rows)]
        return [line.replace(b"\0", b" ").decode("cp437").translate(vga.SHOWN).rstrip() for line in lines]
