"""What the probes of one family say together: Android's order of conclusions, and ports on top. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..model import Reachability, Reached
from .judgement import Finding, Judgement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Failures that say nothing of the network: the probe's host has no such address, or this host is to blame.
BESIDE_THE_POINT = ("no address", "here")


class Findings(NamedTuple):
    """What the probes of one family of a PvD found. None: there was no such probe.

    ``ports`` are the ports that were tried by TCP, each with whether it passes.
    """

    family: int
    api: Judgement | None = None
    http: Judgement | None = None
    https: Judgement | None = None
    ports: Mapping[int, bool] = {}
    http_port: int = 80
    https_port: int = 443


def verdict(found: Findings, at: float) -> Reached:
    """The verdict on one family, seen ``at`` (seconds).

    In this order: the API says captive, or HTTP met a portal: PORTAL. HTTPS was answered (HTTP, where HTTPS
    was not asked): VALIDATED, or PARTIAL if ports that were tried do not pass. Only HTTP was answered:
    PARTIAL. Nothing was answered: NONE. Nothing was asked that could tell: UNKNOWN.
    """
    state, ports, blocked = _state(found)
    api = found.api if found.api is not None and found.api.finding is Finding.PORTAL else None
    portal = next((j.portal for j in (api, found.http) if j is not None and j.portal), None)
    reached = Reached(found.family, state, _evidence(found), at)
    if state is Reachability.PORTAL:
        return reached._replace(portal=portal)
    return reached._replace(ports=ports, blocked=blocked)


def settled(found: Findings) -> bool:
    """Whether nothing that is still to come can change the verdict: a portal has shown itself."""
    return _state(found)[0] is Reachability.PORTAL


def limited(reached: Reached, passed: Iterable[int], blocked: Iterable[int]) -> Reached:
    """The verdict with what is known of ports besides: from races, or from history.

    No operating system models a network that lets some ports pass: VALIDATED with a port that is blocked is
    PARTIAL, and of those that pass, the known ones. What both passes and is blocked passes: a race that was
    lost where a probe came through was a slow one. What a probe has tried in vain is left to the next probe,
    which sees more than whether a handshake was answered.
    """
    passing = {*reached.ports, *passed}.difference(reached.blocked)
    stopped = sorted(set(blocked).difference(passing, reached.blocked))
    if not stopped or reached.state not in (Reachability.VALIDATED, Reachability.PARTIAL):
        return reached
    said = f"{reached.evidence}, {_ports(stopped)} blocked in races"
    return reached._replace(
        state=Reachability.PARTIAL, evidence=said, ports=tuple(sorted(passing)), lost=tuple(stopped)
    )


def _state(found: Findings) -> tuple[Reachability, tuple[int, ...], tuple[int, ...]]:
    """The state, the ports that pass, and those that were tried in vain."""
    http, https = (_to_the_point(judgement) for judgement in (found.http, found.https))
    if found.api is not None and found.api.finding is Finding.PORTAL:
        return Reachability.PORTAL, (), ()
    if http is not None and http.finding is Finding.PORTAL:
        return Reachability.PORTAL, (), ()
    passing = {port for port, passes in found.ports.items() if passes}
    if http is not None and http.finding is Finding.OK:
        passing.add(found.http_port)
    failing = {port for port, passes in found.ports.items() if not passes}
    state = Reachability.PARTIAL if failing else Reachability.VALIDATED
    if https is not None and https.finding is Finding.OK:
        passing.add(found.https_port)
    elif https is not None and http is not None and http.finding is Finding.OK:
        if https.kind == "clock":  # which spoils every certificate: it is not known which ports pass
            return Reachability.PARTIAL, (), ()
        state = Reachability.PARTIAL
        failing.add(found.https_port)
    elif https is not None or http is None or http.finding is not Finding.OK:
        return _nothing_answered(http, https), (), ()
    return state, tuple(sorted(passing)), tuple(sorted(failing - passing))


def _nothing_answered(http: Judgement | None, https: Judgement | None) -> Reachability:
    told = [judgement for judgement in (http, https) if judgement is not None]
    # A certificate out of its time is a server that was reached, or one in between: it cannot be told.
    return Reachability.NONE if any(j.kind != "clock" for j in told) else Reachability.UNKNOWN


def _to_the_point(judgement: Judgement | None) -> Judgement | None:
    return None if judgement is None or judgement.kind in BESIDE_THE_POINT else judgement


def _evidence(found: Findings) -> str:
    words = [judgement.text for judgement in (found.api, found.http, found.https) if judgement is not None]
    if stopped := sorted(port for port, passes in found.ports.items() if not passes):
        words.append(f"{_ports(stopped)} blocked")
    return ", ".join(words) or "nothing asked"


def _ports(ports: list[int]) -> str:
    return f"port{'s' if len(ports) > 1 else ''} {', '.join(map(str, ports))}"
