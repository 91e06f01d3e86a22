"""`set logging`: what commands give goes to a file, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, TextIO

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileType, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Text
from kvmdbg.errors import KvmdbgError, UsageError

SwitchArg = Annotated[str, WordType("on|off", ("on", "off"))]
LogFileArg = Annotated[str, FileType()]


class Log:
    """A file that results are written into as plain text, each on lines of its own.

    ``redirect``: they go there only. A file that cannot be written any more is given up, with an error.
    """

    def __init__(self, dbg: Interpreter, file: TextIO, *, redirect: bool) -> None:
        self._dbg = dbg
        self._file = file
        self._redirect = redirect
        self._ended = True

    def copied(self, results: Iterator[Result]) -> Iterator[Result]:
        """The same results, those that go to the file only left out; an error that ends them is written, too."""
        try:
            for one in results:
                try:
                    self.write(one)
                except KvmdbgError:
                    yield one  # else it is nowhere
                    raise
                if not self._redirect:
                    yield one
        except KvmdbgError as error:
            self.write(Message(str(error)))
            raise

    def close(self) -> None:
        self._file.close()

    def write(self, result: Result) -> None:
        """One result."""
        if self._file.closed:
            return
        text = result.plain(self._dbg.columns())
        if not isinstance(result, Text):
            text = f"{'' if self._ended else chr(10)}{text}\n"
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            self._dbg.log, self._redirect = None, False
            with suppress(OSError):
                self._file.close()
            raise KvmdbgError(f"cannot write {self._file.name}: {error.strerror}; logging is off") from None
        self._ended = text.endswith("\n") if text else self._ended


class LogSettings:
    """What the next log will be."""

    file = "kvmdbg.txt"
    overwrite = False
    redirect = False


def start(dbg: Interpreter) -> Result:
    """Begin to log."""
    if dbg.log is not None:
        raise UsageError("output is logged already; set logging enabled off ends it")
    settings = dbg.kept(LogSettings)
    try:
        file = open(  # noqa: SIM115
            settings.file, "w" if settings.overwrite else "a", encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise KvmdbgError(f"cannot write {settings.file}: {error.strerror}") from None
    dbg.log = Log(dbg, file, redirect=settings.redirect)
    how = "Redirecting" if settings.redirect else "Copying"
    return Message(f"{how} output to {settings.file}.", data={"file": settings.file})


def stop(dbg: Interpreter) -> Result:
    """No more logging."""
    if dbg.log is None:
        return Message("Output is not logged.")
    dbg.log.close()
    dbg.log = None
    file = dbg.kept(LogSettings).file
    return Message(f"Done logging to {file}.", data={"file": file})


_WHAT = ("enabled", "file", "overwrite", "redirect", "on", "off")


@command(
    "set logging",
    group="settings",
    example=("set logging file first.txt", "set logging enabled on", "print $ax", "set logging enabled off"),
    host=True,
)
def set_logging(
    dbg: Interpreter, what: Annotated[str, WordType("WHAT", _WHAT)] = "enabled", value: LogFileArg = ""
) -> Result | None:
    """Copy what commands give into a file, kvmdbg.txt unless `set logging file NAME` says otherwise.

    `set logging enabled on` begins and `off` ends (`set logging on` and `off`, too). `set logging overwrite on`: the
    file is written anew, else more is added to it. `set logging redirect on`: output goes to the file only. What the
    guest sends is not in it.
    """
    settings = dbg.kept(LogSettings)
    if what == "file":
        if not value:
            raise UsageError("set logging file needs a FILE")
        settings.file = value
        return None
    if what in ("on", "off"):
        if value:
            settings.file = value
        return start(dbg) if what == "on" else stop(dbg)
    if value not in ("", "on", "off", "1", "0"):
        raise UsageError(f"'{value}' is neither on nor off")
    wanted = value in ("", "on", "1")
    if what == "enabled":
        return start(dbg) if wanted else stop(dbg)
    setattr(settings, what, wanted)
    return None


@command("show logging", group="settings", example=("show logging", "show logging file"))
def show_logging(dbg: Interpreter, what: Annotated[str, WordType("WHAT", _WHAT[:4])] = "") -> Result:
    """Show whether output is logged, and how; or one of enabled, file, overwrite and redirect."""
    settings = dbg.kept(LogSettings)
    if what:
        value = dbg.log is not None if what == "enabled" else getattr(settings, what)
        text = value if isinstance(value, str) else "on" if value else "off"
        return Message(f"logging {what} is {text}.", data={"setting": f"logging {what}", "value": text})
    on = dbg.log is not None
    how = "written anew" if settings.overwrite else "added to"
    where = "to the file only" if settings.redirect else "to the screen and the file"
    text = f"Output is {'' if on else 'not '}logged; the file is {settings.file}, {how}; output goes {where}."
    data = {"enabled": on, "file": settings.file, "overwrite": settings.overwrite, "redirect": settings.redirect}
    return Message(text, data=data)
