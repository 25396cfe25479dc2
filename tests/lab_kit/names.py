"""Ask one name server inside a lab."""

from __future__ import annotations

import dns.exception
import dns.message
import dns.query

from pvdrace.lab import Lab


def ask(lab: Lab, server: str | None, name: str, type_: str, timeout: float = 5.0) -> list[str]:
    """The records of the answer section, as text; none where nothing was answered in time (seconds)."""
    try:
        reply = reply_of(lab, server, name, type_, timeout)
    except dns.exception.Timeout:
        return []
    return [rdata.to_text() for rrset in reply.answer for rdata in rrset]


def reply_of(
    lab: Lab, server: str | None, name: str, type_: str, timeout: float = 5.0
) -> dns.message.Message:
    """One question over UDP, from the lab's client; raises `dns.exception.Timeout`."""
    assert server is not None
    with lab.enter():
        return dns.query.udp(dns.message.make_query(name, type_), server, timeout=timeout)
