"""The race: lookups inside each PvD, staggered attempts across them, one winner.

Two staggers with timers of their own, as RFC 9623 s4 orders them. Across PvDs: the head start that
`rank` gave each *branch*. Inside a branch: RFC 8305, whole, over the answers of that PvD alone.

How to drive it: perform what `start` returns; hand every result to `handle`; once `deadline` has come and
*all results that are due have been handled*, call `tick`. `handle` records and cancels, only `tick` starts:
so a success and a timer of the same instant never start a needless attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from ..model import Candidate, Endpoint, ProvisioningDomain, Ranked, Ranking, is_loopback, parse_literal
from .actions import Action, Cancel, Connect, Lookup, Skip
from .events import (
    Connected,
    Event,
    Failed,
    LookupAnswered,
    LookupFailed,
    PvdAdded,
    PvdWithdrawn,
    Ready,
)
from .nat64 import synthesise
from .ordering import order, unusable
from .pacing import ATTEMPT_FLOOR, Pacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_RTT: Mapping[str, Mapping[str, float]] = {}
LOCALHOST = ("::1", "127.0.0.1")  # RFC 6761 s6.3: no lookup
DEFAULT_PACING = Pacing()


@dataclass(slots=True)
class Won:
    """The race has a winner: the attempt that first did what was asked."""

    attempt: Connect


@dataclass(slots=True)
class Lost:
    """Nobody won; ``reason`` in a few words."""

    reason: str


class Attempt:
    """A started candidate (RFC 8305 s5) while it is in flight."""

    __slots__ = ("action", "branch", "connected", "deadline", "started")

    def __init__(self, action: Connect, branch: Branch, started: float, deadline: float) -> None:
        self.action = action
        self.branch = branch
        self.started = started
        self.connected: float | None = None
        self.deadline = deadline


class Branch:
    """One PvD in the race. What it may do next is derived from these few facts."""

    __slots__ = (
        "addresses",
        "attempted",
        "gate",
        "in_flight",
        "looking_up",
        "next_start",
        "opens",
        "preferred",
        "previous_start",
        "pvd",
        "ranked",
        "resolved",
        "waiting",
        "withdrawn",
    )

    def __init__(self, ranked: Ranked, opens: float) -> None:
        self.ranked = ranked
        self.pvd: ProvisioningDomain = ranked.pvd
        self.opens = opens  # its attempts may begin; inf: when all before it have failed
        self.resolved = False  # its lookups were started (or none are needed)
        self.looking_up: dict[int, Lookup] = {}
        self.preferred = ""  # the record type whose answer need not be waited for once it is in
        self.gate = -inf  # the end of the Resolution Delay, while it runs
        self.addresses: list[str] = []
        self.attempted: set[str] = set()
        self.waiting: list[Candidate] = []
        self.in_flight = 0
        self.previous_start = -inf
        self.next_start = -inf  # the Connection Attempt Delay timer
        self.withdrawn = False

    def failed(self) -> bool:
        """Nothing of it is under way and nothing is left to try."""
        return self.withdrawn or (self.resolved and not (self.looking_up or self.waiting or self.in_flight))

    def start_due(self) -> float:
        """When its next attempt may start, inf if there is none to start."""
        if not self.waiting:
            return inf
        return max(self.opens, self.next_start, self.gate)


class Race:
    """A connection race over ranked PvDs. See the module for how to drive it.

    ``deadline`` is absolute, on the caller's clock: a tick before it changes nothing, a late one only costs
    time; inf: only an event can help. ``outcome`` is None until the race is over, and then for ever the same.
    ``hold``: the first transport handshake decides, and its rivals are held back until it is ready or fails
    (``ready="tcp"`` with TLS to follow); otherwise rivals go on until one is ready.
    ``rtt`` are the round-trip times learnt, by PvD name and address: each PvD sees its own alone.
    ``timeout`` is for the whole race, in seconds.
    """

    __slots__ = (
        "_attempts",
        "_branches",
        "_held",
        "_holder",
        "_ids",
        "_until",
        "deadline",
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
        self.endpoint = endpoint
        self.ranking = ranking
        self.pacing = pacing
        self.hold = hold
        self.timeout = timeout
        self.rtt = rtt
        self.deadline = inf
        self.outcome: Won | Lost | None = None
        self.log: list[tuple[float, Event | Action]] = []
        self._branches: list[Branch] = []
        self._attempts: dict[int, Attempt] = {}
        self._holder: Attempt | None = None
        self._ids = 0
        self.started = 0.0
        self._until = inf

    # ------------------------------------------------------------------ the three calls of a driver

    def start(self, now: float) -> Sequence[Action]:
        """Begin. Call once."""
        self.started = now
        if self.timeout is not None:
            self._until = now + self.timeout
        for ranked in self.ranking.ranked:
            head_start = ranked.head_start
            self._branches.append(Branch(ranked, inf if head_start is None else now + head_start))
        actions: list[Action] = []
        self._start_what_is_due(now, actions)
        self._settle(now)
        return self._logged(now, actions)

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take in a result. Late and unknown ones are legal and answered with nothing."""
        if self.outcome is not None:
            return ()
        actions: list[Action] = []
        kind = type(event)
        self.log.append((now, event))
        if kind is Ready:
            known = self._ready(event, now, actions)  # type: ignore[arg-type]
        elif kind is Failed:
            known = self._attempt_failed(event.id, now)  # type: ignore[union-attr]
        elif kind is Connected:
            known = self._connected(event, now, actions)  # type: ignore[arg-type]
        elif kind is LookupAnswered:
            known = self._answered(event, now, actions)  # type: ignore[arg-type]
        elif kind is LookupFailed:
            known = self._take_lookup(event.id) is not None  # type: ignore[union-attr]
        elif kind is PvdWithdrawn:
            known = self._withdrawn(event, now, actions)  # type: ignore[arg-type]
        else:
            known = self._added(event, now)  # type: ignore[arg-type]
        if not known:
            self.log.pop()
            return ()
        if self.outcome is None:
            self._settle(now)
        return self._logged(now, actions)

    def tick(self, now: float) -> Sequence[Action]:
        """Start what is due. A tick before the deadline, or after the end, changes nothing."""
        if now < self.deadline or self.outcome is not None:
            return ()
        actions: list[Action] = []
        if now >= self._until:
            self._lose(f"timed out after {self.timeout:g} s", actions)
        else:
            self._give_up_on_the_silent(now, actions)
            self._start_what_is_due(now, actions)
            self._settle(now)
        return self._logged(now, actions)

    # ------------------------------------------------------------------ lookups (RFC 8305 s3)

    def _resolve(self, branch: Branch, now: float, actions: list[Action]) -> None:
        """RFC 8305 s3: AAAA, then A, back to back; HEv3 s4.1: of the families that this PvD has."""
        branch.resolved = True
        host = self.endpoint.host
        literal = parse_literal(host)
        if literal is not None:
            self._join(branch, (literal.address,), actions)
        elif is_loopback(host):
            self._join(branch, LOCALHOST, actions)
        else:
            for record_type in record_types(branch.ranked):
                lookup = Lookup(self._next_id(), branch.pvd, host, record_type)
                branch.looking_up[lookup.id] = lookup
                branch.preferred = branch.preferred or record_type
                actions.append(lookup)

    def _answered(self, event: LookupAnswered, now: float, actions: list[Action]) -> bool:
        found = self._take_lookup(event.id)
        if found is None:
            return False
        branch, _ = found
        if event.addresses:
            if not branch.addresses and any(p.type == branch.preferred for p in branch.looking_up.values()):
                # RFC 8305 s3: the Resolution Delay runs from the first answer, not from the question.
                branch.gate = now + self.pacing.resolution_delay
            self._join(branch, event.addresses, actions)
        return True

    def _take_lookup(self, lookup_id: int) -> tuple[Branch, Lookup] | None:
        for branch in self._branches:
            lookup = branch.looking_up.pop(lookup_id, None)
            if lookup is not None:
                if lookup.type == branch.preferred:
                    # RFC 8305 s3: "if the AAAA response is received, start at once", positive or negative.
                    # Deliberate: a failed AAAA lookup ends the wait too (HEv3 s4.2 counts errors as
                    # negative answers): nothing is left to wait for.
                    branch.gate = -inf
                return branch, lookup
        return None

    def _join(self, branch: Branch, addresses: Sequence[str], actions: list[Action]) -> None:
        """Sort new addresses into what has not started (RFC 8305 s4 and s6, HEv3 s7: the whole list anew)."""
        pvd = branch.pvd
        families = branch.ranked.families
        new = [a for a in synthesise(pvd, addresses) if a not in branch.addresses]
        for address in new:
            if (6 if ":" in address else 4) not in families:
                actions.append(Skip(pvd.name, address, "family left out by policy"))
                continue
            reason = unusable(pvd, address)
            if reason is not None:
                actions.append(Skip(pvd.name, address, reason))
            else:
                branch.addresses.append(address)
        ordered = order(
            pvd,
            branch.addresses,
            self.endpoint.port,
            preferred_address_family_count=self.pacing.preferred_address_family_count,
            rtt=self.rtt.get(pvd.name),
        )
        attempted = branch.attempted
        branch.waiting = [c for c in ordered if c.remote not in attempted] if attempted else ordered

    # ------------------------------------------------------------------ attempts (RFC 8305 s5)

    def _start_what_is_due(self, now: float, actions: list[Action]) -> None:
        """RFC 9623 s4.1: each branch by its own timers; one whose forerunners have all failed at once."""
        if self._holder is not None:
            return
        forerunners_failed = True
        for branch in self._branches:
            if forerunners_failed and branch.opens > now:
                branch.opens = now
            if not branch.resolved and not branch.withdrawn and now >= self._resolves_at(branch):
                self._resolve(branch, now, actions)
            if now >= branch.start_due() and len(self._attempts) < self.pacing.attempts_in_flight:
                self._start_attempt(branch, now, actions)
            forerunners_failed = forerunners_failed and branch.failed()

    def _resolves_at(self, branch: Branch) -> float:
        return max(self.started, branch.opens - self.pacing.resolution_lead)

    def _start_attempt(self, branch: Branch, now: float, actions: list[Action]) -> None:
        candidate = branch.waiting.pop(0)
        action = Connect(self._next_id(), candidate)
        self._attempts[action.id] = Attempt(action, branch, now, now + self.pacing.attempt_timeout)
        branch.attempted.add(candidate.remote)
        branch.in_flight += 1
        branch.previous_start = now
        known = self.rtt.get(branch.pvd.name)
        branch.next_start = now + self.pacing.attempt_delay(known.get(candidate.remote) if known else None)
        actions.append(action)

    def _connected(self, event: Connected, now: float, actions: list[Action]) -> bool:
        """HEv3 s6.1: progress extends the timers to where the attempt is expected to be ready."""
        attempt = self._attempts.get(event.id)
        if attempt is None or attempt.connected is not None:
            return False
        attempt.connected = now
        attempt.deadline = now + self.pacing.attempt_timeout
        if self.hold:
            self._hold_rivals_back(attempt, actions)
            return True
        expected = now + self.pacing.progress_allowance(now - attempt.started)
        branch = attempt.branch
        branch.next_start = max(branch.next_start, expected)
        behind = False
        for other in self._branches:
            if behind and now < other.opens < inf:
                other.opens = max(other.opens, expected)
            behind = behind or other is branch
        return True

    def _hold_rivals_back(self, holder: Attempt, actions: list[Action]) -> None:
        """The first handshake leads. Cancelling its rivals may be a mistake: they stay candidates."""
        self._holder = holder
        for attempt in [a for a in self._attempts.values() if a is not holder]:
            self._forget(attempt)
            attempt.branch.attempted.discard(attempt.action.candidate.remote)
            attempt.branch.waiting.insert(0, attempt.action.candidate)
            actions.append(Cancel(attempt.action, "held back"))

    def _attempt_failed(self, attempt_id: int, now: float) -> bool:
        """RFC 9623 s4.1: a failure starts the next at once, RFC 8305 s5: 10 ms after the last start."""
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            return False
        self._forget(attempt)
        if self._holder is attempt:
            self._holder = None
            for branch in self._branches:
                branch.next_start = max(now, branch.previous_start + ATTEMPT_FLOOR)
        branch = attempt.branch
        branch.next_start = max(now, branch.previous_start + ATTEMPT_FLOOR)
        return True

    def _give_up_on_the_silent(self, now: float, actions: list[Action]) -> None:
        for attempt in list(self._attempts.values()):
            if now >= attempt.deadline:
                self._attempt_failed(attempt.action.id, now)
                actions.append(Cancel(attempt.action, f"timed out after {self.pacing.attempt_timeout:g} s"))

    def _forget(self, attempt: Attempt) -> None:
        del self._attempts[attempt.action.id]
        attempt.branch.in_flight -= 1

    # ------------------------------------------------------------------ PvDs come and go

    def _withdrawn(self, event: PvdWithdrawn, now: float, actions: list[Action]) -> bool:
        """The kernel does not end a pending connect when its link goes (it must be cancelled)."""
        for branch in self._branches:
            if branch.pvd.name == event.pvd and not branch.withdrawn:
                break
        else:
            return False
        branch.withdrawn = True
        branch.waiting.clear()
        actions.extend(Cancel(lookup, event.reason) for lookup in branch.looking_up.values())
        branch.looking_up.clear()
        for attempt in [a for a in self._attempts.values() if a.branch is branch]:
            self._attempt_failed(attempt.action.id, now)
            actions.append(Cancel(attempt.action, event.reason))
        return True

    def _added(self, event: PvdAdded, now: float) -> bool:
        ranked = event.ranked
        if any(b.pvd.name == ranked.pvd.name and not b.withdrawn for b in self._branches):
            return False
        opens = inf if ranked.head_start is None else max(now, self.started + ranked.head_start)
        self._branches.insert(event.position, Branch(ranked, opens))
        return True

    # ------------------------------------------------------------------ the end

    def _ready(self, event: Ready, now: float, actions: list[Action]) -> bool:
        winner = self._attempts.get(event.id)
        if winner is None:
            return False
        self._forget(winner)
        self.outcome = Won(winner.action)
        self._cancel_all("another won", actions)
        return True

    def _lose(self, reason: str, actions: list[Action]) -> None:
        self.outcome = Lost(reason)
        self._cancel_all(reason, actions)

    def _cancel_all(self, reason: str, actions: list[Action]) -> None:
        # Deliberate: RFC 8305 s5 would keep listening for late DNS answers for a second, for the cache. A
        # call that has returned leaves no task behind; what is cancelled is asked again when needed.
        for branch in self._branches:
            actions.extend(Cancel(lookup, reason) for lookup in branch.looking_up.values())
            branch.looking_up.clear()
        actions.extend(Cancel(attempt.action, reason) for attempt in self._attempts.values())
        self._attempts.clear()
        self.deadline = inf

    def _settle(self, now: float) -> None:
        """After every change: is it lost, and if not, when is something due?"""
        deadline = self._until
        for attempt in self._attempts.values():
            if attempt.deadline < deadline:
                deadline = attempt.deadline
        if self._holder is None:
            room = len(self._attempts) < self.pacing.attempts_in_flight
            forerunners_failed = True
            for branch in self._branches:
                if branch.failed():
                    continue
                if forerunners_failed and branch.opens > now:
                    due = now
                elif not branch.resolved:
                    due = self._resolves_at(branch)
                elif room:
                    due = branch.start_due()
                else:
                    due = inf
                if due < deadline:
                    deadline = due
                forerunners_failed = False
            if forerunners_failed:
                self.outcome = Lost(self._why_lost())
                deadline = inf
        self.deadline = deadline

    def _why_lost(self) -> str:
        if not self._branches:
            return "no usable provisioning domain"
        if any(branch.attempted for branch in self._branches):
            return "all attempts failed"
        if any(type(entry) is Skip for _, entry in self.log) or parse_literal(self.endpoint.host):
            return "no usable address"
        return "no address found"

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _logged(self, now: float, actions: list[Action]) -> Sequence[Action]:
        for action in actions:
            self.log.append((now, action))
        return actions

    def __repr__(self) -> str:
        parts = []
        for branch in self._branches:
            state = f"{branch.in_flight} in flight" if branch.in_flight else "waiting"
            parts.append(f"{branch.pvd.name}: {'failed' if branch.failed() else state}")
        outcome = type(self.outcome).__name__.lower() if self.outcome else "running"
        deadline = f"deadline {self.deadline - self.started:+.3f}"
        return f"<Race {self.endpoint} {outcome} | {', '.join(parts)} | {deadline}>"


def record_types(ranked: Ranked) -> tuple[str, ...]:
    """The questions for a PvD, in the order of asking (HEv3 s4.1): only for families that it can use.

    With a NAT64 prefix an A answer is of use too (HEv3 s4.1, RFC 6052): it is synthesised.
    """
    pvd = ranked.pvd
    families = [f for f in (pvd.families or (6, 4)) if f in ranked.families]
    types = []
    if 6 in families:
        types.append("AAAA")
    if 4 in families or (6 in families and pvd.pref64):
        types.append("A")
    return tuple(types)
