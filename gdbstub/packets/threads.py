"""Threads: which there are, and which one is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdbstub.errors import BadPacket
from gdbstub.registry import Reply, packet

if TYPE_CHECKING:
    from gdbstub.client import Client


@packet("H")
def select(client: Client, rest: bytes) -> Reply:
    """Hg: the thread that registers and memory are asked of; Hc: the one that c and s let go."""
    operation, thread = rest[:1], client.parse_thread(rest[1:])
    if operation == b"g":
        client.thread = thread if thread > 0 else client.target.current()
    elif operation == b"c":
        client.resume_thread = thread or -1
    else:
        raise BadPacket("H is followed by g or c")
    return b"OK"


@packet("T")
def alive(client: Client, rest: bytes) -> Reply:
    """Whether a thread is there."""
    client.parse_thread(rest)
    return b"OK"


@packet("qC")
def current(client: Client, rest: bytes) -> Reply:
    """The current thread."""
    return b"QC" + client.thread_id(client.thread)


@packet("qfThreadInfo")
def first_threads(client: Client, rest: bytes) -> Reply:
    """All threads."""
    threads = client.threads()
    return b"m" + b",".join(client.thread_id(thread) for thread in threads) if threads else b"l"


@packet("qsThreadInfo")
def more_threads(client: Client, rest: bytes) -> Reply:
    """No more than those."""
    return b"l"


@packet("qThreadExtraInfo")
def thread_info(client: Client, rest: bytes) -> Reply:
    """What `info threads` shows beside a thread's number."""
    thread = client.parse_thread(rest.lstrip(b","))
    return client.target.thread_name(thread).encode().hex()


@packet("QThreadEvents", offers="QThreadEvents+")
def thread_events(client: Client, rest: bytes) -> Reply:
    """Whether to report threads that come and go. All are there from the first."""
    if rest not in (b":0", b":1"):
        raise BadPacket("QThreadEvents is followed by :0 or :1")
    return b"OK"
