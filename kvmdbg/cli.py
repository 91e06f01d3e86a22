"""The command line: reads the options, opens the session, and hands it to the shell or runs commands.
Nothing heavy is imported here or by what batch mode needs: start-up time is measured (tests/bench).

Exit status: 0 when all commands worked and no stop was an error, 1 otherwise, 2 for a mistake in the options or no
usable /dev/kvm, what ``quit STATUS`` asks for, and the guest's own where it ended itself at last. As with other
programs, 128 plus the signal after Ctrl-C in batch mode, SIGTERM, SIGHUP, SIGQUIT, 141 when stdout's reader went away.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from kvmdbg import error_log, standard_files, suspending
from kvmdbg.ending import Terminal, Terminated, end_in_order
from kvmdbg.errors import KvmdbgError, KvmUnavailable, UsageError, refused_by_host
from kvmdbg.numbers import number, size
from kvmdbg.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvmdbg.core.session import Session
    from kvmdbg.script import Script

IRQCHIPS = ("kernel", "user", "none")
"""As engine/hardware.py has them."""


def _size(text: str) -> int:
    try:
        return size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _integer(text: str) -> int:
    try:
        return number(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number such as 4096 or 0x1000") from None


def _cpus(text: str) -> int:
    count = _integer(text)
    if not 1 <= count <= 255:
        raise argparse.ArgumentTypeError(f"{count} is not between 1 and 255")
    return count


def _register(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE, as in rax=2")
    from kvmdbg.x86 import registers

    name = name.strip().lstrip("$").lower()
    if registers.lookup(name) is None:
        import difflib

        near = difflib.get_close_matches(name, list(registers.names()), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(f"there is no register {name}{hint}")
    return name, _integer(value.strip())


def _symbols(text: str) -> tuple[str, int]:
    path, at, base = text.rpartition("@")
    if not at:
        return text, 0
    return path, _integer(base)


def _named_file(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=FILE")
    return name, path


class _Commands(argparse.Action):
    """Collects -x, -ex and --run in the order given, as lines to execute."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        kind = {"-x": "file", "--command": "file"}.get(option_string or "", "line")
        text = "run" if option_string == "--run" else str(values)
        namespace.commands = [*(namespace.commands or []), (kind, text)]


