"""Sockets pinned to a PvD: device and source, both, before connect; fail closed; unprivileged."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys

import pytest

from forked_namespace import drop_all_capabilities, in_namespace
from pvdrace.model import LocalAddress, ProvisioningDomain
from pvdrace.net.sockets import (
    NoRoute,
    PinError,
    describe,
    handshake,
    open_pinned,
    socket_address,
    start_connect,
)

LOOPBACK = ProvisioningDomain("loopback", "lo", 1)
FOUR, SIX = ("203.0.113.1", "10.2.0.2"), ("2001:db8:9::1", "2001:db8:2::2")
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM

TWO_LINKS = (
    "link set dev lo up",
    "link add name wa type veth peer name wb",
    "link add name wc type veth peer name wd",
    *(f"link set dev {name} up" for name in ("wa", "wb", "wc", "wd")),
    "addr add 10.1.0.2/24 dev wa",
    "addr add 10.2.0.2/24 dev wc",
    "addr add fe80::2/64 dev wa nodad",
    "addr add 2001:db8:1::2/64 dev wa nodad",
    "addr add 2001:db8:2::2/64 dev wc nodad",
    "route add default via 10.1.0.1 dev wa metric 100",
    "route add default via 10.2.0.1 dev wc metric 200",
    "route add default via 2001:db8:1::1 dev wa metric 100",
    "route add default via 2001:db8:2::1 dev wc metric 200",
)


def link(name: str, *addresses: str) -> ProvisioningDomain:
    own = tuple(LocalAddress(address, 64 if ":" in address else 24) for address in addresses)
    return ProvisioningDomain(name, name, socket.if_nametoindex(name), own)


def device_of(sock: socket.socket) -> str:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode()


def sends(device: str, sock: socket.socket, pvd: ProvisioningDomain, remote: str) -> bool:
    """Whether the start of that connection puts anything of IPv4 (ARP counts) on the device's wire."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind((device, 3))
        wire.settimeout(0.2)
        assert start_connect(sock, pvd, remote, 443) == errno.EINPROGRESS
        while True:
            try:
                frame = wire.recv(2048)
            except TimeoutError:
                return False
            if frame[12:14] in (b"\x08\x00", b"\x08\x06"):
                return True


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class TestPins:
    @pytest.mark.parametrize("privileged", [True, False])
    @pytest.mark.parametrize("kind", [STREAM, DGRAM])
    @pytest.mark.parametrize(
        ("remote", "local"), [("203.0.113.1", "10.2.0.2"), ("2001:db8:9::1", "2001:db8:2::2")]
    )
    @in_namespace(*TWO_LINKS)
    def test_device_and_source_are_both_set(
        self, remote: str, local: str, kind: int, privileged: bool
    ) -> None:
        if not privileged:
            drop_all_capabilities()
        pvd = link("wc", "10.2.0.2", "2001:db8:2::2")  # not the link of the best route
        with open_pinned(pvd, kind, remote, 443, local=local) as sock:
            assert sock.gettimeout() == 0.0
            assert sock.type == kind
            assert not sock.get_inheritable()
            if kind == STREAM:
                assert start_connect(sock, pvd, remote, 443) == errno.EINPROGRESS
            assert device_of(sock) == "wc"
            assert sock.getsockname()[0] == local
            assert sock.getsockname()[1] != 0, "the port is chosen at connect"
            if not privileged:
                with pytest.raises(PermissionError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wa")

    @in_namespace(*TWO_LINKS)
    def test_without_a_source_the_kernel_takes_one_of_the_device(self) -> None:
        with open_pinned(link("wc", "10.2.0.2"), DGRAM, "203.0.113.1", 53) as sock:
            assert (device_of(sock), sock.getsockname()[0]) == ("wc", "10.2.0.2")

    @in_namespace(*TWO_LINKS)
    def test_link_local_addresses_get_the_scope_of_the_device(self) -> None:
        """RFC 4007 s6: for the remote and for the source."""
        pvd = link("wa", "fe80::2")
        with open_pinned(pvd, DGRAM, "fe80::1", 53, local="fe80::2") as sock:
            assert (
                sock.getpeername() == ("fe80::1%wa", 53, 0, pvd.ifindex)
                or sock.getpeername()[3] == pvd.ifindex
            )
            assert sock.getsockname()[3] == pvd.ifindex
        by_name = ProvisioningDomain("wa", "wa", 0)
        assert socket_address(by_name, "fe80::1%wa", 53) == ("fe80::1", 53, 0, pvd.ifindex)

    @in_namespace(*TWO_LINKS)
    def test_sockets_to_different_servers_may_share_a_local_port(self) -> None:
        """IP_BIND_ADDRESS_NO_PORT: the port belongs to the connection, not to the bind."""
        pvd = link("wa", "10.1.0.2")
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:
            ports.write("40000 40001")
        socks = [open_pinned(pvd, STREAM, f"203.0.113.{n}", 443, local="10.1.0.2") for n in range(1, 9)]
        assert {start_connect(sock, pvd, f"203.0.113.{n}", 443) for n, sock in enumerate(socks, 1)} == {
            errno.EINPROGRESS
        }
        for sock in socks:
            sock.close()

    def test_the_loopback_needs_no_device(self) -> None:
        for remote in ("127.0.0.1", "127.9.9.9", "::1"):
            with open_pinned(LOOPBACK, DGRAM, remote, 9) as sock:
                assert device_of(sock) == ""

    @in_namespace(*TWO_LINKS)
    def test_the_loopback_pvd_never_leaves_the_host(self) -> None:
        """Another address in it is pinned to the loopback device: wa's default route is not taken."""
        with open_pinned(LOOPBACK, STREAM, "203.0.113.1", 443) as sock:
            assert device_of(sock) == "lo"
            assert not sends("wa", sock, LOOPBACK, "203.0.113.1")
        with open_pinned(link("wa"), STREAM, "203.0.113.1", 443) as sock:
            assert sends("wa", sock, link("wa"), "203.0.113.1"), "the control"


class TestFailClosed:
    """A pin that cannot be set is an error, never a socket without it; and no descriptor stays."""

    def fails(self, pvd: ProvisioningDomain, remote: str, local: str | None = None) -> OSError:
        before = descriptors()
        with pytest.raises(OSError) as caught:
            open_pinned(pvd, STREAM, remote, 443, local=local)
        assert descriptors() == before
        return caught.value

    def test_no_interface(self) -> None:
        error = self.fails(ProvisioningDomain("wifi"), "203.0.113.1")
        assert isinstance(error, PinError)
        assert describe(error) == "wifi has no interface"

    def test_an_interface_that_is_gone(self) -> None:
        error = self.fails(ProvisioningDomain("wifi", "gone0", 99), "203.0.113.1")
        assert isinstance(error, PinError)
        assert (error.errno, describe(error)) == (errno.ENODEV, "cannot pin to gone0: No such device")

    @in_namespace(*TWO_LINKS)
    def test_a_source_of_another_pvd(self) -> None:
        error = self.fails(link("wc", "10.2.0.2"), "203.0.113.1", "10.1.0.2")
        assert isinstance(error, PinError)
        assert describe(error) == "source 10.1.0.2 is no address of wc"

    @in_namespace(*TWO_LINKS)
    def test_a_source_that_the_host_has_lost(self) -> None:
        error = self.fails(link("wc", "10.2.0.9"), "203.0.113.1", "10.2.0.9")
        assert isinstance(error, PinError)
        assert describe(error) == "cannot use source 10.2.0.9: Cannot assign requested address"

    @in_namespace(*TWO_LINKS)
    def test_a_source_of_the_other_family(self) -> None:
        error = self.fails(link("wc", "10.2.0.2"), "2001:db8::1", "10.2.0.2")
        assert isinstance(error, PinError)

    @in_namespace(*TWO_LINKS[:-4])
    def test_ipv4_without_a_route_fails_at_once(self) -> None:
        """The control: the bare device-bound socket starts to ask by ARP, for three seconds."""
        pvd = link("wc", "10.2.0.2")
        error = self.fails(pvd, "203.0.113.1", "10.2.0.2")
        assert isinstance(error, NoRoute)
        assert (error.errno, describe(error)) == (errno.ENETUNREACH, "no route")
        with socket.socket(socket.AF_INET, STREAM | socket.SOCK_NONBLOCK) as bare:
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wc")
            assert bare.connect_ex(("203.0.113.1", 443)) == errno.EINPROGRESS

    @in_namespace(*TWO_LINKS[:-4])
    def test_ipv6_without_a_route_fails_at_connect(self) -> None:
        pvd = link("wc", "2001:db8:2::2")
        with open_pinned(pvd, STREAM, "2001:db8:9::1", 443, local="2001:db8:2::2") as sock:
            assert describe(start_connect(sock, pvd, "2001:db8:9::1", 443)) == "no route"
        assert describe(self.datagram_error(pvd)) == "no route"

    def datagram_error(self, pvd: ProvisioningDomain) -> OSError:
        before = descriptors()
        with pytest.raises(OSError) as caught:
            open_pinned(pvd, DGRAM, "2001:db8:9::1", 53)
        assert descriptors() == before
        return caught.value

    @pytest.mark.parametrize("remote", ["localhost", "www.example.com", "", "1.2.3", "10.0.0.1%wa"])
    def test_a_name_is_not_resolved_behind_our_back(self, remote: str) -> None:
        with pytest.raises(ValueError, match="is not an IP address"):
            open_pinned(LOOPBACK, STREAM, remote, 80)


class TestHandshake:
    def test_the_kernel_tells_the_round_trip_time(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with open_pinned(LOOPBACK, STREAM, "127.0.0.1", port) as sock:
                assert handshake(sock) is None
                assert start_connect(sock, LOOPBACK, "127.0.0.1", port) in (0, errno.EINPROGRESS)
                select.select([], [sock], [], 5)
                found = handshake(sock)
                assert found is not None
                assert 0 < found.rtt < 1
                assert 0 < found.rttvar < 1
                assert found.retransmits == 0

    def test_other_sockets_have_none(self) -> None:
        with open_pinned(LOOPBACK, DGRAM, "127.0.0.1", 9) as sock:
            assert handshake(sock) is None


class TestWords:
    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (errno.ECONNREFUSED, "refused"),
            (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "refused"),
            (errno.ETIMEDOUT, "timed out"),
            (TimeoutError(), "timed out"),
            (errno.ENETUNREACH, "no route"),
            (errno.EHOSTUNREACH, "host unreachable"),
            (PermissionError(errno.EACCES, "Permission denied"), "prohibited by the network"),
            (errno.ECONNRESET, "reset"),
            (errno.ENOMEM, "cannot allocate memory"),
            (OSError("odd"), "odd"),
            (OSError(), "OSError"),
            (PinError(errno.EPERM, "cannot pin to wlan0: Operation not permitted"),) * 2,
        ],
    )
    def test_an_error_in_a_few_words(self, error: OSError | int, words: str | PinError) -> None:
        assert describe(error) == (words.strerror if isinstance(words, PinError) else words)

    @in_namespace(*TWO_LINKS, "-6 rule add to 2001:db8:bad::/48 prohibit")
    def test_eacces_is_the_networks_doing(self) -> None:
        """What ICMPv6 "administratively prohibited" gives (RFC 4443 s3.1), and a prohibit rule too."""
        pvd = link("wa", "2001:db8:1::2")
        with open_pinned(pvd, STREAM, "2001:db8:bad::1", 443) as sock:
            assert describe(start_connect(sock, pvd, "2001:db8:bad::1", 443)) == "prohibited by the network"


def test_the_room_loads_no_library() -> None:
    code = "import sys, pvdrace.net.sockets; sys.exit(bool({'dns', 'pyroute2', 'anyio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
