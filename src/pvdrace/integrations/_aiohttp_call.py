"""One call of aiohttp's for a connection: the race in it, and what aiohttp is told of one that is lost."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
import time
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
from aiohttp.abc import AbstractResolver

from .. import PvdRaceError, ResolutionFailed
from ..drivers.offers import Offers

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import ResolveResult
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import AddrInfoType

    from .. import Connector, Policy, Provisional, RaceReport
    from ..drivers.offers import Lent
    from ..drivers.roles import Stage

    Made = tuple[asyncio.Transport, asyncio.BaseProtocol]

#: Seconds that aiohttp's own timer for ``ClientTimeout.connect`` comes after the race's, which has a report.
_GRACE = 0.1

CALL: ContextVar[Call] = ContextVar("pvdrace.integrations.aiohttp.call")


class Call:
    """One call of `PvdConnector.connect`, and the race in it if there is one. Close it in the end.

    ``failure`` says why the race was lost, once it is; ``report`` is of one that was won.
    """

    def __init__(
        self,
        req: ClientRequest,
        timeout: aiohttp.ClientTimeout,
        connector: Connector,
        policy: Policy | None,
        label: str | None,
    ) -> None:
        self.req = req
        self.connector = connector
        self.policy = policy
        self.label = label
        self.failure: PvdRaceError | None = None
        self.report: RaceReport | None = None
        self._timeout = timeout
        self._began = time.monotonic()
        self._until: float | None = None
        self._offers: Offers | None = None
        self._provisional: Provisional | None = None
        self._refused: BaseException | None = None  # what aiohttp said of the last path that it had

    @property
    def timeout(self) -> aiohttp.ClientTimeout:
        """What is left of aiohttp's times: its own timer is for its queue, the race's knows more."""
        given = self._timeout
        if not given.connect:
            return given
        left = max(self._began + given.connect + _GRACE - time.monotonic(), 1e-3)
        return type(given)(
            total=given.total,
            connect=left,
            sock_read=given.sock_read,
            sock_connect=given.sock_connect,
            ceil_threshold=given.ceil_threshold,
        )

    # ------------------------------------------------------------------ by the public hooks

    async def next(self, host: str, port: int) -> Lent | None:
        """The next path of the race that is connected; None if it is lost: see ``failure``."""
        if self._offers is None:
            pacing = self.connector.pacing
            race_for = partial(self.connector.race_for, host=host, port=port, **self._options())
            self._offers = Offers(race_for, pacing.maximum_connection_attempt_delay)
        lent = await self._offers.next()
        if lent is None:
            try:
                self._offers.task.result()
            except PvdRaceError as error:
                self.failure = error
            except ValueError as error:
                raise aiohttp.InvalidURL(self.req.url, str(error)) from None
        return lent

    def take(self, address: tuple[str, int]) -> socket.socket:
        """The connected socket, for aiohttp to connect. Raises an OSError if there is none."""
        if self.failure is not None:
            raise as_oserror(self.failure) from self.failure
        lent = self._offers.take() if self._offers is not None else None
        if lent is None:
            raise Unraced(address)
        return lent

    async def failed(self, error: BaseException) -> None:
        """aiohttp could not connect: raise what that means, unless there is to be another try."""
        wanted = getattr(error, "os_error", None)
        if isinstance(wanted, Unraced):
            await self.next(*wanted.address)
        elif self.failure is not None:
            raise self._explained(self._refused or error, self.failure)
        elif self._offers is not None and self._offers.in_use:
            self._offers.refuse(error.__cause__ or error)
            self._refused = error
        else:
            raise error

    async def won(self) -> RaceReport | None:
        """The report of a race whose path aiohttp has used; None if it has used none."""
        if self._offers is not None and self._offers.in_use:
            self._offers.accept()
            try:
                _, self.report = await asyncio.shield(self._offers.task)
            except PvdRaceError as error:  # in the step in which aiohttp was done
                refused = aiohttp.ClientConnectorError(self.req.connection_key, as_oserror(error))
                raise self._explained(refused, error) from error
        return self.report

    # ------------------------------------------------------------------ with TLS in the race

    async def begin(self, host: str, port: int) -> None:
        """Race to the first transport handshake; see ``failure``. Raises OSError if there is no address."""
        try:
            self._provisional = await self.connector.begin(host, port, **self._options())
        except ValueError as error:
            raise aiohttp.InvalidURL(self.req.url, str(error)) from None
        except PvdRaceError as error:
            self.failure = error
            if isinstance(error, ResolutionFailed):
                raise as_oserror(error) from error

    async def finish(
        self, stage: Stage[Made], ready: str, as_aiohttps: Callable[[PvdRaceError], Exception]
    ) -> Made:
        """Go on with the race that has begun. ``as_aiohttps`` makes aiohttp's exception of ours."""
        try:
            if self.failure is not None:
                raise self.failure
            assert self._provisional is not None
            made, self.report = await self._provisional.finish(stage, discard=_abort, ready=ready)
        except PvdRaceError as error:
            self.failure = error
            raise as_aiohttps(error) from error
        return made

    # ------------------------------------------------------------------ both

    def _options(self) -> dict[str, Any]:
        """What a race gets that begins now."""
        now = time.monotonic()
        limits = [
            self._began + limit - now for limit in (self._timeout.connect, self._timeout.total) if limit
        ]
        if self._timeout.sock_connect:
            limits.append(self._timeout.sock_connect)
        allowed = max(min(limits), 0.0) if limits else None
        self._until = now + allowed if allowed is not None else None
        ready = "tls" if self.req.is_ssl() else "tcp"
        return {"policy": self.policy, "label": self.label, "timeout": allowed, "ready": ready}

    def _explained(self, error: BaseException, lost: PvdRaceError) -> BaseException:
        """aiohttp's exception for a lost race, with ours among its causes."""
        if self._until is not None and time.monotonic() >= self._until:
            error = TimeoutError(str(lost))
        if not _among_causes(lost, error):
            lost.__cause__ = error.__cause__
            error.__cause__ = lost
        error.report = lost.report  # type: ignore[attr-defined]
        return error

    async def aclose(self) -> None:
        """End what is left of the race; the winner is aiohttp's.

        Timers that were set meanwhile have the context, and this in it: so it lets go of the session.
        """
        del self.req
        try:
            if self._offers is not None:
                await self._offers.aclose()
        finally:
            if self._provisional is not None:
                with anyio.CancelScope(shield=True):
                    await self._provisional.aclose()


