"""RFC 8305, Happy Eyeballs version 2: one provisioning domain, on virtual time."""

from __future__ import annotations

import pytest

from pvdrace.model import LocalAddress, Route
from pvdrace.race.pacing import Pacing
from pvdrace.testing.scenario import (
    Scenario,
    blackhole,
    nodata,
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


def check(race: Scenario, expected: str) -> None:
    assert same(race.timeline(), expected), f"\n{race.timeline()}"


# ---------------------------------------------------------------------- s3: asking


def test_s3_aaaa_is_asked_before_a_back_to_back() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=ok(30), v4=ok(30))),
        """
         0 ms  wifi ? AAAA A
        20 ms  wifi -> v6
        50 ms  wifi won v6
        """,
    )


def test_s3_a_positive_aaaa_answer_starts_at_once_while_a_is_open() -> None:
    check(
        scenario(wifi=pvd(aaaa=10, a=500, v6=ok(30), v4=ok(1))),
        """
         0 ms  wifi ? AAAA A
        10 ms  wifi -> v6
        40 ms  wifi won v6       wifi cancelled A
        """,
    )


def test_s3_resolution_delay_runs_from_the_first_a_answer_not_from_the_question() -> None:
    check(
        scenario(wifi=pvd(aaaa=400, a=100, v6=ok(30), v4=ok(30))),
        """
          0 ms  wifi ? AAAA A
        150 ms  wifi -> v4
        180 ms  wifi won v4       wifi cancelled AAAA
        """,
    )


def test_s3_aaaa_within_the_resolution_delay_goes_first_at_once() -> None:
    check(
        scenario(wifi=pvd(aaaa=40, a=10, v6=ok(30), v4=ok(1))),
        """
         0 ms  wifi ? AAAA A
        40 ms  wifi -> v6
        70 ms  wifi won v6
        """,
    )


def test_s3_aaaa_on_the_last_instant_of_the_resolution_delay_still_goes_first() -> None:
    """Results are handled before the timer when both are due."""
    check(
        scenario(wifi=pvd(aaaa=60, a=10, v6=ok(30), v4=ok(1))),
        """
         0 ms  wifi ? AAAA A
        60 ms  wifi -> v6
        90 ms  wifi won v6
        """,
    )


def test_s3_a_negative_aaaa_answer_ends_the_resolution_delay() -> None:
    check(
        scenario(wifi=pvd(aaaa=nodata(25), a=10, v4=ok(30))),
        """
         0 ms  wifi ? AAAA A
        25 ms  wifi -> v4
        55 ms  wifi won v4
        """,
    )


def test_s3_deliberate_a_failed_aaaa_lookup_ends_the_resolution_delay_too() -> None:
    check(
        scenario(wifi=pvd(aaaa=servfail(25), a=10, v4=ok(30))),
        """
         0 ms  wifi ? AAAA A
        25 ms  wifi x AAAA SERVFAIL       wifi -> v4
        55 ms  wifi won v4
        """,
    )


def test_s3_an_aaaa_that_failed_before_leaves_nothing_to_wait_for() -> None:
    check(
        scenario(wifi=pvd(aaaa=servfail(5), a=10, v4=ok(30))),
        """
         0 ms  wifi ? AAAA A
         5 ms  wifi x AAAA SERVFAIL
        10 ms  wifi -> v4
        40 ms  wifi won v4
        """,
    )


def test_s3_silence_about_aaaa_costs_the_resolution_delay_and_no_more() -> None:
    check(
        scenario(wifi=pvd(aaaa=silent, a=10, v4=ok(30))),
        """
         0 ms  wifi ? AAAA A
        60 ms  wifi -> v4
        90 ms  wifi won v4       wifi cancelled AAAA
        """,
    )


