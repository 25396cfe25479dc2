"""The rankings of a connector, kept for as long as the snapshot and the history hold. Pure: time comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .calls import forbids
from .discovery.diff import diff
from .expectation import EXPECT_NOTHING
from .head_starts import round_trip_times
from .model import PvdSet
from .ranking import rank_by_choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .ambiguity import Choices
    from .config import Configuration
    from .expectation import Expectations
    from .history import History
    from .model import Endpoint, Ranked, Ranking
    from .policy import Policy
    from .race.pacing import Pacing

RANKINGS_KEPT = 1024
NO_PVDS = PvdSet()  # what the ranking of a loopback destination depends on


class Ranks(NamedTuple):
    """A ranking, and what else a race needs to know of it.

    ``quiet``: policy asks for silence. ``rtt`` are the round-trip times that are known. ``undecided`` are the
    PvDs to ask the application about, if it wants to be asked.
    """

    ranking: Ranking
    quiet: bool
    rtt: Mapping[str, Mapping[str, float]]
    undecided: tuple[Ranked, ...]


class Rankings:
    """Ranks by what a connector was given, what it learnt, and what its application chose."""

    def __init__(
        self,
        configuration: Configuration,
        application: Policy | None,
        pacing: Pacing,
        history: History,
        choices: Choices | None,
    ) -> None:
        self._configuration = configuration
        self._application = application
        self._pacing = pacing
        self._history = history
        self._choices = choices
        self._kept: dict[tuple[Endpoint, Policy | None, str | None, str], tuple[Expectations, Ranks]] = {}
        self._snapshot: PvdSet | None = None

    def of(
        self,
        pvds: PvdSet,
        endpoint: Endpoint,
        policy: Policy | None,
        label: str | None,
        ready: str,
        now: float,
    ) -> Ranks:
        """The ranking for a call; ``now`` is in seconds, on the clock of the history."""
        expected = EXPECT_NOTHING
        if pvds is not NO_PVDS:
            if pvds is not self._snapshot:
                self._kept.clear()
                if self._snapshot is not None:
                    self._history.moved(diff(self._snapshot, pvds), now)
                self._snapshot = pvds
            expected = self._history.expected(pvds, endpoint, ready, now)
        key = (endpoint, policy, label, ready)
        found = self._kept.get(key)
        if found is None or found[0] is not expected:
            if len(self._kept) >= RANKINGS_KEPT:
                self._kept.clear()
            layers = self.layers(endpoint, policy, label)
            ranking, undecided = rank_by_choice(
                pvds, endpoint, layers, self._choices, pacing=self._pacing, expected=expected, label=label
            )
            ranks = Ranks(ranking, forbids(layers, ranking), round_trip_times(expected), undecided)
            found = self._kept[key] = expected, ranks
        return found[1]

    def layers(
        self, endpoint: Endpoint, policy: Policy | None, label: str | None
    ) -> list[tuple[str, Policy]]:
        """The policies that hold for a call, the closest first."""
        return self._configuration.layers(endpoint, self._application, policy, label)

    def forget(self) -> None:
        """Rank anew: something else was chosen."""
        self._kept.clear()
