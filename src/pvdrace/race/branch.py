"""One PvD in a race: RFC 8305 s3 to s5 over the answers of that PvD alone, and its timers. Pure."""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from ..model import is_link_local, is_loopback, parse_literal
from ..proxies import parse_proxy
from .actions import Connect, Lookup, Skip
from .nat64 import synthesise
from .ordering import order, prefers_ipv4, unusable
from .pacing import ATTEMPT_FLOOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import Candidate, ProvisioningDomain, Ranked
    from ..proxies import Proxy
    from .pacing import Pacing

Dialable = tuple[tuple["Candidate", ...], tuple[Skip, ...]]
CANDIDATES_KEPT = 1024  # lists of candidates, a PvD
LOCALHOST = ("::1", "127.0.0.1")  # RFC 6761 s6.3: no lookup


class Attempt:
    """A started candidate (RFC 8305 s5) while it is in flight. It has failed if silent until ``deadline``."""

    __slots__ = ("action", "branch", "connected", "deadline", "started")

    def __init__(self, action: Connect, branch: Branch, started: float, deadline: float) -> None:
        self.action = action
        self.branch = branch
        self.started = started
        self.connected = False
        self.deadline = deadline


class Branch:
    """One PvD in the race. What it may do next is derived from these few facts."""

    __slots__ = (
        "addresses",
        "attempted",
        "awaited",
        "gate",
        "in_flight",
        "looking_up",
        "next_start",
        "opens",
        "pacing",
        "port",
        "previous_start",
        "proxy",
        "pvd",
        "ranked",
        "resolved",
        "rtt",
        "waiting",
        "withdrawn",
    )

    def __init__(
        self, ranked: Ranked, opens: float, port: int, pacing: Pacing, rtt: Mapping[str, float] | None
    ) -> None:
        self.ranked = ranked
        self.pvd: ProvisioningDomain = ranked.pvd
        self.opens = opens  # its attempts may begin; inf: when all before it have failed
        self.port = port
        self.pacing = pacing
        self.rtt = rtt  # HEv3 s5: the history of this PvD alone
        self.resolved = False  # its lookups were started, or none are needed
        self.looking_up: dict[int, Lookup] = {}
        self.awaited = 0  # the lookup whose answer is worth the Resolution Delay, until it is answered
        self.gate = -inf  # the end of the Resolution Delay, while it runs
        self.addresses: tuple[str, ...] = ()  # all that was answered so far
        self.waiting: tuple[Candidate, ...] = ()  # what has not started, in its order
        self.attempted: tuple[str, ...] = ()  # the addresses of what has
        self.in_flight = 0
        self.previous_start = -inf
        self.next_start = -inf  # when the Connection Attempt Delay ends
        self.withdrawn = False
        url = self.pvd.proxy
        self.proxy: Proxy | None = (
            None if url is None else parse_proxy(url)
        )  # the way out, until it is given up

    def failed(self) -> bool:
        """Nothing of it is under way and nothing is left to try."""
        return self.resolved and not (self.waiting or self.in_flight or self.looking_up)

    def resolves_at(self) -> float:
        """When it asks its resolvers: a little before it may dial."""
        return self.opens - self.pacing.resolution_lead

    def starts_at(self) -> float:
        """When its next attempt may start, if one is waiting."""
        due = self.next_start
        if self.opens > due:
            due = self.opens
        return due if due > self.gate else self.gate

    # ------------------------------------------------------------------ lookups (RFC 8305 s3)

    def resolve(self, host: str, last_id: int) -> Sequence[Lookup | Skip]:
        """Its questions, with ids after ``last_id``, or what needs none; Skips say what it does not dial.

        RFC 8305 s3: AAAA, then A, back to back; HEv3 s4.1: of the families that this PvD has.
        """
        self.resolved = True
        if self.proxy is not None:
            if is_loopback(host):
                self.proxy = None
            else:
                skipped = self._by_proxy(host)
                if self.waiting or not self._give_up_proxy():
                    return skipped
                return (*skipped, *self.resolve(host, last_id))
        addresses = addresses_without_lookup(host)
        if addresses is not None:
            return self.join(addresses)
        for lookup_id, record_type in enumerate(record_types(self.ranked), last_id + 1):
            self.looking_up[lookup_id] = Lookup(lookup_id, self.pvd, host, record_type, self.ranked.families)
        if not self.looking_up:
            return (Skip(self.pvd.name, host, "no family that this PvD has and policy allows"),)
        self.awaited = last_id + 1  # the first is for the family that is preferred
        return list(self.looking_up.values())

    def _by_proxy(self, host: str) -> Sequence[Skip]:
        """The one candidate is the proxy: it does the asking, so nothing is looked up here."""
        assert self.proxy is not None
        literal = parse_literal(host)
        if literal is not None and is_link_local(literal.address):
            return (Skip(self.pvd.name, host, "link-local: not for a proxy"),)
        return self.join((self.proxy.address,))

    def _give_up_proxy(self) -> bool:
        """The proxy has failed: go on as if there were none, if that is allowed. Failover, never a race."""
        if self.proxy is None or not self.pvd.proxy_or_direct or self.withdrawn:
            return False
        self.proxy = None
        self.resolved = False
        # The same address may be dialled again: it would be another port, or no longer for its tunnel.
        self.addresses = self.attempted = ()
        return True

    def answered(self, lookup_id: int) -> bool:
        """A question of this branch came back, with whatever result; False: it is not one of its own."""
        if self.looking_up.pop(lookup_id, None) is None:
            return False
        if lookup_id == self.awaited:
            # RFC 8305 s3: a positive or negative AAAA answer ends the wait.
            # Deliberate: so does a failed lookup, which RFC 8305 s3 does not name (HEv3 s4.2 counts errors
            # as negative answers): there is nothing left to wait for.
            self.awaited = 0
            self.gate = -inf
        return True

    def delay_for_preferred(self, now: float) -> None:
        """RFC 8305 s3: the Resolution Delay runs from the first answer, not from the question."""
        if self.awaited and not self.addresses:
            self.gate = now + self.pacing.resolution_delay

    # ------------------------------------------------------------------ addresses (RFC 8305 s4)

    def join(self, addresses: Sequence[str]) -> Sequence[Skip]:
        """Sort new addresses into what has not started; returns those that are not dialled here.

        RFC 8305 s6, HEv3 s7: the whole list is sorted anew, as if all had been there from the start.

        Deliberate: s6 also takes addresses back that DNS removes, and no event here does. A lookup answers
        once in a race; addresses that are void because the network changed go with their PvD (`withdraw`).
        """
        before = self.addresses
        self.addresses = (*before, *addresses) if before else tuple(addresses)
        count = self.pacing.preferred_address_family_count
        port = self.port if self.proxy is None else self.proxy.port
        candidates, skipped = candidates_for(self.ranked, self.addresses, port, count, self.rtt)
        if self.attempted:
            self.waiting = tuple([c for c in candidates if c.remote not in self.attempted])
        else:
            self.waiting = candidates
        if before and skipped:
            return [skip for skip in skipped if skip.address not in before]
        return skipped

    # ------------------------------------------------------------------ attempts (RFC 8305 s5)

    def attempt_started(self, now: float) -> Candidate:
        """Take the next candidate, and start the Connection Attempt Delay that its successor waits for."""
        candidate = self.waiting[0]
        self.waiting = self.waiting[1:]
        self.attempted = (*self.attempted, candidate.remote)
        self.in_flight += 1
        self.previous_start = now
        self.next_start = now + self.pacing.attempt_delay(
            self.rtt.get(candidate.remote) if self.rtt else None
        )
        return candidate

    def attempt_failed(self, now: float) -> None:
        """RFC 9623 s4.1: a failure starts the next at once; RFC 8305 s5: 10 ms after the last start."""
        self.in_flight -= 1
        self.hurry(now)
        if self.proxy is not None and not self.in_flight and not self.waiting:
            self._give_up_proxy()

    def hurry(self, now: float) -> None:
        """Let the next attempt start as soon as RFC 8305 s5 allows."""
        self.next_start = max(now, self.previous_start + ATTEMPT_FLOOR)

    def take_back(self, candidates: Sequence[Candidate]) -> None:
        """Attempts that were held back are candidates again, before those that never started."""
        again = {candidate.remote for candidate in candidates}
        self.in_flight -= len(again)
        self.attempted = tuple([remote for remote in self.attempted if remote not in again])
        self.waiting = (*candidates, *self.waiting)

    def withdraw(self) -> list[Lookup]:
        """The PvD is gone; returns the questions that were still open."""
        self.withdrawn = self.resolved = True
        self.waiting = ()
        unanswered = list(self.looking_up.values())
        self.looking_up.clear()
        return unanswered

    def __repr__(self) -> str:
        state = f"{self.in_flight} in flight" if self.in_flight else "waiting"
        return f"{self.pvd.name}: {'failed' if self.failed() else state}"


