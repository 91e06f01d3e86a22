"""How breakpoints and watchpoints are held, on made-up hosts. DR7's bits: Intel SDM volume 3B, section 17.2.4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.engine.arming import STEPPING, Plan, View, make_plan, pieces
from kvmdbg.engine.breakpoints import NOT_AT_ALL, PLANTED, STEPPED, Breakpoint, Watchpoint
from kvmdbg.engine.probe import HLT, INT1, INT3, Behaviour, HostProfile
from kvmdbg.errors import NotSupportedHere
from kvmdbg.machine.memory import Guard
from kvmdbg.record import replace

UNMAPPED = 0xDEAD0000


def host(
    trap: int | None = INT3,
    *,
    execute: bool = True,
    data: bool = True,
    user: int | None = INT3,
    **modes: Behaviour,
) -> HostProfile:
    """A host that behaves the same in every mode but user code and those given."""
    kernel = Behaviour(trap, execute, data, True)
    by_mode = dict.fromkeys(("real", "prot32", "long"), kernel)
    by_mode["user"] = Behaviour(user, execute and user is not None, data, True)
    return HostProfile(
        by_mode | modes,
        steps_into_handlers=True,
        leaks_trap_flag=False,
        steps_iret=True,
        halts_late=False,
        runs_on=False,
        int1_before=False,
        out_is_past=False,
        guards_restart=False,
        step_trap_waits=False,
    )


HARDWARE = host()
SOFTWARE = host(INT1, data=False, user=None)
NO_REGISTERS = host(HLT, execute=False, data=False, user=HLT)


def identity(linear: int) -> int | None:
    return None if linear & -0x10000 == UNMAPPED else linear


def view(
    translate: Callable[[int], int | None] = identity,
    *,
    user: Sequence[int] = (),
    paging: Sequence[int] = (),
    system: Sequence[int] = (),
    unguardable: Sequence[int] = (),
    irqchip: bool = False,
) -> View:
    return View(
        translate,
        identity,
        lambda linear: linear in user,
        frozenset(paging),
        frozenset(system),
        frozenset(unguardable),
        irqchip,
    )


def plan_for(
    *points: Breakpoint | Watchpoint, profile: HostProfile = HARDWARE, at: View | None = None, hold: str = "auto"
) -> Plan:
    return make_plan(
        [p for p in points if isinstance(p, Breakpoint)],
        [p for p in points if isinstance(p, Watchpoint)],
        profile,
        at or view(),
        hold,
    )


def breaks(*addresses: int, **options: Any) -> list[Breakpoint]:
    return [Breakpoint(address, **options) for address in addresses]


def held(plan: Plan) -> list[int]:
    """The addresses in debug registers."""
    return [address for address, _, _ in plan.debug_registers]


# --- breakpoints ---------------------------------------------------------------------------------------


def test_four_in_debug_registers_the_fifth_is_a_trap_on_a_guarded_page() -> None:
    points = breaks(0x1000, 0x1010, 0x1020, 0x1030, 0x2345)
    plan = plan_for(*points)
    assert held(plan) == [0x1000, 0x1010, 0x1020, 0x1030]
    assert [p.held_by for p in points] == ["debug register"] * 4 + ["int3 trap"]
    assert (plan.trap, plan.traps, plan.trap_of_linear) == (INT3, {0x2345}, {0x2345: 0x2345})
    assert plan.guards == {0x2000: Guard.READ_ONLY}
    assert plan.by_linear == {point.address: [point] for point in points}
    assert not plan.stepping


def test_two_at_one_address_share_a_register() -> None:
    points = breaks(0x1000, 0x1000, 0x1001, 0x1002, 0x1003)
    plan = plan_for(*points)
    assert held(plan) == [0x1000, 0x1001, 0x1002, 0x1003]
    assert {p.held_by for p in points} == {"debug register"}
    assert plan.by_linear[0x1000] == points[:2]


def test_a_disabled_point_holds_nothing() -> None:
    point, watch = Breakpoint(0x1000), Watchpoint(0x2000, 4)
    point.enabled = watch.enabled = False
    plan = plan_for(point, watch)
    assert (plan.debug_registers, plan.traps, plan.guards, plan.by_linear, plan.watched) == ([], set(), {}, {}, {})
    assert (point.held_by, watch.held_by) == ("", "")


@pytest.mark.parametrize(("trap", "name"), [(INT3, "int3"), (INT1, "int1"), (HLT, "hlt")])
def test_without_debug_registers_the_trap_that_the_host_has(trap: int, name: str) -> None:
    (point,) = breaks(0x1000)
    plan = plan_for(point, profile=host(trap, execute=False, user=trap))
    assert (plan.trap, plan.traps, point.held_by) == (trap, {0x1000}, f"{name} trap")
    assert plan.debug_registers == []


def test_hlt_is_no_trap_with_the_irqchip_in_the_kernel() -> None:
    (point,) = breaks(0x1000)
    plan = plan_for(point, profile=NO_REGISTERS, at=view(irqchip=True))
    assert (plan.trap, plan.traps, plan.guards) == (None, set(), {})
    assert plan.stepping
    assert point.held_by == STEPPING
    assert plan_for(point, profile=host(INT1, execute=False), at=view(irqchip=True)).traps == {0x1000}


@pytest.mark.parametrize("trap", [None, HLT], ids=["no trap", "another trap"])
def test_a_mode_that_differs_rules_out_traps_and_registers(trap: int | None) -> None:
    (point,) = breaks(0x1000)
    plan = plan_for(point, profile=host(INT3, real=Behaviour(trap, False, True, True)))
    assert (plan.trap, plan.traps, plan.debug_registers) == (None, set(), [])
    assert point.held_by == STEPPING


def test_hardware_breakpoints_go_first() -> None:
    soft, hard = breaks(0x1000, 0x1010, 0x1020, 0x1030), breaks(0x2000, 0x2010, hardware=True)
    plan = plan_for(*soft, *hard)
    assert held(plan) == [0x2000, 0x2010, 0x1000, 0x1010]
    assert [p.held_by for p in soft] == ["debug register"] * 2 + ["int3 trap"] * 2


def test_hardware_breakpoints_go_before_watchpoints() -> None:
    hard, watch = breaks(0x1000, 0x1010, 0x1020, 0x1030, hardware=True), Watchpoint(0x5000, 4)
    plan = plan_for(watch, *hard)
    assert held(plan) == [0x1000, 0x1010, 0x1020, 0x1030]
    assert watch.held_by == "page read-only"


def test_hardware_breakpoints_go_before_unmapped_ones() -> None:
    """``hardware`` insists on a register; the others have stepping to fall back on."""
    unmapped, (hard,) = breaks(*(UNMAPPED + n for n in range(4))), breaks(0x1000, hardware=True)
    plan = plan_for(*unmapped, hard)
    assert hard.held_by == "debug register"
    assert [p.held_by for p in unmapped] == ["debug register"] * 3 + [STEPPING]
    assert plan.stepping


def test_an_unmapped_address_takes_a_register_before_others() -> None:
    points = breaks(0x1000, 0x1010, 0x1020, 0x1030, UNMAPPED)
    plan = plan_for(*points)
    assert held(plan)[0] == UNMAPPED
    assert points[3].held_by == "int3 trap"
    assert not plan.stepping


def test_an_unmapped_address_without_registers_is_stepped_to() -> None:
    (point,) = breaks(UNMAPPED)
    plan = plan_for(point, profile=NO_REGISTERS)
    assert (plan.stepping, plan.traps, point.held_by) == (True, set(), STEPPING)
    assert plan.by_linear == {UNMAPPED: [point]}


def test_what_is_not_mapped_yet_lies_where_it_was_loaded() -> None:
    (point,) = breaks(0xFFFFFFFF80100000)
    linked = replace(view(lambda linear: None), loaded_at=lambda linear: linear - 0xFFFFFFFF80000000)
    plan = plan_for(point, profile=NO_REGISTERS, at=linked)
    assert (plan.traps, plan.trap_of_linear) == ({0x100000}, {0xFFFFFFFF80100000: 0x100000})
    assert point.held_by == "hlt trap" and not plan.stepping
    nowhere = replace(linked, in_ram=lambda physical: None)
    assert plan_for(point, profile=NO_REGISTERS, at=nowhere).stepping


def test_traps_lie_at_the_physical_address() -> None:
    point, physical = Breakpoint(0xC0101234), Breakpoint(0x101234, space="phys")
    at = view(lambda linear: linear - 0xC0000000 if linear >> 30 == 3 else None)
    plan = plan_for(point, physical, profile=NO_REGISTERS, at=at)
    assert plan.traps == {0x101234}
    assert plan.trap_of_linear == {0xC0101234: 0x101234}
    assert plan.guards == {0x101000: Guard.READ_ONLY}
    assert (plan.by_linear, plan.by_physical) == ({0xC0101234: [point]}, {0x101234: [physical]})


def test_a_physical_breakpoint_is_never_in_a_register() -> None:
    point = Breakpoint(0x1000, space="phys", hardware=True)
    assert held(plan_for(point)) == []
    assert point.held_by == "int3 trap"


def test_no_trap_is_planted_where_user_code_would_get_it() -> None:
    user, kernel = breaks(0x1000, 0x2000)
    for_the_kernel = host(INT1, execute=False, user=None)
    plan = plan_for(user, kernel, profile=for_the_kernel, at=view(user=[0x1000]))
    assert plan.stepping and not plan.traps
    assert (user.held_by, kernel.held_by) == ("stepping", "stepping")
    plan_for(user, profile=host(INT1, execute=False, user=INT1), at=view(user=[0x1000]))
    assert user.held_by == "int1 trap"
    by_address = Breakpoint(0x1000, space="phys")
    assert plan_for(by_address, profile=for_the_kernel, at=view(user=[0x1000])).stepping


def test_a_trap_that_user_code_would_get_is_refused_to_who_insists_on_it() -> None:
    user, kernel = breaks(0x1000, 0x2000)
    user.number = 1
    assert plan_for(kernel, profile=host(INT1, user=None), at=view(user=[0x1000]), hold=PLANTED).traps
    with pytest.raises(NotSupportedHere, match="the page is for user code"):
        plan_for(user, profile=host(INT1, user=None), at=view(user=[0x1000]), hold=PLANTED)


def test_a_debug_register_says_where_it_does_not_fire() -> None:
    user, kernel = breaks(0x1000, 0x2000)
    plan_for(user, kernel, profile=host(INT1, user=None), at=view(user=[0x1000]))
    assert (user.held_by, kernel.held_by) == ("debug register (CPL 0 only on this KVM)", "debug register")


def test_a_trap_among_page_tables_is_not_guarded() -> None:
    plan = plan_for(*breaks(0x1000, 0x2000), profile=NO_REGISTERS, at=view(paging=[0x1000]))
    assert plan.traps == {0x1000, 0x2000}
    assert plan.guards == {0x2000: Guard.READ_ONLY}


# --- watchpoints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "profile", "expected", "guard"),
    [
        ("write", HARDWARE, "debug register", None),
        ("access", HARDWARE, "debug register", None),
        ("read", HARDWARE, "page withdrawn", Guard.WITHDRAWN),
        ("write", SOFTWARE, "page read-only", Guard.READ_ONLY),
        ("access", SOFTWARE, "page withdrawn", Guard.WITHDRAWN),
        ("read", SOFTWARE, "page withdrawn", Guard.WITHDRAWN),
    ],
)
def test_each_kind(kind: str, profile: HostProfile, expected: str, guard: Guard | None) -> None:
    watch = Watchpoint(0x5004, 4, kind=kind)
    plan = plan_for(watch, profile=profile)
    assert watch.held_by == expected
    assert plan.guards == ({0x5000: guard} if guard else {})
    assert plan.holds_data_in_registers == (guard is None)
    assert not plan.stepping


def test_a_watch_takes_as_many_registers_as_it_has_pieces_or_none() -> None:
    odd, wide, small = Watchpoint(0x5001, 7), Watchpoint(0x6000, 16), Watchpoint(0x7000, 8)
    plan = plan_for(odd, wide, small)
    assert held(plan) == [0x5001, 0x5002, 0x5004, 0x7000]
    assert [w.held_by for w in (odd, wide, small)] == ["debug register", "page read-only", "debug register"]


def test_a_watch_over_pages_has_a_range_on_each() -> None:
    watch = Watchpoint(0x5FF0, 0x1020)
    plan = plan_for(watch, at=view(lambda linear: {5: 0x20000, 6: 0x9000, 7: 0x30000}[linear >> 12] | linear & 0xFFF))
    assert watch.held_by == "page read-only"
    assert {page: [(s.start, s.end, s.linear) for s in spans] for page, spans in plan.watched.items()} == {
        0x20000: [(0x20FF0, 0x21000, 0x5FF0)],
        0x9000: [(0x9000, 0xA000, 0x6000)],
        0x30000: [(0x30000, 0x30010, 0x7000)],
    }
    assert plan.guards == dict.fromkeys(plan.watched, Guard.READ_ONLY)


def test_a_physical_watch_is_never_in_a_register() -> None:
    watch = Watchpoint(0x5000, 4, space="phys")
    plan = plan_for(watch, at=view(lambda linear: None))
    assert (held(plan), watch.held_by) == ([], "page read-only")
    assert plan.watched[0x5000][0].watch is watch


@pytest.mark.parametrize("kinds", [("write", "read"), ("read", "write")])
def test_of_two_guards_on_a_page_the_stronger_holds(kinds: tuple[str, str]) -> None:
    watches = [Watchpoint(0x5000 + n * 8, 4, kind=kind) for n, kind in enumerate(kinds)]
    plan = plan_for(*watches, *breaks(0x5800), profile=host(INT1, execute=False, data=False))
    assert plan.guards == {0x5000: Guard.WITHDRAWN}
    assert len(plan.watched[0x5000]) == 2
    assert plan.traps == {0x5800}


@pytest.mark.parametrize(
    ("kind", "at", "stepped"),
    [
        ("write", view(paging=[0x5000]), True),
        ("read", view(paging=[0x5000]), True),
        ("write", view(system=[0x5000]), False),
        ("access", view(system=[0x5000]), True),
        ("write", view(lambda linear: None), True),
        ("write", view(paging=[0x6000]), True),
        ("write", view(paging=[0x7000]), False),
    ],
    ids=["tables", "tables read", "gdt written", "gdt read", "unmapped", "its second page", "another page"],
)
def test_what_cannot_be_guarded_is_stepped(kind: str, at: View, stepped: bool) -> None:
    watch = Watchpoint(0x5FFC, 8, kind=kind)
    plan = plan_for(watch, profile=SOFTWARE, at=at)
    assert plan.stepping == stepped
    assert plan.stepped == ([watch] if stepped else [])
    assert (watch.held_by == STEPPING) == stepped
    assert bool(plan.guards) == bool(plan.watched) == (not stepped)


# --- debug registers -----------------------------------------------------------------------------------


def dr7_fields(dr7: int, number: int) -> tuple[bool, int, int]:
    """(enabled, R/W field, length in bytes) of one debug register."""
    length = {0: 1, 1: 2, 2: 8, 3: 4}[dr7 >> 18 + 4 * number & 3]
    return bool(dr7 >> 2 * number & 3), dr7 >> 16 + 4 * number & 3, length


def test_dr7() -> None:
    plan = plan_for(
        Breakpoint(0x1000, hardware=True),
        Watchpoint(0x5000, 8),
        Watchpoint(0x5010, 4, kind="access"),
        Watchpoint(0x5022, 2),
    )
    execute, write, access = 0, 1, 3
    assert [dr7_fields(plan.dr7, n) for n in range(4)] == [
        (True, execute, 1),
        (True, write, 8),
        (True, access, 4),
        (True, write, 2),
    ]
    assert plan.dr7 & 0xFF00 == 0x0400  # bit 10 is always 1; no GD, no RTM
    assert [dr7_fields(plan.dr7_data_only(), n) for n in range(4)] == [
        (False, 0, 1),
        (True, write, 8),
        (True, access, 4),
        (True, write, 2),
    ]
    assert Plan().dr7 == Plan().dr7_data_only() == 0x400


ADDRESSES = st.one_of(st.integers(0, 0x10010), st.integers((1 << 64) - 0x10000, (1 << 64) - 0x200))


@given(ADDRESSES, st.integers(1, 0x100))
def test_pieces_cover_exactly_and_are_aligned(address: int, length: int) -> None:
    found = pieces(address, length)
    assert [byte for at, size in found for byte in range(at, at + size)] == list(range(address, address + length))
    assert all(size in (1, 2, 4, 8) and at % size == 0 for at, size in found)
    for (at, size), (_, after) in pairwise(found):
        assert size == 8 or after != size or at % (2 * size), "two that one would do for"


KINDS = st.sampled_from(["write", "read", "access"])
POINTS = st.lists(
    st.one_of(
        st.builds(
            Breakpoint,
            st.integers(0, 0x7FFF) | st.just(UNMAPPED),
            space=st.sampled_from(["linear", "phys"]),
            hardware=st.booleans(),
        ),
        st.builds(
            Watchpoint,
            st.integers(0, 0x7FFF),
            st.integers(1, 0x1800),
            kind=KINDS,
            space=st.sampled_from(["linear", "phys"]),
        ),
    ),
    max_size=10,
)
HOSTS = st.builds(
    host, st.sampled_from([INT3, INT1, HLT, None]), execute=st.booleans(), data=st.booleans(), user=st.just(None)
)


@given(POINTS, HOSTS, st.booleans())
def test_every_point_is_held(points: list[Breakpoint | Watchpoint], profile: HostProfile, irqchip: bool) -> None:
    at = view(paging=[0x3000], system=[0x4000], irqchip=irqchip)
    plan = plan_for(*points, profile=profile, at=at)
    registers: list[object] = [point for _, _, point in plan.debug_registers]
    assert len(registers) <= 4
    assert 0x3000 not in plan.guards
    spans = [span for spans in plan.watched.values() for span in spans]
    for point in points:
        if point.held_by == STEPPING:
            assert plan.stepping
            assert isinstance(point, Breakpoint) or point in plan.stepped
        elif isinstance(point, Watchpoint) and point.held_by != "debug register":
            mine = [span for span in spans if span.watch is point]
            assert sum(span.end - span.start for span in mine) == point.length
            assert all(plan.guards[span.start & -0x1000] is Guard.WITHDRAWN for span in mine) or not point.wants_read
        elif point.held_by == "debug register":
            assert point in registers or any(point.address == address for address, _, _ in plan.debug_registers)
        else:
            assert point.held_by.startswith(("int3 trap", "int1 trap", "hlt trap"))
            assert point.address in plan.traps
    if plan.trap == HLT:
        assert not irqchip


def numbered(*addresses: int, **options: Any) -> list[Breakpoint]:
    """Breakpoints of the user's."""
    points = breaks(*addresses, **options)
    for number, point in enumerate(points, 1):
        point.number = number
    return points


