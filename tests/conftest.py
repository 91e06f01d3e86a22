"""Markers, time limits and the report of the whole test suite.

A test marked ``kvm`` is skipped, with the reason, where /dev/kvm cannot be used. With CI=true it fails instead: a
run that leaves out half of its tests is no success there. ``tests/run.py`` lets neither happen: it takes the tests
marked ``kvm`` to a machine that has a /dev/kvm.
"""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.machines import results
from tests.machines.dev_kvm import why_unusable

CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kvmdbg")
    group.addoption("--kvm-report", metavar="FILE", help="put the counts into this file of JSON lines (-: the output)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if TIME_SCALE != 1 and config.getoption("timeout") is None:
        config.option.timeout = float(config.getini("timeout")) * TIME_SCALE
    try:
        from hypothesis import settings
    except ImportError:
        return
    settings.register_profile("kvmdbg", deadline=None, derandomize=CI)
    settings.load_profile("kvmdbg")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """On an emulated machine everything takes longer: limits that tests set themselves grow, too."""
    if TIME_SCALE == 1:
        return
    for item in items:
        limit = item.get_closest_marker("timeout")
        if limit and limit.args:
            item.add_marker(pytest.mark.timeout(limit.args[0] * TIME_SCALE), append=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not item.get_closest_marker("kvm") or not (reason := why_unusable()):
        return
    if CI:
        pytest.fail(f"{reason}; with CI=true that is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def time_scale() -> float:
    """How many times longer than on a usual host things take here; multiply every time limit by it."""
    return TIME_SCALE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    path = config.getoption("kvm_report")
    if not path:
        return
    stats = terminalreporter.stats
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    skips = Counter(_skip_reason(report) for report in stats.get("skipped", []))
    today = datetime.date.today().isoformat()
    result = results.measured(today, len(stats.get("passed", [])), failed, dict(skips))
    if path == "-":
        terminalreporter.write_line(f"{results.MARK}result {result.to_json()}")
    else:
        results.update(Path(path), result)


def _skip_reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
