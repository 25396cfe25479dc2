"""The shared suite: what every client library does with pvdrace under it, each on every backend it has."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import time
from collections.abc import AsyncIterator, Iterator
from inspect import isawaitable
from typing import Any, NamedTuple

import anyio
import pytest

import pvdrace
from lab.clients.base import Client, all_clients
from lab.racing import SLACK, configuration, described, opened, ordinary, policy, sent
from lab.test_portals import probing
from pvdrace.config import Configuration, parse
from pvdrace.lab import Lab
from pvdrace.lab.content import pattern
from pvdrace.model import CostClass, Reachability

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

SIZE = 6_000_000  # bytes; no multiple of any buffer's size


class Case(NamedTuple):
    """A client on a backend."""

    client: Client
    backend: str

    def __str__(self) -> str:
        return self.client.name if self.client.blocking else f"{self.client.name}-{self.backend}"


CASES = [Case(client, backend) for client in all_clients() for backend in client.backends]
POOLING = [case for case in CASES if case.client.pools]
JUDGING = [case for case in CASES if not case.client.proxied]
ASYNCHRONOUS = [case for case in CASES if not case.client.blocking]
PROBING = [case for case in POOLING if not case.client.blocking]  # blocking code never probes


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def anyio_backend(case: Case) -> str:
    return case.backend


@contextlib.asynccontextmanager
async def session(
    case: Case,
    lab: Lab,
    config: Configuration | None = None,
    *,
    policy: pvdrace.Policy | None = None,
    timeout: float = 10.0,
) -> AsyncIterator[Any]:
    """The client over a connector of its own; nothing is left of it in the end."""
    config = config or configuration(lab)
    arguments: dict[str, Any] = {"policy": policy, "timeout": timeout}
    if case.client.blocking:
        with (
            blocking_connector(config) as connector,
            case.client.open(connector, lab.ca_file, **arguments) as found,
        ):
            yield found
    elif case.client.proxied:
        async with case.client.open(config, lab.ca_file, **arguments) as found:
            yield found
    else:
        async with (
            opened(lab, config) as connector,
            case.client.open(connector, lab.ca_file, **arguments) as found,
        ):
            yield found


@contextlib.contextmanager
def blocking_connector(config: Configuration) -> Iterator[Any]:
    sync: Any = importlib.import_module("pvdrace.sync")
    with sync.Connector(config) as connector:
        yield connector


async def word(found: Any, url: str) -> str:
    """Through which provider the server saw a request come."""
    body = found.get(url)
    body = await body if isawaitable(body) else body
    return bytes(body).decode().strip()


async def put(found: Any, url: str, body: bytes) -> bytes:
    answer = found.put(url, body)
    return bytes(await answer if isawaitable(answer) else answer)


async def fetched(found: Any, url: str) -> bytes:
    body = found.get(url)
    return bytes(await body if isawaitable(body) else body)


def urls(lab: Lab) -> list[str]:
    return [f"http://{lab.name}/", f"https://{lab.name}/"]


async def test_the_best_path_is_used_when_all_is_well(case: Case, t2: Lab) -> None:
    async with session(case, t2) as found:
        for url in urls(t2):
            assert await word(found, url) == "wA"


async def test_a_dead_default_link_is_survived(case: Case, t2: Lab) -> None:
    """The ordinary stack sits there until its time is over: `test_the_ordinary_stack_does_not`."""
    t2["wA"].blackhole()
    async with session(case, t2) as found:
        for url in urls(t2):
            assert await word(found, url) == "wB"


@pytest.mark.parametrize("case", JUDGING, ids=str, indirect=True)
async def test_a_portal_that_intercepts_tls_does_not_win(case: Case, t2: Lab) -> None:
    """The portal's TCP connects, its certificate is wrong: the race goes on at TLS, in the next PvD."""
    t2["wA"].portal()
    async with session(case, t2) as found:
        assert await word(found, f"https://{t2.name}/") == "wB"


async def test_silence_at_tls_does_not_win(case: Case, t2: Lab) -> None:
    """A path that lets the handshake through and nothing after it."""
    if not case.client.resumes_tls:
        pytest.xfail("the client's hook ends before TLS")
    t2["wA"].stall()
    async with session(case, t2) as found:
        assert await word(found, f"https://{t2.name}/") == "wB"


async def test_dead_dns_in_one_pvd_is_survived(case: Case, t2: Lab) -> None:
    t2["wA"].dns("dead")
    async with session(case, t2) as found:
        for url in urls(t2):
            assert await word(found, url) == "wB"


async def test_require_sends_nothing_elsewhere(case: Case, t2: Lab) -> None:
    """Not a packet, DNS included, though the other link is the default one and works."""
    async with session(case, t2, policy=policy(require="pvd:wB")) as found:
        for url in urls(t2):
            assert await word(found, url) == "wB"
    assert sent(t2["wA"]) == []
    assert sent(t2["wB"]) != []


async def test_a_rule_is_for_its_host_alone(case: Case, t2: Lab) -> None:
    """Not a packet elsewhere for the host that it names; another host goes where the policy of all says."""
    rule = f'[[rule]]\nmatch = {{ host = ["{t2.name}"] }}\nrequire = ["pvd:wB"]\n'
    async with session(case, t2, parse(f"{t2.config()}\n{rule}")) as found:
        for url in urls(t2):
            assert await word(found, url) == "wB"
        assert sent(t2["wA"]) == []
        assert await word(found, "http://alias.example.test/") == "wA"


async def test_require_fails_closed(case: Case, t2: Lab) -> None:
    """The client's own exception, with our report in it; nothing is sent by the link that would work."""
    t2["wB"].blackhole()
    async with session(case, t2, policy=policy(require="pvd:wB"), timeout=0.7) as found:
        with pytest.raises((*case.client.errors, *case.client.timeouts)) as raised:
            await word(found, f"https://{t2.name}/")
    report = pvdrace.report_of(raised.value)
    assert case.client.proxied or (report is not None and report.outcome == "lost")
    assert sent(t2["wA"]) == []