def test_s3_a_failed_a_lookup_does_not_hold_ipv6_up() -> None:
    check(
        scenario(wifi=pvd(aaaa=30, a=servfail(5), v6=ok(30))),
        """
         0 ms  wifi ? AAAA A
         5 ms  wifi x A SERVFAIL
        30 ms  wifi -> v6
        60 ms  wifi won v6
        """,
    )


def test_s3_both_lookups_failed() -> None:
    check(
        scenario(wifi=pvd(aaaa=servfail(5), a=servfail(10))),
        """
         0 ms  wifi ? AAAA A
         5 ms  wifi x AAAA SERVFAIL
        10 ms  wifi x A SERVFAIL       lost: no address found
        """,
    )


def test_s3_both_answers_negative() -> None:
    check(
        scenario(wifi=pvd(dns=nodata(10))),
        """
         0 ms  wifi ? AAAA A
        10 ms  lost: no address found
        """,
    )


def test_s3_a_later_aaaa_joins_while_an_ipv4_attempt_is_in_flight() -> None:
    check(
        scenario(wifi=pvd(aaaa=100, a=10, v6=ok(30), v4=blackhole)),
        """
          0 ms  wifi ? AAAA A
         60 ms  wifi -> v4
        310 ms  wifi -> v6
        340 ms  wifi won v6       wifi cancelled v4
        """,
    )


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.2])
def test_s8_resolution_delay_is_configurable(delay: float) -> None:
    race = scenario(pacing=Pacing(resolution_delay=delay), wifi=pvd(aaaa=silent, a=10, v4=ok(30)))
    assert race.report.attempts[0].started == pytest.approx(0.010 + delay)


# ---------------------------------------------------------------------- s4: sorting


def test_s4_families_alternate() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=(blackhole, blackhole, ok(10)), v4=(blackhole, blackhole))),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
         270 ms  wifi -> v4
         520 ms  wifi -> v6#2
         770 ms  wifi -> v4#2
        1020 ms  wifi -> v6#3
        1030 ms  wifi won v6#3  wifi cancelled v6  wifi cancelled v4  wifi cancelled v6#2  wifi cancelled v4#2
        """,
    )


def test_s4_preferred_family_count_of_two_puts_two_ipv6_first() -> None:
    check(
        scenario(
            pacing=Pacing(preferred_address_family_count=2),
            wifi=pvd(dns=20, v6=(refused(1), refused(1), ok(10)), v4=refused(1)),
        ),
        """
         0 ms  wifi ? AAAA A
        20 ms  wifi -> v6
        21 ms  wifi x v6 refused
        30 ms  wifi -> v6#2
        31 ms  wifi x v6#2 refused
        40 ms  wifi -> v4
        41 ms  wifi x v4 refused
        50 ms  wifi -> v6#3
        60 ms  wifi won v6#3
        """,
    )


def test_s4_a_destination_that_was_quick_before_goes_first() -> None:
    race = scenario(
        rtt={"wifi": {"2001:db8:99::2": 0.010}},
        wifi=pvd(dns=20, v6=(ok(30), ok(30))),
    )
    assert race.report.attempts[0].remote == "2001:db8:99::2"


# ---------------------------------------------------------------------- s5: attempts


def test_s5_connection_attempt_delay_is_250_ms() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=blackhole, v4=ok(30))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        270 ms  wifi -> v4
        300 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s5_an_earlier_attempt_is_not_killed_because_a_later_starts() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=ok(400), v4=ok(1000))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        270 ms  wifi -> v4
        420 ms  wifi won v6       wifi cancelled v4
        """,
    )


def test_s5_success_on_the_instant_of_the_timer_starts_no_other() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=ok(250), v4=ok(1))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        270 ms  wifi won v6
        """,
    )


def test_s5_a_failure_starts_the_next_at_once() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=refused(100), v4=ok(30))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        120 ms  wifi x v6 refused       wifi -> v4
        150 ms  wifi won v4
        """,
    )


