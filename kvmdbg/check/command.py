"""The command ``kvmdbg check DIR``: each guest in a process of its own, as many at once as there are CPUs.

Exit status: 0 where all guests behave, 1 where one does not, 2 for a mistake in the options or the file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from kvmdbg import standard_files
from kvmdbg.check.manifest import NAME, Case, Step, read
from kvmdbg.check.report import Report, Result, Unread, write_junit
from kvmdbg.errors import UsageError
from kvmdbg.record import fields

WORKER = "check-one"
"""What the process of one guest is called with, before - for what is to be checked, as JSON on its stdin."""
PATIENCE = 30.0
"""Seconds beyond its limit after which a guest's process is ended."""
LONGEST_NAME = 200
"""Characters of a guest's name that its files have."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="kvmdbg check",
        description=f"Run the guests that a folder's {NAME} names, and say which behave as it expects.",
        allow_abbrev=False,
    )
    found.add_argument("where", metavar="DIR", help=f"a folder with {NAME}, or such a file")
    found.add_argument("-j", "--jobs", type=_jobs, default=os.cpu_count() or 1, metavar="COUNT", help="guests at once")
    found.add_argument("--only", default="", metavar="TEXT", help="guests whose names have this text")
    found.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    found.add_argument(
        "--keep",
        dest="evidence",
        metavar="FOLDER",
        help="write the screens of guests that fail there, as NAME.png, and reports, NAME.html",
    )
    found.add_argument("--list", action="store_true", help="name the guests, and run none")
    return found


def _jobs(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of guests")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """Do it; the exit status."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    try:
        manifest = read(Path(options.where))
        cases = [one for one in manifest.cases if options.only in one.name]
        if not cases:
            raise UsageError(f"no guest there has {options.only!r} in its name")
        if options.list:
            return standard_files.answer("".join(f"{one.name}\n" for one in cases))
        if options.evidence is not None:
            make_folder(options.evidence)
        report = Report(sys.stdout, len(cases))
        with ThreadPoolExecutor(options.jobs) as pool:
            kept = evidence_files(cases, options.evidence)
            running = [pool.submit(run, one, manifest.folder, kept.get(one.name)) for one in cases]
            try:
                for done in as_completed(running):
                    report.add(done.result())
            except (KeyboardInterrupt, Unread):
                pool.shutdown(cancel_futures=True)
                raise
        if options.junit:
            ordered = sorted(report.results, key=lambda one: cases.index(one.case))
            write_junit(options.junit, ordered)
        return report.end()
    except KeyboardInterrupt:
        return 130
    except Unread as unread:
        return unread.status
    except UsageError as error:
        standard_files.say(f"kvmdbg: {error}")
        return 2


def make_folder(path: str) -> None:
    """UsageError where it cannot be made."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror}") from None


def evidence_files(cases: Sequence[Case], folder: str | None) -> dict[str, str]:
    """Where screen and report of each guest go, without .png and .html, by its name; none twice."""
    found: dict[str, str] = {}
    for one in cases if folder is not None else ():
        path = os.path.abspath(os.path.join(folder or "", re.sub(r"[^A-Za-z0-9_.-]", "_", one.name)[:LONGEST_NAME]))
        while path in found.values():
            path += "_"
        found[one.name] = path
    return found


def run(case: Case, folder: Path, evidence: str | None = None) -> Result:
    """Check one guest, in a process of its own; where it fails, its screen and report are kept as ``evidence``."""
    if case.skip:
        return Result(case, (), 0.0)
    command = [sys.executable, "-m", "kvmdbg", WORKER, "-", *([evidence] if evidence is not None else [])]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            input=as_text(case).encode(),
            capture_output=True,
            timeout=case.limit + PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return Result(case, (f"it did not come to an end in {case.limit + PATIENCE:g} s",), case.limit + PATIENCE)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    try:
        found = json.loads(lines[-1])
        return Result(case, tuple(found["problems"]), found["seconds"], found["output"])
    except (IndexError, ValueError, KeyError, TypeError):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"]
        return Result(case, (said[-1].removeprefix("kvmdbg: "),), 0.0)


def as_text(case: Case) -> str:
    """What ``case_of`` reads."""
    return json.dumps({**fields(case), "then": [fields(step) for step in case.then]})


def case_of(text: str) -> Case:
    """What ``run`` has handed over."""
    data = json.loads(text)
    steps = tuple(Step(**_with_tuples(step)) for step in data.pop("then"))
    return Case(then=steps, **_with_tuples(data))


def _with_tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def is_meant(words: Sequence[str]) -> bool:
    """Whether a command line is of ``kvmdbg check``, and not of a guest whose image is called check."""
    if words[:1] == [WORKER]:
        return words[1:2] == ["-"]
    if words[:1] != ["check"]:
        return False
    return not os.path.isfile("check") or any(os.path.isdir(one) or one.endswith(".toml") for one in words[1:])
