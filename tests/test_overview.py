"""The rows of ``pvdrace top``: what the kernel counts and what processes tell, put beside the PvDs."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import closing
from dataclasses import replace

import pytest

from pvdrace.best import ANYWHERE
from pvdrace.expectation import Expectation
from pvdrace.model import LocalAddress, ProvisioningDomain, PvdSet, Reachability, Reached, Reason
from pvdrace.net.sock_diag import FAMILIES, TcpSocket, messages, request, tcp_socket
from pvdrace.net.tcp_sockets import tcp_sockets_of
from pvdrace.ranking import rank
from pvdrace.telemetry.counting import Known, PvdCounts, Told
from pvdrace.telemetry.overview import (
    REACH_KEPT,
    Traffic,
    Volume,
    added_up,
    by_pvd,
    ordered,
    overview,
    with_what_is_told,
)
from pvdrace.testing.scenario import build_pvds, pvd

PVDS = build_pvds({"eth": pvd(cost="unmetered"), "wifi": pvd(), "dead": pvd(unusable="link down")})
VALIDATED = (Reached(6, Reachability.VALIDATED, "", 1.0), Reached(4, Reachability.VALIDATED, "", 1.0))
PORTAL = (Reached(4, Reachability.PORTAL, "", 1.0),)


def a_socket(
    cookie: int, received: int, sent: int, *, ifindex: int = 0, local: str = "192.0.2.2"
) -> TcpSocket:
    return TcpSocket(cookie, cookie + 1000, ifindex, local, sent, received)


# ---------------------------------------------------------------------- what the kernel counts


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_real_connection_is_found_with_its_bytes(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
        with closing(client), closing(server):
            inode = os.fstat(client.fileno()).st_ino
            assert volume_of(inode) == (0, 0)
            client.sendall(b"x" * 5000)
            assert len(server.recv(5000, socket.MSG_WAITALL)) == 5000
            server.sendall(b"y" * 300)
            assert len(client.recv(300, socket.MSG_WAITALL)) == 300
            assert volume_of(inode) == (5000, 300)
            server.close()
            client.settimeout(5)
            assert client.recv(1) == b""
            assert volume_of(inode) == (5000, 300)  # a FIN is no byte
            (found,) = [sock for sock in tcp_sockets_of([os.getpid()]) if sock.inode == inode]
            assert (found.ifindex, found.local) == (0, address)
        assert inode not in {sock.inode for sock in tcp_sockets_of([os.getpid()])}


def volume_of(inode: int) -> tuple[int, int]:
    (found,) = [sock for sock in tcp_sockets_of([os.getpid()]) if sock.inode == inode]
    return found.sent, found.received


def test_who_has_no_process_has_no_sockets() -> None:
    assert tcp_sockets_of([]) == []
    assert tcp_sockets_of([2**22 + 1]) == []


def test_what_is_no_message_is_nothing() -> None:
    assert tcp_socket(b"") is None
    assert tcp_socket(bytes(71)) is None
    assert tcp_socket(bytes([2]) + bytes(71)) is None  # no TCP_INFO
    assert tcp_socket(bytes([2]) + bytes(71) + struct.pack("=HH", 0, 0)) is None
    short = struct.pack("=HH", 104, 2) + bytes(100)  # that of a kernel that does not count bytes
    assert tcp_socket(bytes([2]) + bytes(71) + short) is None
    assert list(messages(b"")) == list(messages(bytes(16))) == []


def test_the_question() -> None:
    for family in FAMILIES:
        data = request(family, 9)
        assert len(data) == 72 == struct.unpack_from("=I", data)[0]
        assert (data[16], data[17]) == (family, 6)


def test_a_socket_is_in_the_pvd_of_its_device_or_of_its_address() -> None:
    wifi = ProvisioningDomain("wifi", ifindex=3, addresses=(LocalAddress("192.0.2.2", 24),))
    vpn = ProvisioningDomain("vpn", ifindex=4, addresses=(LocalAddress("10.0.0.2", 24),), pin="source")
    sockets = [
        a_socket(1, 0, 0, ifindex=3),
        a_socket(2, 0, 0),  # of an address that a pinned one has, but bound to nothing: not ours
        a_socket(3, 0, 0, local="10.0.0.2"),
        a_socket(4, 0, 0, ifindex=9, local="10.0.0.2"),
        a_socket(5, 0, 0, local="127.0.0.1"),
    ]
    found = by_pvd(sockets, PvdSet((wifi, vpn)))
    assert [(name, sock.cookie) for name, sock in found] == [("wifi", 1), ("vpn", 3)]


def test_bytes_are_added_up_from_look_to_look() -> None:
    traffic = Traffic()
    traffic.look([("eth", a_socket(1, 100, 10)), ("wifi", a_socket(2, 7, 0))], 50.0)
    assert traffic.volumes == {"eth": Volume(1, 100, 10), "wifi": Volume(1, 7, 0)}
    traffic.look([("eth", a_socket(1, 300, 10)), ("eth", a_socket(3, 60, 20))], 52.0)
    assert traffic.volumes == {"eth": Volume(2, 360, 30, 130.0, 10.0), "wifi": Volume(0, 7, 0, 0.0, 0.0)}
    traffic.look([], 54.0)
    assert traffic.volumes["eth"] == Volume(0, 360, 30, 0.0, 0.0)
    traffic.look([("wifi", a_socket(9, 3, 0))], 54.0)  # the clock has not moved: no rate
    assert traffic.volumes["wifi"] == Volume(1, 10, 0, None, None)


# ---------------------------------------------------------------------- what processes tell


def told(name: str, reached: tuple[Reached, ...], last: float, *addresses: str) -> Told:
    own = addresses or tuple(address.address for address in PVDS[name].addresses)
    return Told(1, 1, 0.0, last=last, known={name: Known(own, reached)})


@pytest.mark.parametrize(
    ("tolds", "now", "state"),
    [
        ([], 1000.0, Reachability.UNKNOWN),
        ([told("eth", VALIDATED, 900.0)], 1000.0, Reachability.VALIDATED),
        ([told("eth", VALIDATED, 900.0), told("eth", PORTAL, 950.0)], 1000.0, Reachability.PORTAL),
        ([told("eth", PORTAL, 950.0), told("eth", VALIDATED, 900.0)], 1000.0, Reachability.PORTAL),
        ([told("eth", VALIDATED, 900.0)], 901.0 + REACH_KEPT, Reachability.UNKNOWN),
        ([told("eth", VALIDATED, 900.0, "192.0.2.77")], 1000.0, Reachability.UNKNOWN),
    ],
)
def test_the_newest_that_a_process_knows_of_this_network(
    tolds: list[Told], now: float, state: Reachability
) -> None:
    assert with_what_is_told(PVDS, tolds, now)["eth"].reachability is state


def test_what_is_known_here_and_what_is_down_stays_as_it_is() -> None:
    own = PvdSet(tuple(replace(p, reachability=Reachability.NONE) if p.name == "eth" else p for p in PVDS))
    tolds = [told("eth", VALIDATED, 1.0), told("dead", VALIDATED, 1.0)]
    seen = with_what_is_told(own, tolds, 2.0)
    assert (seen["eth"].reachability, seen["dead"].reachability) == (
        Reachability.NONE,
        Reachability.UNKNOWN,
    )


def test_the_rows() -> None:
    ranking = rank(PVDS, ANYWHERE)
    tolds = [
        Told(1, 1, 0.0, pvds={"wifi": PvdCounts(2, 3, 1, 1, 1), "loopback": PvdCounts(9)}),
        Told(2, 1, 0.0, pvds={"wifi": PvdCounts(1, 1, 1), "old": PvdCounts(4, 4, 4)}),
    ]
    rows = overview(PVDS, ranking, {"eth": Expectation(ready=0.05)}, tolds, {"eth": Volume(2, 10, 5)})
    assert [(row.name, row.place, row.because) for row in rows] == [
        ("eth", 1, ("unmetered",)),
        ("wifi", 2, tuple(map(str, ranking.ranked[1].because))),
        ("dead", None, ("link down",)),
        ("old", None, ("gone",)),
    ]
    eth, wifi, _, old = rows
    assert (eth.latency, eth.volume, eth.counts) == (0.05, Volume(2, 10, 5), PvdCounts())
    assert (wifi.latency, wifi.counts) == (None, PvdCounts(3, 4, 2, 1, 1))
    assert old.pvd is None
    assert added_up([]) == {}
    assert [row.name for row in ordered(rows, "rank")] == ["eth", "wifi", "dead", "old"]
    assert [row.name for row in ordered(rows, "name")] == ["dead", "eth", "old", "wifi"]
    assert [row.name for row in ordered(rows, "races")] == ["old", "wifi", "eth", "dead"]
    assert [row.name for row in ordered(rows, "traffic")] == ["eth", "wifi", "dead", "old"]
    assert Reason("x", "y").text == "y"
