"""Sockets that are closed when their peers have had their say (`pvdrace.net.lingering`)."""

from __future__ import annotations

import os
import socket
import time

import anyio
import pytest

from loopback import BlackHole, Server, closing
from pvdrace.net import lingering
from pvdrace.net.lingering import LeavingSocket, Lingering

pytestmark = pytest.mark.anyio


def connecting(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setblocking(False)
    sock.connect_ex((address, port))
    return sock


async def test_a_connected_socket_goes_when_the_peer_has_ended() -> None:
    server = Server("127.0.0.2")
    with closing(server):
        left = Lingering(time.monotonic)
        sock = connecting("127.0.0.2", server.port)
        left.release(sock)
        with anyio.fail_after(10):
            await left.settle()
        assert sock.fileno() == -1
        assert len(left) == 0


async def test_a_silent_peer_costs_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "PATIENCE", 0.05)
    hole = BlackHole("127.0.0.2", 0)
    with closing(hole):
        left = Lingering(time.monotonic)
        sock = connecting(*hole.socks[0].getsockname())
        left.release(sock)
        assert sock.fileno() >= 0
        with anyio.fail_after(10):
            await left.settle()
        assert sock.fileno() == -1


async def test_a_mute_peer_that_accepted_is_reset_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "PATIENCE", 0.05)
    listener = socket.create_server(("127.0.0.2", 0))
    left = Lingering(time.monotonic)
    left.release(connecting(*listener.getsockname()))
    peer, _ = listener.accept()
    with anyio.fail_after(10):
        await left.settle()
    peer.settimeout(5)
    assert peer.recv(1) == b""  # our FIN; the RST behind it shows when the peer speaks
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        peer.send(b"late")
    peer.close()
    listener.close()


async def test_a_question_goes_with_its_late_answer() -> None:
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.2", 0))
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.connect(resolver.getsockname())
    asker.send(b"?")
    _, who = resolver.recvfrom(1)
    left = Lingering(time.monotonic)
    left.release(asker)
    left.sweep()
    assert len(left) == 1
    resolver.sendto(b"late", who)
    with anyio.fail_after(10):
        await left.settle()
    assert asker.fileno() == -1
    resolver.close()


def test_a_refused_one_goes_at_once() -> None:
    left = Lingering(time.monotonic)
    left.release(connecting("127.0.0.2", 9))
    left.sweep()
    assert len(left) == 0


def test_a_connected_one_says_good_bye_at_once() -> None:
    listener = socket.create_server(("127.0.0.2", 0))
    left = Lingering(time.monotonic)
    left.release(connecting(*listener.getsockname()))
    peer, _ = listener.accept()
    peer.settimeout(10)
    assert peer.recv(1) == b""  # nobody swept or settled in between
    peer.close()
    listener.close()
    left.close()


def test_after_close_nothing_is_kept() -> None:
    hole = BlackHole("127.0.0.2", 0)
    with closing(hole):
        left = Lingering(time.monotonic)
        first, second = (connecting(*hole.socks[0].getsockname()) for _ in range(2))
        left.release(first)
        left.close()
        left.release(second)
        assert (first.fileno(), second.fileno(), len(left)) == (-1, -1, 0)


def test_a_copy_of_a_descriptor_does_not_confuse_it() -> None:
    """A fork, or a user's dup, keeps the open file in the epoll set: late events are nobody's."""
    listener = socket.create_server(("127.0.0.2", 0))
    left = Lingering(time.monotonic)
    sock = connecting(*listener.getsockname())
    copy = sock.dup()
    hole = BlackHole("127.0.0.2", 0)
    with closing(hole):
        left.release(connecting(*hole.socks[0].getsockname()))  # keeps the epoll object
        left.release(sock)
        peer, _ = listener.accept()
        peer.close()
        left.sweep()
        assert sock.fileno() == -1
        left.sweep()
        assert len(left) == 1
        left.close()
    copy.close()
    listener.close()


async def test_a_question_asked_twice_is_owed_two_answers() -> None:
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.2", 0))
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.connect(resolver.getsockname())
    asker.send(b"?")
    _, who = resolver.recvfrom(1)
    left = Lingering(time.monotonic)
    left.release(asker, 2)
    resolver.sendto(b"one", who)
    left.sweep()
    assert len(left) == 1
    resolver.sendto(b"two", who)
    left.sweep()
    assert len(left) == 0
    resolver.close()


async def test_several_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "PATIENCE", 0.05)
    hole = BlackHole("127.0.0.2", 0)
    with closing(hole):
        left = Lingering(time.monotonic)
        socks = [connecting(*hole.socks[0].getsockname()) for _ in range(3)]
        for sock in socks:
            left.release(sock)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for only in (*socks, None):
                    tasks.start_soon(left.settle, only)
        assert len(left) == 0


def test_what_is_closed_already_is_nothing_to_linger() -> None:
    left = Lingering(time.monotonic)
    sock = socket.socket()
    sock.close()
    left.release(sock)
    assert len(left) == 0


async def test_one_that_would_come_back_by_itself_goes_too() -> None:
    server = Server("127.0.0.2")
    with closing(server):
        left = Lingering(time.monotonic)
        sock = LeavingSocket.of(connecting("127.0.0.2", server.port), left)
        left.release(sock)
        with anyio.fail_after(10):
            await left.settle(sock)
        assert sock.fileno() == -1
        assert len(left) == 0


def test_the_child_of_a_fork_ends_nothing_that_is_its_parents() -> None:
    listener = socket.create_server(("127.0.0.2", 0))
    left = Lingering(time.monotonic)
    sock = LeavingSocket.of(connecting(*listener.getsockname()), left)
    peer, _ = listener.accept()
    child = os.fork()
    if child == 0:
        sock.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    sock.send(b"still here")
    peer.settimeout(10)
    assert peer.recv(64) == b"still here"
    for each in (sock, peer, listener):
        each.close()
    left.close()


async def test_a_peer_that_never_stops_sending_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads as long as there is something to read would stay here for as long as the peer sends."""
    monkeypatch.setattr(lingering, "PATIENCE", 0.05)
    listener = socket.create_server(("127.0.0.2", 0))
    left = Lingering(time.monotonic)
    flooded = Endless(connecting(*listener.getsockname()))
    peer, _ = listener.accept()
    left.release(flooded)
    peer.send(b"x")
    with anyio.fail_after(10):
        await left.settle()
    assert flooded.reads > 0
    peer.close()
    listener.close()


class Endless(socket.socket):
    """There is always more to read from it; after very much of that it says so."""

    reads = 0

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags:
            return super().recv(size, flags)
        self.reads += 1
        assert self.reads < 1_000_000, "it never stopped"
        return b"x"
