"""What a log says of each lookup and each attempt: one record for each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .actions import Action, Cancel, Connect, Lookup, Skip
from .events import Connected, Event, Failed, LookupAnswered, LookupFailed, PvdAdded, PvdWithdrawn, Ready

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class LookupRecord:
    """One question to one PvD. Times are seconds from the race's start, ``ended`` None while unanswered."""

    pvd: str
    type: str
    started: float
    server: str | None = None
    ended: float | None = None
    outcome: str = "pending"
    """``answered``, ``failed``, ``cancelled`` or ``pending``."""
    addresses: tuple[str, ...] = ()
    error: str | None = None
    cached: bool = False


@dataclass(slots=True)
class AttemptRecord:
    """One connection attempt. Times are seconds from the race's start."""

    pvd: str
    remote: str
    port: int
    family: int
    local: str | None
    started: float
    connected: float | None = None
    """When the transport handshake was done."""
    ended: float | None = None
    outcome: str = "pending"
    """``won``, ``failed``, ``cancelled`` or ``pending``."""
    error: str | None = None
    rtt: float | None = None
    """The kernel's round-trip time of the handshake (TCP_INFO)."""
    through: str | None = None
    """The URL of the proxy whose address and port ``remote`` and ``port`` are; None where there is none."""


def records(
    log: Iterable[tuple[float, Event | Action]], started: float
) -> tuple[LookupRecord | AttemptRecord, ...]:
    """The record of every lookup and attempt, in the order of their starting."""
    found: dict[int, LookupRecord | AttemptRecord] = {}
    for time, entry in log:
        at = time - started
        match entry:
            case Lookup():
                found[entry.id] = LookupRecord(entry.pvd.name, entry.type, at)
            case Connect():
                found[entry.id] = _attempt(entry, at)
            case Cancel():
                _cancel(found[entry.target.id], entry, at)
            case Skip() | PvdAdded() | PvdWithdrawn():
                pass
            case _:
                _take_in(found[entry.id], entry, at)
    return tuple(found.values())


def _attempt(action: Connect, at: float) -> AttemptRecord:
    pvd, local, remote, port, family = action.candidate
    return AttemptRecord(pvd.name, remote, port, family, local, at, through=action.through)


def _cancel(record: LookupRecord | AttemptRecord, action: Cancel, at: float) -> None:
    record.ended = at
    record.error = action.reason
    record.outcome = action.outcome


def _take_in(
    record: LookupRecord | AttemptRecord,
    event: LookupAnswered | LookupFailed | Connected | Ready | Failed,
    at: float,
) -> None:
    match record, event:
        case LookupRecord(), LookupAnswered():
            record.ended, record.outcome = at, "answered"
            record.server, record.addresses, record.cached = event.server, event.addresses, event.cached
        case LookupRecord(), LookupFailed():
            record.ended, record.outcome = at, "failed"
            record.server, record.error = event.server, event.error
        case AttemptRecord(), Connected():
            record.connected, record.rtt = at, event.rtt
        case AttemptRecord(), Ready():
            record.ended, record.outcome = at, "won"
            record.connected = at if record.connected is None else record.connected
            record.rtt = record.rtt if event.rtt is None else event.rtt
            record.local = event.local or record.local
        case AttemptRecord(), Failed():
            record.ended, record.outcome, record.error = at, "failed", event.error
