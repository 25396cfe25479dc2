"""Which PvD is the first choice, and when another one is better: not for a hint, not for a name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvdrace.best import ANYWHERE, Best
from pvdrace.discovery.diff import PvdChange
from pvdrace.model import (
    Cost,
    CostClass,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranking,
    Reachability,
    Route,
)
from pvdrace.policy import Policy
from pvdrace.ranking import rank

FREE, PAID = Cost(CostClass.UNMETERED), Cost(CostClass.VARIABLE)


def pvd(name: str, cost: Cost = FREE, metric: int = 100, **more: object) -> ProvisioningDomain:
    return ProvisioningDomain(
        name,
        interface=name,
        addresses=(LocalAddress("192.168.1.2", 24),),
        routes=(Route("0.0.0.0/0", "192.168.1.1", metric),),
        cost=cost,
        **more,  # type: ignore[arg-type]
    )


def ranked(pvds: PvdSet) -> Ranking:
    return rank(pvds, ANYWHERE)


def changes(*snapshots: tuple[ProvisioningDomain, ...]) -> list[list[str]]:
    best = Best(ranked, PvdSet(snapshots[0]))
    return [[str(change) for change in best.look(PvdSet(pvds))] for pvds in snapshots[1:]]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((pvd("a", PAID),), (pvd("a", PAID), pvd("b")), ["b better"]),
        ((pvd("a", PAID), pvd("b", unusable="no carrier")), (pvd("a", PAID), pvd("b")), ["b better"]),
        ((pvd("a"), pvd("b", PAID)), (pvd("a", PAID), pvd("b")), ["b better"]),
        # A hint or a name is no reason to move.
        ((pvd("a", metric=200),), (pvd("a", metric=200), pvd("b", metric=100)), []),
        ((pvd("b"),), (pvd("a"), pvd("b")), []),
        # Who takes the place of one that is gone is no better than it was.
        ((pvd("a"), pvd("b", PAID)), (pvd("b", PAID),), []),
        ((pvd("a"), pvd("b", PAID)), (pvd("a", unusable="no carrier"), pvd("b", PAID)), []),
        (
            (pvd("a"), pvd("b", PAID)),
            (replace(pvd("a"), reachability=Reachability.PORTAL), pvd("b", PAID)),
            [],
        ),
        ((), (pvd("a"),), []),
        ((pvd("a"),), (), []),
        # One that serves names of its own only is nothing for general traffic.
        ((pvd("a", PAID),), (pvd("a", PAID), pvd("b", zones=("corp.example",))), []),
        ((pvd("a"),), (pvd("a"), pvd("b", PAID)), []),
    ],
)
def test_better(
    before: tuple[ProvisioningDomain, ...], after: tuple[ProvisioningDomain, ...], said: list[str]
) -> None:
    assert changes(before, after) == [said]


def test_it_is_said_once_and_again_when_it_is_so_again() -> None:
    one, both = (pvd("a", PAID),), (pvd("a", PAID), pvd("b"))
    assert changes(one, both, both, one, both) == [["b better"], [], [], ["b better"]]


def test_policy_has_its_say() -> None:
    prefer = Policy(prefer=["pvd:b"])
    best = Best(lambda pvds: rank(pvds, ANYWHERE, [("application", prefer)]), PvdSet((pvd("a"),)))
    after = PvdSet((pvd("a"), pvd("b")))
    assert best.look(after) == (PvdChange("better", after["b"]),)
