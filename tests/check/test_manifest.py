"""What check.toml may say, and what is made of results."""

from __future__ import annotations

import io
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvmdbg.check import command
from kvmdbg.check.manifest import Case, Step, read
from kvmdbg.check.report import Report, Result, write_junit
from kvmdbg.errors import UsageError


def written(folder: Path, text: str) -> Path:
    (folder / "check.toml").write_text(text)
    return folder


def test_all_of_it(tmp_path: Path) -> None:
    text = """
        limit = 3
        [[guest]]
        image = "a.bin"
        output = "x"
        [[guest]]
        name = "second"
        image = "b.bin"
        arguments = ["--memory", "64M"]
        input = "ls\\n"
        keys = "k"
        after = "$ "
        output = ["one", "two"]
        screen = "s"
        status = 7
        limit = 1.5
        skip = "not yet"
    """
    found = read(written(tmp_path, text))
    assert found.folder == tmp_path and read(tmp_path / "check.toml") == found
    assert found.cases == (
        Case("a.bin", ("a.bin",), 3.0, output=("x",)),
        Case(
            "second", ("--memory", "64M", "b.bin"), 1.5, input="ls\n", keys="k", after="$ ", output=("one", "two"),
            screen=("s",), status=7, skip="not yet",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[guest]", "is no TOML: "),
        ("", "names no guests: each begins with"),
        ("guest = 3", "names no guests"),
        ("guest = [3]", "guest 1 is no table"),
        ("speed = 1", "'speed' is no setting: there are limit"),
        ('[[guest]]\nimage = "x"\nexpect = 1', "guest 1: 'expect' is no setting: there are name, image"),
        ('[[guest]]\noutput = "x"', "guest 1 has neither an image nor arguments"),
        ('[[guest]]\nimage = "x"', "guest 1 expects nothing"),
        ('[[guest]]\nimage = "x"\nstatus = 256', "status is a number from 0 to 255, not 256"),
        ('[[guest]]\nimage = "x"\nstatus = true', "status is a number"),
        ("[[guest]]\nimage = 3\nstatus = 0", "image is a text, not 3"),
        ('[[guest]]\nimage = "x"\noutput = [""]', "output is a text or a list of texts"),
        ('[[guest]]\nimage = "x"\nstatus = 0\nlimit = 0', "limit is a number of seconds, not 0"),
        ('[[guest]]\nimage = "x"\noutputs = "y"', r"guest 1: 'outputs' is no setting: .*; did you mean output\?"),
        ('[[guest]]\nimage = "x"\noutput-matches = "("', "output-matches is no regular expression: missing"),
        ('[[guest]]\nimage = "x"\nscreen-matches = "a{99999999999}"', "screen-matches is no regular expression"),
        (f"limit = {'9' * 5000}", "is no TOML: Exceeds the limit"),
        (f"limit = {'[' * 5000}", "is nested too deeply"),
        ('[[guest]]\nimage = "x"\nend = "soon"', "end is one of halted, exited, shutdown, running, not 'soon'"),
        ('[[guest]]\nimage = "x"\nend = "halted"\nstatus = 1', "status is of a guest that ends itself"),
        ('[[guest]]\nimage = "x"\nstatus = 0\nkeys = "ä"', "keys cannot be typed: no key of a US keyboard types 'ä'"),
        ('[[guest]]\nimage = "x"\nstatus = 0\npress = "f99"', "press: there is no key 'f99'"),
        ('[[guest]]\nimage = "x"\nstatus = 0\nthen = 3', "then is a list of tables, as"),
        ('[[guest]]\nimage = "x"\nstatus = 0\n[[guest.then]]\nafter = "x"', "guest 1, then 1 says nothing"),
        (
            '[[guest]]\nimage = "x"\nstatus = 0\n[[guest.then]]\nkey = "x"',
            "then 1: 'key' is no setting: there are input",
        ),
        ('[[guest]]\nimage = "x"\nstatus = 0\n' * 2, "two guests have the name 'x'"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(written(tmp_path, text))


def test_what_is_told_and_seen(tmp_path: Path) -> None:
    text = """
        [[guest]]
        image = "a.bin"
        press = ["f1", "ctrl-alt-delete"]
        output-matches = "^x"
        screen-matches = "y$"
        screen-image = "a.png"
        end = "halted"
        [[guest.then]]
        after = "more"
        keys = "n"
        [[guest.then]]
        input = "ls"
    """
    (case,) = read(written(tmp_path, text)).cases
    assert case.steps == (
        Step(press=("f1", "ctrl-alt-delete")), Step(after="more", keys="n"), Step(input="ls")
    )  # fmt: skip
    assert (case.output_matches, case.screen_matches, case.screen_image, case.end) == ("^x", "y$", "a.png", "halted")
    assert case.ends and command.case_of(command.as_text(case)) == case


def test_an_image_that_is_called_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.is_meant(["check", "guests"]) and command.is_meant(["check"])
    assert not command.is_meant(["guest.bin", "check"])
    (tmp_path / "check").write_bytes(b"\xf4")
    assert not command.is_meant(["check"]) and not command.is_meant(["check", "--run"])
    assert command.is_meant(["check", str(tmp_path)]) and command.is_meant(["check", "other.toml"])


def test_a_mistake_ends_the_command_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert command.main(["/dev/zero"]) == 2
    assert "/dev/zero is not a file" in capsys.readouterr().err
    written(tmp_path, '[[guest]]\nimage = "x"\nstatus = 0')
    assert command.main([str(tmp_path), "--only", "y"]) == 2
    assert command.main([str(tmp_path), "--jobs", "0"]) == 2
    assert command.main([str(tmp_path), "--list"]) == 0


def test_what_goes_to_the_process_of_a_guest() -> None:
    case = Case("a", ("x", "--y"), 2.0, output=("one",), status=3)
    assert command.case_of(command.as_text(case)) == case


def test_no_two_guests_have_files_of_one_name() -> None:
    cases = [Case(name, ("x",), status=0) for name in ("a/b", "a_b", "n" * 300)]
    found = command.evidence_files(cases, "there")
    assert [os.path.basename(one) for one in found.values()] == ["a_b", "a_b_", "n" * 200]
    assert command.evidence_files(cases, None) == {}


def test_output_that_xml_does_not_have(tmp_path: Path) -> None:
    write_junit(str(tmp_path / "x.xml"), [Result(Case("one", ("g",), status=0), (), 1.0, "a\uffffb")])
    (said,) = ElementTree.parse(tmp_path / "x.xml").iter("system-out")
    assert said.text == "a\ufffdb"


RESULTS = [
    Result(Case("good", ("g",), status=0), (), 1.25, "said\n"),
    Result(Case("b\x1b", ("b",), status=0), ("its status is 1, not 0", "and more"), 0.5),
    Result(Case("later", ("l",), skip="not yet", status=0), (), 0.0),
]


def test_lines(tmp_path: Path) -> None:
    out = io.StringIO()
    report = Report(out, 3)
    for one in RESULTS:
        report.add(one)
    assert report.end() == 1
    assert out.getvalue().splitlines() == [
        "    [1/3] ok      good  1.2 s",
        "    [2/3] FAILED  b\\x1b  0.5 s",
        "                  its status is 1, not 0",
        "                  and more",
        "    [3/3] skipped later",
        "1 of 2 guests behave, 1 skipped.",
    ]


def test_junit(tmp_path: Path) -> None:
    path = tmp_path / "results.xml"
    write_junit(str(path), RESULTS)
    (suite,) = ElementTree.parse(path).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    good, bad, later = suite
    assert good.get("time") == "1.250" and good.findtext("system-out") == "said"
    failure = bad.find("failure")
    assert failure is not None and failure.get("message") == "its status is 1, not 0"
    assert later.find("skipped") is not None
    with pytest.raises(UsageError, match="cannot write"):
        write_junit(str(tmp_path / "none" / "x.xml"), RESULTS)
