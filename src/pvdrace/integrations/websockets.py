"""websockets on asyncio: `connect`, in the place of `websockets.asyncio.client.connect`.

::

    async for websocket in pvdrace.integrations.websockets.connect("wss://www.example.com/"):
        ...  # each time that it connects anew is a race of its own

TLS is a stage of the race. For trio: `pvdrace.integrations.websockets_trio`.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import websockets.asyncio.client as upstream
from websockets.uri import parse_uri
from websockets.version import version

from ..errors import ConnectFailed, report_of
from .asyncio import reported_connection

try:
    from websockets.proxy import get_proxy, parse_proxy
except ImportError:  # before 16
    from websockets.uri import get_proxy, parse_proxy  # type: ignore[no-redef,attr-defined,unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from websockets.asyncio.client import ClientConnection
    from websockets.proxy import Proxy
    from websockets.uri import WebSocketURI

    from ..connector import Connector
    from ..policy import Policy

P = TypeVar("P", bound=asyncio.BaseProtocol)

#: What websockets calls the method that opens a connection, and what that needs: of 17, and of those before.
#: None of it is documented.
_NAMES = (
    ("open_tcp_connection", "factory", "create_connection_kwargs"),
    ("create_connection", "protocol_factory", "connection_kwargs"),
)
_HOOK, _FACTORY, _OPTIONS = next(
    (names for names in _NAMES if hasattr(upstream.connect, names[0])), ("", "", "")
)
if not _HOOK:
    raise ImportError(f"websockets {version} opens its connections in a way that pvdrace does not know")

#: The race ends earlier than websockets' own timer, so that it can tell what happened: this part of the time
#: that there is, and so many seconds at most.
MARGIN, MOST_MARGIN = 0.1, 0.25


class connect(upstream.connect):
    """As `websockets.asyncio.client.connect`: every connection, also each that it makes anew, is a race.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); ``policy`` and
    ``label`` as in `Connector.open_connection`. They may be set anew: for the connections to come.

    What it gives has the ``report`` of its race. ``open_timeout`` (seconds) is for the race and websockets'
    handshake together. Where an HTTP proxy is configured (``proxy``), the race is for the proxy, and what is
    behind is its affair; a SOCKS proxy is a ValueError, as are ``sock``,
    ``unix``, ``local_addr`` and ``flags``.

    Raises what websockets does: OSError where no connection can be made, TimeoutError where time is over;
    each with the ``report``.
    """

    def __init__(
        self,
        uri: str,
        *,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        for name in ("sock", "unix"):
            if options.get(name):
                raise ValueError(f"{name}= cannot be raced: for that use websockets itself")
        super().__init__(uri, **options)
        self.connector = connector
        self.policy = policy
        self.label = label
        self._deadline: float | None = None

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        timeout = self.open_timeout
        now = asyncio.get_running_loop().time()
        self._deadline = None if timeout is None else now + timeout - min(timeout * MARGIN, MOST_MARGIN)
        try:
            return (yield from super().__await__())
        except OSError as error:  # TimeoutError is one
            if (report := report_of(error)) is not None:
                error.report = report  # type: ignore[attr-defined]
            raise

    async def open_tcp_connection(self) -> ClientConnection:
        """Race, instead of websockets' one attempt."""
        uri = parse_uri(self.uri)
        make: Callable[[], ClientConnection] = partial(getattr(self, _FACTORY), uri)
        options: dict[str, Any] = dict(getattr(self, _OPTIONS))
        if uri.secure:
            if options.setdefault("ssl", True) is True:
                options["ssl"] = ssl_module.create_default_context()
            options.setdefault("server_hostname", uri.host)
            if options["ssl"] is None:
                raise ValueError("ssl=None is incompatible with a wss:// URI")
        elif options.get("ssl") is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        proxy = get_proxy(uri) if self.proxy is True else self.proxy
        if proxy is not None:
            return await self._through(parse_proxy(proxy), uri, make, options)
        host, port = options.pop("host", uri.host), options.pop("port", uri.port)
        _, connection = await self._race(make, host, port, options)
        return connection

    create_connection = open_tcp_connection  # as it was called before 17

    async def _race(
        self, make: Callable[[], P], host: str, port: int, options: dict[str, Any]
    ) -> tuple[asyncio.Transport, P]:
        now = asyncio.get_running_loop().time()
        left = None if self._deadline is None else max(self._deadline - now, 0)
        try:
            transport, protocol, report = await reported_connection(
                make,
                host,
                port,
                connector=self.connector,
                policy=self.policy,
                label=self.label,
                timeout=left,
                **options,
            )
        except ConnectFailed as error:
            if self._deadline is not None and asyncio.get_running_loop().time() >= self._deadline:
                raise TimeoutError(str(error)) from error
            raise
        protocol.report = report  # type: ignore[attr-defined]
        return transport, protocol

    async def _through(
        self, proxy: Proxy, uri: WebSocketURI, make: Callable[[], ClientConnection], options: dict[str, Any]
    ) -> ClientConnection:
        """Race to an HTTP proxy, and ask it for a tunnel: as websockets does, but for the race."""
        if not proxy.scheme.startswith("http"):
            raise ValueError(
                f"a connection to the {proxy.scheme} proxy {proxy.host} is not raced: proxy=None goes "
                "without it, and a provisioning domain may have a proxy of its own"
            )
        tls = {name: options.pop(name) for name in list(options) if name.startswith(("ssl", "server_"))}
        options = {name.removeprefix("proxy_"): value for name, value in options.items()}
        if proxy.scheme == "https":
            options.setdefault("ssl", True)
        elif options.get("ssl") is not None:
            raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
        transport: asyncio.Transport | None
        transport, tunnel = await self._race(
            lambda: upstream.HTTPProxyConnection(uri, proxy, self.user_agent_header),
            proxy.host,
            proxy.port,
            options,
        )
        first = transport
        try:
            await tunnel.response
            connection = make()
            transport.set_protocol(connection)
            if context := tls.pop("ssl", None):
                loop = asyncio.get_running_loop()
                transport = await loop.start_tls(transport, connection, context, **tls)
            assert transport is not None
            connection.connection_made(transport)
        except BaseException:
            first.abort()
            raise
        connection.report = tunnel.report  # type: ignore[attr-defined]
        return connection
