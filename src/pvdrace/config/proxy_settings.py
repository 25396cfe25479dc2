"""What the proxy is to do: the table ``[proxy]`` of `pvdrace.toml`. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..model import parse_literal
from .profile_names import PROFILES
from .values import as_bool, as_number, as_seconds, as_text, as_word, kind_of, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .toml_lines import Path
    from .toml_reader import TomlReader

#: Ports on which the client speaks first, and in TLS: where interception can be seen (docs/proxy.md).
TLS_PORTS = (443, 465, 563, 636, 853, 989, 990, 992, 993, 995, 5061, 5223, 5671, 6697, 8443, 8883)
MAX_IDLE = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a connection is made: a shipped profile or a policy file (its path), and the label for rules."""

    profile: str | None = None
    policy: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.profile is not None and self.policy is not None:
            raise ValueError("a profile or a policy file, not both")

    def over(self, other: Way) -> Way:
        """This one where it says something, else the other: profile and policy file are one thing."""
        says = self if (self.profile or self.policy) is not None else other
        return Way(profile=says.profile, policy=says.policy, label=self.label or other.label)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: an IP address and a port (0: any that is free), and the way of who comes there.

    ``authenticate``: only with a user's name and password; always so where the address is no loopback's.
    """

    address: str = "127.0.0.1"
    port: int = 1080
    way: Way = Way()
    authenticate: bool = False

    @classmethod
    def parse(cls, text: str, way: Way = Way(), authenticate: bool = False) -> Listen:
        """``127.0.0.1:1080``, ``[::1]:1080``; ValueError for what is no address and port."""
        found = re.fullmatch(r"(?:\[([^][]*)\]|([^][:]*)):([0-9]{1,5})", text, re.ASCII)
        literal = parse_literal(found[1] or found[2]) if found else None
        if (
            found is None
            or literal is None
            or literal.zone
            or (literal.family == 6) != (found[1] is not None)
        ):
            raise ValueError(f"{text!r} is not an IP address and a port such as 127.0.0.1:1080 or [::1]:1080")
        if int(found[3]) > 65535:
            raise ValueError(f"{text!r}: {found[3]} is not a port from 0 to 65535")
        return cls(literal.address, int(found[3]), way, authenticate)

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can come here."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class User:
    """A name by which clients choose their way. Its password, if any, is in no configuration."""

    name: str
    way: Way = Way()


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The table ``[proxy]``.

    ``passwords`` is the path of a file with a line ``NAME:PASSWORD`` for each user that has one.
    ``allow_remote``: listening beyond loopback is meant. ``allow_local``: so are targets on this host and on
    a link. Times in seconds: ``handshake_timeout`` for what the client says until its target is known,
    ``connect_timeout`` for the race, ``idle_timeout`` without a byte in either direction (RFC 5382 s5 asks
    2 h 4 min of a NAT), ``drain_timeout`` for connections to end when the proxy is stopped.
    ``max_connections``: the next clients wait in the kernel. ``tls_ports``: where a first flight is watched.
    """

    listen: tuple[Listen, ...] = (Listen(),)
    users: tuple[User, ...] = ()
    passwords: str | None = None
    allow_remote: bool = False
    allow_local: bool = False
    max_connections: int = 4096
    handshake_timeout: float = 10.0
    connect_timeout: float = 30.0
    idle_timeout: float = 7440.0
    drain_timeout: float = 10.0
    tls_ports: tuple[int, ...] = TLS_PORTS

    def __post_init__(self) -> None:
        for name, values in (
            ("user", [user.name for user in self.users]),
            ("listen", [str(each) for each in self.listen if each.port]),
        ):
            for n, value in enumerate(values):
                if value in values[:n]:
                    raise ValueError(f"{name}: {value!r} is there twice")
        if not self.listen:
            raise ValueError("there is no address to listen on")
        for key, convert in VALUES.items():
            if getattr(self, key) is not None:
                try:
                    convert(getattr(self, key))
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None

    def check(self, passwords: frozenset[str]) -> None:
        """ValueError where the proxy would be open to others; ``passwords``: the users that have one."""
        for listen in self.listen:
            if not listen.is_loopback and not self.allow_remote:
                raise ValueError(
                    f"{listen} can be reached from other hosts: that takes allow_remote and passwords"
                )
            if (listen.authenticate or not listen.is_loopback) and not passwords:
                raise ValueError(f"{listen} asks for authentication, and no user has a password")


