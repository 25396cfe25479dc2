"""Whom a lookup asks, when, and what it makes of the replies: timelines on virtual time, no socket."""

from __future__ import annotations

import heapq
import itertools
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvdrace.dns.exchange import Close, Exchange, Resend, Send, search_names
from pvdrace.dns.messages import Answer, DnsFailure, Reply, Stray
from pvdrace.dns.servers import Standings
from pvdrace.model import LocalAddress, ProvisioningDomain, Resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pvdrace.dns.exchange import Action

    Server = Callable[[Send], list[tuple[float, object]]]


def ok(*addresses: str, ttl: float = 60.0) -> Reply:
    return Reply(0, addresses=addresses or ("192.0.2.1",), canonical_name="www.example", ttl=ttl)


NXDOMAIN = Reply(3, canonical_name="www.example", negative_ttl=30.0)
NODATA = Reply(0, canonical_name="www.example", negative_ttl=20.0)
SERVFAIL = Reply(2)
REFUSED = Reply(5)
FORMERR = Reply(1)
TRUNCATED = Reply(0, truncated=True)


def alias(target: str, ttl: float = 60.0, aliases: int = 1) -> Reply:
    return Reply(0, canonical_name=target, aliases=aliases, ttl=ttl)


class World:
    """Plays one exchange against servers in a table, and writes down what it does.

    A server is a function of the question that gives a list of (milliseconds, event); an event is a reply, a
    stray, a text (a malformed reply) or an OSError (refused, no route).
    """

    def __init__(
        self,
        servers: Mapping[str, Server],
        names: Iterable[str] = ("www.example",),
        standings: Standings | None = None,
        timeout: float = 5.0,
    ) -> None:
        self.pvd = ProvisioningDomain(
            "wifi", "wlan0", 3, resolvers=tuple(Resolver(server) for server in servers)
        )
        self.standings = standings or Standings()
        self.exchange = Exchange(self.pvd, list(names), "A", self.standings, timeout=timeout)
        self.servers = servers
        self.lines: list[str] = []
        self.queue: list[tuple[float, int, Send, object]] = []
        self.counter = itertools.count()

    def run(self, start: float = 0.0) -> str:
        exchange, now = self.exchange, start
        self.start = start
        self.perform(exchange.start(now), now)
        while exchange.outcome is None:
            assert self.queue or exchange.deadline < float("inf"), "an exchange that nothing can end"
            if now < exchange.deadline:
                assert exchange.tick(now) == (), "an early tick changes nothing"
            if self.queue and self.queue[0][0] <= exchange.deadline:
                now, _, send, event = heapq.heappop(self.queue)
                self.perform(self.tell(send, event, now), now)
            else:
                now = exchange.deadline
                self.perform(exchange.tick(now), now)
        outcome = exchange.outcome
        if isinstance(outcome, DnsFailure):
            self.write(now, f"failed: {outcome}")
        else:
            self.write(now, f"{outcome.negative or ' '.join(outcome.addresses)} ttl {outcome.ttl:g}")
        return "\n".join(self.lines)

    def tell(self, send: Send, event: object, now: float) -> Iterable[Action]:
        if isinstance(event, Reply):
            return self.exchange.replied(send, event, now)
        if isinstance(event, Stray):
            return self.exchange.stray(send, event, now)
        if isinstance(event, OSError):
            return self.exchange.failed(send, f"{send.server}: {event}", now, unreachable=True)
        return self.exchange.malformed(send, str(event), now)

    def perform(self, actions: Iterable[Action], now: float) -> None:
        for action in actions:
            if isinstance(action, Send):
                how = "tcp" if action.tcp else "udp" if action.edns else "udp plain"
                self.write(now, f"{action.server} {how} {action.name}")
                self.schedule(action, now)
            elif isinstance(action, Resend):
                self.write(now, f"{action.send.server} again")
            else:
                assert isinstance(action, Close)

    def schedule(self, send: Send, now: float) -> None:
        for delay, event in self.servers[str(send.server)](send):
            heapq.heappush(self.queue, (now + delay / 1000, next(self.counter), send, event))

    def write(self, now: float, text: str) -> None:
        self.lines.append(f"{(now - self.start) * 1000:6.0f} {text}")


