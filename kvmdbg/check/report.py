"""What a check has found, line by line and as JUnit XML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TextIO

from kvmdbg import standard_files
from kvmdbg.check.manifest import Case
from kvmdbg.errors import UsageError
from kvmdbg.printable import printable
from kvmdbg.record import record


@record
class Result:
    """``problems`` is empty for a guest that behaves."""

    case: Case
    problems: tuple[str, ...]
    seconds: float
    output: str = ""

    @property
    def word(self) -> str:
        if self.case.skip:
            return "skipped"
        return "FAILED" if self.problems else "ok"


class Unread(Exception):
    """stdout cannot be written, which has been told where it is news; ``status`` is the exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Report:
    """Tells each result as it comes; ``total`` are expected."""

    def __init__(self, out: TextIO, total: int) -> None:
        self._out = out
        self._total = total
        self.results: list[Result] = []

    def add(self, result: Result) -> None:
        self.results.append(result)
        number = f"[{len(self.results)}/{self._total}]"
        name = printable(result.case.name)
        seconds = "" if result.case.skip else f"  {result.seconds:.1f} s"
        self._say(f"{number:>9} {result.word:7} {name}{seconds}")
        for problem in result.problems:
            self._say(f"{'':17} {printable(problem)}")

    def end(self) -> int:
        """The last line; the exit status."""
        failed = sum(one.word == "FAILED" for one in self.results)
        skipped = sum(one.word == "skipped" for one in self.results)
        ran = len(self.results) - skipped
        also = f", {skipped} skipped" if skipped else ""
        self._say(f"{ran - failed} of {ran} guests behave{also}.")
        return 1 if failed or len(self.results) < self._total else 0

    def _say(self, text: str) -> None:
        try:
            print(text, file=self._out, flush=True)
        except (OSError, ValueError) as error:
            raise Unread(standard_files.lost(error)) from None


def write_junit(path: str, results: Sequence[Result]) -> None:
    """The results for a CI system. UsageError where the file cannot be written."""
    from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

    failed, skipped = (sum(one.word == word for one in results) for word in ("FAILED", "skipped"))
    total = sum(one.seconds for one in results)
    counts = {"tests": str(len(results)), "failures": str(failed), "skipped": str(skipped), "errors": "0"}
    suites = Element("testsuites")
    suite = SubElement(suites, "testsuite", {"name": "kvmdbg check", **counts, "time": f"{total:.3f}"})
    for one in results:
        attributes = {"name": printable(one.case.name), "classname": "kvmdbg", "time": f"{one.seconds:.3f}"}
        case = SubElement(suite, "testcase", attributes)
        if one.case.skip:
            SubElement(case, "skipped", {"message": printable(one.case.skip)})
        elif one.problems:
            failure = SubElement(case, "failure", {"message": printable(one.problems[0])})
            failure.text = "\n".join(map(printable, one.problems))
        if one.output:
            said = re.sub("[\ufffe\uffff]", "\ufffd", one.output)  # XML has them not
            SubElement(case, "system-out").text = "\n".join(map(printable, said.splitlines()))
    indent(suites)
    try:
        ElementTree(suites).write(path, encoding="unicode", xml_declaration=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
