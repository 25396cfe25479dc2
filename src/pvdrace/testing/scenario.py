"""Races as scenarios in words, on virtual time. Times here are milliseconds, as people say them.

::

    race = scenario(wifi=pvd(dns=20, v6=blackhole, v4=ok(30)), lte=pvd(dns=40, v6=ok(60), cost="variable"))
    assert race.timeline() == '''
        0 ms  wifi ? AAAA A
       20 ms  wifi -> v6
      270 ms  wifi -> v4
      300 ms  wifi won v4       wifi cancelled v6
    '''
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..drivers.virtual import simulate
from ..expectation import EXPECT_NOTHING
from ..model import (
    Cost,
    CostClass,
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranked,
    Ranking,
    Resolver,
    Route,
)
from ..race import timeline
from ..race.events import (
    Connected,
    Event,
    Failed,
    LookupAnswered,
    LookupFailed,
    PvdAdded,
    PvdWithdrawn,
    Ready,
)
from ..race.race import DEFAULT_PACING, Lost, Race, Won
from ..race.report import RaceReport
from ..ranking.order import rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..expectation import Expectations
    from ..policy import Policy
    from ..race.actions import Connect, Lookup
    from ..race.pacing import Pacing

HOST = "www.example.com"


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of an attempt: ``(milliseconds, what)`` steps from its start."""

    steps: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What becomes of a lookup: after ``milliseconds`` an answer (maybe empty) or an error; None: silence."""

    milliseconds: float | None
    error: str | None = None
    empty: bool = False


blackhole = Fate(())
silent = Reply(None)


def ok(milliseconds: float, tls: float | None = None) -> Fate:
    """Connects after so many milliseconds; with ``tls``, is ready so many milliseconds later."""
    if tls is None:
        return Fate(((milliseconds, "ready"),))
    return Fate(((milliseconds, "connected"), (milliseconds + tls, "ready")))


def refused(milliseconds: float) -> Fate:
    """Is refused after so many milliseconds."""
    return Fate(((milliseconds, "refused"),))


def stalls(milliseconds: float) -> Fate:
    """Connects after so many milliseconds and then says nothing (a black hole behind the handshake)."""
    return Fate(((milliseconds, "connected"),))


def impostor(milliseconds: float, tls: float) -> Fate:
    """Connects, and ``tls`` milliseconds later shows a wrong certificate (an intercepting portal)."""
    return Fate(((milliseconds, "connected"), (milliseconds + tls, "wrong certificate")))


def nodata(milliseconds: float) -> Reply:
    """A negative answer after so many milliseconds."""
    return Reply(milliseconds, empty=True)


def servfail(milliseconds: float) -> Reply:
    """A failed lookup after so many milliseconds."""
    return Reply(milliseconds, error="SERVFAIL")


@dataclass(frozen=True)
class PvdScript:
    """A PvD of a scenario: what its resolver and its paths do. Made by `pvd`."""

    replies: Mapping[str, Reply]
    fates: Mapping[int, tuple[Fate, ...]]
    answers: Mapping[int, tuple[str, ...]]
    through: Fate | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


def pvd(
    *,
    dns: float | Reply = 20,
    aaaa: float | Reply | None = None,
    a: float | Reply | None = None,
    v6: Fate | Sequence[Fate] = (),
    v4: Fate | Sequence[Fate] = (),
    answers: Sequence[str] | None = None,
    through: Fate | None = None,
    cost: str = "unknown",
    **attributes: object,
) -> PvdScript:
    """Describe a PvD: ``dns`` for both record types, ``aaaa`` and ``a`` for one; a fate for each address.

    A family without fates gets negative answers. ``answers`` are the addresses that this PvD's DNS gives,
    for split DNS; by default all PvDs hear the same ones (`remotes`). An address that no answer gave, such as
    a literal, has the first fate of its family. ``through`` is the fate of attempts through its ``proxy``;
    by default that of its address. Further keywords are those of `ProvisioningDomain`.
    """
    fates = {6: (v6,) if isinstance(v6, Fate) else tuple(v6), 4: (v4,) if isinstance(v4, Fate) else tuple(v4)}
    replies = {"AAAA": _reply(dns if aaaa is None else aaaa), "A": _reply(dns if a is None else a)}
    given = {family: remotes(family, len(fates[family])) for family in (6, 4)}
    if answers is not None:
        given = {6: tuple(a for a in answers if ":" in a), 4: tuple(a for a in answers if ":" not in a)}
    return PvdScript(replies, fates, given, through, {"cost": Cost(CostClass(cost)), **attributes})


def _reply(spoken: float | Reply) -> Reply:
    return spoken if isinstance(spoken, Reply) else Reply(spoken)


@dataclass
class Scenario:
    """A race that was run to its end in simulated time."""

    race: Race
    ended: float
    """Milliseconds from the start to the end."""

    def timeline(self) -> str:
        """What happened, in words; compare it with `same`."""
        outcome = self.race.outcome
        lost = outcome.reason if isinstance(outcome, Lost) else None
        return timeline.words(self.race.log, self.race.started, lost)

    @property
    def won(self) -> bool:
        """Whether somebody won."""
        return isinstance(self.race.outcome, Won)

    @property
    def report(self) -> RaceReport:
        """The race's report."""
        return RaceReport.of(self.race)


