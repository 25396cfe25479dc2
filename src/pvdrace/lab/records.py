"""What the DNS servers of the lab answer. Pure: a plan and a provider's own zones in, records out."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import plan as addresses
from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .plan import Plan

NAME = "www.example.test"
TTL = 300


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record, its data in presentation format (RFC 1035 s5)."""

    name: str
    type: str
    data: str


def records(plan: Plan, zones: Mapping[str, Sequence[str]]) -> tuple[Record, ...]:
    """All records of one provider's server: those that every provider has, its own taking their place."""
    told = dict(common(plan)) | {name.rstrip(".").lower(): values for name, values in zones.items()}
    return tuple(_parse(name, value) for name, values in told.items() for value in values)


def common(plan: Plan) -> dict[str, Sequence[str]]:
    """The names that exist through every provider; ``local.`` and ``capport.`` differ by it."""
    return {
        NAME: [addresses.ADDRESS4, addresses.ADDRESS6],
        "example.test": [addresses.ADDRESS4, addresses.ADDRESS6],
        "alias.example.test": [f"CNAME {NAME}"],
        "v4only.example.test": ["198.51.100.4"],
        "v6only.example.test": ["2001:db8:99::6"],
        "several.example.test": [f"198.51.100.{n}" for n in (11, 12, 13)]
        + [f"2001:db8:99::{n}" for n in (11, 12, 13)],
        "dead.example.test": [addresses.DEAD4, addresses.DEAD6],
        "local.example.test": [plan.local4, plan.local6],
        addresses.PORTAL_API_NAME: [plan.gateway4, plan.gateway6],
    }


def _parse(name: str, value: str) -> Record:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        type_, _, data = value.partition(" ")
        if not data or not type_.isalnum() or not type_.isupper():
            raise LabError(f"{name}: {value!r} is neither an address nor 'TYPE rdata'") from None
        return Record(name, type_, data.strip())
    return Record(name, "A" if address.version == 4 else "AAAA", str(address))