def after(delay: float, *events: object) -> Callable[[Send], list[tuple[float, object]]]:
    """The same events for every question, all after so many milliseconds."""
    return lambda send: [(delay, event) for event in events]


def taking_turns(turns: list[list[tuple[float, object]]]) -> Server:
    """Something else for every question."""
    script = itertools.cycle(turns)
    return lambda send: next(script)


def silent(send: Send) -> list[tuple[float, object]]:
    return []


def timeline(text: str) -> str:
    return dedent(text).strip("\n")


def check(world: World, expected: str, start: float = 0.0) -> None:
    assert timeline(dedent(world.run(start))) == timeline(expected)


@pytest.mark.row("3.42")
def test_a_primary_that_answers_is_the_only_one_asked() -> None:
    check(
        World({"10.0.0.1": after(299, ok()), "10.0.0.2": silent}),
        """
             0 10.0.0.1 udp www.example
           299 192.0.2.1 ttl 60
        """,
    )


@pytest.mark.row("3.42")
def test_a_silent_primary_costs_one_short_stagger() -> None:
    check(
        World({"10.0.0.1": silent, "10.0.0.2": after(20, ok())}),
        """
             0 10.0.0.1 udp www.example
           300 10.0.0.2 udp www.example
           320 192.0.2.1 ttl 60
        """,
    )


def test_a_late_answer_of_the_first_still_counts() -> None:
    check(
        World({"10.0.0.1": after(310, ok("192.0.2.1")), "10.0.0.2": after(20, ok("192.0.2.2"))}),
        """
             0 10.0.0.1 udp www.example
           300 10.0.0.2 udp www.example
           310 192.0.2.1 ttl 60
        """,
    )


def test_one_silent_server_is_asked_again_on_the_same_socket() -> None:
    """Growing gaps; the same message (RFC 5452 s5: more questions in flight help a forger)."""
    check(
        World({"10.0.0.1": silent}),
        """
             0 10.0.0.1 udp www.example
           300 10.0.0.1 again
           900 10.0.0.1 again
          2100 10.0.0.1 again
          4500 10.0.0.1 again
          5000 failed: timed out after 5.0 s
        """,
    )


def test_three_silent_servers_take_turns() -> None:
    check(
        World({"10.0.0.1": silent, "10.0.0.2": silent, "10.0.0.3": silent}, timeout=2.0),
        """
             0 10.0.0.1 udp www.example
           300 10.0.0.2 udp www.example
           600 10.0.0.3 udp www.example
           900 10.0.0.1 again
          1500 10.0.0.2 again
          2000 failed: timed out after 2.0 s
        """,
    )


def test_ipv6_goes_first_among_equals_and_is_doubted_sooner() -> None:
    """RFC 8305 s3.1, s8: an IPv6 resolver that never answered here has half the time before IPv4 is asked."""
    check(
        World({"10.0.0.1": after(20, ok()), "2001:db8::1": silent}),
        """
             0 2001:db8::1 udp www.example
           150 10.0.0.1 udp www.example
           170 192.0.2.1 ttl 60
        """,
    )


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (SERVFAIL, "SERVFAIL from 10.0.0.1"),
        (REFUSED, "REFUSED from 10.0.0.1"),
        (Reply(23), "RCODE 23 from 10.0.0.1"),
        (Reply(0, referral=True), "10.0.0.1 does not resolve for us (a referral)"),
        ("junk", "malformed reply from 10.0.0.1: junk"),
        (ConnectionRefusedError("refused"), "10.0.0.1: refused"),
    ],
)
def test_a_failure_asks_the_next_at_once(event: object, why: str) -> None:
    check(
        World({"10.0.0.1": after(10, event), "10.0.0.2": after(20, ok())}),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.2 udp www.example
            30 192.0.2.1 ttl 60
        """,
    )
    check(
        World({"10.0.0.1": after(10, event)}),
        f"""
             0 10.0.0.1 udp www.example
            10 failed: {why}
        """,
    )


def test_all_failures_are_told() -> None:
    check(
        World(
            {"10.0.0.1": after(10, SERVFAIL), "10.0.0.2": silent, "10.0.0.3": after(5, "junk")}, timeout=1.0
        ),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.2 udp www.example
           310 10.0.0.3 udp www.example
           315 10.0.0.2 again
           915 10.0.0.2 again
          1000 failed: SERVFAIL from 10.0.0.1; malformed reply from 10.0.0.3: junk; timed out after 1.0 s
        """,
    )


