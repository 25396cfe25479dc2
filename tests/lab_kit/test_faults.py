"""Each fault does what its name says, to both families, at once, and heals. All on ``eth``; ``wifi`` must
not notice."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
import pytest

from lab_kit.client import connect
from lab_kit.names import ask
from pvdrace.lab import Lab, LabError, Link

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.lab

Spoil = Callable[[Link], None]

# name: (how, [(port, IPv4's outcome, IPv6's outcome)], whether DNS at the gateway answers)
TABLE: dict[str, tuple[Spoil, list[tuple[str, str, str]], bool]] = {
    "blackhole": (Link.blackhole, [("who", "timeout", "timeout")], True),
    "dead": (Link.dead, [("who", "timeout", "timeout")], False),
    "no_arp": (Link.no_arp, [("who", "timeout", "timeout")], False),
    "reset": (Link.reset, [("who", "ECONNREFUSED", "ECONNREFUSED")], True),
    "ipv6_broken": (Link.ipv6_broken, [("who", "eth", "timeout")], True),
    "stall": (Link.stall, [("who", "timeout", "timeout"), ("https", "timeout", "timeout")], True),
    "portal": (
        Link.portal,
        [("https", "wrong certificate", "wrong certificate"), ("who", "timeout", "timeout")],
        True,
    ),
    "ports drop": (
        lambda link: link.ports([80, 443]),
        [("https", "eth", "eth"), ("who", "timeout", "timeout")],
        True,
    ),
    "ports reject": (
        lambda link: link.ports([443], how="reject"),
        [("https", "eth", "eth"), ("who", "ECONNREFUSED", "ECONNREFUSED")],
        True,
    ),
    "no ports": (lambda link: link.ports([]), [("https", "timeout", "timeout")], True),
    "net-unreach": (lambda link: link.icmp("net-unreach"), [("who", "ENETUNREACH", "ENETUNREACH")], True),
    "host-unreach": (lambda link: link.icmp("host-unreach"), [("who", "EHOSTUNREACH", "EHOSTUNREACH")], True),
    "port-unreach": (lambda link: link.icmp("port-unreach"), [("who", "ECONNREFUSED", "ECONNREFUSED")], True),
    "net-prohibited": (lambda link: link.icmp("net-prohibited"), [("who", "ENETUNREACH", "EACCES")], True),
    # ICMPv6 "administratively prohibited" (RFC 4443 s3.1) is EACCES, IPv4's is EHOSTUNREACH.
    "admin-prohibited": (
        lambda link: link.icmp("admin-prohibited"),
        [("who", "EHOSTUNREACH", "EACCES")],
        True,
    ),
}


@pytest.mark.parametrize("fault", TABLE)
def test_a_fault_strikes_its_own_link_and_heals(lab: Lab, fault: str) -> None:
    spoil, outcomes, dns_answers = TABLE[fault]
    eth, wifi = lab["eth"], lab["wifi"]
    spoil(eth)
    for port, four, six in outcomes:
        seen = [connect(lab, eth, family=family, port=port, timeout=0.25).what for family in (4, 6)]
        assert seen == [four, six], port
    assert [answers_dns(lab, server) for server in eth.resolvers] == [dns_answers, dns_answers]
    assert [connect(lab, wifi, family=family).what for family in (4, 6)] == ["wifi", "wifi"]
    eth.heal()
    for port, _, _ in outcomes:
        assert [connect(lab, eth, family=family, port=port).what for family in (4, 6)] == ["eth", "eth"]
    assert all(answers_dns(lab, server) for server in eth.resolvers)


@pytest.mark.parametrize("fault", ["blackhole", "dead", "no_arp", "reset", "ipv6_broken", "stall", "portal"])
def test_a_fault_can_be_lifted_by_its_own_name(lab: Lab, fault: str) -> None:
    eth = lab["eth"]
    getattr(eth, fault)()
    getattr(eth, fault)(on=False)
    assert [connect(lab, eth, family=family).what for family in (4, 6)] == ["eth", "eth"]


def test_faults_add_up_and_are_lifted_one_by_one(lab: Lab) -> None:
    eth = lab["eth"]
    eth.ipv6_broken()
    eth.dns("dead")
    eth.ports([443])
    eth.ports(None)
    eth.dns("ok")
    assert [connect(lab, eth, family=family, timeout=0.25).what for family in (4, 6)] == ["eth", "timeout"]


def test_a_refusal_takes_one_round_trip(lab: Lab) -> None:
    lab["wifi"].reset()
    connect(lab, lab["wifi"])
    assert 0.030 <= connect(lab, lab["wifi"]).elapsed < 0.060


def test_a_stall_completes_the_handshake_first(lab: Lab) -> None:
    lab["eth"].stall()
    outcome = connect(lab, lab["eth"], port="https", timeout=0.25)
    assert outcome.connected is not None
    assert outcome.what == "timeout"


def test_a_stall_strikes_a_connection_that_stands(lab: Lab) -> None:
    with lab.enter(), socket.create_connection((lab.address4, lab.ports["echo"]), timeout=1) as sock:
        sock.send(b"one")
        assert sock.recv(10) == b"one"
        lab["eth"].stall()
        sock.settimeout(0.2)
        sock.send(b"two")
        with pytest.raises(TimeoutError):
            sock.recv(10)
        lab["eth"].stall(on=False)
        sock.settimeout(5)
        assert sock.recv(10) == b"two"  # TCP had kept it


def test_a_connection_survives_a_short_blackhole(lab: Lab) -> None:
    with lab.enter(), socket.create_connection((lab.address4, lab.ports["echo"]), timeout=5) as sock:
        lab["eth"].blackhole()
        sock.send(b"one")
        time.sleep(0.05)
        lab["eth"].heal()
        assert sock.recv(10) == b"one"


@pytest.mark.parametrize("family", [4, 6])
def test_udp_passes_the_port_list_too(lab: Lab, family: int) -> None:
    lab["eth"].ports([7])
    target = lab.address4 if family == 4 else lab.address6
    with (
        lab.enter(),
        socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock,
    ):
        sock.settimeout(0.5)
        sock.connect((target, 7))
        sock.send(b"x")
        assert sock.recv(10) == b"x"
        lab["eth"].ports([80], how="reject")
        sock.send(b"y")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(10)


class TestPortal:
    """T2p of the scenarios: HTTP and TLS intercepted until a login."""

    def fetch(self, lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
        return lab.run(["curl", "-sS", "--max-time", "2", "--interface", "eth", *arguments])

    def test_http_is_sent_to_the_login_page(self, lab: Lab) -> None:
        lab["eth"].portal()
        head = self.fetch(lab, "-I", "http://www.example.test/news").stdout.splitlines()
        assert head[0] == "HTTP/1.1 302 Found"
        assert "Location: http://192.168.1.1/login" in head
        assert "sign in" in self.fetch(lab, "-L", "http://www.example.test/news").stdout

    def test_tls_has_a_certificate_that_nobody_trusts(self, lab: Lab) -> None:
        lab["eth"].portal()
        assert self.fetch(lab, "https://www.example.test/").returncode == 60
        assert "sign in" in self.fetch(lab, "-kL", "https://www.example.test/login").stdout

    def test_a_login_opens_it(self, lab: Lab) -> None:
        lab["eth"].portal(dns="portal")
        lab["eth"].login()
        assert self.fetch(lab, "https://www.example.test/").stdout == "eth\n"
        assert connect(lab, lab["eth"]).what == "eth"

    def test_it_may_answer_every_name_with_itself(self, lab: Lab) -> None:
        lab["eth"].portal(dns="portal")
        answers = [ask(lab, "192.168.1.1", "any.name", type_) for type_ in ("A", "AAAA")]
        assert answers == [[server] for server in lab["eth"].resolvers]
        assert "sign in" in self.fetch(lab, "-L", "http://any.name/").stdout

    @pytest.mark.parametrize("held", [4, 6])
    def test_it_may_hold_one_family(self, lab: Lab, held: int) -> None:
        lab["eth"].portal(families=(held,))
        seen = {family: connect(lab, lab["eth"], family=family, timeout=0.25).what for family in (4, 6)}
        assert seen == {held: "timeout", 10 - held: "eth"}
        assert self.fetch(lab, f"-{held}", "https://www.example.test/").returncode == 60
        assert self.fetch(lab, f"-{10 - held}", "https://www.example.test/").stdout == "eth\n"
        lab["eth"].login()
        assert connect(lab, lab["eth"], family=held).what == "eth"

    @pytest.mark.parametrize("dns", ["real", "portal"])
    def test_its_api_is_reachable_before_the_login_and_tells_of_it(self, lab: Lab, dns: str) -> None:
        """RFC 8908: over TLS that verifies, with a page to show that is there."""
        eth = lab["eth"]
        resolve = f"capport.example.test:8443:{eth.gateway4}"

        def ask(url: str) -> str:
            return self.fetch(lab, "-i", "--resolve", resolve, url).stdout

        for captive in (True, False):
            eth.portal(dns=dns) if captive else eth.login()
            head, _, body = ask(eth.captive_api).partition("\n\n")
            assert "Content-Type: application/captive+json" in head
            state = json.loads(body)
            assert state["captive"] is captive
            assert "sign in" in ask(state["user-portal-url"])


class TestLink:
    """Links that go away and come back."""

    @pytest.mark.parametrize(
        ("take_away", "error"),
        [
            (Link.link_down, "ENETUNREACH"),
            (lambda link: link.link_down(carrier=False), "timeout"),
            (Link.remove, "ENODEV"),
        ],
    )
    def test_down_and_up_again(self, lab: Lab, take_away: Spoil, error: str) -> None:
        eth = lab["eth"]
        take_away(eth)
        try:
            seen = connect(lab, eth, timeout=0.25).what
        except OSError as missing:
            seen = "ENODEV" if "No such device" in str(missing) else str(missing)
        assert seen == error or (error == "timeout" and seen == "EHOSTUNREACH")
        assert connect(lab, lab["wifi"]).what == "wifi"
        eth.link_up()
        for family in (4, 6):
            assert connect(lab, eth, family=family).what == "eth"
        assert connect(lab).what == "eth"  # the default route is back

    def test_a_removed_link_is_not_there(self, lab: Lab) -> None:
        lab["eth"].remove()
        lab["eth"].remove()
        with lab.enter():
            assert sorted(name for _, name in socket.if_nameindex()) == ["lo", "lte", "wifi"]
        assert connect(lab).what == "wifi"

    def test_a_fault_outlives_the_link(self, lab: Lab) -> None:
        lab["eth"].remove()
        lab["eth"].no_arp()
        lab["eth"].link_up()
        assert connect(lab, lab["eth"], timeout=0.25).what == "timeout"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda link: link.set(speed=1), "takes delay, jitter, loss and rate, not speed"),
        (lambda link: link.set(loss=2), "loss is 2"),
        (lambda link: link.icmp("nonsense"), "it is one of net-unreach"),
        (lambda link: link.ports([0]), "0 is not a port"),
        (lambda link: link.ports([80], how="shrug"), "one of drop, reject"),
        (lambda link: link.dns("odd"), "it is one of ok, dead"),
        (lambda link: link.dns("lying", address="nowhere"), "nowhere"),
        (lambda link: link.portal(dns="odd"), "one of real, portal"),
        (lambda link: link.portal(families=(5,)), "they are of 4, 6"),
    ],
)
def test_wrong_arguments_are_refused_and_change_nothing(lab: Lab, wrong: Spoil, message: str) -> None:
    with pytest.raises(LabError, match=message):
        wrong(lab["eth"])
    assert connect(lab, lab["eth"]).what == "eth"


def answers_dns(lab: Lab, server: str) -> bool:
    with lab.enter():
        try:
            response = dns.query.udp(dns.message.make_query(lab.name, "A"), server, timeout=0.25)
        except (dns.exception.Timeout, OSError):
            return False
    return lab.address4 in str(response.answer)
