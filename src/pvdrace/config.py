"""``pvdrace.toml``: text in, values out. Pure: somebody else reads the file.

Every error names the file, the line and the key. A key that was left out is None, never an empty value: what
is left out is read from the kernel, what is empty is meant to be empty.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .config_values import (
    ROUTE_PREFERENCES,
    as_address,
    as_bool,
    as_domain,
    as_interface,
    as_metric,
    as_pin,
    as_port,
    as_pref64,
    as_proxy,
    as_rate,
    as_resolver,
    as_seconds,
    as_selector,
    as_share,
    as_word,
    kind_of,
    one_of,
)
from .errors import ConfigurationError
from .model import COST_FLAGS, CostClass
from .policy import Policy
from .probe_settings import PROBE_LISTS, PROBE_VALUES, ProbeSettings, as_captive_api, probe_settings
from .rules import Match, Rule, first_match
from .toml_lines import LineIndex, Path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .model import Endpoint, Resolver

#: The sources of provisioning domains that can be named in ``discover``.
DISCOVERY_SOURCES = ("netlink",)
#: What may be done with the DNS servers that a network gives.
DNS_USES = ("use", "ignore")
#: The RFC 6724 policy tables that can be named in ``address_table``.
ADDRESS_TABLES = ("rfc6724", "rfc6724-ipv4-first", "rfc6724-update", "glibc")

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
    pin: str | None = None
    rate: float | None = None
    warmup: float | None = None
    exclusive: bool | None = None
    secure: bool | None = None
    link_quality: float | None = None
    route_preference: str | None = None


@dataclass(frozen=True)
class Configuration:
    """A whole ``pvdrace.toml``. The default is what holds where there is no file."""

    discover: tuple[str, ...] = ("netlink",)
    pvds: tuple[PvdConfig, ...] = ()
    rules: tuple[Rule, ...] = ()
    probe: ProbeSettings | None = None

    def layers(
        self, endpoint: Endpoint, application: Policy | None = None, call: Policy | None = None
    ) -> list[tuple[str, Policy]]:
        """The policies for a destination and what to call them, as `ranking.rank` takes them.

        The closest to the caller first: the call's, that of the first rule that matches, the application's.
        """
        rule = first_match(self.rules, endpoint)
        layers = [
            ("call", call),
            (f"rule {rule[0]}", rule[1].policy) if rule else ("rule", None),
            ("application", application),
        ]
        return [(name, policy) for name, policy in layers if policy]


def parse(text: str, filename: str = "pvdrace.toml") -> Configuration:
    """Read a configuration.

    Raises `ConfigurationError`, e.g. ``pvdrace.toml:12: pvd[1].cost: 'chaep' is not one of unmetered, …``.
    The elements of an array are counted from 0.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_syntax_error(text, filename, error)) from None
    return _Parser(filename, LineIndex(text)).configuration(document)


def _syntax_error(text: str, filename: str, error: tomllib.TOMLDecodeError) -> str:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
    if place is None:
        return f"{filename}: {error}"
    message = str(error)[: place.start()]
    if place[1] is None:
        return f"{filename}:{len(text.splitlines()) or 1}: {message} at the end of the file"
    return f"{filename}:{place[1]}: {message} (column {place[2]})"


