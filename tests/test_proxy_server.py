"""The proxy on the loopback, on both backends: real sockets, and peers that misbehave."""

from __future__ import annotations

import base64
import contextlib
import errno
import logging
import os
import resource
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trustme
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

import pvdrace
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, trusting
from pvdrace.config import Configuration, parse
from pvdrace.proxy import Listen, Proxy, ProxySettings, User, Way, first_flight, http_session
from pvdrace.proxy.dialling import Dialled, Dialler
from pvdrace.proxy.relay import LARGE
from pvdrace.proxy.server import _next_client

pytestmark = pytest.mark.anyio

NOTHING = Configuration(discover=())
GREETING = b"\x05\x01\x00"
PASSWORDS = {"work": "secret"}


@contextlib.asynccontextmanager
async def serving(config: Any = NOTHING, passwords: Any = None, **settings: Any) -> AsyncIterator[Proxy]:
    """A proxy on some port; local targets are allowed, as they are all that there is here."""
    defaults: dict[str, Any] = {"listen": (Listen(port=0),), "allow_local": True, "drain_timeout": 0.2}
    settings = defaults | settings
    proxy = Proxy(ProxySettings(**settings), config=config, passwords=passwords)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(proxy.run)
            try:
                yield proxy
            finally:
                proxy.stop()


async def empty(proxy: Proxy) -> None:
    for _ in range(1000):
        if not proxy.connections:
            return
        await anyio.sleep(0.01)
    raise AssertionError(f"{proxy.connections} connections are left")


Handler = Callable[[socket.socket], object]


