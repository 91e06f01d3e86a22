"""What a client of the GDB stub can do to the host: nothing, unless that was allowed."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kvmdbg
from gdbstub import Address
from gdbstub.testing import Remote
from gdbstub.wire import frame
from kvmdbg.commands import catalogue
from kvmdbg.commands.registry import REGISTRY, Command
from kvmdbg.core.session import Session
from kvmdbg.pytest_plugin import Guests
from kvmdbg.serving import GdbService

pytestmark = pytest.mark.kvm
catalogue.load()
ROOT = Path(__file__).resolve().parents[1]
GUEST = ROOT / "guests" / "hello16.bin"
REFUSED = "--gdb-allow-host"
Serve = Callable[..., "Client"]


class Client:
    """Somebody at the other end of the stub's connection."""

    def __init__(self, service: GdbService, said: list[str]) -> None:
        self.service, self.said = service, said
        where = Address.parse(service.address or "")
        connection = socket.create_connection((where.host, where.port))
        self.remote = Remote(connection, timeout=120)  # `finish` where nothing has called steps through all memory
        assert self.remote.ask(b"QStartNoAckMode") == b"OK"
        self.remote.wire.acknowledge = False

    def monitor(self, line: str) -> str:
        """What `monitor LINE` shows."""
        self.remote.send(b"qRcmd," + line.encode().hex().encode())
        shown = ""
        while (reply := self.remote.receive()) != b"OK":
            assert reply.startswith(b"O"), reply
            shown += bytes.fromhex(reply[1:].decode()).decode()
        return shown


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(session=None, host_allowed=False, address="127.0.0.1:0")``: a client of a guest."""
    opened: list[tuple[GdbService, Client, Session]] = []

    def start(session: Session | None = None, *, host_allowed: bool = False, address: str = "127.0.0.1:0") -> Client:
        session = session or kvmdbg.open(GUEST, load=0x1000, firmware="none")  # else it runs wild behind its end
        said: list[str] = []
        service = GdbService(session, said.append, host_allowed=host_allowed)
        service.start(address)
        client = Client(service, said)
        opened.append((service, client, session))
        return client

    yield start
    for service, client, session in opened:
        client.remote.close()
        service.stop()
        session.close()


def own_files() -> tuple[str, ...]:
    """Where the debugger, Python, KVM and the guest are."""
    paths = [str(ROOT), sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), "/dev/kvm", "/dev/null", "/proc"]
    return tuple(os.path.realpath(path) for path in paths if path)


FILES = ("open", "os.listdir", "os.scandir", "os.chdir", "os.remove", "os.rename", "os.mkdir", "os.truncate", "os.link")
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "socket.bind")
_reached: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _reached is None:
        return
    if event in PROGRAMS:
        _reached.append(event)
    elif event in FILES and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not path.startswith(own_files()):
            _reached.append(f"{event} {path}")


sys.addaudithook(_audit)  # it stays for ever, and does nothing outside of `reached`


@contextmanager
def reached() -> Iterator[list[str]]:
    """What this process does to the host meanwhile, beside reading its own files."""
    global _reached
    _reached = found = []
    try:
        yield found
    finally:
        _reached = None


def test_the_test_sees_what_reaches_the_host(tmp_path: Path) -> None:
    with reached() as found:
        (tmp_path / "x").write_text("")
        os.system("true")
    assert [one.partition(" ")[0] for one in found] == ["open", "os.system"]


@pytest.mark.parametrize("one", list(REGISTRY), ids=lambda one: one.name)
def test_no_command_reaches_the_host(
    one: Command, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = serve(kvmdbg.open(GUEST, load=0x1000, machine="bare", memory="8K"))  # where it runs wild it ends soon
    before = os.getcwd()
    for example in one.examples:
        if (one.name, example.partition("\n")[0]) == ("gdbserver stop", "gdbserver stop"):
            continue  # takes the connection away
        with reached() as found:
            shown = client.monitor(example)
        assert not found, shown
    assert os.getcwd() == before
    assert not list(tmp_path.iterdir())


LINES = [
    "shell id", "!id", "! id", "she id", "cd /", "pwd", "source FILE", "dump FILE 0x1000 2",
    "dump binary memory FILE 0 2", "dump memory FILE 0 2",
    "append memory FILE 0 2", "restore FILE binary 0x2000", "restore FILE 0x2000",
    "symbol-file FILE", "add-symbol-file FILE", "directory DIR", "snapshot write s FILE", "snapshot read FILE",
    "trace exits on to FILE", "trace exits on io to FILE if 1", "trace insn on FILE", "plot exits FILE",
    "info coverage FILE", "info profile FILE", "gdbserver unix:FILE", "gdbserver 0", "tui",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_refused_by_name(line: str, serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "file"
    client = serve()
    client.monitor("snapshot save s")
    shown = client.monitor(line.replace("FILE", str(file)).replace("DIR", str(tmp_path)))
    assert REFUSED in shown
    assert not list(tmp_path.iterdir())


def test_completion_lists_no_files(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    lines = [f"complete {one} {tmp_path}/" for one in ("symbol-file", "cd", "trace exits on to", "set logging file")]
    with reached() as found:
        assert not "".join(serve().monitor(line) for line in lines).strip()
    assert not [one for one in found if one.startswith("os.")]
    assert f"symbol-file {tmp_path}/secret" in serve(host_allowed=True).monitor(lines[0])


def test_the_same_by_what_people_made(serve: Serve, tmp_path: Path) -> None:
    """Commands of a breakpoint that the owner made: a client's continue does not get them done with its own means."""
    file = tmp_path / "file"
    client = serve()
    session = client.service.session
    session.break_at(0x100B, commands=[f"dump {file} 0x1000 2"])
    assert REFUSED in client.monitor("continue")
    for body in (
        f"define m\ndump {file} 0 2\nend",
        f"commands 1\nshell touch {file}\nend",
        f"if 1\n!touch {file}\nend",
    ):
        client.monitor(body)
    client.monitor("m")
    client.monitor("continue")
    assert not file.exists()