class Unraced(OSError):
    """An address that no race was run for: aiohttp asks its resolver for names only."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(errno.EAGAIN, "not raced yet")
        self.address = address


class Resolver(AbstractResolver):
    """aiohttp's question for a name is a race's beginning: the answer is the peer of a connected socket."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        call = CALL.get()
        lent = await call.next(host, port)
        if lent is None:
            assert call.failure is not None
            if isinstance(call.failure, ResolutionFailed):
                raise as_oserror(call.failure) from call.failure
            return [resolved(host, "0.0.0.0", port)]  # the factory says why not
        address, peer_port = lent.getpeername()[:2]
        return [resolved(host, address, peer_port)]

    async def close(self) -> None:
        """Nothing is held."""


def hand_over(addr_info: AddrInfoType) -> socket.socket:
    host, port = addr_info[4][:2]
    return CALL.get().take((str(host), int(port)))


def resolved(host: str, address: str, port: int) -> ResolveResult:
    return {
        "hostname": host,
        "host": address,
        "port": port,
        "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
        "proto": 0,
        "flags": 0,
    }


def is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def as_oserror(error: PvdRaceError) -> OSError:
    """For aiohttp, which shows the second argument. A failed lookup has no errno there."""
    if isinstance(error, ResolutionFailed):
        return OSError(None, str(error))
    return OSError(errno.EHOSTUNREACH if isinstance(error, OSError) else errno.ENETUNREACH, str(error))


def as_aiohttps(
    errors: list[Exception], req: ClientRequest, client_error: type[Exception], lost: PvdRaceError
) -> Exception:
    """What aiohttp makes of the worst that happened at TLS, else of a path that cannot be connected."""
    for error in errors:
        if isinstance(error, aiohttp.ServerFingerprintMismatch):
            return error
        if isinstance(error, ssl.CertificateError):
            return aiohttp.ClientConnectorCertificateError(req.connection_key, error)
    for error in errors:
        if isinstance(error, ssl.SSLError):
            return aiohttp.ClientConnectorSSLError(req.connection_key, error)
    return client_error(req.connection_key, as_oserror(lost))


def _among_causes(cause: BaseException, error: BaseException) -> bool:
    each: BaseException | None = error
    while each is not None:
        if each is cause:
            return True
        each = each.__cause__
    return False


async def _abort(made: Made) -> None:
    made[0].abort()
