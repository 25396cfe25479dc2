"""What the adapters for httpx2 and httpx share, whether they block or not: words, options, errors, traces.

httpx2 stands on httpcore2 as httpx does on httpcore, and the two are the same but for their names: all that
follows takes them as values. `pvdrace.integrations.httpx2` and `pvdrace.integrations.httpx` are the public
names.
"""

from __future__ import annotations

import ipaddress
import select
from typing import TYPE_CHECKING, Any, NamedTuple

from ..calls import check_label, check_policy, timed_out
from ..errors import ConnectFailed, NoUsablePvd, ResolutionFailed, report_of
from ._options import check_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from ..policy import Policy

    SocketOption = tuple[Any, ...]

#: What a race raises that is the client's `ConnectError`: no configuration error, which is the program's own.
#: ValueError: of a URL's host.
LOST = (NoUsablePvd, ResolutionFailed, ConnectFailed, OSError, ValueError)


class Words(NamedTuple):
    """A client and the core that it stands on, as modules."""

    client: ModuleType
    core: ModuleType


class Setting:
    """What decides about the connections of a backend. ``policy`` may be changed.

    ``source``: the address of this host that they come from, where the core names none. ``pruned``: whether
    somebody prunes the pool before each request; otherwise the pool asks each idle connection.
    """

    source: str | None = None
    pruned = False

    def __init__(self, policy: Policy | None, label: str | None) -> None:
        self.label = check_label(label)
        self._policy = check_policy(policy)

    @property
    def policy(self) -> Policy | None:
        """The policy of connections from now on; a pooled one that it forbids is not used again."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._policy = check_policy(policy)


def check_source(local_address: str | None) -> str | None:
    """The address to come from; ValueError for what is none."""
    if local_address is None:
        return None
    try:
        return str(ipaddress.ip_address(local_address))
    except ValueError:
        raise ValueError(
            f"local_address must be an IP address, not {local_address!r}: "
            "for an interface say policy=Policy(require=['interface:NAME'])"
        ) from None


def check_transport_options(options: dict[str, Any]) -> None:
    """ValueError for what a transport takes and a race cannot do, before anything is sent."""
    if options.get("socket_options") is not None:
        options["socket_options"] = list(options["socket_options"])
        check_options(options["socket_options"])
    check_source(options.get("local_address"))


def install(backend: Setting, transport: Any, words: Words, options: Mapping[str, Any]) -> Any:
    """Put a network backend into a transport, which has no public place for one; returns its pool.

    Raises RuntimeError if the place is not where it was in every version so far.
    """
    pool: Any = getattr(transport, "_pool", None)
    if not hasattr(pool, "_network_backend"):
        name, version = words.client.__name__, words.client.__version__
        raise RuntimeError(
            f"{name} {version}: {type(transport).__name__}._pool._network_backend is not there, and that is "
            f"where pvdrace has to put its network backend; {words.core.__name__} with "
            "network_backend= works without"
        )
    pool._network_backend = backend
    backend.pruned = True
    backend.source = check_source(
        options.get("local_address")
    )  # also to a proxy, for which the core has none
    return pool


def connect_error(words: Words, error: Exception) -> Exception:
    """The core's exception for a race that was lost: ``ConnectTimeout`` if its time was over."""
    report = report_of(error)
    kind = words.core.ConnectTimeout if timed_out(report) else words.core.ConnectError
    raised: Exception = kind(str(error))
    raised.report = report  # type: ignore[attr-defined]
    return raised


def explain(error: BaseException) -> None:
    """Give the client's exception the report of the race, and its chain of causes what the pool took out."""
    report = report_of(error)
    if report is None:
        return
    error.report = report  # type: ignore[attr-defined]
    inner = error.__cause__
    if inner is not None and inner.__cause__ is None:  # the pool raises it `from None`
        inner.__cause__ = inner.__context__


def is_readable(sock: Any) -> bool:
    """Whether there is something to read, or the socket is closed: as the core asks of idle connections."""
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def to_retire(pool: Any) -> Iterator[Any]:
    """The pool's connections that may not be used any more, as their streams say."""
    for connection in pool.connections:
        stream = stream_of(connection)
        if stream is None:
            # It is being made; or these names are others now, and nobody knows what it stands on.
            if connection.is_idle():
                yield connection
        elif getattr(stream, "objection", _no_objection)() is not None:
            yield connection


def stream_of(connection: Any) -> Any:
    """The network stream within one of the pool's connections; None where it has none yet.

    Connections are nested, by whether there is a proxy and which HTTP is spoken, and these names private.
    """
    for _ in range(4):
        if hasattr(connection, "_network_stream"):
            return connection._network_stream
        connection = getattr(connection, "_connection", None)
    return None


def _no_objection() -> None:
    """Of a stream that is not ours: a Unix socket."""


def retire(connection: Any) -> None:
    """Let one of the pool's connections take no more requests, and go when the last one is done.

    What the pool asks its connections is public; it closes those that have expired.
    """
    connection.is_available = _never
    connection.has_expired = connection.is_idle


def _never() -> bool:
    return False