def test_what_was_allowed(serve: Serve, tmp_path: Path) -> None:
    client = serve(host_allowed=True)
    file = tmp_path / "file"
    assert client.monitor("shell echo $((6 * 7)) >&2; cat") == "42\n"
    client.monitor(f"dump {file} 0x1000 2")
    assert file.read_bytes() == GUEST.read_bytes()[:2]
    assert "runs commands as you" in client.said[0]


@pytest.mark.e2e
def test_source_files_are_files_of_the_host(serve: Serve, kvm_guest: Guests) -> None:
    """Debug information names them, and whoever made the guest may have named any."""
    session = kvm_guest(c='void _start(void) {\n    __asm__("hlt");\n}\n')
    assert "__asm__" not in serve(session).monitor("list _start")
    assert "__asm__" in serve(session, host_allowed=True).monitor("list _start")


def test_the_assembler_reads_no_file(serve: Serve, tmp_path: Path) -> None:
    pytest.importorskip("keystone")
    file = tmp_path / "secret"
    file.write_text("secret")
    client = serve()
    for line in (f'asm 0x2000 .incbin "{file}"', f'asm/p 0x2000 nop; a: .incbin "{file}"', "asm 0x2000 .fill 1,1,0"):
        assert "is no instruction" in client.monitor(line)
    assert client.monitor("asm/p 0x2000 jmp 0x2000") == "eb fe\n"


@pytest.mark.parametrize(("allowed", "word"), [(False, "controls this guest"), (True, "runs commands")])
def test_the_warning(allowed: bool, word: str, serve: Serve) -> None:
    client = serve(host_allowed=allowed, address="0.0.0.0:0")
    assert client.said[0].startswith("Warning: whoever reaches 0.0.0.0:")
    assert word in client.said[0]
    quiet = serve()
    assert not any("Warning" in one for one in quiet.said)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../etc/passwd", "", "guests/hello16.bin/../boot16.bin"])
def test_no_file_but_the_guests_own(name: str, serve: Serve) -> None:
    remote = serve().remote
    assert remote.ask(b"vFile:open:%s,0,0" % name.encode().hex().encode()) == b"F-1,2"
    own = str(GUEST).encode().hex().encode()
    for flags in (b"1", b"2", b"200", b"601"):
        assert remote.ask(b"vFile:open:%s,%s,1a4" % (own, flags)) == b"F-1,1"
    assert remote.ask(b"vFile:open:%s,0,0" % own) == b"F3"
    assert remote.ask(b"vFile:pwrite:3,0,x") == b"F-1,16"
    assert remote.ask(b"vFile:unlink:%s" % own) == b"F-1,16"
    assert remote.ask(b"vFile:readlink:%s" % b"/proc/self/exe".hex().encode()) == b"F-1,16"


def test_a_restart_in_the_middle_of_whatever(serve: Serve) -> None:
    """A step and `monitor restart` in one write, and the client goes at any moment: the server lives."""
    client = serve()
    client.remote.close()
    where = Address.parse(client.service.address or "")
    restart = b"qRcmd," + b"restart".hex().encode()
    for number in range(30):
        with socket.create_connection((where.host, where.port)) as connection:
            connection.sendall(frame(b"vCont;s:1") + frame(restart) + frame(b"g") * (number % 3))
            time.sleep(number % 10 * 0.004)
    last = Client(client.service, client.said)
    assert last.remote.ask(b"m1000,2") == GUEST.read_bytes()[:2].hex().encode()
    last.remote.close()
    assert not [one for one in client.said if "error" in one]


def test_the_shell_restarts_while_a_client_asks(serve: Serve) -> None:
    client = serve()
    done = threading.Event()
    replies: set[bytes] = set()

    def ask() -> None:
        while not done.is_set():
            for packet in (b"g", b"m1000,2", b"?"):
                replies.add(client.remote.ask(packet)[:1])

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(15):
        client.service.session.restart()
    done.set()
    asking.join(20)
    assert not asking.is_alive()
    assert b"E" not in replies
    assert not [one for one in client.said if "error" in one]


def test_a_monitor_command_that_reads_much_memory_can_be_interrupted(serve: Serve) -> None:
    client = serve(kvmdbg.open(GUEST, load=0x1000, memory="1G"))
    client.remote.send(b"qRcmd," + b"find 0x200000, +0x3fe00000, 0x1122334455667788".hex().encode())
    ended = threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.05):
            client.remote.interrupt()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    shown = b""
    while (reply := client.remote.receive()) != b"OK":
        shown += bytes.fromhex(reply[1:].decode())
    ended.set()
    interrupting.join()
    assert shown == b"interrupted\n"
    assert client.monitor("print 1") == "$1 = 1\n"


@pytest.mark.timeout(60)
def test_a_regular_expression_without_end(serve: Serve) -> None:
    """It let no other thread run, and not even SIGTERM ended the process."""
    text = "a" * 60 + "!"
    assert serve().monitor(f'print $_regex("{text}", "^(a+)+$")') == "$1 = 0\n"


@pytest.mark.parametrize("line", ["x/99999999xb 0", "x/99999999i 0", "hexdump 0 99999999"])
def test_a_monitor_command_that_would_show_much(line: str, serve: Serve) -> None:
    assert "0x100000" in serve(kvmdbg.open(GUEST, load=0x1000, memory="1G")).monitor(line)
