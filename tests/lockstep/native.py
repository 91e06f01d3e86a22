"""Random instructions of user code in long mode, which runs natively on every KVM: SSE, x87 and BMI among them.

They are not stepped: a write to a port behind each says where both are compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.kvm import abi
from kvmdbg.lockstep.compare import Lockstep
from kvmdbg.lockstep.outcome import Difference, Outcome
from kvmdbg.record import replace
from tests.differential.machine import MEMORY
from tests.differential.program import LAYOUTS, CannotAssemble, assemble, joined
from tests.lockstep import instructions
from tests.lockstep.harness import A_PROGRAM, Found
from tests.lockstep.instructions import Chance, Make
from tests.lockstep.listed import listed

MARK = "db e680"
"""out 0x80, al: it changes neither registers nor flags."""
PORT = 0x80
LIMIT = 30.0
FULL_STACK = ("fninit", "fldz", "fldl2e", "fldpi", "fld1", "fldz", "fldln2")
"""What x87 instructions find: six registers of its stack are full, two are free."""
USER, IOPL_3, CODE, DATA = 4, 0x3000, 0x1B, 0x23
CR4_SSE = 0x600
IOPL = ("flag bit 12 of rflags", "flag bit 13 of rflags")


def more_vectors(c: Chance) -> list[str]:
    """SSE3, SSSE3, SSE4.1 and 4.2, and more of SSE2."""
    a, b = f"xmm{c.rng.randrange(16)}", f"xmm{c.rng.randrange(16)}"
    at = f"xmmword ptr [{(int(c.address(), 0) & ~15):#x}]"
    source = c.pick([b, at])
    two = (
        "pshufb phaddw phaddd phsubw pmaddubsw pmulhrsw psignb psignw psignd pabsb pabsw pabsd haddps hsubpd addsubps "
        "pminsb pminsd pminuw pminud pmaxsb pmaxsd pmaxuw pmaxud pmulld pmuldq packusdw pcmpeqq pcmpgtq pmovsxbw "
        "pmovzxwd phminposuw ptest addpd subps divps mulpd sqrtps rcpps minps maxpd cmpeqps cmpltpd cvtps2dq cvttps2dq "
        "cvtps2pd cvtpd2ps movshdup movsldup movddup paddsb paddusw psubsw psubusb pavgw punpckhqdq unpckhpd psrlq "
        "psraw shufps_1 pshuflw_1 "
        "pshufhw_1 palignr_1 pblendw_1 blendps_1 dpps_1 mpsadbw_1 roundps_1 pcmpistri_1 pcmpestrm_1"
    ).split()
    name, _, immediate = c.pick(two).partition("_")
    if immediate:
        return [f"{name} {a}, {source}, {c.rng.randrange(16 if name == 'roundps' else 256):#x}"]
    if c.rng.random() < 0.3:
        scalar = c.pick(["addss", "subsd", "mulss", "divsd", "sqrtss", "minsd", "maxss", "cvtss2sd", "cvtsd2ss"])
        return [f"{scalar} {a}, {b}"]
    if c.rng.random() < 0.2:
        return [c.pick([f"cvtsi2sd {a}, rax", f"cvttsd2si rax, {a}", f"cvtss2si ecx, {a}", f"pextrd edx, {a}, 1",
                        f"pinsrw {a}, ebx, 3", f"movmskps eax, {a}", f"movq rax, {a}", f"movq {a}, rbx"])]  # fmt: skip
    return [f"{name} {a}, {source}"]


KINDS: tuple[tuple[Make, float], ...] = (
    *((make, weight) for make, weight in instructions.KINDS["long"]
      if make.__name__ not in ("divide", "bad", "control", "software_interrupt", "plain")),
    (instructions.vectors, 5), (more_vectors, 8), (instructions.bmi, 4), (instructions.scan, 2),
    (instructions.coprocessor, 3),
)  # fmt: skip


class Marked(Lockstep):
    """Both run freely to the next mark."""

    goes_on = stops.CaughtStop

    def step(self, session: Session, repeated: bool) -> stops.Stop:
        return session.run(timeout=LIMIT)

    def _compared(self, written: list[tuple[int, int]] | None = None, floating: bool = True) -> list[Difference]:
        """IOPL is left out: PVM shows 0."""
        return [one for one in super()._compared(written, floating) if one.what not in IOPL]


def generate(seed: int, count: int) -> tuple[bytes, dict[str, int]]:
    """The image of about ``count`` instructions, and the general registers at its start."""
    rng = Random(f"native {seed}")
    layout = LAYOUTS[0]
    chance = Chance("long", layout, rng)
    registers = {f"r{n}": rng.getrandbits(64) for n in range(8, 16)} | {"r11": 0, "rsp": layout.stack}
    registers |= {name: rng.getrandbits(64) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp")}
    kinds, weights = zip(*KINDS, strict=True)
    code = bytes.fromhex("dbe3 e680")  # fninit
    while count > 0 and layout.code + len(code) < layout.code_end - 0x100:
        lines = rng.choices(kinds, weights)[0](chance)
        if lines[0].split()[0] in ("adcx", "adox") or "pushfq" in lines:
            continue  # the software engine's CPUID has none; and PVM pushes another IOPL
        if lines[-1].startswith(("shld", "shrd")) and not lines[-1].startswith(("shld qword", "shrd qword")):
            continue  # what they leave undefined would go out at the mark
        if lines[0].startswith("f") and not lines[0].startswith("fn"):
            lines = [*FULL_STACK, *lines]
        if rng.random() < 0.3:
            lines = [chance.load(chance.plain()), *lines]
        lines = [line for line in lines if line not in ("cld", "std")]
        labels = any(line.endswith(":") for line in lines)
        marked = [*lines, MARK] if labels else [part for line in lines for part in (line, MARK)]
        try:
            code += joined(assemble("long", marked, layout.code + len(code), {})[0])
        except CannotAssemble:
            continue
        count -= len(lines)
    image = bytearray(layout.stack + 0x1000)
    image[layout.code : layout.code + len(code)] = code + b"\xf4"
    image[layout.data : layout.data_end] = rng.randbytes(layout.data_end - layout.data)
    return bytes(image), registers


def _enter_ring_3(session: Session) -> None:
    layout = LAYOUTS[0]
    for address in (layout.code, layout.data, layout.stack):
        for entry in session.translate(address).entries:
            value = int.from_bytes(session.physical.read(entry.address, entry.size), "little") | USER
            session.physical.write(entry.address, value.to_bytes(entry.size, "little"))
    sregs = abi.kvm_sregs.from_buffer_copy(bytes(session.runner.sregs))
    for name, selector in (("cs", CODE), ("ss", DATA), ("ds", DATA), ("es", DATA)):
        segment = getattr(sregs, name)
        segment.selector, segment.dpl = selector, 3
    sregs.cr4 |= CR4_SSE
    session.runner.set_sregs(sregs)
    session.registers.rflags = 2 | IOPL_3
    session.catch("io", port=PORT)


@contextmanager
def sessions(seed: int, count: int, engines: tuple[str, str]) -> Iterator[tuple[Session, Session]]:
    image, registers = generate(seed, count)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        path = Path(folder) / "program.bin"
        path.write_bytes(image)
        found = []
        for engine in engines:
            session = kvmdbg.open(
                path, format="flat", load=0, entry=LAYOUTS[0].code, memory=MEMORY, mode="long", registers=registers,
                irqchip="none", serial="none", machine="bare", engine=engine,
            )  # fmt: skip
            found.append(opened.enter_context(session))
            _enter_ring_3(session)
        yield found[0], found[1]


def compare(seed: int, count: int, engines: tuple[str, str], found: Found) -> Outcome:
    """Run one program, on behind differences that are listed."""
    with sessions(seed, count, engines) as (first, second):
        both = Marked(first, second, engines)
        while True:
            outcome = both.one()
            if outcome is None:
                continue
            known = None if outcome.same else listed(outcome, engines)
            if known is None:
                break
            found.listed[known] += 1
            both.accept()
            if isinstance(first.last_stop, stops.FatalStop):  # the end of the program, where SVM resets the vCPU
                outcome = replace(outcome, differences=())
                break
        if outcome.same:
            outcome = both.whole() or outcome
    found.instructions += both.instructions
    found.programs += 1
    if not outcome.same:
        found.differences.append((f"native seed {seed}", outcome))
    return outcome


def run(seed: int, count: int, engines: tuple[str, str], tell: Callable[[str], object] = print) -> Found:
    """Programs of seeds from ``seed`` on until ``count`` instructions have been compared."""
    found = Found()
    while found.instructions < count:
        outcome = compare(seed, min(A_PROGRAM, count), engines, found)
        if not outcome.same:
            tell(f"native seed {seed}: {outcome.describe()}")
        seed += 1
    return found
