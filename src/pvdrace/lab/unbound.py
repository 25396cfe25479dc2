"""Configuration of unbound for one provider. Pure: records in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import TTL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .plan import Plan
    from .provider import Provider
    from .records import Record


def configuration(provider: Provider, plan: Plan, records: Sequence[Record]) -> str:
    """The file for ``unbound -c``: local data alone, NXDOMAIN for what is not known."""
    interfaces = [plan.gateway4] * provider.ipv4 + [plan.gateway6] * provider.ipv6
    options = [
        *(f"interface: {address}" for address in interfaces),
        "access-control: 0.0.0.0/0 allow",
        "access-control: ::0/0 allow",
        'username: ""',
        'chroot: ""',
        'directory: ""',
        'pidfile: ""',
        "use-syslog: no",
        'logfile: "/dev/null"',
        'module-config: "iterator"',
        'local-zone: "." static',
        *(f"local-data: '{record.name}. {TTL} IN {record.type} {_absolute(record)}'" for record in records),
    ]
    return (
        "server:\n"
        + "".join(f"    {option}\n" for option in options)
        + "remote-control:\n    control-enable: no\n"
    )


def _absolute(record: Record) -> str:
    """Unbound wants the names in CNAME and the like to end with a dot."""
    return record.data if record.type != "CNAME" or record.data.endswith(".") else record.data + "."
