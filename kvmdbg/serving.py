"""Serving a session to gdb and lldb: what ``--gdb`` and the command ``gdbserver`` start."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.engine.stops import ExitedStop
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from gdbstub import Server
    from kvmdbg.commands.interpreter import Interpreter
    from kvmdbg.core.session import Session
    from kvmdbg.gdb_target import GdbTarget

DEFAULT_ADDRESS = "1234"


class GdbService:
    """At most one server for a session. ``tell`` takes its messages, from any thread.

    ``host_allowed``: whoever connects may use the commands that reach the host's files or run something there.
    """

    def __init__(self, session: Session, tell: Callable[[str], None], *, host_allowed: bool = False) -> None:
        self.session = session
        self.host_allowed = host_allowed
        self.tell = tell
        self.ended = threading.Event()
        """Set when the guest was killed, or the only client that could come has gone."""
        self._server: Server | None = None
        self._target: GdbTarget | None = None
        self._interpreter: Interpreter | None = None
        self._options = {"follow-mode": True, "console": False}

    # --- what the command asks ---------------------------------------------------------------------

    def start(self, text: str = "") -> str:
        """Listen at an address as ``--gdb`` takes it. Gives what `target remote` takes; UsageError where that fails."""
        from gdbstub import Address, Server
        from kvmdbg.gdb_target import GdbTarget

        if self._server is not None:
            raise UsageError(f"gdb is served at {self._server.address} already; gdbserver stop ends that")
        try:
            address = Address.parse(text or DEFAULT_ADDRESS)
        except ValueError as error:
            raise UsageError(str(error)) from None
        target = GdbTarget(self.session, self._monitor, self._cancel)
        server = Server(target, address, lambda text: self.tell(text))
        server.on_end = self.ended.set
        server.on_leave = self._left
        try:
            server.start()
        except OSError as error:
            target.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UsageError(f"cannot listen at {address}: {reason}") from None
        self._server, self._target = server, target
        self.session.sharers.append(server.lock)
        for name in self._options:
            self._apply(name)
        self.session.listeners.on_kill(self._killed)
        if server.address.exposed:
            does = (
                "runs commands and reads and writes files on this host, as you"
                if self.host_allowed
                else ("controls this guest and reads its image and symbol files")
            )
            self.tell(
                f"Warning: whoever reaches {server.address} over the network {does}; nobody is asked who they are."
            )
        elif self.host_allowed and server.address.host:
            self.tell(
                f"Warning: every user of this machine runs commands as you at {server.address}; unix:PATH is yours."
            )
        return server.address.remote

    def stop(self) -> None:
        """Let the client go and stop listening."""
        server, target = self._server, self._target
        self._server = self._target = None
        self.session.listeners.remove(self._killed)
        if self._interpreter is not None:
            self._interpreter.close()
            self._interpreter = None
        if server is not None and target is not None:
            self.session.sharers.remove(server.lock)
            server.close()
            target.close()

    @property
    def address(self) -> str | None:
        """Where it listens."""
        return str(self._server.address) if self._server is not None else None

    @property
    def attached(self) -> bool:
        """Whether a debugger is there."""
        return self._server is not None and self._server.client is not None

    @property
    def options(self) -> dict[str, bool]:
        """``follow-mode``: tell a client of a new CPU mode; ``console``: show it the guest's serial output."""
        return dict(self._options)

    def set_option(self, name: str, value: bool) -> None:
        self._options[name] = value
        self._apply(name)

    def _apply(self, name: str) -> None:
        if self._target is not None:
            value = self._options[name]
            if name == "console":
                self._target.console = value
            else:
                self._target.follow_mode = value

    def _killed(self) -> None:
        client = self._server.client if self._server is not None else None
        if client is None or not client.extended:  # an extended one may yet bring the guest back
            self.ended.set()

    def _left(self) -> None:
        if self.session.state == "dead" or isinstance(self.session.last_stop, ExitedStop):
            self.ended.set()

    # --- monitor -----------------------------------------------------------------------------------

    def _cancel(self) -> None:
        """The client wants what it let go to end, which may be a command that reads much memory."""
        if self._interpreter is not None:
            self._interpreter.user.cancel()

    def _monitor(self, line: str, show: Callable[[str], None]) -> None:
        from kvmdbg.commands.gdb_serving import ServedToGdb
        from kvmdbg.commands.interpreter import Interpreter, Quit
        from kvmdbg.commands.results import Result, Text

        if self._interpreter is None:  # kept, so that settings and macros are there for the next command
            self._interpreter = Interpreter(self.session)
            self._interpreter.kept(ServedToGdb).by = self
            self._interpreter.user.host_allowed = self.host_allowed
            self._interpreter.user.has_terminal = False
            self._interpreter.settings["confirm"] = False
            self._interpreter.settings["context"] = ()
        interpreter = self._interpreter

        def tell(result: Result) -> None:
            show(result.plain() if isinstance(result, Text) else f"{result.plain()}\n")

        interpreter.user.on_event = tell
        try:
            for result in interpreter.execute(line):
                tell(result)
        except Quit:
            raise UsageError("quit ends no debugger from here: use kill or detach") from None
        except KeyboardInterrupt:  # in Python of the user's, which was cancelled
            raise UsageError("interrupted") from None
        finally:
            interpreter.user.on_event = None
