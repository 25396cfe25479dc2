"""A race in the words of httpcore's ``trace`` extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..race.actions import Cancel, Connect, Lookup, Skip
from ..race.events import Connected, Failed, LookupAnswered, LookupFailed, PvdAdded, PvdWithdrawn, Ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..race.actions import Action
    from ..race.events import Event
    from ..race.report import RaceReport


def told(report: RaceReport) -> Iterator[tuple[str, dict[str, Any]]]:
    """A race as the events of a trace extension, in order: name and info.

    ``time`` is in seconds from its start.
    """
    yield "pvdrace.race.started", {"time": 0.0, "host": report.endpoint.host, "port": report.endpoint.port}
    begun: dict[int, dict[str, Any]] = {}
    for time, entry in report.log:
        name, info = _told(entry, begun)
        yield f"pvdrace.{name}", {"time": time - report.started, **info}
    last = "complete" if report.outcome == "won" else "failed"
    yield f"pvdrace.race.{last}", {"time": report.elapsed, "report": report}


def _told(entry: Event | Action, begun: dict[int, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    match entry:
        case Lookup():
            begun[entry.id] = {"pvd": entry.pvd.name, "type": entry.type}
            return "lookup.started", begun[entry.id]
        case LookupAnswered():
            found = {"addresses": entry.addresses, "server": entry.server, "cached": entry.cached}
            return "lookup.complete", begun[entry.id] | found
        case LookupFailed():
            return "lookup.failed", begun[entry.id] | {"error": entry.error, "server": entry.server}
        case Connect():
            way = entry.candidate
            begun[entry.id] = {"pvd": way.pvd.name, "remote": way.remote, "port": way.port}
            return "attempt.started", begun[entry.id] | {"local": way.local, "through": entry.through}
        case Connected():
            return "attempt.connected", begun[entry.id] | {"rtt": entry.rtt}
        case Ready():
            return "attempt.complete", begun[entry.id] | {"rtt": entry.rtt}
        case Failed():
            return "attempt.failed", begun[entry.id] | {"error": entry.error}
        case Cancel():
            what = "lookup" if isinstance(entry.target, Lookup) else "attempt"
            return f"{what}.cancelled", begun[entry.target.id] | {"reason": entry.reason}
        case Skip():
            return "address.skipped", {"pvd": entry.pvd, "address": entry.address, "reason": entry.reason}
        case PvdAdded():
            return "pvd.added", {"pvd": entry.ranked.pvd.name}
        case PvdWithdrawn():
            return "pvd.withdrawn", {"pvd": entry.pvd, "reason": entry.reason}


class Tracing:
    """A trace extension's function with the races among what it is told: base of the two kinds."""

    def __init__(self, trace: Any) -> None:
        self._trace = trace
        self._stream: Any = None
        self._told: RaceReport | None = None

    def _lost(self, name: str, info: dict[str, Any]) -> Any:
        """The stream that the core forgets if the function raises now: one that no connection has yet."""
        if name.startswith(("connection.", "proxy.", "socks.")):
            return info.get("return_value") or self._stream
        return None

    def _news(self, info: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The race that has ended since the last event, if one has."""
        stream = info.get("return_value")
        if hasattr(stream, "get_extra_info"):
            self._stream = stream
        report = getattr(info.get("exception"), "report", None)
        if report is None and self._stream is not None:
            report = self._stream.get_extra_info("pvdrace.report")
        if report is not None and report is not self._told:
            self._told = report
            yield from told(report)
