"""Reports that hold what no sink may pass on."""

from __future__ import annotations

from dataclasses import replace

from pvdrace.model import Reachability
from pvdrace.race.actions import Connect, Lookup
from pvdrace.race.events import Failed, LookupFailed, PvdWithdrawn
from pvdrace.race.report import RaceReport
from pvdrace.testing.scenario import ok, pvd, refused, scenario

SECRETS = ("hunter2", "tok3n", "guest-1")


def with_secrets() -> RaceReport:
    """Where secrets may stand: the URL of a proxy, the words of somebody's error, the page of a portal."""
    report = scenario(
        eth=pvd(v6=refused(10), v4=ok(10)),
        lte=pvd(
            reachability=Reachability.PORTAL,
            unusable="behind a captive portal (http://192.0.2.1/in?t=guest-1)",
        ),
    ).report
    log = []
    for at, entry in report.log:
        if isinstance(entry, Connect):
            entry = replace(entry, through="http://user:hunter2@192.0.2.9:3128")
        if isinstance(entry, Failed):
            entry = replace(entry, error="ValueError: no answer from https://api.example/x?key=tok3n")
        log.append((at, entry))
    log.append((report.started + 0.1, PvdWithdrawn("wifi", "moved (http://192.0.2.1/in?t=guest-1)")))
    question = next(entry for _, entry in log if isinstance(entry, Lookup))
    log.insert(0, (report.started, replace(question, id=999)))
    log.insert(
        1, (report.started, LookupFailed(999, "DnsFailure: https://user:hunter2@dns.example/?q=tok3n"))
    )
    return replace(report, log=log)
