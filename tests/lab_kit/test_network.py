"""What a lab is when nothing is wrong with it."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import threading
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lab_kit.client import connect
from lab_kit.names import ask
from pvdrace.lab import Lab, LabError, Provider

pytestmark = pytest.mark.lab
LINKS = ["eth", "wifi", "lte"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", LINKS)
def test_the_same_server_is_behind_every_link_and_knows_which(lab: Lab, name: str, family: int) -> None:
    for port in ("who", "https"):
        assert connect(lab, lab[name], family=family, port=port).what == name
    assert name in connect(lab, lab[name], family=family, port="ssh").what


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", LINKS)
def test_a_handshake_takes_one_round_trip(lab: Lab, name: str, family: int) -> None:
    round_trip = 2 * lab[name].provider.delay
    connect(lab, lab[name], family=family)  # the next hop's address is known from here on
    times = sorted(connect(lab, lab[name], family=family).connected or 9 for _ in range(5))
    assert round_trip - 0.0001 <= times[0] < round_trip + 0.015


def test_the_default_link_is_that_of_the_lowest_metric() -> None:
    with Lab([Provider("a", metric=300), Provider("b", metric=50), Provider("c")]) as lab:
        assert connect(lab).what == connect(lab, family=6).what == "b"


def test_names_are_answered_by_each_provider(lab: Lab) -> None:
    for number, link in enumerate(lab, 1):
        for server in link.resolvers:
            assert ask(lab, server, "local.example.test", "A") == [f"198.51.100.{100 + number}"]
            assert ask(lab, server, lab.name, "AAAA") == [lab.address6]


def test_a_local_name_is_reachable_through_its_own_provider_alone(lab: Lab) -> None:
    assert connect(lab, lab["eth"], address="198.51.100.101").what == "eth"
    assert connect(lab, lab["wifi"], address="198.51.100.101", timeout=0.3).what == "timeout"


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("v4only.example.test", "AAAA", []),
        ("v6only.example.test", "A", []),
        ("several.example.test", "A", ["198.51.100.11", "198.51.100.12", "198.51.100.13"]),
        ("alias.example.test", "A", ["198.51.100.1", "www.example.test."]),
        ("not-there.example.test", "A", []),
    ],
)
@pytest.mark.parametrize("server", ["dnsmasq", "own"])
def test_both_servers_have_the_same_names(
    lab: Lab, server: str, name: str, type_: str, expected: list[str]
) -> None:
    if server == "own":
        lab["eth"].dns("wrong-id", types=["TXT"])
    assert sorted(ask(lab, lab["eth"].gateway4, name, type_)) == sorted(expected)


def test_zones_of_one_provider_take_the_place_of_the_common_ones() -> None:
    zones = {"www.example.test": ["198.51.100.7"], "svc.example.test": ["HTTPS 1 . alpn=h2", "TXT here"]}
    with Lab([Provider("a", zones=zones), Provider("b", dns="own", zones=zones), Provider("c")]) as lab:
        for name in "ab":
            server = lab[name].gateway6
            assert ask(lab, server, "www.example.test", "A") == ["198.51.100.7"]
            assert ask(lab, server, "svc.example.test", "HTTPS") == ['1 . alpn="h2"']
            assert ask(lab, server, "svc.example.test", "TXT") == ['"here"']
        assert ask(lab, lab["c"].gateway6, "www.example.test", "A") == [lab.address4]


def test_curl_trusts_the_server_and_uses_the_resolvers_of_all(lab: Lab) -> None:
    assert lab.run(["curl", "-sS", "https://www.example.test/"]).stdout == "eth\n"
    assert lab.run(["curl", "-sS", "--interface", "lte", "http://www.example.test/"]).stdout == "lte\n"
    lines = lab.run(["cat", "/etc/resolv.conf"]).stdout.splitlines()
    assert lines[:3] == ["nameserver 192.168.1.1", "nameserver 192.168.2.1", "nameserver 192.168.3.1"]


def test_http_serves_downloads_and_probes(lab: Lab) -> None:
    with lab.enter():
        with urllib.request.urlopen(f"http://{lab.address4}/bytes/200000", timeout=5) as response:
            assert len(response.read()) == 200000
        with urllib.request.urlopen(f"http://{lab.address4}/generate_204", timeout=5) as response:
            assert response.status == 204


def test_http_shows_files(lab: Lab) -> None:
    (lab.files / "here").mkdir()
    (lab.files / "here" / "index.html").write_text("<p>here", "utf-8")
    (lab.files / "a b").write_bytes(b"\0content")
    with lab.enter():
        for path, kind, content in (
            ("here/", "text/html", b"<p>here"),
            ("a%20b?query", "application/octet-stream", b"\0content"),
        ):
            with urllib.request.urlopen(f"http://{lab.address4}/files/{path}", timeout=5) as response:
                assert (response.headers["Content-Type"], response.read()) == (kind, content)
        for path in ("none", "../ca.pem", "%2e%2e/ca.pem"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://{lab.address4}/files/{path}", timeout=5)


@pytest.mark.parametrize("family", [4, 6])
def test_echo_over_tcp_and_udp(lab: Lab, family: int) -> None:
    target = (lab.address4 if family == 4 else lab.address6, lab.ports["echo"])
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with lab.enter(), socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind) as sock:
            sock.settimeout(1)
            sock.connect(target)
            sock.send(b"hello")
            assert sock.recv(100) == b"hello"


def test_only_the_thread_that_enters_is_inside(lab: Lab) -> None:
    outside = sorted(name for _, name in socket.if_nameindex())
    seen: list[list[str]] = []
    with lab.enter():
        inside = sorted(name for _, name in socket.if_nameindex())
    seen.append(sorted(name for _, name in socket.if_nameindex()))
    thread = threading.Thread(target=lambda: seen.append(sorted(name for _, name in socket.if_nameindex())))
    thread.start()
    thread.join()
    assert inside == ["eth", "lo", "lte", "wifi"]
    assert seen == [outside, outside]


def test_entering_with_the_resolver_configuration_gives_the_directory_back(lab: Lab) -> None:
    # In a thread of its own: the separation of working directories lasts as long as the thread.
    seen: list[object] = []

    def look() -> None:
        before = Path.cwd()
        with lab.enter(resolv_conf=True):
            seen.append(socket.getaddrinfo("local.example.test", 80, socket.AF_INET)[0][4][0])
        seen.append(Path.cwd() == before)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == ["198.51.100.101", True]


def test_leaving_with_a_thread_that_was_started_inside_and_is_there_still(lab: Lab) -> None:
    over = threading.Event()
    left: list[list[str]] = []

    def look() -> None:
        with lab.enter(resolv_conf=True):
            stays.start()
        left.append(sorted(name for _, name in socket.if_nameindex()))

    outside = sorted(name for _, name in socket.if_nameindex())
    stays = threading.Thread(target=over.wait)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    over.set()
    stays.join()
    assert left == [outside]


def test_nothing_leads_out_of_the_namespaces(lab: Lab) -> None:
    before = {name for _, name in socket.if_nameindex()}
    with Lab([Provider("another")]) as other:
        assert {name for _, name in socket.if_nameindex()} == before
        assert sorted(other.run(["ls", "/sys/class/net"]).stdout.split()) == ["another", "lo"]
    # The C library would otherwise ask a daemon of the host over a Unix socket, which no namespace stops.
    assert "hosts: files dns" in lab.run(["cat", "/etc/nsswitch.conf"]).stdout
    for path in ("/run/systemd/resolve", "/run/nscd", "/run/dbus"):
        if Path(path).is_dir():
            assert lab.run(["ls", "-A", path]).stdout == ""


def test_the_configuration_describes_the_links(lab: Lab) -> None:
    config = tomllib.loads(lab.config())
    assert config["discover"] == []
    assert [pvd["name"] for pvd in config["pvd"]] == LINKS
    assert config["pvd"][0]["resolvers"] == ["192.168.1.1", "2001:db8:1:1::1"]
    path = lab.run(["sh", "-c", "echo $PVDRACE_CONFIG"]).stdout.strip()
    assert Path(path).read_text() == lab.config()


def test_single_family_providers() -> None:
    with Lab([Provider("four", ipv6=False), Provider("six", ipv4=False)]) as lab:
        assert (lab["four"].address6, lab["six"].gateway4) == (None, None)
        assert connect(lab, lab["four"]).what == "four"
        assert connect(lab, lab["six"], family=6).what == "six"
        assert connect(lab, lab["four"], family=6).what == "ENETUNREACH"
        assert ask(lab, "2001:db8:2:1::1", lab.name, "A") == [lab.address4]


def test_a_provider_for_some_prefixes_only() -> None:
    corporate = Provider("vpn", metric=50, default_route=False, routes=["10.0.0.0/8"])
    with Lab([Provider("eth"), corporate]) as lab:
        assert connect(lab, address="10.1.0.1").what == "vpn"
        assert connect(lab).what == "eth"
        assert connect(lab, lab["eth"], address="10.1.0.1", timeout=0.3).what == "timeout"


def test_run_gives_input_and_status_and_stops_at_its_limit(lab: Lab) -> None:
    assert lab.run(["cat"], input="hello").stdout == "hello"
    assert lab.run(["sh", "-c", "exit 3"]).returncode == 3
    with pytest.raises(subprocess.CalledProcessError):
        lab.run(["false"], check=True)
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run(["sleep", "60"], timeout=0.1)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("rp_filter", [0, 2])
def test_overlapping_links_lead_to_different_providers(family: int, rp_filter: int) -> None:
    """RFC 6418 s4.3: the same private addresses on several links."""
    with Lab([Provider("a"), Provider("b"), Provider("c")], overlapping=True, rp_filter=rp_filter) as lab:
        assert len({(link.address4, link.address6, link.gateway4, link.gateway6) for link in lab}) == 1
        for link in lab:
            for port in ("who", "https"):
                assert connect(lab, link, family=family, port=port).what == link.name
        assert connect(lab, family=family).what == "a"


def test_overlapping_links_with_strict_reverse_path_filter_fail_on_all_but_one() -> None:
    """RFC 3704 s2.2: why rp_filter=1 must be noticed."""
    with Lab([Provider("a"), Provider("b")], overlapping=True, rp_filter=1) as lab:
        assert connect(lab, lab["a"]).what == "a"
        assert connect(lab, lab["b"], timeout=0.3).what == "timeout"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "much-too-long-for-linux"}, "can't be the name"),
        ({"name": "lo"}, "can't be the name"),
        ({"name": "a b"}, "can't be the name"),
        ({"name": "a", "delay": -1}, "delay is -1"),
        ({"name": "a", "loss": 2}, "loss is 2"),
        ({"name": "a", "rate": 0}, "rate is 0"),
        ({"name": "a", "dns": "bind"}, "dns is 'bind'"),
        ({"name": "a", "ipv4": False, "ipv6": False}, "needs IPv4 or IPv6"),
        ({"name": "a", "routes": ["10.0.0.1/8"]}, "route '10.0.0.1/8'"),
    ],
)
def test_a_wrong_provider_is_refused_at_once(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(LabError, match=message):
        Provider(**arguments)  # type: ignore[arg-type]


def test_wrong_labs_are_refused() -> None:
    for wrong, message in (
        (lambda: Lab([]), "1 to 60 providers"),
        (lambda: Lab([Provider("a"), Provider("a")]), "two providers have the name 'a'"),
        (lambda: Lab([Provider("a")], rp_filter=7), "rp_filter is 7"),
        (lambda: Lab([Provider("a")])["b"], "no provider 'b' in this lab, there is a"),
        (lambda: Lab([Provider("a")]).ca_file, "not running"),
        (lambda: Lab([Provider("a")]).run(["true"]), "not running"),
    ):
        with pytest.raises(LabError, match=message):
            wrong()


def test_addresses_are_from_documentation_prefixes(lab: Lab) -> None:
    documented = [
        ipaddress.ip_network(prefix) for prefix in ("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    ]
    for address in (lab.address4, lab.address6, lab.dead4, lab.dead6, *(str(link.address6) for link in lab)):
        assert any(ipaddress.ip_address(address) in prefix for prefix in documented)
