"""Which PvD may be asked what: a probe is a connection, and policy holds for it as for any other. Pure."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..calls import forbids
from ..config.probe_settings import UNRESTRICTED, Target
from ..model import Endpoint, PvdSet, Reachability
from ..policy import Policy
from ..ranking.order import rank
from . import capport, http204, https

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config.probe_settings import ProbeSettings
    from ..model import ProvisioningDomain
    from .messages import Request

    Layers = Callable[[Endpoint], Sequence[tuple[str, Policy]]]


class Probe(NamedTuple):
    """One question to ask in a PvD.

    ``kind`` is ``api``, ``http``, ``https`` or ``port``; a ``port`` has no request: it is connected to.
    ``families`` (6, 4) are those that policy leaves: nothing goes out in another one, DNS neither. ``quiet``:
    policy keeps traffic off some PvD, so that sockets must be closed without a stray packet.
    """

    kind: str
    target: Target
    request: Request | None
    families: tuple[int, ...]
    quiet: bool = False


def plan(pvds: PvdSet, settings: ProbeSettings, layers: Layers) -> dict[str, tuple[Probe, ...]]:
    """What to ask in each PvD, by its name; a PvD in which nothing may be asked is not there.

    ``layers`` gives the policies for a destination, without those of a call. What they prohibit, or do not
    require, what zones give to others, and what is unusable, is not asked: no packet of a probe goes where
    no connection to the same host would. A known portal is asked all the same, and so is who may have the
    reachability that is required: before a probe nobody knows. A PvD with a proxy is not: its connections go
    through the proxy, and a probe beside it would say nothing of them. Nor is one with a ``warmup``: it is
    brought up for connections, and nothing is sent there before.
    """
    unknown = PvdSet(tuple(replace(p, reachability=Reachability.UNKNOWN, reached=()) for p in pvds))
    found: dict[str, tuple[Probe, ...]] = {}
    asked: dict[Endpoint, tuple[dict[str, tuple[int, ...]], bool]] = {}
    for pvd in pvds:
        if pvd.proxy is not None or pvd.warmup:
            continue
        probes = []
        for kind, target in _wanted(pvd, settings):
            endpoint = Endpoint(target.host, target.port)
            if endpoint not in asked:
                policies = layers(endpoint)
                ranking = rank(unknown, endpoint, [(name, _of_paths(policy)) for name, policy in policies])
                may = {ranked.pvd.name: ranked.families for ranked in ranking.ranked}
                asked[endpoint] = may, forbids(policies, ranking)
            families, quiet = asked[endpoint]
            if pvd.name in families:
                probes.append(Probe(kind, target, _REQUESTS[kind](target), families[pvd.name], quiet))
        if probes:
            found[pvd.name] = tuple(probes)
    return found


def probed_families(pvd: ProvisioningDomain, probe: Probe) -> tuple[int, ...]:
    """The families in which the probe's host is to be reached."""
    return tuple([f for f in probe.families if f in pvd.families]) if pvd.addresses else probe.families


def _of_paths(policy: Policy) -> Policy:
    """What leaves a PvD out, but for the reachability that a probe is to find out."""
    return Policy(
        require=[selector for selector in policy.require if selector.kind != "reachability"],
        prohibit=policy.prohibit,
        capacity_profile=policy.capacity_profile,
        min_rate=policy.min_rate,
    )


_REQUESTS: dict[str, Callable[[Target], Request | None]] = {
    "api": capport.request,
    "http": http204.request,
    "https": https.request,
    "port": lambda target: None,
}


def _wanted(pvd: ProvisioningDomain, settings: ProbeSettings) -> list[tuple[str, Target]]:
    wanted = []
    if pvd.captive_api is not None and pvd.captive_api != UNRESTRICTED:
        with contextlib.suppress(ValueError):  # a network may say anything
            wanted.append(("api", Target.parse(pvd.captive_api)))
    if settings.http is not None:
        wanted.append(("http", settings.http))
    if settings.https is not None:
        wanted.append(("https", settings.https))
    base = settings.https or settings.http
    if base is not None:
        wanted += [("port", base._replace(port=port)) for port in settings.ports]
    return wanted
