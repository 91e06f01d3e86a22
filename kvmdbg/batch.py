"""Commands from options, files and pipes, with results as plain text or JSON.

What goes where: the guest's serial output and the results of commands go to stdout; errors go to stderr, and in
batch mode stops too. With JSON everything is one object a line on stdout, told apart by its "type".
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from kvmdbg import error_log, standard_files, start_files
from kvmdbg.commands.gdb_serving import ServedToGdb
from kvmdbg.commands.interpreter import Interpreter, Quit
from kvmdbg.commands.results import Error, ExitLine, GuestOutput, Message, Result, StopReport, Text
from kvmdbg.commands.tui_settings import ARRANGEMENT
from kvmdbg.commands.user import PLEASE
from kvmdbg.engine.stops import ExitedStop, FatalStop
from kvmdbg.errors import KvmdbgError, refused_by_host
from kvmdbg.printable import printable_json
from kvmdbg.serving import GdbService
from kvmdbg.ui.progress import ProgressLine

if TYPE_CHECKING:
    from kvmdbg.core.session import Session
    from kvmdbg.engine.stops import Stop
    from kvmdbg.script import Script

#: Exit status after Ctrl-C: 128 plus the signal's number, as shells have it.
INTERRUPTED = 128 + signal.SIGINT
DIED = 4
"""Exit status when the guest has died, of a triple fault as a rule. An even one: isa-debug-exit gives none of these."""
LONGEST_LINE = 1 << 20


def json_line(result: Result) -> str:
    """A result as one line of JSON. It has no infinities and no NaN: they are texts there, as ``print`` shows them."""
    import json

    data = result.to_json()
    try:
        text = json.dumps(data, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(data), ensure_ascii=False, default=str, allow_nan=False)
    return printable_json(text)


def _finite(value: Any) -> Any:
    """The same with texts in place of floating point numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def refuse(error: KvmdbgError, as_json: bool, status: int) -> int:
    """Say why nothing was started; gives back ``status``."""
    if as_json:
        return standard_files.answer(f"{json_line(Error(str(error), type(error).__name__))}\n", status)
    standard_files.say(f"kvmdbg: {error}")
    return status


class Output:
    """stdout and stderr shared by the guest's serial port (from a vCPU's thread) and the results of commands.

    A result starts on a line of its own even when the guest's last line has not ended. When stdout cannot be written
    any more, ``lost`` is the exit status for that, and all further output is dropped.
    """

    def __init__(self, as_json: bool, on_lost: Callable[[], None]) -> None:
        self._json = as_json
        self._lock = threading.RLock()
        self._column = 0  # of stdout, 0 at the start of a line
        self._guest_line = bytearray()
        self._on_lost = on_lost
        self.lost: int | None = None
        self.lost_asides = False
        """stderr could not be written."""
        self.width: Callable[[], int] = lambda: 80

    def guest(self, data: bytes) -> None:
        """Bytes from the guest's serial port; as JSON they are collected into lines."""
        with self._lock:
            if not self._json:
                self._write(data)
                return
            self._guest_line += data
            cut = self._guest_line.rfind(b"\n") + 1
            if cut:
                self._write_json(GuestOutput(bytes(self._guest_line[:cut])))
                del self._guest_line[:cut]

    def result(self, result: Result) -> None:
        """A result of a command, to stdout."""
        with self._lock:
            if self._json:
                if not isinstance(result, ExitLine):  # exits come between the characters of a line
                    self._flush_guest()
                self._write_json(result)
                return
            text = result.plain(self.width())
            if isinstance(result, Text):
                self._write(text.encode("utf-8", "surrogateescape"))
            else:
                self._new_line()
                self._write(f"{text}\n".encode("utf-8", "surrogateescape"))

    def aside(self, result: Result) -> None:
        """What is not a command's result, to stderr (as JSON: to stdout all the same)."""
        if self._json:
            self.result(result)
            return
        with self._lock:
            if self._column and sys.stdout.isatty():
                self._new_line()
            if not standard_files.say(result.plain(self.width())):
                self.lost_asides = True

    def finish(self) -> None:
        """What the guest wrote last without ending its line."""
        with self._lock:
            self._flush_guest()

    def _flush_guest(self) -> None:
        if self._guest_line:
            self._write_json(GuestOutput(bytes(self._guest_line)))
            self._guest_line.clear()

    def _new_line(self) -> None:
        if self._column:
            self._write(b"\n")

    def _write_json(self, result: Result) -> None:
        self._write(f"{json_line(result)}\n".encode("utf-8", "backslashreplace"))

    def _write(self, data: bytes) -> None:
        if self.lost is not None or not data:
            return
        try:
            standard_files.write(sys.stdout.buffer, data)
        except (OSError, ValueError) as error:
            self.lost = standard_files.lost(error)
            self._on_lost()
            return
        self._column = 0 if data.endswith(b"\n") else 1


