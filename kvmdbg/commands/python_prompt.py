"""python and python-interactive: Python at the prompt, with the session as ``dbg``."""

from __future__ import annotations

import builtins
import io
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Annotated, Any

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType
from kvmdbg.commands.plumbing import text_of
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result, Text
from kvmdbg.errors import KvmdbgError, UsageError, own_frames

PythonArg = Annotated[str, RestType("PYTHON")]


class Namespace(dict[str, Any]):
    """What Python at one user's prompt has defined. ``printed`` is what it has printed since that was taken."""

    def __init__(self) -> None:
        super().__init__(__name__="__kvmdbg__")
        self.printed = io.StringIO()
        self["print"] = self._print

    def _print(self, *values: object, **options: Any) -> None:
        options["file"] = options.get("file") or self.printed
        builtins.print(*values, **options)

    def show(self, value: object) -> None:
        """What Python's own prompt does with a value."""
        if value is not None:
            self["_"] = value
            self.printed.write(f"{value!r}\n")

    def take(self) -> Iterator[Result]:
        """What was printed."""
        text = self.printed.getvalue()
        self.printed.seek(0)
        self.printed.truncate()
        if text:
            yield Text(text, raw=True)


def _namespace(dbg: Interpreter) -> Namespace:
    found = dbg.kept(Namespace)
    found.setdefault("dbg", dbg.session)
    found.setdefault("command", lambda line: text_of(dbg.run_line(line), dbg.columns()))
    return found


def _run(dbg: Interpreter, namespace: Namespace, action: Callable[[], None]) -> Iterator[Result]:
    failed: BaseException | None = None
    control = dbg.session.control
    before, control.interrupts_raise = control.interrupts_raise, True
    try:
        with dbg.user.python():
            action()
    except KvmdbgError as error:
        failed = error
    except SystemExit:
        failed = UsageError("python: use quit to leave kvmdbg")
    except KeyboardInterrupt as error:
        failed = error
    except Exception as error:
        failed = KvmdbgError(own_frames(error, "the Python code"))
    finally:
        control.interrupts_raise = before
    yield from namespace.take()
    if failed is not None:
        raise failed


def compiled(text: str, kind: str = "exec") -> CodeType:
    """Python code ready to run. UsageError where it is none."""
    try:
        return compile(text, "<python>", kind)
    except (MemoryError, RecursionError):
        raise UsageError("python: this is nested too deeply") from None
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) and "\n" in text else ""
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise UsageError(f"python: {reason}{where}") from None


@command(
    "python",
    aliases=("py",),
    group="support",
    example=("python print(hex(dbg.regs.ax))", "python\nfor name in 'ax', 'bx':\n    print(name, dbg.regs[name])\nend"),
    body="python",
    host=True,
)
def python(dbg: Interpreter, text: PythonArg = "", *, body: list[str]) -> Iterator[Result]:
    """Run Python: one line, or without one the lines that follow up to `end`.

    `dbg` is the session (docs/api.md), `command(LINE)` runs a command and gives what it shows as text. What is defined
    stays.
    """
    namespace = _namespace(dbg)
    code = compiled(text or "\n".join(body) + "\n")
    yield from _run(dbg, namespace, lambda: exec(code, namespace))


@command(
    "python-interactive",
    aliases=("pi",),
    group="support",
    example=("pi hex(dbg.regs.ax)", "pi\nlow = dbg.regs.al\nlow + 1\nend"),
    body="python",
    host=True,
)
def python_interactive(dbg: Interpreter, text: PythonArg = "", *, body: list[str]) -> Iterator[Result]:
    """Run Python as its own prompt does, which shows the value of each expression: one line, or lines up to `end`."""
    import ast
    import sys

    namespace = _namespace(dbg)
    source = text or "\n".join(body) + "\n"
    compiled(source)
    single = [compile(ast.Interactive([one]), "<python>", "single") for one in ast.parse(source).body]

    def run() -> None:
        before, sys.displayhook = sys.displayhook, namespace.show
        try:
            for code in single:
                exec(code, namespace)
        finally:
            sys.displayhook = before

    yield from _run(dbg, namespace, run)
