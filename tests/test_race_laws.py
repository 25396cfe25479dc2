"""The nine laws of the racing core, and a few more, whatever the world does to it.

A Hypothesis state machine plays the world and the driver: answers, failures and silence in any order; late,
doubled and unknown events; PvDs that go, come and are attached anew; ticks that come early and late. It keeps
its own books from what the core returns, and reads nothing else of it but its three public attributes.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pvdrace import membership
from pvdrace.model import (
    Cost,
    CostClass,
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranked,
    Ranking,
    Route,
    is_loopback,
    parse_literal,
)
from pvdrace.policy import Policy
from pvdrace.proxies import parse_proxy
from pvdrace.race.actions import HELD_BACK, Cancel, Connect, Lookup, Skip
from pvdrace.race.events import (
    Connected,
    Event,
    Failed,
    LookupAnswered,
    LookupFailed,
    PvdAdded,
    PvdWithdrawn,
    Ready,
)
from pvdrace.race.nat64 import synthesise
from pvdrace.race.ordering import unusable
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Lost, Race, Won
from pvdrace.race.report import RaceReport
from pvdrace.ranking import rank

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("eth", "wifi", "lte", "vpn")
HOSTS = (*["www.example.com"] * 6, "198.51.100.1", "2001:db8:99::1", "localhost")
ADDRESSES = {
    "AAAA": ("2001:db8:99::1", "2001:db8:99::2", "2001:db8:99::3"),
    "A": ("198.51.100.1", "198.51.100.2", "198.51.100.3"),
}
ODD_ADDRESSES = ("fe80::1", "ff02::1", "rubbish", "0.0.0.0", "127.0.0.1", "2001:db8:99::1", "198.51.100.1")
V6 = (LocalAddress("2001:db8:1::2", 64), LocalAddress("fe80::2", 64))
V4 = (LocalAddress("10.0.1.2", 24),)
DEFAULTS = (Route("::/0", "fe80::1"), Route("0.0.0.0/0", "10.0.1.1"))
KINDS: tuple[dict[str, Any], ...] = (
    *[{"addresses": V6 + V4, "routes": DEFAULTS}] * 4,
    {"addresses": V4, "routes": DEFAULTS[1:]},
    {"addresses": V6, "routes": DEFAULTS[:1]},
    {"addresses": V6, "routes": DEFAULTS[:1], "pref64": ("2001:db8:64::/96",)},
    {},
    {"addresses": V4, "routes": (Route("10.0.1.0/24"),)},
    {"unusable": "no carrier"},
    {"addresses": V6 + V4, "routes": DEFAULTS, "proxy": "http://10.0.1.9:3128"},
    {
        "addresses": V6 + V4,
        "routes": DEFAULTS,
        "proxy": "socks5://[2001:db8:1::9]:1080",
        "proxy_or_direct": True,
    },
    {"addresses": V4, "routes": DEFAULTS[1:], "proxy": "http://[2001:db8:1::9]:80", "proxy_or_direct": True},
)

pvds = st.builds(
    lambda name, kind, cost, metric: ProvisioningDomain(
        name,
        **{**kind, "routes": tuple(replace(r, metric=metric) for r in kind.get("routes", ()))},
        cost=cost,
    ),
    st.sampled_from(NAMES),
    st.sampled_from(KINDS),
    st.sampled_from([Cost(), Cost(CostClass.UNMETERED), Cost(CostClass.VARIABLE)]),
    st.sampled_from([0, 100]),
)
snapshots = st.lists(pvds, max_size=4, unique_by=lambda pvd: pvd.name).map(lambda found: PvdSet(tuple(found)))
selectors = st.lists(
    st.sampled_from([*(f"pvd:{name}" for name in NAMES), "family:ipv6", "family:ipv4"]), max_size=1
)
policies = st.builds(
    lambda prohibit, prefer, avoid: Policy(prohibit=prohibit, prefer=prefer, avoid=avoid),
    selectors,
    selectors,
    selectors,
)
attempt_delays = st.sampled_from([(0.01, 0.01), (0.01, 0.25), (0.1, 0.1), (0.1, 0.25)])
pacings = st.builds(
    lambda delays, **others: Pacing(
        minimum_connection_attempt_delay=delays[0], connection_attempt_delay=delays[1], **others
    ),
    delays=attempt_delays,
    resolution_delay=st.sampled_from([0.0, 0.05]),
    preferred_address_family_count=st.integers(1, 2),
    path_delay=st.sampled_from([0.25, 0.4]),
    resolution_lead=st.sampled_from([0.0, 0.05, 1.0]),
    attempts_in_flight=st.integers(1, 4),
    attempt_timeout=st.sampled_from([0.02, 0.3, 10.0]),
)
spans = st.sampled_from([0.0, 0.0, 0.001, 0.005, 0.0123, 0.02, 0.05, 0.25])
rtts = st.dictionaries(
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(ADDRESSES["AAAA"][:3]), st.sampled_from([0.001, 0.06, 3.0])),
    max_size=2,
)


class RaceMachine(RuleBasedStateMachine):
    race: Race

    @initialize(
        host=st.sampled_from(HOSTS),
        snapshot=snapshots,
        policy=policies,
        pacing=pacings,
        hold=st.booleans(),
        punctual=st.sampled_from([True, True, False]),
        warm=st.booleans(),
        timeout=st.sampled_from([None, None, None, 0.0, 0.26, 2.0]),
        rtt=rtts,
        now=st.sampled_from([0.0, 1234.5678]),
    )
    def begin(
        self,
        host: str,
        snapshot: PvdSet,
        policy: Policy,
        pacing: Pacing,
        hold: bool,
        punctual: bool,
        warm: bool,
        timeout: float | None,
        rtt: dict[str, dict[str, float]],
        now: float,
    ) -> None:
        self.endpoint = Endpoint(host, 443)
        self.snapshot = snapshot
        self.policy = policy
        self.pacing = pacing
        self.now = now
        self.punctual = punctual
        """Whether the driver ticks after each result if something is due; else only now and then."""
        self.race = Race(self.endpoint, self.ranked(snapshot), pacing, hold=hold, timeout=timeout, rtt=rtt)
        self.order = list(self.race.ranking.ranked)
        self.open: dict[int, Lookup | Connect] = {}
        self.over: dict[int, Lookup | Connect] = {}
        self.leader: int | None = None
        self.connected: set[int] = set()
        self.answers: dict[str, set[str]] = {}
        self.last_start: dict[str, float] = {}
        self.dialled: set[tuple[str, str, str | None]] = set()
        self.proxied: set[str] = set()
        """PvDs of which an attempt through the proxy is over, and had not been held back."""
        self.hurried: set[str] = set()
        """PvDs in which an attempt failed since the last start."""
        self.grown = False
        self.outcome: Won | Lost | None = None
        self.started = now
        self.take(self.race.start(now), starts=True)
        if warm:
            self.warm_up()

    def warm_up(self) -> None:
        """The common beginning: everybody answers, and time passes without a result."""
        for _ in range(4):
            while self.lookups():
                lookup = self.lookups()[0]
                self.answers.setdefault(lookup.pvd.name, set()).update(
                    self.means(lookup, ADDRESSES[lookup.type])
                )
                self.result(LookupAnswered(lookup.id, ADDRESSES[lookup.type]), 0.0)
            if self.race.deadline < inf:
                self.the_driver_ticks(0.0)

    @staticmethod
    def means(lookup: Lookup, found: Sequence[str]) -> set[str]:
        """What may be dialled after an answer: its addresses, and what NAT64 makes of them."""
        return {*found, *synthesise(lookup.pvd, [address for address in found if address != "rubbish"])}

    def ranked(self, snapshot: PvdSet) -> Ranking:
        return rank(snapshot, self.endpoint, [("call", self.policy)], pacing=self.pacing)

    # ------------------------------------------------------------------ what the world does

    @rule(data=st.data(), span=spans)
    @precondition(lambda self: self.lookups())
    def a_lookup_is_answered(self, data: st.DataObject, span: float) -> None:
        lookup = data.draw(st.sampled_from(self.lookups()))
        usual = st.integers(0, 3).map(lambda count: list(ADDRESSES[lookup.type][:count]))
        found = data.draw(usual | usual | usual | st.lists(st.sampled_from(ODD_ADDRESSES)))
        self.answers.setdefault(lookup.pvd.name, set()).update(self.means(lookup, found))
        self.result(LookupAnswered(lookup.id, tuple(found)), span)

    @rule(data=st.data(), span=spans)
    @precondition(lambda self: self.lookups())
    def a_lookup_fails(self, data: st.DataObject, span: float) -> None:
        self.result(LookupFailed(data.draw(st.sampled_from(self.lookups())).id, "SERVFAIL"), span)

    @rule(data=st.data(), span=spans)
    @precondition(lambda self: set(self.attempts()) - self.connected)
    def an_attempt_connects(self, data: st.DataObject, span: float) -> None:
        attempt = data.draw(st.sampled_from(sorted(set(self.attempts()) - self.connected)))
        self.connected.add(attempt)
        if self.race.hold:
            self.leader = attempt
        self.now += span
        self.take(self.race.handle(Connected(attempt), self.now))
        if self.race.hold:
            assert self.attempts() == [attempt], "rivals of the leader go on"
        if self.punctual:
            self.tick()

    @rule(data=st.data(), span=spans)
    @precondition(lambda self: self.attempts())
    def an_attempt_fails(self, data: st.DataObject, span: float) -> None:
        self.result(Failed(data.draw(st.sampled_from(self.attempts())), "refused"), span)

    @rule(data=st.data(), span=spans)
    @precondition(lambda self: self.attempts())
    def an_attempt_is_ready(self, data: st.DataObject, span: float) -> None:
        attempt = data.draw(st.sampled_from(self.attempts()))
        action = self.open[attempt]
        self.result(Ready(attempt), span)
        assert self.race.outcome == Won(action)  # type: ignore[arg-type]

    @rule(data=st.data(), span=spans)
    def late_and_unknown_events_change_nothing(self, data: st.DataObject, span: float) -> None:
        """Law 9."""
        void = [*self.over, 0, 10_000] if self.race.outcome is None else [*self.over, *self.open, 10_000]
        subject = data.draw(st.sampled_from(void))
        kinds: list[Event] = [
            LookupAnswered(subject, ADDRESSES["AAAA"][:2]),
            LookupFailed(subject, "late"),
            Connected(subject),
            Failed(subject, "late"),
            Ready(subject),
            PvdWithdrawn("never seen", "gone"),
        ]
        kinds += [PvdAdded(ranked, 0) for ranked in self.order[:1]]
        # An answer of the wrong kind for something that is open is no answer either.
        kinds += [Ready(lookup.id) for lookup in self.lookups()[:1]]
        kinds += [LookupAnswered(attempt, ADDRESSES["A"]) for attempt in self.attempts()[:1]]
        self.now += span
        before = self.visible()
        assert not self.race.handle(data.draw(st.sampled_from(kinds)), self.now)
        assert self.visible() == before

    @rule(data=st.data(), span=spans)
    @precondition(lambda self: self.connected & set(self.attempts()))
    def an_attempt_connects_a_second_time(self, data: st.DataObject, span: float) -> None:
        """Law 9."""
        self.now += span
        before = self.visible()
        attempt = data.draw(st.sampled_from(sorted(self.connected & set(self.attempts()))))
        assert not self.race.handle(Connected(attempt), self.now)
        assert self.visible() == before

    @rule(snapshot=snapshots, again=st.booleans(), span=spans)
    @precondition(lambda self: not is_loopback(self.endpoint.host))
    def pvds_come_and_go(self, snapshot: PvdSet, again: bool, span: float) -> None:
        if again:
            snapshot = PvdSet(tuple(replace(p, attachment=p.attachment + 1) for p in snapshot))
        self.now += span
        over = self.race.outcome is not None
        running = [ranked.pvd for ranked in self.order]
        assert over or self.race.running == tuple(running)
        for event in membership.changes(running, snapshot, self.ranked(snapshot)):
            self.enact(event)
        if self.punctual:
            self.tick()

    def enact(self, event: Event) -> None:
        over = self.race.outcome is not None
        actions = self.race.handle(event, self.now)
        self.take(actions)
        if isinstance(event, PvdWithdrawn):
            self.gone(event.pvd)
        elif isinstance(event, PvdAdded) and not over:
            assert self.race.outcome is None, "lost, though a PvD has come"
            self.gone(event.ranked.pvd.name)  # its attachment until now
            self.order.insert(event.position, event.ranked)
            self.grown = True

    def gone(self, pvd: str) -> None:
        names = {self.pvd_of(action).name for action in self.open.values()}
        assert pvd not in names, "a withdrawn PvD still has something under way"
        self.order = [r for r in self.order if r.pvd.name != pvd]
        self.answers.pop(pvd, None)
        self.last_start.pop(pvd, None)
        self.dialled = {dialled for dialled in self.dialled if dialled[0] != pvd}
        self.proxied.discard(pvd)

    # ------------------------------------------------------------------ what the driver does

    @rule(late=spans)
    @precondition(lambda self: self.race.deadline < inf)
    def the_driver_ticks(self, late: float) -> None:
        self.now = max(self.now, self.race.deadline) + late
        self.tick()

    @rule()
    @precondition(lambda self: self.race.deadline < inf)
    def the_driver_ticks_on_time(self) -> None:
        self.the_driver_ticks(0.0)

    def tick(self) -> None:
        for _ in range(20):
            if self.race.deadline > self.now:
                return
            self.take(self.race.tick(self.now), starts=True)
        raise AssertionError(f"the race asks for ticks without an end: {self.race!r}")

    @rule(early=st.floats(0, 1, exclude_max=True))
    @precondition(lambda self: self.race.deadline > self.now)
    def an_early_tick_changes_nothing(self, early: float) -> None:
        """Law 6."""
        until = min(self.race.deadline, self.now + 100)
        now = self.now + (until - self.now) * early
        if now < self.race.deadline:
            self.now = now
            before = self.visible()
            assert not self.race.tick(now)
            assert self.visible() == before

    # ------------------------------------------------------------------ the books

    def result(self, event: LookupAnswered | LookupFailed | Failed | Ready, span: float) -> None:
        self.now += span
        self.over_and_done(self.open.pop(event.id))
        self.take(self.race.handle(event, self.now))
        if self.punctual:
            self.tick()

    def take(self, actions: Any, starts: bool = False) -> None:
        for action in actions:
            if isinstance(action, Cancel):
                target = action.target
                assert self.open.pop(target.id, None) is target, "law 2: cancelled what is not open"
                self.over_and_done(target)
                if action.reason == HELD_BACK:
                    assert isinstance(target, Connect)
                    self.dialled.remove((target.candidate.pvd.name, target.candidate.remote, target.through))
                    if target.through is not None:
                        self.proxied.discard(target.candidate.pvd.name)
            elif isinstance(action, Lookup | Connect):
                assert starts, "only start and tick begin something"
                assert action.id not in self.open, "law 2: an id used twice"
                assert action.id not in self.over, "law 2: an id used twice"
                self.first_in(self.pvd_of(action))
                self.open[action.id] = action
                if isinstance(action, Connect):
                    self.connect(action)
                else:
                    self.no_way_past_the_proxy(action)
            self.allowed(action)
        if self.outcome is not None:
            assert not actions, "an action after the end"
        if self.race.outcome is not None:
            assert not self.open, "law 2: open at the end"

    def connect(self, action: Connect) -> None:
        pvd, local, remote, port, family = action.candidate
        assert self.leader is None, "an attempt beside the leader"
        assert len(self.attempts()) <= self.pacing.attempts_in_flight
        assert self.now >= self.last_start.get(pvd.name, -inf) + 0.010, "law 3: within 10 ms"
        self.in_time(pvd.name)
        self.last_start[pvd.name] = self.now
        literal = parse_literal(self.endpoint.host)
        if action.through is not None:
            assert not is_loopback(self.endpoint.host), "the host itself is no matter for a proxy"
            proxy = parse_proxy(action.through)
            assert action.through == pvd.proxy
            assert (remote, port) == (proxy.address, proxy.port)
        elif literal is not None:
            assert remote in synthesise(pvd, [literal.address])
        elif is_loopback(self.endpoint.host):
            assert remote in ("::1", "127.0.0.1")
        else:
            assert remote in self.answers[pvd.name], "law 4: dialled in a PvD that did not answer it"
        assert action.through is not None or port == 443
        assert family == (6 if ":" in remote else 4)
        assert local is None or local in {a.address for a in pvd.addresses}
        self.no_way_past_the_proxy(action)
        assert (pvd.name, remote, action.through) not in self.dialled, "a candidate is tried twice"
        self.dialled.add((pvd.name, remote, action.through))

    def no_way_past_the_proxy(self, action: Lookup | Connect) -> None:
        """A PvD with a proxy is used through it; otherwise when that has failed, if it may be at all."""
        pvd = self.pvd_of(action)
        by_proxy = isinstance(action, Connect) and action.through is not None
        if pvd.proxy is None or by_proxy or is_loopback(self.endpoint.host):
            return
        assert pvd.proxy_or_direct, "past the proxy"
        address = parse_proxy(pvd.proxy).address
        cannot = unusable(pvd, address) or (6 if ":" in address else 4) not in self.policy.families
        assert cannot or pvd.name in self.proxied, "a race, no failover"

    def in_time(self, name: str) -> None:
        """RFC 8305 s5: the delay between two attempts; RFC 9623 s4.1: the head start of a PvD.

        Either is cut short by failures alone.
        """
        if name in self.last_start and name not in self.hurried:
            shortest = self.pacing.minimum_connection_attempt_delay
            assert self.now >= self.last_start[name] + shortest, "an attempt before its time"
        self.hurried.discard(name)
        names = [r.pvd.name for r in self.order]
        head_start = self.order[names.index(name)].head_start
        if not self.grown and self.now < self.started + (inf if head_start is None else head_start):
            before = set(names[: names.index(name)])
            assert not before & {self.pvd_of(a).name for a in self.open.values()}, f"{name} did not wait"

    def over_and_done(self, action: Lookup | Connect) -> None:
        self.over[action.id] = action
        if isinstance(action, Connect):
            self.hurried.add(action.candidate.pvd.name)
            if action.through is not None:
                self.proxied.add(action.candidate.pvd.name)
        if action.id == self.leader:
            self.leader = None
            self.hurried.update(NAMES)

    def first_in(self, pvd: ProvisioningDomain) -> None:
        """RFC 9623 s4.1: a PvD without a head start has nothing under way beside those before it."""
        names = [r.pvd.name for r in self.order]
        position = names.index(pvd.name)
        ranked: Ranked = self.order[position]
        begun = any(self.pvd_of(a).name == pvd.name for a in (*self.open.values(), *self.over.values()))
        if (
            self.grown
            or begun
            or self.now >= self.started + (inf if ranked.head_start is None else ranked.head_start - 1)
        ):
            return
        under_way = {self.pvd_of(a).name for a in self.open.values()}
        assert not under_way & set(names[:position]), f"{pvd} did not wait"

    def allowed(self, action: Lookup | Connect | Cancel | Skip) -> None:
        name = action.pvd if isinstance(action, Skip) else self.pvd_of(action).name
        prohibited = {s.pattern for s in self.policy.prohibit if s.kind == "pvd"}
        assert name not in prohibited, "law 5: a prohibited PvD"

    @staticmethod
    def pvd_of(action: Lookup | Connect | Cancel) -> ProvisioningDomain:
        subject = action.target if isinstance(action, Cancel) else action
        return subject.pvd if isinstance(subject, Lookup) else subject.candidate.pvd

    def lookups(self) -> list[Lookup]:
        return [action for action in self.open.values() if isinstance(action, Lookup)]

    def attempts(self) -> list[int]:
        return [action.id for action in self.open.values() if isinstance(action, Connect)]

    def visible(self) -> tuple[object, ...]:
        return (list(self.race.log), self.race.deadline, self.race.outcome, repr(self.race))

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def the_outcome_stands_for_ever(self) -> None:
        """Law 1: at most one win."""
        if self.outcome is not None:
            assert self.race.outcome is self.outcome
            assert self.race.deadline == inf
        self.outcome = self.race.outcome

    @invariant()
    def an_unfinished_race_waits_for_something(self) -> None:
        """Law 7."""
        if self.race.outcome is None:
            assert self.race.deadline < inf or self.open
            assert self.race.deadline < inf or self.lookups()  # an attempt has its timeout

    def teardown(self) -> None:
        """Law 8; and in a world that says nothing more, every race ends."""
        if not hasattr(self, "race"):
            return
        self.same_again()
        for _ in range(1000):
            if self.race.outcome is not None:
                break
            if self.lookups():
                self.result(LookupFailed(self.lookups()[0].id, "silence"), 0.0)
            if self.race.deadline < inf:
                self.the_driver_ticks(0.0)
        self.the_outcome_stands_for_ever()
        assert self.race.outcome is not None, f"{self.race!r} never ends"
        self.same_again()

    def same_again(self) -> None:
        report = RaceReport.of(self.race)
        for known in (report, RaceReport.from_json(report.to_json())):
            again = known.replay()
            assert again.log == report.log, "law 8"
            assert again.result == report.result
            assert again.ended == report.ended


RaceMachine.TestCase.settings = settings(
    max_examples=400, stateful_step_count=30, deadline=None, database=None
)


class TestRaceLaws(RaceMachine.TestCase):  # type: ignore[misc,valid-type]
    """The laws, as pytest sees them."""
