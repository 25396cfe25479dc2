"""The DNS server that misbehaves: what it decides (pure), and what arrives at the client."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from pvdrace.lab import DnsFault, Lab
from pvdrace.lab.dns_server import MODES, answer, zone
from pvdrace.lab.link import DNS_MODES
from pvdrace.lab.plan import make_plan
from pvdrace.lab.records import records

if TYPE_CHECKING:
    from collections.abc import Sequence

ZONE = zone(records(make_plan(1), {"big.example.test": [f"TXT {'x' * 200}{n}" for n in range(5)]}))
WWW = "www.example.test"


def ask(
    fault: DnsFault, name: str = WWW, type_: str = "A", *, stream: bool = False, edns: bool = False
) -> bytes:
    reply = answer(
        dns.message.make_query(name, type_, id=7, use_edns=edns).to_wire(), ZONE, fault, stream=stream
    )
    assert reply is not None
    return reply.payload


def addresses(message: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in message.answer for rdata in rrset]


class TestDecides:
    """``answer`` alone."""

    def test_a_good_answer(self) -> None:
        message = dns.message.from_wire(ask(DnsFault()))
        assert (message.id, addresses(message)) == (7, ["198.51.100.1"])

    def test_the_case_of_the_question_comes_back(self) -> None:
        """draft-vixie-dnsext-dns0x20-00 s2: the question section is copied bit by bit."""
        message = dns.message.from_wire(ask(DnsFault(), "wWw.eXample.tesT"))
        assert message.question[0].name.to_text() == "wWw.eXample.tesT."
        assert addresses(message) == ["198.51.100.1"]

    @pytest.mark.parametrize(
        ("name", "type_", "rcode", "expected"),
        [
            ("v4only.example.test", "AAAA", "NOERROR", []),
            ("alias.example.test", "AAAA", "NOERROR", ["www.example.test.", "2001:db8:99::1"]),
            ("not-there.example.test", "A", "NXDOMAIN", []),
        ],
    )
    def test_no_data_aliases_and_no_name(
        self, name: str, type_: str, rcode: str, expected: list[str]
    ) -> None:
        message = dns.message.from_wire(ask(DnsFault(), name, type_))
        assert (dns.rcode.to_text(message.rcode()), addresses(message)) == (rcode, expected)

    @pytest.mark.parametrize(
        ("mode", "rcode"), [("refused", "REFUSED"), ("servfail", "SERVFAIL"), ("nxdomain", "NXDOMAIN")]
    )
    def test_refusals(self, mode: str, rcode: str) -> None:
        message = dns.message.from_wire(ask(DnsFault(mode)))
        assert (dns.rcode.to_text(message.rcode()), addresses(message)) == (rcode, [])

    def test_only_the_types_named_are_struck(self) -> None:
        fault = DnsFault("servfail", types=("AAAA",))
        assert dns.message.from_wire(ask(fault, type_="A")).rcode() == dns.rcode.NOERROR
        assert dns.message.from_wire(ask(fault, type_="AAAA")).rcode() == dns.rcode.SERVFAIL

    @pytest.mark.parametrize(
        ("type_", "expected"), [("A", ["203.0.113.66"]), ("AAAA", ["2001:db8::66"]), ("TXT", [])]
    )
    def test_a_liar_lies_in_the_family_that_is_asked(self, type_: str, expected: list[str]) -> None:
        fault = DnsFault("lying", address=("203.0.113.66", "2001:db8::66"))
        assert addresses(dns.message.from_wire(ask(fault, "any.name", type_))) == expected

    def test_truncated_over_udp_alone(self) -> None:
        fault = DnsFault("truncated")
        short = dns.message.from_wire(ask(fault))
        assert short.flags & dns.flags.TC
        assert addresses(short) == []
        assert addresses(dns.message.from_wire(ask(fault, stream=True))) == ["198.51.100.1"]

    def test_a_long_answer_is_truncated_to_what_the_client_takes(self) -> None:
        """RFC 1035 s4.2.1 and RFC 6891 s6.2.3."""
        plain = ask(DnsFault(), "big.example.test", "TXT")
        assert len(plain) <= 512
        assert dns.message.from_wire(plain).flags & dns.flags.TC
        full = ask(DnsFault(), "big.example.test", "TXT", edns=True)
        assert len(dns.message.from_wire(full).answer[0]) == 5

    def test_malformed_does_not_parse(self) -> None:
        with pytest.raises(dns.exception.FormError):
            dns.message.from_wire(ask(DnsFault("malformed")))

    def test_wrong_id_and_wrong_question(self) -> None:
        assert dns.message.from_wire(ask(DnsFault("wrong-id"))).id == 8
        other = dns.message.from_wire(ask(DnsFault("wrong-question")))
        assert other.question[0].name.to_text() == "other.example.test."

    @pytest.mark.parametrize("query", [b"", b"\x00" * 5, b"\xff" * 40, bytes(12)])
    def test_rubbish_gets_no_answer(self, query: bytes) -> None:
        assert answer(query, ZONE, DnsFault(), stream=False) is None

    def test_every_word_is_known_on_both_sides(self) -> None:
        assert MODES == DNS_MODES


@pytest.mark.lab
class TestArrives:
    """In a lab, over both families and both transports."""

    def query(self, lab: Lab, server: str, type_: str = "A", *, tcp: bool = False) -> list[str] | str:
        message = dns.message.make_query(WWW, type_)
        with lab.enter():
            try:
                response = (dns.query.tcp if tcp else dns.query.udp)(message, server, timeout=0.3)
            except dns.exception.Timeout:
                return "timeout"
            except ConnectionError:
                return "refused"
            except dns.exception.DNSException as error:
                return type(error).__name__
        if response.flags & dns.flags.TC:
            return "truncated"
        return dns.rcode.to_text(response.rcode()) if response.rcode() else addresses(response)

    @pytest.mark.parametrize(
        ("mode", "udp", "tcp"),
        [
            ("ok", [["198.51.100.1"], ["2001:db8:99::1"]], ["198.51.100.1"]),
            ("dead", ["timeout", "timeout"], "timeout"),
            ("silent", ["timeout", "timeout"], "timeout"),
            ("refused", ["REFUSED", "REFUSED"], "REFUSED"),
            ("servfail", ["SERVFAIL", "SERVFAIL"], "SERVFAIL"),
            ("empty", [[], []], []),
            ("lying", [["203.0.113.66"], ["2001:db8:dead::66"]], ["203.0.113.66"]),
            ("truncated", ["truncated", "truncated"], ["198.51.100.1"]),
            ("malformed", ["FormError", "FormError"], "FormError"),
            ("wrong-id", ["BadResponse", "BadResponse"], "BadResponse"),
            ("wrong-source", ["UnexpectedSource", "UnexpectedSource"], ["198.51.100.1"]),
            ("wrong-question", ["BadResponse", "BadResponse"], "BadResponse"),
        ],
    )
    def test_a_mode(self, lab: Lab, mode: str, udp: Sequence[object], tcp: object) -> None:
        eth = lab["eth"]
        eth.dns(mode)
        for server in eth.resolvers:
            seen = [self.query(lab, server, type_) for type_ in ("A", "AAAA")]
            assert seen == list(udp)
            assert self.query(lab, server, tcp=True) == tcp
        assert self.query(lab, lab["wifi"].gateway4 or "") == ["198.51.100.1"]
        eth.dns("ok")
        assert [self.query(lab, server) for server in eth.resolvers] == [["198.51.100.1"]] * 2

    def test_a_closed_port_is_told_so(self, lab: Lab) -> None:
        lab["eth"].dns("closed")
        for server in lab["eth"].resolvers:
            family = socket.AF_INET6 if ":" in server else socket.AF_INET
            with lab.enter(), socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1)
                sock.connect((server, 53))
                sock.send(dns.message.make_query(WWW, "A").to_wire())
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(1500)
            assert self.query(lab, server, tcp=True) == "refused"

    def test_one_slow_type(self, lab: Lab) -> None:
        eth = lab["eth"]
        eth.dns("slow", types=["aaaa"], delay=0.15)
        start = time.monotonic()
        assert self.query(lab, eth.resolvers[0], "A") == ["198.51.100.1"]
        middle = time.monotonic()
        assert self.query(lab, eth.resolvers[0], "AAAA") == ["2001:db8:99::1"]
        assert middle - start < 0.15 <= time.monotonic() - middle

    def test_one_silent_type(self, lab: Lab) -> None:
        lab["eth"].dns("dead", types=["AAAA"])
        server = lab["eth"].resolvers[1]
        assert self.query(lab, server, "A") == ["198.51.100.1"]
        assert self.query(lab, server, "AAAA") == "timeout"

    def test_a_socket_that_stays_open_meets_the_new_server(self, lab: Lab) -> None:
        """The swap holds for each packet, not only for new flows."""
        with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.connect((lab["eth"].gateway4, 53))
            seen = []
            for mode in ("ok", "servfail", "ok"):
                lab["eth"].dns(mode)
                sock.send(dns.message.make_query(WWW, "A").to_wire())
                seen.append(dns.rcode.to_text(dns.message.from_wire(sock.recv(1500)).rcode()))
        assert seen == ["NOERROR", "SERVFAIL", "NOERROR"]
