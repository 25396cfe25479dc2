"""What the ranking of PvDs for one destination asks of each of them: facts, and no opinion. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..model import Reachability, is_link_local, parse_literal
from ..proxies import parse_proxy
from ..race.nat64 import needs_synthesis, synthesise
from ..zones import MAYBE, Verdict, ZoneMatch, match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..expectation import Expectation
    from ..model import Endpoint, Literal, ProvisioningDomain, Reached
    from ..policy import Policy


#: The name of the layer that keeps an answer in the PvD that gave it: nobody has said that a portal will do.
ANSWER = "answer"


@dataclass(slots=True)
class Question:
    """What a filter or a rule may look at besides the PvD and what is expected of it.

    ``families`` are those that policy leaves. ``zones``, ``owned`` and ``owners`` say who owns the name.
    ``chosen`` is the PvD that was chosen where nothing else decides.
    """

    endpoint: Endpoint
    literal: Literal | None
    layers: Sequence[tuple[str, Policy]]
    families: tuple[int, ...]
    zones: dict[str, ZoneMatch]
    owned: ZoneMatch
    owners: tuple[str, ...]
    label: str | None = None
    chosen: str | None = None
    carried: dict[str, tuple[int, ...]] = field(default_factory=dict)


def question_of(
    snapshot: Sequence[ProvisioningDomain],
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]],
    label: str | None = None,
    chosen: str | None = None,
) -> Question:
    """The question for one destination."""
    literal = parse_literal(endpoint.host)
    zones: dict[str, ZoneMatch] = {}
    owned = MAYBE
    owners: tuple[str, ...] = ()
    if literal is None:
        # Unusable and prohibited PvDs own their names too: such a name fails here, and leaks nowhere else.
        zones = {pvd.name: match(pvd, endpoint.host) for pvd in snapshot}
        owned = max(zones.values(), default=MAYBE)
        if owned.verdict is Verdict.YES:
            owners = tuple(sorted(name for name, found in zones.items() if found == owned))
    families: tuple[int, ...] = (6, 4)
    for _, policy in layers:
        if policy.families != families:
            families = tuple(f for f in families if f in policy.families)
    return Question(endpoint, literal, layers, families, zones, owned, owners, label, chosen)


def families_of(pvd: ProvisioningDomain, question: Question) -> tuple[int, ...]:
    """The families that a PvD may use here: that it carries, policy leaves and no captive portal holds."""
    found = question.carried.get(pvd.name)
    if found is None:
        found = carried(pvd, question.literal)
        if found != question.families:
            found = tuple([f for f in found if f in question.families])
        if pvd.reached and not admits_portal(pvd, question):
            held = behind_portal(pvd)
            found = tuple([f for f in found if f not in held]) if held else found
        question.carried[pvd.name] = found
    return found


def packets_of(pvd: ProvisioningDomain, question: Question) -> tuple[int, ...]:
    """The families of the packets that a connection in this PvD would send: through NAT64 all are IPv6.

    Through a proxy they are those to it.
    """
    families = families_of(pvd, question)
    wanted = 6 if needs_synthesis(pvd) else question.literal.family if question.literal else None
    if pvd.proxy is not None and not needs_synthesis(pvd):
        wanted = None if pvd.proxy_or_direct else 6 if ":" in parse_proxy(pvd.proxy).address else 4
    return families if wanted is None else tuple([f for f in families if f == wanted])


def carried(pvd: ProvisioningDomain, literal: Literal | None) -> tuple[int, ...]:
    """The families that a PvD can carry; both where its addresses are unknown, IPv4 also by NAT64."""
    if not pvd.addresses or needs_synthesis(pvd):
        return (6, 4)
    if literal is not None and is_link_local(literal.address):
        return tuple(f for f in (6, 4) if any(a.family == f for a in pvd.addresses))
    return pvd.families


def target(pvd: ProvisioningDomain, literal: Literal) -> str:
    """A literal as this PvD reaches it: IPv4 through its NAT64 is IPv6."""
    if literal.family == 4 and needs_synthesis(pvd):
        return synthesise(pvd, (literal.address,))[0]
    return literal.address


# ---------------------------------------------------------------------- what it is known to reach


def reached_in(pvd: ProvisioningDomain, family: int) -> Reached | None:
    """What one family of it is known to reach."""
    for reached in pvd.reached:
        if reached.family == family:
            return reached
    return None


def behind_portal(pvd: ProvisioningDomain) -> tuple[int, ...]:
    """The families, of (6, 4), that a captive portal holds.

    Where the PvD as a whole is behind one, only a family that was seen to be free of it is not.
    """
    if pvd.reachability is Reachability.PORTAL:
        free = [r.family for r in pvd.reached if r.state is Reachability.VALIDATED]
        return tuple(f for f in (6, 4) if f not in free)
    return tuple(r.family for r in pvd.reached if r.state is Reachability.PORTAL)


def admits_portal(pvd: ProvisioningDomain, question: Question) -> bool:
    """Whether policy wants the portal itself: by the PvD's name, its device, or ``reachability:portal``."""
    return any(
        "*" not in selector.pattern
        and selector.kind in ("pvd", "interface", "reachability")
        and selector.matches(pvd)
        for layer, policy in question.layers
        if layer != ANSWER
        for selector in policy.require
    )


def fails_in(pvd: ProvisioningDomain, known: Expectation, family: int, question: Question) -> str | None:
    """Why this port is known not to work in a family of a PvD, in a few words; None if it is not."""
    port = question.endpoint.port
    if family in known.blocked:
        return f"port {port} does not work here"
    reached = reached_in(pvd, family)
    if reached is None:
        return "reaches nothing" if not pvd.reached and pvd.reachability is Reachability.NONE else None
    if reached.state is Reachability.NONE:
        return "reaches nothing"
    if pvd.proxy is not None:
        port = parse_proxy(pvd.proxy).port
    if port in reached.blocked:
        return f"port {port} does not pass here"
    # Of what was lost in races `known` says more: for this host, and until when.
    if reached.blocked or reached.lost:
        return None
    if reached.state is Reachability.PARTIAL and reached.ports and port not in reached.ports:
        return f"passes only port{'s' * (len(reached.ports) > 1)} {', '.join(map(str, reached.ports))}"
    return None
