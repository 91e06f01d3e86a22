"""Runs command lines on a session: parsing, bodies, macros, repeating, stop reports.

The shell, batch mode, ``source`` and gdb's ``monitor`` all feed lines to :meth:`Interpreter.execute`. There is one
interpreter a user, and nothing is global: what a command keeps between lines it keeps here (:meth:`Interpreter.kept`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kvmdbg.commands.aliases import Aliases
from kvmdbg.commands.defined import Macro, Macros
from kvmdbg.commands.places import Place, value_place
from kvmdbg.commands.registry import REGISTRY, Candidate, Command, Later, Registry, Resolved
from kvmdbg.commands.results import ExitLine, Message, Result, StopReport
from kvmdbg.commands.runs import Runs
from kvmdbg.commands.settings import Settings
from kvmdbg.commands.user import User
from kvmdbg.engine.stops import StepStop
from kvmdbg.errors import KvmdbgError, UsageError

if TYPE_CHECKING:
    from kvmdbg.core.session import Session
    from kvmdbg.engine.stops import Stop
    from kvmdbg.kvm.exits import Exit
    from kvmdbg.observe.trace import Seen

Kept = TypeVar("Kept")
MoreLines = Callable[[], "str | None"]

#: Commands within commands (source, macros) go no deeper than this, like gdb's max-user-call-depth.
DEPTH_LIMIT = 64

_FIRST_WORD = re.compile(r"\s*([\w-]+)")
_NO_COMMANDS = ("document", "python")  # bodies whose lines open no others
_ENDS_BODY = re.compile(r"\s*end\s*(#.*)?$")


class Quit(Exception):
    """The user wants to leave; ``status`` is the exit status asked for."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        super().__init__(status)


class Log(Protocol):
    """What results are copied into (kvmdbg/commands/logs.py)."""

    def copied(self, results: Iterator[Result]) -> Iterator[Result]: ...

    def write(self, result: Result) -> None: ...

    def close(self) -> None: ...