def test_held_by_stepping_only() -> None:
    points = numbered(0x1000, 0x2000)
    hardware = Breakpoint(0x3000, hardware=True)
    plan = plan_for(*points, hardware, hold="stepping")
    assert (plan.stepping, plan.traps, plan.guards, held(plan)) == (True, set(), {}, [0x3000])
    assert [point.held_by for point in points] == [STEPPING, STEPPING]


def test_held_by_traps_only() -> None:
    (point,) = numbered(0x1000)
    plan = plan_for(point, hold="planted")
    assert (held(plan), plan.traps, point.held_by) == ([], {0x1000}, "int3 trap")
    plan = plan_for(point, at=view(unguardable=[0x1000]), hold="planted")
    assert (plan.traps, plan.guards, plan.stepping) == ({0x1000}, {}, False)
    with pytest.raises(NotSupportedHere, match="breakpoint 1 cannot be held by a planted trap: no memory is mapped"):
        plan_for(*numbered(UNMAPPED), hold="planted")
    with pytest.raises(NotSupportedHere, match="none exits on this KVM with the chips in the kernel"):
        plan_for(point, profile=NO_REGISTERS, at=view(irqchip=True), hold="planted")


def test_held_by_debug_registers_only() -> None:
    points = numbered(0x1000, 0x1001, 0x1002, 0x1003)
    plan = plan_for(Watchpoint(0x5000, 4), *points, hold="register")
    assert (held(plan), plan.traps, plan.stepping) == ([0x1000, 0x1001, 0x1002, 0x1003], set(), False)
    with pytest.raises(NotSupportedHere, match="breakpoint 5 cannot be held in a debug register: all four are taken"):
        plan_for(*numbered(0x1000, 0x1001, 0x1002, 0x1003, 0x1004), hold="register")
    with pytest.raises(NotSupportedHere, match="debug registers do not fire"):
        plan_for(points[0], profile=NO_REGISTERS, hold="register")
    with pytest.raises(NotSupportedHere, match="a linear address"):
        plan_for(*numbered(0x1000, space="phys"), hold="register")


def test_a_breakpoint_of_the_debuggers_own_steps_where_no_register_is_left() -> None:
    own = Breakpoint(0x2000)
    plan = plan_for(*numbered(0x1000, 0x1001, 0x1002, 0x1003), own, hold="register")
    assert (plan.stepping, plan.traps, own.held_by) == (True, set(), STEPPING)


def test_what_may_be_data_is_never_planted_on() -> None:
    handler, lidt = breaks(0x1000, 0x2000)
    handler.without_register, lidt.without_register = STEPPED, NOT_AT_ALL
    plan = plan_for(lidt, profile=NO_REGISTERS)
    assert (plan.stepping, plan.traps, lidt.held_by) == (False, set(), "")
    plan = plan_for(handler, lidt, profile=NO_REGISTERS, hold="planted")
    assert (plan.stepping, plan.traps) == (True, set())
    plan = plan_for(handler, lidt, hold="planted")
    assert (held(plan), plan.traps) == ([0x1000, 0x2000], set())


def test_a_trap_without_a_guard() -> None:
    (point,) = breaks(0x1000)
    point.guarded = False
    plan = plan_for(point, profile=NO_REGISTERS)
    assert (plan.traps, plan.guards) == ({0x1000}, {})