class ScriptedWorld:
    """A `World` that does what the scripts say."""

    def __init__(self, scripts: Mapping[str, PvdScript]) -> None:
        self._answers: dict[tuple[str, str], tuple[float | None, str | None, tuple[str, ...]]] = {}
        self._fates: dict[tuple[str, str | int], list[tuple[float, str]]] = {}
        for name, script in scripts.items():
            for family, kind in ((6, "AAAA"), (4, "A")):
                reply = script.replies[kind]
                seconds = None if reply.milliseconds is None else reply.milliseconds / 1000
                addresses = () if reply.empty else script.answers[family]
                self._answers[name, kind] = (seconds, reply.error, addresses)
                fates = [_steps(fate) for fate in script.fates[family]]
                self._fates[name, family] = fates[0] if fates else []
                if script.through is not None:
                    self._fates[name, "proxy"] = _steps(script.through)
                for address, steps in zip(script.answers[family], fates, strict=False):
                    self._fates[name, address] = steps

    def lookup(self, action: Lookup) -> Iterable[tuple[float, Event]]:
        """The reply of the PvD's script."""
        seconds, error, addresses = self._answers[action.pvd.name, action.type]
        if seconds is None:
            return ()
        if error is not None:
            return ((seconds, LookupFailed(action.id, error)),)
        return ((seconds, LookupAnswered(action.id, addresses)),)

    def connect(self, action: Connect) -> Iterable[tuple[float, Event]]:
        """The fate that the PvD's script has for this address, else the first of its family."""
        pvd, _, remote, _, family = action.candidate
        steps = self._fates.get((pvd.name, "proxy")) if action.through else None
        if steps is None:
            steps = self._fates.get((pvd.name, remote))
        if steps is None:
            steps = self._fates[pvd.name, family]
        if not steps:
            return ()
        return [(seconds, _event(action.id, what)) for seconds, what in steps]


def _steps(fate: Fate) -> list[tuple[float, str]]:
    return [(milliseconds / 1000, what) for milliseconds, what in fate.steps]


def _event(attempt: int, what: str) -> Event:
    if what == "ready":
        return Ready(attempt)
    return Connected(attempt) if what == "connected" else Failed(attempt, what)


def remotes(family: int, count: int) -> tuple[str, ...]:
    """The server's addresses in a scenario, the same in every PvD."""
    pattern = "2001:db8:99::{}" if family == 6 else "198.51.100.{}"
    return tuple(pattern.format(n) for n in range(1, count + 1))


def build_pvds(scripts: Mapping[str, PvdScript]) -> PvdSet:
    """The PvDs of a scenario: one interface each, both families, one resolver, metrics in the order given."""
    return PvdSet(tuple(build_pvd(name, n, script) for n, (name, script) in enumerate(scripts.items(), 1)))


def build_pvd(name: str, number: int, script: PvdScript) -> ProvisioningDomain:
    """One PvD of a scenario."""
    given: dict[str, object] = {
        "interface": f"{name}0",
        "ifindex": number,
        "addresses": (
            LocalAddress(f"2001:db8:{number}::2", 64),
            LocalAddress(f"10.0.{number}.2", 24),
        ),
        "routes": (
            Route("::/0", f"2001:db8:{number}::1", number * 100),
            Route("0.0.0.0/0", f"10.0.{number}.1", number * 100),
        ),
        "resolvers": (Resolver(f"10.0.{number}.1"),),
    }
    return ProvisioningDomain(name, **{**given, **script.attributes})  # type: ignore[arg-type]


def scenario(
    host: str = HOST,
    *,
    port: int = 443,
    policy: Policy | None = None,
    pacing: Pacing = DEFAULT_PACING,
    hold: bool = False,
    timeout: float | None = None,
    withdraw: Mapping[str, float] | None = None,
    add: Mapping[str, tuple[float, PvdScript]] | None = None,
    rtt: Mapping[str, Mapping[str, float]] | None = None,
    expected: Expectations = EXPECT_NOTHING,
    **scripts: PvdScript,
) -> Scenario:
    """Race over the PvDs given by name, on virtual time, and return the scenario that was.

    ``withdraw``: PvDs that go away, and when; ``add``: PvDs that come up last in rank, and when (both ms).
    ``timeout`` is in seconds, as everywhere else. ``expected``: what experience says, by PvD
    (`pvdrace.expectation`).
    """
    pvds = build_pvds(scripts)
    endpoint = Endpoint(host, port)
    layers = [("call", policy)] if policy else []
    ranking: Ranking = rank(pvds, endpoint, layers, pacing=pacing, expected=expected)
    race = Race(endpoint, ranking, pacing, hold=hold, timeout=timeout, rtt=rtt or {})
    changes: list[tuple[float, Event]] = []
    for name, at in (withdraw or {}).items():
        changes.append((at / 1000, PvdWithdrawn(name, "link removed")))
    everything = dict(scripts)
    for number, (name, (at, script)) in enumerate((add or {}).items(), len(scripts) + 1):
        everything[name] = script
        joined = Ranked(build_pvd(name, number, script), pacing.path_delay * (number - 1))
        changes.append((at / 1000, PvdAdded(joined, number - 1)))
    end = simulate(race, ScriptedWorld(everything), changes=changes)
    return Scenario(race, end * 1000)


def same(timeline_text: str, expected: str) -> bool:
    """Whether two timelines say the same, whatever their spacing."""
    return _normal(timeline_text) == _normal(expected)


def _normal(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines() if line.strip()]
