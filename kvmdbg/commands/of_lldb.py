"""How the arguments of lldb's words are turned into ours: its options, and what each is here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kvmdbg.commands.rewriting import at, need, written
from kvmdbg.errors import UsageError


def registers_written(rest: str) -> str:
    name, _, value = need(rest, "a register and a value").replace("=", " ", 1).partition(" ")
    return f"set ${name.lstrip('$@')} = {need(value.strip(), 'a value')}"


_OPTION = re.compile(r"--(?P<long>[a-z][a-z-]*)(?:=(?P<given>.*))?|-(?P<short>[A-Za-z])(?P<close>.*)", re.DOTALL)
_TOKEN = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[^\s"'])+)""")


def _options(word: str, rest: str, valued: str, flags: str = "") -> tuple[dict[str, str], str]:
    """The options of a line of lldb's by their letters, and what is left; ``valued`` and ``flags`` name them.

    UsageError for others: what they change would be silently lost.
    """
    values, bare = (dict(one.split(":") for one in names.split()) for names in (valued, flags))
    long, with_value, without = {**values, **bare}, set(values.values()), set(bare.values())
    found: dict[str, str] = {}
    left: list[str] = []
    place = 0
    while (token := _TOKEN.match(rest, place)) is not None:
        place = token.end()
        if token[1] == "--":
            left.append(rest[place:].strip())
            break
        option = _OPTION.fullmatch(token[1])
        if option is None:
            left.append(token[1])
            continue
        letter = long.get(option["long"], "") if option["long"] else option["short"]
        if letter in without and not option["close"]:
            found[letter] = ""
            continue
        if letter not in with_value:
            known = ", ".join(f"-{one}" for one in sorted(with_value | without))
            raise UsageError(f"{word} takes {known} here, not {token[1]}")
        value = option["given"] or option["close"]
        if not value and (behind := _TOKEN.match(rest, place)) is not None:
            value, place = behind[1], behind.end()
        if not value:
            raise UsageError(f"{word}: {token[1]} needs a value")
        found[letter] = value[1:-1] if value[0] in "\"'" and value[-1] == value[0] else value
    return found, " ".join(left)


def breakpoint_set(rest: str) -> str:
    """lldb's ``breakpoint set -a ADDRESS | -n NAME | -f FILE -l LINE | -r REGEX [-c CONDITION] [-H] [-o true]``."""
    found, _ = _options(
        "breakpoint set",
        rest,
        "address:a name:n file:f line:l condition:c one-shot:o basename:b func-regex:r fullname:F",
        "hardware:H",
    )
    if "r" in found:
        return f"rbreak {found['r']}"
    place = at(found["a"]) if "a" in found else found.get("n") or found.get("F") or found.get("b") or ""
    if "l" in found:
        place = f"{found['f']}:{found['l']}" if "f" in found else found["l"]
    if not place:
        raise UsageError("breakpoint set needs -a ADDRESS, -n NAME, or -f FILE and -l LINE")
    word = f"{'t' if found.get('o') == 'true' else ''}{'h' if 'H' in found else ''}break"
    return f"{word} {place}" + (f" if {found['c']}" if "c" in found else "")


def watchpoint_set(rest: str) -> str:
    """lldb's ``watchpoint set expression [-w read|write|read_write] [-s SIZE] -- ADDRESS``, and ``variable NAME``."""
    kind = {"read": "rwatch", "write": "watch", "read_write": "awatch", "modify": "watch"}
    match = re.match(r"(?:variable|v\w*|expression|e\w*)?\s*(?:-w\s+(\w+)\s*)?(?:-s\s+(\d+)\s*)?(?:--\s*)?(.+)", rest)
    if match is None:
        raise UsageError("watchpoint set needs what to watch")
    what = f"*(u{8 * int(match[2])}*)({match[3]})" if match[2] in ("1", "2", "4", "8") else match[3]
    return f"{kind.get(match[1] or 'write', 'watch')} {what}"


_FORMATS = {"hex": "x", "decimal": "d", "unsigned": "u", "octal": "o", "binary": "t", "float": "f", "instruction": "i"}
"""lldb's long names of formats, and its letters that are others here."""
_LETTERS = {**_FORMATS, "x": "x", "d": "d", "u": "u", "o": "o", "t": "t", "b": "t", "f": "f", "i": "i", "c": "c",
            "s": "s", "a": "a", "A": "a", "p": "a", "X": "x", "y": "x", "Y": "x"}  # fmt: skip


def _format(word: str, options: Mapping[str, str]) -> str:
    """The letter here of lldb's ``-f FORMAT``; "" without one."""
    if "f" not in options:
        return ""
    letter = _LETTERS.get(options["f"])
    if letter is None:
        raise UsageError(f"{word}: there is no format {options['f']} here; x, d, u, o, t, f, i, c, s and a are there")
    return letter


