"""Smoothed times, shares of failures and black holes, each for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.history.blackholes import FIRST_BLOCK, FORGOTTEN_AFTER, LONGEST_BLOCK, BlackHole, State
from pvdrace.history.estimates import RATES_HALF_LIFE, TIMES_HALF_LIFE, TIMES_MAX_AGE, Rate, Times


def test_rfc_6298_s2_the_first_measurement_and_the_next() -> None:
    times = Times(0.100, 0.0)
    assert (times.mean, times.deviation) == (0.100, 0.050)
    assert times.soon == pytest.approx(0.300)
    times.measured(0.180, 1.0)
    assert times.deviation == pytest.approx(0.75 * 0.050 + 0.25 * 0.080)
    assert times.mean == pytest.approx(0.875 * 0.100 + 0.125 * 0.180)


def test_steady_times_are_shown_to_be_steady_and_never_surer_than_the_granularity() -> None:
    times = Times(0.100, 0.0)
    for n in range(1, 60):
        times.measured(0.100, float(n))
    assert times.ready == pytest.approx(0.100)
    assert 0.110 <= times.soon < 0.150


def test_what_is_shown_stays_until_it_is_a_quarter_off() -> None:
    times = Times(0.100, 0.0)
    for n in range(1, 40):
        times.measured(0.100, float(n))
    shown = times.ready, times.soon
    assert not times.measured(0.102, 41.0)
    assert (times.ready, times.soon) == shown
    moved = [times.measured(0.300, 42.0 + n) for n in range(30)]
    assert any(moved)
    assert sum(moved) < 15, "by steps"
    assert times.ready > 0.200


def test_after_a_pause_a_measurement_counts_for_more_and_after_an_hour_alone() -> None:
    times = Times(0.100, 0.0)
    times.measured(0.300, TIMES_HALF_LIFE)
    assert times.mean == pytest.approx(0.200)
    times.measured(0.050, TIMES_HALF_LIFE + TIMES_MAX_AGE)
    assert times.mean == pytest.approx(0.050)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0.001, 60), st.booleans()), min_size=1, max_size=30))
def test_law_a_time_stays_between_the_shortest_and_the_longest(
    steps: list[tuple[float, float, bool]],
) -> None:
    now = 0.0
    times = Times(steps[0][1], now)
    for gap, seconds, bound in steps[1:]:
        now += gap
        shown = times.ready
        age = now - times.at
        times.measured(seconds, now, bound=bound)
        assert age >= TIMES_MAX_AGE or not bound or times.ready >= shown
        assert times.soon > times.ready
    assert min(s for _, s, _ in steps) - 1e-9 <= times.mean <= max(s for _, s, _ in steps) + 1e-9


def test_the_share_of_failures_needs_evidence_and_fades() -> None:
    rate = Rate(0.0)
    assert rate.share(0.0) == 0.0
    rate.count(0, 1, 0.0)
    assert rate.share(0.0) == 0.5, "one failure is not everything"
    rate.count(0, 9, 0.0)
    assert rate.share(0.0) == 0.9
    rate.count(10, 0, 0.0)
    assert rate.share(0.0) == 0.5
    assert rate.share(10 * RATES_HALF_LIFE) == 0.0


def test_a_black_hole_is_probing_blocked_probing_and_allowed() -> None:
    hole = BlackHole(2.0)
    assert hole.state(0.0) is State.PROBING
    assert not hole.failed(0.0, 0.3)
    assert hole.state(1.0) is State.PROBING, "once may be chance"
    assert hole.failed(1.0, 1.3)
    assert hole.state(1.3) is State.BLOCKED
    assert hole.state(1.3 + 2 * FIRST_BLOCK) is State.PROBING
    assert hole.on_probation(1.3 + 2 * FIRST_BLOCK)
    assert hole.worked(30.0)
    assert hole.state(30.0) is State.ALLOWED
    assert not hole.worked(31.0), "nothing new"
    assert not hole.failed(40.0, 40.3), "it begins anew"


def test_each_repetition_doubles_the_block_up_to_a_bound_and_an_hour_forgets() -> None:
    hole, now, spans = BlackHole(), 0.0, []
    for _ in range(7):
        assert hole.failed(now, now)
        spans.append(hole.until - now)
        now = hole.until
    assert spans == [10, 20, 40, 80, 160, LONGEST_BLOCK, LONGEST_BLOCK]
    now = hole.failed_at + FORGOTTEN_AFTER
    assert not hole.on_probation(now)
    assert hole.failed(now, now)
    assert hole.until == now + FIRST_BLOCK


def test_what_began_before_the_last_failure_adds_nothing() -> None:
    hole = BlackHole(2.0)
    hole.failed(0.0, 1.0)
    assert not hole.failed(0.5, 1.5)
    assert hole.failures == 1.0
    assert hole.failed(1.0, 2.0)
