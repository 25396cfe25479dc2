"""DNS messages (RFC 1035, 2181, 2308, 6891): what is sent, what is believed, what dnspython makes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvdrace.dns.messages import InvalidName, MalformedReply, Query, Reply, Stray
from pvdrace.dns.wire import build_query, parse_reply

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "www.example.com"


def query(name: str = NAME, rdtype: str = "A") -> Query:
    return build_query(name, rdtype, os.urandom)


def reply_to(
    question: Query,
    answer: Sequence[str] = (),
    authority: Sequence[str] = (),
    *,
    rcode: int = 0,
    flags: int = 0,
    compress: bool = True,
) -> bytes:
    """A reply with records given as text: ``"www.example.com 60 IN A 192.0.2.1"``."""
    reply = dns.message.make_response(dns.message.from_wire(question.message), recursion_available=True)
    reply.set_rcode(dns.rcode.Rcode(rcode))
    reply.flags |= flags
    for section, records in ((reply.answer, answer), (reply.authority, authority)):
        for record in records:
            owner, ttl, rdclass, rdtype, data = record.split(None, 4)
            section.append(dns.rrset.from_text(owner + ".", int(ttl), rdclass, rdtype, data))
    return reply.to_wire(origin=None if compress else dns.name.root)


def read(
    *records: str, name: str = NAME, rdtype: str = "A", authority: Sequence[str] = (), rcode: int = 0
) -> Reply:
    question = query(name, rdtype)
    reply = parse_reply(question, reply_to(question, records, authority, rcode=rcode))
    assert isinstance(reply, Reply)
    return reply


class TestQuery:
    """What leaves."""

    @pytest.mark.parametrize("rdtype", ["A", "AAAA"])
    def test_dnspython_reads_the_query(self, rdtype: str) -> None:
        message = dns.message.from_wire(query(rdtype=rdtype).message)
        assert message.question[0].to_text().lower() == f"{NAME}. in {rdtype.lower()}"
        assert message.flags == dns.flags.RD
        assert message.edns == 0
        assert message.payload == 1232

    def test_without_edns_there_is_no_opt_record(self) -> None:
        message = dns.message.from_wire(build_query(NAME, "A", os.urandom, edns=False).message)
        assert message.edns == -1

    def test_id_and_case_are_random(self) -> None:
        """draft-vixie-dnsext-dns0x20: the case of every letter is a bit that a forger has to guess."""
        queries = [query() for _ in range(64)]
        assert len({q.id for q in queries}) > 32
        for at in range(len(NAME) + 1):
            seen = {q.question[at : at + 1] for q in queries}
            assert len(seen) == (2 if next(iter(seen)).isalpha() else 1)

    @pytest.mark.parametrize(
        ("name", "wire"),
        [
            ("a.example", b"\1a\7example\0"),
            ("a.example.", b"\1a\7example\0"),
            ("A_-9.EXAMPLE", b"\4a_-9\7example\0"),
            ("bücher.example", b"\x0dxn--bcher-kva\7example\0"),
            ("BÜCHER.example", b"\x0dxn--bcher-kva\7example\0"),
            ("faß.example", b"\x0axn--fa-hia\7example\0"),  # IDNA 2008, not ss
            ("x" * 63 + ".example", b"\x3f" + b"x" * 63 + b"\7example\0"),
        ],
    )
    def test_names_become_wire(self, name: str, wire: bytes) -> None:
        assert query(name).question[:-4].lower() == wire

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("", "an empty label"),
            (".", "an empty label"),
            ("a..b", "an empty label"),
            (".a", "an empty label"),
            ("x" * 64, "more than 63"),
            (".".join(["x" * 60] * 5), "longer than 255"),
            ("foo bar", "' ' cannot be part"),
            ("http://example.com", "':' cannot be part"),
            ("fe80::1", "':' cannot be part"),
            ("a\nb", "'\\n' cannot be part"),
            ("\N{SNOWMAN}\N{ZERO WIDTH JOINER}.example", "is not a domain name"),
            ("ü" * 80, "is not a domain name"),
        ],
    )
    def test_what_is_no_name_says_why_in_one_line(self, name: str, why: str) -> None:
        with pytest.raises(InvalidName) as caught:
            query(name)
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)


class TestReply:
    """What a true reply means."""

    def test_addresses_and_the_least_ttl(self) -> None:
        reply = read(f"{NAME} 300 IN A 192.0.2.1", f"{NAME} 60 IN A 192.0.2.2", f"{NAME} 300 IN A 192.0.2.1")
        assert set(reply.addresses) == {"192.0.2.1", "192.0.2.2"}
        assert (reply.ttl, reply.canonical_name, reply.aliases) == (60.0, NAME, 0)

    def test_aaaa(self) -> None:
        assert read(f"{NAME} 60 IN AAAA 2001:db8::1", rdtype="AAAA").addresses == ("2001:db8::1",)

    def test_a_chain_of_aliases_in_any_order(self) -> None:
        """RFC 1034 s3.6.2: the TTL of the whole is the least of the chain."""
        reply = read(
            "c.example 300 IN A 192.0.2.3",
            "b.example 20 IN CNAME c.example.",
            f"{NAME} 300 IN CNAME b.example.",
        )
        assert reply == Reply(0, addresses=("192.0.2.3",), canonical_name="c.example", aliases=2, ttl=20.0)

    def test_an_open_chain_has_no_addresses(self) -> None:
        reply = read(f"{NAME} 300 IN CNAME elsewhere.example.")
        assert (reply.addresses, reply.canonical_name, reply.aliases) == ((), "elsewhere.example", 1)
        assert reply.negative_ttl is None

    def test_addresses_of_other_names_types_and_classes_are_not_ours(self) -> None:
        reply = read(
            "other.example 60 IN A 192.0.2.66",
            f"{NAME} 60 IN AAAA 2001:db8::66",
            f"{NAME} 60 CH A 1.example. 1",
        )
        assert reply.addresses == ()

    @pytest.mark.parametrize(
        ("soa", "expected"),
        [
            ("example.com 900 IN SOA ns. host. 1 2 3 4 300", 300.0),
            ("example.com 100 IN SOA ns. host. 1 2 3 4 300", 100.0),
            (f"{NAME} 100 IN SOA ns.{NAME}. host.{NAME}. 1 2 3 4 300", 100.0),
            ("other.example 100 IN SOA ns. host. 1 2 3 4 300", None),
        ],
    )
    @pytest.mark.parametrize("rcode", [0, 3])
    def test_negative_ttl_is_the_lesser_of_the_soa(
        self, soa: str, expected: float | None, rcode: int
    ) -> None:
        """RFC 2308 s5; a SOA of another zone says nothing about this name."""
        reply = read(authority=[soa], rcode=rcode)
        assert (reply.rcode, reply.addresses, reply.negative_ttl) == (rcode, (), expected)

    def test_a_referral_is_seen(self) -> None:
        assert read(authority=["com 60 IN NS ns.com."]).referral
        assert not read(f"{NAME} 60 IN A 192.0.2.1", authority=["com 60 IN NS ns.com."]).referral

    def test_a_ttl_with_its_top_bit_set_is_zero(self) -> None:
        """RFC 2181 s8."""
        question = query()
        data = bytearray(reply_to(question, [f"{NAME} 1 IN A 192.0.2.1"]))
        at = data.rindex(b"\0\1\0\1\0\0\0\1\0\4") + 4
        data[at] = 0x80
        reply = parse_reply(question, bytes(data))
        assert isinstance(reply, Reply)
        assert (reply.addresses, reply.ttl) == (("192.0.2.1",), 0.0)

    def test_truncated(self) -> None:
        question = query()
        reply = parse_reply(question, reply_to(question, flags=dns.flags.TC))
        assert reply == Reply(0, truncated=True)

    def test_extended_rcode(self) -> None:
        """RFC 6891 s6.1.3: the upper bits are in the OPT record."""
        assert read(rcode=16).rcode == 16

    def test_an_error_need_not_repeat_the_question(self) -> None:
        question = query()
        assert parse_reply(question, question.message[:2] + b"\x81\x81" + bytes(8)) == Reply(1)

    def test_names_with_odd_bytes_are_escaped(self) -> None:
        assert read(f"{NAME} 60 IN CNAME a\\.b\\032c.example.").canonical_name == "a\\.b\\032c.example"


class TestStray:
    """What is no reply to the question counts as nothing (RFC 5452 s4)."""

    def test_wrong_id(self) -> None:
        question = query()
        data = bytearray(reply_to(question, [f"{NAME} 60 IN A 192.0.2.66"]))
        data[1] ^= 1
        assert parse_reply(question, bytes(data)) == Stray("wrong id")

    @pytest.mark.parametrize(("name", "rdtype"), [("www.example.org", "A"), (NAME, "AAAA")])
    def test_wrong_question(self, name: str, rdtype: str) -> None:
        question = query()
        other = build_query(name, rdtype, os.urandom)
        data = question.message[:2] + reply_to(other)[2:]
        assert parse_reply(question, data) == Stray("wrong question")

    def test_another_case_is_not_believed_over_udp(self) -> None:
        question = query("abcdefghijklmnopqrstuvwxyz.example")
        folded = Query(question.id, question.message.lower(), question.question.lower(), 1)
        data = (
            question.message[:2]
            + reply_to(folded, ["abcdefghijklmnopqrstuvwxyz.example 60 IN A 192.0.2.1"])[2:]
        )
        stray = parse_reply(question, data)
        assert isinstance(stray, Stray)
        assert stray.case_only
        reply = parse_reply(question, data, exact_case=False)
        assert isinstance(reply, Reply)
        assert reply.addresses == ("192.0.2.1",)

    def test_an_echoed_query(self) -> None:
        question = query()
        assert parse_reply(question, question.message) == Stray("not a reply to a query")

    def test_too_short_to_tell(self) -> None:
        assert parse_reply(query(), b"") == Stray("shorter than a header")


HEADER = b"\x81\x80\0\1\0\1\0\0\0\0"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"", "ends too early"),
        (b"\xc0", "ends too early"),
        (b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc0", "ends after the message"),
        (b"\xc0\x0c\0\1\0\1\0\0\0\1\0\3\1\2\3", "an address of 3 bytes"),
        (b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\1\2\3\4\5", "after the end"),
        (b"\x80\0\0\1\0\1\0\0\0\1\0\4\1\2\3\4", "unknown kind"),
        (b"\xff\xff\0\1\0\1\0\0\0\1\0\4\1\2\3\4", "does not point back"),
        (b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x0c", "loop of CNAMEs"),
        (b"\xc0\x0c\0\5\0\1\0\0\0\1\0\4\xc0\x0c\0\0", "does not fill"),
        (b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc1\xff", "does not point back"),
        (b"\xc0\x0c\0\5\0\1\0\0\0\1\0\1\x41", "unknown kind"),
        (b"\xc0\x0c\0\5\0\1\0\0\0\1\0\1\x21", "ends too early"),
        (b"\xc0\x0c\0\5\0\1\0\0\0\1\1\x05" + (b"\x3f" + b"x" * 63) * 4 + b"\4five\0", "more than 255 bytes"),
    ],
)
def test_a_malformed_reply_says_why(record: bytes, why: str) -> None:
    question = query()
    with pytest.raises(MalformedReply, match=why):
        parse_reply(question, question.message[:2] + HEADER + question.question + record)


def test_a_reply_of_two_bytes_is_malformed() -> None:
    question = query()
    with pytest.raises(MalformedReply, match="shorter than a header"):
        parse_reply(question, question.message[:2])


# Against dnspython

LABELS = st.sampled_from(["www", "a", "b", "cdn", "example", "com", "net"])
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join) | st.just(NAME)
TTLS = st.integers(0, 2**31 - 1)
RECORDS = st.one_of(
    st.builds("{} {} IN A 192.0.2.{}".format, NAMES, TTLS, st.integers(0, 255)),
    st.builds("{} {} IN AAAA 2001:db8::{:x}".format, NAMES, TTLS, st.integers(0, 0xFFFF)),
    st.builds("{} {} IN CNAME {}.".format, NAMES, TTLS, NAMES),
    st.builds("{} {} IN TXT {}".format, NAMES, TTLS, LABELS),
    st.builds("{} {} IN NS {}.".format, NAMES, TTLS, NAMES),
    st.builds("{} {} IN MX 10 {}.".format, NAMES, TTLS, NAMES),
    st.builds("{} {} IN SOA {}. {}. 1 2 3 4 {}".format, NAMES, TTLS, NAMES, NAMES, TTLS),
)


def reference(question: Query, data: bytes) -> Reply | None:
    """The same reply as dnspython's message codec reads it; None where that does not accept it as one."""
    try:
        dns.message.from_wire(data)
        message = dns.message.from_wire(data, one_rr_per_rrset=True)
        asked = dns.message.from_wire(question.message)
    except (dns.exception.DNSException, ValueError):
        return None
    if message.id != asked.id or not message.flags & dns.flags.QR or message.opcode() != 0:
        return None
    if [(q.name, q.rdtype, q.rdclass) for q in message.question] != [
        (q.name, q.rdtype, q.rdclass) for q in asked.question
    ]:
        return None
    if message.flags & dns.flags.TC:
        return Reply(int(message.rcode()) & 15, truncated=True)

    def found(owner: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> list[dns.rrset.RRset]:
        return [
            rrset
            for rrset in message.answer
            if (rrset.name, rrset.rdtype, rrset.rdclass) == (owner, rdtype, dns.rdataclass.IN)
        ]

    aliases = [rrset for rrset in message.answer if rrset.rdtype == dns.rdatatype.CNAME]
    if len({rrset.name for rrset in aliases}) < len({(rrset.name, rrset[0]) for rrset in aliases}):
        return None  # RFC 2181 s10.1; dnspython takes the last one
    name, rdtype = asked.question[0].name, asked.question[0].rdtype
    count, ttl = 0, 0x7FFFFFFF
    while not (records := found(name, rdtype)) and (aliases := found(name, dns.rdatatype.CNAME)):
        name, ttl, count = aliases[0][0].target, min(ttl, *(alias.ttl for alias in aliases)), count + 1
        if count > 16:
            return None
    zones = [rrset for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA and rrset.rdclass == 1]
    negative = None
    if zones and name.is_subdomain(zones[0].name):
        negative = float(min(zones[0].ttl, zones[0][0].minimum, 0x7FFFFFFF))
    return Reply(
        int(message.rcode()),
        addresses=tuple(rrset[0].address for rrset in records),
        canonical_name=name.to_text(omit_final_dot=True).lower(),
        aliases=count,
        ttl=float(min([ttl, *(rrset.ttl for rrset in records)])),
        negative_ttl=negative,
        referral=not zones
        and not message.answer
        and any(rrset.rdtype == dns.rdatatype.NS for rrset in message.authority),
    )


def same(ours: Reply, theirs: Reply) -> bool:
    """Equal, where dnspython names each address as often as it came."""
    return ours == dataclasses.replace(theirs, addresses=tuple(dict.fromkeys(theirs.addresses)))


@settings(max_examples=300, deadline=None)
@given(
    rdtype=st.sampled_from(["A", "AAAA"]),
    answer=st.lists(RECORDS, max_size=6),
    authority=st.lists(RECORDS, max_size=3),
    rcode=st.sampled_from([0, 2, 3, 5, 16, 23]),
    shuffle=st.randoms(use_true_random=False),
)
def test_a_well_formed_reply_means_what_dnspython_says(
    rdtype: str, answer: list[str], authority: list[str], rcode: int, shuffle: random.Random
) -> None:
    question = query(rdtype=rdtype)
    data = reply_to(question, answer, authority, rcode=rcode)
    expected = reference(question, data)
    try:
        reply = parse_reply(question, data)
    except MalformedReply as error:
        assert expected is None, error
    else:
        assert isinstance(reply, Reply)
        assert expected is not None
        assert same(reply, expected)


@settings(max_examples=500, deadline=None)
@given(
    answer=st.lists(RECORDS, max_size=4),
    authority=st.lists(RECORDS, max_size=2),
    cut=st.none() | st.integers(0, 200),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
def test_damage_never_raises_anything_else(
    answer: list[str], authority: list[str], cut: int | None, changes: list[tuple[int, int]]
) -> None:
    """Truncated and mutated: a reply, a stray or MalformedReply; and dnspython's reading where it has one."""
    question = query()
    data = bytearray(reply_to(question, answer, authority))
    for at, value in changes:
        data[at % len(data)] = value
    damaged = bytes(data if cut is None else data[:cut])
    try:
        reply = parse_reply(question, damaged)
    except MalformedReply as error:
        assert "\n" not in str(error)
        assert reference(question, damaged) is None
        return
    expected = reference(question, damaged)
    if isinstance(reply, Reply) and expected is not None:
        assert same(reply, expected)


@settings(max_examples=300, deadline=None)
@given(tail=st.binary(max_size=120))
def test_noise_after_the_question_never_raises_anything_else(tail: bytes) -> None:
    question = query()
    with contextlib.suppress(MalformedReply):
        parse_reply(question, question.message[:2] + b"\x81\x80\0\1\0\2\0\1\0\1" + question.question + tail)
