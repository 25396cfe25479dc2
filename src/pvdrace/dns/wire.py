"""DNS messages: one question out, one reply in, read strictly. The only importer of dnspython.

Pure, and lean on purpose. dnspython's message codec takes some 150 microseconds for a query and its reply,
and 30 ms to load, which would be in the first race of every process. So plain names and fixed fields are
read in place, and dnspython is loaded for what needs it: names that need escapes. Whatever it
accepts as a reply to the question has the same meaning here: a test compares the two, record by record.
"""

from __future__ import annotations

import functools
import socket
import struct
from typing import TYPE_CHECKING

from ..names import to_ascii
from .messages import MAX_ALIASES, NOERROR, NXDOMAIN, TYPES, InvalidName, MalformedReply, Query, Reply, Stray

if TYPE_CHECKING:
    from collections.abc import Callable


_CNAME, _NS, _SOA, _OPT, _IN = 5, 2, 6, 41, 1
_QR, _OPCODE, _TC, _RD = 0x8000, 0x7800, 0x0200, 0x0100
_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_EDNS = struct.pack("!BHHIH", 0, _OPT, 1232, 0, 0)  # payload size 1232: DNS flag day 2020, no fragments
_LABEL = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
_LETTERS = bytes(0x20 if 0x61 <= octet <= 0x7A else 0 for octet in range(256))
_LENGTHS = [bytes((length,)) for length in range(64)]
_FAMILIES = {1: socket.AF_INET, 28: socket.AF_INET6}


def build_query(name: str, rdtype: str, random: Callable[[int], bytes], *, edns: bool = True) -> Query:
    """The message that asks for ``name`` (an absolute name, with or without its final dot).

    ``random`` gives so many bytes from a cryptographic source (`os.urandom`): two are the id, the others the
    case of the name's letters (draft-vixie-dnsext-dns0x20: a forger has to guess these as well).
    Raises `InvalidName`.
    """
    wire, letters = _encode(name)
    size = len(wire)
    noise = random(size + 2)
    flips = int.from_bytes(noise[2:], "big") & letters
    qtype = TYPES[rdtype]
    question = (int.from_bytes(wire, "big") ^ flips).to_bytes(size, "big") + _QUESTION.pack(qtype, _IN)
    id = noise[0] << 8 | noise[1]
    if edns:
        return Query(id, _HEADER.pack(id, _RD, 1, 0, 0, 1) + question + _EDNS, question, qtype)
    return Query(id, _HEADER.pack(id, _RD, 1, 0, 0, 0) + question, question, qtype)


def parse_reply(query: Query, data: bytes, *, exact_case: bool = True) -> Reply | Stray:
    """Read a message that came for ``query``: a `Reply`, or a `Stray` that must not count as one.

    ``exact_case`` is for UDP; nobody off the path can forge TCP, so there a server may fold the case.
    Raises `MalformedReply`.
    """
    if len(data) < 12:
        if data[:2] == query.message[:2]:
            raise MalformedReply(f"{len(data)} bytes, shorter than a header")
        return Stray("shorter than a header")
    id, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if id != query.id:
        return Stray("wrong id")
    if not flags & _QR or flags & _OPCODE:
        return Stray("not a reply to a query")
    rcode = flags & 0x000F
    end = 12 + len(query.question)
    if questions != 1 or data[12:end] != query.question:
        if questions == 0 and rcode not in (NOERROR, NXDOMAIN):
            return Reply(rcode)  # a server that could not read the question need not repeat it
        if questions and query.question.startswith(data[12:]):
            raise MalformedReply("the message ends too early")
        if questions != 1 or data[12:end].lower() != query.question.lower():
            return Stray("wrong question")
        if exact_case:
            return Stray("the question's case is not kept", case_only=True)
    if flags & _TC:
        return Reply(rcode, truncated=True)
    try:
        return _Reader(query, data).read(rcode, end, answers, authorities, additionals)
    except (IndexError, struct.error):
        raise MalformedReply("the message ends too early") from None


