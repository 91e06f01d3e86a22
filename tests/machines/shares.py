"""The tests shared out among machines that run side by side: who gets which, how far each is, how they ended."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.machines import boot, results

DURATIONS = Path(__file__).with_name("durations.json")
"""Seconds of CPU time that each file of tests took on the kvm_amd machine, by its path in the checkout."""
NO_TESTS = 5  # pytest's exit status
TELL = 15.0  # seconds from one line of progress to the next
Share = tuple[Callable[[boot.Run], int], boot.Run]
"""A part of the tests: what starts it, and the run that it starts."""


def measured_durations() -> dict[str, float]:
    return json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}


def keep_durations(milliseconds: Mapping[str, int]) -> None:
    """Put them in the place of those measured before, and forget files that there are no more."""
    fresh = {file: round(value / 1000, 1) for file, value in milliseconds.items()}
    seconds = sorted({**measured_durations(), **fresh}.items())
    there = {file: value for file, value in seconds if (boot.CHECKOUT / file).is_file()}
    DURATIONS.write_text(json.dumps(there, indent=1) + "\n")


def share_out(files: Mapping[str, int], durations: Mapping[str, float], machines: int) -> list[list[str]]:
    """So many shares of ``files`` (path: number of tests) that take about as long as each other.

    A file that was not measured is taken to last as long as its number of tests does on average.
    """
    known = [file for file in files if file in durations]
    number = sum(files[file] for file in known)
    mean = sum(durations[file] for file in known) / number if number else 1.0
    expected = {file: durations.get(file, mean * count) for file, count in files.items()}
    shares: list[list[str]] = [[] for _ in range(min(machines, len(files)))]
    for file in sorted(files, key=lambda file: -expected[file]):
        min(shares, key=lambda share: sum(expected[each] for each in share)).append(file)
    return shares


def kvm_tests_commands(tests: str, machines: int, selection: Sequence[str] = ()) -> list[list[str]]:
    """pytest for these tests (a mark expression), a command for each of so many machines; none without such a test.

    ``selection`` are more words for pytest: options, and the files, folders and tests to choose from. The commands
    name only the files that have such tests, because imports are slow there.
    """
    pytest = [sys.executable, "-m", "pytest", "-m", tests, "-p", "no:cacheprovider", "-q"]
    done = subprocess.run([*pytest, "--collect-only", *selection], cwd=boot.CHECKOUT, capture_output=True, text=True)
    files = Counter(re.findall(r"^(\S+\.py)::", done.stdout, re.MULTILINE))
    if done.returncode == NO_TESTS:
        return []
    if done.returncode or not files:
        raise boot.MachineError(
            f"pytest could not collect the tests marked {tests}:\n{(done.stdout + done.stderr).strip()}"
        )
    places = [word for word in selection if os.path.exists(boot.CHECKOUT / word.partition("::")[0])]
    options = [word for word in selection if word not in places]
    commands = []
    for share in share_out(files, measured_durations(), machines):
        named = [[word for word in places if word.startswith(f"{file}::")] or [file] for file in share]
        commands.append([*pytest, *options, "--tb=short", "--kvm-report=-", *(word for each in named for word in each)])
    return commands


def shares_of(prog: str, start: Callable[[boot.Run], int], run: boot.Run, commands: Sequence[list[str]]) -> list[Share]:
    """A share for each command, on a machine of its own."""
    found = []
    for number, command in enumerate(commands, start=1):
        several = len(commands) > 1
        name = f"{prog} {number}" if several else prog
        keep = run.keep / str(number) if run.keep and several else run.keep
        found.append((start, dataclasses.replace(run, command=command, name=name, keep=keep, durations=Counter())))
    return found


def run_tests(prog: str, start: Callable[[boot.Run], int], run: boot.Run) -> int:
    """Run the tests on as many machines as ``run`` asks for, write the report, and return the exit status."""
    commands = kvm_tests_commands(run.tests, run.machines, run.only)
    if not commands:
        raise boot.MachineError(f"there is no test marked {run.tests}")
    shares = shares_of(prog, start, run, commands)
    status = side_by_side(shares)
    runs = [each for _, each in shares]
    found = [results.Result.from_json(each.result) for each in runs if each.result]
    if run.report and len(found) == len(runs):
        results.update(run.report, results.total(found))
    if run.keep_durations:
        for each in runs:
            keep_durations(each.durations)
    return status


def here(run: boot.Run) -> int:
    """Run the command of a share on this host."""
    with tempfile.TemporaryDirectory() as temporary:
        job = boot.job_script(run.command, str(boot.CHECKOUT), {})
        script = f"echo {shlex.quote(results.MARK + 'start')}\n({job})\necho {shlex.quote(results.MARK)}exit $?\n"
        process = boot.launch(["bash", "-c", script], Path(temporary), "here.log")
        return boot.follow(process, Path(temporary) / "here.log", run)


def side_by_side(shares: Sequence[Share]) -> int:
    """Run the shares at the same time and return the worst of their exit statuses.

    What a share says is shown when it has ended; until then it is told now and then how far each is, and what failed.
    """
    for _, run in shares:
        run.out = run.err = io.StringIO()
    following = Following()
    statuses = []
    with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
        working = {pool.submit(start, run): run for start, run in shares}
        try:
            while working:
                ended, _ = concurrent.futures.wait(working, following.pause(), concurrent.futures.FIRST_COMPLETED)
                for future in ended:
                    run = working.pop(future)
                    try:
                        statuses.append(future.result())
                    except boot.MachineError as error:
                        statuses.append(boot.NO_MACHINE)
                        print(error, file=run.err)
                    print(f"== {run.name}\n{_text(run)}== {run.name}: status {statuses[-1]}", flush=True)
                following.tell(list(working.values()))
        finally:
            for _, run in shares:
                run.stop.set()  # ends its machine, when this one is interrupted
    failed = [status for status in statuses if status not in (0, NO_TESTS)]
    return max(failed) if failed else min(statuses)


class Following:
    """Tells every ``TELL`` seconds how far the shares are, and each test that has failed since."""

    def __init__(self) -> None:
        self.began = self.told = time.monotonic()
        self.known: set[str] = set()

    def pause(self) -> float:
        """How many seconds there are until it is time to tell."""
        return max(self.told + TELL - time.monotonic(), 0)

    def tell(self, runs: Sequence[boot.Run]) -> None:
        if self.pause():
            return
        self.told = time.monotonic()
        for run in runs:
            print(f"{self.told - self.began:4.0f} s  {run.name}: {run.progress or 'starting'}", flush=True)
            for test in run.failed:
                if test not in self.known:
                    self.known.add(test)
                    print(f"        FAILED {test}", flush=True)


def _text(run: boot.Run) -> str:
    assert isinstance(run.out, io.StringIO)
    said = run.out.getvalue()
    return said if not said or said.endswith("\n") else said + "\n"
