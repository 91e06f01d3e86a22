"""``kvmdbg demo``: which guests there are, and the command line that each becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmdbg import cli, demo
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Message
from kvmdbg.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]


def test_the_first_is_the_tutorials() -> None:
    for words in ([], ["hello"]):
        shown, command = demo.chosen([*words, "--batch", "--run"])
        assert shown.name == "hello"
        image = str(ROOT / "guests/hello16.bin")
        assert command == [*"--load 0x1000 --reg rax=2 --reg rbx=2".split(), image, "--batch", "--run"]


def test_every_guest_that_is_kept_is_a_demo() -> None:
    kept = {path.name for path in (ROOT / "guests").iterdir() if path.suffix in (".bin", ".elf")}
    assert kept == {word for one in demo.DEMOS for word in one.arguments.split() if word.endswith((".bin", ".elf"))}


def test_a_guest_that_is_called_so_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_bytes(b"\xf4")
    opened: list[str | None] = []

    def no_session(options: object) -> object:
        opened.append(getattr(options, "guest", None))
        raise UsageError("not now")

    monkeypatch.setattr(cli, "open_session", no_session)
    assert cli.main(["demo", "--batch"]) == 2
    Path("demo").unlink()
    assert cli.main(["demo", "--batch"]) == 2
    assert opened == ["demo", str(ROOT / "guests/hello16.bin")]


def test_the_list_and_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--list"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == [one.name for one in demo.DEMOS]
    assert cli.main(["demo", "--help"]) == 0
    assert capsys.readouterr().out.endswith(demo.listed())
    assert cli.main(["demo", "kernal"]) == 2
    assert "there is no demo kernal; did you mean kernel?" in capsys.readouterr().err


def test_an_installation_without_guests_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "PLACES", (tmp_path / "none",))
    with pytest.raises(UsageError, match="has no guests"):
        demo.chosen([])


@pytest.mark.kvm
@pytest.mark.parametrize("one", demo.DEMOS, ids=lambda one: one.name)
def test_what_is_to_be_tried_works(one: demo.Demo) -> None:
    with cli.open_session(cli.parser().parse_args(demo.chosen([one.name])[1])) as session:
        dbg = Interpreter(session)
        for line in one.tries:
            for result in dbg.execute(line):
                assert not (isinstance(result, Message) and result.level == "error"), result
