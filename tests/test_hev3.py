"""Happy Eyeballs version 3 (draft-ietf-happy-happyeyeballs-v3), what it adds to RFC 8305, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from pvdrace.expectation import Expectation
from pvdrace.model import LocalAddress, Route
from pvdrace.testing.scenario import (
    Scenario,
    blackhole,
    impostor,
    ok,
    pvd,
    refused,
    same,
    scenario,
    servfail,
    silent,
    stalls,
)
from replayed import every_scenario_is_replayed as every_scenario_is_replayed

IPV4_ONLY: dict[str, Any] = {
    "addresses": (LocalAddress("10.0.1.2", 24),),
    "routes": (Route("0.0.0.0/0", "10.0.1.1"),),
}
IPV6_ONLY: dict[str, Any] = {
    "addresses": (LocalAddress("2001:db8:1::2", 64),),
    "routes": (Route("::/0", "2001:db8:1::1"),),
}


def check(race: Scenario, expected: str) -> None:
    assert same(race.timeline(), expected), f"\n{race.timeline()}"


# ---------------------------------------------------------------------- s4: asking


def test_s5_a_family_that_has_failed_here_is_asked_for_and_tried_behind_the_other() -> None:
    """RFC 6555 s4.2, HEv3 s5: what is learnt is of one PvD; the family is not given up."""
    known = {"wifi": Expectation(blocked=(6,))}
    check(
        scenario(wifi=pvd(dns=20, v6=ok(30), v4=refused(30)), expected=known),
        """
         0 ms  wifi ? A AAAA
        20 ms  wifi -> v4
        50 ms  wifi x v4 refused  wifi -> v6
        80 ms  wifi won v6
        """,
    )
    unhindered = scenario(wifi=pvd(a=20, aaaa=None, v6=ok(30), v4=ok(30)), expected=known)
    assert unhindered.report.elapsed == pytest.approx(0.05), "nothing waits for the AAAA answer"


@pytest.mark.parametrize(
    ("attributes", "types"),
    [
        ({}, ["AAAA", "A"]),
        (IPV4_ONLY, ["A"]),
        (IPV6_ONLY, ["AAAA"]),
        ({**IPV6_ONLY, "pref64": ("64:ff9b::/96",)}, ["AAAA", "A"]),
    ],
)
def test_s4_1_only_families_that_the_pvd_has_are_asked_for(
    attributes: dict[str, Any], types: list[str]
) -> None:
    race = scenario(wifi=pvd(dns=20, v6=ok(30), v4=ok(30), **attributes))
    assert [lookup.type for lookup in race.report.lookups] == types


def test_s4_2_the_preferred_family_of_an_ipv4_network_is_ipv4() -> None:
    check(
        scenario(wifi=pvd(dns=20, v4=ok(30), **IPV4_ONLY)),
        """
         0 ms  wifi ? A
        20 ms  wifi -> v4
        50 ms  wifi won v4
        """,
    )


def test_s4_2_an_error_for_the_preferred_family_is_a_negative_answer() -> None:
    check(
        scenario(wifi=pvd(aaaa=servfail(30), a=10, v4=ok(30))),
        """
         0 ms  wifi ? AAAA A
        30 ms  wifi x AAAA SERVFAIL       wifi -> v4
        60 ms  wifi won v4
        """,
    )


# ---------------------------------------------------------------------- s5: history


def test_s5_history_of_one_pvd_does_not_speak_for_another() -> None:
    """LTE was quick to the second address: that says nothing about wifi, for order or for delay."""
    race = scenario(
        rtt={"lte": {"2001:db8:99::2": 0.060}},
        wifi=pvd(dns=20, v6=(blackhole, blackhole)),
        lte=pvd(dns=20, v6=(ok(10), ok(500))),
    )
    wifi = [a for a in race.report.attempts if a.pvd == "wifi"]
    lte = [a for a in race.report.attempts if a.pvd == "lte"]
    assert [a.remote for a in wifi] == ["2001:db8:99::1", "2001:db8:99::2"]
    assert [a.started for a in wifi] == pytest.approx([0.020, 0.270])
    assert [a.remote for a in lte] == ["2001:db8:99::2", "2001:db8:99::1"]
    assert [a.started for a in lte] == pytest.approx([0.250, 0.370])


# ---------------------------------------------------------------------- s6: success is readiness


def test_s6_1_the_winner_is_decided_at_readiness_not_at_the_handshake() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=stalls(30), v4=ok(30, tls=40))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
         50 ms  wifi connected v6
        270 ms  wifi -> v4
        300 ms  wifi connected v4
        340 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s6_1_tls_failure_goes_on_with_the_next_at_once() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=impostor(30, 40), v4=ok(30, tls=40))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
         50 ms  wifi connected v6
         90 ms  wifi x v6 wrong certificate       wifi -> v4
        120 ms  wifi connected v4
        160 ms  wifi won v4
        """,
    )


