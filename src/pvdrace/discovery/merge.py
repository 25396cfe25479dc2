"""All sources into one `PvdSet`. Pure, and blind to the order in which sources and interfaces came up.

The configuration wins, key by key; what it leaves out is what the kernel says of that interface. Of the
overrides, the system's win over all, the application's over what networks and the kernel say.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..config.pvds import PvdConfig
from ..config.values import ROUTE_PREFERENCES
from ..model import Cost, ProvisioningDomain, PvdSet, Route
from ..zones import Verdict, match
from .identity import identity
from .implicit import SOURCE, interface_pvd
from .resolvers import SystemDns, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ..config.configuration import Configuration
    from .state import KernelState, Link

CONFIGURATION = "configuration"


def merge(
    configuration: Configuration,
    state: KernelState,
    dns: SystemDns | None = None,
    others: Iterable[ProvisioningDomain] = (),
    previous: PvdSet | None = None,
    before: KernelState | None = None,
) -> PvdSet:
    """The PvDs of the host: the configured ones in their order, then the rest by name.

    An interface that a configured PvD uses has no implicit PvD besides. ``others`` come from further sources;
    a name that is taken is theirs who come first: configuration, kernel, others. With the same content as
    ``previous``, ``previous`` itself is returned; else its generation plus one. ``before`` is the state that
    ``previous`` was made of: where a link has bounced since then, what is on it is attached anew.
    """
    dns = dns or SystemDns()
    configured = [_pinned(partial(_configured, pvd, state, dns, configuration)) for pvd in configuration.pvds]
    found = {pvd.name: _with_neighbours(pvd, configured) for pvd in configured}
    claimed = {pvd.interface for pvd in found.values()}
    if SOURCE in configuration.discover:
        for link in sorted(state.links, key=lambda link: link.name):
            if not link.loopback and link.name not in claimed:
                name = _free_name(link.name, found)
                found[name] = _pinned(partial(_implicit, name, state, dns, link, configuration))
    for pvd in sorted(others, key=lambda pvd: (pvd.name, pvd.sources, repr(pvd))):
        if pvd.name not in found:
            found[pvd.name] = _settled(pvd, PvdConfig(pvd.name), configuration)
    pvds = tuple(found.values())
    pvds = tuple(_without_foreign_search(pvd, pvds) for pvd in pvds)
    return _numbered(pvds, previous, state, _bounced(before, state))


def _pinned(make: Callable[[str], ProvisioningDomain]) -> ProvisioningDomain:
    """A PvD with what it can carry by the pin that is said of it, which is known when it is made."""
    pvd = make("device")
    return pvd if pvd.pin == "device" else make(pvd.pin)


def _implicit(
    name: str, state: KernelState, dns: SystemDns, link: Link, configuration: Configuration, pin: str
) -> ProvisioningDomain:
    pvd = replace(interface_pvd(state, link, pin=pin), name=name)
    return _settled(pvd, PvdConfig(name), configuration, (dns, link))


def _configured(
    config: PvdConfig, state: KernelState, dns: SystemDns, configuration: Configuration, pin: str
) -> ProvisioningDomain:
    link = _link_of(config, state)
    if link is None:
        pvd = ProvisioningDomain(config.name, interface=config.interface, unusable=_no_interface(config))
    else:
        pvd = replace(_on_link(config, state, link, pin), name=config.name)
    return replace(
        _settled(pvd, config, configuration, (dns, link) if link else None),
        sources=(CONFIGURATION, *pvd.sources),
    )


def _settled(
    pvd: ProvisioningDomain,
    config: PvdConfig,
    configuration: Configuration,
    network: tuple[SystemDns, Link] | None = None,
) -> ProvisioningDomain:
    """A PvD with what is said of it, key by key: by the system, by its own table, by the application.

    ``network``: where what the network says of DNS is to be read from, unless it is in ``pvd`` already.
    """
    said = PvdConfig(config.name)
    for override in configuration.system.overrides if configuration.system else ():
        if override.matches(_with(pvd, said.or_else(config))):
            said = said.or_else(override.settings)
    said = said.or_else(config)
    for override in configuration.all_overrides:
        if override.matches(_with(pvd, said)):
            said = said.or_else(override.settings)
    if said.resolvers is not None or said.dns == "ignore":
        pvd = replace(pvd, resolvers=(), zones=(), search=())
    elif network is not None:
        pvd = _with_dns(pvd, *network)
    if said.default_route is False:
        pvd = replace(pvd, routes=_without_default(pvd))
    pvd = _with(pvd, said)
    tables = {table.name: table for table in configuration.address_tables}
    return replace(pvd, custom_table=table) if (table := tables.get(pvd.address_table)) else pvd


def _with(pvd: ProvisioningDomain, said: PvdConfig) -> ProvisioningDomain:
    """What is said wins, key by key. Whose network is asked for names, and by which routes, is not in it."""
    flags = pvd.cost.flags if said.cost_flags is None else said.cost_flags
    changes: dict[str, object] = {
        "resolvers": said.resolvers,
        "zones": said.zones,
        "search": said.search,
        "type": said.type,
        "cost": Cost(said.cost or pvd.cost.kind, flags),
        "groups": said.groups,
        "pref64": said.pref64,
        "address_table": said.address_table,
        "configured_metric": said.metric,
        "identity": said.id,
        "trusted": said.trusted,
        "captive_api": said.captive_api,
        "proxy": said.proxy,
        "proxy_or_direct": said.proxy_or_direct,
        "pin": said.pin,
        "rate": said.rate,
        "warmup": said.warmup,
        "exclusive": said.exclusive,
        "secure": said.secure,
        "link_quality": said.link_quality,
        "route_preference": None
        if said.route_preference is None
        else ROUTE_PREFERENCES[said.route_preference],
    }
    return replace(pvd, **{key: value for key, value in changes.items() if value is not None})  # type: ignore[arg-type]


def _without_default(pvd: ProvisioningDomain) -> tuple[Route, ...]:
    """Its routes but for the default ones.

    Where nothing is left, the prefixes of its addresses: no routes at all would say that they are unknown.
    """
    routes = tuple(route for route in pvd.routes if not route.is_default)
    return routes or tuple(Route(str(_prefix(a.address, a.prefix_length))) for a in pvd.addresses)


def _link_of(config: PvdConfig, state: KernelState) -> Link | None:
    """The interface that is named, else the one that carries an address of it, else its namesake."""
    if config.interface is not None:
        return state.link_named(config.interface)
    for address in config.addresses or ():
        if link := state.link_of_address(address):
            return link
    return state.link_named(config.name)


def _no_interface(config: PvdConfig) -> str:
    if config.interface is not None:
        return f"no such interface {config.interface}"
    return f"no interface given, and none is called {config.name}"


def _on_link(config: PvdConfig, state: KernelState, link: Link, pin: str) -> ProvisioningDomain:
    pvd = interface_pvd(state, link, config.addresses, pin)
    if config.addresses is not None:
        here = {address.address for address in pvd.addresses}
        on_link = {a.address for a in state.addresses_by_index.get(link.index, ()) if a.usable}
        missing = [text for text in config.addresses if text not in here and text not in on_link]
        if missing:
            note = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not on {link.name}"
            pvd = replace(
                pvd,
                unusable=note if pvd.unusable == "no address" else pvd.unusable,
                notes=(*pvd.notes, note),
            )
    return pvd


def _with_dns(pvd: ProvisioningDomain, dns: SystemDns, link: Link) -> ProvisioningDomain:
    settings = settings_for(dns, link.name, link.index, pvd.families, link.loopback)
    return replace(
        pvd,
        resolvers=settings.resolvers,
        search=settings.search,
        zones=settings.zones,
        notes=(*pvd.notes, *settings.notes),
    )


def _with_neighbours(pvd: ProvisioningDomain, configured: list[ProvisioningDomain]) -> ProvisioningDomain:
    """Say so where PvDs on one interface cannot be told apart by their way out.

    No socket option chooses the next hop: what leaves by the same router is one network, by any name.
    `ip rule add from ADDRESS` is what makes a difference.
    """
    notes = []
    for family in pvd.families:
        router = _router(pvd, family)
        others = [
            other.name
            for other in configured
            if other.name != pvd.name
            and other.interface == pvd.interface
            and family in other.families
            and _router(other, family) == router
        ]
        if router is not None and others:
            notes.append(f"IPv{family}: leaves by router {router}, as does {', '.join(others)}")
    return replace(pvd, notes=(*pvd.notes, *notes)) if notes else pvd


def _without_foreign_search(
    pvd: ProvisioningDomain, pvds: tuple[ProvisioningDomain, ...]
) -> ProvisioningDomain:
    """Leave out the search domains that belong to others: there a bare name would become one of theirs.

    The host's list is everybody's, and `zones.match` looks at the name as the application gave it.
    """
    search, notes = [], []
    for domain in pvd.search:
        found = {other.name: match(other, domain) for other in pvds}
        best = max(found.values())
        if best.verdict is Verdict.YES and found[pvd.name] != best:
            owners = ", ".join(sorted(name for name, of_other in found.items() if of_other == best))
            notes.append(f"search domain {domain} left out: {best.zone} belongs to {owners}")
        else:
            search.append(domain)
    return replace(pvd, search=tuple(search), notes=(*pvd.notes, *notes)) if notes else pvd


def _router(pvd: ProvisioningDomain, family: int) -> str | None:
    """The next hop of the default route that the kernel takes: routes stand in the order of its search."""
    return next((route.gateway for route in pvd.routes if route.is_default and route.family == family), None)


def _free_name(name: str, taken: Collection[str]) -> str:
    """The name of an implicit PvD; it gives way to a configured one that is called like its device."""
    candidate, n = name, 1
    while candidate in taken:
        n += 1
        candidate = f"{name}-{n}"
    return candidate


def _bounced(before: KernelState | None, state: KernelState) -> frozenset[int]:
    """The links whose carrier went and came back between two looks, by their index.

    What is on them may look the same: a cable that was pulled and plugged into another network.
    """
    if before is None:
        return frozenset()
    known = before.links_by_index
    return frozenset(
        link.index
        for link in state.links
        if link.index in known and link.carrier_changes != known[link.index].carrier_changes
    )


def _numbered(
    pvds: tuple[ProvisioningDomain, ...],
    previous: PvdSet | None,
    state: KernelState,
    bounced: Collection[int],
) -> PvdSet:
    if previous is None:
        return PvdSet(tuple(_recognised(pvd, None, state) for pvd in pvds))
    generation = previous.generation + 1
    found = []
    for pvd in pvds:
        old = previous.get(pvd.name)
        new = replace(pvd, attachment=_attachment(old, pvd, generation, bounced))
        found.append(_recognised(new, old, state))
    numbered = tuple(found)
    return previous if numbered == previous.pvds else PvdSet(numbered, generation)


def _recognised(
    pvd: ProvisioningDomain, old: ProvisioningDomain | None, state: KernelState
) -> ProvisioningDomain:
    """With an identity, where there is one. It stays what it is for as long as the PvD is attached.

    So it does not matter what else becomes known meanwhile: a prefix, or the router's link-layer address.
    """
    if pvd.identity is not None or pvd.unusable is not None or pvd.is_loopback:
        return pvd
    known = old.identity if old is not None and old.attachment == pvd.attachment else None
    known = known or identity(pvd, state)
    return replace(pvd, identity=known) if known is not None else pvd


def _attachment(
    old: ProvisioningDomain | None, new: ProvisioningDomain, generation: int, bounced: Collection[int]
) -> int:
    """A number that a PvD of this name has not had before, where what was learnt of it no longer holds.

    That is so when the device was made anew, when the PvD can work again, also where nobody has looked while
    it could not, and when it has lost an address or a resolver. One that it gains takes nothing back. A PvD
    that comes back starts at the generation, which no earlier attachment of its name has reached.
    """
    if old is None:
        return generation
    returned = new.unusable is None and (old.unusable is not None or new.ifindex in bounced)
    same = not returned and old.ifindex == new.ifindex and _learnt_from(old) <= _learnt_from(new)
    return old.attachment if same else old.attachment + 1


def _learnt_from(pvd: ProvisioningDomain) -> set[object]:
    """The addresses and resolvers that whatever is known of a PvD was learnt with.

    A temporary IPv6 address (RFC 8981) counts by its prefix only: a new one each day is no new network.
    """
    addresses = (_prefix(a.address, a.prefix_length) if a.temporary else a.address for a in pvd.addresses)
    return {*addresses, *pvd.resolvers}


def _prefix(address: str, length: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network((address, length), strict=False)