class _Formatter(argparse.HelpFormatter):
    """Knows its width by itself: argparse would import shutil for it at every start."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size().columns
        except OSError:
            columns = 80
        super().__init__(prog, width=max(40, columns - 2))


class _Parser(argparse.ArgumentParser):
    """Notices when its help cannot be written; takes ``--irqchip`` alone, whatever follows it, as KVM's."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        for n, word in enumerate(words):
            if word == "--irqchip" and (n + 1 == len(words) or words[n + 1] not in IRQCHIPS):
                words[n] = "--irqchip=kernel"
        return super().parse_known_args(words, namespace)

    def print_help(self, file: object = None) -> None:
        if status := standard_files.answer(self.format_help()):
            self.exit(status)


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = _Parser(
        prog="kvmdbg",
        description="Run a guest on a KVM virtual CPU under a debugger.",
        epilog="Numbers are decimal, 0x, 0o or 0b; sizes also take K, M, G. In the shell, help explains every command. "
        "kvmdbg check DIR runs the guests that a folder's check.toml names, and says which behave. "
        "kvmdbg demo opens a guest that comes with kvmdbg; kvmdbg demo --list names all.",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    found.add_argument(
        "guest",
        nargs="?",
        help="the guest's image: flat binary, boot sector, ELF, multiboot or Linux kernel; or a script (.py), then its "
        "guest",
    )
    found.add_argument("args", nargs="*", help="after a script: the guest's image, and words for the script")
    image = found.add_argument_group("the guest")
    image.add_argument(
        "--format",
        metavar="NAME",
        help="read the image as flat, com, bootsector, rom, elf, multiboot, multiboot2, pvh, bzimage or a plugin's",
    )
    image.add_argument("--mode", choices=("real", "prot", "long"), help="the CPU mode the guest starts in")
    image.add_argument("--load", type=_integer, metavar="ADDRESS", help="physical address to load a flat image at")
    image.add_argument("--entry", metavar="ADDRESS", help="where to start: an address, SEG:OFF, or a symbol")
    image.add_argument("--memory", type=_size, metavar="SIZE", help="guest memory, e.g. 512M")
    image.add_argument("--cpus", type=_cpus, default=1, metavar="COUNT", help="virtual CPUs (1)")
    image.add_argument(
        "--reg", type=_register, action="append", default=[], metavar="NAME=VALUE", help="set a register"
    )
    image.add_argument(
        "--symbols",
        type=_symbols,
        action="append",
        default=[],
        metavar="FILE[@BASE]",
        help="read symbols of an ELF file, a map file or a listing of nasm",
    )
    image.add_argument("--bios", metavar="FILE", help="firmware to start in; an image is a disk then")
    image.add_argument(
        "--append", "--cmdline", dest="cmdlines", action="append", metavar="TEXT", help="the kernel's command line"
    )
    image.add_argument("--initrd", metavar="FILE", help="the initial RAM disk of a Linux kernel")
    image.add_argument(
        "--module",
        dest="modules",
        action="append",
        default=[],
        metavar="'FILE ARGS'",
        help="a module for a multiboot kernel, with its words",
    )
    image.add_argument(
        "--fw-cfg",
        type=_named_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a file that firmware finds in fw_cfg, e.g. vgaroms/vgabios.bin=FILE",
    )
    image.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="NAME[,KEY=VALUE]",
        help="add a device, as isa-debug-exit,iobase=0xf4; help lists them",
    )
    image.add_argument(
        "--machine",
        choices=("pc", "bare", "hvt"),
        default="pc",
        help="devices of a PC (the default), or only a serial port",
    )
    image.add_argument(
        "--irqchip",
        choices=IRQCHIPS,
        default="",
        help="interrupt controllers and timer: of kernel, as several vCPUs have, with IOAPIC and LAPICs (so without a "
        "value); of user, whose time stands still at stops (a PC has it); or none",
    )
    image.add_argument(
        "--cpu", default="", metavar="+-FEATURE,...", help="set or hide features of CPUID, e.g. --cpu=-avx,+x2apic"
    )
    image.add_argument(
        "--engine",
        choices=("auto", "kvm", "soft"),
        default="",
        help="what runs the guest: kvm, soft (unicorn, an extra), or auto: KVM where it can be used",
    )
    image.add_argument(
        "--serial", default="stdio", metavar="WHERE", help="connect COM1 to stdio, none, file:PATH, pty or tcp:PORT"
    )
    image.add_argument(
        "--firmware",
        choices=("auto", "bios", "none"),
        default="auto",
        help="BIOS services behind the interrupts, or none; auto: for guests that start in real mode",
    )
    drives = found.add_argument_group("disks (what the guest writes stays in memory, except with ,write)")
    for option, what in (("--disk", "a hard disk; twice for two"), ("--floppy", "a floppy; twice for two")):
        drives.add_argument(option, action="append", default=[], metavar="FILE[,write|,readonly]", help=what)
    drives.add_argument("--cdrom", metavar="FILE", help="a CD")
    commands = found.add_argument_group("commands, in the order given")
    commands.add_argument(
        "-x", "--command", dest="commands", action=_Commands, metavar="FILE", help="run a command file"
    )
    commands.add_argument("-ex", dest="commands", action=_Commands, metavar="COMMAND", help="run one command")
    commands.add_argument(
        "--script",
        dest="scripts",
        action="append",
        default=[],
        metavar="FILE",
        help="run a Python file first; its main(dbg, args), if it has one, gets the session",
    )
    commands.add_argument("--run", dest="commands", action=_Commands, nargs=0, help="run the guest (as -ex run)")
    way = found.add_argument_group("the way it runs")
    way.add_argument("--batch", action="store_true", help="no prompt: run the commands and end")
    way.add_argument("--json", action="store_true", help="show each result and stop as one JSON object a line")
    way.add_argument(
        "--gdb",
        metavar="ADDRESS",
        help="serve gdb and lldb at PORT, HOST:PORT, unix:PATH or stdio; without a terminal, until the guest is killed",
    )
    way.add_argument(
        "--gdb-allow-host",
        action="store_true",
        help="let clients of the stub use the commands that run programs or touch files on this host",
    )
    way.add_argument("--tui", action="store_true", help="begin with the full-screen mode")
    way.add_argument(
        "-nx", "--no-rc", dest="rc", action="store_false", help="read no rc file (~/.config/kvmdbg/kvmdbgrc, .kvmdbgrc)"
    )
    way.add_argument("--py", action="store_true", help="show beside each command what it is in Python")
    way.add_argument("--no-color", action="store_true", help="no colours")
    way.add_argument(
        "--doctor", action="store_true", help="show what this host has for kvmdbg, as text for a report, and end"
    )
    way.add_argument("--version", action="store_true", help="show the version and end")
    return found


