"""Work for a thread, and what became of it.

Both sides sleep in the read of a pipe. The kernel wakes a pipe's reader on the writer's CPU, as it expects the writer to
sleep next; a lock's waiter (``queue.SimpleQueue``) it wakes on another, which takes twenty times as long.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Job = Callable[[], None]


class Mailbox:
    """The jobs of one thread, which takes them in the order they came."""

    def __init__(self) -> None:
        self._jobs: deque[Job | None] = deque()
        self._job_read, self._job_write = os.pipe()
        self._done_read, self._done_write = os.pipe()
        self._asking = threading.Lock()

    def put(self, job: Job | None) -> None:
        """Leave a job; None is the last."""
        self._jobs.append(job)
        os.write(self._job_write, b".")

    def take(self) -> Job | None:
        """Wait for the next job."""
        os.read(self._job_read, 1)
        return self._jobs.popleft()

    def ask(self, function: Callable[[], T]) -> T:
        """Leave ``function`` as a job and wait for what it returns or raises."""
        answer: list[tuple[T, None] | tuple[None, BaseException]] = []

        def job() -> None:
            try:
                answer.append((function(), None))
            except BaseException as error:  # handed to the one who asked
                answer.append((None, error))
            os.write(self._done_write, b".")

        with self._asking:
            self.put(job)
            while not answer:  # one who was interrupted while it waited has left a byte behind
                os.read(self._done_read, 4096)
        value, error = answer[0]
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def close(self) -> None:
        for number in (self._job_read, self._job_write, self._done_read, self._done_write):
            os.close(number)
