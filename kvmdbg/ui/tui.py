"""The full-screen mode: panes for code, registers, stack, breakpoints, the guest's console and screen, and a prompt.

Nothing is computed for a pane that is not shown, and a pane is computed once a stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kvmdbg import error_log
from kvmdbg.commands.interpreter import Interpreter, Quit
from kvmdbg.commands.results import Message, Result
from kvmdbg.commands.support import FullScreen
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.printable import printable
from kvmdbg.ui.code_pane import CodePane
from kvmdbg.ui.dialogue import Dialogue
from kvmdbg.ui.given_back import given_back
from kvmdbg.ui.guest_screen import screen_lines
from kvmdbg.ui.panes import Line, Pane, lines_of, plain, wrapped
from kvmdbg.ui.style import prompt_style
from kvmdbg.ui.toolbar import toolbar
from kvmdbg.ui.tui_keys import bindings

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from prompt_toolkit.application import Application
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.history import History
    from prompt_toolkit.layout import Container

    from kvmdbg.engine.stops import Stop

WIDE = 100
"""Columns from which on there are two columns of panes."""
KEPT = 5000
"""Lines of the log and of the guest's console that are kept."""
MEMORY = 512
"""Bytes that the memory pane shows."""
REFRESH = 0.2
HELP = (
    ("F5", "continue"), ("F6", "interrupt"), ("F10", "next"), ("F11", "step"), ("F2", "other pane"),
    ("F3", "focus"), ("Tab", "complete"), ("PgUp/PgDn", "scroll"), ("Ctrl-D", "leave"),
)  # fmt: skip


