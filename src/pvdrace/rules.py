"""Which policy holds for which destination: rules. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .model import Endpoint, parse_literal
from .names import fold, pattern_to_ascii
from .policy import Policy, several
from .selectors import glob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, init=False, slots=True)
class Match:
    """Conditions on a destination, all of which must hold; one that is left empty holds always.

    ``host``: a name; ``*.corp.example`` is every name below it, ``.corp.example`` is that and the name
    itself; a ``*`` stands for any text; case and a final dot do not count, and ``bücher.example`` is
    ``xn--bcher-kva.example``. ``port``: numbers. ``subnet``: prefixes
    that an IP literal must lie in; a name lies in none. ``label``: what the application calls this
    use of its own, as ``open_connection(label=)`` gives it; ``*`` stands for any text.

    Raises ValueError for what is not a port or a prefix, and for a name beyond ASCII that is none.
    """

    host: tuple[str, ...]
    port: tuple[int, ...]
    subnet: tuple[str, ...]
    label: tuple[str, ...]

    def __init__(
        self,
        host: Iterable[str] = (),
        port: Iterable[int] = (),
        subnet: Iterable[str] = (),
        label: Iterable[str] = (),
    ) -> None:
        object.__setattr__(self, "host", tuple(_pattern(h) for h in several("host", host)))
        object.__setattr__(self, "port", tuple(_port(p) for p in several("port", port)))
        object.__setattr__(self, "subnet", tuple(str(_subnet(s)) for s in several("subnet", subnet)))
        object.__setattr__(self, "label", tuple(several("label", label)))

    def matches(self, endpoint: Endpoint, label: str | None = None) -> bool:
        """Whether a destination, and the application's word for its use, fulfil all conditions."""
        if self.label and not any(glob(pattern, label or "") for pattern in self.label):
            return False
        if self.port and endpoint.port not in self.port:
            return False
        literal = parse_literal(endpoint.host)
        if self.subnet and (literal is None or not any(_in(literal.address, s) for s in self.subnet)):
            return False
        name = literal.address if literal else fold(endpoint.host)
        return not self.host or any(_host_matches(pattern, name) for pattern in self.host)


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy for some destinations."""

    match: Match
    policy: Policy


def first_match(
    rules: Sequence[Rule], endpoint: Endpoint, label: str | None = None
) -> tuple[int, Rule] | None:
    """The first rule for a destination and its number, counted from 1; None if there is none."""
    return next(((n, rule) for n, rule in enumerate(rules, 1) if rule.match.matches(endpoint, label)), None)


def _host_matches(pattern: str, name: str) -> bool:
    if pattern.startswith("."):
        return name == pattern[1:] or name.endswith(pattern)
    return glob(pattern, name)


def _pattern(host: str) -> str:
    return pattern_to_ascii(host).removesuffix(".").lower()


def _port(port: object) -> int:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ValueError(f"port {port!r} is not a number from 1 to 65535")
    return port


@lru_cache(maxsize=1024)
def _subnet(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"subnet {text!r} is not a prefix: {error}") from None


def _in(address: str, subnet: str) -> bool:
    return ipaddress.ip_address(address) in _subnet(subnet)
