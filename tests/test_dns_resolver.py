"""Lookups inside a PvD, against real servers on loopback: silent, slow, lying, truncating, broken ones."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anyio
import dns.flags
import pytest
import uvloop

from pvdrace.dns import Answer, DnsFailure, PvdResolver
from pvdrace.model import LocalAddress, ProvisioningDomain, Resolver
from scripted_dns import Asked, answering, pvd_of, serving, silent

if TYPE_CHECKING:
    from scripted_dns import Script, ScriptedDns

pytestmark = pytest.mark.anyio
NAME = "www.Example.test"


@pytest.fixture(autouse=True, scope="module")
def libuv_has_opened_its_pipe() -> None:
    """The first loop opens one that libuv keeps."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(autouse=True)
def no_socket_is_left_open() -> object:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before


async def ask(
    *scripts: Script, name: str = NAME, rdtype: str = "A", timeout: float = 5.0, search: tuple[str, ...] = ()
) -> tuple[Answer | str, list[list[Asked]]]:
    """The answer of a fresh resolver, or its failure in words; and what each server was asked."""
    with serving(*scripts) as servers:
        try:
            answer = await PvdResolver(timeout=timeout).lookup(pvd_of(*servers, search=search), name, rdtype)
        except DnsFailure as failure:
            return str(failure).replace(f":{servers[0].port}", ""), [server.asked for server in servers]
        return answer, [server.asked for server in servers]