class Batch:
    """One run of kvmdbg without its shell.

    ``batch``: no commands are read from stdin, stops go to stderr without a context view, nothing is asked. ``gdb``:
    where to serve gdb; without a terminal that takes the place of stdin's commands. ``gdb_allow_host``: its clients may
    use the commands that reach the host. ``start_files``: the rc files are read (start_files.py).
    """

    def __init__(
        self,
        session: Session,
        *,
        json: bool = False,
        batch: bool = False,
        gdb: str | None = None,
        gdb_allow_host: bool = False,
        python: bool = False,
        start_files: bool = False,
    ) -> None:
        self.session = session
        self.gdb_address = gdb
        self.gdb = GdbService(session, self._gdb_says, host_allowed=gdb_allow_host)
        self.json = json
        self.batch = batch
        self._reads_start_files = start_files
        self.failed = False
        self._interrupted = False
        self._background_stops: list[Stop] = []
        self.out = Output(json, self._stop_guest)
        self.interpreter = Interpreter(session, all_commands=False)
        self.interpreter.kept(ServedToGdb).by = self.gdb
        self.interpreter.user.on_event = self._event
        self.interpreter.runs.on_background_stop = self._background_stops.append
        session.listeners.on_warning(self._warned)
        self.out.width = lambda: self.interpreter.columns()
        self.interpreter.user.shows_python = python
        if session.image.remark:
            self._event(Message(session.image.remark, "warning"))
        for note in session.image.notes:
            self._event(Message(note))
        if sys.stderr.isatty() and not json:
            session.files.progress = ProgressLine(lambda text: print(text, end="", file=sys.stderr, flush=True))

    def run(self, commands: Iterable[tuple[str, str]]) -> int:
        """Execute ("line", TEXT) and ("file", NAME), then stdin's lines unless in batch mode; gives the exit status."""
        self.session.listeners.on_output(self._guest_output)
        if (self.batch or self.gdb_address is not None) and self.gdb_address != "stdio":
            self._give_input()
        before = signal.signal(signal.SIGINT, self._on_sigint)
        try:
            self._start()
            self.interpreter.settings["confirm"] = False
            if self.batch or self.json:
                self.interpreter.settings["context"] = ()
            status = self._all(commands)
        except KeyboardInterrupt:
            status = INTERRUPTED
        finally:
            self.gdb.stop()
            signal.signal(signal.SIGINT, before)
            self.out.finish()
        if self.out.lost is not None:
            return self.out.lost
        return INTERRUPTED if self._interrupted else status or int(self.out.lost_asides)

    def _give_input(self) -> None:
        """stdin holds no commands: it is the guest's, unless it is a terminal that another job has."""
        with suppress(OSError):  # another's terminal, or what stands for stdin is no file
            source = sys.stdin.fileno()
            if not os.isatty(source) or not hasattr(os, "tcgetpgrp") or os.tcgetpgrp(source) == os.getpgrp():
                self.session.take_input(source)

    def run_scripts(self, scripts: Sequence[Script], args: Sequence[str], *, last: bool) -> int | None:
        """Call each script's ``main``, where it has one; the exit status when one failed, or when there is no more.

        ``last``: the last one is what kvmdbg was started for.
        """
        status = 0
        stdout = standard_files.notice()
        self.session.listeners.on_output(self._guest_output)
        try:
            for number, script in enumerate(scripts, 1):
                is_last = last and number == len(scripts)
                if script.main is not None or is_last:
                    status = script.run(self.session, args)
                if status:
                    return status
        except KeyboardInterrupt:
            return INTERRUPTED
        except KvmdbgError as error:
            if stdout.failed is not None and self.out.lost is None:  # a script's own print
                return standard_files.lost(stdout.failed)
            return refuse(error, self.json, 1)
        finally:
            self.session.listeners.remove(self._guest_output)
            self.out.finish()
        if self.out.lost is not None:
            return self.out.lost
        return int(self.failed) or self._guest_status() if last else None

    def run_shell(self, commands: Iterable[tuple[str, str]], *, color: bool | None, full_screen: bool = False) -> int:
        """Execute the commands of the options, then let the shell have the session."""
        from kvmdbg.ui import shell

        self.interpreter.close()
        interpreter = Interpreter(self.session)
        interpreter.user = self.interpreter.user
        interpreter.kept(ServedToGdb).by = self.gdb
        self.interpreter = interpreter
        try:
            self.session.listeners.on_output(self.out.guest)
            try:
                self._keep_settings_of_last_time()
                self._start(self._ask)
                self._given(commands)
                self._start_gdb()
            except KeyboardInterrupt:
                self._interrupted = True
            finally:
                self.session.listeners.remove(self.out.guest)
            if self.out.lost is not None:
                return self.out.lost
            interpreter.user.on_event = None
            try:
                return shell.run(interpreter, self.gdb, color=color, full_screen=full_screen)
            finally:
                self._keep_settings()
        except Quit as leave:
            return leave.status
        except KvmdbgError as error:
            return refuse(error, self.json, 2)
        finally:
            self.gdb.stop()

    def _start(self, ask: Callable[[str], bool | None] | None = None) -> None:
        """Read the rc files."""
        if not self._reads_start_files:
            return
        for path in (start_files.users_file(), start_files.folders_file(ask)):
            if path is not None and not self._ended():
                self._line(f'source "{path}"', None)

    @staticmethod
    def _ask(question: str) -> bool | None:
        """Ask for yes or no before there is a prompt; None when no answer comes."""
        please = ""
        while True:
            try:
                answer = input(f"{please}{question} (y or n) ").strip().lower()
            except (KeyboardInterrupt, EOFError):
                print()
                return None
            if answer in ("y", "yes", "n", "no"):
                return answer.startswith("y")
            please = PLEASE

    def _keep_settings_of_last_time(self) -> None:
        if self._reads_start_files:
            for name, value in start_files.kept_settings().items():
                with suppress(KvmdbgError):  # one that this kvmdbg does not have any more
                    self.interpreter.settings.set(name, value)

    def _keep_settings(self) -> None:
        """What the next session is to have, where that is wished; else nothing is left for it."""
        settings = self.interpreter.settings
        if not self._reads_start_files:
            return
        kept = [
            one
            for one in settings
            if settings[one.name] != one.default and (settings["save-settings"] or one.name in ARRANGEMENT)
        ]
        try:
            start_files.keep_settings({one.name: settings.shown(one.name) for one in kept})
        except KvmdbgError as error:
            standard_files.say(f"kvmdbg: {error}")

    def _all(self, commands: Iterable[tuple[str, str]]) -> int:
        try:
            self._given(commands)
            if self.gdb_address is not None and not self._ended():
                self._start_gdb()
                self.gdb.ended.wait()
            elif not self.batch and not self._ended():
                self._stdin()
        except KvmdbgError as error:
            return refuse(error, self.json, 2)
        except Quit as leave:
            return leave.status or int(self.failed)
        return int(self.failed) or self._guest_status() or self._death_status()

    def _guest_status(self) -> int:
        """The exit status that the guest ended with, if that is how it stopped last."""
        stop = self.session.last_stop
        return stop.status if isinstance(stop, ExitedStop) else 0

    def _death_status(self) -> int:
        """That of a guest whose last stop was its death, of which nothing has brought it back."""
        return DIED if isinstance(self.session.last_stop, FatalStop) else 0

    def _start_gdb(self) -> None:
        if self.gdb_address is not None:
            where = self.gdb.start(self.gdb_address)
            if self.gdb_address != "stdio":
                self._gdb_says(f"gdb may attach: target remote {where}")

    def _gdb_says(self, text: str) -> None:
        self.out.aside(Message(text))

    def _guest_output(self, data: bytes) -> None:
        if self.gdb_address == "stdio":  # stdout is gdb's
            try:
                standard_files.write(sys.stderr.buffer, data)
            except (OSError, ValueError):
                standard_files.silence(standard_files.STDERR)
                self.out.lost_asides = True
        else:
            self.out.guest(data)

    def _given(self, commands: Iterable[tuple[str, str]]) -> None:
        """What -x, -ex and --run say; one -ex may hold several lines."""
        for kind, text in commands:
            lines = iter([_source(text)] if kind == "file" else text.split("\n"))
            for line in lines:
                if self._ended():
                    return
                self._line(line, lambda lines=lines: next(lines, None))  # type: ignore[misc]

    def _stdin(self) -> None:
        def more() -> str | None:
            try:
                line = sys.stdin.readline(LONGEST_LINE)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise KvmdbgError(f"cannot read commands from the standard input: {reason}") from None
            if len(line) == LONGEST_LINE:
                raise KvmdbgError("cannot read commands from the standard input: a line is longer than 1 MiB")
            return line.rstrip("\n") if line else None

        while (line := more()) is not None and not self._ended():
            if line.strip():  # a blank line in a file is no repeated step
                self._line(line, more)

    def _ended(self) -> bool:
        return self._interrupted or self.out.lost is not None

    def _line(self, line: str, more: Callable[[], str | None] | None) -> None:
        """One line's results, or its error; before it the stops of a guest that ran in the background."""
        try:
            while self._background_stops:
                for result in self.interpreter.report_stop(self._background_stops.pop(0)):
                    self.show(result)
            for result in self.interpreter.execute(line, more):
                self.show(result)
                if self._ended():
                    return
        except Quit:
            raise
        except KvmdbgError as error:
            self._fail(str(error), type(error).__name__)
        except OSError as error:
            self._fail(str(refused_by_host(error)), "KvmdbgError")
        except Exception as error:
            self._fail(error_log.internal(error), "InternalError")

    def _fail(self, text: str, kind: str) -> None:
        """A command's mistake."""
        self.failed = True
        self.out.aside(Error(text, kind) if self.json else Error(f"kvmdbg: {text}"))

    def show(self, result: Result) -> None:
        """A result where it belongs; nothing more when stdout is lost, which is why the guest stopped."""
        if self.out.lost is not None:
            return
        if isinstance(result, StopReport) and result.stop.is_error:
            self.failed = True
        if isinstance(result, StopReport) and self.batch:
            self.out.aside(result)
        else:
            self.out.result(result)

    def _event(self, result: Result) -> None:
        if not self.json and isinstance(result, Message) and result.level == "warning":
            self.out.aside(Error(f"kvmdbg: {result.text}"))
        elif not self.json and isinstance(result, ExitLine) and self.batch:
            self.out.aside(result)
        else:
            self.out.result(result)

    def _warned(self, text: str) -> None:
        """Something was lost or failed: the interpreter shows it, and it is no success."""
        self.failed = True

    def _stop_guest(self) -> None:
        """From any thread, a vCPU's too, which cannot wait for itself."""
        self.session.world.stop()

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt


def _source(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'source "{escaped}"'
