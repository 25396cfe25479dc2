"""The report's JSON, schema ``pvdrace.report/1``, both ways. Pure.

Times are seconds from the race's start. The keys of the contract come first; ``race`` holds what the race
was given and ``log`` what happened to it, so that a report that was read back can be replayed.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from ..model import (
    Candidate,
    Cost,
    CostClass,
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    Ranked,
    Ranking,
    Reachability,
    Reason,
    Resolver,
    Route,
)
from . import events
from .actions import Action, Cancel, Connect, Lookup, Skip
from .events import Event, PvdAdded
from .pacing import Pacing
from .race import Lost, Won
from .report import SCHEMA, AttemptRecord, LookupRecord, RaceReport

EVENTS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.LookupAnswered,
        events.LookupFailed,
        events.Connected,
        events.Ready,
        events.Failed,
        events.PvdWithdrawn,
    )
}


def encode(report: RaceReport) -> dict[str, Any]:
    """A report as plain values."""
    winner = report.winner
    settings = report.settings
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "endpoint": {"host": report.endpoint.host, "port": report.endpoint.port},
        "outcome": report.outcome,
        "elapsed": report.elapsed,
        "winner": None if winner is None else _encode_winner(winner, report.ready),
        "ranking": [_encode_ranked(r) for r in (*report.ranking.ranked, *report.ranking.excluded)],
        "lookups": [_encode_lookup(lookup) for lookup in report.lookups],
        "attempts": [_encode_attempt(attempt) for attempt in report.attempts],
        "skipped": [asdict(skip) for skip in report.skipped],
        "failure": report.failure,
        "ready": report.ready,
        "race": {
            "pacing": asdict(settings.get("pacing", Pacing())),
            "hold": settings.get("hold", False),
            "timeout": settings.get("timeout"),
            "rtt": {pvd: dict(known) for pvd, known in settings.get("rtt", {}).items()},
            "pvds": [_encode_pvd(r.pvd) for r in (*report.ranking.ranked, *report.ranking.excluded)],
        },
        "log": [[time - report.started, *_encode_entry(entry)] for time, entry in report.log],
    }
    return value


def decode(value: Any) -> RaceReport:
    """A report from plain values; ``ValueError`` names the place and what is wrong there."""
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"report: schema is {found!r}, not {SCHEMA!r}")
    where = "report"
    try:
        where = "endpoint"
        endpoint = Endpoint(value["endpoint"]["host"], value["endpoint"]["port"])
        where = "race"
        given = value["race"]
        pvds = {pvd["name"]: _decode_pvd(pvd) for pvd in given["pvds"]}
        settings = {
            "pacing": Pacing(**given["pacing"]),
            "hold": given["hold"],
            "timeout": given["timeout"],
            "rtt": given["rtt"],
        }
        ranked: list[Ranked] = []
        for index, entry in enumerate(value["ranking"]):
            where = f"ranking[{index}]"
            ranked.append(_decode_ranked(entry, pvds))
        ranking = Ranking(
            tuple(r for r in ranked if r.excluded is None), tuple(r for r in ranked if r.excluded is not None)
        )
        log: list[tuple[float, Event | Action]] = []
        subjects: dict[int, Lookup | Connect] = {}
        for index, entry in enumerate(value["log"]):
            where = f"log[{index}]"
            log.append((float(entry[0]), _decode_entry(entry[1], entry[2], pvds, subjects)))
        where = "outcome"
        result = _decode_result(value["outcome"], value["failure"], log, subjects)
        where = "ready"
        return RaceReport(endpoint, ranking, log, 0.0, result, value["ready"], settings)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"report: {where}: {what}") from None


# ---------------------------------------------------------------------- the contract's keys


def _encode_winner(winner: AttemptRecord, ready: str) -> dict[str, Any]:
    return {
        "pvd": winner.pvd,
        "remote": winner.remote,
        "port": winner.port,
        "local": winner.local,
        "family": f"ipv{winner.family}",
        "ready": ready,
    }


def _encode_ranked(ranked: Ranked) -> dict[str, Any]:
    value: dict[str, Any] = {
        "pvd": ranked.pvd.name,
        "head_start": ranked.head_start,
        "because": [reason.text for reason in ranked.because],
        "rules": [reason.rule for reason in ranked.because],
        "families": [f"ipv{family}" for family in ranked.families],
    }
    if ranked.excluded is not None:
        value["head_start"] = None
        value["excluded"] = ranked.excluded.text
        value["excluded_by"] = ranked.excluded.rule
    return value


def _decode_ranked(value: dict[str, Any], pvds: dict[str, ProvisioningDomain]) -> Ranked:
    because = tuple(Reason(r, t) for r, t in zip(value["rules"], value["because"], strict=True))
    excluded = Reason(value["excluded_by"], value["excluded"]) if "excluded" in value else None
    families = tuple(int(family.removeprefix("ipv")) for family in value["families"])
    return Ranked(pvds[value["pvd"]], value["head_start"], because, families, excluded)


def _encode_lookup(lookup: LookupRecord) -> dict[str, Any]:
    return {**asdict(lookup), "addresses": list(lookup.addresses)}


def _encode_attempt(attempt: AttemptRecord) -> dict[str, Any]:
    return {**asdict(attempt), "family": f"ipv{attempt.family}"}


# ---------------------------------------------------------------------- what the race was given


def _encode_pvd(pvd: ProvisioningDomain) -> dict[str, Any]:
    value = {f.name: getattr(pvd, f.name) for f in fields(pvd)}
    value["addresses"] = [asdict(address) for address in pvd.addresses]
    value["routes"] = [asdict(route) for route in pvd.routes]
    value["resolvers"] = [asdict(resolver) for resolver in pvd.resolvers]
    value["cost"] = {"kind": pvd.cost.kind.value, "flags": sorted(pvd.cost.flags)}
    value["reachability"] = pvd.reachability.value
    for name in ("zones", "search", "groups", "pref64", "sources"):
        value[name] = list(value[name])
    return value


def _decode_pvd(value: dict[str, Any]) -> ProvisioningDomain:
    known = dict(value)
    known["addresses"] = tuple(LocalAddress(**a) for a in value["addresses"])
    known["routes"] = tuple(Route(**r) for r in value["routes"])
    known["resolvers"] = tuple(Resolver(**r) for r in value["resolvers"])
    known["cost"] = Cost(CostClass(value["cost"]["kind"]), frozenset(value["cost"]["flags"]))
    known["reachability"] = Reachability(value["reachability"])
    for name in ("zones", "search", "groups", "pref64", "sources"):
        known[name] = tuple(value[name])
    return ProvisioningDomain(**known)


# ---------------------------------------------------------------------- the log


def _encode_entry(entry: Event | Action) -> tuple[str, Any]:
    kind = type(entry).__name__
    match entry:
        case Lookup():
            return kind, {"id": entry.id, "pvd": entry.pvd.name, "name": entry.name, "type": entry.type}
        case Connect(candidate=c):
            return kind, {
                "id": entry.id,
                "pvd": c.pvd.name,
                "local": c.local,
                "remote": c.remote,
                "port": c.port,
                "family": c.family,
            }
        case Cancel():
            return kind, {"id": entry.target.id, "reason": entry.reason}
        case PvdAdded(ranked=ranked, position=position):
            added = {"ranked": _encode_ranked(ranked), "pvd": _encode_pvd(ranked.pvd), "position": position}
            return kind, added
        case _:
            value = asdict(entry)
            if "addresses" in value:
                value["addresses"] = list(value["addresses"])
            return kind, value


def _decode_entry(
    kind: str,
    value: dict[str, Any],
    pvds: dict[str, ProvisioningDomain],
    subjects: dict[int, Lookup | Connect],
) -> Event | Action:
    if kind == "Lookup":
        lookup = Lookup(value["id"], pvds[value["pvd"]], value["name"], value["type"])
        subjects[lookup.id] = lookup
        return lookup
    if kind == "Connect":
        candidate = Candidate(
            pvds[value["pvd"]], value["local"], value["remote"], value["port"], value["family"]
        )
        connect = Connect(value["id"], candidate)
        subjects[connect.id] = connect
        return connect
    if kind == "Cancel":
        return Cancel(subjects[value["id"]], value["reason"])
    if kind == "Skip":
        return Skip(**value)
    if kind == "PvdAdded":
        pvd = _decode_pvd(value["pvd"])
        pvds[pvd.name] = pvd
        return PvdAdded(_decode_ranked(value["ranked"], pvds), value["position"])
    if kind not in EVENTS:
        raise ValueError(f"no event or action is called {kind!r}")
    given = {**value, "addresses": tuple(value["addresses"])} if "addresses" in value else value
    event: Event = EVENTS[kind](**given)
    return event


def _decode_result(
    outcome: str,
    failure: str | None,
    log: list[tuple[float, Event | Action]],
    subjects: dict[int, Lookup | Connect],
) -> Won | Lost | None:
    if outcome == "won":
        won = next(entry.id for _, entry in reversed(log) if isinstance(entry, events.Ready))
        subject = subjects[won]
        if not isinstance(subject, Connect):
            raise ValueError(f"the winner, {won}, is not an attempt")
        return Won(subject)
    if outcome == "lost":
        return Lost(failure or "")
    if outcome == "cancelled":
        return None
    raise ValueError(f"{outcome!r} is not won, lost or cancelled")
