"""A probe, whole inside its PvD: DNS by the PvD's own resolvers, sockets pinned to it, TLS verified.

Does: it looks up, connects, sends and receives; what an answer means is for `http204`, `https`, `capport` and
`verdict` to say. No redirect is followed, nothing is kept between two probes but the API's last word.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio

from ..dns.resolver import DnsFailure, PvdResolver
from ..errors import ConfigurationError
from ..model import parse_literal
from ..net.lingering import close_now
from ..net.sockets import PinError, describe, open_pinned, start_connect
from ..race.nat64 import needs_synthesis, synthesise
from ..race.ordering import source_address, unusable
from . import capport, http204, https
from .addresses import private_one
from .judgement import Finding, Judgement
from .messages import Failure, Outcome, ResponseReader
from .plan import probed_families
from .verdict import BESIDE_THE_POINT, Findings, settled, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config.probe_settings import ProbeSettings
    from ..dns.conversations import Release
    from ..model import ProvisioningDomain, Reached
    from .plan import Probe

    #: By the kind of a probe, its port, and the family.
    _Outcomes = dict[tuple[str, int, int], Outcome | bool | None]

#: Seconds that the lookups of a probe may take at most.
DNS_TIMEOUT = 5.0
#: How many addresses of a probe's host are tried.
TRIES = 2
#: Seconds that the others have to say what they have to say, once one is conclusive: Android's wait for both.
PATIENCE = 3.0
#: Seconds in which a port that passes lets a connection through.
PORT_PATIENCE = 2.5

T = TypeVar("T")


class Probed(NamedTuple):
    """The verdict on each family that was probed, and what bears on the next time: see `Judgement`."""

    reached: tuple[Reached, ...]
    retry_after: float | None = None
    expires: float | None = None


class Prober:
    """Probes PvDs, on asyncio and trio. ``release`` closes sockets where policy asks for silence.

    Raises `ConfigurationError` for a file of authorities that cannot be read.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        *,
        release: Release = close_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._release = release
        self._clock = clock
        self._resolver = PvdResolver(timeout=min(DNS_TIMEOUT, settings.timeout), clock=clock)
        self._context = _context(settings.ca_file) if settings.ca_file is not None else None
        self._api: dict[str, tuple[tuple[int, str | None], Judgement]] = {}

    async def probe(self, pvd: ProvisioningDomain, probes: Sequence[Probe]) -> Probed:
        """Ask all of it at once, and judge. Takes the settings' timeout at most, and raises for no network.

        DNS is asked anew: what a portal has answered must not outlive it.
        """
        self._resolver.forget(pvd.name)
        families = [f for f in (6, 4) if any(f in probed_families(pvd, probe) for probe in probes)]
        outcomes: _Outcomes = {}
        scopes = {family: anyio.CancelScope() for family in families}
        patience = anyio.current_time() + PATIENCE

        api_to_come = any(probe.kind == "api" for probe in probes)

        async def ask(probe: Probe, family: int) -> None:
            nonlocal api_to_come
            outcome = await self._ask(pvd, probe, family)
            outcomes[probe.kind, probe.target.port, family] = outcome
            if isinstance(outcome, bool) or outcome is None:
                return
            captive = None
            if probe.kind == "api":
                captive, api_to_come = capport.judge(outcome), False
            for other in families if captive is not None else (family,):
                found = self._findings(other, outcomes, captive)
                if settled(found) and not api_to_come:  # which may know a better page to show
                    scopes[other].cancel()
                elif settled(found) or (found.https is not None and found.https.finding is Finding.OK):
                    scopes[other].deadline = patience

        async def ask_all(family: int) -> None:
            with scopes[family]:
                async with anyio.create_task_group() as tasks:
                    for probe in probes:
                        if family in probed_families(pvd, probe):
                            tasks.start_soon(ask, probe, family)

        async with anyio.create_task_group() as tasks:
            for family in families:
                tasks.start_soon(ask_all, family)
        at = self._clock()
        api = self._judge_api(pvd, [o for (kind, _, _), o in outcomes.items() if kind == "api"])
        found = [self._findings(family, outcomes, api) for family in families]
        judgements = [j for each in found for j in (each.api, each.http, each.https) if j is not None]
        return Probed(
            tuple([verdict(each, at) for each in found]),
            max((j.retry_after for j in judgements if j.retry_after is not None), default=None),
            min((j.expires for j in judgements if j.expires is not None), default=None),
        )

    def _findings(self, family: int, outcomes: _Outcomes, api: Judgement | None) -> Findings:
        settings = self._settings
        found = Findings(family, api)
        ports: dict[int, bool] = {}
        for (kind, port, of), outcome in outcomes.items():
            if of != family or outcome is None:
                continue
            if isinstance(outcome, bool):
                ports[port] = outcome
            elif kind == "http" and settings.http is not None:
                judged = http204.judge(outcome, settings.http_expected, settings.http)
                found = found._replace(http=judged, http_port=port)
            elif kind == "https":
                found = found._replace(https=https.judge(outcome, settings.https_expected), https_port=port)
        return found._replace(ports=ports)

    def _judge_api(
        self, pvd: ProvisioningDomain, outcomes: Sequence[Outcome | bool | None]
    ) -> Judgement | None:
        """One word for the PvD: the best of what the API has said in either family."""
        key = pvd.attachment, pvd.captive_api
        known, last = self._api.pop(pvd.name, (key, None))
        judgements = [
            capport.judge(outcome, last if known == key else None)
            for outcome in outcomes
            if outcome is not None and not isinstance(outcome, bool)
        ]
        if not judgements:
            return None
        judged = max(judgements, key=capport.is_valid)
        if capport.is_valid(judged):
            self._api[pvd.name] = key, judged
        return judged

    async def _ask(self, pvd: ProvisioningDomain, probe: Probe, family: int) -> Outcome | bool | None:
        timeout = self._settings.timeout
        if probe.request is None:
            timeout = min(timeout, PORT_PATIENCE)
        release = self._release if probe.quiet else close_now
        try:
            with anyio.fail_after(timeout):
                addresses = await self._addresses(pvd, probe, family, release)
                sock = await _connect(pvd, addresses, probe.target.port, timeout, release)
                try:
                    if probe.request is None:
                        return True
                    return await self._exchange(sock, probe, probe.request.encode())
                finally:
                    release(sock)
        except TimeoutError:
            failure = Failure("timeout", f"no answer in {timeout:g} s")
        except _Failed as error:
            failure = error.failure
        if probe.request is not None:
            return failure
        return None if failure.kind in BESIDE_THE_POINT else False

    async def _addresses(
        self, pvd: ProvisioningDomain, probe: Probe, family: int, release: Release
    ) -> Sequence[str]:
        """The addresses of the probe's host in this family, as this PvD has them."""
        host = probe.target.host
        literal = parse_literal(host)
        if literal is not None:
            if literal.family == family:
                return (literal.address,)
            if family == 6 and needs_synthesis(pvd):
                return synthesise(pvd, (literal.address,))
            raise _Failed("no address", f"{host} is no IPv{family} address")
        lookup = partial(self._resolver.lookup, families=probe.families, release=release)
        try:
            answer = await lookup(pvd, host, "AAAA" if family == 6 else "A")
            found: Sequence[str] = answer.addresses
            if not found and family == 6 and needs_synthesis(pvd):
                answer = await lookup(pvd, host, "A")
                found = synthesise(pvd, answer.addresses)
        except DnsFailure as error:
            raise _Failed("dns", str(error)) from None
        except OSError as error:
            raise _failed(error) from None
        if not found and answer.negative == "NXDOMAIN":
            raise _Failed("dns", f"no such name {host}")
        if not found:
            raise _Failed("no address", f"{host} has no IPv{family} address")
        private = None if self._settings.private_addresses else private_one(answer.addresses)
        if private is not None and probe.kind != "api":
            raise _Failed("private", f"{host} has a private address here, {private}")
        return found

    async def _exchange(self, sock: socket.socket, probe: Probe, request: bytes) -> Outcome:
        reader = ResponseReader()
        try:
            if not probe.target.secure:
                await _send(sock, request)
                while (outcome := reader.feed(await _receive(sock))) is None:
                    pass
                return outcome
            if self._context is None:
                self._context = _context(None)
            secure = _Tls(sock, self._context, probe.target.host.removesuffix("."))  # RFC 6066 s3
            await secure.handshake()
            await secure.send(request)
            while (outcome := reader.feed(await secure.receive())) is None:
                pass
            return outcome
        except ssl.SSLCertVerificationError as error:
            if error.verify_code in _OUT_OF_TIME:
                return Failure("clock", f"{error.verify_message} (is the clock right?)")
            return Failure("certificate", f"wrong certificate: {error.verify_message}")
        except ssl.SSLError as error:
            return Failure("tls", f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}")
        except TimeoutError:
            raise
        except OSError as error:
            return _failed(error).failure


