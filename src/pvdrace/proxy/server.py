"""The proxy: listens, limits, serves each client, and ends cleanly."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from errno import (
    ECONNABORTED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENONET,
    ENOPROTOOPT,
    EPERM,
    EPROTO,
)
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio import TASK_STATUS_IGNORED

from ..config.proxy_settings import ProxySettings
from ..connector import Connector
from ..errors import ConfigurationError
from ..files import read_configuration, read_policy_file
from .accounts import Accounts
from .dialling import Dialler
from .relay import Flow, Relay, gone
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyio.abc import TaskGroup, TaskStatus

    from ..config.configuration import Configuration
    from ..config.proxy_settings import Listen, Way
    from ..course import Hook
    from ..policy import Policy

log = logging.getLogger("pvdrace.proxy")
_SHORT_OF = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
#: What accept() says of one client that came to nothing: see accept(2), "Error handling".
_ONE_CLIENTS = (
    ECONNABORTED,
    EHOSTDOWN,
    EHOSTUNREACH,
    ENETDOWN,
    ENETUNREACH,
    ENONET,
    ENOPROTOOPT,
    EPERM,
    EPROTO,
)
#: Clients that the kernel keeps until they are served.
BACKLOG = 1024
#: Seconds between two looks at who is idle, or has gone.
LOOK = 0.5
#: Seconds between two attempts to serve a client for whom there is no descriptor.
SHORTAGE = 0.1


class Proxy:
    """SOCKS 5 and HTTP CONNECT for any program: `run` serves until `stop`, on asyncio and trio.

    ``settings``: those of ``config`` (``[proxy]``) by default, and without them all is as `ProxySettings`
    has it. ``config``, ``history`` and ``hooks`` as in `Connector`: there is one for each profile and policy
    file that is named. ``policy`` is every call's. ``passwords`` are by user.

    Raises `ConfigurationError` for what is wrong in the files, and where the proxy would be open to others.
    """

    def __init__(
        self,
        settings: ProxySettings | None = None,
        *,
        config: str | os.PathLike[str] | Configuration | None = None,
        policy: Policy | None = None,
        passwords: Mapping[str, str] | None = None,
        history: str | os.PathLike[str] | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        configuration = read_configuration(config)
        self.settings = settings or configuration.proxy or ProxySettings()
        self._accounts = Accounts(self.settings.users, passwords or {}, os.urandom(16))
        try:
            self.settings.check(self._accounts.with_password)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self._diallers: dict[tuple[str | None, str | None], Dialler] = {}
        for way in self._ways():
            key = way.profile, way.policy
            if key in self._diallers:
                continue
            chosen = configuration
            if way.profile is not None:
                chosen = read_configuration(configuration, instead=way.profile)
            file = read_policy_file(way.policy) if way.policy is not None else None
            connector = Connector(chosen, policy=file, history=history, hooks=hooks)
            self._diallers[key] = Dialler(connector, self.settings, policy)
        self._relay = Relay()
        self._flows: dict[Flow, socket.socket] = {}
        self._stopping: anyio.Event | None = None
        self._stopped = False
        self._emptied: anyio.Event | None = None
        self._room: anyio.Semaphore | None = None
        #: Where it listens, ``(address, port)`` each, once it does.
        self.addresses: tuple[tuple[str, int], ...] = ()

    @property
    def connections(self) -> int:
        """How many clients are there now."""
        return len(self._flows)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """Accept nobody any more; `run` ends when all have ended, or the time to drain is over."""
        self._stopped = True
        if self._stopping is not None:
            self._stopping.set()

    async def run(
        self, *, task_status: TaskStatus[tuple[tuple[str, int], ...]] = TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stop`. ``task_status`` is told the addresses, once it listens.

        Raises OSError where an address cannot be listened on. Cancelling it ends all connections at once.
        """
        self._stopping, self._emptied = anyio.Event(), anyio.Event()
        self._room = anyio.Semaphore(self.settings.max_connections)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._close)
            for dialler in self._diallers.values():
                await stack.enter_async_context(dialler.connector)
            listeners = []
            for listen in self.settings.listen:
                sock = _listener(listen)
                stack.callback(sock.close)
                listeners.append((sock, listen))
            self.addresses = tuple(sock.getsockname()[:2] for sock, _ in listeners)
            task_status.started(self.addresses)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._sweep)
                async with anyio.create_task_group() as accepting:
                    for sock, listen in listeners:
                        accepting.start_soon(self._accept, sock, listen, tasks)
                    if not self._stopped:
                        await self._stopping.wait()
                    accepting.cancel_scope.cancel()
                for sock, _ in listeners:
                    sock.close()
                await self._drain()
                tasks.cancel_scope.cancel()
            self.addresses = ()

    def _close(self) -> None:
        """Close what tasks had no time to: those that were cancelled before they began."""
        while self._flows:
            self._flows.popitem()[1].close()

    # ------------------------------------------------------------------ clients

    async def _accept(self, sock: socket.socket, listen: Listen, tasks: TaskGroup) -> None:
        assert self._room is not None
        while True:
            client, peer = await _next_client(sock, self._room)
            flow = Flow()
            self._flows[flow] = client
            tasks.start_soon(self._serve, client, _in_words(peer), listen, flow)

    async def _serve(self, client: socket.socket, peer: str, listen: Listen, flow: Flow) -> None:
        assert self._room is not None
        try:
            session = Session(
                client,
                peer,
                listen,
                self.settings,
                self._accounts,
                lambda way: self._diallers[way.profile, way.policy],
                self._relay,
                flow,
            )
            await session.run()
        except Exception:  # one client's trouble is not the others'
            log.exception("a connection from %s broke", peer)
        finally:
            client.close()
            self._flows.pop(flow, None)
            self._room.release()
            if not self._flows and self._emptied is not None:
                self._emptied.set()

    async def _drain(self) -> None:
        """Give those that are served the time to end; who only waits to be asked has nothing to lose."""
        assert self._emptied is not None
        for flow in self._flows:
            flow.last = True
            if not flow.busy:
                flow.scope.cancel()
        if self._flows:
            self._emptied = anyio.Event()
            with anyio.move_on_after(self.settings.drain_timeout):
                await self._emptied.wait()

    async def _sweep(self) -> None:
        """End the connections that have been idle for too long, and the races that nobody waits for."""
        patience = self.settings.idle_timeout
        while True:
            await anyio.sleep(min(patience / 4, LOOK))
            now = anyio.current_time()
            for flow in self._flows:
                seen = flow.up + flow.down
                if seen != flow.seen:
                    flow.seen, flow.since = seen, now
                elif now - flow.since >= patience:
                    flow.broken = "idle for too long"
                    flow.scope.cancel()
                if flow.waiting is not None and gone(flow.waiting):
                    flow.broken = "the client has gone"
                    flow.scope.cancel()

    def _ways(self) -> list[Way]:
        users = [user.way for user in self.settings.users]
        return [
            way
            for listen in self.settings.listen
            for way in (listen.way, *(u.over(listen.way) for u in users))
        ]


