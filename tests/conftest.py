"""Markers, time limits and the report of the whole test suite.

A test marked ``kvm`` is skipped, with the reason, where /dev/kvm cannot be used. ``tests/run.py`` does not let that
happen: it runs them on the software engine, and on a machine that has a /dev/kvm.

With CI=true each test that is skipped fails instead, for this reason as for any other, as a missing tool: a run that
leaves out tests is no success there.
"""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.machines.dev_kvm import why_unusable
from tests.machines.reporting import Reporting, skip_reason

HERE = Path(__file__).parent
CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
SOFT = os.environ.get("KVMDBG_ENGINE") == "soft"
"""The software engine stands for KVM: what it refuses in words is none of its faults."""
OF_THE_VCPU = (
    "core", "differential", "devices", "gdb_target", "machine", "timeline", "x86", "commands/test_state_kvm.py",
    "commands/test_tracing_kvm.py",
)  # fmt: skip
"""What is marked ``vcpu``: folders and files of tests."""
TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))

PARSES = threading.RLock()
_parse = ast.parse


def parse_alone(*args: Any, **options: Any) -> Any:
    """pytest parses each module of kvmdbg's that is imported, on whatever thread, to rewrite its assertions.

    Python 3.11 counts how deep it is for all threads together: two at a time ended in "SystemError: AST constructor
    recursion depth mismatch".
    """
    with PARSES:
        return _parse(*args, **options)


ast.parse = parse_alone


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kvmdbg")
    report = "put the counts into this file of JSON lines; -: into the output, with the progress of each test"
    group.addoption("--kvm-report", metavar="FILE", help=report)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    os.environ["XDG_CONFIG_HOME"] = "/dev/null/none"  # nobody's own rc files, and nowhere to make any
    if TIME_SCALE != 1 and config.getoption("timeout") is None:
        config.option.timeout = float(config.getini("timeout")) * TIME_SCALE
    report = config.getoption("kvm_report")
    if report and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporting(report))
    try:
        from hypothesis import settings
    except ImportError:
        return
    settings.register_profile("kvmdbg", deadline=None, derandomize=CI)
    settings.load_profile("kvmdbg")


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Commands, faces and documentation are the same on every KVM, and an emulated one is slow; these are not."""
    if any(item.path.is_relative_to(HERE / place) for place in OF_THE_VCPU):
        item.add_marker("vcpu")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What KVM alone does is not asked of the software engine.

    On an emulated machine everything takes longer: limits that tests set themselves grow, too.
    """
    if SOFT:
        left_out = [item for item in items if item.get_closest_marker("kvm_alone")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if TIME_SCALE == 1:
        return
    for item in items:
        limit = item.get_closest_marker("timeout")
        if limit and limit.args:
            item.add_marker(pytest.mark.timeout(limit.args[0] * TIME_SCALE), append=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not SOFT and item.get_closest_marker("kvm") and (reason := why_unusable()):
        pytest.skip(reason)


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _skips_fail(report: Report) -> Report:
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{skip_reason(report)}: with CI=true nothing is skipped"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if SOFT and call.excinfo is not None and "the software engine" in str(call.excinfo.value):
        report.outcome, report.wasxfail = "skipped", str(call.excinfo.value)
    return _skips_fail(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _skips_fail((yield))


@pytest.fixture(scope="session")
def time_scale() -> float:
    """How many times longer than on a usual host things take here; multiply every time limit by it."""
    return TIME_SCALE
