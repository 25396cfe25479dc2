"""httpx and httpcore over races: transports for clients, and network backends for pools.

::

    async with httpx.AsyncClient(transport=AsyncPvdTransport(policy=policy)) as client:
        response = await client.get("https://www.example.com/")
        print(response.extensions["network_stream"].get_extra_info("pvdrace.report"))
"""

from __future__ import annotations

import httpcore
import httpx

from ._httpcore import Words
from ._httpcore_async import AsyncBackend, AsyncStream, AsyncTransport

_WORDS = Words(httpx, httpcore)


class _AsyncNetworkStream(AsyncStream, httpcore.AsyncNetworkStream):
    pass


class AsyncPvdNetworkBackend(AsyncBackend, httpcore.AsyncNetworkBackend):
    """A racing network backend, for ``httpcore.AsyncConnectionPool(network_backend=...)``.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); it is not closed
    here. ``policy`` and ``label`` as in `Connector.open_connection`; ``policy`` may be set later.
    """

    _words = _WORDS
    _stream_class = _AsyncNetworkStream


class AsyncPvdTransport(AsyncTransport, httpx.AsyncHTTPTransport):
    """`httpx.AsyncHTTPTransport` over connections that are won in races.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); it is not closed
    with the transport. ``policy`` and ``label`` as in `Connector.open_connection`; ``policy`` may be set
    later. All other arguments are the client's own, by keyword. See `docs/httpx.md`.
    """

    _words = _WORDS
    _backend_class = AsyncPvdNetworkBackend
