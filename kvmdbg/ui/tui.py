"""The full-screen mode: panes for code, registers, stack, breakpoints, the guest's console and screen, and a prompt.

Nothing is computed for a pane that is not shown, and a pane is computed once a stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from kvmdbg import error_log
from kvmdbg.commands.full_screen import FullScreen, pane_of
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Message, Result
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.printable import printable
from kvmdbg.ui.arrangement import Arrangement
from kvmdbg.ui.code_pane import CodePane, InstructionPane, SourcePane
from kvmdbg.ui.dialogue import Dialogue
from kvmdbg.ui.given_back import given_back
from kvmdbg.ui.guest_screen import screen_lines
from kvmdbg.ui.heard import Heard
from kvmdbg.ui.memory_pane import memory_lines
from kvmdbg.ui.offered import completer, editing_mode, suggestions
from kvmdbg.ui.panes import Line, Pane, fitted, lines_of, plain, wrapped
from kvmdbg.ui.style import prompt_style
from kvmdbg.ui.toolbar import toolbar
from kvmdbg.ui.tui_keys import bindings, help_line
from kvmdbg.ui.tui_typing import GuestTyping
from kvmdbg.ui.typed_commands import TypedCommands
from kvmdbg.ui.watching import draw_anew, redraw_changes

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from prompt_toolkit.application import Application
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.history import History
    from prompt_toolkit.layout import Container

    from kvmdbg.engine.stops import Stop

KEPT = 5000
"""Lines of the log that are kept."""
REFRESH = 0.2
STILL_AT_IT = 0.03
"""Seconds after which a command is seen to be executed."""


class Tui:
    """The screen on ``interpreter``'s session. ``run`` returns when the user leaves it.

    ``has_colour`` is asked at each drawing.
    """

    def __init__(
        self, interpreter: Interpreter, history: History, has_colour: Callable[[], bool] = lambda: True
    ) -> None:
        self.interpreter = interpreter
        self._has_colour = has_colour
        self.session = interpreter.session
        self.history = history
        self.generation = 0
        self.status: int | None = None
        """The exit status, when the user left kvmdbg altogether."""
        self._log: list[Line] = []
        self._logged = 0  # how often something came to the log
        self._wrapped: tuple[tuple[int, int], list[Line]] = (-1, -1), []
        self._heard = Heard(interpreter.session.peripherals.serial)
        self.commands = TypedCommands(
            interpreter, begun=self._begun, show=self.show, ended=self._ended, quit=self._quit
        )
        self.panes = {
            "source": Pane("source", self._source),
            "code": Pane("code", self._code),
            "registers": Pane("registers", self._part("registers_part")),
            "stack": Pane("stack", self._part("stack_part")),
            "memory": Pane("memory", partial(memory_lines, interpreter)),
            "locals": Pane("locals", partial(self._command, "info locals")),
            "backtrace": Pane("backtrace", partial(self._command, "backtrace")),
            "watch": Pane("watch", self._watched),
            "breakpoints": Pane("breakpoints", partial(self._command, "info breakpoints")),
            "exits": Pane("exits", partial(self._command, "info exits")),
            "screen": Pane("screen", lambda at: screen_lines(self.session, at, self.panes["screen"].height), live=True),
            "console": Pane("guest console", self._heard.console, tail=True, live=True, always=True),
            "log": Pane("kvmdbg", self._shown_log, tail=True, live=True, always=True),
        }
        self.side = ["breakpoints", "exits", "screen", "console", "memory", "locals", "backtrace", "watch"]
        self.narrow_panes = ["registers", "stack", *self.side]
        self._show_first(interpreter.settings["tui-pane"])
        self.focus = "log"
        self.source, self.code = SourcePane(interpreter), InstructionPane(interpreter)
        self._centred: dict[str, object] = {}
        self.dialogue = Dialogue(interpreter, self.commands.add, lambda: self.app.invalidate())
        self._last_mistake = ""
        self._reading = ""
        """How far a long reading is."""
        self._reads_units = False
        """The source files' units are being read, or it was tried."""
        self._had_source = False
        self._source_at: tuple[int, int, str] | None = None
        """When it was looked for."""
        self.arrangement = Arrangement(
            interpreter.settings,
            size=lambda: self.size,
            needs=lambda name: max(self.panes[name].needed, 6),
            has_source=lambda: self._has_source,
            side=lambda: self.changing[0],
            window=self._window,
        )
        self.typing = GuestTyping(
            self.session, lambda: self.focus if self.commands.are_executed else "", lambda: self.choose("log")
        )
        self.app = self._make_app()

    # --- panes -------------------------------------------------------------------------------------

    def _results(self, results: Iterable[Result], width: int) -> list[Line]:
        return [line for result in results for line in lines_of(result, width)]

    def _part(self, name: str) -> Callable[[int], list[Line]]:
        def make(width: int) -> list[Line]:
            from kvmdbg.commands import views

            if self.session.state != "stopped":
                return plain(f"(the guest is {self.session.state})")
            return fitted(getattr(views, name)(self.interpreter), width, self.panes["registers"].height)

        return make

    @property
    def _moment(self) -> tuple[int, int, str]:
        """Another one where panes may have other contents; another debugger may have let the guest go on."""
        return self.generation, self.session.control.epoch, self.session.state

    def _look(self, pane: Pane, width: int, height: int) -> list[Line]:
        """What is seen of a pane. A command that is being executed may just be replacing what it shows."""
        moment = self._moment
        if self.commands.at_work.acquire(blocking=False):
            try:
                return pane.lines(width, height, moment)
            finally:
                self.commands.at_work.release()
        if pane.always or moment[-1] == "running":
            return pane.lines(width, height, moment)
        return pane.seen(height)

    def _status(self) -> StyleAndTextTuples:
        """The line at the bottom."""
        if not self.commands.at_work.acquire(blocking=False):
            state = self.session.state
            return [("bold", f" {state}"), ("", "  Ctrl-C interrupts" if state == "running" else "")]
        try:
            return toolbar(self.interpreter, self.columns)
        finally:
            self.commands.at_work.release()

    @property
    def _has_source(self) -> bool:
        """Whether the source pane has something to show; while a command is executed what it had is still there."""
        moment = self._moment
        if self._source_at != moment and moment[-1] == "stopped" and self.commands.at_work.acquire(blocking=False):
            try:
                self._had_source = self.source.there is not None
                self._source_at = moment
            except Exception:  # another debugger may be making the guest anew
                self._had_source = False
            finally:
                self.commands.at_work.release()
        return self._had_source

    def _source(self, width: int) -> list[Line]:
        if self.session.state != "stopped":
            return plain(f"(the guest is {self.session.state})")
        made = self.source.lines(width)
        self.panes["source"].title = self.source.title or "source"
        self._go_to("source", self.source)
        return made

    def _code(self, width: int) -> list[Line]:
        if self.session.state != "stopped":
            return plain(f"(the guest is {self.session.state})")
        if not self.session.source.is_listed and not self._reads_units:
            self._reads_units = True
            self._reading = "Reading the debug information"
            threading.Thread(target=self._read_units, daemon=True).start()
        made = self.code.lines(width, self.panes["code"].height)
        self._go_to("code", self.code)
        return made

    def _go_to(self, name: str, code: CodePane) -> None:
        """Have the place that a pane is about in the middle, where it is another than before."""
        pane = self.panes[name]
        key = (code.shown, pane.height)
        if self._centred.get(name) != key:
            self._centred[name] = key
            pane.back = max(code.middle - pane.height // 2, 0)

    def _read_units(self) -> None:
        """On a thread of its own: what the code pane needs of a large file."""
        try:
            self.session.source.read_units()
        except KvmdbgError as error:
            self.show(Message(str(error), "error"))
        finally:
            self.progress("", 1, 1)
            self.generation += 1

    def _command(self, line: str, width: int) -> list[Line]:
        from kvmdbg.commands import exits, info, tracing  # noqa: F401  they are loaded by then

        if self.session.state != "stopped" and line not in ("info breakpoints", "info exits"):
            return plain(f"(the guest is {self.session.state})")
        found = self.interpreter.registry.resolve(line).command
        result = found.function(self.interpreter)
        return self._results(result, width) if isinstance(result, Iterator) else lines_of(result, width)

    def _watched(self, width: int) -> list[Line]:
        from kvmdbg.commands.displays import enabled_displays

        found = enabled_displays(self.interpreter)
        return self._results(found, width) if found else plain("Nothing is watched: display EXPRESSION does.")

    def _shown_log(self, width: int) -> list[Line]:
        key = (self._logged, width)
        if self._wrapped[0] != key:
            self._wrapped = key, [part for line in list(self._log) for part in wrapped(line, width)]
        return self._wrapped[1] if self._has_console else self._wrapped[1] + self._heard.lines(width)

    @property
    def _has_console(self) -> bool:
        return "console" in self.arrangement.seen

    def show(self, result: Result) -> None:
        """Add a result to the log."""
        self._say(lines_of(result, self._log_width()))
        if not self.commands.are_executed:
            self.app.invalidate()

    def _say(self, lines: list[Line]) -> None:
        heard = self._heard.take(self._log_width())
        self._log += lines if self._has_console else heard + lines
        del self._log[:-KEPT]
        self._logged += 1

    def _draw_soon(self) -> None:
        """Draw what a command has shown so far. Most are done by then, and the whole is drawn but once."""

        def draw() -> None:
            if self.commands.are_executed:
                self.app.invalidate()

        if (loop := self.app.loop) is not None:
            loop.call_soon_threadsafe(loop.call_later, STILL_AT_IT, draw)

    def _log_width(self) -> int:
        """Columns of the pane that results are shown in."""
        return max(self.panes["log"].width or self.columns, 40)

    @property
    def size(self) -> tuple[int, int]:
        """The screen's columns and lines."""
        from prompt_toolkit.application import get_app_session

        size = get_app_session().output.get_size()
        return size.columns, size.rows

    @property
    def columns(self) -> int:
        return self.size[0]

    # --- commands ----------------------------------------------------------------------------------

    def _begun(self, line: str) -> None:
        first, *rest = line.split("\n")
        self._say([[("bold", f"(kvmdbg) {first}")], *([("bold", f"> {part}")] for part in rest)])
        self._draw_soon()

    def _ended(self) -> None:
        self.generation += 1
        self.app.editing_mode = editing_mode(self.interpreter)
        self.app.invalidate()

    def _quit(self, status: int) -> None:
        self.status = status
        self._leave()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far the reading of a large file is, in place of the keys."""
        self._reading = f"{what}: {done * 100 // total}%" if done < total else ""
        self.app.invalidate()

    def stopped(self, stop: Stop) -> None:
        """On a vCPU's thread: a guest that ran in the background has stopped."""
        text = printable(stop.describe())
        self.interpreter.runs.last_stop = stop
        self.generation += 1
        self.show(Message(f"{text[:1].upper()}{text[1:]}."))

    def _leave(self) -> None:
        if self.app.loop is not None:
            self.app.loop.call_soon_threadsafe(lambda: None if self.app.is_done else self.app.exit())

    # --- layout ------------------------------------------------------------------------------------

    def _window(self, name: Callable[[], str], height: Callable[[], int]) -> Container:
        from prompt_toolkit.layout import Dimension, HSplit, Window
        from prompt_toolkit.layout.controls import FormattedTextControl, UIContent, UIControl
        from prompt_toolkit.mouse_events import MouseEvent, MouseEventType

        tui = self

        class Control(UIControl):
            def create_content(self, width: int, height: int | None) -> UIContent:
                lines = tui._look(tui.panes[name()], width, height or 1)
                return UIContent(lambda number: list(lines[number]), len(lines), show_cursor=False)

            def mouse_handler(self, mouse_event: MouseEvent) -> Any:
                kind = mouse_event.event_type
                if kind == MouseEventType.SCROLL_UP:
                    tui.panes[name()].scroll(-3)
                elif kind == MouseEventType.SCROLL_DOWN:
                    tui.panes[name()].scroll(3)
                elif kind == MouseEventType.MOUSE_DOWN:
                    tui.click(name(), mouse_event.position.y)
                else:
                    return NotImplemented
                return None

        def title() -> StyleAndTextTuples:
            pane, chosen = tui.panes[name()], tui.focus == name()
            return [("class:title.focused" if chosen else "class:title", f" {pane.title} ")]

        heading = Window(FormattedTextControl(title), height=1, style="class:title")
        body = Window(Control(), height=lambda: Dimension.exact(height()))
        return HSplit([heading, body])

    def _make_app(self) -> Application[None]:
        from prompt_toolkit.application import Application
        from prompt_toolkit.buffer import Buffer
        from prompt_toolkit.filters import is_searching
        from prompt_toolkit.key_binding import merge_key_bindings
        from prompt_toolkit.key_binding.bindings.auto_suggest import load_auto_suggest_bindings
        from prompt_toolkit.layout import (
            ConditionalContainer,
            DynamicContainer,
            Float,
            FloatContainer,
            HSplit,
            Layout,
            Window,
        )
        from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl, SearchBufferControl
        from prompt_toolkit.layout.menus import CompletionsMenu
        from prompt_toolkit.layout.processors import AppendAutoSuggestion, BeforeInput, ReverseSearchProcessor
        from prompt_toolkit.output import ColorDepth
        from prompt_toolkit.styles import DynamicStyle, merge_styles
        from prompt_toolkit.styles.style import Style

        interpreter = self.interpreter

        def accept(buffer: Buffer) -> bool:
            prompt.horizontal_scroll = 0
            self.dialogue.typed(buffer.text)
            return False

        self.input = Buffer(
            history=self.history,
            completer=completer(interpreter),
            auto_suggest=suggestions(interpreter),
            complete_while_typing=False,
            multiline=False,
            accept_handler=accept,
        )
        before = BeforeInput(lambda: self.dialogue.prompt, style="bold")
        search = SearchBufferControl(input_processors=[ReverseSearchProcessor()])  # of the history, with Ctrl-R
        typed = BufferControl(self.input, [before, AppendAutoSuggestion()], search_buffer_control=search)
        prompt = Window(typed, height=1)
        stands = FormattedTextControl(self._status, focusable=True, show_cursor=False)
        status = Window(stands, height=1, style="class:status")
        body = HSplit([
            DynamicContainer(self.arrangement.container),
            ConditionalContainer(Window(search, height=1), is_searching),
            ConditionalContainer(prompt, ~is_searching),
            status,
            Window(FormattedTextControl(self._help), height=1, style="class:help"),
        ])  # fmt: skip
        root = FloatContainer(body, [Float(CompletionsMenu(max_height=8), xcursor=True, ycursor=True)])
        styles = Style.from_dict({
            "title": "reverse", "title.focused": "reverse bold underline", "status": "reverse", "help": "",
        })  # fmt: skip
        return Application(
            editing_mode=editing_mode(interpreter),
            layout=Layout(root, focused_element=prompt),
            key_bindings=merge_key_bindings([load_auto_suggest_bindings(), bindings(self, self.typing)]),
            style=merge_styles([DynamicStyle(lambda: prompt_style(interpreter.settings["theme"])), styles]),
            include_default_pygments_style=False,
            color_depth=lambda: None if self._has_colour() else ColorDepth.DEPTH_1_BIT,
            full_screen=True,
            mouse_support=True,
            before_render=self.typing.focus(prompt, status),
        )

    @property
    def changing(self) -> list[str]:
        """What the changing pane may show; the first is shown."""
        return self.side if self.arrangement.is_wide else self.narrow_panes

    def change(self) -> None:
        """Let the changing pane show another one."""
        self.changing.append(self.changing.pop(0))
        self._chosen(self.changing[0])

    def _chosen(self, pane: str) -> None:
        self.focus = pane
        if pane in self.side:
            self.interpreter.settings["tui-pane"] = pane

    def click(self, name: str, row: int) -> None:
        """A click into a pane chooses it; one into code that is chosen sets a breakpoint there, or deletes it."""
        code = {"source": self.source, "code": self.code}.get(name)
        if code is not None and name == self.focus and (place := code.clicked(row + self.panes[name].back)):
            self.commands.add(partial(code.change, place))
        self.focus = name

    def choose(self, name: str) -> None:
        """Let PgUp and PgDn scroll the pane that this names, and show it where another is."""
        wanted = pane_of(name)
        self._show_first(wanted)
        if wanted not in self.arrangement.seen:
            raise UsageError(f"the layout {self.interpreter.settings['tui-layout']} has no pane {wanted}")
        self._chosen(wanted)
        self.app.invalidate()

    def _show_first(self, pane: str) -> None:
        for panes in (self.side, self.narrow_panes):
            while pane in panes and panes[0] != pane:
                panes.append(panes.pop(0))

    def pane_size(self, name: str) -> tuple[int, int]:
        """How many lines and columns of a pane are seen. UsageError where it is not shown."""
        if (found := self.arrangement.sizes().get(name)) is None:
            raise UsageError(f"the pane {name} is not shown")
        return found

    def _help(self) -> StyleAndTextTuples:
        if self.typing.to:
            return [("bold", self.typing.help)]
        return [("bold", f" {self._reading}") if self._reading else ("", help_line(self.columns))]

    # --- the whole ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        import asyncio

        asyncio.get_running_loop().set_exception_handler(self._unforeseen)
        redraw_changes(self.app, self._seen, REFRESH)

    def _seen(self) -> object:
        """All that is on the screen but the line that is typed."""
        drawn = [pane for name in self.arrangement.seen if (pane := self.panes[name]).height]
        return self.size, self._status(), self._help(), [self._look(one, one.width, one.height) for one in drawn]

    def _unforeseen(self, loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake in what draws the screen or completes a line: the log shows it once, and all goes on."""
        error = context.get("exception")
        if isinstance(error, OSError):  # the terminal has gone
            self._leave()
        elif isinstance(error, Exception) and (text := repr(error)) != self._last_mistake:
            self._last_mistake = text
            self.show(Message(error_log.internal(error), "error"))

    def run(self) -> None:
        """Show the screen until the user leaves."""
        interpreter = self.interpreter
        before, context = interpreter.user, interpreter.settings["context"]
        interpreter.user = user = copy(before)
        user.on_event, user.width, user.confirm = self.show, self._log_width, self.dialogue.ask
        user.has_terminal = False
        screen = interpreter.kept(FullScreen)
        screen.focus, screen.size, screen.leave = self.choose, self.pane_size, self._leave
        screen.redraw = lambda: draw_anew(self.app)
        screen.panes = lambda: [(one, one == self.focus) for one in self.arrangement.seen]
        interpreter.settings["context"] = ()
        try:
            with given_back(self.app), interpreter.anew():
                self.app.run(pre_run=self._begin, set_exception_handler=False)
        finally:
            screen.focus = screen.size = screen.leave = screen.panes = screen.redraw = None
            self.dialogue.cancel()
            try:
                self.commands.end()
            finally:
                interpreter.user, interpreter.settings["context"] = before, context
