"""A PvD as a row of a table, and as JSON. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model import Reachability
from ..selectors import Selector, near
from .output import Cell, cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import ProvisioningDomain, Reached

#: One column a fact, for pipes and wide terminals.
WIDE = ("pvd", "interface", "type", "addresses", "resolvers", "cost", "zones", "metric", "state")
#: Those of them that are lists.
LISTS = ("addresses", "resolvers", "zones")
#: The same in less room: what belongs to the name stands below it.
NARROW = ("pvd", "addresses", "resolvers", "cost", "state")


def wide_row(pvd: ProvisioningDomain) -> list[Cell]:
    """The cells for `WIDE`."""
    return [
        cell(pvd.name, style="bold" if pvd.unusable is None else ""),
        cell(pvd.interface or ""),
        cell(known(pvd.type)),
        addresses(pvd),
        resolvers(pvd),
        cell(cost(pvd)),
        cell(*pvd.zones),
        cell(str(pvd.metric) if pvd.routes else ""),
        state(pvd),
    ]


def narrow_row(pvd: ProvisioningDomain) -> list[Cell]:
    """The cells for `NARROW`."""
    interface = pvd.interface if pvd.interface != pvd.name else ""
    metric = f"metric {pvd.metric}" if pvd.routes else ""
    zones = [f"zone {zone}" for zone in pvd.zones]
    return [
        cell(pvd.name, interface or "", known(pvd.type), style="bold" if pvd.unusable is None else ""),
        addresses(pvd),
        resolvers(pvd),
        cell(cost(pvd), metric, *zones),
        state(pvd),
    ]


def what_it_is(pvd: ProvisioningDomain) -> str:
    """Interface, addresses and state in one line."""
    row = dict(zip(WIDE, wide_row(pvd), strict=True))
    facts = (",".join(row[column].lines) for column in ("interface", "addresses", "state"))
    return "  ".join(filter(None, facts))


def differences(old: ProvisioningDomain, new: ProvisioningDomain) -> list[str]:
    """What a table would show that is not as it was: ``state usable -> link down``, ``zones -a.example``."""
    rows = reversed(list(zip(WIDE, wide_row(old), wide_row(new), strict=True)))  # the state first
    return [
        f"{column} {(_more_and_less if column in LISTS else _from_to)(was.lines, now.lines)}"
        for column, was, now in rows
        if was.lines != now.lines
    ]


def absent(preferences: Mapping[str, Any], pvds: Sequence[ProvisioningDomain]) -> list[str]:
    """A line for each PvD and interface that an option names and nobody has: mistyped, or yet to come."""
    lines = []
    for option in ("require", "prefer", "avoid", "prohibit"):
        for text in preferences.get(option, ()):
            selector = Selector.parse(text)
            words = {"pvd": [pvd.name for pvd in pvds], "interface": [pvd.interface or "" for pvd in pvds]}
            here = sorted(filter(None, words.get(selector.kind, ())))
            if here and not any(selector.matches(pvd) for pvd in pvds):
                lines.append(f"--{option} {text}: none is here{near(selector.pattern, here)}")
    return lines


def _from_to(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    return f"{', '.join(old) or '-'} -> {', '.join(new) or '-'}"


def _more_and_less(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    less, more = [f"-{x}" for x in old if x not in new], [f"+{x}" for x in new if x not in old]
    return " ".join(less + more) or "in another order"


def differing_keys(old: ProvisioningDomain, new: ProvisioningDomain, now: float) -> list[str]:
    """The keys of `as_json` whose values are not as they were; none if the PvD was only attached anew."""
    before, after = as_json(old, now), as_json(new, now)
    return [key for key in after if before[key] != after[key]]


def addresses(pvd: ProvisioningDomain) -> Cell:
    """Its addresses with their prefix lengths."""
    return cell(*(f"{a}{' deprecated' if a.deprecated else ''}" for a in pvd.addresses))


def resolvers(pvd: ProvisioningDomain) -> Cell:
    """Its resolvers; *unscoped* are those of a host-wide list, which did not come from this PvD."""
    return cell(*(f"{r}{'' if r.scoped else ' (unscoped)'}" for r in pvd.resolvers))


def cost(pvd: ProvisioningDomain) -> str:
    """Cost class and flags."""
    flags = sorted(pvd.cost.flags)
    return " ".join((known(pvd.cost.kind.value), *flags)).strip()


def state(pvd: ProvisioningDomain) -> Cell:
    """Usable, or why not; what is known of its reach; remarks."""
    if pvd.unusable is not None:
        return cell(pvd.unusable, style="red")
    usable = pvd.reachability not in (Reachability.PORTAL, Reachability.NONE)
    style = "green" if usable and not pvd.notes else "yellow"
    return cell("usable" if usable else "", *reach(pvd), *pvd.notes, style=style)


REACH_STYLES = {
    Reachability.UNKNOWN: "dim",
    Reachability.VALIDATED: "green",
    Reachability.PORTAL: "yellow",
    Reachability.PARTIAL: "yellow",
    Reachability.NONE: "red",
}


def reach(pvd: ProvisioningDomain) -> list[str]:
    """What it is known to reach: one line if its families agree, else one of each; nothing if unknown."""
    lines = {one.family: reaches(one) for one in pvd.reached if one.state is not Reachability.UNKNOWN}
    if set(lines) == set(pvd.families) and len(set(lines.values())) == 1:
        return [next(iter(lines.values()))]
    if lines:
        return [f"IPv{family} {line}" for family, line in lines.items()]
    return [] if pvd.reachability is Reachability.UNKNOWN else [pvd.reachability.value]


def reaches(one: Reached) -> str:
    """``portal http://192.0.2.1/login``, ``partial (80 443)``."""
    if one.state is Reachability.PARTIAL and one.ports:
        return f"{one.state} ({' '.join(map(str, one.ports))})"
    return f"{one.state} {one.portal}" if one.portal else str(one.state)


def reached_json(one: Reached, now: float) -> dict[str, Any]:
    """What a family reaches as plain values; ``age`` in seconds."""
    return {
        "family": f"ipv{one.family}",
        "state": one.state.value,
        "evidence": one.evidence,
        "age": max(now - one.at, 0.0),
        "portal": one.portal,
        "ports": list(one.ports),
        "blocked": list(one.blocked),
        "lost": list(one.lost),
    }


def known(word: str) -> str:
    """A word, or nothing for ``unknown``."""
    return "" if word == "unknown" else word


def as_json(pvd: ProvisioningDomain, now: float) -> dict[str, Any]:
    """A PvD as plain values; ``now`` is a reading of the monotonic clock."""
    return {
        "name": pvd.name,
        "interface": pvd.interface,
        "type": pvd.type,
        "addresses": [str(a) for a in pvd.addresses],
        "families": [f"ipv{family}" for family in pvd.families],
        "resolvers": [{"address": r.address, "port": r.port, "scoped": r.scoped} for r in pvd.resolvers],
        "zones": list(pvd.zones),
        "search": list(pvd.search),
        "cost": pvd.cost.kind.value,
        "cost_flags": sorted(pvd.cost.flags),
        "groups": list(pvd.groups),
        "metric": pvd.metric,
        "reachability": pvd.reachability.value,
        "reached": [reached_json(one, now) for one in pvd.reached],
        "usable": pvd.unusable is None,
        "unusable": pvd.unusable,
        "notes": list(pvd.notes),
        "sources": list(pvd.sources),
    }
