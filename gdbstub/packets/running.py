"""Running, stepping, and the target's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdbstub.errors import BadPacket, TargetError
from gdbstub.nonstop import NonStop
from gdbstub.registry import WHOLE_PROCESS, Reply, packet
from gdbstub.target import HasDetach, HasKill, HasQuietSteps, HasRestart, Killed, Resume, Stopped
from gdbstub.wire import hexadecimal

if TYPE_CHECKING:
    from gdbstub.client import Client

ONE = (0, 0)


def go(client: Client, what: Resume) -> Reply:
    """Let the target run; the stop reply comes later."""
    if client.held is not None:  # the client was told of a new mode; this is the stop itself
        stop, client.held = client.held, None
        return client.render(stop)
    if not what.steps and not what.runs:
        raise TargetError("nothing is to run: no thread has an action")
    client.waiting = True
    try:
        client.target.resume(what)
    except BaseException:
        client.waiting = False
        raise
    return None


def one_or_all(client: Client, *, step: bool) -> Resume:
    """What c or s means with the thread that Hc chose."""
    threads = client.target.threads()
    chosen = client.resume_thread
    if step:
        return Resume({chosen if chosen > 0 else client.thread: ONE})
    return Resume(runs=frozenset((chosen,) if chosen > 0 else threads))


def moved(client: Client, address: bytes) -> None:
    """c and s may name the address to go on at."""
    number = client.layout.named("pc")
    if not address:
        return
    if number is None:
        raise TargetError("the address to go on at cannot be set: no register is the program counter")
    size = client.layout.registers[number].size
    client.target.write_register(client.thread, client.layout, number, hexadecimal(address).to_bytes(size, "little"))


@packet("c")
def resume(client: Client, rest: bytes) -> Reply:
    """Continue, perhaps at an address."""
    moved(client, rest)
    return go(client, one_or_all(client, step=False))


@packet("s")
def step(client: Client, rest: bytes) -> Reply:
    """Step one instruction, perhaps from an address."""
    moved(client, rest)
    return go(client, one_or_all(client, step=True))


@packet("C")
def resume_with_signal(client: Client, rest: bytes) -> Reply:
    """As c: a machine takes no signals."""
    signal, _, address = rest.partition(b";")
    hexadecimal(signal)
    return resume(client, address)


@packet("S")
def step_with_signal(client: Client, rest: bytes) -> Reply:
    """As s."""
    signal, _, address = rest.partition(b";")
    hexadecimal(signal)
    return step(client, address)


@packet("vCont?")
def actions(client: Client, rest: bytes) -> Reply:
    """The actions that vCont takes."""
    return b"vCont;c;C;s;S;t;r"


@packet("vCont")
def resume_threads(client: Client, rest: bytes) -> Reply:
    """Actions by thread, the first that fits goes: c, C, s, S, t (stay), r START,END (step while pc is in there)."""
    threads = client.target.threads()
    left = set(threads)
    steps: dict[int, tuple[int, int]] = {}
    runs: set[int] = set()
    stay: set[int] = set()
    for action in rest.lstrip(b";").split(b";"):
        word, colon, which = action.partition(b":")
        chosen = client.parse_thread(which) if colon else -1
        meant = left if chosen == -1 else left & {chosen or client.thread}
        kind = word[:1]
        if kind in (b"C", b"S"):
            hexadecimal(word[1:])
        elif kind != b"r" and len(word) > 1:
            raise BadPacket(f"no action is {word.decode('latin-1')!r}")
        if kind in (b"c", b"C"):
            runs |= meant
        elif kind in (b"s", b"S"):
            steps |= dict.fromkeys(meant, ONE)
        elif kind == b"r":
            start, comma, end = word[1:].partition(b",")
            if not comma:
                raise BadPacket("r needs the start and the end of a range")
            steps |= dict.fromkeys(meant, (hexadecimal(start), hexadecimal(end)))
        elif kind == b"t":
            stay |= meant
        else:
            raise BadPacket(f"no action is {word.decode('latin-1')!r}")
        left = left - meant
    if client.nonstop is not None:
        client.nonstop.resume(steps | dict.fromkeys(runs), stay)
        return b"OK"
    return go(client, Resume(steps, frozenset(runs)))


@packet("QNonStop:", offers="QNonStop+")
def non_stop(client: Client, rest: bytes) -> Reply:
    """Whether each thread runs and stops by itself (1), or all stop with the first (0)."""
    if rest not in (b"0", b"1"):
        raise BadPacket("QNonStop is 0 or 1")
    if rest == b"0":
        if client.nonstop is not None:
            client.nonstop.end()
            client.nonstop = None
    elif client.nonstop is None:
        client.nonstop = NonStop(client, client.collect)
    return b"OK"


@packet("vStopped")
def next_stop(client: Client, rest: bytes) -> Reply:
    """In non-stop mode: the next stop that has not been told, or OK."""
    if client.nonstop is None:
        raise BadPacket("vStopped means something in non-stop mode only")
    return client.nonstop.next()


@packet("vCtrlC")
def interrupt(client: Client, rest: bytes) -> Reply:
    """Interrupt, as the byte 0x03."""
    client.target.interrupt()
    return b"OK"


def check_process(text: bytes) -> None:
    """TargetError for another process than the one that there is."""
    if text and hexadecimal(text) != WHOLE_PROCESS:
        raise TargetError(f"there is no process {hexadecimal(text)}", 3)


@packet("D", needs=HasDetach)
def detach(client: Client, rest: bytes) -> Reply:
    """Detach: the guest runs on by itself, without the client's breakpoints. In extended mode the connection stays, and
    vAttach attaches again."""
    assert isinstance(client.target, HasDetach)
    check_process(rest.lstrip(b";"))
    if client.nonstop is not None:
        client.nonstop.end()
        client.nonstop.forget()
    client.let_go()
    if not client.extended:
        client._reply(b"OK")
        client.ended = True
    client.target.detach()
    return b"OK"


def end(client: Client, target: HasKill) -> None:
    if client.nonstop is not None:
        client.nonstop.forget()
    target.kill()
    client.gone = True


@packet("k", needs=HasKill)
def kill(client: Client, rest: bytes) -> Reply:
    """Kill the guest; only lldb waits for a reply. In extended mode the connection stays, and R brings it back."""
    assert isinstance(client.target, HasKill)
    end(client, client.target)
    if client.thread_suffix:
        client._reply(client.render(Killed()))
    if not client.extended:
        client.leave()
    return None


@packet("vKill", needs=HasKill)
def kill_process(client: Client, rest: bytes) -> Reply:
    """Kill the guest."""
    assert isinstance(client.target, HasKill)
    check_process(rest.lstrip(b";"))
    end(client, client.target)
    return b"OK"


def begin_anew(client: Client, target: HasRestart) -> None:
    target.restart()
    client.held = None
    client.gone = client.detached = False
    if client.nonstop is not None:
        client.nonstop.forget()


@packet("R", needs=HasRestart)
def restart(client: Client, rest: bytes) -> Reply:
    """Begin anew (extended mode); there is no reply."""
    assert isinstance(client.target, HasRestart)
    begin_anew(client, client.target)
    return None


@packet("vRun", needs=HasRestart)
def run(client: Client, rest: bytes) -> Reply:
    """Begin anew: the guest stands before its first instruction. The name and arguments mean nothing here."""
    assert isinstance(client.target, HasRestart)
    begin_anew(client, client.target)
    client.thread = client.target.current()
    return client.stop_reply(Stopped(client.thread))


@packet("vAttach")
def attach(client: Client, rest: bytes) -> Reply:
    """Attach to the one process, as after a detach in extended mode; to a client that is attached already its stop."""
    check_process(rest.lstrip(b";"))
    client.detached = client.gone = False
    client.held = None
    target = client.target
    if client.nonstop is not None:
        client.nonstop.attach()
        return b"OK"
    if target.running:
        client.waiting = client.plain = True
        target.interrupt()
        return None
    stop = target.last_stop()
    client.thread = stop.thread if isinstance(stop, Stopped) else client.thread
    return client.render(stop if isinstance(stop, Stopped) else Killed())


@packet("qqemu.sstepbits", "Qqemu.sstepbits", needs=HasQuietSteps)
def step_bits(client: Client, rest: bytes) -> Reply:
    """As in QEMU: the bits of sstep."""
    assert isinstance(client.target, HasQuietSteps)
    return b"ENABLE=1,NOIRQ=2,NOTIMER=4"


@packet("qqemu.sstep", "Qqemu.sstep", needs=HasQuietSteps)
def step_flags(client: Client, rest: bytes) -> Reply:
    """As in QEMU: how steps are made; with =FLAGS make them so, 5 with and 7 without interrupts."""
    assert isinstance(client.target, HasQuietSteps)
    if not rest:
        return b"0x%x" % client.target.step_flags
    flags = hexadecimal(rest.lstrip(b"=:").removeprefix(b"0x"))
    if flags & ~client.target.step_flags_possible:
        raise TargetError(f"of the step flags only {client.target.step_flags_possible:#x} can be had here", 0x22)
    client.target.step_flags = flags
    return b"OK"
