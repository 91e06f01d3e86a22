"""Being at the guest's keyboard and in front of its screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kvmdbg.devices import display
from kvmdbg.devices.display import Characters, Picture
from kvmdbg.devices.i8042 import IRQ, Keyboard
from kvmdbg.devices.vga import Vga
from kvmdbg.engine.control import Control
from kvmdbg.engine.serial_port import SerialPort
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.machine import snapshot
from kvmdbg.machine.bus import Device

if TYPE_CHECKING:
    from kvmdbg.devices.vbe import Vbe

IMR, IRQ_BASE, REDIRECTION = 2, 5, 32
"""Where in the kernel's state a PIC has its mask and its first vector, which is 0 until it is initialised, and the
IOAPIC its table (struct kvm_pic_state, kvm_ioapic_state)."""
MASKED = 1 << 16


class Peripherals:
    def __init__(self, control: Control, serial: SerialPort) -> None:
        self._control = control
        self.serial = serial

    # --- what is typed -----------------------------------------------------------------------------

    @property
    def takes_keys(self) -> str:
        """Where the guest looks for what is typed: "serial" (where that is stdio), "keyboard", or "" for nowhere."""
        if self.serial.takes_keys:
            return "serial"
        return "keyboard" if self.keyboard_is_waited_for else ""

    @property
    def keyboard_is_waited_for(self) -> bool:
        """Whether the guest polls its keyboard's controller, or lets the keyboard's interrupt through."""
        keyboard = next((one for one in self.devices if isinstance(one, Keyboard)), None)
        return keyboard is not None and (keyboard.polled or self._lets_through(IRQ))

    def _lets_through(self, line: int) -> bool:
        """Whether the interrupt controllers are set to let an ISA interrupt through."""
        machine = self._control.guest.machine
        if not machine.irqchip:
            return machine.board.pic is not None and machine.board.pic.passes(line)
        pic, ioapic = (bytes(machine.vm.get_irqchip(number).chip) for number in (0, 2))
        entry = REDIRECTION + 8 * line
        redirected = int.from_bytes(ioapic[entry : entry + 8], "little")
        return (pic[IRQ_BASE] != 0 and not pic[IMR] >> line & 1) or not redirected & MASKED

    @property
    def devices(self) -> list[Device]:
        return self._control.guest.machine.bus.devices

    def press(self, key: str, hold: int = 0) -> None:
        """Press and release a key of the guest's keyboard, as ``ctrl-alt-delete``. UsageError.

        It is held for ``hold`` ms of the guest's time: a guest that asks now and then whether a key is down sees it.
        """
        if hold:
            self._keyboard.hold((key, hold))
        else:
            self._keyboard.press(key)

    def type(self, text: str) -> None:
        """Type a text on the guest's keyboard (US layout). UsageError."""
        self._keyboard.type(text)

    def move_mouse(self, right: int, down: int, buttons: int = 0) -> None:
        """Move the guest's mouse, and hold these buttons (1 left, 2 right, 4 middle, added up). UsageError."""
        if not 0 <= buttons <= 7:
            raise UsageError(f"a mouse's buttons are 0 to 7 (1 left, 2 right, 4 middle, added up), not {buttons}")
        self._keyboard.move((right, down, buttons))

    def nmi(self) -> None:
        """Press the button of a PC for a non-maskable interrupt (vector 2), which goes to the selected vCPU.

        It comes in when the guest runs on: not into a step, nor before the IRET of the handler of one before it.
        """
        self._control.require_stopped()
        runner = self._control.runner

        def raise_it() -> None:
            events = runner.vcpu.get_events()
            events.nmi.pending = 1
            events.flags |= snapshot.EVENT_FLAGS
            runner.vcpu.set_events(events)
            runner.vcpu.halted = False

        runner.call(raise_it)

    @property
    def _keyboard(self) -> Keyboard:
        for device in self.devices:
            if isinstance(device, Keyboard):
                return device
        raise UsageError("this guest has no keyboard: it was opened with --machine bare")

    # --- the screen --------------------------------------------------------------------------------

    @property
    def _adapter(self) -> Vga | None:
        return next((device for device in self.devices if isinstance(device, Vga)), None)

    @property
    def _large(self) -> Vbe | None:
        """What shows pictures beyond a VGA's, while it does."""
        found = next((device for device in self.devices if device.name == "vbe"), None)
        return cast("Vbe", found) if getattr(found, "is_on", False) else None

    @property
    def has_picture(self) -> bool:
        """Whether there is a VGA adapter."""
        return self._adapter is not None

    def shown(self) -> Characters | Picture:
        """What the screen shows: characters with their colours, or a picture."""
        adapter, read = self._adapter, self._control.guest.physical.read
        if adapter is None or (adapter.is_text and self._large is None):
            return display.characters(adapter, read)
        return self.picture()

    def screen(self) -> list[str]:
        """The lines of the text screen (code page 437), 25 mostly, without the spaces at their ends.

        None while it shows a picture.
        """
        shown = self.shown()
        return shown.lines if isinstance(shown, Characters) else []

    def picture(self) -> Picture:
        """What the screen shows, pixel by pixel, text too. UsageError where there is no VGA adapter."""
        adapter = self._adapter
        if adapter is None:
            raise UsageError("this guest has no VGA adapter: it was opened with --machine bare")
        if (large := self._large) is not None:
            return display.large_picture(adapter, large)
        return display.picture(adapter, self._control.guest.physical.read)

    def save_screen(self, path: str) -> Picture:
        """Write what the screen shows into a PNG file. LoadError where that cannot be written."""
        picture = self.picture()
        data = png_of(picture)
        try:
            with open(path, "wb") as file:
                file.write(data)
        except OSError as error:
            raise LoadError(f"cannot write {path}: {error.strerror}") from None
        return picture


def png_of(picture: Picture) -> bytes:
    """A PNG file's contents: this picture pixel by pixel."""
    import io

    import png

    made = io.BytesIO()
    colours = {"palette": picture.colours} if picture.colours else {"greyscale": False}
    writer = png.Writer(picture.width, picture.height, bitdepth=8, **colours)
    writer.write(made, (picture.row(y) for y in range(picture.height)))
    return made.getvalue()
