"""The admission test agrees with ``ip route get fibmatch`` for IPv4, and with connect itself for IPv6."""

from __future__ import annotations

import errno
import json
import socket
import subprocess

import pytest

from forked_namespace import drop_all_capabilities, in_namespace
from pvdrace.model import LocalAddress, ProvisioningDomain
from pvdrace.net.admission import check_route
from pvdrace.net.sockets import NoRoute

NETWORK = (
    "link set dev lo up",
    "link add name wa type veth peer name wb",
    "link add name wc type veth peer name wd",
    *(f"link set dev {name} up" for name in ("wa", "wb", "wc", "wd")),
    "addr add 10.1.0.2/24 dev wa",
    "addr add 10.2.0.2/24 dev wc",
    "addr add 2001:db8:1::2/64 dev wa nodad",
    "addr add 2001:db8:2::2/64 dev wc nodad",
    "route add default via 10.1.0.1 dev wa",
    "route add 203.0.113.0/24 via 10.1.0.1 dev wa",
    "route add 203.0.113.128/25 via 10.2.0.1 dev wc",
    "route add 198.51.100.0/25 nexthop via 10.1.0.1 dev wa nexthop via 10.2.0.1 dev wc",
    "route add blackhole 198.51.100.128/26",
    "route add prohibit 198.51.100.192/26",
    # Behind a rule for the source address: only a socket that is bound to it has this route.
    "addr add 10.2.0.3/24 dev wc",
    "route add default via 10.2.0.1 dev wc table 7",
    "rule add from 10.2.0.3 lookup 7",
    "route add default via 2001:db8:1::1 dev wa",
    "route add 2001:db8:77::/48 via 2001:db8:2::1 dev wc",
    "route add 2001:db8:77:1::/64 via 2001:db8:1::1 dev wa",
    "route add unreachable 2001:db8:88::/48",
    "route add 2001:db8:99::/48 nexthop via 2001:db8:1::1 dev wa nexthop via 2001:db8:2::1 dev wc",
)


def link(name: str) -> ProvisioningDomain:
    return ProvisioningDomain(name, name, socket.if_nametoindex(name), (LocalAddress("10.2.0.3", 24),))


def admitted(device: str, remote: str, local: str | None = None) -> bool:
    try:
        check_route(link(device), remote, local)
    except NoRoute as error:
        assert error.errno == errno.ENETUNREACH
        assert str(remote) in str(error)
        return False
    return True


def ip_route_get(device: str, remote: str, local: str | None = None) -> bool:
    command = [
        "ip",
        "-j",
        "route",
        "get",
        "fibmatch",
        remote,
        *(["from", local] if local else []),
        "oif",
        device,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and json.loads(done.stdout)[0].get("type", "unicast") not in (
        "blackhole",
        "prohibit",
    )


def connects(device: str, remote: str) -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        return sock.connect_ex((remote, 443)) == errno.EINPROGRESS


V4 = ["10.1.0.9", "10.2.0.9", "192.0.2.9", "203.0.113.1", "203.0.113.200"]
V4 += ["198.51.100.1", "198.51.100.129", "198.51.100.193"]
V6 = ["2001:db8:1::9", "2001:db8:2::9", "2001:db8:5::1", "2001:db8:77::1", "2001:db8:77:1::1"]
V6 += ["2001:db8:88::1", "2001:db8:99::1"]


@pytest.mark.parametrize("local", [None, "10.2.0.3"])
@in_namespace(*NETWORK)
def test_ipv4_agrees_with_ip_route_get(local: str | None) -> None:
    found = {(device, remote): admitted(device, remote, local) for device in ("wa", "wc") for remote in V4}
    assert found == {key: ip_route_get(*key, local) for key in found}
    assert set(found.values()) == {True, False}


@in_namespace(*NETWORK)
def test_ipv6_agrees_with_connect() -> None:
    found = {(device, remote): admitted(device, remote) for device in ("wa", "wc") for remote in V6}
    assert found == {key: connects(*key) for key in found}
    assert set(found.values()) == {True, False}


@in_namespace(*NETWORK)
def test_it_needs_no_privilege() -> None:
    drop_all_capabilities()
    assert admitted("wa", "203.0.113.1")
    assert not admitted("wc", "203.0.113.1")


@in_namespace(*NETWORK)
def test_the_device_is_found_by_name_where_the_index_is_unknown() -> None:
    check_route(ProvisioningDomain("wifi", "wa"), "203.0.113.1")
    with pytest.raises(NoRoute, match=r"^\[Errno 101\] wifi has no route to 203.0.113.1$"):
        check_route(ProvisioningDomain("wifi", "wc"), "203.0.113.1")
    with pytest.raises(OSError, match="no interface"):
        check_route(ProvisioningDomain("wifi", "gone0"), "203.0.113.1")


@in_namespace(*NETWORK, "link set dev wa down")
def test_a_link_that_is_down_has_no_routes() -> None:
    assert not admitted("wa", "203.0.113.1")


def test_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="is not an IP address"):
        check_route(ProvisioningDomain("wifi", "lo", 1), "www.example.com")
