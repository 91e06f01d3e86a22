"""Reading, showing and finding settings."""

from __future__ import annotations

import pytest

from kvmdbg.commands.gdb_settings import IGNORED, ignored, told
from kvmdbg.commands.settings import SETTINGS, Settings
from kvmdbg.errors import UsageError


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: one.name)
def test_what_is_shown_can_be_set_again(setting) -> None:  # type: ignore[no-untyped-def]
    values = Settings()
    values.set(setting.name, values.shown(setting.name))
    assert values[setting.name] == setting.default


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("all", ("regs", "source", "code", "stack", "stop", "pointers", "backtrace", "expressions")),
        ("back,regs", ("regs", "backtrace")),
        ("none", ()),
        ("code,regs", ("regs", "code")),
        ("st", None),
        ("sta sto", ("stack", "stop")),
        ("bananas", None),
        ("", None),
    ],
)
def test_context(text: str, parts: tuple[str, ...] | None) -> None:
    values = Settings()
    if parts is None:
        with pytest.raises(UsageError):
            values.set("context", text)
        return
    values.set("context", text)
    assert values["context"] == parts


def test_prefixes_and_gdbs_names() -> None:
    values = Settings()
    values.set("output-r", "16")
    assert values["output-radix"] == 16
    values.set("conf", "off")
    assert values["confirm"] is False
    values.set("disassembly-f", "a")
    assert values["disassembly-flavor"] == "att"
    with pytest.raises(UsageError, match="'co' is ambiguous: context, code-lines, confirm"):
        values.set("co", "off")
    with pytest.raises(UsageError, match="there is no setting sound"):
        values.set("sound", "on")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("width", "wide", "'wide' is no number"),
        ("width", "-1", "-1 is negative"),
        ("output-radix", "7", "output-radix must be 2, 8, 10 or 16, not 7"),
        ("input-radix", "17", "input-radix must be 2 to 16, not 17"),
        ("input-radix", "ff", "'ff' is no number"),
        ("confirm", "perhaps", "'perhaps' is neither on nor off"),
        ("disassembly-flavor", "masm", "'masm' is none of intel, att"),
    ],
)
def test_mistakes(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings().set(name, text)


@pytest.mark.parametrize(("text", "value"), [("y", True), ("en", True), ("n", False), ("of", False), ("dis", False)])
def test_words_for_on_and_off_may_be_begun_only(text: str, value: bool) -> None:
    values = Settings()
    values.set("confirm", text)
    assert values["confirm"] is value


def test_two_users_do_not_share_settings() -> None:
    one, two = Settings(), Settings()
    one.set("width", "40")
    assert two["width"] == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("listsize 20", None),
        ("height 0", None),
        ("history save on", None),
        ("hist size 100", None),
        ("style enabled off", None),
        ("architecture i8086", "architecture"),
        ("debug infrun 1", "debug infrun"),
        ("endian little", ""),
        ("language c++", ""),
        ("args", ""),
        ("max-value-size unlimited", ""),
        ("breakpoint auto-hw on", ""),
        ("backtrace past-main", ""),
        ("verbose off", "verbose"),
        ("scheduler-locking step", ""),
        ("disassemble-next-line on", "disassemble-next-line"),
        ("backtrace lim 3", "backtrace limit"),
        ("substitute-path /a /b", "substitute-path"),
        ("mem = 5", None),
        ("mem += 5", None),
        ("hos 5", "host-charset"),
        ("$height = 3", None),
        ("frobnicate on", None),
    ],
)
def test_gdbs_own_settings(text: str, name: str | None) -> None:
    assert ignored(text) == name


@pytest.mark.parametrize(
    "text",
    ["endian big", "exec-direction reverse", "non-stop on", "write on", "may-write-memory off",
     "step-mode on", "max-value-size 100", "breakpoint auto-hw off", "may-call-functions off"],
)  # fmt: skip
def test_what_would_change_the_meaning_of_a_script_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"set {text}: kvmdbg has only "):
        ignored(text)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("args a b", "--append"),
        ("environment X=1", "--append"),
        ("extended-prompt x", "set prompt TEXT"),
        ("cwd /", "cd FOLDER"),
    ],
)
def test_what_is_refused_is_told_with_what_to_type(text: str, instead: str) -> None:
    with pytest.raises(UsageError) as error:
        ignored(text)
    assert instead in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("endian", "endian is always little."),
        ("max-value-size", "max-value-size is always unlimited: set print elements COUNT bounds what is shown."),
        ("args", "args is a setting of gdb's that kvmdbg has not: a guest has none"),
        ("verbose", "verbose is a setting of gdb's; it changes nothing here."),
        ("nosuch", None),
    ],
)
def test_what_is_shown_of_gdbs_own(text: str, said: str | None) -> None:
    shown = told(text)
    assert shown is None if said is None else shown is not None and shown.startswith(said)


def test_no_setting_of_ours_is_taken_for_one_of_gdbs() -> None:
    assert not {one.name for one in SETTINGS} & IGNORED


def test_settings_of_two_words() -> None:
    values = Settings()
    setting, value = values.named("history save off")
    assert setting is not None and (setting.name, value) == ("history-save", "off")
    setting, value = values.named("output-radix 16")
    assert setting is not None and (setting.name, value) == ("output-radix", "16")
    assert values.named("nosuch 1")[0] is None
