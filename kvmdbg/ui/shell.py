"""The interactive shell: prompt_toolkit around the command interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kvmdbg.commands.interpreter import Interpreter, Quit
from kvmdbg.errors import KvmdbgError

if TYPE_CHECKING:
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document


def history_file() -> Path | None:
    """Where the history is kept, None where nothing can be written."""
    import platformdirs

    try:
        folder = platformdirs.user_state_path("kvmdbg", ensure_exists=True)
        path = folder / "history"
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    except OSError:
        return None
    return path


def run(interpreter: Interpreter, *, color: bool | None = None) -> int:
    """Read and execute commands until the user leaves; the exit status."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.patch_stdout import patch_stdout

    session = interpreter.session

    class Words(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            line = document.text_before_cursor
            for one in interpreter.complete(line):
                yield Completion(one.text, one.start - len(line), display_meta=one.description)

    def output(data: bytes) -> None:
        sys.stdout.write(data.decode("latin-1"))
        sys.stdout.flush()

    def toolbar() -> str:
        if session.state != "stopped":
            return f" {session.state} "
        cs, ip = session.vcpu.cs_ip
        stop = f"  {interpreter.last_stop.reason}" if interpreter.last_stop else ""
        return f" {session.vcpu.mode.name}  {cs:04x}:{ip:04x}  pc {session.vcpu.pc:#x}{stop} "

    def prompt_text() -> str:
        name = session.vcpu.mode.name if session.state == "stopped" else session.state
        return f"(kvmdbg {name}) "

    path = history_file()
    prompt: PromptSession[str] = PromptSession(
        history=FileHistory(str(path)) if path else InMemoryHistory(),
        completer=Words(),
        complete_while_typing=False,
        bottom_toolbar=toolbar,
    )
    session.listeners.on_output(output)
    with patch_stdout(raw=True):
        while True:
            try:
                line = prompt.prompt(prompt_text)
            except KeyboardInterrupt:
                if session.state == "running":
                    session.interrupt()
                continue
            except EOFError:
                return 0
            try:
                for result in interpreter.execute(line, lambda: prompt.prompt("> ")):
                    print(result.plain(prompt.output.get_size().columns))
            except Quit as leave:
                return leave.status
            except KvmdbgError as error:
                print(error)
            except KeyboardInterrupt:
                session.interrupt()
