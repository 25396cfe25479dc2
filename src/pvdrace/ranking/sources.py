"""A ranking for a connection that has to come from one address of this host. Pure."""

from __future__ import annotations

from dataclasses import replace

from ..model import LocalAddress, Ranking, Reason, is_loopback


def from_source(ranking: Ranking, source: str) -> Ranking:
    """Only the PvDs that have the address run, in its family alone, and send from no other in it.

    Everybody else is excluded for that. To the host itself one comes from an address of the loopback.
    ``0.0.0.0`` and ``::`` are any address of the family.
    """
    family = 6 if ":" in source else 4
    if source in ("0.0.0.0", "::"):
        return _in_family(ranking, family)
    ranked, excluded = [], list(ranking.excluded)
    for one in ranking.ranked:
        pvd = one.pvd
        if pvd.is_loopback and is_loopback(source):
            only = replace(pvd, addresses=(LocalAddress(source, 8 if family == 4 else 128),))
            ranked.append(one._replace(pvd=only, families=(family,)))
        elif any(own.address == source for own in pvd.addresses) and family in one.families:
            own = tuple(a for a in pvd.addresses if a.family != family or a.address == source)
            ranked.append(one._replace(pvd=replace(pvd, addresses=own), families=(family,)))
        else:
            excluded.append(one._replace(excluded=Reason("source", f"{source} is no address of it")))
    return Ranking(tuple(ranked), tuple(excluded))


def _in_family(ranking: Ranking, family: int) -> Ranking:
    ranked = tuple(one._replace(families=(family,)) for one in ranking.ranked if family in one.families)
    without = Reason("source", f"it has no IPv{family}")
    left_out = (one._replace(excluded=without) for one in ranking.ranked if family not in one.families)
    return Ranking(ranked, (*ranking.excluded, *left_out))
