"""Races as lines of `logging`: one INFO a race, one DEBUG an event. ``Connector(hooks=[LoggingSink()])``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..race.timeline import moments
from ..redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..race.report import RaceReport


class LoggingSink:
    """Logs each race when it is over.

    INFO: one line, who won and what became of the others (`RaceReport.summary`). DEBUG: before it one line
    for each PvD, where it stood in the ranking and why, and one for each event, with its milliseconds from
    the race's start. Names of hosts are in them; user information and query strings of URLs are not.

    ``logger`` is a logger, or the name of one; nothing is made of a race if its level asks for nothing.
    """

    def __init__(self, logger: logging.Logger | str = "pvdrace") -> None:
        self.logger = logging.getLogger(logger) if isinstance(logger, str) else logger

    def __call__(self, report: RaceReport) -> None:
        """Log one race."""
        log = self.logger
        if log.isEnabledFor(logging.DEBUG):
            for line in (*_ranking(report), *_events(report)):
                log.debug("%s: %s", report.endpoint, redact(line))
        if log.isEnabledFor(logging.INFO):
            log.info("%s", redact(f"{report.summary()}{_outcome(report)}"))


def _ranking(report: RaceReport) -> Iterator[str]:
    for place, ranked in enumerate(report.ranking.ranked, 1):
        start = "if all else fails" if ranked.head_start is None else f"+{ranked.head_start * 1000:.0f} ms"
        start = start if ranked.head_start != 0 else "at once"
        because = ", ".join(map(str, ranked.because)) or "nothing else"
        yield f"{place}. {ranked.pvd.name} {start}: {because}"
    for ranked in report.ranking.excluded:
        yield f"{ranked.pvd.name} left out: {ranked.excluded}"


def _events(report: RaceReport) -> Iterator[str]:
    for seconds, text in moments(report.log, report.started):
        yield f"{seconds * 1000:.1f} ms {text}"


def _outcome(report: RaceReport) -> str:
    """What a summary leaves out of a race that nobody won."""
    if report.outcome == "won":
        return ""
    took = f"after {report.elapsed * 1000:.0f} ms"
    return f"; lost {took}: {report.failure}" if report.outcome == "lost" else f"; cancelled {took}"