class Tui:
    """The screen on ``interpreter``'s session. ``run`` returns when the user leaves it."""

    def __init__(self, interpreter: Interpreter, history: History) -> None:
        self.interpreter = interpreter
        self.session = interpreter.session
        self.history = history
        self.generation = 0
        self.status: int | None = None
        """The exit status, when the user left kvmdbg altogether."""
        self._log: list[Line] = []
        self._logged = 0
        """How often something came to the log."""
        self._wrapped: tuple[tuple[int, int], list[Line]] = (-1, -1), []
        self._typed: list[str] = []
        """Commands that wait for the one before them: the first is being executed."""
        self._lock = threading.Lock()
        """Guards the commands that wait."""
        self._at_work = threading.Lock()
        """Held while a command is executed, and while something that it may replace is looked at."""
        self.panes = {
            "code": Pane("code", self._code),
            "registers": Pane("registers", self._part("registers_part")),
            "stack": Pane("stack", self._part("stack_part")),
            "memory": Pane("memory", self._memory),
            "locals": Pane("locals", partial(self._command, "info locals")),
            "backtrace": Pane("backtrace", partial(self._command, "backtrace")),
            "watch": Pane("watch", self._watched),
            "breakpoints": Pane("breakpoints", partial(self._command, "info breakpoints")),
            "exits": Pane("exits", partial(self._command, "info exits")),
            "screen": Pane("screen", self._screen, live=True),
            "console": Pane("guest console", self._console, tail=True, live=True, always=True),
            "log": Pane("kvmdbg", self._shown_log, tail=True, live=True, always=True),
        }
        self.side = ["breakpoints", "exits", "screen", "console", "memory", "locals", "backtrace", "watch"]
        """What the changing pane may show; the first is shown."""
        self.focus = "log"
        self.code = CodePane(interpreter)
        self._centred = (-1, -1)
        self.dialogue = Dialogue(interpreter, self.execute, lambda: self.app.invalidate())
        self._last_mistake = ""
        self._reading = ""
        """How far a long reading is."""
        self._reads_units = False
        """The source files' units are being read, or it was tried."""
        self.app = self._make_app()

    # --- panes -------------------------------------------------------------------------------------

    def _results(self, results: Iterable[Result], width: int) -> list[Line]:
        return [line for result in results for line in lines_of(result, width)]

    def _part(self, name: str) -> Callable[[int], list[Line]]:
        def make(width: int) -> list[Line]:
            from kvmdbg.commands import views

            if self.session.state != "stopped":
                return plain(f"(the guest is {self.session.state})")
            return lines_of(getattr(views, name)(self.interpreter), width)

        return make

    def _look(self, pane: Pane, width: int, height: int) -> list[Line]:
        """What is seen of a pane. A command that is being executed may just be replacing what it shows."""
        state = self.session.state
        moment = (self.generation, state)
        if self._at_work.acquire(blocking=False):
            try:
                return pane.lines(width, height, moment)
            finally:
                self._at_work.release()
        if pane.always or state == "running":
            return pane.lines(width, height, moment)
        return pane.seen(height)

    def _status(self) -> StyleAndTextTuples:
        """The line at the bottom."""
        if not self._at_work.acquire(blocking=False):
            state = self.session.state
            return [("bold", f" {state}"), ("", "  Ctrl-C interrupts" if state == "running" else "")]
        try:
            return toolbar(self.interpreter, self.columns)
        finally:
            self._at_work.release()

    def _code(self, width: int) -> list[Line]:
        if self.session.state != "stopped":
            return plain(f"(the guest is {self.session.state})")
        if not self.session.source.is_listed and not self._reads_units:
            self._reads_units = True
            self._reading = "Reading the debug information"
            threading.Thread(target=self._read_units, daemon=True).start()
        pane = self.panes["code"]
        made = self.code.lines(width, pane.height)
        if self.code.scrolls and self._centred != (self.generation, len(made)):
            self._centred = self.generation, len(made)
            pane.back = max(self.code.current - pane.height // 2, 0)
        elif not self.code.scrolls:
            pane.back = 0
        return made

    def _read_units(self) -> None:
        """On a thread of its own: what the code pane needs of a large file."""
        try:
            self.session.source.read_units()
        except KvmdbgError as error:
            self.show(Message(str(error), "error"))
        self.progress("", 1, 1)
        self.generation += 1

    def _memory(self, width: int) -> list[Line]:
        from kvmdbg.commands.examine import hex_dump, read

        if self.session.state != "stopped":
            return plain(f"(the guest is {self.session.state})")
        where = str(self.interpreter.settings["tui-memory"])
        place = self.interpreter.place(where)
        size = min(MEMORY, 0x1000 - place.address % 0x1000)
        shown = hex_dump(self.interpreter, place.address, read(self.interpreter, place, size), place.space)
        return [[("", where)], *lines_of(shown, width)]

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

    def _screen(self, width: int) -> list[Line]:
        return screen_lines(self.session, width, self.panes["screen"].height)

    def _console(self, width: int) -> list[Line]:
        text = self.session.output[-100_000:].decode("utf-8", "replace").replace("\r", "")
        return plain("".join(char if char.isprintable() or char in "\n\t" else "." for char in text))[-KEPT:]

    def _shown_log(self, width: int) -> list[Line]:
        key = (self._logged, width)
        if self._wrapped[0] != key:
            self._wrapped = key, [part for line in list(self._log) for part in wrapped(line, width)]
        return self._wrapped[1]

    def show(self, result: Result) -> None:
        """Add a result to the log."""
        self._say(lines_of(result, self._log_width()))

    def _say(self, lines: list[Line]) -> None:
        self._log += lines
        del self._log[:-KEPT]
        self._logged += 1
        self.app.invalidate()

    def _log_width(self) -> int:
        """Columns of the pane that results are shown in."""
        return max(self.panes["log"].width or self.columns, 40)

    @property
    def is_wide(self) -> bool:
        """Whether there are two columns of panes."""
        return self.columns >= WIDE

    @property
    def columns(self) -> int:
        return int(self.app.output.get_size().columns)

    # --- commands ----------------------------------------------------------------------------------

    def execute(self, line: str) -> None:
        """Run a command, after those typed before it, on a thread of its own: the screen stays alive meanwhile."""
        with self._lock:
            if self._typed and self.session.state == "running":
                self.show(Message("The guest runs: F6 or Ctrl-C interrupts it.", "warning"))
                return
            self._typed.append(line)
            if len(self._typed) == 1:
                threading.Thread(target=self._work, name="kvmdbg-command", daemon=True).start()

    def _work(self) -> None:
        """Execute what was typed until nothing is left."""
        while True:
            line = self._typed[0]
            self._say(
                [[("bold", f"{'(kvmdbg)' if not at else '>'} {part}")] for at, part in enumerate(line.split("\n"))]
            )
            try:
                with self._at_work:
                    first, *rest = line.split("\n")
                    more = iter(rest)
                    for result in self.interpreter.execute(first, lambda more=more: next(more, None)):  # type: ignore[misc]
                        self.show(result)
            except KvmdbgError as error:
                self.show(Message(str(error), "error"))
            except Quit as leave:
                self.status = leave.status
                self.forget()
                self._leave()
            except Exception as error:
                self.show(Message(error_log.internal(error), "error"))
            with self._lock:
                del self._typed[:1]
                self.generation += 1
                self.app.invalidate()
                if not self._typed:
                    return

    def forget(self) -> None:
        """Forget the commands that wait."""
        with self._lock:
            del self._typed[1:]

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far the reading of a large file is, in place of the keys."""
        self._reading = f"{what}: {done * 100 // total}%" if done < total else ""
        self.app.invalidate()

    def stopped(self, stop: Stop) -> None:
        """On a vCPU's thread: a guest that ran in the background has stopped."""
        text = printable(stop.describe())
        self.interpreter.last_stop = stop
        self.generation += 1
        self.show(Message(f"{text[:1].upper()}{text[1:]}."))

    def _leave(self) -> None:
        if self.app.loop is not None:
            self.app.loop.call_soon_threadsafe(lambda: None if self.app.is_done else self.app.exit())

    # --- layout ------------------------------------------------------------------------------------

    def _window(self, name: Callable[[], str], height: Any = None) -> Container:
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
        body = Window(Control(), height=height or Dimension(min=1, weight=1), dont_extend_height=False)
        return HSplit([heading, body])

    def _make_app(self) -> Application[None]:
        from prompt_toolkit.application import Application
        from prompt_toolkit.buffer import Buffer
        from prompt_toolkit.completion import Completer, Completion
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.layout import (
            ConditionalContainer,
            Dimension,
            Float,
            FloatContainer,
            HSplit,
            Layout,
            VSplit,
            Window,
        )
        from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
        from prompt_toolkit.layout.menus import CompletionsMenu
        from prompt_toolkit.layout.processors import BeforeInput
        from prompt_toolkit.styles import DynamicStyle, merge_styles
        from prompt_toolkit.styles.style import Style

        interpreter = self.interpreter

        class Words(Completer):
            def get_completions(self, document: Any, complete_event: Any) -> Iterable[Completion]:
                line = document.text_before_cursor
                for one in interpreter.complete(line):
                    yield Completion(one.text, one.start - len(line), display_meta=one.description)

        def accept(buffer: Buffer) -> bool:
            self.dialogue.typed(buffer.text)
            return False

        self.input = Buffer(
            history=self.history, completer=Words(), complete_while_typing=False, multiline=False, accept_handler=accept
        )
        prompt = Window(
            BufferControl(self.input, input_processors=[BeforeInput(lambda: self.dialogue.prompt, style="bold")]),
            height=1,
        )
        wide = Condition(lambda: self.is_wide)
        left = HSplit([self._window(lambda: "code"), self._window(lambda: "log")])
        right = HSplit([
            self._window(lambda: "registers", Dimension(preferred=9, weight=1)),
            self._window(lambda: "stack", Dimension(preferred=7, weight=1)),
            self._window(lambda: self.side[0]),
        ])  # fmt: skip
        narrow = HSplit([
            self._window(lambda: "code", Dimension(min=1, preferred=7, weight=2)),
            self._window(lambda: self.narrow, Dimension(min=1, preferred=8, max=9)),
            self._window(lambda: "log", Dimension(min=1, preferred=3, weight=1)),
        ])  # fmt: skip
        line = Window(width=1, char="|", style="class:title")
        body = HSplit([
            ConditionalContainer(VSplit([left, line, right]), filter=wide),
            ConditionalContainer(narrow, filter=~wide),
            prompt,
            Window(FormattedTextControl(self._status), height=1, style="class:status"),
            Window(FormattedTextControl(self._help), height=1, style="class:help"),
        ])  # fmt: skip
        root = FloatContainer(body, [Float(CompletionsMenu(max_height=8), xcursor=True, ycursor=True)])
        styles = Style.from_dict({
            "title": "reverse", "title.focused": "reverse bold underline", "status": "reverse", "help": "",
        })  # fmt: skip
        app: Application[None] = Application(
            layout=Layout(root, focused_element=prompt),
            key_bindings=bindings(self),
            style=merge_styles([DynamicStyle(lambda: prompt_style(interpreter.settings["theme"])), styles]),
            include_default_pygments_style=False,
            full_screen=True,
            mouse_support=True,
            refresh_interval=REFRESH,
        )
        return app

    @property
    def narrow(self) -> str:
        """What the one changing pane of a narrow screen shows."""
        return "registers" if self.interpreter.settings["tui-layout"] == "regs" else self.narrow_panes[0]

    def click(self, name: str, row: int) -> None:
        """A click into a pane chooses it; one into code that is chosen sets a breakpoint there, or deletes it."""
        if name == "code" == self.focus and (line := self.code.click(row + self.panes["code"].back)):
            self.execute(line)
        self.focus = name

    def choose(self, name: str) -> None:
        """Let PgUp and PgDn scroll the pane that this names, and show it where another is."""
        near = [
            one for one in self.panes if one.startswith({"src": "code", "asm": "code", "cmd": "log"}.get(name, name))
        ]
        if len(near) != 1:
            raise UsageError(f"'{name}' is none of the panes {', '.join(self.panes)}")
        for panes in (self.side, self.narrow_panes):
            while near[0] in panes and panes[0] != near[0]:
                panes.append(panes.pop(0))
        self.focus = near[0]
        self.app.invalidate()

    narrow_panes = [
        "registers", "stack", "breakpoints", "exits", "screen", "console", "memory", "locals", "backtrace", "watch",
    ]  # fmt: skip

    def _help(self) -> StyleAndTextTuples:
        if self._reading:
            return [("bold", f" {self._reading}")]
        text, left = "", self.columns - 1
        for key, what in HELP:
            part = f" {key} {what} "
            if len(text) + len(part) <= left:
                text += part
        return [("", text)]

    # --- the whole ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        import asyncio

        asyncio.get_running_loop().set_exception_handler(self._unforeseen)

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
        kept = interpreter.on_event, interpreter.width, interpreter.confirm, interpreter.settings["context"]
        interpreter.on_event = self.show
        interpreter.width = self._log_width
        interpreter.confirm = self.dialogue.ask
        screen = interpreter.kept(FullScreen)
        screen.focus = self.choose
        interpreter.settings["context"] = ()
        self.narrow_panes = list(self.narrow_panes)
        try:
            with given_back(self.app):
                self.app.run(pre_run=self._begin, set_exception_handler=False)
        finally:
            screen.focus = None
            self.dialogue.cancel()
            if self.session.state == "running":
                self.session.interrupt()
            interpreter.on_event, interpreter.width, interpreter.confirm, interpreter.settings["context"] = kept