class Interpreter:
    """Commands on one session. See :meth:`execute`.

    ``all_commands``: import them now, and not when the first is needed that mostly is not.
    """

    def __init__(self, session: Session, registry: Registry = REGISTRY, *, all_commands: bool = True) -> None:
        from kvmdbg.commands import catalogue

        if all_commands:
            catalogue.load()
        else:
            catalogue.load_when_needed(REGISTRY)
        self.session: Session = session
        self.registry = registry
        self.settings = Settings(session)
        session.convenience.setting = self._setting  # type: ignore[method-assign]
        self.user = User()
        self.runs = Runs(session)
        self.macros = Macros()
        self.aliases = Aliases()
        self.log: Log | None = None  # where results go, too (`set logging`)
        self.repeat_line = ""  # what an empty line runs
        self._kept: dict[type, Any] = {}
        self._in_stop_commands = False
        self._depth = 0
        session.listeners.on_note(self._noted)
        session.listeners.on_warning(self._warned)

    def _setting(self, name: str) -> tuple[Any, str] | None:
        """For ``$_gdb_setting``: the value of a setting, and how ``show`` says it."""
        from kvmdbg.commands import catalogue

        found: tuple[Any, str] | None = catalogue._module("print_settings").setting_named(self, name)
        return found

    def close(self) -> None:
        """Stop listening to the session; for interpreters that come and go while it lives."""
        self.runs.close()
        for callback in (self._noted, self._warned):
            self.session.listeners.remove(callback)

    # -- running lines -------------------------------------------------------------------------------------------

    def execute(self, line: str, more_lines: MoreLines | None = None) -> Iterator[Result]:
        """Run one line as a user types it and give its results as they come.

        An empty line runs the last command again if that is one that repeats (steps, examines). ``more_lines`` gives
        the lines that follow when the command takes a body up to ``end`` (None at the end of input).
        Raises KvmdbgError with one sentence, and Quit.
        """
        self.user.cancelled = self.runs.interrupted = False
        text = line.strip()
        if not text:
            if not self.repeat_line:
                return
            text = self.repeat_line
        elif not text.startswith("#"):
            self.repeat_line = ""
        try:
            results = self.run_line(text, more_lines)
            yield from results if self.log is None else self.log.copied(results)
        finally:
            self.runs.take_unreported()

    def run_line(self, line: str, more_lines: MoreLines | None = None) -> Iterator[Result]:
        """Run one line within another command's run. A line that ends with a backslash goes on in the next one."""
        while more_lines is not None and line.endswith("\\") and not line.endswith("\\\\"):
            line = line[:-1] + (more_lines() or "")
        text = line.strip()
        if not text or text.startswith("#"):
            return
        if self.user.cancelled:
            raise UsageError("interrupted")
        if self._depth >= DEPTH_LIMIT:
            raise UsageError(f"commands nest deeper than {DEPTH_LIMIT}: does a macro call itself?")
        if self.settings["trace-commands"]:
            yield Message(f"{'+' * (self._depth + 1)}{text}")
        self._depth += 1
        try:
            text = self.macros.filled(text)
            if (found := self.macros.named_by(text)) is not None:
                yield from self._run_macro(*found)
            else:
                text = self.aliases.expand(text)
                for one in self._in_our_words(text):
                    yield from self._run_command(one, more_lines)
        finally:
            self._depth -= 1
        if not self._in_stop_commands and (unreported := self.runs.take_unreported()) is not None:
            yield from self.report_stop(*unreported)

    def _in_our_words(self, text: str) -> list[str]:
        """The line, or the lines that it means where it begins with a word of another debugger's."""
        if self.registry.comes_first(text):
            return [text]
        from kvmdbg.commands import of_others  # a large table

        return of_others.lines(text, self._has_command, self.session)

    def _has_command(self, parent: str, name: str) -> bool:
        return name in self.registry.names(parent)

    def hooks_of(self, name: str, kind: str = "hook-") -> Iterator[Result]:
        """Run what was defined to come before ("hook-") or after ("hookpost-") a command, or "stop"."""
        with self.macros.hook(name, kind) as hook:
            if hook is not None:
                yield from self.run_lines(hook.lines, hook.name)

    @contextmanager
    def anew(self) -> Iterator[None]:
        """While inside, lines are the user's own again, though a command is being run (the full screen)."""
        depth, self._depth = self._depth, 0
        try:
            with self.macros.none_called():
                yield
        finally:
            self._depth = depth

    def _run_command(self, text: str, more_lines: MoreLines | None) -> Iterator[Result]:
        found = self.registry.resolve(text)
        if self.macros:
            yield from self.hooks_of(found.command.name)
        try:
            yield from self._run_found(found, text, more_lines)
        except KvmdbgError as error:
            self.registry.add_hint(self, error, found)
            raise
        if self.macros:
            yield from self.hooks_of(found.command.name, "hookpost-")

    def _run_found(self, found: Resolved, text: str, more_lines: MoreLines | None) -> Iterator[Result]:
        if found.command.host:
            found.command.check_host(self)
        parsed = found.command.parse(found.rest, found.suffix, self)
        body = {}
        if found.command.body:
            follows = found.command.body_follows(found.rest)
            body["body"] = self.read_body(more_lines, found.command) if follows else []
        if self._depth == 1 and not self._in_stop_commands:
            self.repeat_line = text if found.command.repeat else ""
        with self.session.changes.taken_back_on_error():
            arguments = [one.evaluate(self) if isinstance(one, Later) else one for one in parsed]
            if self.user.shows_python and self._depth == 1 and (python := found.command.in_python(arguments)):
                yield Message(f">>> {python}", data={"python": python})
            results = found.command.function(self, *arguments, **body)
            if isinstance(results, Iterable):
                yield from results
            elif results is not None:
                yield results

    def run_lines(self, lines: Iterable[str], where: str = "") -> Iterator[Result]:
        """Run lines one after the other, stopping at the first error, which then says ``where:LINE``."""
        source = enumerate(lines, 1)
        number = 0

        def more() -> str | None:
            nonlocal number
            number, line = next(source, (number, None))
            return line

        while (line := more()) is not None:
            start = number
            try:
                yield from self.run_line(line, more)
            except KvmdbgError as error:
                if where:
                    error.args = (f"{where}:{start}: {error}",)
                raise
            if self.runs.has_unreported:
                return  # within a breakpoint's commands the guest went on: the rest is dropped, as gdb does

    def read_body(self, more_lines: MoreLines | None, command: Command) -> list[str]:
        """The lines up to the ``end`` that closes the body (nested bodies included as they are)."""
        lines: list[str] = []
        open_bodies = [command]
        while True:
            line = more_lines() if more_lines is not None else None
            if line is None:
                raise UsageError(f"{command.name}: the input ended before the line 'end'")
            as_it_is = open_bodies[-1].body in _NO_COMMANDS
            if _ENDS_BODY.match(line):
                open_bodies.pop()
                if not open_bodies:
                    return lines
            elif not as_it_is and (inner := self.opened_body(line)) is not None:
                open_bodies.append(inner)
            lines.append(line.rstrip() if as_it_is else line.strip())

    def opened_body(self, line: str) -> Command | None:
        """The command of a line that is followed by a body."""
        text = self.aliases.expand(line)
        word = _FIRST_WORD.match(text)
        if word is None or self.macros.named_by(line.strip()) is not None:
            return None
        if not any(one.body and name.startswith(word[1]) for name, one in self.registry.names().items()):
            return None  # soon known, where many lines are looked at
        try:
            found = self.registry.resolve(text)
        except KvmdbgError:
            return None
        return found.command if found.command.body and found.command.body_follows(found.rest) else None

    def _run_macro(self, macro: Macro, text: str) -> Iterator[Result]:
        with self.macros.called(macro, text) as lines:
            if not macro.name.startswith("hook"):
                yield from self.hooks_of(macro.name)
            yield from self.run_lines(lines, macro.name)
            if not macro.name.startswith("hook"):
                yield from self.hooks_of(macro.name, "hookpost-")

    # -- what comes by itself ------------------------------------------------------------------------------------

    def report_stop(self, stop: Stop, then: Callable[[Stop], Result | None] | None = None) -> Iterator[Result]:
        """The report of a stop, what ``then`` gives, then what the commands of the breakpoints that were hit give.

        When those commands let the guest run again, its next stop is reported the same way.
        """
        following: Stop | None = stop
        while following is not None:
            self.runs.last_stop = following
            self.runs.remember_place()
            commands = [line for point in following.breakpoints for line in point.commands]
            silent = bool(commands) and commands[0] == "silent"
            yield from self.hooks_of("stop")
            returned = self.session.made("calls") and self.session.calls.have_returned()
            result = then(following) if then is not None else None
            if returned:
                self.session.calls.take_back()
                yield Message("The function that was called from here has returned.")
                following = StepStop(vcpu=following.vcpu, pc=self.session.vcpu.pc)
            if not silent:
                yield self.registry.stop_report(self, following)
            if result is not None:
                yield result
            yield from self.hooks_of("stop", "hookpost-")
            following = None
            if commands:
                self._in_stop_commands = True
                try:
                    yield from self.run_lines(commands[1:] if silent else commands, "breakpoint commands")
                finally:
                    self._in_stop_commands = False
                following, then = self.runs.take_unreported() or (None, None)

    def show_exit(self, one: Seen) -> None:
        """A traced exit, as it happens."""
        place = f"{one.pc:#x} <{one.symbol}>" if one.symbol else f"{one.pc:#x}"
        data = one.exit.to_json()
        self.tell(ExitLine(f"{place}: {one.exit.describe()}", one.vcpu, data, one.pc, one.symbol, one.time))

    def tell(self, result: Result) -> None:
        """Show what comes by itself, from any thread."""
        if self.log is not None:
            try:
                self.log.write(result)
            except KvmdbgError as error:  # nothing of the guest's
                self.session.listeners.tell_warning(str(error))
        if self.user.on_event is not None:
            self.user.on_event(result)

    def _noted(self, vcpu: int, one: Exit) -> None:
        self.tell(ExitLine(one.describe(), vcpu, data=one.to_json()))

    def _warned(self, text: str) -> None:
        self.tell(Message(text, "warning"))

    # -- what commands ask ---------------------------------------------------------------------------------------

    def kept(self, kind: type[Kept]) -> Kept:
        """What commands keep from one line to the next: the one object of this class, made when first asked for."""
        found = self._kept.get(kind)
        if found is None:
            found = self._kept[kind] = kind()
        return found

    def number(self, text: str) -> int:
        """The value of an expression. UsageError for a structure."""
        found = self.session.evaluate(text)
        if found.type.is_structure:
            raise UsageError(f"{text} is a {found.type}, no number")
        return int(found.value)

    def place(self, text: str) -> Place:
        """The address that an expression means."""
        return value_place(text, self.session.evaluate(text))

    def pointer_size(self) -> int:
        """Bytes of an address in the CPU's mode: 2, 4 or 8."""
        return self.session.vcpu.mode.bits // 8

    def symbol_names(self, prefix: str) -> list[str]:
        """Symbols that start with ``prefix``, for completion."""
        return [str(one) for one in self.session.symbols.complete(prefix)]

    def source_lines(self, file: str) -> tuple[str, ...]:
        """The text of a source file; none where it cannot be read, or may not be."""
        return self.session.source.text(file) if self.user.host_allowed else ()

    def columns(self) -> int:
        """How wide output may be."""
        return int(self.settings["width"]) or self.user.width()

    def asks(self, question: str) -> bool:
        """True when the user agrees (or `set confirm off`)."""
        confirm = self.user.confirm
        return confirm is None or not self.settings["confirm"] or confirm(question)

    def complete(self, line: str) -> list[Candidate]:
        """What the text up to the cursor may become."""
        from kvmdbg.commands.completion import candidates

        return candidates(self, line)


def report_of(results: Iterable[Result]) -> StopReport | None:
    """The last stop report among results."""
    found = None
    for one in results:
        if isinstance(one, StopReport):
            found = one
    return found


__all__ = ["Command", "Interpreter", "MoreLines", "Quit", "report_of"]
