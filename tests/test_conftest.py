"""What the test suite makes of a test that would be skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

SKIPPING = """
import pytest

@pytest.mark.skip(reason="marked so")
def test_marked(): pass

def test_missing_program(): pytest.skip("no such program")

@pytest.fixture
def program(): pytest.skip("no such program")

def test_missing_program_of_a_fixture(program): pass

@pytest.mark.xfail(reason="not yet")
def test_that_is_expected_to_fail(): assert False
"""
MISSING_MODULE = "import pytest\npytest.importorskip('no_such_module')\n"


@pytest.mark.parametrize("ci", ["", "true"])
def test_nothing_is_skipped_in_ci(ci: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makepyfile(test_skipping=SKIPPING, test_missing_module=MISSING_MODULE)
    done = pytester.runpytest_subprocess(
        "-p", "tests.conftest", "-p", "no:cacheprovider", "--continue-on-collection-errors"
    )
    outcomes = done.parseoutcomes()
    if ci:
        assert (outcomes.get("skipped", 0), outcomes["failed"], outcomes["errors"]) == (0, 1, 3)
        done.stdout.fnmatch_lines(["*no such program: with CI=true nothing is skipped*"])
    else:
        assert (outcomes["skipped"], outcomes.get("failed", 0)) == (4, 0)
    assert outcomes["xfailed"] == 1
