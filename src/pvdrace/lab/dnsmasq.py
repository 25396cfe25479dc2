"""Configuration of dnsmasq for one provider. Pure: records in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import TTL, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .plan import Plan
    from .provider import Provider


def configuration(provider: Provider, plan: Plan, records: Sequence[Record], hosts_file: str) -> str:
    """The file for ``dnsmasq -C``: no upstream, no files of the host, NXDOMAIN for what is not known."""
    lines = [
        "no-resolv",
        "no-poll",
        "no-hosts",
        f"addn-hosts={hosts_file}",
        "local=/#/",
        f"local-ttl={TTL}",
        f"max-cache-ttl={TTL}",
        "bind-interfaces",
        "user=root",
        # No group: changing it is forbidden in a user namespace, and there is nothing to give up.
        "group=",
        "pid-file=",
        "cache-size=0",
    ]
    if provider.ipv4:
        lines.append(f"listen-address={plan.gateway4}")
    if provider.ipv6:
        lines.append(f"listen-address={plan.gateway6}")
    return (
        "\n".join([*lines, *(_line(record) for record in records if record.type not in ("A", "AAAA"))]) + "\n"
    )


def hosts(records: Sequence[Record]) -> str:
    """The hosts file with all addresses."""
    return "".join(f"{record.data} {record.name}\n" for record in records if record.type in ("A", "AAAA"))


def _line(record: Record) -> str:
    if record.type == "CNAME":
        return f"cname={record.name},{record.data.rstrip('.')}"
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    type_ = dns.rdatatype.from_text(record.type)
    wire = (
        dns.rdata.from_text(dns.rdataclass.IN, type_, record.data, dns.name.root, relativize=False).to_wire()
        or b""
    )
    return f"dns-rr={record.name},{int(type_)},{wire.hex()}"
