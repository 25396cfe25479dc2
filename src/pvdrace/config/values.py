"""The values of `pvdrace.toml`, one function each: as TOML gives it in, ours out. Pure.

A ValueError is one line for people, without the place, which the caller knows.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import re
from typing import TYPE_CHECKING

from ..model import Resolver, parse_literal
from ..names import MAX_LENGTH, to_ascii
from ..proxies import parse_proxy
from ..selectors import Selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The lengths that RFC 6052 s2.2 gives to a NAT64 prefix.
PREF64_LENGTHS = (32, 40, 48, 56, 64, 96)
#: RFC 4191 s2.1's preferences of a router or a route.
ROUTE_PREFERENCES = {"high": 1, "medium": 0, "low": -1}
#: A route metric of Linux is 32 bits wide.
MAX_METRIC = 2**32 - 1
MAX_SECONDS = 3600.0


def as_text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"a string is wanted, not {kind_of(value)}")
    return value


def as_word(value: object) -> str:
    """A string with something to see in it."""
    text = as_text(value)
    if not text.strip():
        raise ValueError("must not be empty")
    if text != text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} has white space around it or unprintable characters in it")
    return text


def as_interface(value: object) -> str:
    """The name of a network device, or an alternative name of one."""
    text = as_word(value)
    if "/" in text or " " in text or text in (".", ".."):
        raise ValueError(f"{text!r} cannot be the name of a network interface")
    return text


def one_of(words: Iterable[str]) -> Callable[[object], str]:
    """A reader of one of these words."""
    known = tuple(words)

    def convert(value: object) -> str:
        text = as_text(value)
        if text not in known:
            raise ValueError(f"{text!r} is not one of {', '.join(known)}")
        return text

    return convert


def as_address(value: object) -> str:
    """An IP address in canonical text."""
    text = as_text(value)
    literal = parse_literal(text)
    if literal is None or text.startswith("["):
        hint = "; an address stands alone, without prefix length" if "/" in text else ""
        raise ValueError(f"{text!r} is not an IP address{hint}")
    if literal.zone is not None:
        raise ValueError(f"{text!r}: leave the zone out, the interface of the PvD is the zone")
    return literal.address


def as_resolver(value: object) -> Resolver:
    """``ADDRESS`` or ``ADDRESS:PORT``, an IPv6 address with a port in brackets."""
    text = as_text(value)
    address, port = text, "53"
    if match := re.fullmatch(r"\[([^][]*)\](?::(.*))?", text):
        address, port = match[1], match[2] if match[2] is not None else port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        canonical = as_address(address)
    except ValueError as error:
        if "zone" in str(error):
            raise
        raise ValueError(
            f"{text!r} is not a resolver such as 192.0.2.1, 2001:db8::1, 192.0.2.1:5353 or [2001:db8::1]:5353"
        ) from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r}: {port!r} is not a port from 1 to 65535")
    return Resolver(canonical, int(port))


def as_domain(value: object) -> str:
    """A domain name in ASCII, lower case and without the final dot; ``.`` is the root."""
    text = as_text(value)
    if text == ".":
        return text
    name = to_ascii(text).removesuffix(".").lower()
    if len(name) > MAX_LENGTH or any(
        not re.fullmatch("[a-z0-9_-]{1,63}", label) for label in name.split(".")
    ):
        raise ValueError(f"{text!r} is not a domain name")
    return name


def as_pref64(value: object) -> str:
    """A NAT64 prefix (RFC 6052 s2.2) in canonical text."""
    text = as_text(value)
    try:
        prefix = ipaddress.IPv6Network(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv6 prefix") from None
    if prefix.prefixlen not in PREF64_LENGTHS:
        lengths = ", ".join(map(str, PREF64_LENGTHS))
        raise ValueError(f"{text!r}: a NAT64 prefix has a length of {lengths} (RFC 6052 s2.2)")
    if prefix.network_address.packed[8]:
        raise ValueError(f"{text!r}: bits 64 to 71 of a NAT64 prefix are zero (RFC 6052 s2.2)")
    return str(prefix)


def as_metric(value: object) -> int:
    """A route metric."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number is wanted, not {kind_of(value)}")
    if not 0 <= value <= MAX_METRIC:
        raise ValueError(f"{value} is not between 0 and {MAX_METRIC}")
    return value


def as_bool(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"true or false is wanted, not {kind_of(value)}")
    return value


def as_number(value: object) -> float:
    """A finite number of at least 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"a number is wanted, not {kind_of(value)}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value} is not a finite number of at least 0")
    return float(value)


def as_seconds(value: object) -> float:
    """A time in seconds, an hour at most."""
    seconds = as_number(value)
    if seconds > MAX_SECONDS:
        raise ValueError(f"{value} s is more than an hour")
    return seconds


def as_rate(value: object) -> float:
    """A speed in bits a second."""
    rate = as_number(value)
    if rate == 0:
        raise ValueError("a rate is above 0 bits a second")
    return rate


def as_share(value: object) -> float:
    """From 0.0 to 1.0."""
    share = as_number(value)
    if share > 1:
        raise ValueError(f"{value} is not between 0.0 and 1.0")
    return share


def as_proxy(value: object) -> str:
    """The URL of a proxy by IP address: ``http://192.0.2.1:3128`` or ``socks5://[2001:db8::1]:1080``."""
    text = as_text(value)
    parse_proxy(text)
    return text


def as_pin(value: object) -> str:
    """How sockets are kept in a PvD: ``device``, ``source`` or ``mark:NUMBER``."""
    text = as_text(value)
    if text in ("device", "source"):
        return text
    word, colon, number = text.partition(":")
    with contextlib.suppress(ValueError):
        if word == "mark" and colon and 0 < int(number, 0) < 2**32:
            return f"mark:{int(number, 0)}"
    raise ValueError(f"{text!r} is not one of device, source, mark:NUMBER (from 1 to {2**32 - 1})")


def as_port(value: object) -> int:
    """A number; `Match` knows which numbers are ports."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a port number is wanted, not {kind_of(value)}")
    return value


def as_selector(value: object) -> Selector:
    """A `Selector`."""
    return Selector.parse(as_text(value))


def kind_of(value: object) -> str:
    """What a value of TOML is, in words."""
    kinds = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a table",
    }
    return kinds.get(type(value), "a date or time")