async def serve(
    settings: ProxySettings | None = None,
    *,
    config: str | os.PathLike[str] | Configuration | None = None,
    policy: Policy | None = None,
    passwords: Mapping[str, str] | None = None,
    history: str | os.PathLike[str] | None = None,
    hooks: Iterable[Hook] = (),
    task_status: TaskStatus[tuple[tuple[str, int], ...]] = TASK_STATUS_IGNORED,
) -> None:
    """Run a `Proxy` until this is cancelled."""
    proxy = Proxy(settings, config=config, policy=policy, passwords=passwords, history=history, hooks=hooks)
    await proxy.run(task_status=task_status)


def _in_words(peer: tuple[str, int]) -> str:
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"


def _listener(listen: Listen) -> socket.socket:
    """Listen on an address; an error names it."""
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((listen.address, listen.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {listen}: {os.strerror(error.errno or 0)}") from None
    return sock


async def _next_client(sock: socket.socket, room: anyio.Semaphore) -> tuple[socket.socket, tuple[str, int]]:
    """Accept one, and take the room for it; it is non-blocking, and what is said on it goes out at once."""
    short = False
    while True:
        try:
            room.acquire_nowait()
        except anyio.WouldBlock:
            await anyio.wait_readable(sock)  # who has no client takes no room
            await room.acquire()
        try:
            client, peer = sock.accept()
        except OSError as error:
            room.release()
            if isinstance(error, BlockingIOError):
                await anyio.wait_readable(sock)
            elif error.errno in _SHORT_OF:
                if not short:
                    log.warning("clients have to wait: %s", os.strerror(error.errno))
                short = True
                await anyio.sleep(SHORTAGE)
            elif error.errno not in _ONE_CLIENTS:
                raise
            continue
        client.setblocking(False)
        try:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await anyio.lowlevel.checkpoint()  # those who are served get their turn
        except BaseException:
            client.close()
            raise
        return client, peer
