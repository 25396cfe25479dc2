"""websockets on trio: `connect`, in the place of `websockets.trio.client.connect` (websockets 17).

::

    async with pvdrace.integrations.websockets_trio.connect("wss://www.example.com/") as websocket:
        ...

TLS is a stage of the race. For asyncio: `pvdrace.integrations.websockets`.
"""

from __future__ import annotations

import contextlib
from ssl import SSLContext, create_default_context
from typing import TYPE_CHECKING, Any

import trio
import websockets.trio.client as upstream
from websockets.proxy import get_proxy, parse_proxy, prepare_connect_request
from websockets.version import version

from ..errors import ConnectFailed, report_of
from .trio import open_ssl_over_tcp_stream, open_tcp_stream, report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.proxy import Proxy
    from websockets.trio.client import ClientConnection

    from ..connector import Connector
    from ..policy import Policy
    from ..race.report import RaceReport

#: The methods and the function that this relies on. None of them is documented.
_HOOKS = (
    (upstream.connect, "open_tcp_stream"),
    (upstream.connect, "enable_tls"),
    (upstream.connect, "open_connection"),
    (upstream, "read_connect_response"),
)

if not all(hasattr(place, name) for place, name in _HOOKS):
    raise ImportError(f"websockets {version} opens its connections in a way that pvdrace does not know")

#: The race ends earlier than websockets' own timer, so that it can tell what happened: this part of the time
#: that there is, and so many seconds at most.
MARGIN, MOST_MARGIN = 0.1, 0.25


class connect(upstream.connect):
    """As `websockets.trio.client.connect`: every connection, also each that it makes anew, is a race.

    ``connector``, ``policy``, ``label``, proxies and errors as in `pvdrace.integrations.websockets.connect`;
    ``stream``, ``unix`` and ``local_address`` cannot be raced, and are a ValueError.
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
        for name in ("stream", "unix"):
            if options.get(name):
                raise ValueError(f"{name}= cannot be raced: for that use websockets itself")
        super().__init__(uri, **options)
        self.connector = connector
        self.policy = policy
        self.label = label
        self._deadline: float | None = None
        self._report: RaceReport | None = None
        self._secured: trio.abc.Stream | None = None

    async def connect(self, nursery: trio.Nursery) -> ClientConnection:
        """As websockets does, in the same time for all of it."""
        timeout = self.open_timeout
        self._deadline = (
            None if timeout is None else trio.current_time() + timeout - min(timeout * MARGIN, MOST_MARGIN)
        )
        try:
            connection = await super().connect(nursery)
        except OSError as error:  # TimeoutError is one
            if (lost := report_of(error)) is not None:
                error.report = lost  # type: ignore[attr-defined]
            raise
        connection.report = self._report  # type: ignore[attr-defined]
        return connection

    async def open_tcp_stream(self) -> trio.abc.Stream:
        """Race, instead of websockets' one attempt; TLS included where there is no proxy."""
        options: dict[str, Any] = dict(self.open_tcp_stream_kwargs)
        proxy = get_proxy(self.ws_uri) if self.proxy is True else self.proxy
        if proxy is not None:
            return await self._through(parse_proxy(proxy), options)
        host, port = options.pop("host", self.ws_uri.host), options.pop("port", self.ws_uri.port)
        if not self.ws_uri.secure:
            return await self._race(host, port, options)
        name = self.server_hostname or self.ws_uri.host
        return await self._race_with_tls(host, port, options, self.ssl, name)

    async def enable_tls(self, stream: trio.abc.Stream) -> trio.abc.Stream:
        """Nothing where it was part of the race; else, behind a proxy, as websockets does."""
        if stream is self._secured:
            return stream
        return await super().enable_tls(stream)

    async def _race(self, host: str, port: int, options: dict[str, Any]) -> trio.abc.Stream:
        with self._in_time():
            stream = await open_tcp_stream(host, port, **self._of_the_race(), **options)
        self._report = report(stream)
        return stream

    async def _race_with_tls(
        self, host: str, port: int, options: dict[str, Any], context: SSLContext | None, name: str
    ) -> trio.abc.Stream:
        context = context or create_default_context()
        with self._in_time():
            stream = await open_ssl_over_tcp_stream(
                host,
                port,
                https_compatible=True,
                ssl_context=context,
                server_hostname=name,
                **self._of_the_race(),
                **options,
            )
        self._report = report(stream)
        self._secured = stream
        return stream

    async def _through(self, proxy: Proxy, options: dict[str, Any]) -> trio.abc.Stream:
        """Race to an HTTP proxy, and ask it for a tunnel: as websockets does, but for the race."""
        if not proxy.scheme.startswith("http"):
            raise ValueError(
                f"a connection to the {proxy.scheme} proxy {proxy.host} is not raced: proxy=None goes "
                "without it, and a provisioning domain may have a proxy of its own"
            )
        if proxy.scheme == "https":
            name = self.proxy_server_hostname or proxy.host
            stream = await self._race_with_tls(proxy.host, proxy.port, options, self.proxy_ssl, name)
            self._secured = None  # what it carries is not, yet
        elif self.proxy_ssl is not None:
            raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
        else:
            stream = await self._race(proxy.host, proxy.port, options)
        try:
            await stream.send_all(prepare_connect_request(proxy, self.ws_uri, self.user_agent_header))
            await upstream.read_connect_response(stream)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    def _of_the_race(self) -> dict[str, Any]:
        left = None if self._deadline is None else max(self._deadline - trio.current_time(), 0)
        return {
            "connector": self.connector,
            "policy": self.policy,
            "label": self.label,
            "timeout": left,
        }

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            yield
        except ConnectFailed as error:
            if self._deadline is not None and trio.current_time() >= self._deadline:
                raise TimeoutError("timed out during opening handshake") from error
            raise
