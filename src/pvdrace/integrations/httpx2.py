"""httpx2 and httpcore2 over races: transports for clients, and network backends for pools.

::

    async with httpx2.AsyncClient(transport=AsyncPvdTransport(policy=policy)) as client:
        response = await client.get("https://www.example.com/")
        print(response.extensions["network_stream"].get_extra_info("pvdrace.report"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2

from ._httpcore import Words
from ._httpcore_async import AsyncBackend, AsyncStream
from ._httpcore_sync import Backend, Stream
from ._httpx_async import AsyncTransport
from ._httpx_clients import arguments
from ._httpx_sync import Transport

if TYPE_CHECKING:
    from .. import sync
    from ..connector import Connector
    from ..policy import Policy

_WORDS = Words(httpx2, httpcore2)


class _AsyncNetworkStream(AsyncStream, httpcore2.AsyncNetworkStream):
    pass


class AsyncPvdNetworkBackend(AsyncBackend, httpcore2.AsyncNetworkBackend):
    """A racing network backend, for ``httpcore2.AsyncConnectionPool(network_backend=...)``.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); it is not closed
    here. ``policy`` and ``label`` as in `Connector.open_connection`; ``policy`` may be set later.
    """

    _words = _WORDS
    _stream_class = _AsyncNetworkStream


class AsyncPvdTransport(AsyncTransport, httpx2.AsyncHTTPTransport):
    """`httpx2.AsyncHTTPTransport` over connections that are won in races.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); it is not closed
    with the transport. ``policy`` and ``label`` as in `Connector.open_connection`; ``policy`` may be set
    later. All other arguments are the client's own, by keyword. See `docs/httpx.md`.
    """

    _words = _WORDS
    _backend_class = AsyncPvdNetworkBackend


class _NetworkStream(Stream, httpcore2.NetworkStream):
    pass


class PvdNetworkBackend(Backend, httpcore2.NetworkBackend):
    """A racing network backend, for ``httpcore2.ConnectionPool(network_backend=...)``.

    ``connector``: a `pvdrace.sync.Connector` (the default one of `pvdrace.sync` if None). All else as in
    `AsyncPvdNetworkBackend`.
    """

    _words = _WORDS
    _stream_class = _NetworkStream


class PvdTransport(Transport, httpx2.HTTPTransport):
    """`httpx2.HTTPTransport` over connections that are won in races.

    ``connector``: a `pvdrace.sync.Connector` (the default one of `pvdrace.sync` if None). All else as in
    `AsyncPvdTransport`.
    """

    _words = _WORDS
    _backend_class = PvdNetworkBackend


def async_client(
    *,
    connector: Connector | None = None,
    policy: Policy | None = None,
    label: str | None = None,
    **options: Any,
) -> httpx2.AsyncClient:
    """An `httpx2.AsyncClient` over `AsyncPvdTransport`, with the proxies of the environment as it would have.

    ``options`` are those of the client and of the transport. A client that is given a transport takes no
    proxies from the environment; here each gets a transport that races to it. ``proxy`` and ``mounts`` as of
    the client, ``trust_env=False`` for no look at the environment. ``transport``, ``app`` and ``proxies`` are
    a ValueError: what they bring in does not race.
    """
    ours = {"connector": connector, "policy": policy, "label": label}
    return httpx2.AsyncClient(**arguments(AsyncPvdTransport, ours, options))


def client(
    *,
    connector: sync.Connector | None = None,
    policy: Policy | None = None,
    label: str | None = None,
    **options: Any,
) -> httpx2.Client:
    """The same blocking: an `httpx2.Client` over `PvdTransport`."""
    ours = {"connector": connector, "policy": policy, "label": label}
    return httpx2.Client(**arguments(PvdTransport, ours, options))