def test_s5_but_never_within_10_ms_of_the_previous_start() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=refused(0), v4=ok(30))),
        """
         0 ms  wifi ? AAAA A
        20 ms  wifi -> v6
        20 ms  wifi x v6 refused
        30 ms  wifi -> v4
        60 ms  wifi won v4
        """.replace("wifi -> v6\n        20 ms ", "wifi -> v6"),
    )


def test_s5_the_failure_of_an_older_attempt_starts_the_next_too() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=(refused(300), ok(10)), v4=blackhole)),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        270 ms  wifi -> v4
        320 ms  wifi x v6 refused       wifi -> v6#2
        330 ms  wifi won v6#2       wifi cancelled v4
        """,
    )


def test_s5_the_last_attempt_may_take_its_time() -> None:
    check(
        scenario(wifi=pvd(dns=20, v4=ok(9000))),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v4
        9020 ms  wifi won v4
        """,
    )


def test_s5_all_attempts_failed() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=refused(50), v4=refused(60))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
         70 ms  wifi x v6 refused       wifi -> v4
        130 ms  wifi x v4 refused       lost: all attempts failed
        """,
    )


@pytest.mark.parametrize(
    ("rtt", "delay"),
    [
        (0.001, 0.100),  # "The RECOMMENDED minimum value is 100 milliseconds"
        (0.150, 0.300),  # two round trips
        (5.000, 2.000),  # "The RECOMMENDED value for the maximum is 2 seconds"
    ],
)
def test_s5_known_round_trip_time_sets_the_delay_within_its_bounds(rtt: float, delay: float) -> None:
    race = scenario(
        rtt={"wifi": {"2001:db8:99::1": rtt}},
        wifi=pvd(dns=20, v6=blackhole, v4=ok(30)),
    )
    first, second = race.report.attempts
    assert second.started - first.started == pytest.approx(delay)


def test_at_most_so_many_attempts_are_in_flight() -> None:
    race = scenario(
        pacing=Pacing(attempts_in_flight=2, attempt_timeout=1.0),
        wifi=pvd(dns=20, v6=(blackhole, blackhole), v4=(blackhole, ok(10))),
    )
    check(
        race,
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
         270 ms  wifi -> v4
        1020 ms  wifi x v6 timeout 1.0 s       wifi -> v6#2
        1270 ms  wifi x v4 timeout 1.0 s       wifi -> v4#2
        1280 ms  wifi won v4#2       wifi cancelled v6#2
        """,
    )


def test_by_default_six_attempts_are_in_flight() -> None:
    race = scenario(wifi=pvd(dns=20, v6=(blackhole,) * 8))
    before_timeout = [a for a in race.report.attempts if a.started < 10]
    assert len(before_timeout) == 6
    assert len(race.report.attempts) == 8


# ---------------------------------------------------------------------- s6: the list changes