# ---------------------------------------------------------------------- several branches, in their order


def asker(branches: Sequence[Branch], lookup_id: int) -> Branch | None:
    """The branch whose question this answers; it is answered then."""
    for branch in branches:
        if branch.answered(lookup_id):
            return branch
    return None


def running(branches: Sequence[Branch], name: str) -> Branch | None:
    """The branch of the PvD of that name, unless it was withdrawn."""
    for branch in branches:
        if branch.pvd.name == name and not branch.withdrawn:
            return branch
    return None


def place(branches: Sequence[Branch], position: int) -> int:
    """Where the branch stands that is to have a position among those that were not withdrawn."""
    indices = [index for index, branch in enumerate(branches) if not branch.withdrawn]
    return indices[position] if position < len(indices) else len(branches)


# ---------------------------------------------------------------------- addresses and questions of a PvD


def candidates_for(
    ranked: Ranked, addresses: tuple[str, ...], port: int, count: int, rtt: Mapping[str, float] | None
) -> Dialable:
    """What to dial of these addresses in a PvD, best first, and what not, with the reason.

    This is worked out once and kept with the PvD, as `order` keeps its part, for as long as history has the
    same ``rtt`` (the same object).
    """
    pvd, families = ranked.pvd, ranked.families
    try:
        known: dict[object, tuple[object, Dialable]] = pvd.__dict__["_candidates"]
    except KeyError:
        known = pvd.__dict__["_candidates"] = {}
    key = (addresses, port, families, count)
    found = known.get(key)
    if found is None or found[0] is not rtt:
        if len(known) >= CANDIDATES_KEPT:
            known.clear()
        found = known[key] = rtt, _candidates_for(pvd, families, addresses, port, count, rtt or None)
    return found[1]


