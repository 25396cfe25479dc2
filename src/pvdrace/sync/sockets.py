"""`create_connection`, exactly as the standard library's, and the race behind it."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any

from ..errors import PvdRaceError
from .default import default_connector
from .errors import as_os_error, each_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..policy import Policy
    from .connector import Connector
    from .provisional import Provisional

#: What callers leave a timeout out with; a private name of the standard library, which http.client uses too.
DEFAULT_TIMEOUT: Any = getattr(socket, "_GLOBAL_DEFAULT_TIMEOUT", object())


def create_connection(
    address: tuple[str | None, int],
    timeout: float | None = DEFAULT_TIMEOUT,
    source_address: tuple[str, int] | None = None,
    *,
    all_errors: bool = False,
) -> socket.socket:
    """Connect to ``(host, port)`` by a race of the default connector: as `socket.create_connection`.

    The socket has the ``timeout`` (`socket.getdefaulttimeout` if there is none), which is also that of the
    whole race, in seconds. ``source_address``: an address of one PvD keeps the race in that PvD; its port has
    to be 0. What differs: names are looked up in each PvD by its own resolvers, and not in the hosts file.

    Raises OSError: `pvdrace.PvdRaceError`s that are also what the standard library would have raised, see
    `pvdrace.sync.errors.as_os_error`. ``all_errors``: an ExceptionGroup with an OSError for each attempt.
    """
    sock, _ = dial(default_connector(), None, address, timeout, source_address, all_errors, "tcp").settle()
    sock.settimeout(seconds(timeout))
    return sock


def dial(
    connector: Connector,
    policy: Policy | None,
    address: tuple[Any, Any],
    timeout: Any,
    source_address: tuple[str, int] | None,
    all_errors: bool,
    ready: str,
) -> Provisional:
    """The race for a `create_connection`, as far as the first transport handshake. Raises OSError."""
    host, port = address[0], address[1]
    limit = seconds(timeout)
    if limit == 0:
        raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))
    source = _source(source_address)

    def begin() -> Provisional:
        name, number = _name(host), _port(port)
        return connector.begin(name, number, policy=policy, timeout=limit, ready=ready, source=source)

    race: Provisional = as_the_library(begin, all_errors=all_errors)
    return race


def as_the_library(step: Callable[[], Any], *, all_errors: bool = False) -> Any:
    """Do a step of a race; what it raises is what the standard library would raise."""
    try:
        return step()
    except PvdRaceError as error:
        if all_errors and (each := each_of(error.report)):
            raise ExceptionGroup("create_connection failed", each) from error
        raise as_os_error(error) from error
    except ValueError as error:
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error


def seconds(timeout: Any) -> float | None:
    """A timeout as the socket module takes it."""
    if timeout is DEFAULT_TIMEOUT:
        return socket.getdefaulttimeout()
    if timeout is not None and not timeout >= 0:
        raise ValueError("Timeout value out of range")
    return timeout  # type: ignore[no-any-return]


def _name(host: str | bytes | None) -> str:
    if isinstance(host, bytes):
        host = host.decode("ascii")
    return "localhost" if host is None else host


def _port(port: int | str) -> int:
    if isinstance(port, str):
        return int(port) if port.isdigit() else socket.getservbyname(port, "tcp")
    return port


def _source(source_address: tuple[str, int] | None) -> str | None:
    """The address that the connection has to come from; None for any."""
    if source_address is None:
        return None
    host, port = source_address[0], source_address[1]
    if port:
        raise OSError(errno.EADDRNOTAVAIL, f"source port {port}: a race needs one for each attempt, use 0")
    if not host:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise OSError(errno.EADDRNOTAVAIL, f"source {host!r} is no IP address") from None
    return None if address.is_unspecified else str(address)
