"""One lookup in one provisioning domain, as decisions only: whom to ask what, when, and what the reply means.

Sans-IO: `start`, the events and `tick` return what to do (`Send`, `Resend`, `Close`); ``deadline`` says when
to call `tick`; once ``outcome`` is set, all that is still open is to be closed. Time is an argument, in
seconds of any monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..names import to_ascii
from .messages import BADVERS, FORMERR, MAX_ALIASES, NOERROR, NOTIMP, NXDOMAIN, Answer, DnsFailure, rcode_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import ProvisioningDomain
    from .messages import Reply, Stray
    from .servers import Server, Standings

STAGGER = 0.3
"""Seconds that a resolver may be silent before the next one is asked; doubles with every round."""
DOUBT = 0.15
"""The same for one that never answered in this attachment, where the next is of the other address family."""
TCP_PATIENCE = 1.0
"""Seconds that a resolver that said "truncated" gets for the same over TCP, before the next is asked."""
MAX_NEGATIVE_TTL = 3 * 3600.0
"""RFC 2308 s5: "values of one to three hours have been found to work well"."""

_NEEDS_PLAIN = frozenset(
    {FORMERR, NOTIMP, BADVERS}
)  # FORMERR, NOTIMP, BADVERS: perhaps the EDNS option (RFC 6891 s7)


@dataclass(slots=True, eq=False)
class Send:
    """Ask a server: open a socket pinned to the PvD, send the question. Compared by identity."""

    server: Server
    name: str
    type: str
    tcp: bool = False
    edns: bool = True
    at: float = 0.0
    open: bool = True


@dataclass(slots=True)
class Resend:
    """Send the same message once more on the same socket (another one would help a forger)."""

    send: Send


@dataclass(slots=True)
class Close:
    """Close the socket of a question; nothing is expected of it any more."""

    send: Send


Action = Send | Resend | Close


class Exchange:
    """The lookup of one name and type.

    ``names`` are tried in turn until one has addresses (see `search_names`); CNAMEs that a reply leaves open
    are followed with further questions to the same PvD. All of it has ``timeout`` seconds, and goes out in
    the ``families`` (6, 4) alone.
    """

    __slots__ = (
        "_alias_ttl",
        "_aliases",
        "_end",
        "_failures",
        "_families",
        "_names",
        "_negatives",
        "_pvd",
        "_question",
        "_sends",
        "_servers",
        "_standings",
        "_strays",
        "_timeout",
        "_turn",
        "_type",
        "deadline",
        "outcome",
    )

    def __init__(
        self,
        pvd: ProvisioningDomain,
        names: Sequence[str],
        type: str,
        standings: Standings,
        *,
        timeout: float = 5.0,
        families: tuple[int, ...] = (6, 4),
    ) -> None:
        self.outcome: Answer | DnsFailure | None = None
        self.deadline = float("inf")
        self._pvd = pvd
        self._names = list(names)
        self._type = type
        self._standings = standings
        self._timeout = timeout
        self._families = families
        self._end = float("inf")
        self._servers: list[Server] = []
        self._aliases = 0  # followed so far, and the least TTL among them
        self._alias_ttl = float("inf")
        self._negatives: list[Answer] = []
        # Of the question that is being asked now:
        self._question = ""
        self._turn = 0
        self._sends: list[Send] = []
        self._failures: dict[Server, str] = {}
        self._strays: list[str] = []

    def start(self, now: float) -> Sequence[Action]:
        """Ask the first server about the first name."""
        self._end = now + self._timeout
        self._servers = self._standings.order(self._pvd, now, self._families)
        if not self._servers:
            return self._finish(DnsFailure(f"{self._pvd.name} has {self._why_nobody(now)}"))
        return self._ask(self._names.pop(0), now)

    def tick(self, now: float) -> Sequence[Action]:
        """Time has passed. Early ticks change nothing."""
        if self.outcome is not None or now < self.deadline:
            return ()
        last = self._sends[-1]
        if last.open:
            self._standings.was_silent(self._pvd, last.server, now)
        if now >= self._end:
            return self._give_up()
        return self._next(now)

    def replied(self, send: Send, reply: Reply, now: float) -> Sequence[Action]:
        """A reply to ``send`` came in, and was checked to be one."""
        if self.outcome is not None or not send.open:
            return ()
        if reply.truncated:
            return self._truncated(send, now)
        if len(self._servers) > 1:
            self._standings.answered(self._pvd, send.server, now)
        if reply.rcode in _NEEDS_PLAIN and send.edns:
            return self._ask_again(send, now, tcp=send.tcp, edns=False)
        if reply.rcode not in (NOERROR, NXDOMAIN):
            return self.failed(send, f"{rcode_name(reply.rcode)} from {send.server}", now)
        if reply.referral:
            return self.failed(send, f"{send.server} does not resolve for us (a referral)", now)
        ttl = min(self._alias_ttl, reply.ttl)
        if reply.addresses:
            answer = Answer(reply.addresses, ttl, str(send.server), reply.canonical_name)
            return self._finish(answer)
        if reply.aliases and reply.rcode == NOERROR and reply.negative_ttl is None:
            return self._follow(send, reply, ttl, now)
        negative = "NXDOMAIN" if reply.rcode == NXDOMAIN else "NODATA"
        ttl = (
            0.0 if reply.negative_ttl is None else min(self._alias_ttl, reply.negative_ttl, MAX_NEGATIVE_TTL)
        )
        return self._negative(Answer((), ttl, str(send.server), reply.canonical_name, negative), now)

    def malformed(self, send: Send, why: str, now: float) -> Sequence[Action]:
        """A reply to ``send`` came in that cannot be read."""
        return self.failed(send, f"malformed reply from {send.server}: {why}", now)

    def stray(self, send: Send, stray: Stray, now: float) -> Sequence[Action]:
        """Something came in that is no reply to ``send``: it is ignored, and we wait on.

        A server that does not keep the case of the question is asked again over TCP, which cannot be forged
        from off the path: so the 0x20 bits are never given up over UDP.
        """
        if self.outcome is not None or not send.open:
            return ()
        if send.tcp:
            return self.malformed(send, f"{stray.why}, over TCP", now)
        self._strays.append(stray.why)
        if stray.case_only:
            return self._ask_again(send, now, tcp=True, edns=send.edns)
        return ()

    def failed(self, send: Send, error: str, now: float, *, unreachable: bool = False) -> Sequence[Action]:
        """The question failed for good: the next server is asked at once.

        ``unreachable``: the network said so (refused, no route), which counts like silence.
        """
        if self.outcome is not None or not send.open:
            return ()
        if unreachable:
            self._standings.was_silent(self._pvd, send.server, now)
        self._failures[send.server] = error
        send.open = False
        actions: list[Action] = [Close(send)]
        if len(self._failures) == len(self._servers):
            return [*actions, *self._give_up()]
        # Unless somebody else is being asked and has time left, it is the next one's turn.
        if not any(other.open for other in self._sends) or send is self._sends[-1]:
            actions += self._next(now)
        return actions

    # What happens next

    def _why_nobody(self, now: float) -> str:
        if not self._pvd.resolvers:
            return "no resolvers"
        return "no address to reach its resolvers from"

    def _ask(self, name: str, now: float) -> list[Action]:
        actions: list[Action] = [Close(send) for send in self._sends if send.open]
        for send in self._sends:
            send.open = False
        self._question = name
        self._turn = 0
        self._sends, self._failures, self._strays = [], {}, []
        return [*actions, *self._next(now)]

    def _next(self, now: float) -> list[Action]:
        """Ask the server whose turn it is; the ones that failed are passed over."""
        count = len(self._servers)
        server = self._servers[self._turn % count]
        while self._failures and server in self._failures:
            self._turn += 1
            server = self._servers[self._turn % count]
        patience = STAGGER * 2.0 ** (self._turn // count)
        self._turn += 1
        if self._turn < count and self._is_doubtful(server, self._servers[self._turn]):
            patience = DOUBT
        self.deadline = min(now + patience, self._end)
        for send in self._sends:
            if send.server is server and send.open:
                return [] if send.tcp else [Resend(send)]
        return [self._send(server, now)]

    def _is_doubtful(self, server: Server, following: Server) -> bool:
        families = ":" in server.resolver.address, ":" in following.resolver.address
        return families[0] != families[1] and not self._standings.has_answered(self._pvd, server)

    def _send(self, server: Server, now: float, *, tcp: bool = False, edns: bool = True) -> Send:
        send = Send(server, self._question, self._type, tcp, edns, now)
        self._sends.append(send)
        return send

    def _ask_again(self, send: Send, now: float, *, tcp: bool, edns: bool) -> list[Action]:
        send.open = False
        self.deadline = min(now + (TCP_PATIENCE if tcp else STAGGER), self._end)
        return [Close(send), self._send(send.server, now, tcp=tcp, edns=edns)]

    def _truncated(self, send: Send, now: float) -> Sequence[Action]:
        if send.tcp:
            return self.malformed(send, "truncated over TCP", now)
        return self._ask_again(send, now, tcp=True, edns=send.edns)

    def _follow(self, send: Send, reply: Reply, ttl: float, now: float) -> Sequence[Action]:
        """The chain of CNAMEs leaves the reply: ask for its end, in this PvD, the same server first."""
        self._aliases += reply.aliases
        if self._aliases > MAX_ALIASES:
            error = f"{self._question} has more than {MAX_ALIASES} CNAMEs, or a loop of them"
            return self._finish(DnsFailure(error, str(send.server)))
        self._alias_ttl = ttl
        self._servers.remove(send.server)
        self._servers.insert(0, send.server)
        return self._ask(reply.canonical_name, now)

    def _negative(self, answer: Answer, now: float) -> Sequence[Action]:
        self._negatives.append(answer)
        if self._names:
            self._aliases, self._alias_ttl = 0, float("inf")
            return self._ask(self._names.pop(0), now)
        last = self._negatives[-1]
        kinds = {answer.negative for answer in self._negatives}
        return self._finish(
            Answer(
                (),
                min(answer.ttl for answer in self._negatives),
                last.server,
                last.canonical_name,
                "NODATA" if "NODATA" in kinds else "NXDOMAIN",
            )
        )

    def _give_up(self) -> Sequence[Action]:
        silent = [server for server in self._servers if server not in self._failures]
        reasons = [self._failures[server] for server in self._servers if server in self._failures]
        if silent:
            reasons.append(f"timed out after {self._timeout:.1f} s")
        if self._strays:
            reasons.append(f"ignored {len(self._strays)} messages ({self._strays[-1]})")
        server = str(silent[0] if silent else self._servers[0])
        return self._finish(DnsFailure("; ".join(dict.fromkeys(reasons)), server))

    def _finish(self, outcome: Answer | DnsFailure) -> Sequence[Action]:
        self.outcome = outcome
        self.deadline = float("inf")
        return ()


def search_names(pvd: ProvisioningDomain, name: str, ndots: int = 1) -> list[str]:
    """The names to try for ``name``: below the search domains of this PvD first, if it has few dots.

    Fewer than ``ndots``: each search domain in turn, then the name as it is. As many or more, or a final
    dot: only as it is. (Deliberate: the C library tries the search list for those too, after a negative
    answer. SSAC's SAC064 advises against it: it is slow, and tells strangers' names to the network.)
    Raises ValueError for a name beyond ASCII that is none.
    """
    name = to_ascii(name)  # first, for there are other dots (U+3002)
    if name.endswith(".") or name.count(".") >= ndots:
        return [name]
    return [f"{name}.{domain.strip('.')}" for domain in pvd.search] + [name]