def list_devices() -> int:
    """What ``--device`` takes."""
    from kvmdbg import devices, plugins  # noqa: F401  devices' modules make them known
    from kvmdbg.devices import registry

    plugins.load()

    text = ""
    for name, one in registry.known().items():
        options = "".join(f",{key}={value:#x}" for key, value in one.options.items())
        text += f"{name}{options}\n    {(one.__doc__ or '').partition(': ')[2].rstrip()}\n"
    return standard_files.answer(text)


def _one_cmdline(given: Sequence[str]) -> str:
    if len(given) > 1:
        raise UsageError("the kernel has one command line: give --append or --cmdline (which are the same) once")
    return given[0] if given else ""


def open_session(options: argparse.Namespace) -> Session:
    """The session that the options describe. Raises KvmdbgError."""
    from kvmdbg import api

    given = {"memory": options.memory} if options.memory is not None else {}
    session = api.open(
        options.guest,
        format=options.format,
        mode=options.mode,
        load=options.load,
        entry=options.entry,
        cpus=options.cpus,
        registers=dict(options.reg),
        cmdline=_one_cmdline(options.cmdlines or []),
        initrd=options.initrd,
        modules=options.modules,
        devices=options.device,
        machine=options.machine,
        irqchip=options.irqchip,
        serial=options.serial,
        cpu=options.cpu,
        disks=options.disk,
        floppies=options.floppy,
        cdrom=options.cdrom,
        firmware=options.firmware,
        bios=options.bios,
        engine=options.engine,
        fw_cfg=dict(options.fw_cfg),
        **given,
    )
    try:
        for path, base in options.symbols:
            session.add_symbols(path, base)
    except BaseException:
        session.close()
        raise
    return session


def run() -> int:
    """The command ``kvmdbg``: ``main`` in a process of its own, which ends in order whatever happens."""
    import gc

    gc.disable()  # it makes no passes over what start and end handle
    standard_files.open_missing()
    terminal = Terminal()
    end_in_order(terminal)
    suspending.suspend_in_order()
    try:
        status = main()
    except Terminated as ended:
        status = int(ended.code or 0)
        terminal.put_back()
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        standard_files.say(f"kvmdbg: {refused_by_host(error)}")
        status = 1
    except Exception as error:
        standard_files.say(f"kvmdbg: {error_log.internal(error)}")
        status = 1
    gc.freeze()
    return standard_files.finish(status)


def _scripts(paths: Sequence[str]) -> list[Script]:
    if not paths:
        return []
    from kvmdbg.script import Script

    return [Script(path) for path in paths]


def check(words: list[str]) -> int:
    """The command ``kvmdbg check``, and the process that it has for each guest."""
    from kvmdbg.check import command

    if words[0] == "check":
        return command.main(words[1:])
    import json

    from kvmdbg.check.one import check as check_one

    case = command.case_of(sys.stdin.read())
    try:
        options = parser().parse_args([*case.arguments])
        with open_session(options) as session:
            found = check_one(session, case, *words[2:])
    except SystemExit as ended:
        return int(ended.code or 2)
    except KvmdbgError as error:
        found = {"problems": [str(error)], "seconds": 0.0, "output": ""}
    return standard_files.answer(json.dumps(found) + "\n")


