"""The arguments of a client of httpx2 or httpx that races, with the proxies of the environment."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: What the client has that is its transport's, and what its transport has besides.
_TRANSPORT = (
    "verify",
    "cert",
    "http1",
    "http2",
    "limits",
    "uds",
    "local_address",
    "retries",
    "socket_options",
)


_INSTEAD = {
    "transport": "one that races is made here; give yours to the client itself",
    "app": "nothing is connected to; give it to the client itself",
    "proxies": "say proxy=, or mounts= with a racing transport for each",
}


def arguments(
    transport: Callable[..., Any], ours: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a client: a transport, and one for each proxy. ``ours`` are those of each of them.

    Raises ValueError for what would bring in transports that do not race.
    """
    for name, instead in _INSTEAD.items():
        if options.get(name) is not None:
            raise ValueError(f"{name}= cannot be raced: {instead}")
    theirs = dict(options)
    own = {name: theirs.pop(name) for name in _TRANSPORT if name in theirs}
    own |= {"trust_env": theirs.get("trust_env", True), **ours}
    proxy = theirs.pop("proxy", None)
    if proxy is not None:
        proxies = {"all://": proxy}
    else:
        proxies = of_environment(getproxies()) if own["trust_env"] else {}
    mounts = {
        pattern: None if url is None else transport(**own, proxy=url) for pattern, url in proxies.items()
    }
    return {**theirs, "transport": transport(**own), "mounts": mounts | (theirs.get("mounts") or {})}


def of_environment(proxies: Mapping[str, str]) -> dict[str, str | None]:
    """The proxies of the environment (`urllib.request.getproxies`) by URL pattern; None: without any.

    As the clients read ``NO_PROXY`` themselves: a name is its domain and all under it, ``.example.com`` only
    what is under it, ``*`` everything.
    """
    found: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        if url := proxies.get(scheme):
            found[f"{scheme}://"] = url if "://" in url else f"http://{url}"
    for host in (host.strip() for host in proxies.get("no", "").split(",")):
        if host == "*":
            return {}
        if host:
            found[_pattern(host)] = None
    return found


def _pattern(host: str) -> str:
    if "://" in host:
        return host
    address, slash, prefix = host.strip("[]").partition("/")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return f"all://{host}" if host.lower() == "localhost" else f"all://*{host}"
    return f"all://[{address}]{slash}{prefix}" if version == 6 else f"all://{host}"