class _Parser:
    """The walk over the parsed document. A path goes with every value, so that an error can say where."""

    def __init__(self, filename: str, lines: LineIndex) -> None:
        self._filename = filename
        self._lines = lines

    def configuration(self, document: dict[str, Any]) -> Configuration:
        self._check_keys(document, (), ("discover", "pvd", "rule", "probe"))
        pvds = tuple(self._pvd(table, path) for table, path in self._tables(document, "pvd"))
        self._check_unique([pvd.name for pvd in pvds], lambda n: ("pvd", n, "name"))
        rules = tuple(self._rule(table, path) for table, path in self._tables(document, "rule"))
        discover = self._optional(document, (), "discover", self._list_of(one_of(DISCOVERY_SOURCES)))
        probe = self._optional(document, (), "probe", self._probe)
        if discover is None:
            return Configuration(pvds=pvds, rules=rules, probe=probe)
        self._check_unique(discover, lambda n: ("discover", n))
        return Configuration(discover, pvds, rules, probe)

    def _pvd(self, table: dict[str, Any], path: Path) -> PvdConfig:
        self._check_keys(table, path, tuple(PvdConfig.__dataclass_fields__))
        if "name" not in table:
            self._fail(path, "a provisioning domain needs a name")

        def read(key: str, convert: Callable[[Any], T]) -> T | None:
            return self._optional(table, path, key, self._single(convert))

        def read_list(key: str, convert: Callable[[Any], T]) -> tuple[T, ...] | None:
            return self._optional(table, path, key, self._list_of(convert))

        flags = read_list("cost_flags", one_of(sorted(COST_FLAGS)))
        cost = read("cost", one_of([kind.value for kind in CostClass]))
        return PvdConfig(
            name=read("name", as_word) or "",
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
            address_table=read("address_table", one_of(ADDRESS_TABLES)),
            metric=read("metric", as_metric),
            id=read("id", as_word),
            trusted=read("trusted", as_bool),
            dns=read("dns", one_of(DNS_USES)),
            default_route=read("default_route", as_bool),
            captive_api=read("captive_api", as_captive_api),
            proxy=read("proxy", as_proxy),
            pin=read("pin", as_pin),
            rate=read("rate", as_rate),
            warmup=read("warmup", as_seconds),
            exclusive=read("exclusive", as_bool),
            secure=read("secure", as_bool),
            link_quality=read("link_quality", as_share),
            route_preference=read("route_preference", one_of(tuple(ROUTE_PREFERENCES))),
        )

    def _probe(self, table: object, path: Path) -> ProbeSettings:
        if not isinstance(table, dict):
            self._fail(path, f"a table [probe] is wanted, not {kind_of(table)}")
        self._check_keys(table, path, (*PROBE_VALUES, *PROBE_LISTS))
        readers = {key: self._single(convert) for key, convert in PROBE_VALUES.items()}
        readers |= {key: self._list_of(convert) for key, convert in PROBE_LISTS.items()}
        values = {key: readers[key](value, (*path, key)) for key, value in table.items()}
        return self._attempt(path, lambda: probe_settings(values))

    def _rule(self, table: dict[str, Any], path: Path) -> Rule:
        preferences = ("require", "prefer", "avoid", "prohibit")
        self._check_keys(table, path, ("match", *preferences))
        if not any(key in table for key in preferences):
            self._fail(path, f"a rule needs one of {', '.join(preferences)}")
        match = self._match(table.get("match", {}), (*path, "match"))
        selectors: dict[str, Any] = {
            key: self._optional(table, path, key, self._list_of(as_selector)) or () for key in preferences
        }
        try:
            return Rule(match, Policy(**selectors))
        except ValueError as error:
            self._fail(path, str(error))

    def _match(self, table: object, path: Path) -> Match:
        if not isinstance(table, dict):
            self._fail(path, f"a table {{ host, port, subnet, label }} is wanted, not {kind_of(table)}")
        self._check_keys(table, path, ("host", "port", "subnet", "label"))
        host = self._optional(table, path, "host", self._list_of(as_word)) or ()
        port = self._optional(table, path, "port", self._list_of(as_port)) or ()
        subnet = self._optional(table, path, "subnet", self._list_of(as_word)) or ()
        label = self._optional(table, path, "label", self._list_of(as_word)) or ()
        # One element at a time first, so that an error has the element's own line.
        for n, name in enumerate(host):
            self._attempt((*path, "host", n), partial(Match, host=(name,)))
        for n, number in enumerate(port):
            self._attempt((*path, "port", n), partial(Match, port=(number,)))
        for n, prefix in enumerate(subnet):
            self._attempt((*path, "subnet", n), partial(Match, subnet=(prefix,)))
        return self._attempt(path, lambda: Match(host, port, subnet, label))

    def _tables(self, document: dict[str, Any], key: str) -> Iterable[tuple[dict[str, Any], Path]]:
        tables = document.get(key, [])
        if not isinstance(tables, list):
            self._fail((key,), f"tables are wanted, each under [[{key}]], not {kind_of(tables)}")
        for n, table in enumerate(tables):
            if not isinstance(table, dict):
                self._fail((key, n), f"a table is wanted, not {kind_of(table)}")
            yield table, (key, n)

    def _optional(
        self, table: dict[str, Any], path: Path, key: str, convert: Callable[[Any, Path], T]
    ) -> T | None:
        return convert(table[key], (*path, key)) if key in table else None

    def _single(self, convert: Callable[[Any], T]) -> Callable[[Any, Path], T]:
        return lambda value, path: self._attempt(path, lambda: convert(value))

    def _list_of(self, convert: Callable[[Any], T]) -> Callable[[Any, Path], tuple[T, ...]]:
        def read(values: object, path: Path) -> tuple[T, ...]:
            if not isinstance(values, list):
                self._fail(path, f"a list is wanted, not {kind_of(values)}")
            element = self._single(convert)
            return tuple(element(value, (*path, n)) for n, value in enumerate(values))

        return read

    def _attempt(self, path: Path, make: Callable[[], T]) -> T:
        try:
            return make()
        except ValueError as error:
            self._fail(path, str(error))

    def _check_keys(self, table: dict[str, Any], path: Path, known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self._fail((*path, key), f"unknown key; {hint}")

    def _check_unique(self, names: Iterable[str], path_of: Callable[[int], Path]) -> None:
        first: dict[str, int] = {}
        for n, name in enumerate(names):
            if name in first:
                line = self._lines.line_of(*path_of(first[name]))
                self._fail(path_of(n), f"{name!r} is already used in line {line}")
            first[name] = n

    def _fail(self, path: Path, message: str) -> NoReturn:
        line = self._lines.line_of(*path)
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
        raise ConfigurationError(f"{self._filename}:{line}: {where}: {message}")