#: OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_OUT_OF_TIME = (9, 10)
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Failed(Exception):
    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.failure = Failure(kind, text)


def _failed(error: OSError) -> _Failed:
    ours = isinstance(error, PinError) or error.errno in _OURS
    return _Failed("here" if ours else "connect", describe(error))


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["http/1.1"])
        return context
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"probe.ca_file {ca_file}: {reason}") from None


async def _connect(
    pvd: ProvisioningDomain, addresses: Sequence[str], port: int, timeout: float, release: Release
) -> socket.socket:
    """A connected socket to the first address that can be had, each with its share of the time."""
    addresses = addresses[:TRIES]
    failed = _Failed("timeout", f"no answer in {timeout:g} s")
    for address in addresses:
        if why := unusable(pvd, address):
            failed = _Failed("connect", why)
            continue
        try:
            sock = open_pinned(pvd, socket.SOCK_STREAM, address, port, local=source_address(pvd, address))
        except OSError as error:
            failed = _failed(error)
            continue
        connected = False
        try:
            with anyio.move_on_after(timeout / len(addresses)):
                number = start_connect(sock, pvd, address, port)
                if number == errno.EINPROGRESS:
                    await anyio.wait_writable(sock)
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                connected = number == 0
                if not connected:
                    failed = _Failed("connect", describe(number))
        finally:
            if not connected:
                release(sock)
        if connected:
            return sock
    raise failed


async def _send(sock: socket.socket, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[sock.send(left) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


async def _receive(sock: socket.socket) -> bytes:
    while True:
        await anyio.wait_readable(sock)
        try:
            return sock.recv(16384)
        except BlockingIOError:
            continue


class _Tls:
    """TLS over a socket that stays ours: it is closed as any other here, and so as quietly."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)

    async def handshake(self) -> None:
        await self._run(self._tls.do_handshake)

    async def send(self, data: bytes) -> None:
        await self._run(partial(self._tls.write, data))

    async def receive(self) -> bytes:
        """Some bytes; none at the end, however the server says it."""
        try:
            return await self._run(partial(self._tls.read, 16384))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def _run(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await _receive(self._sock)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if data := self._out.read():
            await _send(self._sock, data)
