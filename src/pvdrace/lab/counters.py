"""What the client sent into a link: counting keys cut from frames, and what they mean. Pure.

The wire cuts a key out of every frame that the client sends, before delay, loss and faults, and counts
keys; the meaning is read out of them when somebody asks. ARP, neighbour discovery and multicast reports are
the link's own business and are set apart (``link``).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_NAMES = {_ICMP: "icmp", _TCP: "tcp", _UDP: "udp", _ICMPV6: "icmp"}
_SYN, _ACK = 0x02, 0x10
_RECORD_TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    64: "SVCB",
    65: "HTTPS",
}


@dataclass(frozen=True, slots=True)
class Flow:
    """A destination of packets: ``protocol`` is tcp, udp, icmp or a number; ``port`` is 0 where there is
    none."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Packets that the client sent into one link since the last reset, IPv4 and IPv6 together.

    ``dns`` is those to port 53 (also in ``udp`` or ``tcp``), ``syn`` the connection attempts (also in
    ``tcp``), ``flows`` the packets by destination. ``link`` is ARP, neighbour discovery and multicast
    reports, in none of the others.
    """

    packets: int = 0
    dns: int = 0
    syn: int = 0
    udp: int = 0
    tcp: int = 0
    link: int = 0
    flows: Mapping[Flow, int] = field(default_factory=dict)

    def to(self, address: str | None = None, port: int | None = None, protocol: str | None = None) -> int:
        """Packets to this destination; what is left out matches any."""
        wanted = str(ipaddress.ip_address(address)) if address is not None else None
        return sum(
            count
            for flow, count in self.flows.items()
            if wanted in (None, flow.address)
            and port in (None, flow.port)
            and protocol in (None, flow.protocol)
        )


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet that the client sent. ``time`` is of ``time.monotonic()``, ``length`` in bytes without the
    link header.

    ``kind`` is ``syn``, ``dns``, ``tcp``, ``udp``, ``icmp``, ``link`` or ``other``; a DNS question over UDP
    has its name and type.
    """

    time: float
    kind: str
    protocol: str
    source: str
    address: str
    source_port: int
    port: int
    length: int
    dns_name: str | None = None
    dns_type: str | None = None


def key(frame: bytes) -> bytes:
    """What tells one kind of frame from another: family, protocol, destination, port, TCP flags (hot: no
    parsing)."""
    if frame[12:14] == b"\x08\x00":
        start = 14 + (frame[14] & 0x0F) * 4
        flags = frame[start + 13 : start + 14] if frame[23] == _TCP else b""
        return b"4" + frame[23:24] + frame[start + 2 : start + 4] + flags + frame[30:34]
    if frame[12:14] == b"\x86\xdd":
        if frame[20] == _TCP:
            return b"6" + frame[20:21] + frame[56:58] + frame[67:68] + frame[38:54]
        port = frame[54:55] + b"\0" if frame[20] == _ICMPV6 else frame[56:58]
        return b"6" + frame[20:21] + port + frame[38:54]
    return b"L"


def is_link_business(frame: bytes) -> bool:
    """ARP, neighbour discovery (RFC 4861) and multicast listener reports (RFC 3810)."""
    kind = frame[12:14]
    if kind == b"\x86\xdd":
        # MLD hides behind a hop-by-hop header.
        return frame[20] == 0 or (frame[20] == _ICMPV6 and frame[54] in _LINK_ICMPV6)
    if kind == b"\x08\x00":
        return frame[23] == 2
    return True


_LINK_ICMPV6 = frozenset((130, 131, 132, 133, 134, 135, 136, 137, 143))


def tally(counts: Mapping[bytes, int]) -> Counters:
    """The meaning of counted keys."""
    packets = dns = syn = udp = tcp = link = 0
    flows: dict[Flow, int] = {}
    for cut, count in counts.items():
        protocol, port, flags, address = _read(cut)
        if address is None:
            link += count
            continue
        packets += count
        dns += count if port == 53 and protocol in (_TCP, _UDP) else 0
        tcp += count if protocol == _TCP else 0
        udp += count if protocol == _UDP else 0
        syn += count if protocol == _TCP and flags & (_SYN | _ACK) == _SYN else 0
        flow = Flow(_NAMES.get(protocol, str(protocol)), address, port)
        flows[flow] = flows.get(flow, 0) + count
    return Counters(packets, dns, syn, udp, tcp, link, flows)


def packets(frames: Iterable[tuple[float, int, bytes]]) -> list[Packet]:
    """The meaning of recorded frames (time, whole length, first bytes)."""
    return [_packet(time, length - 14, frame) for time, length, frame in frames]


def _read(cut: bytes) -> tuple[int, int, int, str | None]:
    """(protocol, port, TCP flags, address), address None for link business."""
    if cut == b"L" or (cut[:1] == b"4" and cut[1] == 2) or (cut[:1] == b"6" and cut[1] == 0):
        return 0, 0, 0, None
    four = cut[:1] == b"4"
    protocol, rest = cut[1], cut[2:]
    size = 4 if four else 16
    address = str(ipaddress.ip_address(rest[-size:]))
    middle = rest[:-size]
    if protocol in (_TCP, _UDP):
        flags = middle[2] if protocol == _TCP and len(middle) > 2 else 0
        return protocol, int.from_bytes(middle[:2], "big"), flags, address
    if protocol == _ICMPV6 and middle[0] in _LINK_ICMPV6:
        return 0, 0, 0, None
    return protocol, 0, 0, address


def _packet(time: float, length: int, frame: bytes) -> Packet:
    protocol, port, flags, address = _read(key(frame))
    if address is None:
        return Packet(time, "link", "link", "", "", 0, 0, length)
    four = frame[12:14] == b"\x08\x00"
    source = str(ipaddress.ip_address(frame[26:30] if four else frame[22:38]))
    start = 14 + (frame[14] & 0x0F) * 4 if four else 54
    name = _NAMES.get(protocol, str(protocol))
    source_port = int.from_bytes(frame[start : start + 2], "big") if protocol in (_TCP, _UDP) else 0
    kind = name if name in ("tcp", "udp", "icmp") else "other"
    question: tuple[str | None, str | None] = (None, None)
    if protocol == _TCP and flags & (_SYN | _ACK) == _SYN:
        kind = "syn"
    elif port == 53 and protocol in (_TCP, _UDP):
        kind = "dns"
        if protocol == _UDP:
            question = _question(frame[start + 8 :])
    return Packet(time, kind, name, source, address, source_port, port, length, *question)


def _question(message: bytes) -> tuple[str | None, str | None]:
    labels, at = [], 12
    try:
        while size := message[at]:
            labels.append(message[at + 1 : at + 1 + size].decode("ascii", "replace"))
            at += 1 + size
        (number,) = struct.unpack_from("!H", message, at + 1)
    except (IndexError, struct.error):
        return None, None
    return ".".join(labels), _RECORD_TYPES.get(number, f"TYPE{number}")
