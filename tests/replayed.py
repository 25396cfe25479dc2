"""A fixture for files of scenarios: each report can be replayed, also out of JSON (law 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pvdrace.drivers.virtual import simulate
from pvdrace.race.report import RaceReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvdrace.race.race import Race


@pytest.fixture(autouse=True)
def every_scenario_is_replayed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    races: list[Race] = []

    def simulate_and_remember(race: Race, *args: Any, **options: Any) -> float:
        races.append(race)
        return simulate(race, *args, **options)

    monkeypatch.setattr("pvdrace.testing.scenario.simulate", simulate_and_remember)
    yield
    for race in races:
        if race.ended is not None:
            check_replay(RaceReport.of(race))


def check_replay(report: RaceReport) -> None:
    """The same actions, the same end; in memory and out of JSON, which is the same when written again."""
    text = report.to_json()
    read = RaceReport.from_json(text)
    assert read == report
    assert read.to_json() == text
    for known in (report, read):
        again = known.replay()
        assert list(again.actions()) == list(report.actions())
        assert again == report