def test_s6_1_progress_extends_the_timer_to_where_readiness_is_expected() -> None:
    """Connected after 200 ms: two round trips more are expected, so the next starts at 20 + 200 + 400."""
    check(
        scenario(wifi=pvd(dns=20, v6=stalls(200), v4=ok(30, tls=30))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        220 ms  wifi connected v6
        620 ms  wifi -> v4
        650 ms  wifi connected v4
        680 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s6_1_progress_never_shortens_the_timer() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=stalls(10), v4=ok(30))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
         30 ms  wifi connected v6
        270 ms  wifi -> v4
        300 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s6_1_the_extension_is_at_most_the_maximum_attempt_delay() -> None:
    check(
        scenario(wifi=pvd(dns=20, aaaa=20, a=5000, v6=stalls(1500), v4=ok(30))),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
        1520 ms  wifi connected v6
        5000 ms  wifi -> v4
        5030 ms  wifi won v4       wifi cancelled v6
        """,
    )
    check(
        scenario(wifi=pvd(dns=20, aaaa=20, a=1600, v6=stalls(1500), v4=ok(30))),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
        1520 ms  wifi connected v6
        3520 ms  wifi -> v4
        3550 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s6_1_deliberate_progress_extends_the_head_start_of_the_next_pvd_too() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=ok(200, tls=390)), lte=pvd(dns=20, v6=ok(10))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        200 ms  lte ? AAAA A
        220 ms  wifi connected v6
        610 ms  wifi won v6
        """,
    )


# ---------------------------------------------------------------------- the first handshake decides


def test_hold_the_first_handshake_decides_and_rivals_are_held_back() -> None:
    check(
        scenario(hold=True, wifi=pvd(dns=20, v6=ok(400, tls=100), v4=ok(200, tls=1000))),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
         270 ms  wifi -> v4
         420 ms  wifi connected v6       wifi held back v4
         520 ms  wifi won v6
        """,
    )


def test_hold_nothing_new_starts_while_the_leader_is_not_ready() -> None:
    check(
        scenario(
            hold=True,
            wifi=pvd(dns=20, v6=ok(100, tls=3000), v4=ok(10)),
            lte=pvd(dns=20, v6=ok(10)),
        ),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
         120 ms  wifi connected v6
        3120 ms  wifi won v6
        """,
    )


def test_hold_tls_failure_of_the_leader_resumes_what_was_held_back_in_its_order() -> None:
    check(
        scenario(
            hold=True,
            wifi=pvd(dns=20, v6=(blackhole, refused(10), blackhole), v4=(impostor(300, 80), ok(20))),
        ),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
         270 ms  wifi -> v4
         520 ms  wifi -> v6#2
         530 ms  wifi x v6#2 refused       wifi -> v4#2
         550 ms  wifi won v4#2       wifi cancelled v6       wifi cancelled v4
        """,
    )
    check(
        scenario(
            hold=True,
            wifi=pvd(dns=20, v6=(blackhole, impostor(100, 80)), v4=(blackhole, ok(20, tls=20))),
        ),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
         270 ms  wifi -> v4
         520 ms  wifi -> v6#2
         620 ms  wifi connected v6#2       wifi held back v6       wifi held back v4
         700 ms  wifi x v6#2 wrong certificate       wifi -> v6
         950 ms  wifi -> v4
        1200 ms  wifi -> v4#2
        1220 ms  wifi connected v4#2       wifi held back v6       wifi held back v4
        1240 ms  wifi won v4#2
        """,
    )


def test_hold_an_answer_that_comes_meanwhile_is_sorted_in_with_what_was_held_back() -> None:
    check(
        scenario(hold=True, wifi=pvd(aaaa=20, a=400, v6=(blackhole, impostor(100, 200)), v4=ok(10))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        270 ms  wifi -> v6#2
        370 ms  wifi connected v6#2       wifi held back v6
        570 ms  wifi x v6#2 wrong certificate       wifi -> v6
        820 ms  wifi -> v4
        830 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_hold_resumes_in_every_pvd_whose_head_start_is_over() -> None:
    check(
        scenario(
            hold=True,
            wifi=pvd(dns=20, v6=impostor(300, 100)),
            lte=pvd(dns=20, v6=ok(100, tls=10)),
        ),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        200 ms  lte ? AAAA A
        250 ms  lte -> v6
        320 ms  wifi connected v6       lte held back v6
        420 ms  wifi x v6 wrong certificate       lte -> v6
        520 ms  lte connected v6
        530 ms  lte won v6
        """,
    )


def test_hold_a_leader_that_falls_silent_is_given_up_and_the_race_goes_on() -> None:
    race = scenario(hold=True, wifi=pvd(dns=20, v6=stalls(30), v4=ok(30)))
    assert race.won
    assert race.report.attempts[1].started == pytest.approx(0.020 + 0.030 + 10)


def test_hold_the_leaders_pvd_goes_away_and_the_race_goes_on() -> None:
    check(
        scenario(
            hold=True,
            withdraw={"wifi": 330},
            wifi=pvd(dns=20, v6=stalls(300)),
            lte=pvd(dns=20, v6=ok(100)),
        ),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        200 ms  lte ? AAAA A
        250 ms  lte -> v6
        320 ms  wifi connected v6       lte held back v6
        330 ms  wifi withdrawn: link removed       wifi cancelled v6       lte -> v6
        430 ms  lte won v6
        """,
    )


def test_s4_2_the_preferred_family_is_that_of_the_policy_table() -> None:
    """RFC 6724 s10.3: where IPv4 comes first, A is asked first and is what the Resolution Delay waits for."""
    check(
        scenario(wifi=pvd(aaaa=10, a=30, v6=ok(5), v4=ok(30), address_table="rfc6724-ipv4-first")),
        """
          0 ms  wifi ? A AAAA
         30 ms  wifi -> v4
         60 ms  wifi won v4
        """,
    )
    check(
        scenario(wifi=pvd(aaaa=10, a=silent, v6=ok(5), v4=ok(30), address_table="rfc6724-ipv4-first")),
        """
          0 ms  wifi ? A AAAA
         60 ms  wifi -> v6
         65 ms  wifi won v6       wifi cancelled A
        """,
    )


# ---------------------------------------------------------------------- s7: the whole list anew


def test_s7_re_sorting_counts_what_is_in_flight() -> None:
    """IPv6 is in flight and the first of IPv6 left: IPv4, arriving late, is the next all the same."""
    race = scenario(wifi=pvd(aaaa=20, a=200, v6=(blackhole,) * 3, v4=(blackhole, ok(10))))
    assert [a.family for a in race.report.attempts] == [6, 4, 6, 4]
