"""A report as qlog: draft-ietf-quic-qlog-main-schema-14 s5, QlogFileSeq in JSON text sequences. Pure.

The event schema is ours, documented event by event in docs/qlog.md. Durations in it are milliseconds, as
qlog's times are; absent is what is not known.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..pictures.clean import cleaned
from .actions import Cancel, Connect, Lookup, Skip
from .events import Connected, Failed, LookupAnswered, LookupFailed, PvdAdded, PvdWithdrawn, Ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Ranked
    from .actions import Action
    from .events import Event
    from .report import RaceReport

#: The URI of our event schema (s7.1: absolute, with the namespace in it, none of the IETF's own). It names
#: these events as they are: another set of them gets another URI.
SCHEMA = "urn:uuid:679fa6c2-bb74-43f6-a094-d989c4d01a5c?=pvdrace"
NAMESPACE = "pvdrace"
SEPARATOR = "\x1e"


def sqlog(report: RaceReport) -> str:
    """The records of a report: a head, then an event for each thing that happened, in order."""
    head = {
        "file_schema": "urn:ietf:params:qlog:file:sequential",
        "serialization_format": "application/qlog+json-seq",
        "title": str(report.endpoint),
        "trace": {
            "common_fields": {
                "time_format": "relative_to_epoch",
                # The clock of a race is monotonic: its zero, here the start of the race, is no date.
                "reference_time": {"clock_type": "monotonic", "epoch": "unknown"},
            },
            "vantage_point": {"name": f"pvdrace {__version__}", "type": "client"},
            "event_schemas": [SCHEMA],
        },
    }
    events = [
        {"time": round((at - report.started) * 1000, 6), "name": f"{NAMESPACE}:{name}", "data": _known(data)}
        for at, name, data in _in_order(report)
    ]
    return "".join(
        f"{SEPARATOR}{json.dumps(cleaned(record), allow_nan=False)}\n" for record in (head, *events)
    )


Said = tuple[str, dict[str, Any]]


def _in_order(report: RaceReport) -> Iterator[tuple[float, str, dict[str, Any]]]:
    yield (report.started, *_started(report))
    subjects: dict[int, Lookup | Connect] = {}
    last, ended = report.started, report.ended is None
    for at, entry in report.log:
        if not ended and report.ended is not None and at > report.ended:
            yield (report.ended, *_ended(report))  # what comes later was on its way
            ended = True
        if isinstance(entry, Lookup | Connect):
            subjects[entry.id] = entry
        last = max(at, last)
        yield (at, *_say(entry, subjects))
    if report.ended is None or not ended:
        yield (last if report.ended is None else report.ended, *_ended(report))


def _started(report: RaceReport) -> Said:
    ranking = [_ranked(ranked) for ranked in (*report.ranking.ranked, *report.ranking.excluded)]
    return "race_started", {
        "host": report.endpoint.host,
        "port": report.endpoint.port,
        "ready": report.ready,
        "timeout": _milliseconds(report.settings.get("timeout")),
        "ranking": ranking,
    }


def _ended(report: RaceReport) -> Said:
    winner = report.winner
    return "race_ended", {
        "outcome": report.outcome,
        "pvd": None if winner is None else winner.pvd,
        "remote": None if winner is None else winner.remote,
        "reason": report.failure,
    }


def _ranked(ranked: Ranked) -> dict[str, Any]:
    return _known(
        {
            "pvd": ranked.pvd.name,
            "head_start": _milliseconds(ranked.head_start),
            "reserve": ranked.head_start is None and ranked.excluded is None,
            "families": [f"ipv{family}" for family in ranked.families],
            "because": [{"rule": reason.rule, "text": reason.text} for reason in ranked.because],
            "excluded": ranked.excluded and {"rule": ranked.excluded.rule, "text": ranked.excluded.text},
        }
    )


def _say(entry: Event | Action, subjects: dict[int, Lookup | Connect]) -> Said:
    match entry:
        case Lookup():
            return "lookup_started", {**_subject(entry), "host": entry.name}
        case Connect(candidate=c):
            more = {"port": c.port, "local": c.local, "through": entry.through}
            return "attempt_started", {**_subject(entry), "family": f"ipv{c.family}", **more}
        case Cancel(target=target, reason=reason):
            what = "lookup" if isinstance(target, Lookup) else "attempt"
            return f"{what}_{entry.outcome}", {**_subject(target), "reason": reason}
        case Skip():
            return "address_skipped", {"pvd": entry.pvd, "address": entry.address, "reason": entry.reason}
        case PvdAdded():
            return "pvd_added", {**_ranked(entry.ranked), "position": entry.position}
        case PvdWithdrawn():
            return "pvd_withdrawn", {"pvd": entry.pvd, "reason": entry.reason}
    return _result(entry, _subject(subjects.get(entry.id), entry.id))


def _result(event: LookupAnswered | LookupFailed | Connected | Ready | Failed, about: dict[str, Any]) -> Said:
    match event:
        case LookupAnswered():
            answer = {"addresses": list(event.addresses), "server": event.server, "cached": event.cached}
            return "lookup_answered", {**about, **answer}
        case LookupFailed():
            return "lookup_failed", {**about, "reason": event.error, "server": event.server}
        case Connected():
            return "attempt_connected", {**about, "round_trip": _milliseconds(event.rtt)}
        case Ready():
            return "attempt_won", {**about, "round_trip": _milliseconds(event.rtt), "local": event.local}
        case Failed():
            return "attempt_failed", {**about, "reason": event.error}


def _subject(subject: Lookup | Connect | None, id_: int = 0) -> dict[str, Any]:
    if subject is None:
        return {"id": id_}
    if isinstance(subject, Lookup):
        return {"id": subject.id, "pvd": subject.pvd.name, "type": subject.type}
    return {"id": subject.id, "pvd": subject.candidate.pvd.name, "remote": subject.candidate.remote}


def _known(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None or not isfinite(seconds) else round(seconds * 1000, 6)
