"""Sockets that are closed when their peers have had their say (`pvdrace.net.lingering`)."""

from __future__ import annotations

import socket
import time

import anyio
import pytest

from loopback import BlackHole, Server, closing
from pvdrace.net import lingering
from pvdrace.net.lingering import Lingering

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


def test_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "MOST", 2)
    hole = BlackHole("127.0.0.2", 0)
    with closing(hole):
        left = Lingering(time.monotonic)
        socks = [connecting(*hole.socks[0].getsockname()) for _ in range(3)]
        for sock in socks:
            left.release(sock)
        assert [sock.fileno() >= 0 for sock in socks] == [False, True, True]
        left.close()
        assert [sock.fileno() for sock in socks] == [-1, -1, -1]


def test_what_is_closed_already_is_nothing_to_linger() -> None:
    left = Lingering(time.monotonic)
    sock = socket.socket()
    sock.close()
    left.release(sock)
    assert len(left) == 0
