"""What pytest tells of a run of tests: how far it is, what fails, and the counts at its end."""

from __future__ import annotations

import datetime
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.machines import results


class Reporting:
    """Puts the counts into a file of JSON lines; with ``-`` tells everything on the output, a marked line each."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.session: pytest.Session | None = None
        self.begun = self.failed = 0

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.begun += 1
        failed = f", {self.failed} failed" if self.failed else ""
        of = self.session.testscollected if self.session else self.begun
        self.tell("progress", f"{self.begun} of {of} tests{failed}, at {_printable(nodeid)}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed += 1
            self.tell("failed", _printable(report.nodeid))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        stats = terminalreporter.stats
        failed = len(stats.get("failed", [])) + len(stats.get("error", []))
        skips = Counter(skip_reason(report) for report in stats.get("skipped", []))
        today = datetime.date.today().isoformat()
        result = results.measured(today, len(stats.get("passed", [])), failed, dict(skips))
        self.tell("result", result.to_json())
        if self.path != "-":
            results.update(Path(self.path), result)

    def tell(self, word: str, text: str) -> None:
        if self.path == "-":
            print(f"{results.MARK}{word} {text}", file=sys.__stdout__, flush=True)


def _printable(nodeid: str) -> str:
    return nodeid.encode("ascii", "backslashreplace").decode()


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test, or a file of tests, was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
