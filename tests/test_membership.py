"""What a new snapshot means for a race that runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvdrace.membership import changes
from pvdrace.model import Endpoint, LocalAddress, ProvisioningDomain, PvdSet, Route
from pvdrace.policy import Policy
from pvdrace.race.events import Event, PvdAdded, PvdWithdrawn
from pvdrace.ranking import rank

WIFI = ProvisioningDomain("wifi", addresses=(LocalAddress("10.0.1.2", 24),), routes=(Route("0.0.0.0/0"),))
LTE = replace(WIFI, name="lte")
DOWN = replace(WIFI, unusable="no carrier")
ANEW = replace(WIFI, attachment=1)


def words(event: Event) -> str:
    if isinstance(event, PvdAdded):
        return f"+{event.ranked.pvd.name}@{event.position}"
    assert isinstance(event, PvdWithdrawn)
    return f"-{event.pvd}: {event.reason}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([WIFI], [WIFI], []),
        ([WIFI, LTE], [LTE], ["-wifi: gone"]),
        ([LTE], [WIFI, LTE], ["+wifi@1"]),
        ([WIFI, LTE], [DOWN, LTE], ["-wifi: no carrier"]),
        ([DOWN, LTE], [WIFI, LTE], ["+wifi@1"]),
        ([DOWN, LTE], [LTE], []),
        ([LTE], [DOWN, LTE], []),
        ([WIFI, LTE], [ANEW, LTE], ["-wifi: attached anew", "+wifi@1"]),
        ([WIFI], [replace(WIFI, resolvers=())], []),
        ([WIFI], [LTE], ["-wifi: gone", "+lte@0"]),
    ],
)
def test_changes(old: list[ProvisioningDomain], new: list[ProvisioningDomain], expected: list[str]) -> None:
    snapshot = PvdSet(tuple(new))
    ranking = rank(snapshot, Endpoint("www.example.com", 443))
    assert [words(event) for event in changes(PvdSet(tuple(old)), snapshot, ranking)] == expected


def test_a_prohibited_pvd_is_not_added() -> None:
    snapshot = PvdSet((WIFI, LTE))
    ranking = rank(snapshot, Endpoint("www.example.com", 443), [("call", Policy(prohibit=["pvd:lte"]))])
    assert changes(PvdSet((WIFI,)), snapshot, ranking) == []