class TestAnswers:
    @pytest.mark.parametrize(("rdtype", "address"), [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")])
    async def test_an_address(self, rdtype: str, address: str) -> None:
        with serving(answering(f"{rdtype} {address}")) as [server]:
            answer = await PvdResolver().lookup(pvd_of(server), NAME, rdtype)
            assert answer == Answer((address,), 60.0, f"127.0.0.1:{server.port}", "www.example.test")
            [asked] = server.asked
            assert asked.name.lower() == NAME.lower()

    async def test_a_resolver_with_an_ipv6_address(self) -> None:
        with serving(answering("A 192.0.2.1"), address="::1") as [server]:
            answer = await PvdResolver().lookup(pvd_of(server), NAME, "A")
            assert answer.server == f"[::1]:{server.port}"

    async def test_an_international_name(self) -> None:
        answer, [[asked]] = await ask(answering("A 192.0.2.1"), name="bücher.example")
        assert isinstance(answer, Answer)
        assert answer.canonical_name == asked.name.lower() == "xn--bcher-kva.example"

    async def test_an_alias_that_leaves_the_reply_is_followed_in_the_pvd(self) -> None:
        """RFC 6731 s4.7."""

        def script(asked: Asked) -> list[tuple[float, bytes]]:
            records = ["A 192.0.2.9"] if asked.name.lower() == "cdn.example" else ["CNAME cdn.example."]
            return [(0, asked.reply(*records))]

        answer, [asked] = await ask(script)
        assert isinstance(answer, Answer)
        assert (answer.addresses, answer.canonical_name) == (("192.0.2.9",), "cdn.example")
        assert [question.name.lower() for question in asked] == ["www.example.test", "cdn.example"]

    async def test_a_chain_inside_the_reply(self) -> None:
        answer, [asked] = await ask(answering("CNAME cdn.example.", "cdn.example A 192.0.2.9"))
        assert isinstance(answer, Answer)
        assert (answer.addresses, answer.canonical_name, len(asked)) == (("192.0.2.9",), "cdn.example", 1)

    @pytest.mark.parametrize(("rcode", "kind"), [(0, "NODATA"), (3, "NXDOMAIN")])
    async def test_negative(self, rcode: int, kind: str) -> None:
        """RFC 2308: an answer too, with the SOA's time."""
        answer, _ = await ask(lambda asked: [(0, asked.reply(rcode=rcode, authority="test."))])
        assert isinstance(answer, Answer)
        assert (answer.addresses, answer.negative, answer.ttl) == ((), kind, 30.0)

    async def test_search_domains_of_this_pvd_only(self) -> None:
        def script(asked: Asked) -> list[tuple[float, bytes]]:
            found = asked.name.lower() == "printer.home.example"
            return [(0, asked.reply("A 192.0.2.7") if found else asked.reply(rcode=3))]

        answer, _ = await ask(script, name="printer", search=("home.example",))
        assert isinstance(answer, Answer)
        assert answer.addresses == ("192.0.2.7",)
        answer, [asked] = await ask(script, name="printer")
        assert isinstance(answer, Answer)
        assert answer.negative == "NXDOMAIN"
        assert [question.name.lower() for question in asked] == ["printer"]

    @pytest.mark.parametrize("flags", [0, dns.flags.TC])
    async def test_truncated_goes_to_tcp(self, flags: int) -> None:
        """RFC 7766 s5; the reply is longer than any datagram of ours may be."""
        many = [f"A 192.0.2.{number}" for number in range(250)]

        def script(asked: Asked) -> list[tuple[float, bytes]]:
            return [(0, asked.reply(*many) if asked.tcp else asked.reply(*many[:3], flags=flags))]

        answer, [asked] = await ask(script)
        assert isinstance(answer, Answer)
        assert len(answer.addresses) == (250 if flags else 3)
        assert [question.tcp for question in asked] == ([False, True] if flags else [False])

    async def test_a_server_that_refuses_edns(self) -> None:
        """RFC 6891 s7."""

        def script(asked: Asked) -> list[tuple[float, bytes]]:
            plain = asked.message[11] == 0
            return [(0, asked.reply("A 192.0.2.1") if plain else asked.message[:2] + b"\x81\x81" + bytes(8))]

        answer, [asked] = await ask(script)
        assert isinstance(answer, Answer)
        assert len(asked) == 2

    async def test_a_server_that_folds_the_case_is_asked_over_tcp(self) -> None:
        def script(asked: Asked) -> list[tuple[float, bytes]]:
            reply = asked.reply("A 192.0.2.1")
            return [(0, reply[:12] + reply[12:].lower())]

        answer, [asked] = await ask(script, name="abcdefghijklmnopqrstuvwxyz.example")
        assert isinstance(answer, Answer)
        assert [question.tcp for question in asked] == [False, True]


class TestTrouble:
    async def test_a_silent_server_costs_a_short_stagger_and_is_then_asked_last(self) -> None:
        with serving(silent, answering("A 192.0.2.1")) as [dead, alive]:
            resolver, pvd = PvdResolver(), pvd_of(dead, alive)
            start = time.monotonic()
            await resolver.lookup(pvd, NAME, "A")
            assert 0.3 <= time.monotonic() - start < 2.0
            assert (len(dead.asked), len(alive.asked)) == (1, 1)
            await resolver.lookup(pvd, NAME, "AAAA")
            assert (len(dead.asked), len(alive.asked)) == (1, 2)
            # Another PvD with the same server has its own experience; after forget() so has this one.
            await resolver.lookup(pvd_of(dead, alive, name="lte"), NAME, "A")
            assert len(dead.asked) == 2
            resolver.forget("wifi")
            await resolver.lookup(pvd, NAME, "A")
            assert len(dead.asked) == 3

    async def test_a_primary_that_is_alive_is_asked_alone(self) -> None:
        answer, [first, second] = await ask(answering("A 192.0.2.1", delay=0.05), answering("A 192.0.2.2"))
        assert isinstance(answer, Answer)
        assert (answer.addresses, len(first), len(second)) == (("192.0.2.1",), 1, 0)

    async def test_the_slow_answer_of_the_first_is_taken_too(self) -> None:
        answer, [first, second] = await ask(answering("A 192.0.2.1", delay=0.5), silent)
        assert isinstance(answer, Answer)
        assert (answer.addresses, len(first), len(second)) == (("192.0.2.1",), 1, 1)

    async def test_silence_times_out(self) -> None:
        failure, [asked] = await ask(silent, timeout=0.5)
        assert failure == "timed out after 0.5 s"
        assert len(asked) == 2
        assert asked[0].message == asked[1].message, "a resend is the same message, from the same socket"
        assert asked[0].peer == asked[1].peer

    async def test_nobody_listens(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        with pytest.raises(DnsFailure) as caught:
            await PvdResolver().lookup(pvd_of(Resolver("127.0.0.1", port)), NAME, "A")
        assert str(caught.value) == f"127.0.0.1:{port}: refused"
        with serving(answering("A 192.0.2.1")) as [server]:
            pvd = pvd_of(Resolver("127.0.0.1", port), server)
            assert (await PvdResolver().lookup(pvd, NAME, "A")).addresses == ("192.0.2.1",)

    @pytest.mark.parametrize(
        ("spoil", "why"),
        [
            (lambda reply: reply[:-13], "malformed reply from 127.0.0.1: a record ends after the message"),
            (lambda reply: reply[:30], "malformed reply from 127.0.0.1: the message ends too early"),
            (lambda reply: reply + b"junk", "malformed reply from 127.0.0.1: 4 bytes after the end"),
            (lambda reply: reply[:2], "malformed reply from 127.0.0.1: 2 bytes, shorter than a header"),
        ],
    )
    async def test_a_malformed_reply_is_a_failure_with_its_reason(self, spoil: object, why: str) -> None:
        failure, _ = await ask(lambda asked: [(0, spoil(asked.reply("A 192.0.2.1")))])  # type: ignore[operator]
        assert failure == why

    async def test_a_malformed_reply_is_made_good_by_the_next_server(self) -> None:
        answer, _ = await ask(lambda asked: [(0, asked.reply("A 192.0.2.1")[:-1])], answering("A 192.0.2.2"))
        assert isinstance(answer, Answer)
        assert answer.addresses == ("192.0.2.2",)

    @pytest.mark.parametrize(("rcode", "word"), [(2, "SERVFAIL"), (5, "REFUSED")])
    async def test_an_error_of_the_server(self, rcode: int, word: str) -> None:
        failure, _ = await ask(lambda asked: [(0, asked.reply(rcode=rcode))])
        assert failure == f"{word} from 127.0.0.1"

    async def test_lies_before_the_true_reply_are_ignored(self) -> None:
        """RFC 5452 s4: wrong id, wrong question, an echo; the right reply comes last and wins."""

        def script(asked: Asked) -> list[tuple[float, bytes]]:
            lie = asked.reply("A 192.0.2.66")
            other = bytes([lie[0], lie[1] ^ 1]) + lie[2:]
            question = lie[:13] + b"x" + lie[14:]
            return [
                (0, other),
                (0, question),
                (0, asked.message),
                (0, b"x"),
                (0.05, asked.reply("A 192.0.2.1")),
            ]

        answer, [asked] = await ask(script)
        assert isinstance(answer, Answer)
        assert (answer.addresses, len(asked)) == (("192.0.2.1",), 1)

    async def test_lies_alone_time_out_and_are_told(self) -> None:
        def script(asked: Asked) -> list[tuple[float, bytes]]:
            lie = asked.reply("A 192.0.2.66")
            return [(0, bytes([lie[0], lie[1] ^ 1]) + lie[2:])]

        failure, _ = await ask(script, timeout=0.2)
        assert failure == "timed out after 0.2 s; ignored 1 messages (wrong id)"

    async def test_a_reply_from_another_source_is_dropped_by_the_kernel(self) -> None:
        """RFC 5452 s9.2: the socket is connected."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:

            def script(asked: Asked) -> list[tuple[float, bytes]]:
                forger.sendto(asked.reply("A 192.0.2.66"), asked.peer)
                return [(0.1, asked.reply("A 192.0.2.1"))]

            answer, _ = await ask(script)
            assert isinstance(answer, Answer)
            assert answer.addresses == ("192.0.2.1",)

    @pytest.mark.parametrize("spoil", ["close", "short", "wrong id"])
    async def test_tcp_that_breaks(self, spoil: str) -> None:
        def script(asked: Asked) -> list[tuple[float, bytes]]:
            if not asked.tcp:
                return [(0, asked.reply(flags=dns.flags.TC))]
            reply = asked.reply("A 192.0.2.1")
            return [(0, {"close": b"", "short": reply[:-1], "wrong id": b"xx" + reply[2:]}[spoil])]

        failure, _ = await ask(script)
        assert isinstance(failure, str)
        assert failure.startswith("malformed reply from 127.0.0.1: ")


class Kept:
    """Takes what is released, and how many replies may still come on it."""

    def __init__(self) -> None:
        self.sockets: list[tuple[socket.socket, int]] = []

    def __call__(self, sock: socket.socket, replies: int = 1) -> None:
        self.sockets.append((sock, replies))


class TestRelease:
    """A socket on which a reply may still come is not closed: the kernel would answer it on any link."""

    async def released(self, *delays: float) -> tuple[Kept, ScriptedDns]:
        """What a lookup hands over, whose n-th sending (at 0 s, 0.3 s, ...) is answered after so long."""
        keep = Kept()
        left = iter(delays)
        with serving(lambda asked: [(next(left), asked.reply("A 192.0.2.1"))]) as [server]:
            answer = await PvdResolver().lookup(pvd_of(server), NAME, "A", release=keep)
            assert answer.addresses == ("192.0.2.1",)
            for sock, _ in keep.sockets:
                with anyio.fail_after(5):
                    await anyio.wait_readable(sock)
        return keep, server

    async def test_the_second_reply_to_a_question_that_was_sent_twice_is_awaited(self) -> None:
        keep, server = await self.released(0.5, 0.6)
        [(sock, replies)] = keep.sockets
        with sock:
            assert (len(server.asked), replies) == (2, 1)
            assert sock.recv(512)[:2] == server.asked[1].message[:2]

    async def test_a_question_that_was_sent_twice_and_given_up_is_owed_both_replies(self) -> None:
        keep = Kept()
        with serving(silent) as [server]:
            with anyio.move_on_after(0.6):
                await PvdResolver().lookup(pvd_of(server), NAME, "A", release=keep)
        [(sock, replies)] = keep.sockets
        sock.close()
        assert (len(server.asked), replies) == (2, 2)

    async def test_nothing_is_owed_after_the_only_reply(self) -> None:
        assert (await self.released(0.0))[0].sockets == []

    async def test_nothing_is_owed_after_both_replies(self) -> None:
        keep = Kept()

        def script(asked: Asked) -> list[tuple[float, bytes]]:
            return [(0.3, asked.reply("A 192.0.2.1"))] * 2 if len(server.asked) == 2 else []

        async def be_busy_until_both_are_there() -> None:
            await anyio.sleep(0.4)  # the question is sent again after 0.3 s
            time.sleep(0.6)

        with serving(script) as [server]:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(be_busy_until_both_are_there)
                await PvdResolver().lookup(pvd_of(server), NAME, "A", release=keep)
        assert keep.sockets == []

    async def test_a_lookup_that_is_cancelled_owes_its_reply(self) -> None:
        keep = Kept()
        with serving(answering("A 192.0.2.1", delay=0.3)) as [server]:
            with anyio.move_on_after(0.1):
                await PvdResolver().lookup(pvd_of(server), NAME, "A", release=keep)
            [(sock, replies)] = keep.sockets
            assert replies == 1
            with sock, anyio.fail_after(5):
                await anyio.wait_readable(sock)


class TestRefusals:
    """What never becomes a packet."""

    @pytest.mark.parametrize("name", ["", "a..b", "foo bar", "x" * 64, "http://example.com/"])
    async def test_what_is_no_name(self, name: str) -> None:
        failure, [asked] = await ask(silent, name=name)
        assert "is not a domain name" in str(failure)
        assert asked == []

    async def test_an_unknown_type(self) -> None:
        with pytest.raises(ValueError, match="'MX' is no record type"):
            await PvdResolver().lookup(pvd_of(), NAME, "MX")

    async def test_no_resolvers(self) -> None:
        with pytest.raises(DnsFailure, match=r"^wifi has no resolvers$"):
            await PvdResolver().lookup(pvd_of(), NAME, "A")

    async def test_a_pin_that_cannot_be_set(self) -> None:
        """Fail closed: without its device a PvD asks nobody."""
        with serving(answering("A 192.0.2.1")) as [server]:
            pvd = ProvisioningDomain("gone", "gone0", 99, resolvers=(server.resolver,))
            with pytest.raises(DnsFailure, match="cannot pin to gone0: No such device"):
                await PvdResolver().lookup(pvd, NAME, "A")
            assert server.asked == []

    async def test_no_address_of_the_family(self) -> None:
        pvd = ProvisioningDomain(
            "v6", "v6", 9, addresses=(LocalAddress("2001:db8::2", 64),), resolvers=(Resolver("192.0.2.53"),)
        )
        with pytest.raises(DnsFailure, match=r"^v6 has no address to reach its resolvers from$"):
            await PvdResolver().lookup(pvd, NAME, "A")


class TestCache:
    async def test_an_answer_is_kept_for_its_ttl_in_its_pvd(self) -> None:
        clock = time.monotonic() + 0.0
        with serving(answering("A 192.0.2.1")) as [server]:
            resolver, pvd = PvdResolver(clock=lambda: clock), pvd_of(server)
            assert resolver.cached(pvd, NAME, "A") is None
            first = await resolver.lookup(pvd, NAME, "A")
            clock += 20
            second = await resolver.lookup(pvd, NAME.upper(), "A")
            assert (first.cached, second.cached, len(server.asked)) == (False, True, 1)
            assert second.addresses == first.addresses
            assert second.ttl == pytest.approx(40.0)
            assert resolver.cached(pvd_of(server, name="lte"), NAME, "A") is None
            clock += 40
            assert resolver.cached(pvd, NAME, "A") is None

    async def test_failures_are_not_kept(self) -> None:
        with serving(lambda asked: [(0, asked.reply(rcode=2))]) as [server]:
            resolver, pvd = PvdResolver(), pvd_of(server)
            for _ in range(2):
                with pytest.raises(DnsFailure):
                    await resolver.lookup(pvd, NAME, "A")
            assert len(server.asked) == 2

    async def test_a_negative_answer_is_kept(self) -> None:
        with serving(lambda asked: [(0, asked.reply(rcode=3, authority="test."))]) as [server]:
            resolver, pvd = PvdResolver(), pvd_of(server)
            await resolver.lookup(pvd, NAME, "A")
            cached = resolver.cached(pvd, NAME, "A")
            assert cached is not None
            assert (cached.negative, cached.cached) == ("NXDOMAIN", True)


class TestConcurrency:
    async def test_both_questions_leave_together(self) -> None:
        """RFC 8305 s3: AAAA and A back to back, not one after the other's answer."""
        with serving(answering("A 192.0.2.1", delay=0.2)) as [server]:
            resolver, pvd = PvdResolver(), pvd_of(server)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(resolver.lookup, pvd, NAME, "AAAA")
                tasks.start_soon(resolver.lookup, pvd, NAME, "A")
                await anyio.sleep(0.1)
                assert len(server.asked) == 2

    async def test_hundreds_at_once(self) -> None:
        with serving(answering("A 192.0.2.1")) as [server]:
            resolver, pvd, answers = PvdResolver(), pvd_of(server), []

            async def one(number: int) -> None:
                answers.append(await resolver.lookup(pvd, f"host{number}.example", "A"))

            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(one, number)
            assert len(answers) == 200

    async def test_the_same_lookup_is_sent_once_at_a_time(self) -> None:
        with serving(answering("A 192.0.2.1", delay=0.1)) as [server]:
            resolver, pvd, answers = PvdResolver(), pvd_of(server), []

            async def one(pvd: ProvisioningDomain) -> None:
                answers.append((await resolver.lookup(pvd, NAME, "A")).addresses)

            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(one, pvd)
                tasks.start_soon(one, pvd_of(server, name="lte"))
            assert answers == [("192.0.2.1",)] * 51
            assert len(server.asked) == 2, "one for each PvD"

    async def test_the_same_failure_is_told_to_all(self) -> None:
        with serving(lambda asked: [(0.1, asked.reply(rcode=2))]) as [server]:
            resolver, pvd, failures = PvdResolver(), pvd_of(server), []

            async def one() -> None:
                with pytest.raises(DnsFailure, match="SERVFAIL") as caught:
                    await resolver.lookup(pvd, NAME, "A")
                failures.append(caught.value)

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(one)
            assert len(set(map(id, failures))) == 5
            assert len(server.asked) == 1

    async def test_when_the_first_is_cancelled_the_second_asks(self) -> None:
        with serving(answering("A 192.0.2.1", delay=0.2)) as [server]:
            resolver, pvd, answers = PvdResolver(), pvd_of(server), []
            first = anyio.CancelScope()

            async def asks(scope: anyio.CancelScope) -> None:
                with scope:
                    answers.append((await resolver.lookup(pvd, NAME, "A")).addresses)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(asks, first)
                await anyio.sleep(0.05)
                tasks.start_soon(asks, anyio.CancelScope())
                tasks.start_soon(asks, anyio.CancelScope())
                await anyio.sleep(0.05)
                first.cancel()
            assert answers == [("192.0.2.1",)] * 2
            assert len(server.asked) == 2

    @pytest.mark.parametrize("moment", [0.05, 0.4])
    async def test_cancelling_closes_everything(self, moment: float) -> None:
        """With one socket open, and with two (the fixture counts descriptors)."""
        with serving(silent, silent) as servers:
            with anyio.move_on_after(moment) as scope:
                await PvdResolver().lookup(pvd_of(*servers), NAME, "A")
            assert scope.cancelled_caught

    async def test_cancelling_in_tcp_closes_everything(self) -> None:
        with serving(lambda asked: [] if asked.tcp else [(0, asked.reply(flags=dns.flags.TC))]) as servers:
            with anyio.move_on_after(0.2) as scope:
                await PvdResolver().lookup(pvd_of(*servers), NAME, "A")
            assert scope.cancelled_caught
            assert servers[0].asked[-1].tcp


def test_on_uvloop() -> None:
    """Its poll handles take an epoll descriptor, too: a silent server, then TCP."""

    def script(asked: Asked) -> list[tuple[float, bytes]]:
        return [(0, asked.reply("A 192.0.2.1") if asked.tcp else asked.reply(flags=dns.flags.TC))]

    with (
        serving(silent, script) as servers,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        answer = runner.run(PvdResolver().lookup(pvd_of(*servers), NAME, "A"))
        assert answer.addresses == ("192.0.2.1",)


def test_a_lookup_of_a_plain_name_does_not_load_dnspython() -> None:
    """30 ms that the first race of a process would wait for."""
    code = """if True:
        import sys, anyio
        from pvdrace.dns import PvdResolver
        from pvdrace.model import ProvisioningDomain, Resolver

        pvd = ProvisioningDomain("wifi", "lo", 1, resolvers=(Resolver("127.0.0.1", int(sys.argv[1])),))
        answer = anyio.run(PvdResolver().lookup, pvd, "www.example", "A")
        sys.exit("dns" in sys.modules or answer.addresses != ("192.0.2.1",))
    """
    with serving(answering("CNAME cdn.example.", "cdn.example A 192.0.2.1")) as [server]:
        assert subprocess.run([sys.executable, "-c", code, str(server.port)], check=False).returncode == 0


ABANDON = """
import asyncio, sys, anyio
from pvdrace.dns import PvdResolver
from pvdrace.model import ProvisioningDomain, Resolver

pvd = ProvisioningDomain("wifi", "lo", 1, resolvers=(Resolver("127.0.0.1", int(sys.argv[1])),))
resolver = PvdResolver()
loop = asyncio.new_event_loop()
tasks = [loop.create_task(resolver.lookup(pvd, "www.example", "A")) for _ in range(2)]
loop.run_until_complete(asyncio.sleep(0.05))
loop.close()  # with one lookup under way, and one caller who waits for it

async def main():
    with anyio.fail_after(10):
        print((await resolver.lookup(pvd, "www.example", "A")).addresses, resolver._running.keys())

anyio.run(main, backend=sys.argv[2])
"""


def test_a_lookup_that_was_abandoned_with_its_loop_holds_nobody_up(anyio_backend_name: str) -> None:
    """A resolver may outlive a loop. In a process of its own, for what is abandoned is never closed."""
    seen: list[Asked] = []

    def script(asked: Asked) -> list[tuple[float, bytes]]:
        seen.append(asked)
        return [(0, asked.reply("A 192.0.2.1"))] if len(seen) > 1 else []

    with serving(script) as [server]:
        command = [sys.executable, "-c", ABANDON, str(server.port), anyio_backend_name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "('192.0.2.1',) dict_keys([])\n", done.stderr
