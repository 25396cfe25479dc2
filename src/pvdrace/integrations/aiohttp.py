"""aiohttp over PvDs: `PvdConnector`, a `TCPConnector` that gets its connections from a race.

::

    async with aiohttp.ClientSession(connector=PvdConnector()) as session: ...

By default by aiohttp's public hooks alone: its resolver runs the race as far as a transport handshake, its
socket factory hands the connected socket over, and TLS is aiohttp's own. Where that fails the race goes on,
in `PvdConnector.connect`. ``race="full"`` makes TLS a stage of the race, by two methods that are not public.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
import weakref
from contextvars import Context, ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
import anyio

from .. import Connector, Path, Policy, RaceReport
from ..calls import check_label, check_policy
from ..default import given_or_default
from ._aiohttp_call import CALL, Call, Resolver, as_aiohttps, hand_over, is_literal, resolved
from .asyncio import adopt, with_family

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import SimpleNamespace

    from aiohttp.abc import ResolveResult
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from ..model import Candidate

    OnReport = Callable[[aiohttp.ClientSession, SimpleNamespace, RaceReport], Awaitable[None]]
    Made = tuple[asyncio.Transport, asyncio.BaseProtocol]

log = logging.getLogger("pvdrace")

_INSTEAD = {
    "resolver": "names are looked up by the resolvers of each provisioning domain",
    "socket_factory": "a socket is opened in each provisioning domain",
    "local_addr": "the source is an address of each provisioning domain; to choose a path use "
    "policy=Policy(require=['pvd:NAME'])",
}
#: What aiohttp raises for a path that fails after its transport handshake, and for one that cannot be had.
_FAILED = (
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
    aiohttp.ServerDisconnectedError,
    aiohttp.ServerFingerprintMismatch,
    asyncio.TimeoutError,
)

_LISTENERS: ContextVar[tuple[_Listener, ...]] = ContextVar("pvdrace.integrations.aiohttp.traces", default=())


class PvdConnector(aiohttp.TCPConnector):
    """A `TCPConnector` whose connections are won in a race across PvDs, and kept while policy has them.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None). ``policy`` and
    ``label`` hold for every connection, as in `Connector.open_connection`. ``race``: ``"public"`` uses
    aiohttp's public hooks, ``"full"`` has TLS in the race by hooks that are not, ``"auto"`` is the latter
    where the installed aiohttp has them. ``family`` is a requirement beside those of ``policy``.

    All else as in `TCPConnector`; what concerns its own lookups and staggering has no effect
    (``use_dns_cache``, ``ttl_dns_cache``, ``happy_eyeballs_delay``, ``interleave``). Raises ValueError for
    ``resolver``, ``socket_factory`` and ``local_addr``, TypeError for a connector of another kind, and
    RuntimeError for ``race="full"`` with an aiohttp that it does not know.
    """

    def __init__(
        self,
        *,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
        race: Literal["public", "full", "auto"] = "public",
        family: int = socket.AF_UNSPEC,
        **options: Any,
    ) -> None:
        if race not in ("public", "full", "auto"):
            raise ValueError(f"race must be 'public', 'full' or 'auto', not {race!r}")
        for name, instead in _INSTEAD.items():
            if options.pop(name, None) is not None:
                raise ValueError(f"{name}= cannot be raced: {instead}")
        missing = unknown_hooks() if race != "public" else None
        if missing and race == "full":
            raise RuntimeError(f"race='full' does not know aiohttp {aiohttp.__version__}: {missing}")
        self._pvd_family = family
        self.policy = policy
        self._pvd_full = race != "public" and not missing
        self._pvd_connector = given_or_default(connector)
        self._pvd_label = check_label(label)
        self._pvd_held: weakref.WeakKeyDictionary[Any, _Held] = weakref.WeakKeyDictionary()
        self._pvd_watcher: asyncio.Task[None] | None = None
        options.update(use_dns_cache=False, interleave=None)
        super().__init__(resolver=Resolver(), socket_factory=hand_over, **options)

    @property
    def policy(self) -> Policy | None:
        """What holds for every connection; after a change also for those that are pooled."""
        return self._pvd_policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._pvd_wanted = with_family(check_policy(policy), self._pvd_family)
        self._pvd_policy = policy
        if not self.closed:
            self._pvd_review()

    @property
    def family(self) -> int:
        """The family that was asked for, as a socket has it."""
        return self._pvd_family

    @property
    def race(self) -> str:
        """``public`` or ``full``: how it races."""
        return "full" if self._pvd_full else "public"

    def report(self, connection: Connection | None) -> RaceReport | None:
        """How a connection was won: ``connector.report(response.connection)``, while the response has it."""
        held = self._pvd_held.get(connection.protocol) if connection is not None else None
        return held.report if held is not None else None

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A pooled connection that may still be used, or a new one."""
        call = Call(req, timeout, self._pvd_connector, self._pvd_wanted, self._pvd_label)
        token = CALL.set(call)
        try:
            while True:
                connection = await self._pvd_try(call, traces)
                if connection is None:
                    continue
                held = self._pvd_held.get(connection.protocol)
                if held is not None:
                    held.idle = False
                    assert connection.protocol is not None  # it is held by it
                    connection.add_callback(partial(self._pvd_released, connection.protocol, held))
                    await self._pvd_tell(connection, held.report)
                return connection
        except Exception as error:
            if isinstance(report := getattr(error, "report", None), RaceReport):
                await _tell(report)
            raise
        finally:
            CALL.reset(token)
            await call.aclose()

    async def _pvd_try(self, call: Call, traces: list[Trace]) -> Connection | None:
        """A connection; None where there is to be another try."""
        try:
            connection = await super().connect(call.req, traces, call.timeout)
        except _FAILED as error:
            await call.failed(error)
            return None
        try:
            report = await call.won()
            if report is not None:
                path = Path.of(report, policy=call.policy, label=call.label)
                self._pvd_held[connection.protocol] = _Held(path, report)
                self._pvd_watch()
                return connection
            held = self._pvd_held.get(connection.protocol)
            if held is None:
                return connection
            await self._pvd_connector.snapshot()
            if self._pvd_objection(held) is None:
                return connection
        except BaseException:
            _drop(connection)
            raise
        _drop(connection)
        return None

    async def _pvd_tell(self, connection: Connection, report: RaceReport) -> None:
        try:
            await _tell(report)
        except BaseException:
            connection.close()
            raise

    # ------------------------------------------------------------------ the pool

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections, and stop watching the PvDs."""
        watcher, self._pvd_watcher = self._pvd_watcher, None
        try:
            if watcher is not None:
                watcher.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([watcher])
        finally:
            await (super().close(abort_ssl=True) if abort_ssl else super().close())

    def _pvd_objection(self, held: _Held) -> str | None:
        return self._pvd_connector.objection(held.path.under(self._pvd_wanted))

    def _pvd_review(self) -> None:
        """Close what idles in the pool and is not to be used any more."""
        for protocol, held in list(self._pvd_held.items()):
            transport = protocol.transport
            if held.idle and transport is not None and self._pvd_objection(held) is not None:
                transport.abort()

    def _pvd_released(self, protocol: Any, held: _Held) -> None:
        """It goes to the pool; what may not be used any more, as it became meanwhile, goes there closed."""
        held.idle = True
        transport = protocol.transport
        if transport is not None and self._pvd_objection(held) is not None:
            transport.abort()

    def _pvd_watch(self) -> None:
        """See to it that somebody looks after what idles, as long as this connector is there."""
        if self._pvd_watcher is None or self._pvd_watcher.done():
            loop = asyncio.get_running_loop()
            watching = _watch(weakref.ref(self), self._pvd_connector)
            self._pvd_watcher = loop.create_task(watching, context=Context())
            weakref.finalize(self, _end, loop, self._pvd_watcher).atexit = False

    # ------------------------------------------------------------------ the full race: not public

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        literal = is_literal(host)
        if literal or not self._pvd_full:
            found = await super()._resolve_host(host, port, traces)
            if not self._pvd_full:
                return found
        for trace in () if literal else traces or ():
            await trace.send_dns_resolvehost_start(host)
        await CALL.get().begin(host, port)
        for trace in () if literal else traces or ():
            await trace.send_dns_resolvehost_end(host)
        return [resolved(host, "0.0.0.0", port)]

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: Any,
        req: ClientRequest,
        timeout: aiohttp.ClientTimeout,
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, Any]:
        if not self._pvd_full:
            return await super()._wrap_create_connection(
                *args, addr_infos=addr_infos, req=req, timeout=timeout, client_error=client_error, **kwargs
            )
        if kwargs.get("ssl") and (shutdown := getattr(self, "_ssl_shutdown_timeout", None)):
            kwargs["ssl_shutdown_timeout"] = shutdown
        fingerprint = self._get_fingerprint(req) if req.is_ssl() else None
        errors: list[Exception] = []

        async def stage(sock: socket.socket, candidate: Candidate) -> Made:
            try:
                made: Made = await adopt(sock, args[0], **kwargs)
                if fingerprint is not None:
                    try:
                        fingerprint.check(made[0])
                    except BaseException:
                        made[0].abort()
                        raise
            except Exception as error:
                errors.append(error)
                raise
            return made

        return await CALL.get().finish(
            stage, "tls" if kwargs.get("ssl") else "tcp", partial(as_aiohttps, errors, req, client_error)
        )


def trace_config(on_report: OnReport) -> aiohttp.TraceConfig:
    """For ``ClientSession(trace_configs=[...])``: ``await on_report(session, context, report)``.

    It is called for each connection that a request gets, with the report of the race that it was won in, also
    if it is a pooled one; and for each race that was lost. ``context`` is what `aiohttp.TraceConfig` makes:
    its ``trace_request_ctx`` is the request's.
    """
    config = aiohttp.TraceConfig()

    async def begin(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        context.pvdrace_listener = _Listener(on_report, session, context)
        _LISTENERS.set((*_LISTENERS.get(), context.pvdrace_listener))

    async def end(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        _LISTENERS.set(tuple(one for one in _LISTENERS.get() if one is not context.pvdrace_listener))
        context.pvdrace_listener.__dict__.clear()  # who has copied the context does not keep the session

    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    config.on_request_exception.append(end)
    return config


def unknown_hooks() -> str | None:
    """What the full race needs and the installed aiohttp does not have; None if it has it all."""
    wanted = {
        "_resolve_host": ("host", "port", "traces"),
        "_wrap_create_connection": ("args", "addr_infos", "req", "timeout", "client_error", "kwargs"),
        "_get_fingerprint": ("req",),
    }
    for name, parameters in wanted.items():
        method = getattr(aiohttp.TCPConnector, name, None)
        if method is None:
            return f"TCPConnector has no {name}"
        found = tuple(inspect.signature(method).parameters)[1:]
        if found != parameters:
            return f"TCPConnector.{name} takes {', '.join(found)}"
    return None


class _Listener:
    """One request with a `trace_config`."""

    def __init__(self, on_report: OnReport, session: aiohttp.ClientSession, context: SimpleNamespace) -> None:
        self.on_report = on_report
        self.session = session
        self.context = context


class _Held:
    """A connection in this connector's hands: its way, and whether it idles."""

    def __init__(self, path: Path, report: RaceReport) -> None:
        self.path = path
        self.report = report
        self.idle = False


async def _tell(report: RaceReport) -> None:
    for one in _LISTENERS.get():
        await one.on_report(one.session, one.context, report)


def _drop(connection: Connection) -> None:
    """Close a connection at once: a good-bye of TLS would wait for the peer's."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


async def _watch(owner: weakref.ref[PvdConnector], connector: Connector) -> None:
    try:
        async with contextlib.aclosing(connector.watch()) as changes:
            async for _ in changes:
                found = owner()
                if found is None or found.closed:
                    return
                found._pvd_review()
                del found
    except Exception as error:
        log.warning("idle connections are not looked after any more: %s", error)


def _end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    if not loop.is_closed() and not task.done():
        loop.call_soon_threadsafe(task.cancel)