def memory_read(rest: str) -> str:
    """lldb's ``memory read [-c COUNT] [-s SIZE] [-f x] ADDRESS [END]`` and its gdb form ``memory read/4xw ADDRESS``."""
    if rest.startswith("/"):
        return f"x{rest}"
    options, left = _options("memory read", rest, "count:c size:s format:f")
    words = left.split()
    if not words:
        raise UsageError("memory read needs an ADDRESS")
    if len(words) > 1 and not options:
        return f"hexdump {words[0]}, ({words[1]}) - ({words[0]})"
    if len(words) > 1:
        raise UsageError("memory read takes ADDRESS and -c COUNT here, where other options stand")
    if not options:
        return f"hexdump {words[0]}, 32"
    letter = _format("memory read", options) or "x"
    size = options.get("s", "1" if options.get("f") in ("y", "Y") else "4")
    unit = "" if letter in "is" else {"1": "b", "2": "h", "4": "w", "8": "g"}.get(size)
    if unit is None:
        raise UsageError(f"memory read takes a size of 1, 2, 4 or 8, not {size}")
    return f"x/{options.get('c', '8')}{letter}{unit} {words[0]}"


def memory_write(rest: str) -> str:
    options, left = _options("memory write", rest, "size:s")
    if options.get("s", "1") not in ("1", "2", "4", "8"):
        raise UsageError(f"memory write takes a size of 1, 2, 4 or 8, not {options['s']}")
    return written(int(options.get("s", "1")))(left)


def lookup(rest: str) -> str:
    """lldb's ``image lookup -a ADDRESS | -n NAME | -s NAME | -t TYPE``, with ``-r`` where NAME is a regex."""
    rest = re.sub(r"(^|\s)-r([ns])(?=\s)", r"\1-r -\2", rest)
    options, _ = _options("image lookup", rest, "address:a name:n type:t symbol:s function:F", "regex:r verbose:v")
    if name := options.get("n") or options.get("F") or options.get("s"):
        kind = "info functions" if "r" in options else "info address" if "s" in options else "info line"
        return f"{kind} {name}"
    for letter, command in (("a", "info symbol"), ("t", "ptype")):
        if letter in options:
            return f"{command} {options[letter]}"
    raise UsageError("image lookup takes -a ADDRESS, -n NAME or -t TYPE")


def printed(rest: str) -> str:
    """lldb's ``expression [-f FORMAT] -- TEXT``. Without ``--`` all is the expression."""
    if not rest.startswith("-") or " -- " not in f" {rest} ":
        return f"print {rest}"
    before, _, text = f" {rest}".partition(" -- ")
    options, _ = _options("expression", before, "format:f language:l", "object-description:O")
    letter = _format("expression", options)
    return f"print{'/' + letter if letter else ''} {text}"


def source_listed(rest: str) -> str:
    """lldb's ``source list [-n NAME | -f FILE -l LINE | -a ADDRESS]``."""
    options, _ = _options("source list", rest, "name:n file:f line:l address:a count:c")
    if "a" in options:
        return f"list {at(options['a']) if options['a'][:1].isdigit() else '*' + options['a']}"
    place = options.get("n") or ":".join(options[one] for one in "fl" if one in options)
    return f"list {place}".strip()


def registers_read(rest: str) -> str:
    """lldb's ``register read [-a] [-f FORMAT] [NAMES]``."""
    if rest.startswith("/"):
        names = rest.partition(" ")[2].split()
        return "\n".join(f"print{rest.split()[0]} ${name.lstrip('$')}" for name in names) or "info registers"
    options, named = _options("register read", rest, "format:f set:s", "all:a")
    if "s" in options:
        raise UsageError("register read takes -a, -f and names here: info registers GROUP shows a set")
    if (letter := _format("register read", options)) and named:
        return "\n".join(f"print/{letter} ${name.lstrip('$')}" for name in named.split())
    return f"info {'all-' if 'a' in options else ''}registers {named}".strip()


def variables(rest: str) -> str:
    """lldb's ``frame variable [-f FORMAT] [NAMES]``."""
    options, names = _options("frame variable", rest, "format:f depth:D", "show-types:T no-args:a no-locals:l")
    if not names:
        return "info locals" if "a" in options else "info args" if "l" in options else "info args\ninfo locals"
    letter = _format("frame variable", options)
    return "\n".join(f"print{'/' + letter if letter else ''} {name}" for name in names.split())


def disassembled(rest: str) -> str:
    """lldb's ``di``: ``-n NAME``, ``-a ADDRESS``, ``-s ADDRESS -c COUNT | -e END``, ``-p``; else the function."""
    options, _ = _options(
        "disassemble",
        rest,
        "name:n start-address:s end-address:e address:a count:c flavor:F",
        "pc:p frame:f bytes:b mixed:m line:l raw:r",
    )
    shown = "".join(letter for option, letter in (("b", "r"), ("m", "s")) if option in options)
    command = f"disassemble/{shown}" if shown else "disassemble"
    if "n" in options or "a" in options:
        return f"{command} {options.get('n') or options['a']}"
    if "e" in options:
        return f"{command} {options.get('s', '$pc')},{options['e']}"
    if "s" in options or "c" in options or "p" in options:
        return f"x/{options.get('c', '8')}i {options.get('s', '$pc')}"
    return command


def found_in_memory(rest: str) -> str:
    """lldb's ``memory find -s TEXT | -e EXPRESSION START END``."""
    match = re.fullmatch(r"(-[se])\s+(\"[^\"]*\"|'[^']*'|\S+)\s+(\S+)\s+(\S+)", rest)
    if match is None:
        raise UsageError("memory find takes -s TEXT or -e EXPRESSION, and START END")
    what = '"' + match[2].strip("\"'") + '"' if match[1] == "-s" else match[2]
    return f"find {match[3]}, {match[4]}, {what}"