def as_count(value: object) -> int:
    """A whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number is wanted, not {kind_of(value)}")
    if value < 1:
        raise ValueError(f"{value} is not at least 1")
    return value


def as_duration(value: object) -> float:
    """Seconds above 0, an hour at most."""
    return _above_0(as_seconds(value))


def as_idle(value: object) -> float:
    """Seconds above 0, thirty days at most."""
    seconds = _above_0(as_number(value))
    if seconds > MAX_IDLE:
        raise ValueError(f"{value} s is more than 30 days")
    return seconds


def as_user(value: object) -> str:
    """A name that fits both protocols: RFC 1929 has 255 bytes for it, RFC 7617 no colon in it."""
    name = as_word(value)
    if ":" in name or len(name.encode()) > 255:
        raise ValueError(f"{name!r} is no user's name: it has a colon, or more than 255 bytes")
    return name


VALUES: dict[str, Callable[[Any], Any]] = {
    "passwords": as_word,
    "allow_remote": as_bool,
    "allow_local": as_bool,
    "max_connections": as_count,
    "handshake_timeout": as_duration,
    "connect_timeout": as_duration,
    "idle_timeout": as_idle,
    "drain_timeout": as_seconds,
}
PROXY_KEYS = (*VALUES, "tls_ports", "listen", "user")
WAY_KEYS = tuple(field.name for field in fields(Way))
LISTEN_KEYS = ("address", *WAY_KEYS, "authenticate")
USER_KEYS = ("name", *WAY_KEYS)


def read_proxy(reader: TomlReader) -> ProxySettings | None:
    """The table ``[proxy]`` with its ``[[proxy.listen]]`` and ``[[proxy.user]]``; None without it."""
    table = reader.table("proxy")
    if table is None:
        return None
    here: Path = ("proxy",)
    reader.check_keys(table, here, PROXY_KEYS)
    says: dict[str, Any] = {
        key: reader.value(table, here, key, convert) for key, convert in VALUES.items() if key in table
    }
    if (ports := reader.values(table, here, "tls_ports", _as_port)) is not None:
        says["tls_ports"] = ports
    if listen := tuple(_listen(reader, each, path) for each, path in _tables(reader, table, "listen")):
        says["listen"] = listen
    users = tuple(_user(reader, each, path) for each, path in _tables(reader, table, "user"))
    reader.check_unique([user.name for user in users], lambda n: ("proxy", "user", n, "name"))
    places = [str(each) if each.port else str(n) for n, each in enumerate(listen)]
    reader.check_unique(places, lambda n: ("proxy", "listen", n, "address"))
    return reader.attempt(here, lambda: ProxySettings(users=users, **says))


def _tables(reader: TomlReader, table: dict[str, Any], key: str) -> Iterator[tuple[dict[str, Any], Path]]:
    found = table.get(key, [])
    if not isinstance(found, list):
        reader.fail(("proxy", key), f"tables are wanted, each under [[proxy.{key}]], not {kind_of(found)}")
    for n, each in enumerate(found):
        if not isinstance(each, dict):
            reader.fail(("proxy", key, n), f"a table is wanted, not {kind_of(each)}")
        yield each, ("proxy", key, n)


def _listen(reader: TomlReader, table: dict[str, Any], path: Path) -> Listen:
    reader.check_keys(table, path, LISTEN_KEYS)
    if "address" not in table:
        reader.fail(path, "address is missing")
    way = _way(reader, table, path)
    authenticate = reader.value(table, path, "authenticate", as_bool) or False
    made = reader.value(table, path, "address", lambda value: Listen.parse(as_text(value), way, authenticate))
    assert made is not None
    return made


def _user(reader: TomlReader, table: dict[str, Any], path: Path) -> User:
    reader.check_keys(table, path, USER_KEYS)
    if "name" not in table:
        reader.fail(path, "name is missing")
    return User(reader.value(table, path, "name", as_user) or "", _way(reader, table, path))


def _way(reader: TomlReader, table: dict[str, Any], path: Path) -> Way:
    profile = reader.value(table, path, "profile", one_of(PROFILES))
    policy = reader.value(table, path, "policy", as_word)
    label = reader.value(table, path, "label", as_word)
    return reader.attempt(path, lambda: Way(profile=profile, policy=policy, label=label))


def _as_port(value: object) -> int:
    number = as_count(value)
    if number > 65535:
        raise ValueError(f"{number} is not a port from 1 to 65535")
    return number


def _above_0(seconds: float) -> float:
    if seconds == 0:
        raise ValueError("a time is above 0 s")
    return seconds
