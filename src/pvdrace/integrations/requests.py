"""requests over provisioning domains: an adapter to mount in a session.

::

    session = requests.Session()
    session.mount("https://", PvdAdapter())
    session.mount("http://", PvdAdapter())

The connections are those of `pvdrace.integrations.urllib3`; see there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests.adapters import DEFAULT_POOLBLOCK, DEFAULT_POOLSIZE, DEFAULT_RETRIES, HTTPAdapter
from requests.exceptions import InvalidSchema, RequestException

from ..errors import report_of
from .urllib3 import PvdPoolManager, PvdProxyManager, Racing

if TYPE_CHECKING:
    from requests import PreparedRequest, Response
    from urllib3.util.retry import Retry

    from ..policy import Policy
    from ..sync import Connector


class PvdAdapter(HTTPAdapter):
    """An `requests.adapters.HTTPAdapter` whose connections are raced across provisioning domains.

    ``connector`` is a `pvdrace.sync.Connector`, by default the one that the process shares; ``policy`` and
    ``label`` are for every connection. Everything else is as for the class of requests. ``policy`` may be set
    at any time; a pooled connection that it forbids, or whose PvD has gone, is not used again.

    The connect timeout of a request bounds the whole race, TLS included. Errors are those of requests, ours
    is among their causes, and they have ``report``; a response has the ``report`` of the race for the
    connection it came by. Proxies are reached by races, too; not SOCKS proxies, whose connections are made by
    somebody else: `requests.exceptions.InvalidSchema`.

    It can be pickled, as long as it uses the shared connector: one of its own stays where it is, and without
    it other policies would hold.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_policy_and_label"]  # noqa: RUF012 # as requests has it

    def __init__(
        self,
        pool_connections: int = DEFAULT_POOLSIZE,
        pool_maxsize: int = DEFAULT_POOLSIZE,
        max_retries: int | Retry = DEFAULT_RETRIES,
        pool_block: bool = DEFAULT_POOLBLOCK,
        *,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
    ) -> None:
        self._racing = Racing(connector, policy, label)
        super().__init__(pool_connections, pool_maxsize, max_retries, pool_block)

    @property
    def policy(self) -> Policy | None:
        """The policy of its connections; may be set, and then holds for those that are pooled, too."""
        return self._racing.policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._racing.policy = policy

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = DEFAULT_POOLBLOCK, **pool_kwargs: Any
    ) -> None:
        """See `requests.adapters.HTTPAdapter.init_poolmanager`."""
        self._pool_connections = connections
        self._pool_maxsize = maxsize
        self._pool_block = block
        manager = PvdPoolManager(num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs)
        manager.racing = self._racing
        self.poolmanager = manager

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> PvdProxyManager:
        """See `requests.adapters.HTTPAdapter.proxy_manager_for`."""
        if proxy.lower().startswith("socks"):
            raise InvalidSchema(
                f"{proxy.partition(':')[0]} proxies cannot be raced: they open their own sockets"
            )
        if proxy not in self.proxy_manager:
            manager = PvdProxyManager(
                proxy,
                proxy_headers=self.proxy_headers(proxy),
                num_pools=self._pool_connections,
                maxsize=self._pool_maxsize,
                block=self._pool_block,
                **proxy_kwargs,
            )
            manager.racing = self._racing
            self.proxy_manager[proxy] = manager
        found: PvdProxyManager = self.proxy_manager[proxy]
        return found

    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        """See `requests.adapters.HTTPAdapter.send`; what it raises has the ``report``."""
        try:
            return super().send(request, *arguments, **options)
        except RequestException as error:
            if report := report_of(error):
                error.report = report  # type: ignore[attr-defined]
            raise

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """See `requests.adapters.HTTPAdapter.build_response`; the response has the ``report``."""
        response = super().build_response(req, resp)
        response.report = getattr(resp, "report", None)  # type: ignore[attr-defined]
        return response

    def __getstate__(self) -> dict[str, Any]:
        if self._racing.given is not None:
            raise TypeError(
                "an adapter with a connector of its own cannot be pickled: its policies would be lost"
            )
        return super().__getstate__()

    @property
    def _policy_and_label(self) -> tuple[Policy | None, str | None]:
        return self._racing.policy, self._racing.label

    @_policy_and_label.setter
    def _policy_and_label(self, value: tuple[Policy | None, str | None]) -> None:
        self._racing = Racing(None, *value)
