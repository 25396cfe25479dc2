"""What can be said of a PvD in a file: ``[[pvd]]`` of one, ``[[override]]`` of all that are alike. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..model import COST_FLAGS, CostClass
from .probe_settings import as_captive_api
from .tables import as_table
from .values import (
    ROUTE_PREFERENCES,
    as_address,
    as_bool,
    as_domain,
    as_interface,
    as_metric,
    as_pin,
    as_pref64,
    as_proxy,
    as_rate,
    as_resolver,
    as_seconds,
    as_selector,
    as_share,
    as_word,
    one_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import ProvisioningDomain, Resolver
    from ..selectors import Selector
    from .toml_lines import Path
    from .toml_reader import TomlReader

#: What may be done with the DNS servers that a network gives.
DNS_USES = ("use", "ignore")

T = TypeVar("T")


@dataclass(frozen=True)
class PvdConfig:
    """What stands in one ``[[pvd]]`` table; None is a key that was left out. Addresses are canonical text."""

    name: str
    interface: str | None = None
    addresses: tuple[str, ...] | None = None
    resolvers: tuple[Resolver, ...] | None = None
    zones: tuple[str, ...] | None = None
    search: tuple[str, ...] | None = None
    type: str | None = None
    cost: CostClass | None = None
    cost_flags: frozenset[str] | None = None
    groups: tuple[str, ...] | None = None
    pref64: tuple[str, ...] | None = None
    address_table: str | None = None
    metric: int | None = None
    id: str | None = None
    trusted: bool | None = None
    dns: str | None = None
    default_route: bool | None = None
    captive_api: str | None = None
    proxy: str | None = None
    proxy_or_direct: bool | None = None
    pin: str | None = None
    rate: float | None = None
    warmup: float | None = None
    exclusive: bool | None = None
    secure: bool | None = None
    link_quality: float | None = None
    route_preference: str | None = None

    def or_else(self, other: PvdConfig) -> PvdConfig:
        """This, and of the other what is left out here."""
        missing = {
            f.name: value
            for f in fields(self)
            if getattr(self, f.name) is None and (value := getattr(other, f.name)) is not None
        }
        return replace(self, **missing) if missing else self


#: What makes a PvD the one that it is; all else can be said of several at once.
OWN_KEYS = ("name", "interface", "addresses", "id", "captive_api")
#: The keys of an ``[[override]]`` besides ``match``.
OVERRIDE_KEYS = tuple(f.name for f in fields(PvdConfig) if f.name not in OWN_KEYS)


@dataclass(frozen=True)
class Override:
    """What is said of every PvD that its selectors match; the name in ``settings`` is empty.

    Of the selectors, those of one kind are alternatives, and those of different kinds must all hold.
    """

    match: tuple[Selector, ...]
    settings: PvdConfig

    def matches(self, pvd: ProvisioningDomain) -> bool:
        """Whether it is meant."""
        kinds = {selector.kind for selector in self.match}
        return kinds <= {selector.kind for selector in self.match if selector.matches(pvd)}


def read_pvd(reader: TomlReader, table: dict[str, Any], path: Path) -> PvdConfig:
    """A ``[[pvd]]`` table."""
    reader.check_keys(table, path, tuple(f.name for f in fields(PvdConfig)))
    if "name" not in table:
        reader.fail(path, "a provisioning domain needs a name")
    return _settings(reader, table, path, reader.value(table, path, "name", as_word) or "")


def read_override(reader: TomlReader, table: dict[str, Any], path: Path) -> Override:
    """An ``[[override]]`` table."""
    for key in OWN_KEYS:
        if key in table:
            reader.fail((*path, key), "this is for one provisioning domain: say it in its [[pvd]]")
    reader.check_keys(table, path, ("match", *OVERRIDE_KEYS))
    match = reader.values(table, path, "match", _as_lasting_selector)
    if not match:
        reader.fail((*path, "match"), 'an override needs selectors, match = ["pvd:*"] for all')
    if len(table) == 1:
        reader.fail(path, "an override says something of what it matches: dns, cost, groups, ...")
    return Override(match, _settings(reader, table, path, ""))


def _as_lasting_selector(value: object) -> Selector:
    selector = as_selector(value)
    if selector.kind == "reachability":
        raise ValueError(f"{str(selector)!r}: an override holds whatever is reached")
    return selector


def _settings(reader: TomlReader, table: dict[str, Any], path: Path, name: str) -> PvdConfig:
    def read(key: str, convert: Callable[[Any], T]) -> T | None:
        return reader.value(table, path, key, convert)

    def read_list(key: str, convert: Callable[[Any], T]) -> tuple[T, ...] | None:
        return reader.values(table, path, key, convert)

    flags = read_list("cost_flags", one_of(sorted(COST_FLAGS)))
    cost = read("cost", one_of([kind.value for kind in CostClass]))
    return PvdConfig(
        name=name,
        interface=read("interface", as_interface),
        addresses=read_list("addresses", as_address),
        resolvers=read_list("resolvers", as_resolver),
        zones=read_list("zones", as_domain),
        search=read_list("search", as_domain),
        type=read("type", as_word),
        cost=None if cost is None else CostClass(cost),
        cost_flags=None if flags is None else frozenset(flags),
        groups=read_list("groups", as_word),
        pref64=read_list("pref64", as_pref64),
        address_table=read("address_table", as_table(reader.document)),
        metric=read("metric", as_metric),
        id=read("id", as_word),
        trusted=read("trusted", as_bool),
        dns=read("dns", one_of(DNS_USES)),
        default_route=read("default_route", as_bool),
        captive_api=read("captive_api", as_captive_api),
        proxy=read("proxy", as_proxy),
        proxy_or_direct=read("proxy_or_direct", as_bool),
        pin=read("pin", as_pin),
        rate=read("rate", as_rate),
        warmup=read("warmup", as_seconds),
        exclusive=read("exclusive", as_bool),
        secure=read("secure", as_bool),
        link_quality=read("link_quality", as_share),
        route_preference=read("route_preference", one_of(tuple(ROUTE_PREFERENCES))),
    )
