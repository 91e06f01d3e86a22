"""What is shown of a stop: a sentence, the parts of the context that `set context` chose, the display list."""

from __future__ import annotations

import os
import re

from kvmdbg.commands.displays import enabled_displays
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.registry import REGISTRY
from kvmdbg.commands.results import Part, StopReport
from kvmdbg.commands.values import address_label
from kvmdbg.commands.views import context, why_part
from kvmdbg.engine.stops import FatalStop, Stop


def stop_report(dbg: Interpreter, stop: Stop) -> StopReport:
    """A part of the context that cannot be shown says why."""
    text = stop.describe()
    line = dbg.session.source.quick_at(stop.pc) if dbg.session.files.may_have_lines else None
    place = f"({os.path.basename(line.file)}:{line.line})" if line is not None else ""
    known = [one for one in (address_label(dbg, stop.pc), place) if one]
    if known:
        named = " ".join([f"{stop.pc:#x}", *known])
        text = re.sub(rf"\b{stop.pc:#x}\b", lambda match: named, text, count=1)
    sentence = f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
    parts = context(dbg, dbg.settings["context"], stop)
    if parts and isinstance(stop, FatalStop) and stop.autopsy is not None:
        parts = (*parts, Part("why", why_part(dbg, stop.autopsy)))
    symbol = dbg.session.symbols.format(stop.pc)
    where = (line.file, line.line) if line is not None else None
    displays = () if "expressions" in dbg.settings["context"] else enabled_displays(dbg)
    return StopReport(stop, sentence, parts, displays, symbol, where)


REGISTRY.stop_report = stop_report
