"""Lines typed at a prompt, and Ctrl-C at any moment of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from prompt_toolkit.renderer import CPR_Support

from kvmdbg.ui.read_line import read_line


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


def sigint(when: Callable[[], bool]) -> Callable[[object], None]:
    def once(_: object) -> None:
        nonlocal came
        if not came and when():
            came = True
            signal.raise_signal(signal.SIGINT)

    came = False
    return once


def test_a_line(keys: PipeInput) -> None:
    before = signal.getsignal(signal.SIGINT)
    keys.send_text("run\r")
    assert read_line(PromptSession(), "> ") == "run"
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_after_enter(keys: PipeInput) -> None:
    prompt: PromptSession[str] = PromptSession()
    prompt.app.after_render += sigint(lambda: prompt.app.is_done)
    keys.send_text("run\r")
    with pytest.raises(KeyboardInterrupt):
        read_line(prompt, "> ")


def test_the_key_ctrl_c_behind_enter(keys: PipeInput) -> None:
    prompt: PromptSession[str] = PromptSession()
    keys.send_text("run\rfor\x03got")
    with pytest.raises(KeyboardInterrupt):
        read_line(prompt, "> ")
    keys.send_text("ten\r")
    assert read_line(prompt, "> ") == "gotten"


def test_the_key_ctrl_c_while_the_prompt_ends(keys: PipeInput) -> None:
    """Nobody reads the terminal any more, which is still in raw mode."""
    prompt: PromptSession[str] = PromptSession()

    def type_it(_: object) -> None:
        if prompt.app.is_done:
            keys.send_text("\x03")

    prompt.app.after_render += type_it
    keys.send_text("run\r")
    with pytest.raises(KeyboardInterrupt):
        read_line(prompt, "> ")


def test_keys_behind_enter_are_for_the_next_prompt(keys: PipeInput) -> None:
    prompt: PromptSession[str] = PromptSession()

    def type_it(_: object) -> None:
        if prompt.app.is_done and prompt.app.current_buffer.text == "run":
            keys.send_text("k\r")

    prompt.app.after_render += type_it
    keys.send_text("run\rbrea")
    assert read_line(prompt, "> ") == "run"
    assert read_line(prompt, "> ") == "break"


def test_ctrl_c_while_typing(keys: PipeInput) -> None:
    prompt: PromptSession[str] = PromptSession()
    prompt.app.after_render += sigint(lambda: not prompt.app.is_done)
    keys.send_text("half a li")
    with pytest.raises(KeyboardInterrupt):
        read_line(prompt, "> ")


def test_ctrl_c_before_the_prompt_is_there(keys: PipeInput) -> None:
    prompt: PromptSession[str] = PromptSession()
    with pytest.raises(KeyboardInterrupt):
        read_line(prompt, "> ", lambda: signal.raise_signal(signal.SIGINT))
    prompt.app.before_render += sigint(lambda: True)
    with pytest.raises(KeyboardInterrupt):
        read_line(prompt, "> ")


class SlowTerminal(DummyOutput):
    """It says where its cursor is, when it gets round to it."""

    @property
    def responds_to_cpr(self) -> bool:
        return True


def test_a_terminal_that_has_not_answered_the_prompt_before(keys: PipeInput) -> None:
    told: list[object] = []

    def started() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))

    prompt: PromptSession[str] = PromptSession(output=SlowTerminal())
    prompt.app.renderer.cpr_support = CPR_Support.SUPPORTED
    before = asyncio.new_event_loop()
    prompt.app.renderer._waiting_for_cpr_futures.append(before.create_future())
    before.close()
    keys.send_text("run\r")
    assert read_line(prompt, "> ", started) == "run"
    assert told == []
