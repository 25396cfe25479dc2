"""The report's JSON, schema ``pvdrace.report/1``, both ways. Pure.

The keys of the contract come first; their times are seconds from the race's start, and all of them but
``ranking`` are derived when they are written. ``race`` holds what the race was given and ``log`` what
happened to it, on the race's own clock, so that a report that was read back can be replayed exactly.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from ..model import Candidate, Endpoint, ProvisioningDomain, Ranked, Ranking, Reason
from . import events
from .actions import Action, Cancel, Connect, Lookup, Skip
from .events import Event, PvdAdded, PvdWithdrawn
from .pacing import Pacing
from .race import Lost, Won
from .values import items, member, read, write

if TYPE_CHECKING:
    from .records import AttemptRecord
    from .report import RaceReport

SCHEMA = "pvdrace.report/1"
T = TypeVar("T")

RESULTS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.LookupAnswered,
        events.LookupFailed,
        events.Connected,
        events.Ready,
        events.Failed,
    )
}
FAMILIES = {"ipv6": 6, "ipv4": 4}


def encode(report: RaceReport) -> dict[str, Any]:
    """A report as plain values."""
    winner = report.winner
    everybody = (*report.ranking.ranked, *report.ranking.excluded)
    settings = report.settings
    return {
        "schema": SCHEMA,
        "endpoint": write(report.endpoint),
        "outcome": report.outcome,
        "elapsed": report.elapsed,
        "winner": None if winner is None else _encode_winner(winner, report.ready),
        "ranking": [_encode_ranked(ranked) for ranked in everybody],
        "lookups": [write(lookup) for lookup in report.lookups],
        "attempts": [_encode_attempt(attempt) for attempt in report.attempts],
        "skipped": [write(skip) for skip in report.skipped],
        "failure": report.failure,
        "ready": report.ready,
        "race": {
            "started": report.started,
            "ended": report.ended,
            "pacing": write(settings.get("pacing", Pacing())),
            "hold": settings.get("hold", False),
            "timeout": settings.get("timeout"),
            "rtt": {pvd: dict(known) for pvd, known in settings.get("rtt", {}).items()},
            "pvds": [write(ranked.pvd) for ranked in everybody],
        },
        "log": [[time, type(entry).__name__, _encode_entry(entry)] for time, entry in report.log],
    }


def decode(value: Any) -> dict[str, Any]:
    """The fields of a report from plain values; ``ValueError`` names the place and what is wrong there."""
    schema = member(value, "schema", "report")
    if schema != SCHEMA:
        raise ValueError(f"report.schema: {schema!r} is not {SCHEMA!r}")
    endpoint = read(Endpoint, member(value, "endpoint", "report"), "report.endpoint")
    race = member(value, "race", "report")

    def given(key: str, kind: Any) -> Any:
        return read(kind, member(race, key, "report.race"), f"report.race.{key}")

    pvds = {pvd.name: pvd for pvd in given("pvds", tuple[ProvisioningDomain, ...])}
    ranked = [
        _decode_ranked(entry, pvds, where)
        for entry, where in items(member(value, "ranking", "report"), "report.ranking")
    ]
    log = _Log(pvds)
    for entry, where in items(member(value, "log", "report"), "report.log"):
        log.read(entry, where)
    return {
        "endpoint": endpoint,
        "ranking": Ranking(
            tuple(r for r in ranked if not r.excluded), tuple(r for r in ranked if r.excluded)
        ),
        "log": log.entries,
        "started": given("started", float),
        "result": _decode_result(value, log),
        "ready": read(str, member(value, "ready", "report"), "report.ready"),
        "settings": {
            "pacing": given("pacing", Pacing),
            "hold": given("hold", bool),
            "timeout": given("timeout", float | None),
            "rtt": given("rtt", dict[str, dict[str, float]]),
        },
        "ended": given("ended", float | None),
    }


# ---------------------------------------------------------------------- the contract's keys


def _encode_winner(winner: AttemptRecord, ready: str) -> dict[str, Any]:
    return {
        "pvd": winner.pvd,
        "remote": winner.remote,
        "port": winner.port,
        "local": winner.local,
        "family": f"ipv{winner.family}",
        "ready": ready,
        "through": winner.through,
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
        value["excluded"] = ranked.excluded.text
        value["excluded_by"] = ranked.excluded.rule
    return value


def _decode_ranked(value: Any, pvds: dict[str, ProvisioningDomain], where: str) -> Ranked:
    def given(key: str, kind: Any) -> Any:
        return read(kind, member(value, key, where), f"{where}.{key}")

    rules, texts = given("rules", tuple[str, ...]), given("because", tuple[str, ...])
    if len(rules) != len(texts):
        raise ValueError(f"{where}: {len(rules)} rules for {len(texts)} reasons")
    excluded = None
    if "excluded" in value:
        excluded = Reason(given("excluded_by", str), given("excluded", str))
    return Ranked(
        _known(pvds, given("pvd", str), f"{where}.pvd", "PvD"),
        given("head_start", float | None),
        tuple(map(Reason, rules, texts)),
        _families(given("families", tuple[str, ...]), where),
        excluded,
    )


def _encode_attempt(attempt: AttemptRecord) -> dict[str, Any]:
    return {**asdict(attempt), "family": f"ipv{attempt.family}"}


def _decode_result(value: Any, log: _Log) -> Won | Lost | None:
    outcome = member(value, "outcome", "report")
    if outcome == "won":
        if log.winner is None:
            raise ValueError("report.outcome: 'won', but no attempt is Ready in report.log")
        return Won(log.winner)
    if outcome == "lost":
        return Lost(read(str, member(value, "failure", "report"), "report.failure"))
    if outcome == "cancelled":
        return None
    raise ValueError(f"report.outcome: {outcome!r} is not one of won, lost, cancelled")


# ---------------------------------------------------------------------- the log


def _encode_entry(entry: Event | Action) -> dict[str, Any]:
    match entry:
        case Lookup():
            return {
                "id": entry.id,
                "pvd": entry.pvd.name,
                "name": entry.name,
                "type": entry.type,
                "families": [f"ipv{family}" for family in entry.families],
            }
        case Connect(candidate=c):
            return {
                "id": entry.id,
                "pvd": c.pvd.name,
                "local": c.local,
                "remote": c.remote,
                "port": c.port,
                "family": c.family,
                "through": entry.through,
            }
        case Cancel():
            return {"id": entry.target.id, "reason": entry.reason}
        case PvdAdded(ranked=ranked, position=position):
            return {"ranked": _encode_ranked(ranked), "pvd": write(ranked.pvd), "position": position}
    value: dict[str, Any] = write(entry)
    return value


class _Log:
    """The log while it is read: what has been said so far is what the rest may speak of."""

    def __init__(self, pvds: dict[str, ProvisioningDomain]) -> None:
        self.pvds = dict(pvds)
        self.subjects: dict[int, Lookup | Connect] = {}
        self.entries: list[tuple[float, Event | Action]] = []
        self.winner: Connect | None = None

    def read(self, entry: Any, where: str) -> None:
        if not isinstance(entry, list) or len(entry) != 3:
            raise ValueError(f"{where}: must be an array of time, kind and what is said")
        time = read(float, entry[0], f"{where}[0]")
        kind = read(str, entry[1], f"{where}[1]")
        self.entries.append((time, self._entry(kind, entry[2], f"{where}[2]")))

    def _entry(self, kind: str, value: Any, where: str) -> Event | Action:
        def given(key: str, kind: Any) -> Any:
            return read(kind, member(value, key, where), f"{where}.{key}")

        def pvd() -> ProvisioningDomain:
            return _known(self.pvds, given("pvd", str), f"{where}.pvd", "PvD")

        def subject() -> Lookup | Connect:
            return _known(self.subjects, given("id", int), f"{where}.id", "lookup or attempt")

        if kind == "Lookup":
            lookup = Lookup(
                given("id", int),
                pvd(),
                given("name", str),
                given("type", str),
                _families(given("families", tuple[str, ...]), where),
            )
            self.subjects[lookup.id] = lookup
            return lookup
        if kind == "Connect":
            candidate = Candidate(
                pvd(),
                given("local", str | None),
                given("remote", str),
                given("port", int),
                given("family", int),
            )
            # Left out by older reports.
            through = given("through", str | None) if "through" in value else None
            connect = Connect(given("id", int), candidate, through)
            self.subjects[connect.id] = connect
            return connect
        if kind == "Cancel":
            return Cancel(subject(), given("reason", str))
        if kind == "Skip":
            return read(Skip, value, where)
        if kind == "PvdWithdrawn":
            return read(PvdWithdrawn, value, where)
        if kind == "PvdAdded":
            added = given("pvd", ProvisioningDomain)
            self.pvds[added.name] = added
            ranked = _decode_ranked(member(value, "ranked", where), self.pvds, f"{where}.ranked")
            return PvdAdded(ranked, given("position", int))
        if kind not in RESULTS:
            raise ValueError(f"{where}: no event or action is called {kind!r}")
        return self._result(RESULTS[kind], value, where, subject())

    def _result(self, kind: type[Any], value: Any, where: str, subject: Lookup | Connect) -> Event:
        event: Event = read(kind, value, where)
        if isinstance(subject, Lookup) != kind.__name__.startswith("Lookup"):
            raise ValueError(f"{where}.id: {subject.id} is not what {kind.__name__} can be said of")
        if isinstance(subject, Connect) and kind is events.Ready:
            self.winner = subject
        return event


def _families(words: tuple[str, ...], where: str) -> tuple[int, ...]:
    return tuple(_known(FAMILIES, word, f"{where}.families", "family") for word in words)


def _known(table: dict[Any, T], key: Any, where: str, what: str) -> T:
    if key not in table:
        raise ValueError(f"{where}: no {what} is called {key!r}")
    return table[key]
