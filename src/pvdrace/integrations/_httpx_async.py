"""The asynchronous transport of httpx2 and httpx."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from ._background import Background
from ._httpcore import check_transport_options, explain, install
from ._httpcore_async import AsyncStream
from ._httpcore_trace import Tracing

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ..connector import Connector
    from ..policy import Policy
    from ._httpcore import Words
    from ._httpcore_async import AsyncBackend

    class _Transport:
        """What the transports of both clients have."""

        def __init__(self, **options: Any) -> None: ...
        async def handle_async_request(self, request: Any) -> Any: ...
        async def __aenter__(self) -> Any: ...
        async def __aexit__(self, *error: Any) -> None: ...
        async def aclose(self) -> None: ...
else:
    _Transport = object


class AsyncTransport(_Transport):
    """The client's own transport over connections that are won in races.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); it is not closed
    with the transport. ``policy`` and ``label`` as in `Connector.open_connection`; ``policy`` may be set
    later. All else is the client's own, and has the client's meaning. ``connect`` of the client's timeouts is
    for the whole race, TLS included. What is raised is the client's own, with the report of the race as
    ``.report``.

    Used as a context manager, as a client does that is one, it also closes idle connections at once when
    their PvD goes or is a portal; otherwise before the next request.

    Raises ValueError for ``socket_options`` that choose a path and a ``local_address`` that is none.
    """

    _words: ClassVar[Words]
    _backend_class: ClassVar[type[AsyncBackend]]

    def __init__(
        self,
        *,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        backend = self._backend_class(connector, policy=policy, label=label)
        check_transport_options(options)
        super().__init__(**options)
        self._racing = backend
        self._racing_pool = install(backend, self, self._words, options)
        self._watch: Background | None = None

    @property
    def policy(self) -> Policy | None:
        """The policy of requests from now on; a pooled connection that it forbids is not used again."""
        return self._racing.policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._racing.policy = policy

    async def handle_async_request(self, request: Any) -> Any:
        """As the client's own."""
        await self._racing.prune(self._racing_pool)
        extensions = request.extensions
        if extensions.get("trace") is not None:
            request.extensions = {**extensions, "trace": AsyncTracing(extensions["trace"])}
        try:
            return await super().handle_async_request(request)
        except BaseException as error:
            if isinstance(error, self._words.client.TransportError):
                explain(error)
            await self._racing.tidy(self._racing_pool)
            raise
        finally:
            request.extensions = extensions

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._watch is None:
            self._watch = Background(self._follow)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            await self._stop()
        finally:
            await super().__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Close all connections."""
        try:
            await self._stop()
        finally:
            await super().aclose()

    async def _follow(self) -> None:
        connector = self._racing.connector
        async with aclosing(connector.watch()) as changes:
            async for _ in changes:
                await self._racing.prune(self._racing_pool)

    async def _stop(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.stop()


class AsyncTracing(Tracing):
    """A trace extension's function for asynchronous requests, with the races among what it is told.

    The core forgets the stream that it makes a connection of if the function is cancelled: closed here.
    """

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        """As the core calls it."""
        try:
            for event, details in self._news(info):
                await self._trace(event, details)
            await self._trace(name, info)
        except BaseException:
            stream = self._lost(name, info)
            if isinstance(stream, AsyncStream):
                with anyio.CancelScope(shield=True):
                    await stream.aclose()
            raise