def test_s6_a_late_answer_re_sorts_what_has_not_started() -> None:
    """IPv4 arrives while the first of three IPv6 addresses is in flight: it is the next, as s4 has it."""
    check(
        scenario(wifi=pvd(aaaa=20, a=100, v6=(blackhole, blackhole, blackhole), v4=ok(30))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        270 ms  wifi -> v4
        300 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s6_a_late_answer_does_not_restart_the_timer() -> None:
    check(
        scenario(wifi=pvd(aaaa=20, a=269, v6=blackhole, v4=ok(30))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        270 ms  wifi -> v4
        300 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s6_a_late_answer_after_the_timer_starts_at_once() -> None:
    check(
        scenario(wifi=pvd(aaaa=20, a=700, v6=blackhole, v4=ok(30))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        700 ms  wifi -> v4
        730 ms  wifi won v4       wifi cancelled v6
        """,
    )


def test_s6_an_address_that_both_answers_hold_is_tried_once() -> None:
    address = "2001:db8:99::1"
    race = scenario(wifi=pvd(dns=20, v6=refused(10), v4=refused(10), answers=(address, address)))
    assert [a.remote for a in race.report.attempts] == [address]


# ---------------------------------------------------------------------- our own limits


def test_an_attempt_that_is_silent_for_its_timeout_has_failed() -> None:
    check(
        scenario(pacing=Pacing(attempt_timeout=2.0), wifi=pvd(dns=20, v6=blackhole)),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
        2020 ms  wifi x v6 timeout 2.0 s       lost: all attempts failed
        """,
    )


def test_progress_starts_the_attempt_timeout_anew() -> None:
    check(
        scenario(pacing=Pacing(attempt_timeout=2.0), wifi=pvd(dns=20, v6=stalls(1500))),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
        1520 ms  wifi connected v6
        3520 ms  wifi x v6 timeout 2.0 s       lost: all attempts failed
        """,
    )


def test_the_timeout_of_the_whole_race() -> None:
    check(
        scenario(timeout=0.3, wifi=pvd(aaaa=silent, a=20, v4=(blackhole, blackhole))),
        """
          0 ms  wifi ? AAAA A
         70 ms  wifi -> v4
        300 ms  wifi cancelled AAAA       wifi x v4 timeout 0.3 s       lost: timeout 0.3 s
        """,
    )


def test_a_win_on_the_instant_of_the_timeout_is_a_win() -> None:
    assert scenario("198.51.100.1", timeout=0.3, wifi=pvd(v4=ok(300))).won


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_timeout_that_is_no_time_is_an_error(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of at least 0"):
        scenario(timeout=timeout, wifi=pvd())


def test_an_infinite_timeout_is_none() -> None:
    assert scenario(timeout=float("inf"), wifi=pvd(dns=20, v4=ok(5000))).won


# ---------------------------------------------------------------------- no lookup


@pytest.mark.parametrize(("host", "family"), [("2001:db8:99::1", "v6"), ("198.51.100.1", "v4")])
def test_a_literal_needs_no_lookup(host: str, family: str) -> None:
    check(
        scenario(host, wifi=pvd(v6=ok(30), v4=ok(30))),
        f"""
         0 ms  wifi -> {family}
        30 ms  wifi won {family}
        """,
    )


def test_s7_1_an_ipv4_literal_on_an_ipv6_network_with_nat64_is_synthesised() -> None:
    race = scenario(
        "198.51.100.1",
        wifi=pvd(
            v6=ok(30),
            addresses=(LocalAddress("2001:db8:1::2", 64),),
            routes=(Route("::/0", "2001:db8:1::1"),),
            pref64=("2001:db8:64::/96",),
        ),
    )
    assert race.won
    assert [a.remote for a in race.report.attempts] == ["2001:db8:64::c633:6401"]


def test_s7_1_an_a_answer_on_an_ipv6_network_with_nat64_is_synthesised() -> None:
    race = scenario(
        wifi=pvd(
            dns=20,
            answers=("198.51.100.1",),
            v6=ok(30),
            addresses=(LocalAddress("2001:db8:1::2", 64),),
            routes=(Route("::/0", "2001:db8:1::1"),),
            pref64=("2001:db8:64::/96",),
        ),
    )
    assert [lookup.type for lookup in race.report.lookups] == ["AAAA", "A"]
    assert [a.remote for a in race.report.attempts] == ["2001:db8:64::c633:6401"]


def test_an_answer_that_is_no_address_is_skipped_and_said() -> None:
    race = scenario(wifi=pvd(dns=20, v4=ok(30), answers=("not:an:address", "198.51.100.1")))
    assert race.won
    assert [(s.pvd, s.address) for s in race.report.skipped] == [("wifi", "not:an:address")]


def test_a_time_is_told_in_milliseconds_at_most() -> None:
    """A client that passes on what is left of its own time has no round number."""
    race = scenario(timeout=0.9992186250019, wifi=pvd(dns=20, v4=blackhole))
    assert "timeout 0.999 s" in race.report.summary()
    assert "0.9992" not in race.report.summary()
