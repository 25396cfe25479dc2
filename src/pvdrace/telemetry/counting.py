"""What a process tells of its races to who looks on: counters by PvD, and what it knows of their reach. Pure.

No name of a host is in it, and nothing of what was sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

from ..model import Reachability, Reached

if TYPE_CHECKING:
    from ..model import ProvisioningDomain
    from ..race.report import RaceReport

SCHEMA = "pvdrace.live/1"
#: So many PvDs are told of by name; what comes after them is ``other``.
MOST = 64
OTHER = "other"


@dataclass
class PvdCounts:
    """What happened in one PvD: races that it ran in, attempts, and what became of these."""

    races: int = 0
    attempts: int = 0
    won: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass
class Known:
    """What a process knew of a PvD's reach in its last race; it holds where the PvD has these addresses."""

    addresses: tuple[str, ...]
    reached: tuple[Reached, ...]


@dataclass
class Told:
    """Everything that one process tells. Times are seconds since 1970; those in `Reached` are monotonic.

    ``pid`` is its number and ``started`` its start (in clock ticks), in the /proc that it sees; ``network``
    the inode of its network namespace.
    """

    pid: int
    started: int
    since: float
    network: int = 0
    last: float = 0.0
    won: int = 0
    lost: int = 0
    cancelled: int = 0
    pvds: dict[str, PvdCounts] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)

    def count(self, report: RaceReport, now: float) -> None:
        """Take in one race; ``now`` is in seconds since 1970."""
        self.last = now
        if report.outcome == "won":
            self.won += 1
        elif report.outcome == "lost":
            self.lost += 1
        else:
            self.cancelled += 1
        ran = {lookup.pvd: None for lookup in report.lookups}
        for attempt in report.attempts:
            ran[attempt.pvd] = None
            counts = self._of(attempt.pvd)
            counts.attempts += 1
            if attempt.outcome == "won":
                counts.won += 1
            elif attempt.outcome == "failed":
                counts.failed += 1
            else:
                counts.cancelled += 1
        for name in ran:
            self._of(name).races += 1
        pvds = [ranked.pvd for each in report.ranking for ranked in each]
        if any(not pvd.is_loopback for pvd in pvds):
            self.known = {pvd.name: _known(pvd) for pvd in pvds[:MOST] if pvd.reached}

    def _of(self, name: str) -> PvdCounts:
        found = self.pvds.get(name)
        if found is None:
            name = name if len(self.pvds) < MOST else OTHER
            found = self.pvds.setdefault(name, PvdCounts())
        return found


def encode(told: Told) -> bytes:
    """One line with its checksum before it: who reads while it is written can tell."""
    value = {
        "schema": SCHEMA,
        "pid": told.pid,
        "started": told.started,
        "since": told.since,
        "network": told.network,
        "last": told.last,
        "races": (told.won, told.lost, told.cancelled),
        "pvds": {n: (c.races, c.attempts, c.won, c.failed, c.cancelled) for n, c in told.pvds.items()},
        "known": {n: (k.addresses, [_plain(one) for one in k.reached]) for n, k in told.known.items()},
    }
    text = json.dumps(value, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)


def decode(data: bytes) -> Told | None:
    """What stands there; None where it is damaged, half written, or of another version."""
    line, end, _ = data.partition(b"\n")
    checksum, _, text = line.partition(b" ")
    try:
        if not end or int(checksum, 16) != crc32(text):
            return None
        value = json.loads(text)
        if value["schema"] != SCHEMA:
            return None
        won, lost, cancelled = value["races"]
        pvds = {name: PvdCounts(*map(int, counts)) for name, counts in value["pvds"].items()}
        known = {name: _known_from(*each) for name, each in value["known"].items()}
        pid, started, network = int(value["pid"]), int(value["started"]), int(value["network"])
        told = Told(pid, started, float(value["since"]), network)
        told.won, told.lost, told.cancelled = int(won), int(lost), int(cancelled)
        told.last, told.pvds, told.known = float(value["last"]), pvds, known
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return told


def _known(pvd: ProvisioningDomain) -> Known:
    return Known(tuple(address.address for address in pvd.addresses), pvd.reached)


def _plain(one: Reached) -> list[Any]:
    """Without the words of the evidence and the portal's page, which may hold a guest's token."""
    return [one.family, one.state.value, one.at, one.ports, one.blocked, one.lost]


def _known_from(addresses: list[str], reached: list[list[Any]]) -> Known:
    known = [
        Reached(int(family), Reachability(state), "", float(at), None, *map(tuple, ports))
        for family, state, at, *ports in reached
    ]
    return Known(tuple(map(str, addresses)), tuple(known))
