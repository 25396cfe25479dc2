"""The timers and their bounds (RFC 8305 s5 and s8)."""

from __future__ import annotations

from typing import Any

import pytest

from pvdrace.race.pacing import ATTEMPT_FLOOR, Pacing


def test_defaults_are_those_of_rfc8305_s8() -> None:
    pacing = Pacing()
    assert pacing.resolution_delay == 0.050
    assert pacing.preferred_address_family_count == 1
    assert pacing.connection_attempt_delay == 0.250
    assert pacing.minimum_connection_attempt_delay == 0.100
    assert pacing.maximum_connection_attempt_delay == 2.0
    assert ATTEMPT_FLOOR == 0.010


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"resolution_delay": -0.1}, "resolution_delay must be a finite number of at least 0, not -0.1"),
        (
            {"resolution_delay": float("nan")},
            "resolution_delay must be a finite number of at least 0, not nan",
        ),
        ({"attempt_timeout": float("inf")}, "attempt_timeout must be a finite number of at least 0, not inf"),
        ({"path_delay": "1"}, "path_delay must be a finite number of at least 0, not '1'"),
        ({"resolution_lead": True}, "resolution_lead must be a finite number of at least 0, not True"),
        ({"preferred_address_family_count": 0}, "preferred_address_family_count must be a whole number"),
        ({"attempts_in_flight": 0}, "attempts_in_flight must be a whole number of at least 1"),
        ({"attempts_in_flight": 1.5}, "attempts_in_flight must be a whole number of at least 1"),
        (
            {"connection_attempt_delay": 0.099},
            (
                "connection_attempt_delay is 0.099 s: it must be from minimum_connection_attempt_delay (0.1 "
                "s) to maximum_connection_attempt_delay (2.0 s)"
            ),
        ),
        (
            {"connection_attempt_delay": 2.1, "path_delay": 3},
            "connection_attempt_delay is 2.1 s: it must be from",
        ),
        (
            {"connection_attempt_delay": 0.009, "minimum_connection_attempt_delay": 0.009},
            "minimum_connection_attempt_delay must be at least 0.01 s (RFC 8305 s5)",
        ),
        (
            {"minimum_connection_attempt_delay": 0.0},
            "minimum_connection_attempt_delay must be at least 0.01 s",
        ),
        ({"attempt_timeout": 0.0}, "attempt_timeout must be at least 0.01 s"),
        (
            {"maximum_connection_attempt_delay": 0.05},
            "maximum_connection_attempt_delay is below minimum_connection_attempt_delay",
        ),
        ({"path_delay": 0.2}, "path_delay is below connection_attempt_delay"),
    ],
)
def test_a_setting_out_of_bounds_is_an_error_that_names_it(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError) as raised:
        Pacing(**settings)
    assert str(raised.value).startswith(error)


@pytest.mark.parametrize(
    ("minimum", "delay", "maximum"), [(0.1, 0.1, 2.0), (0.1, 0.25, 0.25), (0.01, 0.01, 0.01), (0.1, 2.0, 2.0)]
)
def test_s5_the_attempt_delay_may_be_one_of_its_bounds(minimum: float, delay: float, maximum: float) -> None:
    pacing = Pacing(
        connection_attempt_delay=delay,
        minimum_connection_attempt_delay=minimum,
        maximum_connection_attempt_delay=maximum,
        path_delay=2.0,
    )
    assert pacing.attempt_delay(None) == delay


@pytest.mark.parametrize(
    ("rtt", "delay"),
    [(None, 0.250), (0.0, 0.100), (0.049, 0.100), (0.150, 0.300), (0.999, 1.998), (1.1, 2.0)],
)
def test_s5_the_attempt_delay_is_two_round_trips_within_the_bounds(rtt: float | None, delay: float) -> None:
    assert Pacing().attempt_delay(rtt) == pytest.approx(delay)


@pytest.mark.parametrize(("handshake", "allowance"), [(0.0, 0.0), (0.1, 0.2), (0.9, 1.8), (3.0, 2.0)])
def test_hev3_s6_1_the_allowance_for_progress_is_two_round_trips(handshake: float, allowance: float) -> None:
    assert Pacing().progress_allowance(handshake) == pytest.approx(allowance)