class _Reader:
    """One pass over the records of a reply. Names are keys: their wire form in lower case.

    (Lower-casing a whole wire name is safe: length octets are at most 63, below the letters.)
    """

    __slots__ = ("aliases", "data", "found", "names", "query", "question")

    def __init__(self, query: Query, data: bytes) -> None:
        self.query = query
        self.data = data
        self.question = query.question[:-4].lower()
        self.names = {12: self.question}
        self.aliases: dict[bytes, tuple[bytes, int]] = {}
        self.found: dict[bytes, tuple[dict[str, None], int]] = {}

    def read(self, rcode: int, at: int, answers: int, authorities: int, additionals: int) -> Reply:
        for _ in range(answers):
            at = self.answer(at)
        negative_ttl, referral = None, False
        soa: tuple[bytes, int] | None = None
        for _ in range(authorities):
            owner = at
            at, rdtype, rdclass, ttl, rdata = self.record(at)
            if rdclass == _IN and rdtype == _SOA and soa is None:
                soa = self.name(owner), min(ttl, self.soa_minimum(rdata, at))
            referral = referral or rdtype == _NS
        for _ in range(additionals):
            at, rdtype, _, ttl, _ = self.record(at, raw_ttl=True)
            if rdtype == _OPT:
                rcode |= (ttl >> 24) << 4  # the upper bits of the rcode, RFC 6891 s6.1.3
        if at != len(self.data):
            raise MalformedReply(f"{len(self.data) - at} bytes after the end")
        name, aliases, ttl = self.follow()
        addresses, least = self.found.get(name, ({}, ttl))
        if soa is not None and _is_under(name, soa[0]):
            negative_ttl = float(soa[1])
        return Reply(
            rcode,
            addresses=tuple(addresses),
            canonical_name=_text(name),
            aliases=aliases,
            ttl=float(min(ttl, least)),
            negative_ttl=negative_ttl,
            referral=referral and soa is None and not answers,
        )

    def record(self, at: int, *, raw_ttl: bool = False) -> tuple[int, int, int, int, int]:
        """One record: (end, type, class, TTL in seconds, start of its data)."""
        data = self.data
        while 0 < data[at] < 0xC0:
            if data[at] > 63:
                raise MalformedReply("a label of an unknown kind")
            at += 1 + data[at]
        at += 2 if data[at] else 1
        rdtype, rdclass, ttl, size = _RECORD.unpack_from(data, at)
        at += 10
        if at + size > len(data):
            raise MalformedReply("a record ends after the message")
        if ttl > 0x7FFFFFFF and not raw_ttl:
            ttl = 0  # RFC 2181 s8
        return at + size, rdtype, rdclass, ttl, at

    def answer(self, owner: int) -> int:
        end, rdtype, rdclass, ttl, rdata = self.record(owner)
        if rdclass != _IN:
            return end
        if rdtype == self.query.qtype:
            size = end - rdata
            if size != (4 if rdtype == 1 else 16):
                raise MalformedReply(f"an address of {size} bytes")
            address = socket.inet_ntop(_FAMILIES[rdtype], self.data[rdata:end])
            name = self.name(owner)
            if name in self.found:
                addresses, least = self.found[name]
                addresses[address] = None
                self.found[name] = addresses, min(ttl, least)
            else:
                self.found[name] = {address: None}, ttl
        elif rdtype == _CNAME:
            name = self.name(owner)
            target, least = self.name(rdata, end), ttl
            if name in self.aliases:
                first, least = self.aliases[name]
                if target != first:
                    raise MalformedReply("two CNAMEs for one name")  # RFC 2181 s10.1
            self.aliases[name] = target, min(ttl, least)
        return end

    def name(self, at: int, end: int | None = None) -> bytes:
        """The name at an offset; with ``end``, it must fill the record's data exactly."""
        data = self.data
        if data[at] >= 0xC0:
            start, after = (data[at] & 0x3F) << 8 | data[at + 1], at + 2
            key = self.names.get(start)
            if key is None:
                key = self.names[start] = _key(data, at)[0]
        else:
            key, after = _key(data, at)
            self.names[at] = key
        if end is not None and after != end:
            raise MalformedReply("a name does not fill its record")
        return key

    def soa_minimum(self, rdata: int, end: int) -> int:
        """The last field of a SOA record, which caps the time that "no" is remembered (RFC 2308 s5)."""
        _, rname = _key(self.data, rdata)
        _, numbers = _key(self.data, rname)
        if numbers + 20 != end:
            raise MalformedReply("a SOA record of the wrong length")
        (minimum,) = struct.unpack_from("!I", self.data, end - 4)
        return min(int(minimum), 0x7FFFFFFF)

    def follow(self) -> tuple[bytes, int, int]:
        """Walk the CNAMEs from the question: the last name, how many there were, the least TTL."""
        name, count, least = self.question, 0, 0x7FFFFFFF
        while name not in self.found and (alias := self.aliases.get(name)):
            count += 1
            if count > MAX_ALIASES:
                raise MalformedReply(
                    "a loop of CNAMEs" if len(self.aliases) <= MAX_ALIASES else "too many CNAMEs"
                )
            name, least = alias[0], min(least, alias[1])
        return name, count, least


@functools.lru_cache(maxsize=1024)
def _encode(name: str) -> tuple[bytes, int]:
    """A name as wire and, as a number of the same width, the bit 0x20 under each of its letters."""
    try:
        labels = to_ascii(name).lower().removesuffix(".").encode().split(b".")
    except ValueError as error:
        raise InvalidName(str(error)) from None
    for label in labels:
        if not 0 < len(label) < 64:
            what = "a label of more than 63 characters" if label else "an empty label"
            raise InvalidName(f"{name!r} is not a domain name: {what}")
        if bad := label.translate(None, _LABEL):
            raise InvalidName(f"{name!r} is not a domain name: {bad.decode()[0]!r} cannot be part of one")
    wire = b"".join([_LENGTHS[len(label)] + label for label in labels]) + b"\0"
    if len(wire) > 255:
        raise InvalidName(f"{name[:40]!r}... is not a domain name: longer than 255 bytes")
    return wire, int.from_bytes(wire.translate(_LETTERS), "big")


def _text(key: bytes) -> str:
    """A name for people: lower case, without the final dot; escapes as in RFC 1035 s5.1."""
    labels, at = [], 0
    while length := key[at]:
        labels.append(key[at + 1 : at + 1 + length])
        at += 1 + length
    if b"".join(labels).translate(None, _LABEL) or not labels:
        import dns.name

        return dns.name.Name((*labels, b"")).to_text(omit_final_dot=True)
    return b".".join(labels).decode()


def _key(data: bytes, at: int) -> tuple[bytes, int]:
    """The name at an offset, decompressed (RFC 1035 s4.1.4), as a key; and the offset after it."""
    labels: list[bytes] = []
    after, limit = 0, at
    while length := data[at]:
        if length < 64:
            labels.append(data[at : at + 1 + length])
            at += 1 + length
        elif length >= 0xC0:
            after = after or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
            if at >= limit:
                raise MalformedReply("a compression pointer that does not point back")
            limit = at
        else:
            raise MalformedReply("a label of an unknown kind")
    key = b"".join(labels).lower() + b"\0"
    if len(key) > 255:
        raise MalformedReply("a name of more than 255 bytes")
    return key, after or at + 1


def _is_under(name: bytes, zone: bytes) -> bool:
    while name != zone and name[0]:
        name = name[1 + name[0] :]
    return name == zone
