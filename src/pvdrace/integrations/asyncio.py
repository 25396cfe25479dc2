"""The race for programs on asyncio: `open_connection` and `create_connection` in the shapes of asyncio's own.

::

    reader, writer = await pvdrace.integrations.asyncio.open_connection("www.example.com", 443, ssl=True)
    print(writer.get_extra_info("pvdrace.report"))

asyncio makes the TLS handshake itself, as a stage of the race: a path that fails at TLS loses, and the race
goes on in the next PvD.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import anyio

from ..default import given_or_default
from ..net.lingering import LeavingSocket
from ..policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connector import Connector
    from ..model import Candidate
    from ..race.report import RaceReport

P = TypeVar("P", bound=asyncio.BaseProtocol)

#: `asyncio.open_connection`'s own.
DEFAULT_LIMIT = 2**16

_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 6}
_INSTEAD = {
    "sock": "a socket is opened in each provisioning domain; for one that is there use asyncio itself",
    "local_addr": "the source is an address of each provisioning domain; to choose a path use "
    "policy=Policy(require=['pvd:NAME'])",
    "flags": "names are not looked up by getaddrinfo, but by the resolvers of each provisioning domain",
}


class Options(TypedDict, total=False):
    """What `asyncio.loop.create_connection` takes besides the protocol and the address: see there."""

    ssl: bool | ssl_module.SSLContext | None
    server_hostname: str | None
    ssl_handshake_timeout: float | None
    ssl_shutdown_timeout: float | None
    family: int
    proto: int
    flags: int
    sock: None
    local_addr: None
    happy_eyeballs_delay: float | None
    interleave: int | None
    all_errors: bool


class ReportingWriter(asyncio.StreamWriter):
    """A `StreamWriter` whose ``get_extra_info("pvdrace.report")`` is the `RaceReport`."""

    report: RaceReport | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As `asyncio.StreamWriter.get_extra_info`, and ``pvdrace.report``."""
        if name == "pvdrace.report":
            return self.report
        return super().get_extra_info(name, default)


