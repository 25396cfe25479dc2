"""Exclusive PvDs: who has one, who takes it from whom, and what the others may still use."""

from __future__ import annotations

import pytest

from pvdrace.holdings import IN_USE, Holding, Holdings, priority_of
from pvdrace.model import ProvisioningDomain, PvdSet
from pvdrace.policy import Policy

PVDS = PvdSet((ProvisioningDomain("cell", exclusive=True), ProvisioningDomain("wifi")), 7)


class Peer:
    """A connection in "cell", and what it was told."""

    def __init__(self, priority: int, pvd: str = "cell") -> None:
        self.open = True
        self.told = 0
        self.holding = Holding(pvd, priority, lambda: self.open, listeners=[self.hear])

    def hear(self) -> None:
        self.told += 1


def taking(holdings: Holdings, *peers: Peer) -> list[list[Peer]]:
    """Who loses as each of them comes."""
    lost = []
    for peer in peers:
        gone = holdings.take(peer.holding)
        for holding in gone:
            holding.preempt()
        lost.append([other for other in peers if other.holding in gone])
    return lost


def unusable(holdings: Holdings, priority: int) -> dict[str, str | None]:
    return {pvd.name: pvd.unusable for pvd in holdings.as_seen_by(PVDS, priority)}


def test_nobody_takes_anything_from_the_same_priority() -> None:
    one, two = Peer(0), Peer(0)
    holdings = Holdings()
    assert taking(holdings, one, two) == [[], []]
    assert holdings.as_seen_by(PVDS, 0) is PVDS
    assert (one.told, two.told) == (0, 0)


def test_a_higher_priority_takes_it_from_all_lower_ones() -> None:
    low, lower, high, other = Peer(1), Peer(0), Peer(5), Peer(0, "wifi")
    holdings = Holdings()
    assert taking(holdings, lower, other, low, high) == [[], [], [lower], [low]]
    assert [peer.told for peer in (low, lower, high, other)] == [1, 1, 0, 0]
    assert low.holding.preempted
    assert unusable(holdings, 4) == {"cell": IN_USE, "wifi": None}
    assert unusable(holdings, 5) == {"cell": None, "wifi": None}


def test_one_that_comes_while_a_higher_one_has_it_loses_at_once() -> None:
    high, late = Peer(2), Peer(1)
    assert taking(Holdings(), high, late) == [[], [late]]
    assert (high.told, late.told) == (0, 1)


def test_who_has_closed_holds_nothing() -> None:
    high, low = Peer(2), Peer(0)
    holdings = Holdings()
    taking(holdings, high)
    marked = holdings.as_seen_by(PVDS, 0)
    assert marked is holdings.as_seen_by(PVDS, 0), "the same object, so that what hangs on it is kept"
    assert marked.generation == PVDS.generation
    assert marked["wifi"] is PVDS["wifi"]
    high.open = False
    assert holdings.as_seen_by(PVDS, 0) is PVDS
    assert taking(holdings, low) == [[]]
    assert holdings
    low.open = False
    holdings.as_seen_by(PVDS, 0)
    assert not holdings


def test_what_is_unusable_anyway_says_why() -> None:
    holdings = Holdings()
    taking(holdings, Peer(1))
    down = PvdSet((ProvisioningDomain("cell", exclusive=True, unusable="no carrier"),))
    assert holdings.as_seen_by(down, 0)["cell"].unusable == "no carrier"
    assert holdings.as_seen_by(PvdSet(), 0) == PvdSet()


@pytest.mark.parametrize(
    ("priorities", "counts"), [((), 0), ((0, 3), 3), ((2, 3), 2), ((0, 0), 0), ((-1, 3), -1)]
)
def test_the_closest_layer_that_has_a_priority_counts(priorities: tuple[int, ...], counts: int) -> None:
    assert priority_of([("layer", Policy(priority=priority)) for priority in priorities]) == counts