def test_a_failure_does_not_hurry_the_one_that_was_asked_later() -> None:
    check(
        World({"10.0.0.1": after(310, SERVFAIL), "10.0.0.2": after(100, ok()), "10.0.0.3": silent}),
        """
             0 10.0.0.1 udp www.example
           300 10.0.0.2 udp www.example
           400 192.0.2.1 ttl 60
        """,
    )  # fmt: skip


def test_truncated_is_asked_again_over_tcp() -> None:
    """RFC 7766 s5."""
    check(
        World({"10.0.0.1": lambda send: [(10, ok() if send.tcp else TRUNCATED)]}),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.1 tcp www.example
            20 192.0.2.1 ttl 60
        """,
    )


def test_tcp_that_does_not_come_up_gives_way_to_the_next_server() -> None:
    check(
        World({"10.0.0.1": lambda send: [] if send.tcp else [(10, TRUNCATED)], "10.0.0.2": after(10, ok())}),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.1 tcp www.example
          1010 10.0.0.2 udp www.example
          1020 192.0.2.1 ttl 60
        """,
    )


def test_truncated_over_tcp_is_malformed() -> None:
    check(
        World({"10.0.0.1": after(10, TRUNCATED)}),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.1 tcp www.example
            20 failed: malformed reply from 10.0.0.1: truncated over TCP
        """,
    )


def test_a_server_that_chokes_on_edns_is_asked_without() -> None:
    """RFC 6891 s7."""
    check(
        World({"10.0.0.1": lambda send: [(10, FORMERR if send.edns else ok())]}),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.1 udp plain www.example
            20 192.0.2.1 ttl 60
        """,
    )
    check(
        World({"10.0.0.1": after(10, FORMERR)}),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.1 udp plain www.example
            20 failed: FORMERR from 10.0.0.1
        """,
    )


def test_strays_are_ignored_and_told() -> None:
    """RFC 5452 s9.1: what does not match is as if it had not come."""
    check(
        World({"10.0.0.1": lambda send: [(10, Stray("wrong id")), (20, Stray("wrong id")), (30, ok())]}),
        """
             0 10.0.0.1 udp www.example
            30 192.0.2.1 ttl 60
        """,
    )
    check(
        World({"10.0.0.1": after(10, Stray("wrong id"), Stray("wrong question"))}, timeout=0.3),
        """
             0 10.0.0.1 udp www.example
           300 failed: timed out after 0.3 s; ignored 2 messages (wrong question)
        """,
    )


def test_a_server_that_folds_the_case_is_asked_over_tcp() -> None:
    """So the 0x20 bits are never given up over UDP, and the server is still usable."""
    folded = Stray("the question's case is not kept", case_only=True)
    check(
        World({"10.0.0.1": lambda send: [(10, ok() if send.tcp else folded)]}),
        """
             0 10.0.0.1 udp www.example
            10 10.0.0.1 tcp www.example
            20 192.0.2.1 ttl 60
        """,
    )


def test_aliases_are_followed_at_the_same_server() -> None:
    """RFC 6731 s4.7: inside the PvD; the TTL is the least of the chain."""
    check(
        World(
            {
                "10.0.0.1": silent,
                "10.0.0.2": lambda send: [
                    (10, ok(ttl=60.0) if send.name == "cdn.example" else alias("cdn.example", 7.0))
                ],
            }
        ),
        """
             0 10.0.0.1 udp www.example
           300 10.0.0.2 udp www.example
           310 10.0.0.2 udp cdn.example
           320 192.0.2.1 ttl 7
        """,
    )


def test_a_loop_of_aliases_ends() -> None:
    world = World(
        {"10.0.0.1": lambda send: [(1, alias("b.example" if send.name[0] != "b" else "a.example"))]}
    )
    assert "more than 16 CNAMEs, or a loop" in world.run().splitlines()[-1]
    assert len(world.lines) == 18


def test_an_alias_to_nowhere_is_negative_without_another_question() -> None:
    """RFC 2308 s2.1, s2.2: the SOA says so."""
    reply = Reply(3, canonical_name="cdn.example", aliases=1, ttl=7.0, negative_ttl=30.0)
    world = World({"10.0.0.1": after(10, reply)})
    world.run()
    assert world.exchange.outcome == Answer((), 30.0, "10.0.0.1", "cdn.example", "NXDOMAIN")


@pytest.mark.parametrize(
    ("reply", "kind", "ttl"),
    [
        (NXDOMAIN, "NXDOMAIN", 30.0),
        (NODATA, "NODATA", 20.0),
        (Reply(3, canonical_name="www.example"), "NXDOMAIN", 0.0),
        (Reply(0, canonical_name="www.example", negative_ttl=1e9), "NODATA", 10800.0),
    ],
)
def test_negative_answers(reply: Reply, kind: str, ttl: float) -> None:
    """RFC 2308 s5: no SOA, not to be cached; never longer than three hours."""
    world = World({"10.0.0.1": after(10, reply), "10.0.0.2": silent})
    world.run()
    assert world.exchange.outcome == Answer((), ttl, "10.0.0.1", "www.example", kind)


@pytest.mark.row("4.6")
def test_search_names_are_tried_in_turn() -> None:
    replies = {"www.home.example": NXDOMAIN, "www.corp.example": NODATA, "www": NXDOMAIN}
    check(
        World({"10.0.0.1": lambda send: [(10, replies[send.name])]}, names=replies),
        """
             0 10.0.0.1 udp www.home.example
            10 10.0.0.1 udp www.corp.example
            20 10.0.0.1 udp www
            30 NODATA ttl 20
        """,
    )
    replies["www.corp.example"] = ok()
    check(
        World({"10.0.0.1": lambda send: [(10, replies[send.name])]}, names=replies),
        """
             0 10.0.0.1 udp www.home.example
            10 10.0.0.1 udp www.corp.example
            20 192.0.2.1 ttl 60
        """,
    )


@pytest.mark.parametrize(
    ("name", "ndots", "expected"),
    [
        ("printer", 1, ["printer.home.example", "printer.corp.example", "printer"]),
        ("www.example.com", 1, ["www.example.com"]),
        ("printer.", 1, ["printer."]),
        ("a.b", 2, ["a.b.home.example", "a.b.corp.example", "a.b"]),
        ("printer", 0, ["printer"]),
    ],
)
def test_the_search_list_is_for_names_with_few_dots(name: str, ndots: int, expected: list[str]) -> None:
    pvd = ProvisioningDomain("wifi", search=("home.example.", "corp.example"))
    assert search_names(pvd, name, ndots) == expected


def test_without_resolvers_there_is_nobody_to_ask() -> None:
    check(World({}), "     0 failed: wifi has no resolvers")


def test_a_resolver_of_a_family_without_an_address_is_not_asked() -> None:
    """The kernel would send from another interface's address."""
    pvd = ProvisioningDomain(
        "wifi", "wlan0", 3, addresses=(LocalAddress("2001:db8::2", 64),), resolvers=(Resolver("10.0.0.1"),)
    )
    exchange = Exchange(pvd, ["www.example"], "A", Standings())
    assert exchange.start(0.0) == ()
    assert str(exchange.outcome) == "wifi has no address to reach its resolvers from"


@pytest.mark.parametrize(
    ("resolvers", "families", "asked"),
    [
        (("10.0.0.1", "2001:db8::1"), (6, 4), ["2001:db8::1", "10.0.0.1"]),
        (("10.0.0.1", "2001:db8::1"), (4,), ["10.0.0.1"]),
        (("10.0.0.1", "2001:db8::1"), (6,), ["2001:db8::1"]),
        (("10.0.0.1",), (6,), ["10.0.0.1"]),
    ],
)
def test_policys_families_choose_among_resolvers_and_leave_one_to_ask(
    resolvers: tuple[str, ...], families: tuple[int, ...], asked: list[str]
) -> None:
    """Most networks name their resolvers by IPv4 alone, also those with IPv6 for connections."""
    pvd = ProvisioningDomain("wifi", "wlan0", 3, resolvers=tuple(map(Resolver, resolvers)))
    servers = Standings().order(pvd, 0.0, families)
    assert [server.resolver.address for server in servers] == asked


class TestStandings:
    """What one lookup teaches the next (RFC 8305 s3.1)."""

    def test_a_silent_server_is_asked_last_for_a_while_then_first_again(self) -> None:
        standings = Standings()
        silent_first = {"10.0.0.1": silent, "10.0.0.2": after(20, ok())}
        assert "300 10.0.0.2" in World(silent_first, standings=standings).run()
        quick = """
             0 10.0.0.2 udp www.example
            20 192.0.2.1 ttl 60
        """
        check(World(silent_first, standings=standings), quick, start=1.0)
        # Its penalty is over, but who answered last stays first: no stagger is paid to find out.
        check(World(silent_first, standings=standings), quick, start=1000.0)

    def test_both_families_asked_at_once_are_one_silence(self) -> None:
        standings = Standings()
        for _ in range(2):
            World({"10.0.0.1": silent}, standings=standings, timeout=0.5).run()
        pvd = ProvisioningDomain("wifi", "wlan0", 3, resolvers=(Resolver("10.0.0.1"), Resolver("10.0.0.2")))
        assert [str(server) for server in standings.order(pvd, 30.2)] == ["10.0.0.2", "10.0.0.1"]
        assert [str(server) for server in standings.order(pvd, 30.4)] == ["10.0.0.1", "10.0.0.2"]

    def test_another_attachment_knows_nothing(self) -> None:
        standings = Standings()
        World({"10.0.0.1": silent, "10.0.0.2": after(20, ok())}, standings=standings).run()
        pvd = ProvisioningDomain(
            "wifi", "wlan0", 3, resolvers=(Resolver("10.0.0.1"), Resolver("10.0.0.2")), attachment=1
        )
        assert str(standings.order(pvd, 1.0)[0]) == "10.0.0.1"


REPLIES = st.sampled_from([ok(), NXDOMAIN, NODATA, SERVFAIL, FORMERR, TRUNCATED, alias("b.example")])
STRAYS = st.sampled_from([Stray("wrong id"), Stray("case", case_only=True)])
EVENTS = REPLIES | STRAYS | st.sampled_from(["junk", ConnectionRefusedError("refused")])
BEHAVIOUR = st.lists(st.tuples(st.integers(0, 3000), EVENTS), max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    servers=st.lists(st.lists(BEHAVIOUR, min_size=1, max_size=6), min_size=1, max_size=4),
    names=st.lists(st.sampled_from(["a.example", "b.example"]), min_size=1, max_size=3),
)
def test_every_exchange_ends_in_time_with_one_question_open_per_server(
    servers: list[list[list[tuple[float, object]]]], names: list[str]
) -> None:
    """Whatever servers do: unfinished means that somebody is asked, nobody twice at once; 5 s is the end."""
    world = World({f"10.0.0.{number}": taking_turns(turns) for number, turns in enumerate(servers)}, names)
    open_sends: list[Send] = []
    perform = world.perform

    def watched(actions: Iterable[Action], now: float) -> None:
        assert now <= 5.0
        for action in actions:
            if isinstance(action, Send):
                assert action.server not in [send.server for send in open_sends]
                open_sends.append(action)
            elif isinstance(action, Close):
                open_sends.remove(action.send)
            else:
                assert action.send in open_sends
        assert open_sends or world.exchange.outcome is not None
        perform(actions, now)

    world.perform = watched  # type: ignore[method-assign]
    world.run()
    assert isinstance(world.exchange.outcome, Answer | DnsFailure)
