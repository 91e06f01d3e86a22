"""The line at the bottom: mode, cs:ip and linear pc, the guest's state, its last stop."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kvmdbg.errors import KvmdbgError
from kvmdbg.printable import printable

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from kvmdbg.commands.interpreter import Interpreter


def facts(dbg: Interpreter) -> list[str]:
    """What the toolbar says, the most important first."""
    session = dbg.session
    state = session.state
    if state != "stopped":
        return [state, "Ctrl-C interrupts" if state == "running" else "run starts it again"]
    try:
        vcpu = session.vcpu
        cs, ip = vcpu.cs_ip
        wide = vcpu.mode.bits // 4
        place = f"{cs:04x}:{ip:0{wide}x}"
        found = [vcpu.mode.name, place, f"pc {vcpu.pc:#x}", state]
    except KvmdbgError as error:
        return [state, str(error)]
    except Exception:  # another thread is restarting the guest: the next time that it is drawn it stands still
        return [state]
    if len(session.vcpus) > 1:
        found.insert(0, f"vcpu {vcpu.index}")
    if dbg.runs.last_stop is not None:
        text = printable(dbg.runs.last_stop.describe())
        found.append(f"{text[:1].upper()}{text[1:]}")
    return found


def toolbar(dbg: Interpreter, width: int | None = None) -> StyleAndTextTuples:
    """As many facts as fit ``width`` columns, the last one cut where it must be."""
    columns = width or shutil.get_terminal_size().columns
    left = columns - 2
    fragments: StyleAndTextTuples = [("", " ")]
    for number, text in enumerate(facts(dbg)):
        gap = "  " if number else ""
        if len(gap) + len(text) > left:
            if left >= 12 and number:
                fragments.append(("", f"{gap}{text[: left - len(gap) - 1]}…"))
            break
        fragments.append(("bold" if not number else "", gap + text))
        left -= len(gap) + len(text)
    return fragments
