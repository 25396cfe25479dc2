"""`pvdrace.probes.runner` on the loopback: what the lab's servers do not do."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import trustme

from loopback import certificate_for
from pvdrace.config.probe_settings import ProbeSettings, Target
from pvdrace.model import LocalAddress, ProvisioningDomain, Reachability, Reached
from pvdrace.probes import capport, http204, https
from pvdrace.probes.plan import Probe
from pvdrace.probes.runner import Probed, Prober

pytestmark = pytest.mark.anyio

PVD = ProvisioningDomain("lo", interface="lo", addresses=(LocalAddress("127.0.0.1", 8),))
VALIDATED, PORTAL, NONE = Reachability.VALIDATED, Reachability.PORTAL, Reachability.NONE
UNKNOWN, PARTIAL = Reachability.UNKNOWN, Reachability.PARTIAL


class Web:
    """Answers everything that asks with the same bytes, in as many pieces, and keeps what was asked."""

    def __init__(self, *answer: bytes, context: ssl.SSLContext | None = None, hang: bool = False) -> None:
        self.answer = answer
        self.context = context
        self.hang = hang
        self.asked: list[bytes] = []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self.closing = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            peer, _ = self.sock.accept()
            with contextlib.suppress(OSError), peer:
                if self.closing:
                    return
                peer.settimeout(5)
                if self.context is not None:
                    peer = self.context.wrap_socket(peer, server_side=True)
                with peer:
                    self.asked.append(peer.recv(4096))
                    for piece in self.answer:
                        peer.sendall(piece)
                    if self.hang:
                        peer.recv(1)

    def close(self) -> None:
        self.closing = True
        socket.create_connection(("127.0.0.1", self.port), 5).close()
        self.thread.join(10)
        self.sock.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@contextlib.contextmanager
def served(*webs: Web) -> Iterator[None]:
    try:
        yield
    finally:
        for web in webs:
            web.close()


def target(port: int, *, secure: bool = False) -> Target:
    return Target(secure, "127.0.0.1", port, "/204")


async def probed(
    *,
    http: int | None = None,
    secure: int | None = None,
    api: int | None = None,
    ports: tuple[int, ...] = (),
    ca_file: str | None = None,
    timeout: float = 5,
    prober: Prober | None = None,
) -> Probed:
    settings = ProbeSettings(
        http=target(http) if http else None,
        https=target(secure, secure=True) if secure else None,
        timeout=timeout,
        ca_file=ca_file,
    )
    probes = []
    if api:
        probes.append(Probe("api", target(api, secure=True), capport.request(target(api, secure=True)), (4,)))
    if settings.http:
        probes.append(Probe("http", settings.http, http204.request(settings.http), (4,)))
    if settings.https:
        probes.append(Probe("https", settings.https, https.request(settings.https), (4,)))
    probes += [Probe("port", target(port), None, (6, 4)) for port in ports]
    return await (prober or Prober(settings)).probe(PVD, probes)


async def only(**options: object) -> Reached:
    (reached,) = (await probed(**options)).reached  # type: ignore[arg-type]
    return reached


async def test_an_answer_in_pieces_from_a_server_that_does_not_hang_up() -> None:
    web = Web(b"HTTP/1.1 20", b"4 No Content\r\nA: b\r", b"\n\r\n", hang=True)
    with served(web):
        reached = await only(http=web.port)
    assert (reached.family, reached.state, reached.evidence) == (4, VALIDATED, "HTTP 204")
    assert web.asked[0].startswith(b"GET /204 HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize("size", [10_000, 10_000_000])
async def test_a_page_without_end_is_cut_off(size: int) -> None:
    web = Web(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * size)
    with served(web):
        assert (await only(http=web.port)).state is PORTAL


async def test_a_server_of_another_kind() -> None:
    web = Web(b"220 mail.example ESMTP\r\n", hang=True)
    with served(web):
        reached = await only(http=web.port)
    assert (reached.state, reached.evidence) == (NONE, "HTTP: no HTTP: '220 mail.example ESMTP'")


async def test_https_with_a_certificate_that_verifies(authority: trustme.CA, ca_file: str) -> None:
    web = Web(b"HTTP/1.1 204 No Content\r\n\r\n", context=certificate_for(authority, "127.0.0.1"))
    with served(web):
        reached = await only(secure=web.port, ca_file=ca_file)
        assert (reached.state, reached.evidence) == (VALIDATED, "HTTPS 204")
        assert (await only(secure=web.port)).evidence.startswith("HTTPS: wrong certificate: ")


async def test_a_certificate_for_another_name(authority: trustme.CA, ca_file: str) -> None:
    web = Web(b"HTTP/1.1 204 No Content\r\n\r\n", context=certificate_for(authority, "other.example"))
    with served(web):
        reached = await only(secure=web.port, ca_file=ca_file)
    assert reached.state is NONE
    assert reached.evidence.startswith("HTTPS: wrong certificate: IP address mismatch")


@pytest.mark.parametrize("days", [(-2, -1), (1, 2)], ids=["expired", "not yet valid"])
async def test_a_wrong_clock_is_no_portal(authority: trustme.CA, ca_file: str, days: tuple[int, int]) -> None:
    now = datetime.datetime.now(datetime.UTC)
    begins, ends = (now + datetime.timedelta(days=n) for n in days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_before=begins, not_after=ends).configure_cert(context)
    web = Web(b"HTTP/1.1 204 No Content\r\n\r\n", context=context)
    plain = Web(b"HTTP/1.1 204 No Content\r\n\r\n")
    with served(web, plain):
        reached = await only(secure=web.port, ca_file=ca_file)
        assert (reached.state, reached.ports) == (UNKNOWN, ())
        assert "is the clock right?" in reached.evidence
        both = await only(secure=web.port, http=plain.port, ca_file=ca_file)
        assert (both.state, both.ports) == (PARTIAL, ())


async def test_what_speaks_no_tls() -> None:
    web = Web(b"HTTP/1.1 204 No Content\r\n\r\n")
    with served(web):
        assert (await only(secure=web.port)).evidence.startswith("HTTPS: TLS failed: ")


async def test_refused_and_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert (await only(http=port)).evidence == "HTTP: refused"
    mute = Web(hang=True)
    with served(mute):
        began = anyio.current_time()
        assert (await only(http=mute.port, timeout=0.2)).evidence == "HTTP: no answer in 0.2 s"
        assert 0.2 <= anyio.current_time() - began < 2


async def test_a_portal_is_reported_before_the_rest_has_timed_out() -> None:
    portal = Web(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/login\r\n\r\n")
    mute = Web(hang=True)
    with served(portal, mute):
        began = anyio.current_time()
        reached = await only(http=portal.port, secure=mute.port, timeout=30)
        assert anyio.current_time() - began < 3
    assert (reached.state, reached.portal) == (PORTAL, "http://192.0.2.1/login")


async def test_retry_after_and_the_end_of_a_session_are_passed_on(
    authority: trustme.CA, ca_file: str
) -> None:
    body = b'{"captive": false, "seconds-remaining": 300}'
    api = Web(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/captive+json\r\nContent-Length: %d\r\n\r\n"
        % len(body),
        body,
        context=certificate_for(authority, "127.0.0.1"),
    )
    busy = Web(b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")
    with served(api, busy):
        found = await probed(api=api.port, http=busy.port, ca_file=ca_file)
    assert (found.retry_after, found.expires) == (120.0, 300.0)
    assert [one.evidence for one in found.reached] == ["API: not captive, HTTP 503"]
    assert api.asked[0].count(b"Accept: application/captive+json") == 1


async def test_the_last_word_of_the_api_stays_in_force(authority: trustme.CA, ca_file: str) -> None:
    context = certificate_for(authority, "127.0.0.1")
    body = b'{"captive": true, "user-portal-url": "https://portal.example/"}'
    api = Web(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body, context=context)
    prober = Prober(ProbeSettings(ca_file=ca_file))
    with served(api):
        for answer in (api.answer, (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!",)):
            api.answer = answer
            (reached,) = (await probed(api=api.port, prober=prober)).reached
            assert (reached.state, reached.portal) == (PORTAL, "https://portal.example/")
        api.answer = (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",)
        (reached,) = (await probed(api=api.port, prober=prober)).reached
        assert reached.state is UNKNOWN


async def test_ports_are_tried_by_tcp() -> None:
    web = Web(b"HTTP/1.1 204 No Content\r\n\r\n")
    with served(web), socket.create_server(("127.0.0.1", 0)) as there:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            closed = gone.getsockname()[1]
        listening = there.getsockname()[1]
        found = await probed(http=web.port, ports=(listening, closed))
    (reached,) = found.reached
    assert reached.state is PARTIAL
    assert set(reached.ports) == {web.port, listening}
    assert reached.evidence == f"HTTP 204, port {closed} blocked"