async def open_connection(
    host: str,
    port: int,
    *,
    connector: Connector | None = None,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
    limit: int = DEFAULT_LIMIT,
    **options: Unpack[Options],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Race to ``host``:``port`` and return the winner as ``(reader, writer)``.

    ``limit``: bytes that the reader buffers, as in `asyncio.open_connection`. All else as in
    `create_connection`, errors too; ``writer.get_extra_info("pvdrace.report")`` is the `RaceReport`.
    """
    loop = asyncio.get_running_loop()

    def streams() -> _Streams:
        return _Streams(asyncio.StreamReader(limit=limit, loop=loop), loop)

    race = _Race(host, port, connector, policy, label, timeout, **options)
    transport, protocol, report = await race.run(streams)
    writer = ReportingWriter(transport, protocol, protocol.reader, loop)
    writer.report = report
    return protocol.reader, writer


async def create_connection(
    protocol_factory: Callable[[], P],
    host: str,
    port: int,
    *,
    connector: Connector | None = None,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
    **options: Unpack[Options],
) -> tuple[asyncio.Transport, P]:
    """Race to ``host``:``port`` and return the winner as ``(transport, protocol)``.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None). ``policy``,
    ``label`` and ``timeout`` (seconds, for the whole race) as in `Connector.open_connection`. Reports go to
    the hooks of the connector.

    The other options are those of `asyncio.loop.create_connection`: ``ssl``, ``server_hostname``,
    ``ssl_handshake_timeout`` and ``ssl_shutdown_timeout`` (seconds). ``family`` is a requirement beside
    those of ``policy``: `socket.AF_INET` is ``family:ipv4``, `socket.AF_INET6` is ``family:ipv6``.
    ``happy_eyeballs_delay``, ``interleave`` and ``all_errors`` are taken and have no effect: a race is
    always staggered, by the connector's `Pacing`, and an error always tells of every attempt.

    With TLS, ``protocol_factory`` is called for each attempt that completes its TCP handshake: so it makes a
    new protocol each time. A protocol that lost was never connected, or is disconnected at once.

    Raises as `Connector.open_connection`, every one an OSError with its report.
    Raises ValueError for arguments that contradict each other or cannot be raced: ``sock``, ``local_addr``,
    ``flags``.
    """
    race = _Race(host, port, connector, policy, label, timeout, **options)
    transport, protocol, _ = await race.run(protocol_factory)
    return transport, protocol


async def reported_connection(
    protocol_factory: Callable[[], P],
    host: str,
    port: int,
    *,
    connector: Connector | None = None,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
    **options: Unpack[Options],
) -> tuple[asyncio.Transport, P, RaceReport]:
    """As `create_connection`, and the report."""
    return await _Race(host, port, connector, policy, label, timeout, **options).run(protocol_factory)


async def adopt(
    sock: socket.socket, protocol_factory: Callable[[], P], **tls: Any
) -> tuple[asyncio.Transport, P]:
    """`asyncio.loop.create_connection` over a connected socket, which is closed if that fails.

    ``tls`` are its ``ssl``, ``server_hostname``, ``ssl_handshake_timeout`` and ``ssl_shutdown_timeout``.
    """
    loop = asyncio.get_running_loop()
    if isinstance(sock, LeavingSocket) and not isinstance(loop, asyncio.BaseEventLoop):
        try:
            sock.give_away()
        except OSError:
            sock.close()
            raise
    made = loop.create_task(loop.create_connection(protocol_factory, sock=sock, **tls))
    try:
        return await asyncio.shield(made)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await _undo(made)
            sock.close()
        raise


class _Race:
    """One race in asyncio's words: the arguments, checked, and the TLS handshake that asyncio makes."""

    def __init__(
        self,
        host: str,
        port: int,
        connector: Connector | None,
        policy: Policy | None,
        label: str | None,
        timeout: float | None,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        family: int = socket.AF_UNSPEC,
        proto: int = 0,
        flags: int = 0,
        sock: None = None,
        local_addr: None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> None:
        for name, value in (("sock", sock), ("local_addr", local_addr), ("flags", flags)):
            if value:
                raise ValueError(f"{name}= cannot be raced: {_INSTEAD[name]}")
        if proto not in (0, socket.IPPROTO_TCP):
            raise ValueError(f"proto must be 0 or IPPROTO_TCP, not {proto!r}: connections are raced over TCP")
        tls = {
            "server_hostname": server_hostname,
            "ssl_handshake_timeout": ssl_handshake_timeout,
            "ssl_shutdown_timeout": ssl_shutdown_timeout,
        }
        if not ssl:
            for name, setting in tls.items():
                if setting is not None:
                    raise ValueError(f"{name} is only meaningful with ssl")
            self.tls: dict[str, Any] = {}
        else:
            if server_hostname is None:
                tls["server_hostname"] = host.strip("[]").split("%")[0]
            self.tls = {"ssl": ssl_module.create_default_context() if ssl is True else ssl, **tls}
        self.host = host
        self.port = port
        self.connector = given_or_default(connector)
        self.options: dict[str, Any] = {
            "policy": with_family(policy, family),
            "label": label,
            "timeout": timeout,
        }

    async def run(self, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P, RaceReport]:
        """Race; without TLS there is one protocol, made when the race is won."""
        if not self.tls:
            # As a stage: so the socket is one that leaves quietly where policy forbids a PvD.
            sock, report = await self.connector.race_for(
                _as_it_is, self.host, self.port, discard=_close, ready="tcp", **self.options
            )
            return *await adopt(sock, protocol_factory), report

        async def stage(sock: socket.socket, candidate: Candidate) -> tuple[asyncio.Transport, P]:
            return await adopt(sock, protocol_factory, **self.tls)

        (transport, protocol), report = await self.connector.race_for(
            stage, self.host, self.port, discard=_abort, ready="tls", **self.options
        )
        return transport, protocol, report


async def _undo(made: asyncio.Task[Any]) -> None:
    """End a connection that is being made, however far it is.

    asyncio forgets a TLS transport that is closed before its protocol has heard of the connection, a turn of
    the loop or two after it was asked for; and a descriptor that is closed under a transport is soon
    another's.
    """
    for _ in range(5):
        await asyncio.sleep(0)
    made.cancel()
    await asyncio.wait([made])
    if not made.cancelled() and made.exception() is None:
        made.result()[0].abort()
    await asyncio.sleep(0)  # the transport closes its socket in the next turn


class _Streams(asyncio.StreamReaderProtocol):
    """The protocol of a reader, and where to find that reader."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self.reader = reader


async def _as_it_is(sock: socket.socket, candidate: Candidate) -> socket.socket:
    return sock


async def _close(sock: socket.socket) -> None:
    sock.close()


async def _abort(product: tuple[asyncio.Transport, asyncio.BaseProtocol]) -> None:
    product[0].abort()


def with_family(policy: Policy | None, family: int) -> Policy | None:
    """The policy with one family required, which is given as a socket has it (AF_UNSPEC: as it is).

    None is left where the policy rules that one out. Raises ValueError for what is no family.
    """
    if family == socket.AF_UNSPEC:
        return policy
    if family not in _FAMILIES:
        raise ValueError(f"family must be AF_UNSPEC, AF_INET or AF_INET6, not {family!r}")
    policy = policy or Policy()
    wanted = _FAMILIES[socket.AddressFamily(family)]
    # Required selectors of one kind are alternatives: so this family takes the place of the policy's.
    required = [selector for selector in policy.require if selector.kind != "family"]
    prohibited = [] if wanted in policy.families else [f"family:ipv{wanted}"]
    return Policy(
        require=[*required, f"family:ipv{wanted}"],
        prefer=policy.prefer,
        avoid=policy.avoid,
        prohibit=[*policy.prohibit, *prohibited],
        capacity_profile=policy.capacity_profile,
        latency_budget=policy.latency_budget,
        min_rate=policy.min_rate,
        rank_by=policy.rank_by,
        racing=policy.racing,
        priority=policy.priority,
        cross_pvd=policy.cross_pvd,
    )
