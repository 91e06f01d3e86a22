"""Holding everything anew while the guest runs."""

from __future__ import annotations

from tests.scripted.machine import START, ScriptedSession, profile


def test_traps_that_the_new_plan_has_not_are_taken_out(dbg: ScriptedSession) -> None:
    dbg.let_probe_find(profile())
    holding, traps = dbg.guest.holding, dbg.guest.traps
    stays, goes = dbg.break_at(START + 4), dbg.break_at(START + 8)
    holding.begin(plant=True)
    assert set(traps.under) == {START + 4, START + 8}
    dbg.breakpoints.discard(goes)
    holding.rearm(dbg.runner)
    assert stays.enabled and set(traps.under) == {START + 4}
    traps.lift_all()
