"""The lab's own DNS server, for what no real one will do: slow types, silence, lies, broken replies.

``answer`` decides what goes back (pure), :class:`DnsServer` sends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from .provider import DnsFault
from .records import TTL, Record

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Sequence

MODES = (
    "ok",
    "dead",
    "closed",
    "silent",
    "slow",
    "refused",
    "servfail",
    "nxdomain",
    "empty",
    "lying",
    "truncated",
    "malformed",
    "wrong-id",
    "wrong-source",
    "wrong-question",
)
_MAX_CNAMES = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: after ``delay`` seconds, and perhaps from an address that was not asked."""

    payload: bytes
    delay: float = 0.0
    odd_source: bool = False


Zone = dict[dns.name.Name, dict[dns.rdatatype.RdataType, list[dns.rdata.Rdata]]]


def zone(records: Sequence[Record]) -> Zone:
    """Records by name and type."""
    built: Zone = {}
    for record in records:
        type_ = dns.rdatatype.from_text(record.type)
        rdata = dns.rdata.from_text(dns.rdataclass.IN, type_, record.data, dns.name.root, relativize=False)
        built.setdefault(dns.name.from_text(record.name), {}).setdefault(type_, []).append(rdata)
    return built


def answer(query: bytes, known: Zone, fault: DnsFault, *, stream: bool) -> Answer | None:
    """The reply to one query, None for none. ``stream``: it came over TCP."""
    try:
        question = dns.message.from_wire(query, ignore_trailing=True)
    except dns.exception.DNSException:
        return None
    if not question.question:
        return None
    asked = question.question[0]
    struck = fault.mode != "ok" and (not fault.types or dns.rdatatype.to_text(asked.rdtype) in fault.types)
    mode = fault.mode if struck else "ok"
    if mode in ("silent", "dead"):
        return None
    response = dns.message.make_response(question, recursion_available=True)
    refusals = {"refused": dns.rcode.REFUSED, "servfail": dns.rcode.SERVFAIL, "nxdomain": dns.rcode.NXDOMAIN}
    if mode in refusals:
        response.set_rcode(refusals[mode])
        return Answer(response.to_wire())
    if mode == "truncated" and not stream:
        response.flags |= dns.flags.TC
        return Answer(response.to_wire())
    if mode == "lying":
        _lie(response, asked, fault.address)
    elif mode != "empty":
        _fill(response, asked, known)
    if mode == "wrong-question":
        response.question = [
            dns.rrset.RRset(dns.name.from_text("other.example.test"), asked.rdclass, asked.rdtype)
        ]
    size = 65535 if stream else max(512, question.payload or 512)
    payload = response.to_wire(max_size=size, prefer_truncation=True)
    if mode == "wrong-id":
        payload = struct.pack("!H", (question.id + 1) & 0xFFFF) + payload[2:]
    if mode == "malformed":
        # The header counts records that are not there.
        payload = payload[:6] + struct.pack("!H", 3) + payload[8 : 12 + (len(payload) - 12) // 2]
    return Answer(payload, fault.delay if mode == "slow" else 0.0, mode == "wrong-source")


def _fill(response: dns.message.Message, asked: dns.rrset.RRset, known: Zone) -> None:
    name, type_ = asked.name, asked.rdtype
    for _ in range(_MAX_CNAMES):
        # Names are compared without regard to case (RFC 4343); the reply repeats the question's own spelling.
        types = known.get(name)
        if types is None:
            response.set_rcode(dns.rcode.NXDOMAIN if not response.answer else dns.rcode.NOERROR)
            return
        found = type_ if type_ in types else dns.rdatatype.CNAME
        if found not in types:
            return
        rrset = dns.rrset.from_rdata_list(name, TTL, types[found])
        response.answer.append(rrset)
        if found == type_:
            return
        name = types[found][0].target  # type: ignore[attr-defined]


def _lie(response: dns.message.Message, asked: dns.rrset.RRset, lies: Sequence[str]) -> None:
    wanted = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(asked.rdtype)
    chosen = [lie for lie in lies if ipaddress.ip_address(lie).version == wanted]
    if chosen:
        response.answer.append(dns.rrset.from_text_list(asked.name, TTL, asked.rdclass, asked.rdtype, chosen))


class DnsServer:
    """Answers on all sockets that it is given, in the running asyncio loop. ``fault`` may change at any
    time."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.zone = zone(records)
        self.fault = DnsFault()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, udp: socket.socket, odd: socket.socket, tcp: socket.socket) -> None:
        """Serve UDP and TCP; ``odd`` is where wrong-source replies come from."""
        loop = asyncio.get_running_loop()
        loop.add_reader(udp, self._datagram, udp, odd)
        self._spawn(self._serve_stream(tcp))

    def _datagram(self, sock: socket.socket, odd: socket.socket) -> None:
        with contextlib.suppress(OSError):
            query, peer = sock.recvfrom(65535)
            reply = answer(query, self.zone, self.fault, stream=False)
            if reply is None:
                return
            sender = odd if reply.odd_source else sock
            if reply.delay:
                asyncio.get_running_loop().call_later(reply.delay, _send, sender, reply.payload, peer)
            else:
                _send(sender, reply.payload, peer)

    async def _serve_stream(self, sock: socket.socket) -> None:
        await asyncio.start_server(self._stream, sock=sock)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = answer(await reader.readexactly(length), self.zone, self.fault, stream=True)
                if reply is None:
                    continue
                await asyncio.sleep(reply.delay)
                writer.write(struct.pack("!H", len(reply.payload)) + reply.payload)
                await writer.drain()
        writer.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _send(sock: socket.socket, payload: bytes, peer: Any) -> None:
    with contextlib.suppress(OSError):
        sock.sendto(payload, peer)
