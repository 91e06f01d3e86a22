"""The interactive shell: prompt_toolkit around the command interpreter."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmdbg import error_log, standard_files
from kvmdbg.commands.full_screen import FullScreen
from kvmdbg.commands.interpreter import Interpreter, Quit
from kvmdbg.commands.results import Error, Message, Result
from kvmdbg.commands.screens import LiveScreen
from kvmdbg.commands.support import Topics
from kvmdbg.commands.user import PLEASE
from kvmdbg.error_log import state_folder
from kvmdbg.errors import KvmdbgError, refused_by_host
from kvmdbg.printable import printable
from kvmdbg.ui import keys, pager
from kvmdbg.ui.console import Console
from kvmdbg.ui.offered import completer, editing_mode, suggestions
from kvmdbg.ui.progress import ProgressLine
from kvmdbg.ui.read_line import read_line
from kvmdbg.ui.style import prompt_style, wants_color
from kvmdbg.ui.toolbar import toolbar
from kvmdbg.ui.typing_through import TypingThrough
from kvmdbg.ui.watching import redraw_changes

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from prompt_toolkit import PromptSession
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.history import History

    from kvmdbg.commands.settings import Settings
    from kvmdbg.engine.stops import Stop
    from kvmdbg.serving import GdbService

KEPT_OUTPUT = 1 << 16
"""How many bytes of what the guest sent while its screen was shown are written afterwards."""
LOOKS_AGAIN = 0.5
"""Seconds between two looks at whether the prompt or the line below it should be another."""
WAKE = "\0wake"
"""What the prompt gives when it was left to show a stop."""


def history(tell: Callable[[str], None], settings: Settings) -> History:
    """The lines of this and earlier sessions, in a file that only its owner can read.

    ``tell`` is told when it cannot be written any more. The settings history-… say which file, and what of it.
    """
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class KeptHistory(FileHistory):
        can_be_kept = True

        def load_history_strings(self) -> Iterable[str]:
            most = settings["history-size"]
            try:
                lines = super().load_history_strings()  # the last ones first
                yield from lines if not most else islice(lines, most)
            except OSError as error:
                self._lose("read", error)

        def store_string(self, string: str) -> None:
            if self.can_be_kept and settings["history-save"]:
                try:
                    super().store_string(string)
                except OSError as error:
                    self._lose("written", error)

        def _lose(self, done: str, error: OSError) -> None:
            self.can_be_kept = False
            tell(f"the history cannot be {done}: {error.strerror}")

    folder = state_folder()
    chosen = settings["history-filename"]
    if folder is None and not chosen:
        return InMemoryHistory()
    path = Path(chosen).expanduser() if chosen or folder is None else folder / "history"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    except OSError:
        return InMemoryHistory()
    if not path.is_file():  # a device may be read for ever
        return InMemoryHistory()
    return KeptHistory(str(path))


def is_dumb() -> bool:
    """Whether the terminal can do nothing but show text."""
    return os.environ.get("TERM", "dumb") in ("", "dumb", "unknown") or not sys.stdout.isatty()


class Shell:
    """Reads lines and shows what they give, until the user leaves."""

    def __init__(self, interpreter: Interpreter, *, color: bool | None = None) -> None:
        self.interpreter = interpreter
        self.session = interpreter.session
        self.color = wants_color(sys.stdout, color)
        self.console = Console(interpreter.columns, self._theme)
        self.lines = history(lambda text: self._tell(Message(text, "warning")), interpreter.settings)
        self.prompt = None if is_dumb() else self._make_prompt()
        self.console.on_lost = self.session.world.stop
        if not is_dumb():
            self.console.pager = lambda text: pager.show(text, interpreter.settings)
        self._stops: list[Stop] = []
        self._foreign: Stop | None = None
        self._draft: Document | str = ""
        interpreter.kept(Topics)["keys"] = keys.help_text()
        interpreter.user.width = lambda: shutil.get_terminal_size().columns
        interpreter.user.confirm = self.ask
        interpreter.user.on_event = self.console.show
        interpreter.runs.on_background_stop = self._stopped
        interpreter.runs.on_foreign_stop = self._foreign_stopped
        self.typing = None
        if self.prompt is not None:
            if sys.stdin.isatty():
                self.typing = TypingThrough(self.session, self._keys_go, self._tell_keys, self._show_screen)
                interpreter.runs.attended = self.typing.taken
            self.session.files.progress = ProgressLine(self.console.progress)
            self.console.on_partial = self.prompt.app.invalidate
            interpreter.kept(LiveScreen).show = self._live_screen
            interpreter.kept(FullScreen).show = self._full_screen

    def _theme(self) -> str:
        settings = self.interpreter.settings
        return str(settings["theme"]) if self.color and settings["style-enabled"] else ""

    def _live_screen(self) -> None:
        with self.typing.paused() if self.typing is not None else nullcontext():
            self._show_screen(lambda: False)

    def _show_screen(self, is_over: Callable[[], bool]) -> None:
        """Show the guest's screen until the user leaves it; what it sends meanwhile follows."""
        from kvmdbg.ui import live

        sent = bytearray()

        def keep(data: bytes) -> None:
            sent.extend(data)
            del sent[:-KEPT_OUTPUT]

        listeners = self.session.listeners
        listeners.remove(self.console.guest)
        listeners.on_output(keep)
        try:
            live.show(self.session, is_over)
        finally:
            listeners.remove(keep)
            listeners.on_output(self.console.guest)
            self.console.guest(bytes(sent))

    def _keys_go(self) -> str:
        return str(self.interpreter.settings["keys"])

    def _tell_keys(self, text: str) -> None:
        self.console.show(Message(text))

    def _full_screen(self) -> None:
        from kvmdbg.ui.tui import Tui

        tui = Tui(self.interpreter, self.lines, lambda: bool(self._theme()))
        runs = self.interpreter.runs
        foreign, runs.on_foreign_stop = runs.on_foreign_stop, None
        background, runs.on_background_stop = runs.on_background_stop, tui.stopped
        progress, self.session.files.progress = self.session.files.progress, tui.progress
        attended, runs.attended = runs.attended, nullcontext
        self.session.listeners.remove(self.console.guest)
        try:
            tui.run()
        finally:
            runs.attended = attended
            self.session.files.progress = progress
            self.session.listeners.on_output(self.console.guest)
            runs.on_foreign_stop = foreign
            runs.on_background_stop = background
        if tui.status is not None:
            raise Quit(tui.status)

    # --- the prompt --------------------------------------------------------------------------------

    def _make_prompt(self) -> PromptSession[str]:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.styles import DynamicStyle, merge_styles
        from prompt_toolkit.styles.style import Style

        from kvmdbg.ui.lexer import CommandLexer

        interpreter = self.interpreter

        extra = Style.from_dict(
            {"bottom-toolbar": "noreverse bg:ansibrightblack ansiwhite" if self.color else "reverse"}
        )
        return PromptSession(
            history=self.lines,
            completer=completer(interpreter),
            auto_suggest=suggestions(interpreter),
            complete_while_typing=False,
            lexer=CommandLexer(interpreter),
            style=merge_styles([DynamicStyle(lambda: prompt_style(interpreter.settings["theme"])), extra]),
            include_default_pygments_style=False,
            enable_suspend=True,
            key_bindings=keys.bindings(self._run_key, self._interrupt),
        )

    def _message(self) -> StyleAndTextTuples:
        from prompt_toolkit.formatted_text import ANSI, to_formatted_text

        state = self.session.state
        try:
            name = self.session.vcpu.mode.name if state == "stopped" else state
        except Exception:  # another thread is restarting the guest
            name = state
        unended = f"{self.console.partial.expandtabs()}\n" if self.console.partial else ""
        own = self.interpreter.settings["prompt"]
        return [*to_formatted_text(ANSI(unended)), ("bold", f"{own} " if own else f"(kvmdbg {name}) ")]

    def _run_key(self, line: str) -> None:
        """A key that stands for a command: what is typed so far is there again at the next prompt."""
        assert self.prompt is not None
        app = self.prompt.app
        self._draft = app.current_buffer.document
        app.current_buffer.text = line
        app.exit(result=line)

    def _interrupt(self) -> bool:
        if self.session.state != "running":
            return False
        self.session.interrupt()
        return True

    def _stopped(self, stop: Stop) -> None:
        """On a vCPU's thread: a guest that ran in the background stopped; leave the prompt to show it."""
        self._stops.append(stop)
        if self.prompt is None:
            self.console.show(Message(f"{stop.describe()}; the next line shows it.", "warning"))
        elif self.prompt.app.loop is not None:
            self.prompt.app.loop.call_soon_threadsafe(self._wake)

    def _foreign_stopped(self, stop: Stop) -> None:
        """On a vCPU's thread: a guest stopped that another debugger had let run; of many only the last is shown."""
        self._foreign = stop
        if self.prompt is not None and self.prompt.app.loop is not None:
            self.prompt.app.loop.call_soon_threadsafe(self._wake)

    def _started(self) -> None:
        """As the prompt starts: a stop may have come just before."""
        import asyncio

        self._answering()
        asyncio.get_running_loop().call_soon(self._wake)
        if (prompt := self.prompt) is not None:  # another debugger may let the guest run
            has_toolbar = prompt.bottom_toolbar is not None
            redraw_changes(
                prompt.app, lambda: (self._message(), toolbar(self.interpreter) if has_toolbar else []), LOOKS_AGAIN
            )

    def _answering(self) -> None:
        """As any prompt starts."""
        import asyncio

        self.console.started()
        asyncio.get_running_loop().set_exception_handler(self._unforeseen)

    def _unforeseen(self, loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake in what draws the prompt or completes a line: it is told, and the prompt goes on."""
        if not isinstance(error := context.get("exception"), Exception):
            return
        self.console.error(error_log.internal(error))
        if isinstance(error, OSError) and self.prompt is not None and self.prompt.app.is_running:
            self.prompt.app.exit(exception=error)  # the terminal has gone

    def _wake(self) -> None:
        assert self.prompt is not None
        app = self.prompt.app
        if (self._stops or self._foreign) and app.is_running and not app.is_done:
            self._draft = app.current_buffer.document
            app.erase_when_done = True
            app.exit(result=WAKE)

    def _read(self) -> str:
        """One line; KeyboardInterrupt and EOFError as typed; WAKE when a stop waits to be shown."""
        if self.prompt is None:
            line = self._plain_line("".join(text for _, text, *_ in self._message()))
            return line if line or not (self._stops or self._foreign) else WAKE
        draft, self._draft = self._draft, ""
        self.prompt.app.erase_when_done = False
        self._apply_settings(self.prompt)
        with self.console.prompting(self.prompt.app):
            line = read_line(self.prompt, self._message, self._started, draft)
        if line == WAKE:
            self.console.keep_partial()
        else:
            self.console.partial = ""  # it stands above the line now
        return line

    def _apply_settings(self, prompt: PromptSession[str]) -> None:
        """Without the toolbar nothing is below the line that is typed: for screen readers, and for slow lines."""
        from prompt_toolkit.output import ColorDepth
        from prompt_toolkit.renderer import CPR_Support
        from prompt_toolkit.shortcuts import CompleteStyle

        prompt.editing_mode = editing_mode(self.interpreter)
        prompt.color_depth = None if self._theme() else ColorDepth.DEPTH_1_BIT
        renderer = prompt.app.renderer
        if self.interpreter.settings["toolbar"]:
            if prompt.bottom_toolbar is None:  # else it is known already whether the terminal says where its cursor is
                renderer.cpr_support = CPR_Support.UNKNOWN
            prompt.bottom_toolbar = lambda: toolbar(self.interpreter)
            prompt.complete_style, prompt.reserve_space_for_menu = CompleteStyle.COLUMN, 8
        else:
            prompt.bottom_toolbar = None
            prompt.complete_style, prompt.reserve_space_for_menu = CompleteStyle.READLINE_LIKE, 0
            renderer.cpr_support = CPR_Support.NOT_SUPPORTED  # else the rest of the screen is filled with empty lines

    def _plain_line(self, text: str) -> str:
        """A line from a terminal that can do nothing but show text."""
        self.console.end_line()
        try:
            return input(text)
        except KeyboardInterrupt:
            print()
            self._interrupt()
            raise

    def _line(self, text: str, history: History | None = None) -> str:
        """A line that is no command: an answer, or a part of a body."""
        if self.prompt is None:
            return self._plain_line(text)
        from prompt_toolkit import PromptSession

        prompt: PromptSession[str] = PromptSession(history=history, enable_suspend=True)
        prompt.app.renderer.cpr_support = self.prompt.app.renderer.cpr_support
        with self.console.prompting(prompt.app):
            return read_line(prompt, text, self._answering)

    def ask(self, question: str) -> bool:
        """Ask for yes or no; Ctrl-C and the end of input are no."""
        please = ""
        while True:
            try:
                answer = self._line(f"{please}{question} (y or n) ").strip().lower()
            except (KeyboardInterrupt, EOFError):
                return False
            if answer in ("y", "yes", "n", "no"):
                return answer.startswith("y")
            please = PLEASE

    def _more(self) -> str | None:
        """A line of a body up to ``end``."""
        try:
            return self._line("> ", self.lines)
        except EOFError:
            return None

    def thread_failed(self, error: BaseException | None) -> None:
        """A mistake that ended a thread, or what one called: it is told as others are."""
        if isinstance(error, Exception):
            self._tell(Error(error_log.internal(error)))

    def _tell(self, result: Result) -> None:
        """From any thread: show it at the prompt, or in the full-screen mode when that has the terminal."""
        (self.interpreter.user.on_event or self.console.show)(result)

    # --- the loop ----------------------------------------------------------------------------------

    def run(self) -> int:
        """Read and execute until the user leaves; the exit status."""
        self.session.listeners.on_output(self.console.guest)
        try:
            while self.console.lost is None:
                try:
                    self._show_stops()
                    line = self._read()
                    if line != WAKE:
                        self.execute(line)
                except KeyboardInterrupt:
                    continue
                except OSError as error:
                    standard_files.say(f"kvmdbg: the terminal cannot be used any more: {error.strerror}")
                    return 1
                except EOFError:
                    if self.session.state == "running" and not self.ask("The guest is running. Leave and kill it?"):
                        continue
                    return 0
            return self.console.lost
        except Quit as leave:
            return leave.status
        finally:
            self.session.listeners.remove(self.console.guest)

    def _show_stops(self) -> None:
        while self._stops:
            report = self.interpreter.report_stop(self._stops.pop(0))
            self._guarded(lambda report=report: self._show(report))  # type: ignore[misc]
        stop, self._foreign = self._foreign, None
        if stop is not None:
            self.interpreter.runs.last_stop = stop
            text = printable(stop.describe())
            self.console.show(Message(f"{text[0].upper()}{text[1:]}; another debugger had let the guest run."))

    def execute(self, line: str) -> None:
        """Run what was typed (several lines when it was pasted) and show what it gives, mistakes too. Raises Quit."""
        lines = line.rstrip("\n").split("\n")  # an empty line would repeat the last one

        def more() -> str | None:
            if not lines and (typed := self._more()) is not None:
                lines.extend(typed.split("\n"))
            return lines.pop(0) if lines else None

        while lines:
            one = lines.pop(0)
            self._guarded(lambda one=one: self._show(self.interpreter.execute(one, more)))  # type: ignore[misc]
            if lines and self.interpreter.runs.interrupted:
                left = f"{len(lines)} more pasted line{'s' if len(lines) > 1 else ''}"
                self.console.show(Message(f"Not run: {left}.", "warning"))
                return

    def _show(self, results: Iterable[Result]) -> None:
        for result in results:
            self.console.show(result)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Quit:
            raise
        except KvmdbgError as error:
            self.console.error(str(error))
        except KeyboardInterrupt:
            self.interpreter.runs.interrupted = True
            if self.session.state == "running":
                self.session.interrupt()
            self.console.show(Message("Interrupted.", "warning"))
        except OSError as error:
            self.console.error(str(refused_by_host(error)))
        except Exception as error:
            self.console.error(f"{error_log.internal(error)}; the session goes on")


def run(interpreter: Interpreter, gdb: GdbService, *, color: bool | None = None, full_screen: bool = False) -> int:
    """The shell on this interpreter's session; the exit status. ``full_screen``: it begins with `tui`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the shell that started it ignores it
    shell = Shell(interpreter, color=color)
    threading.excepthook = lambda failed: shell.thread_failed(failed.exc_value)
    gdb.tell = lambda text: shell.console.show(Message(text))
    if full_screen:
        try:
            shell.execute("tui")
        except Quit as leave:
            return leave.status
    elif interpreter.runs.last_stop is None:
        shell.execute("context regs,code")
        shell.console.show(Message("The guest is loaded and has not run yet. Type help, or help keys; run starts it."))
    return shell.run()