def lockstep(words: list[str]) -> int:
    """The command ``kvmdbg lockstep``."""
    from kvmdbg.lockstep import command

    wanted = parser()
    command.add_options(wanted, _integer)
    try:
        options = wanted.parse_args(words)
        if options.guest is None and options.bios is None and not (options.disk or options.floppy or options.cdrom):
            wanted.error("which guest? give its image")
    except SystemExit as ended:
        return int(ended.code or 0)
    return command.main(options, open_session)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run kvmdbg with these arguments (sys.argv's without any) and give its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] in (["check"], ["check-one"]):
        from kvmdbg.check.command import is_meant

        if is_meant(words):
            return check(words)
    if words[:1] == ["lockstep"]:
        from kvmdbg.lockstep.command import is_meant as lockstep_is_meant

        if lockstep_is_meant(words):
            return lockstep(words[1:])
    if words[:1] == ["completions"] and not os.path.isfile("completions"):
        from kvmdbg import completions

        if words[1:] and words[1] in completions.SHELLS:
            return standard_files.answer(completions.script(parser(), words[1]))
        return standard_files.answer(completions.HELP, 0 if words[1:] in (["--help"], ["-h"]) else 2)
    greeting = ""
    if words[:1] == ["demo"] and not os.path.isfile("demo"):
        from kvmdbg import demo

        if words[1:2] in (["--list"], ["--help"], ["-h"]):
            return standard_files.answer(demo.listed() if words[1] == "--list" else demo.HELP + demo.listed())
        try:
            shown, words = demo.chosen(words[1:])
        except UsageError as error:
            standard_files.say(f"kvmdbg: {error}")
            return 2
        greeting = demo.greeting(shown)
    try:
        options = parser().parse_args(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    if options.version:
        from kvmdbg.version import VERSION

        return standard_files.answer(f"kvmdbg {VERSION}\n")
    if options.doctor:
        from kvmdbg import doctor

        found = doctor.examine()
        return standard_files.answer(printable(found.text), 0 if found.healthy else 1)
    if "help" in options.device:
        return list_devices()
    words = options.args
    script = options.guest if options.guest is not None and options.guest.endswith(".py") else None
    if script is not None:
        options.guest, words = (words[0], words[1:]) if words else (None, [])
    elif words:
        what, first = f"{words[0]!r} is one word too many: only a script (.py) takes words", options.guest
        if first in ("demo", "check", "lockstep"):
            what = f"{first} comes first, options behind it: kvmdbg {first} {words[0]} ..."
        standard_files.say(f"kvmdbg: {what}")
        return 2
    has_start = options.bios is not None or bool(options.disk or options.floppy or options.cdrom)
    if options.guest is None and not has_start and script is not None:
        standard_files.say(f"kvmdbg: which guest is {script} for? give its image after it")
        return 2
    if options.guest is None and not has_start:
        standard_files.say("kvmdbg: which guest? give its image, or try kvmdbg demo (--help shows more)")
        return 2
    from kvmdbg.batch import Batch, refuse

    interactive = not options.batch and not options.json and sys.stdin.isatty() and options.gdb != "stdio"
    if options.tui and not (interactive and sys.stdout.isatty()):
        return refuse(UsageError("--tui needs a terminal, and no --batch, --json or --gdb stdio"), options.json, 2)
    try:
        scripts = _scripts([*options.scripts, *([script] if script else [])])
        session = open_session(options)
    except KeyboardInterrupt:
        return 130
    except (KvmUnavailable, UsageError) as error:
        return refuse(error, options.json, 2)
    except KvmdbgError as error:
        return refuse(error, options.json, 1)
    if session.engine_note:
        standard_files.say(f"kvmdbg: {session.engine_note}")
    import gc

    gc.freeze()
    gc.enable()
    try:
        way = Batch(
            session,
            json=options.json,
            batch=options.batch,
            gdb=options.gdb,
            gdb_allow_host=options.gdb_allow_host,
            python=options.py,
            start_files=options.rc,
        )
        commands = options.commands or []
        if scripts and (status := way.run_scripts(scripts, words, last=script is not None)) is not None:
            return status
        if interactive:
            standard_files.answer(greeting)
            return way.run_shell(commands, color=False if options.no_color else None, full_screen=options.tui)
        return way.run(commands)
    finally:
        session.close()
