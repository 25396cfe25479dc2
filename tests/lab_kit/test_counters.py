"""Counting what the client sends into a link."""

from __future__ import annotations

import socket
import time

import pytest

from lab_kit.client import connect
from lab_kit.names import ask
from pvdrace.lab import Counters, Flow, Lab
from pvdrace.lab.counters import is_link_business, key, packets, tally

ETHERNET = bytes(12)
V4 = socket.inet_aton("192.168.1.2"), socket.inet_aton("198.51.100.1")
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::2"), socket.inet_pton(socket.AF_INET6, "2001:db8::1")


def frame4(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    header = (
        bytes([0x45 + len(options) // 4, 0])
        + bytes(6)
        + bytes([64, protocol, 0, 0])
        + V4[0]
        + V4[1]
        + options
    )
    return ETHERNET + b"\x08\x00" + header + payload


def frame6(protocol: int, payload: bytes) -> bytes:
    return ETHERNET + b"\x86\xdd" + bytes(6) + bytes([protocol, 64]) + V6[0] + V6[1] + payload


def tcp(port: int, flags: int) -> bytes:
    return b"\xc0\x00" + port.to_bytes(2, "big") + bytes(9) + bytes([flags]) + bytes(6)


def udp(port: int, payload: bytes = b"") -> bytes:
    return b"\xc0\x00" + port.to_bytes(2, "big") + bytes(4) + payload


QUESTION = bytes(12) + b"\x03www\x07example\x04test\x00\x00\x1c\x00\x01"


@pytest.mark.parametrize("make", [frame4, frame6])
@pytest.mark.parametrize(
    ("protocol", "payload", "expected"),
    [
        (6, tcp(443, 0x02), Counters(1, 0, 1, 0, 1, 0)),
        (6, tcp(443, 0xC2), Counters(1, 0, 1, 0, 1, 0)),  # SYN asking for ECN (RFC 3168 s6.1.1)
        (6, tcp(443, 0x12), Counters(1, 0, 0, 0, 1, 0)),
        (6, tcp(443, 0x18), Counters(1, 0, 0, 0, 1, 0)),
        (6, tcp(53, 0x02), Counters(1, 1, 1, 0, 1, 0)),
        (17, udp(53, QUESTION), Counters(1, 1, 0, 1, 0, 0)),
        (17, udp(443), Counters(1, 0, 0, 1, 0, 0)),
        (132, bytes(20), Counters(1, 0, 0, 0, 0, 0)),
    ],
)
def test_what_a_frame_counts_as(make: object, protocol: int, payload: bytes, expected: Counters) -> None:
    assert callable(make)
    counted = tally({key(make(protocol, payload)): 1})
    assert (counted.packets, counted.dns, counted.syn, counted.udp, counted.tcp, counted.link) == (
        expected.packets,
        expected.dns,
        expected.syn,
        expected.udp,
        expected.tcp,
        expected.link,
    )


@pytest.mark.parametrize(
    "frame",
    [
        ETHERNET + b"\x08\x06" + bytes(28),  # ARP
        frame6(58, b"\x87" + bytes(23)),  # neighbour solicitation (RFC 4861 s4.3)
        frame6(58, b"\x88" + bytes(23)),
        frame6(58, b"\x85" + bytes(7)),  # router solicitation
        frame6(0, b"\x3a\x00\x05\x02\x00\x00\x01\x00\x8f" + bytes(20)),  # MLDv2 report (RFC 3810 s5.2)
        frame4(2, bytes(8)),  # IGMP
    ],
)
def test_the_link_s_own_business_is_set_apart(frame: bytes) -> None:
    assert is_link_business(frame)
    counted = tally({key(frame): 3})
    assert (counted.packets, counted.link) == (0, 3)


@pytest.mark.parametrize(
    "frame", [frame4(1, b"\x08" + bytes(7)), frame6(58, b"\x80" + bytes(7)), frame6(58, b"\x01" + bytes(7))]
)
def test_other_icmp_is_not(frame: bytes) -> None:
    assert not is_link_business(frame)
    assert tally({key(frame): 1}).packets == 1


def test_ip_options_do_not_hide_the_port() -> None:
    counted = tally({key(frame4(6, tcp(443, 2), options=bytes(8))): 1})
    assert counted.flows == {Flow("tcp", "198.51.100.1", 443): 1}


def test_flows_are_asked_for_by_any_part() -> None:
    counted = tally(
        {key(frame4(6, tcp(443, 2))): 2, key(frame4(6, tcp(443, 16))): 1, key(frame6(17, udp(53))): 4}
    )
    assert counted.to("198.51.100.1", 443) == 3
    assert counted.to(port=53) == 4
    assert counted.to("2001:0db8::1", 53, "udp") == 4
    assert counted.to(protocol="udp", port=443) == 0


def test_a_recorded_packet_tells_its_question() -> None:
    (packet,) = packets([(1.5, 100, frame6(17, udp(53, QUESTION)))])
    assert (packet.kind, packet.dns_name, packet.dns_type) == ("dns", "www.example.test", "AAAA")
    assert (packet.time, packet.length, packet.source, packet.source_port) == (1.5, 86, "2001:db8::2", 0xC000)


def test_a_broken_question_has_no_name() -> None:
    (packet,) = packets([(0.0, 60, frame4(17, udp(53, b"\x00" * 12 + b"\x3fab")))])
    assert (packet.kind, packet.dns_name) == ("dns", None)


@pytest.mark.lab
class TestLive:
    """The counters of a running lab."""

    def test_an_idle_link_counts_zero(self, lab: Lab) -> None:
        lab.reset_counters()
        connect(lab, lab["eth"])
        for name in ("wifi", "lte"):
            counted = lab[name].counters()
            assert (counted.packets, counted.syn, counted.dns) == (0, 0, 0)

    @pytest.mark.parametrize("family", [4, 6])
    def test_one_connection_is_one_syn(self, lab: Lab, family: int) -> None:
        lab.reset_counters()
        connect(lab, lab["lte"], family=family)
        counted = lab["lte"].counters()
        target = lab.address4 if family == 4 else lab.address6
        assert (counted.syn, counted.dns, counted.udp) == (1, 0, 0)
        assert counted.tcp == counted.packets == counted.to(target, 17) >= 3

    def test_a_question_is_counted_and_recorded(self, lab: Lab) -> None:
        lab.reset_counters()
        ask(lab, lab["wifi"].gateway4, lab.name, "AAAA")
        counted = lab["wifi"].counters()
        assert (counted.dns, counted.udp, counted.packets) == (1, 1, 1)
        asked = [(p.dns_name, p.dns_type) for p in lab["wifi"].packets() if p.kind == "dns"]
        assert asked == [(lab.name, "AAAA")]

    @pytest.mark.parametrize("fault", ["dead", "no_arp", "blackhole", "loss"])
    def test_what_a_fault_swallows_is_counted_all_the_same(self, lab: Lab, fault: str) -> None:
        eth = lab["eth"]
        connect(lab, eth)
        if fault == "loss":
            eth.set(loss=1)
        elif fault != "no_arp":
            getattr(eth, fault)()
        lab.reset_counters()
        if fault == "no_arp":  # here nothing but ARP is ever sent
            eth.no_arp()
            connect(lab, eth, timeout=0.25)
            assert eth.counters().link > 0
            assert eth.counters().packets == 0
        else:
            connect(lab, eth, timeout=0.25)
            assert eth.counters().syn >= 1

    def test_a_count_is_of_now_not_of_a_delay_ago(self, lab: Lab) -> None:
        lab["lte"].set(delay=2.0)
        lab.reset_counters()
        with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lte")
            sock.connect((lab.address4, 9))
            connect(lab, lab["lte"], timeout=0.05)
            lab.reset_counters()
            sock.send(b"x")
            assert lab["lte"].counters().udp == 1

    def test_packets_have_the_time_of_the_monotonic_clock(self, lab: Lab) -> None:
        lab.reset_counters()
        before = time.monotonic()
        connect(lab, lab["eth"])
        after = time.monotonic()
        times = [packet.time for packet in lab["eth"].packets()]
        assert times == sorted(times)
        assert before - 0.001 <= times[0] <= times[-1] <= after + 0.5
