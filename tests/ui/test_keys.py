"""Keys that run commands."""

from __future__ import annotations

from kvmdbg.ui import keys, tui_keys


def test_a_key_means_the_same_in_the_shell_and_in_the_full_screen() -> None:
    shell = {key: line for _, key, line in keys.COMMAND_KEYS}
    assert {key: shell[key] for key in tui_keys.COMMAND_KEYS} == tui_keys.COMMAND_KEYS
    assert (shell["f10"], shell["f11"], shell["f23"]) == ("next", "step", "finish")
    shown = dict(tui_keys.HELP)
    assert all(shown[name] == line for name, _, line in keys.COMMAND_KEYS if name in shown)