async def test_a_metered_link_is_left_alone(case: Case, t2: Lab) -> None:
    """The default link costs, the other one does not and works."""
    costs = described(t2, wA={"cost": CostClass.VARIABLE}, wB={"cost": CostClass.UNMETERED})
    async with session(case, t2, costs) as found:
        for url in urls(t2):
            assert await word(found, url) == "wB"
    assert sent(t2["wA"]) == []


@pytest.mark.parametrize("case", POOLING, ids=str, indirect=True)
async def test_pooled_connections_go_with_their_pvd(case: Case, t2: Lab) -> None:
    """A request after the link went: no connection of before is tried, and none is left open."""
    async with session(case, t2) as found:
        for url in urls(t2):
            assert await word(found, url) == "wA"
        assert established(t2, "wA")
        t2["wA"].link_down()
        began = time.monotonic()
        for url in urls(t2):
            assert await word(found, url) == "wB"
        assert time.monotonic() - began < 2 + SLACK
        assert not established(t2, "wA")


@pytest.mark.parametrize("case", PROBING, ids=str, indirect=True)
async def test_pooled_connections_go_when_their_pvd_is_a_portal(case: Case, t2: Lab) -> None:
    """At once where the client watches the PvDs, else with the next request."""
    async with (
        opened(t2, probing(t2)) as connector,
        case.client.open(connector, t2.ca_file, policy=None, timeout=10.0) as found,
    ):
        for url in urls(t2):
            assert await word(found, url) == "wA"
        assert len(established(t2, "wA")) >= 2
        t2["wA"].portal()
        with anyio.fail_after(5):
            while (await connector.snapshot())["wA"].reachability is not Reachability.PORTAL:
                await connector.probe("wA")
        if case.client.watches:
            await until_closed(t2, "wA")
        for url in urls(t2):
            assert await word(found, url) == "wB"
        await until_closed(t2, "wA")


@pytest.mark.parametrize("case", POOLING, ids=str, indirect=True)
async def test_a_pooled_connection_that_policy_now_forbids_is_not_used(case: Case, t2: Lab) -> None:
    async with session(case, t2) as found:
        for url in urls(t2):
            assert await word(found, url) == "wA"
        found.set_policy(policy(prohibit="pvd:wA"))
        for url in urls(t2):
            assert await word(found, url) == "wB"


@pytest.mark.parametrize("case", POOLING, ids=str, indirect=True)
async def test_a_pooled_connection_that_is_well_is_used_again(case: Case, t2: Lab) -> None:
    async with session(case, t2) as found:
        for url in urls(t2) * 3:
            assert await word(found, url) == "wA"
    syns = [packet for packet in sent(t2["wA"]) if packet.kind == "syn" and packet.port in (80, 443)]
    assert len({packet.source_port for packet in syns}) == 2


async def test_the_time_of_the_client_is_the_time_of_the_race(case: Case, t2: Lab) -> None:
    for link in t2:
        link.blackhole()
    async with session(case, t2, timeout=0.7) as found:
        for url in urls(t2):
            began = time.monotonic()
            with pytest.raises((*case.client.errors, *case.client.timeouts)) as raised:
                await word(found, url)
            assert time.monotonic() - began < 0.7 + 2 * SLACK + 1
            assert case.client.proxied or pvdrace.report_of(raised.value) is not None


@pytest.mark.parametrize("case", ASYNCHRONOUS, ids=str, indirect=True)
@pytest.mark.parametrize("after", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelled_it_leaves_nothing_behind(case: Case, t2: Lab, scheme: str, after: float) -> None:
    """Before anything is connected, and at TLS. `opened` looks at tasks, the lab's fixture at descriptors."""
    for link in t2:
        link.stall() if after == 0.02 else link.blackhole()
    async with session(case, t2) as found:
        with anyio.move_on_after(after) as scope:
            await word(found, f"{scheme}://{t2.name}/")
        assert scope.cancelled_caught
        for link in t2:
            link.heal()
        assert await word(found, f"{scheme}://{t2.name}/") in ("wA", "wB")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_much_goes_both_ways_intact(case: Case, t2: Lab, scheme: str) -> None:
    body = pattern(SIZE)
    async with session(case, t2) as found:
        down = await fetched(found, f"{scheme}://{t2.name}/pattern/{SIZE}")
        assert hashlib.sha256(down).digest() == hashlib.sha256(body).digest()
        said = await put(found, f"{scheme}://{t2.name}/sha256", body)
        assert said.decode().strip() == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
def test_the_ordinary_stack_does_not(t2: Lab, how: str) -> None:
    """The control: the same links without pvdrace."""
    t2["wA"].blackhole()
    assert ordinary(t2, port=80, how=how).error in ("TimeoutError", "OSError")
    t2["wA"].heal()
    t2["wA"].portal()
    assert ordinary(t2, how=how).error == "SSLCertVerificationError"


def established(lab: Lab, name: str) -> list[str]:
    """The TCP connections of the client that are open at an address of this link."""
    link = lab[name]
    shown = lab.run(["ss", "-Htn", "state", "established"], check=True).stdout
    ours = [address for address in (link.address4, link.address6) if address]
    return [line for line in str(shown).splitlines() if any(address in line for address in ours)]


async def until_closed(lab: Lab, name: str) -> None:
    """Wait until no connection is open on a link; probes come and go."""
    with anyio.fail_after(5):
        while established(lab, name):  # noqa: ASYNC110 - the kernel's own list
            await anyio.sleep(0.01)
