"""The blocking transport of httpx2 and httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ._httpcore import check_transport_options, explain, install
from ._httpcore_sync import Stream
from ._httpcore_trace import Tracing

if TYPE_CHECKING:
    from ..policy import Policy
    from ..sync import Connector
    from ._httpcore import Words
    from ._httpcore_sync import Backend

    class _Transport:
        """What the transports of both clients have."""

        def __init__(self, **options: Any) -> None: ...
        def handle_request(self, request: Any) -> Any: ...
else:
    _Transport = object


class Transport(_Transport):
    """The client's own transport over connections that are won in races: see the asynchronous one.

    It may be used by several threads, as the client's own. Connections that may not be used any more are
    closed before the next request.
    """

    _words: ClassVar[Words]
    _backend_class: ClassVar[type[Backend]]

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

    @property
    def policy(self) -> Policy | None:
        """The policy of requests from now on; a pooled connection that it forbids is not used again."""
        return self._racing.policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._racing.policy = policy

    def handle_request(self, request: Any) -> Any:
        """As the client's own."""
        self._racing.prune(self._racing_pool)
        extensions = request.extensions
        if extensions.get("trace") is not None:
            request.extensions = {**extensions, "trace": BlockingTracing(extensions["trace"])}
        try:
            return super().handle_request(request)
        except self._words.client.TransportError as error:
            explain(error)
            raise
        finally:
            request.extensions = extensions


class BlockingTracing(Tracing):
    """A trace extension's function for blocking requests, with the races among what it is told.

    The core forgets the stream that it makes a connection of if the function raises: closed here.
    """

    def __call__(self, name: str, info: dict[str, Any]) -> Any:
        """As the core calls it."""
        try:
            for event, details in self._news(info):
                self._trace(event, details)
            return self._trace(name, info)
        except BaseException:
            stream = self._lost(name, info)
            if isinstance(stream, Stream):
                stream.close()
            raise
