"""Tests of what a race does, as timelines in words on virtual time: no network, no waiting.

Run it: python -m pytest examples/scenario_test.py
"""

from pvdrace.testing.scenario import blackhole, ok, pvd, refused, same, scenario


def test_a_dead_default_costs_its_head_start_once() -> None:
    """The cable answers DNS and loses everything else; wifi asks 50 ms before its head start is over."""
    race = scenario(
        cable=pvd(dns=10, v6=blackhole, v4=blackhole),
        wifi=pvd(dns=20, v6=ok(30)),
    )
    assert same(
        race.timeline(),
        """
          0 ms  cable ? AAAA A
         10 ms  cable -> v6
        200 ms  wifi ? AAAA A
        250 ms  wifi -> v6
        260 ms  cable -> v4
        280 ms  wifi won v6       cable cancelled v6       cable cancelled v4
        """,
    )


def test_a_metered_link_waits_until_all_others_have_failed() -> None:
    """Being metered is no head start that runs out: LTE is silent until wifi has failed."""
    race = scenario(
        wifi=pvd(dns=20, v4=refused(30), cost="unmetered"),
        lte=pvd(dns=40, v6=ok(60), cost="variable"),
    )
    assert same(
        race.timeline(),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v4
         50 ms  wifi x v4 refused       lte ? AAAA A
         90 ms  lte -> v6
        150 ms  lte won v6
        """,
    )
