"""The man page: written from the parser, as it is now, and without a mistake in it."""

from __future__ import annotations

import re
import subprocess

from kvmdbg import cli, demo, manual


def test_it_is_up_to_date() -> None:
    assert manual.PAGE.read_text() == manual.page(cli.parser()), "make docs writes it anew"


def test_groff_has_nothing_to_say_against_it() -> None:
    done = subprocess.run(["groff", "-man", "-ww", "-z", str(manual.PAGE)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_option_and_demo_is_in_it() -> None:
    rendered = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", str(manual.PAGE)], capture_output=True, text=True, timeout=30
    ).stdout
    words = set(re.findall(r"[\w-]+", rendered))
    options = {word for action in cli.parser()._actions for word in action.option_strings}
    assert options <= words
    assert {one.name for one in demo.DEMOS} <= words


def test_what_roff_would_take_for_its_own() -> None:
    assert manual.escaped(".x") == "\\&.x" and manual.escaped("a\\b-c") == "a\\eb\\-c"