def _candidates_for(
    pvd: ProvisioningDomain,
    families: tuple[int, ...],
    addresses: tuple[str, ...],
    port: int,
    count: int,
    rtt: Mapping[str, float] | None,
) -> Dialable:
    usable: list[str] = []
    skipped: list[Skip] = []
    for address in dict.fromkeys(synthesise(pvd, addresses)):
        reason = _why_not(pvd, families, address)
        if reason is None:
            usable.append(address)
        else:
            skipped.append(Skip(pvd.name, address, reason))
    candidates = order(
        pvd, usable, port, preferred_address_family_count=count, rtt=rtt, ipv4_first=families[:1] == (4,)
    )
    return tuple(candidates), tuple(skipped)


def _why_not(pvd: ProvisioningDomain, families: tuple[int, ...], address: str) -> str | None:
    try:
        reason = unusable(pvd, address)
    except ValueError as error:
        return str(error)
    if reason is None and (6 if ":" in address else 4) not in families:
        return "family left out by policy"
    return reason


@lru_cache(maxsize=1024)
def addresses_without_lookup(host: str) -> tuple[str, ...] | None:
    """The addresses of an IP literal or of ``localhost``; None for a name that has to be looked up."""
    literal = parse_literal(host)
    if literal is not None:
        return (literal.address,)
    return LOCALHOST if is_loopback(host) else None


def record_types(ranked: Ranked) -> tuple[str, ...]:
    """The questions for a PvD, in the order of asking (HEv3 s4.1): only for families that it can use.

    The one that is expected to work comes first, AAAA where nothing is known against it; A where the policy
    table of the PvD prefers IPv4 (RFC 6724 s10.3), so that its answer is the one waited for (HEv3 s4.2).

    With a NAT64 prefix an A answer is of use too (HEv3 s4.1, RFC 6052): it is synthesised.
    """
    pvd = ranked.pvd
    may = (4, 6) if ranked.families == (6, 4) and prefers_ipv4(pvd) else ranked.families
    return _record_types(pvd.families or (6, 4), may, bool(pvd.pref64))


@lru_cache(maxsize=64)
def _record_types(has: tuple[int, ...], may: tuple[int, ...], nat64: bool) -> tuple[str, ...]:
    families = [family for family in may if family in has]
    types = ["AAAA" if family == 6 else "A" for family in families]
    if nat64 and families == [6]:
        types.append("A")
    return tuple(types)
