"""How the races of one connector are ranked: policy, history and choices, brought together once. Pure.

A ranking is remembered for as long as the snapshot and what history expects are the same objects: a
connection to where one went before costs a look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .calls import forbids
from .discovery.diff import diff
from .expectation import EXPECT_NOTHING
from .holdings import Holdings, priority_of
from .model import PvdSet
from .paths import objection
from .ranking.head_starts import round_trip_times
from .ranking.order import rank_by_choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .answers import Origin
    from .config.configuration import Configuration
    from .expectation import Expectations
    from .history import History
    from .model import Endpoint, ProvisioningDomain, Ranked, Ranking
    from .paths import Path
    from .policy import Policy
    from .race.pacing import Pacing
    from .ranking.ambiguity import Choices

    _Key = tuple[Endpoint, Policy | None, str | None, str, Origin | None]

RANKINGS_KEPT = 1024
NO_PVDS = PvdSet()  # what the ranking of a loopback destination depends on


class Decision(NamedTuple):
    """Who runs; whether policy asks for silence (`calls.forbids`); round-trip times, by PvD and address.

    ``between`` are the PvDs that the application is to be asked about (`ambiguity`).
    """

    ranking: Ranking
    quiet: bool
    rtt: Mapping[str, Mapping[str, float]]
    between: tuple[Ranked, ...]


class Decisions:
    """``application`` is the connector's policy, ``choices`` what `on_ambiguous` answered, if it is there.

    ``now`` is in seconds, always on the same clock.
    """

    def __init__(
        self,
        configuration: Configuration,
        application: Policy | None,
        pacing: Pacing,
        history: History,
        choices: Choices | None = None,
    ) -> None:
        self.history = history
        self.holdings = Holdings()
        self._configuration = configuration
        self._application = application
        self._pacing = pacing
        self._choices = choices
        self._snapshot: PvdSet | None = None
        self._known: dict[_Key, tuple[Expectations, Decision]] = {}
        self._judged: PvdSet | None = None  # the snapshot of the objections that are known
        self._objections: dict[tuple[object, ...], tuple[ProvisioningDomain, str | None]] = {}

    def layers(
        self, endpoint: Endpoint, policy: Policy | None, label: str | None, origin: Origin | None = None
    ) -> list[tuple[str, Policy]]:
        """The policies that hold for one call, the closest to the caller first.

        For an answer (``origin``) also those of the name: a rule for it holds however it is dialled.
        """
        layers = self._configuration.layers(endpoint, self._application, policy, label)
        if origin is None:
            return layers
        of_name = self._configuration.layers(origin.asked, self._application, policy, label)
        return [*origin.layers(), *of_name, *[layer for layer in layers if layer not in of_name]]

    def decide(
        self,
        pvds: PvdSet,
        endpoint: Endpoint,
        policy: Policy | None,
        label: str | None,
        ready: str,
        now: float,
        origin: Origin | None = None,
    ) -> Decision:
        """Rank the PvDs of a snapshot for one call; ``ready`` is what a winner must have done.

        ``origin``: where the endpoint is an answer.
        """
        expected = EXPECT_NOTHING
        if pvds is not NO_PVDS:
            if pvds is not self._snapshot:
                self._moved(pvds, now)
            expected = self.history.expected(pvds, endpoint, ready, now)
        if self.holdings:
            left = self.holdings.as_seen_by(pvds, self.priority(endpoint, policy, label, origin))
            if left is not pvds:
                return self._decide(left, endpoint, policy, label, expected, origin)
        key = (endpoint, policy, label, ready, origin)
        found = self._known.get(key)
        if found is None or found[0] is not expected:
            if len(self._known) >= RANKINGS_KEPT:
                self._known.clear()
            decision = self._decide(pvds, endpoint, policy, label, expected, origin)
            found = self._known[key] = expected, decision
        return found[1]

    def among(
        self, pvds: PvdSet, snapshot: PvdSet, endpoint: Endpoint, label: str | None, ready: str, now: float
    ) -> Decision:
        """Rank only some of the snapshot's PvDs: history is not to learn that the others have gone."""
        expected = self.history.expected(snapshot, endpoint, ready, now)
        return self._decide(pvds, endpoint, None, label, expected)

    def objection(self, path: Path, pvds: PvdSet, label: str | None, now: float) -> str | None:
        """Why a connection may not be used any more (`paths.objection`); None if it may."""
        if pvds is not self._judged or self.holdings or len(self._objections) >= RANKINGS_KEPT:
            self._objections.clear()
            self._judged = pvds
        key = id(path.pvd), path.family, path.endpoint, path.policy, label
        found = self._objections.get(key)
        if found is None:
            ranking = self.decide(pvds, path.endpoint, path.policy, label, path.ready, now).ranking
            found = self._objections[key] = path.pvd, objection(path, pvds, ranking)
        return found[1]

    def priority(
        self, endpoint: Endpoint, policy: Policy | None, label: str | None, origin: Origin | None = None
    ) -> int:
        """With what priority a call takes exclusive PvDs."""
        return priority_of(self.layers(endpoint, policy, label, origin))

    def forget(self) -> None:
        """The application has chosen: rank anew."""
        self._known.clear()

    def _moved(self, pvds: PvdSet, now: float) -> None:
        self._known.clear()
        if self._snapshot is not None:
            self.history.moved(diff(self._snapshot, pvds), now)
        self._snapshot = pvds

    def _decide(
        self,
        pvds: PvdSet,
        endpoint: Endpoint,
        policy: Policy | None,
        label: str | None,
        expected: Expectations,
        origin: Origin | None = None,
    ) -> Decision:
        layers = self.layers(endpoint, policy, label, origin)
        ranking, between = rank_by_choice(
            pvds, endpoint, layers, self._choices, pacing=self._pacing, expected=expected, label=label
        )
        return Decision(ranking, forbids(layers, ranking), round_trip_times(expected), between)
