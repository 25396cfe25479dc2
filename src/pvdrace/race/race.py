"""The race: lookups inside each PvD, staggered attempts across them, one winner.

Two staggers with timers of their own, as RFC 9623 s4 orders them. Across PvDs: the head start that
`rank` gave each *branch*. Inside a branch: RFC 8305, whole, over the answers of that PvD alone.

How to drive it: perform what `start` returns; hand every result to `handle`; once `deadline` has come and
*all results that are due have been handled*, call `tick`. `handle` records and cancels, only `tick` starts:
so a success and a timer of the same instant never start a needless attempt.

A tick that returns nothing has changed nothing that a later one would not do: so the log, which has no
ticks, is enough to run a race again.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .actions import ATTACHED_ANEW, HELD_BACK, TIMEOUT, Action, Cancel, Connect
from .branch import Attempt, Branch, asker, place, running
from .events import Connected, Event, Failed, LookupAnswered, LookupFailed, PvdAdded, PvdWithdrawn, Ready
from .outcome import Lost as Lost
from .outcome import Won as Won
from .outcome import why_lost
from .pacing import Pacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import Endpoint, ProvisioningDomain, Ranked, Ranking

NO_RTT: Mapping[str, Mapping[str, float]] = {}
DEFAULT_PACING = Pacing()


class Race:
    """A connection race over ranked PvDs. See the module for how to drive it.

    ``deadline`` is absolute, on the caller's clock: a tick before it changes nothing, a late one only costs
    time; inf: only an event can help. ``outcome`` is None until the race is over (at
    ``ended``, on the caller's clock), and then for ever the same.
    ``hold``: the first transport handshake decides, and its rivals are held back until it is ready or fails
    (``ready="tcp"`` with TLS to follow); otherwise rivals go on until one is ready.
    ``rtt`` are the round-trip times learnt, by PvD name and address: each PvD sees its own alone.
    ``timeout`` is for the whole race, in seconds. Raises ValueError for one that is negative or not a number.
    """

    __slots__ = (
        "_attempts",
        "_branches",
        "_holder",
        "_ids",
        "_until",
        "deadline",
        "ended",
        "endpoint",
        "hold",
        "log",
        "outcome",
        "pacing",
        "ranking",
        "rtt",
        "started",
        "timeout",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        ranking: Ranking,
        pacing: Pacing = DEFAULT_PACING,
        *,
        hold: bool = False,
        timeout: float | None = None,
        rtt: Mapping[str, Mapping[str, float]] = NO_RTT,
    ) -> None:
        if timeout is not None:
            if not timeout >= 0:
                raise ValueError(f"timeout must be a number of at least 0, not {timeout!r}")
            timeout = None if timeout == inf else timeout
        self.endpoint = endpoint
        self.ranking = ranking
        self.pacing = pacing
        self.hold = hold
        self.timeout = timeout
        self.rtt = rtt
        self.deadline = inf
        self.outcome: Won | Lost | None = None
        self.started = 0.0
        self.ended: float | None = None
        self.log: list[tuple[float, Event | Action]] = []
        self._until = inf
        self._ids = 0
        self._holder: Attempt | None = None
        self._branches: list[Branch] = []
        self._attempts: dict[int, Attempt] = {}

    # ------------------------------------------------------------------ the three calls of a driver

    def start(self, now: float) -> Sequence[Action]:
        """Begin. Call once."""
        self.started = now
        if self.timeout is not None:
            self._until = now + self.timeout
            if now >= self._until:
                self.deadline = self._until
                return self.tick(now)  # the time is over before anything has left
        for ranked in self.ranking.ranked:
            # RFC 9623 s4.1: a head start each, without one only after a failure; nobody is before the first.
            head_start = ranked.head_start if self._branches else 0.0
            self._branches.append(self._branch(ranked, inf if head_start is None else now + head_start))
        actions: list[Action] = []
        self._start_what_is_due(now, actions)
        return self._settle(now, actions)

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take in a result. Late and unknown ones are legal and answered with nothing."""
        if self.outcome is not None:
            return ()
        actions: list[Action] = []
        kind = type(event)
        if kind is Ready:
            known = self._ready(event.id, now, actions)  # type: ignore[union-attr]
        elif kind is Failed:
            known = self._attempt_failed(event.id, now)  # type: ignore[union-attr]
        elif kind is Connected:
            known = self._connected(event.id, now, actions)  # type: ignore[union-attr]
        elif kind is LookupAnswered:
            known = self._answered(event, now, actions)  # type: ignore[arg-type]
        elif kind is LookupFailed:
            known = asker(self._branches, event.id) is not None  # type: ignore[union-attr]
        elif kind is PvdWithdrawn:
            known = self._withdrawn(event, now, actions)  # type: ignore[arg-type]
        else:
            known = self._added(event, now, actions)  # type: ignore[arg-type]
        if not known:
            return ()
        self.log.append((now, event))
        return self._settle(now, actions)

    def tick(self, now: float) -> Sequence[Action]:
        """Start what is due. A tick before the deadline, or after the end, changes nothing."""
        if now < self.deadline or self.outcome is not None:
            return ()
        actions: list[Action] = []
        if now >= self._until:
            self._end(Lost(f"{TIMEOUT} {_seconds(self.timeout or 0)} s"), now, actions)
        else:
            self._give_up_on_the_silent(now, actions)
            self._start_what_is_due(now, actions)
        return self._settle(now, actions)

    def limit(self, until: float) -> None:
        """The race has to be over by then, on the caller's clock, if it has more time now.

        For a race that is handed over in the middle to somebody with a time limit of his own.
        """
        if until < self._until and self.outcome is None:
            self._until = until
            self.timeout = until - self.started
            self.deadline = min(self.deadline, until)

    # ------------------------------------------------------------------ lookups (RFC 8305 s3)

    def _resolve(self, branch: Branch, actions: list[Action]) -> None:
        actions += branch.resolve(self.endpoint.host, self._ids)
        self._ids += len(branch.looking_up)

    def _answered(self, event: LookupAnswered, now: float, actions: list[Action]) -> bool:
        """RFC 7556 s5.2.1: an answer is dialled only in the PvD that gave it."""
        branch = asker(self._branches, event.id)
        if branch is None:
            return False
        if event.addresses:
            branch.delay_for_preferred(now)
            actions += branch.join(event.addresses)
        return True

    # ------------------------------------------------------------------ attempts (RFC 8305 s5)

    def _start_what_is_due(self, now: float, actions: list[Action]) -> None:
        """RFC 9623 s4.1: each branch by timers of its own."""
        for branch in self._branches:
            if not branch.resolved and now >= branch.resolves_at():
                self._resolve(branch, actions)
            if branch.waiting and now >= branch.starts_at() and self._has_room():
                self._start_attempt(branch, now, actions)

    def _has_room(self) -> bool:
        return len(self._attempts) < self.pacing.attempts_in_flight

    def _start_attempt(self, branch: Branch, now: float, actions: list[Action]) -> None:
        candidate = branch.attempt_started(now)
        self._ids += 1
        action = Connect(self._ids, candidate, None if branch.proxy is None else branch.pvd.proxy)
        self._attempts[self._ids] = Attempt(action, branch, now, now + self._patience(branch))
        actions.append(action)

    def _attempt_failed(self, attempt_id: int, now: float) -> bool:
        attempt = self._attempts.pop(attempt_id, None)
        if attempt is None:
            return False
        attempt.branch.attempt_failed(now)
        if attempt is self._holder:
            self._let_rivals_go(now)
        return True

    def _give_up_on_the_silent(self, now: float, actions: list[Action]) -> None:
        for attempt in list(self._attempts.values()):
            if now >= attempt.deadline:
                self._attempt_failed(attempt.action.id, now)
                limit = self.pacing.attempt_timeout if attempt.connected else self._patience(attempt.branch)
                actions.append(Cancel(attempt.action, f"{TIMEOUT} {_seconds(limit)} s"))

    def _patience(self, branch: Branch) -> float:
        """A PvD that has to be brought up gets the time for that besides."""
        return self.pacing.attempt_timeout + branch.pvd.warmup

    # ------------------------------------------------------------------ progress (HEv3 s6.1)

    def _connected(self, attempt_id: int, now: float, actions: list[Action]) -> bool:
        attempt = self._attempts.get(attempt_id)
        if attempt is None or attempt.connected:
            return False
        attempt.connected = True
        attempt.deadline = now + self.pacing.attempt_timeout
        if self.hold:
            self._hold_rivals_back(attempt, actions)
        else:
            self._extend_timers(attempt, now)
        return True

    def _extend_timers(self, attempt: Attempt, now: float) -> None:
        """HEv3 s6.1: the next attempt waits until this one should be ready.

        Deliberate: RFC 9623 s4.1 has a timer of its own for each level; the head starts behind this branch
        that still run are extended too, for the reason that HEv3 gives: not to start what will be cancelled.
        """
        expected = now + self.pacing.progress_allowance(now - attempt.started)
        branch = attempt.branch
        branch.next_start = max(branch.next_start, expected)
        for other in self._branches[self._branches.index(branch) + 1 :]:
            if now < other.opens < inf:
                other.opens = max(other.opens, expected)

    def _hold_rivals_back(self, holder: Attempt, actions: list[Action]) -> None:
        """The first handshake leads. Cancelling its rivals may be a mistake: they stay candidates.

        While somebody leads, the only deadline is the leader's (and the race's own), so nothing new starts.
        """
        self._holder = holder
        rivals = [a for a in self._attempts.values() if a is not holder]
        self._attempts = {holder.action.id: holder}
        for branch in self._branches:
            branch.take_back([a.action.candidate for a in rivals if a.branch is branch])
        actions += [Cancel(rival.action, HELD_BACK) for rival in rivals]

    def _let_rivals_go(self, now: float) -> None:
        """The leader failed after its handshake: the race goes on at once with what was held back."""
        self._holder = None
        for branch in self._branches:
            branch.hurry(now)

    # ------------------------------------------------------------------ PvDs come and go

    @property
    def running(self) -> tuple[ProvisioningDomain, ...]:
        """The PvDs that take part and were not withdrawn, in their order."""
        return tuple(branch.pvd for branch in self._branches if not branch.withdrawn)

    def _withdrawn(self, event: PvdWithdrawn, now: float, actions: list[Action]) -> bool:
        branch = running(self._branches, event.pvd)
        if branch is not None:
            self._withdraw(branch, event.reason, now, actions)
        return branch is not None

    def _withdraw(self, branch: Branch, reason: str, now: float, actions: list[Action]) -> None:
        """The kernel does not end a pending connect when its link goes (it must be cancelled)."""
        actions += [Cancel(lookup, reason) for lookup in branch.withdraw()]
        for attempt in [a for a in self._attempts.values() if a.branch is branch]:
            self._attempt_failed(attempt.action.id, now)
            actions.append(Cancel(attempt.action, reason))

    def _added(self, event: PvdAdded, now: float, actions: list[Action]) -> bool:
        """It joins at its place among those that still run, and takes the place of its last attachment."""
        ranked = event.ranked
        last = running(self._branches, ranked.pvd.name)
        if last is not None:
            if last.pvd.attachment == ranked.pvd.attachment:
                return False
            self._withdraw(last, ATTACHED_ANEW, now, actions)
        opens = inf if ranked.head_start is None else max(now, self.started + ranked.head_start)
        self._branches.insert(place(self._branches, event.position), self._branch(ranked, opens))
        return True

    def _branch(self, ranked: Ranked, opens: float) -> Branch:
        rtt = self.rtt.get(ranked.pvd.name) if self.rtt else None
        return Branch(ranked, opens, self.endpoint.port, self.pacing, rtt)

    # ------------------------------------------------------------------ the end

    def _ready(self, attempt_id: int, now: float, actions: list[Action]) -> bool:
        winner = self._attempts.pop(attempt_id, None)
        if winner is not None:
            self._end(Won(winner.action), now, actions)
        return winner is not None

    def _end(self, outcome: Won | Lost, now: float, actions: list[Action]) -> None:
        """RFC 8305 s5: the first success ends all others.

        Deliberate: s5 would keep listening for late DNS answers for a second, for the cache. A call that has
        returned leaves no task behind; what is cancelled is asked again when needed.
        """
        self.outcome = outcome
        self.ended = now
        self.deadline = inf
        reason = "another won" if type(outcome) is Won else outcome.reason  # type: ignore[union-attr]
        for branch in self._branches:
            if branch.looking_up:
                actions += [Cancel(lookup, reason) for lookup in branch.looking_up.values()]
        if self._attempts:
            actions += [Cancel(attempt.action, reason) for attempt in self._attempts.values()]

    def _settle(self, now: float, actions: list[Action]) -> Sequence[Action]:
        """After every change: write it down; is the race lost, and if not, when is something due?"""
        for action in actions:
            self.log.append((now, action))
        if self.outcome is not None:
            return actions
        deadline = self._until
        for attempt in self._attempts.values():
            if attempt.deadline < deadline:
                deadline = attempt.deadline
        if self._holder is None:
            deadline = self._next_due(now, deadline)
        self.deadline = deadline
        return actions

    def _next_due(self, now: float, deadline: float) -> float:
        """The deadline, or sooner if a branch has something to ask or to start; lost if none ever will."""
        has_room = self._has_room()
        forerunners_failed = True
        for branch in self._branches:
            if branch.failed():
                continue
            if forerunners_failed:
                forerunners_failed = False
                if branch.opens > now:
                    branch.opens = now  # RFC 9623 s4.1: all before it have failed, so it starts at once
            if not branch.resolved:
                due = branch.resolves_at()
            elif branch.waiting and has_room:
                due = branch.starts_at()
            else:
                continue
            if due < deadline:
                deadline = due
        if forerunners_failed:
            self.outcome, self.ended = Lost(why_lost(self.endpoint.host, self._branches, self.log)), now
            return inf
        return deadline

    def __repr__(self) -> str:
        state = type(self.outcome).__name__.lower() if self.outcome else "running"
        parts = [f"{self.endpoint} {state}", *map(repr, self._branches)]
        return f"<Race {' | '.join(parts)} | deadline {self.deadline - self.started:+.3f}>"


def _seconds(time: float) -> float:
    """A time as reasons tell it: what a caller has left of its own is no round number."""
    return round(float(time), 3) or float(time)