@contextlib.contextmanager
def target(handle: Handler, address: str = "127.0.0.1") -> Iterator[int]:
    """A server on the loopback, a thread a connection; its port."""
    with socket.create_server((address, 0), backlog=1024) as listener:

        def work(peer: socket.socket) -> None:
            with peer, contextlib.suppress(OSError):
                peer.settimeout(20)
                handle(peer)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    threading.Thread(target=work, args=(peer,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def echo(peer: socket.socket) -> None:
    while data := peer.recv(65536):
        peer.sendall(data)


async def exactly(stream: SocketStream, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += await stream.receive(length - len(data))
    return data


async def everything(stream: SocketStream) -> bytes:
    data = b""
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            data += await stream.receive()
    return data


def wanted(port: int, host: str = "127.0.0.1") -> bytes:
    return b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")


@contextlib.asynccontextmanager
async def client(proxy: Proxy) -> AsyncIterator[SocketStream]:
    async with await anyio.connect_tcp(*proxy.addresses[0]) as stream:
        yield stream


@contextlib.asynccontextmanager
async def tunnel(proxy: Proxy, port: int) -> AsyncIterator[SocketStream]:
    """A SOCKS connection to a port of the loopback."""
    async with client(proxy) as stream:
        await stream.send(GREETING + wanted(port))
        said = await exactly(stream, 12)
        assert said[:7] == b"\x05\x00\x05\x00\x00\x01\x7f"
        yield stream


def descriptors() -> set[str]:
    """All but pipes, which event loops make for themselves."""
    found = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    return {name for name in found if "socket:" in name or "eventpoll" in name}


# ---------------------------------------------------------------------- tunnels


async def test_a_socks_tunnel() -> None:
    with target(echo) as port:
        async with serving() as proxy, tunnel(proxy, port) as stream:
            await stream.send(b"hello")
            assert await exactly(stream, 5) == b"hello"


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
async def test_a_tunnel_on_uvloop() -> None:
    with target(echo) as port:
        async with serving(tls_ports=(port,)) as proxy, client(proxy) as stream:
            await stream.send(GREETING + wanted(port) + b"hello" * 100000)
            await stream.send_eof()
            assert (await everything(stream))[12:] == b"hello" * 100000


async def test_what_is_said_ahead_of_the_answer_is_kept() -> None:
    with target(echo) as port:
        async with serving() as proxy, client(proxy) as stream:
            await stream.send(GREETING + wanted(port) + b"ahead")
            assert (await exactly(stream, 17))[12:] == b"ahead"


async def test_a_tunnel_by_http() -> None:
    with target(echo) as port:
        async with serving() as proxy, client(proxy) as stream:
            await stream.send(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\nahead".encode())
            established = b"HTTP/1.1 200 Connection established\r\n\r\n"
            assert await exactly(stream, len(established) + 5) == established + b"ahead"


@pytest.mark.parametrize("first", ["client", "server"])
async def test_half_close(first: str) -> None:
    """Each side may end, and still hear all that the other has to say."""

    def handle(peer: socket.socket) -> None:
        if first == "client":
            heard = b""
            while data := peer.recv(4096):
                heard += data
            peer.sendall(heard[::-1] * 1000)
        else:
            peer.sendall(b"bye")
            peer.shutdown(socket.SHUT_WR)
            heard = b""
            while data := peer.recv(4096):
                heard += data
            late.append(heard)
            done.set()

    late: list[bytes] = []
    done = threading.Event()
    with target(handle) as port:
        async with serving() as proxy, tunnel(proxy, port) as stream:
            if first == "client":
                await stream.send(b"abc")
                await stream.send_eof()
                assert await everything(stream) == b"cba" * 1000
            else:
                assert await everything(stream) == b"bye"
                await stream.send(b"abc" * 100000)
                await stream.send_eof()
                assert await anyio.to_thread.run_sync(done.wait, 5)
                assert late == [b"abc" * 100000]


@pytest.mark.parametrize("who", ["target", "client"])
async def test_a_reset_is_passed_on(who: str) -> None:
    """Not as an end: half an answer is not to be taken for a whole one."""
    reset = struct.pack("ii", 1, 0)
    seen: list[str] = []
    done = threading.Event()

    def handle(peer: socket.socket) -> None:
        if who == "target":
            peer.recv(1)
            peer.sendall(b"half")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            return
        try:
            while peer.recv(4096):
                pass
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")
        done.set()

    with target(handle) as port:
        async with serving() as proxy, tunnel(proxy, port) as stream:
            if who == "target":
                await stream.send(b"x")
                with pytest.raises(anyio.BrokenResourceError):
                    await everything(stream)
            else:
                sock = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                await stream.aclose()
                assert await anyio.to_thread.run_sync(done.wait, 5)
                assert seen == ["reset"]


async def test_a_slow_reader_is_waited_for_and_costs_no_memory() -> None:
    """64 MiB for a client that does not read: what is on its way is bounded, and nothing is lost."""
    size = 64 << 20
    sent = [0]

    def handle(peer: socket.socket) -> None:
        block = bytes(1 << 16)
        while sent[0] < size:
            sent[0] += peer.send(block)

    with target(handle) as port:
        async with serving() as proxy, client(proxy) as stream:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await stream.send(GREETING + wanted(port))
            await exactly(stream, 12)
            on_the_way, last = 0, -1
            while on_the_way != last:
                last = on_the_way
                await anyio.sleep(0.3)
                on_the_way = sent[0]
            assert on_the_way < size / 2
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            assert grown < 16 * LARGE
            received = 0
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    received += len(await stream.receive(1 << 20))
            assert received == size


async def test_a_slow_target_is_waited_for() -> None:
    """64 MiB for a target that does not read yet: the client is held up, and nothing is lost."""
    size, read = 64 << 20, threading.Event()
    received = [0]

    def handle(peer: socket.socket) -> None:
        read.wait(20)
        while data := peer.recv(1 << 20):
            received[0] += len(data)
        peer.sendall(b"all")

    with target(handle) as port:
        async with serving() as proxy, tunnel(proxy, port) as stream:
            sent, block = 0, bytes(1 << 16)
            with anyio.move_on_after(0.5):
                while sent < size:
                    await stream.send(block)
                    sent += len(block)
            assert sent < size / 2
            read.set()
            # What was cancelled may have been sent in part: so all of it is counted at the other end.
            await stream.send(block)
            await stream.send_eof()
            assert await everything(stream) == b"all"
            assert received[0] >= sent + len(block)


async def test_listening_on_ipv6() -> None:
    with target(echo) as port:
        async with serving(listen=(Listen("::1", 0),)) as proxy, tunnel(proxy, port) as stream:
            await stream.send(b"hello")
            assert await exactly(stream, 5) == b"hello"


# ---------------------------------------------------------------------- users


@pytest.mark.parametrize(
    ("user", "password", "let_in"),
    [("work", "secret", True), ("free", "", True), ("work", "wrong", False), ("nobody", "secret", False)],
)
async def test_users(user: str, password: str, let_in: bool) -> None:
    with target(echo) as port:
        async with serving(passwords=PASSWORDS, users=(User("free"),)) as proxy:
            async with client(proxy) as stream:
                name, word = user.encode(), password.encode()
                await stream.send(
                    b"\x05\x02\x00\x02\x01" + bytes([len(name)]) + name + bytes([len(word)]) + word
                )
                assert await exactly(stream, 2) == b"\x05\x02"
                assert await exactly(stream, 2) == (b"\x01\x00" if let_in else b"\x01\x01")
                if not let_in:
                    assert await everything(stream) == b""
            async with client(proxy) as stream:
                token = base64.b64encode(f"{user}:{password}".encode()).decode()
                field = f"Proxy-Authorization: Basic {token}\r\n"
                await stream.send(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())
                said = await stream.receive()
                assert said.startswith(b"HTTP/1.1 200 " if let_in else b"HTTP/1.1 407 ")
                assert (b"Proxy-Authenticate: Basic" in said) is not let_in


async def test_where_authentication_is_wanted_nobody_goes_without() -> None:
    with target(echo) as port:
        listen = (Listen(port=0, authenticate=True),)
        async with serving(passwords=PASSWORDS, listen=listen, users=(User("free"),)) as proxy:
            for said, answer in (
                (GREETING, b"\x05\xff"),
                (b"\x05\x01\x02\x01\x04free\x00", b"\x05\x02\x01\x01"),
                (f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"HTTP/1.1 407"),
                (f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"HTTP/1.1 407"),
            ):
                async with client(proxy) as stream:
                    await stream.send(said)
                    assert (await everything(stream)).startswith(answer)


async def test_the_user_and_the_port_choose_the_policy() -> None:
    """Rules by label, each of which requires a PvD that is not there."""
    config = parse(
        """
        discover = []
        [[pvd]]
        name = "a"
        interface = "lo"
        [[rule]]
        match = { label = ["port"] }
        require = ["pvd:port"]
        [[rule]]
        match = { label = ["user"] }
        require = ["pvd:user"]
        """
    )
    listen = (Listen(port=0), Listen(port=0, way=Way(label="port")))
    async with serving(config, listen=listen, users=(User("u", Way(label="user")),)) as proxy:

        async def asked(number: int, token: str | None) -> str:
            field = f"Proxy-Authorization: Basic {base64.b64encode(f'{token}:'.encode()).decode()}\r\n"
            async with await anyio.connect_tcp(*proxy.addresses[number]) as stream:
                request = f"CONNECT 192.0.2.1:1 HTTP/1.1\r\nHost: x\r\n{field if token else ''}\r\n"
                await stream.send(request.encode())
                return (await everything(stream)).decode()

        assert "required" not in await asked(0, None)
        assert "pvd:port" in await asked(1, None)
        assert "pvd:user" in await asked(0, "u")
        assert "pvd:user" in await asked(1, "u")


async def test_a_policy_file_and_a_profile_of_a_user(tmp_path: Path) -> None:
    """Each has a connector of its own, and what one forbids does not hold for another."""
    file = tmp_path / "policy.toml"
    file.write_text('[policy]\nprohibit = ["pvd:a"]\n', "utf-8")
    config = parse('discover = []\n[[pvd]]\nname = "a"\ninterface = "lo"\naddresses = ["127.0.0.1"]\n')
    users = (
        User("strict", Way(policy=str(file))),
        User("linux", Way(profile="linux")),
        User("windows", Way(profile="windows")),
    )
    reports: list[pvdrace.RaceReport] = []
    with target(echo, "127.0.0.2") as port:
        proxy = Proxy(
            ProxySettings(listen=(Listen(port=0),), users=users, allow_local=True),
            config=config,
            hooks=[reports.append],
        )
        assert len(proxy._diallers) == 4
        async with anyio.create_task_group() as tasks:
            await tasks.start(proxy.run)
            for user in ("strict", "linux", "windows", None):
                token = base64.b64encode(f"{user}:".encode()).decode()
                field = f"Proxy-Authorization: Basic {token}\r\n" if user else ""
                async with client(proxy) as stream:
                    # An address that is nobody's, so that it is not the loopback's own PvD that is dialled.
                    await stream.send(f"CONNECT 192.0.2.1:{port} HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())
                    said = (await everything(stream)).decode()
                assert said.startswith("HTTP/1.1 50"), said
                assert ("prohibited by pvd:a" in said) is (user == "strict")
            proxy.stop()
    assert len(reports) == 4


@pytest.mark.parametrize(
    ("way", "error"),
    [(Way(policy="/none/policy.toml"), "No such file"), (Way(profile="linus"), "no profile 'linus'")],
)
async def test_a_policy_that_is_not_there_is_an_error_at_once(way: Way, error: str) -> None:
    with pytest.raises(pvdrace.ConfigurationError, match=error):
        Proxy(ProxySettings(users=(User("a", way),)), config=NOTHING)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "a.localhost", "::1", "0.0.0.0", "::ffff:127.0.0.1", "169.254.169.254"]
)
async def test_local_targets_are_refused(host: str) -> None:
    with target(echo) as port:
        async with serving(allow_local=False) as proxy:
            async with client(proxy) as stream:
                await stream.send(GREETING + wanted(port, host))
                assert (await everything(stream))[:4] == b"\x05\x00\x05\x02"
            bracketed = f"[{host}]" if ":" in host else host
            for request in (f"CONNECT {bracketed}:{port}", f"GET http://{bracketed}:{port}/"):
                async with client(proxy) as stream:
                    await stream.send(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    said = (await everything(stream)).decode()
                    assert said.startswith("HTTP/1.1 403 ")
                    assert "not a target of this proxy\n" in said


@pytest.mark.parametrize("again", [False, True], ids=["asked", "cached"])
async def test_names_that_resolve_to_local_targets_are_refused(again: bool) -> None:
    """As each PvD answers; the control is the same name where local targets are allowed."""
    with target(echo) as port:
        dns = Dns({("evil.example.test", "A"): ["127.0.0.1"], ("evil.example.test", "AAAA"): ["::1"]})
        with closing(dns):
            config = parse(
                'discover = []\n[[pvd]]\nname = "a"\ninterface = "lo"\n'
                f'resolvers = ["127.0.0.1:{dns.port}"]\n'
            )
            for allowed, reply in ((False, 4), (True, 0)):
                async with serving(config, allow_local=allowed, connect_timeout=5) as proxy:
                    for _ in range(1 + again):
                        async with client(proxy) as stream:
                            await stream.send(GREETING + wanted(port, "evil.example.test"))
                            assert (await exactly(stream, 4))[2:] == bytes((5, reply))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\x04\x01\x00\x50\x01\x02\x03\x04\x00", b"\x00\x5b\0\0\0\0\0\0"),
        (GREETING + b"\x05\x02\x00\x01" + bytes(6), b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
        (b"\x16\x03\x01\x00\x05", b""),
        (b"\x00", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET http://a.example/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (
            b"POST http://a.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
        ),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET http://a/ HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70000, b"HTTP/1.1 431 "),
    ],
)
async def test_what_is_not_understood(said: bytes, answer: bytes) -> None:
    async with serving() as proxy, client(proxy) as stream:
        await stream.send(said)
        heard = await everything(stream)
        assert heard.startswith(answer)
        assert (heard == b"") is (answer == b"")


async def test_a_target_that_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with serving() as proxy:
        async with client(proxy) as stream:
            await stream.send(GREETING + wanted(port))
            assert (await everything(stream))[:4] == b"\x05\x00\x05\x05"
        async with client(proxy) as stream:
            await stream.send(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            said = (await everything(stream)).decode()
            assert said.startswith(
                "HTTP/1.1 502 Bad Gateway\r\nProxy-Status: pvdrace; error=connection_refused\r\n"
            )
            assert said.endswith(f"\r\n\r\n127.0.0.1:{port}: loopback v4 refused\n")


# ---------------------------------------------------------------------- http:// URLs


def web(peer: socket.socket) -> None:
    """An origin server: says back what it got, in the framing that the path names; then closes."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(4096)
    head, _, body = data.partition(b"\r\n\r\n")
    lower = head.lower()
    if b"expect: 100-continue" in lower:
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if b"content-length: " in lower:
        length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += peer.recv(65536)
    elif b"transfer-encoding: chunked" in lower:
        while not body.endswith(b"0\r\n\r\n"):
            body += peer.recv(65536)
    path = head.split()[1]
    said = head.split(b"\r\n")[0] + b"|" + lower + b"|" + body
    if path == b"/chunked":
        frame = f"{len(said):x}\r\n".encode() + said + b"\r\n0\r\n\r\n"
        peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + frame)
    elif path == b"/to-the-end":
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + said)
    elif path == b"/half":
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + said)
    elif path == b"/nothing":
        return
    else:
        field = b"Content-Length: " + str(len(said)).encode()
        peer.sendall(b"HTTP/1.1 200 OK\r\n" + field + b"\r\nConnection: close\r\n\r\n" + said)


class Talk:
    """A client's connection to the proxy, one answer after the other."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.waiting = b""

    async def answer(self, *, body: bool = True) -> tuple[bytes, bytes]:
        while b"\r\n\r\n" not in self.waiting:
            self.waiting += await self.stream.receive()
        head, _, self.waiting = self.waiting.partition(b"\r\n\r\n")
        if not body or head.startswith(b"HTTP/1.1 1"):
            return head, b""
        lower = head.lower()
        if b"content-length: " in lower:
            length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(self.waiting) < length:
                self.waiting += await self.stream.receive()
            said, self.waiting = self.waiting[:length], self.waiting[length:]
            return head, said
        assert b"transfer-encoding: chunked" in lower
        said = b""
        while True:
            while b"\r\n" not in self.waiting:
                self.waiting += await self.stream.receive()
            size, _, self.waiting = self.waiting.partition(b"\r\n")
            while len(self.waiting) < int(size, 16) + 2:
                self.waiting += await self.stream.receive()
            said += self.waiting[: int(size, 16)]
            self.waiting = self.waiting[int(size, 16) + 2 :]
            if int(size, 16) == 0:
                return head, said


async def test_requests_one_after_the_other_on_one_connection() -> None:
    """Each framing of the answer, and of the request; to two servers; the client's connection stays."""
    with target(web) as one, target(web) as other:
        async with serving() as proxy, client(proxy) as stream:
            talk = Talk(stream)
            for port in (one, other, one):
                for path in ("", "/", "/chunked", "/to-the-end", "/a?b=c"):
                    await stream.send(
                        f"GET http://127.0.0.1:{port}{path} HTTP/1.1\r\nHost: wrong\r\n\r\n".encode()
                    )
                    head, said = await talk.answer()
                    assert head.startswith(b"HTTP/1.1 200 ")
                    assert b"via: 1." in head.lower()
                    assert b"connection: close" not in head.lower()
                    line, fields, _ = said.split(b"|")
                    assert line == f"GET {path or '/'} HTTP/1.1".encode()
                    assert f"host: 127.0.0.1:{port}\r\n".encode() in fields
                    assert b"connection: close" in fields
            for framing in (b"Content-Length: 200000\r\n\r\n" + bytes(200000), None):
                await stream.send(f"POST http://127.0.0.1:{one}/ HTTP/1.1\r\nHost: x\r\n".encode())
                if framing is None:
                    await stream.send(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
                else:
                    await stream.send(framing)
                _, said = await talk.answer()
                body = said.split(b"|", 2)[2]
                assert body == (bytes(200000) if framing else b"5\r\nhello\r\n0\r\n\r\n")
            await stream.send(f"HEAD http://127.0.0.1:{one}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            # A server that sends content after HEAD: what it says is not passed on.
            head, _ = await talk.answer(body=False)
            assert head.startswith(b"HTTP/1.1 200 ")


async def test_pipelined_requests() -> None:
    with target(web) as port:
        async with serving() as proxy, client(proxy) as stream:
            await stream.send(
                b"".join(
                    f"GET http://127.0.0.1:{port}/{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for n in range(4)
                )
            )
            talk = Talk(stream)
            for n in range(4):
                _, said = await talk.answer()
                assert said.startswith(f"GET /{n} ".encode())


async def test_a_client_that_waits_for_100_continue() -> None:
    with target(web) as port:
        async with serving() as proxy, client(proxy) as stream:
            await stream.send(
                f"PUT http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                "Content-Length: 3\r\n\r\n".encode()
            )
            talk = Talk(stream)
            assert (await talk.answer())[0].startswith(b"HTTP/1.1 100 ")
            await stream.send(b"abc")
            assert (await talk.answer())[1].endswith(b"|abc")


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1\r\nConnection: close"])
async def test_a_client_that_wants_one_answer(version: str) -> None:
    with target(web) as port:
        async with serving() as proxy, client(proxy) as stream:
            await stream.send(f"GET http://127.0.0.1:{port}/chunked {version}\r\nHost: x\r\n\r\n".encode())
            said = await everything(stream)
            assert b"GET /chunked HTTP/1.1|" in said


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    with target(web) as port:
        async with serving() as proxy:
            async with client(proxy) as stream:
                await stream.send(f"GET http://127.0.0.1:{port}/half HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                with pytest.raises(anyio.BrokenResourceError):
                    await everything(stream)
            async with client(proxy) as stream:
                await stream.send(f"GET http://127.0.0.1:{port}/nothing HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert (await everything(stream)).startswith(b"HTTP/1.1 502 ")


async def test_an_answer_before_the_request_is_whole() -> None:
    """It is passed on, and then the connection has no use: nobody knows where the next request begins."""

    def refuse(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        peer.recv(65536)

    with target(refuse) as port:
        async with serving() as proxy, client(proxy) as stream:
            await stream.send(f"PUT http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n".encode())
            await stream.send(b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            assert (await everything(stream)).startswith(b"HTTP/1.1 413 ")


# ---------------------------------------------------------------------- limits


async def test_a_client_that_says_nothing_is_sent_away() -> None:
    async with serving(handshake_timeout=0.2) as proxy:
        for said in (b"", b"\x05", b"\x05\x01\x00", b"GET http"):
            async with client(proxy) as stream:
                await stream.send(said)
                heard = await everything(stream)
                assert heard.startswith(b"HTTP/1.1 408 " if said[:1] == b"G" else b"")
        await empty(proxy)


async def test_a_race_that_nobody_waits_for_is_given_up() -> None:
    """Long before its time is over: the client has gone."""
    hole = BlackHole("127.0.0.1", 0)
    port = hole.socks[0].getsockname()[1]
    with closing(hole):
        async with serving(connect_timeout=3000.0) as proxy:
            async with client(proxy) as stream:
                await stream.send(GREETING + wanted(port))
                await anyio.sleep(0.2)
                assert proxy.connections == 1
            await empty(proxy)


async def test_an_idle_connection_is_ended_and_a_busy_one_is_not() -> None:
    with target(echo) as port:
        async with (
            serving(idle_timeout=0.4) as proxy,
            tunnel(proxy, port) as idle,
            tunnel(proxy, port) as busy,
        ):
            for _ in range(32):
                await busy.send(b"x")
                await exactly(busy, 1)
                await anyio.sleep(0.05)
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await idle.receive()
            await busy.send(b"y")
            assert await exactly(busy, 1) == b"y"


async def test_a_connection_that_waits_for_its_next_request_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_session, "KEEP_ALIVE", 0.2)
    with target(web) as port:
        async with serving() as proxy, client(proxy) as stream:
            await stream.send(f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await Talk(stream).answer()
            assert await everything(stream) == b""


async def test_more_clients_than_are_served_at_once_have_to_wait() -> None:
    with target(echo) as port:
        async with serving(max_connections=2) as proxy, tunnel(proxy, port):
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(tunnel(proxy, port))
                third = await stack.enter_async_context(client(proxy))
                await third.send(GREETING + wanted(port))
                with anyio.move_on_after(0.2):
                    assert not await third.receive()
                assert proxy.connections == 2
            async with client(proxy) as fourth:
                await fourth.send(GREETING + wanted(port))
                assert (await exactly(fourth, 12))[:2] == b"\x05\x00"


async def test_two_addresses_share_the_room() -> None:
    """None of them keeps what the other needs."""
    with target(echo) as port:
        async with serving(max_connections=1, listen=(Listen(port=0), Listen(port=0))) as proxy:
            for number in (0, 1, 0, 1):
                async with await anyio.connect_tcp(*proxy.addresses[number]) as stream:
                    await stream.send(GREETING + wanted(port))
                    assert (await exactly(stream, 12))[:4] == b"\x05\x00\x05\x00"


class Fickle(socket.socket):
    """A listener that tells of clients that came to nothing before it has one."""

    errors = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN)

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            first, *self.errors = self.errors  # type: ignore[assignment]
            raise OSError(first, os.strerror(first))
        return super().accept()


async def test_a_client_that_came_to_nothing_is_not_the_end() -> None:
    with Fickle() as listener, socket.socket() as peer:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        peer.connect(listener.getsockname())
        with anyio.fail_after(10):
            client, address = await _next_client(listener, anyio.Semaphore(1))
        assert address == peer.getsockname()
        client.close()


async def test_a_connection_that_nobody_waits_for_any_more_is_dropped_as_it_has_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By `Dialler.drop`, which knows whether it has to go quietly."""
    with target(echo) as port:
        async with pvdrace.Connector(NOTHING) as connector:
            dialler = Dialler(connector, ProxySettings(allow_local=True), None)
            dropped: list[socket.socket] = []

            async def drop(dialled: Dialled) -> None:
                await anyio.lowlevel.checkpoint()
                dropped.append(dialled.sock)
                dialled.sock.close()

            async def accept(bound: tuple[str, int]) -> None:
                await anyio.sleep_forever()

            monkeypatch.setattr(dialler, "drop", drop)
            with anyio.move_on_after(0.1) as scope:
                await dialler.dial("127.0.0.1", port, None, accept)
            assert scope.cancelled_caught
            assert len(dropped) == 1


async def test_a_thousand_connections_at_once() -> None:
    """All of them open at once, each of them heard, and none of them left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    number = 1000
    open_now = anyio.Event()
    opened: list[int] = []
    before = descriptors()
    server = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024)
    port = server.extra(anyio.abc.SocketAttribute.local_port)

    async def answer(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    await stream.send(await stream.receive())

    async def use(n: int) -> None:
        async with tunnel(proxy, port) as stream:
            opened.append(n)
            if len(opened) == number:
                open_now.set()
            await open_now.wait()
            await stream.send(n.to_bytes(4, "big"))
            assert await exactly(stream, 4) == n.to_bytes(4, "big")

    try:
        with anyio.fail_after(60):
            async with server, anyio.create_task_group() as servers:
                servers.start_soon(server.serve, answer)
                async with serving() as proxy:
                    async with anyio.create_task_group() as clients:
                        for n in range(number):
                            clients.start_soon(use, n)
                    await empty(proxy)
                servers.cancel_scope.cancel()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(opened) == number
    await anyio.sleep(0.05)
    assert len(descriptors() - before) < 10


# ---------------------------------------------------------------------- the end


async def test_a_stop_drains() -> None:
    """No new clients, those that idle are ended at once, and those that are served may finish."""
    with target(echo) as port, target(web) as pages:
        async with serving(drain_timeout=10) as proxy:
            async with tunnel(proxy, port) as stream, client(proxy) as waiting, client(proxy) as silent:
                await waiting.send(f"GET http://127.0.0.1:{pages}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await Talk(waiting).answer()
                address = proxy.addresses[0]
                proxy.stop()
                assert await everything(silent) == b""
                assert await everything(waiting) == b""
                with pytest.raises(OSError):
                    await anyio.connect_tcp(*address)
                await stream.send(b"still here")
                assert await exactly(stream, 10) == b"still here"
            before = anyio.current_time()
        assert anyio.current_time() - before < 5


async def test_a_stop_lets_a_request_finish_and_takes_no_further_one() -> None:
    asked, finish = threading.Event(), threading.Event()

    def slow(peer: socket.socket) -> None:
        peer.recv(65536)
        asked.set()
        finish.wait(10)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with target(slow) as port:
        async with serving(drain_timeout=10) as proxy, client(proxy) as stream:
            await stream.send(f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await anyio.to_thread.run_sync(asked.wait, 5)
            proxy.stop()
            await anyio.sleep(0.05)
            finish.set()
            assert (await everything(stream)).endswith(b"\r\n\r\nok")


async def test_a_stop_does_not_wait_for_ever() -> None:
    with target(echo) as port:
        async with client_outliving(port) as stream:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()


@contextlib.asynccontextmanager
async def client_outliving(port: int) -> AsyncIterator[SocketStream]:
    """A tunnel whose proxy has been stopped, and has ended."""
    async with contextlib.AsyncExitStack() as stack:
        async with serving(drain_timeout=0.1) as proxy:
            stream = await stack.enter_async_context(tunnel(proxy, port))
        yield stream


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.005, 0.02, 0.1, 0.3])
async def test_cancellation_at_any_moment_leaves_nothing(moment: float) -> None:
    """Clients in every state: greeting, racing, being watched for their first flight, relaying."""

    def mute(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.recv(65536)

    before = descriptors()
    with target(mute) as port, target(web) as pages:
        proxy = Proxy(
            ProxySettings(listen=(Listen(port=0),), allow_local=True, tls_ports=(port,)), config=NOTHING
        )
        async with contextlib.AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            await tasks.start(proxy.run)
            for said in (
                b"",
                GREETING,
                GREETING + wanted(port),
                GREETING + wanted(port) + b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
                f"GET http://127.0.0.1:{pages}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
                f"POST http://127.0.0.1:{pages}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n".encode(),
            ):
                stream = await stack.enter_async_context(client(proxy))
                await stream.send(said)
            await anyio.sleep(moment)
            tasks.cancel_scope.cancel()
    await anyio.sleep(0.05)
    assert len(descriptors() - before) <= 2  # threads of the targets may be at their end


async def test_an_address_that_is_taken_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proxy = Proxy(ProxySettings(listen=(Listen(port=port),)), config=NOTHING)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await proxy.run()


async def test_the_log_has_hosts_at_debug_alone_and_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pvdrace.proxy")
    with target(web) as port:
        async with serving(passwords=PASSWORDS) as proxy, client(proxy) as stream:
            token = base64.b64encode(b"work:secret").decode()
            fields = f"Host: x\r\nProxy-Authorization: Basic {token}\r\n"
            url = f"http://127.0.0.1:{port}/path?query=1"
            await stream.send(f"GET {url} HTTP/1.1\r\n{fields}\r\n".encode())
            await Talk(stream).answer()
    text = caplog.text
    assert f"user=work 127.0.0.1:{port} via loopback 127.0.0.1" in text
    assert all(word not in text for word in ("secret", token, "path", "query"))
    assert {record.levelno for record in caplog.records if record.name == "pvdrace.proxy"} == {logging.DEBUG}


async def test_no_name_of_a_host_makes_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does it speak to the terminal that the log is shown in."""
    caplog.set_level(logging.DEBUG, "pvdrace.proxy")
    async with serving() as proxy, client(proxy) as stream:
        await stream.send(GREETING + wanted(80, "a\n127.0.0.1:9 user=root x\x1b[2J"))
        assert (await exactly(stream, 12))[3] != 0
    lines = [record.getMessage() for record in caplog.records if record.name == "pvdrace.proxy"]
    assert any("[a 127.0.0.1:9 user=root x [2J]:80: " in line for line in lines)
    assert all(line.isprintable() for line in lines)


# ---------------------------------------------------------------------- first flights


async def test_a_client_that_says_nothing_on_a_tls_port_gets_the_first_transport(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(first_flight, "PATIENCE", 0.1)

    def banner(peer: socket.socket) -> None:
        peer.sendall(b"220 hello\r\n")
        peer.recv(1)

    with target(banner) as port:
        async with serving(tls_ports=(port,)) as proxy, client(proxy) as stream:
            await stream.send(GREETING + wanted(port))
            assert (await exactly(stream, 23))[12:] == b"220 hello\r\n"


async def test_early_data_goes_to_the_winner_after_its_answer() -> None:
    """Only the ClientHello is said before the server has answered it."""
    hello, rest = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"early data"
    heard: list[bytes] = []

    def serve(peer: socket.socket) -> None:
        heard.append(peer.recv(65536))
        peer.sendall(b"\x16\x03\x03")
        heard.append(peer.recv(65536))
        peer.sendall(b"\x00\x01\x00")

    with target(serve) as port:
        async with serving(tls_ports=(port,)) as proxy, client(proxy) as stream:
            await stream.send(GREETING + wanted(port) + hello + rest)
            assert (await exactly(stream, 18))[12:] == b"\x16\x03\x03\x00\x01\x00"
    assert heard == [hello, rest]


async def test_an_alert_of_all_paths_is_for_the_client() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"

    def serve(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(alert)

    with target(serve) as port:
        async with serving(tls_ports=(port,)) as proxy, client(proxy) as stream:
            await stream.send(GREETING + wanted(port) + b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
            assert (await everything(stream))[12:] == alert


@pytest.mark.parametrize("how", ["works", "reset", "end", "plaintext", "alert", "silence"])
@pytest.mark.parametrize("protocol", ["socks", "http"])
async def test_a_path_that_is_intercepted_at_the_first_flight_loses(how: str, protocol: str) -> None:
    """Two PvDs with an address each for the name: the first accepts TCP and then does not talk TLS.

    The client makes its TLS through the tunnel as if nothing had been. The control is a PvD that works.
    """
    heard: list[bytes] = []

    def intercept(peer: socket.socket) -> None:
        if how == "works":
            with certificate_for(authority, HOST).wrap_socket(peer, server_side=True) as secure:
                secure.sendall(b"first")
            return
        heard.append(peer.recv(65536))
        if how == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "plaintext":
            peer.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n")
        elif how == "alert":
            peer.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
        elif how == "silence":
            peer.recv(1)

    authority = trustme.CA()
    first = Dns({(HOST, "A"): ["127.0.0.2"]})
    second = Dns({(HOST, "A"): ["127.0.0.3"]})
    with target(intercept, "127.0.0.2") as port:
        server = Server("127.0.0.3", port, word=b"second", context=certificate_for(authority, HOST))
        with closing(first, second, server):
            pvds = "".join(
                f'[[pvd]]\nname = "{name}"\ninterface = "lo"\naddresses = ["127.0.0.1"]\n'
                f'resolvers = ["127.0.0.1:{dns.port}"]\nmetric = {metric}\n'
                for name, dns, metric in (("a", first, 1), ("b", second, 2))
            )
            async with (
                serving(parse(f"discover = []\n{pvds}"), tls_ports=(port,)) as proxy,
                client(proxy) as stream,
            ):
                if protocol == "socks":
                    await stream.send(GREETING + wanted(port, HOST))
                    assert (await exactly(stream, 12))[:4] == b"\x05\x00\x05\x00"
                else:
                    await stream.send(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    await exactly(stream, 39)
                secure = await TLSStream.wrap(
                    stream, hostname=HOST, ssl_context=trusting(authority), standard_compatible=False
                )
                assert await secure.receive() == (b"first" if how == "works" else b"second")
    assert all(said[:1] == b"\x16" for said in heard)
    assert len(heard) == (how != "works")
