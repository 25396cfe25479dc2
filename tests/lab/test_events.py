"""draft-ietf-mif-current-practices s3.1 (RFC 6419 s3.1): what mobile systems tell applications, and when."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.abc import SocketAttribute

import pvdrace
from lab.racing import configuration, opened, policy, reach, sent, trusting
from pvdrace.config import Configuration
from pvdrace.discovery.kernel import Kernel
from pvdrace.discovery.state import KernelState
from pvdrace.lab import Lab
from pvdrace.model import CostClass

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")


def with_keys(lab: Lab, name: str, **keys: object) -> Configuration:
    """The lab's PvDs, one of them with more keys."""
    found = configuration(lab)
    pvds = tuple(replace(pvd, **keys) if pvd.name == name else pvd for pvd in found.pvds)  # type: ignore[arg-type]
    return replace(found, pvds=pvds)


# ---------------------------------------------------------------------- WM: opens on demand


@pytest.mark.row("3.19")
async def test_a_link_that_is_opened_on_demand(t2: Lab) -> None:
    """WM: opens on demand, drops idle. The hook is called before the first packet, and B does not wait for A.

    A carries nothing until the hook has "dialled"; then the race that asked for it wins there.
    """
    link = t2["wA"]
    link.blackhole()
    needed: list[tuple[str, int]] = []

    async def dial(pvd: pvdrace.ProvisioningDomain) -> None:
        needed.append((pvd.name, len(sent(link))))
        await anyio.to_thread.run_sync(link.heal)

    config = with_keys(t2, "wA", warmup=2.0)
    async with opened(t2, config, on_need=dial) as connector:
        word, report = await reach(connector, t2, policy=policy(require="pvd:wA"))
    assert word == "wA"
    assert needed == [("wA", 0)]
    assert report.winner is not None
    assert [packet.kind for packet in sent(link)].count("syn") == 1, "the first SYN was answered"


@pytest.mark.row("3.19")
async def test_control_without_the_hook_the_first_packets_are_lost(t2: Lab) -> None:
    """WM: opens on demand, control: nobody dials, and nothing comes back."""
    t2["wA"].blackhole()
    async with opened(t2, with_keys(t2, "wA", warmup=0.1)) as connector:
        with pytest.raises(pvdrace.ConnectFailed):
            await reach(connector, t2, policy=policy(require="pvd:wA"), timeout=0.5)


@pytest.mark.row("3.19")
async def test_a_link_that_cannot_be_opened_leaves_the_race_to_the_other(t2: Lab) -> None:
    """WM: opens on demand: what the hook raises is in the report, and B wins at once."""

    def dial(pvd: pvdrace.ProvisioningDomain) -> None:
        raise ConnectionError("no carrier")

    async with opened(t2, with_keys(t2, "wA", warmup=1.0), on_need=dial) as connector:
        word, report = await reach(connector, t2)
    assert word == "wB"
    assert sent(t2["wA"]) == []
    assert {lookup.error for lookup in report.lookups if lookup.pvd == "wA"} == {"not brought up: no carrier"}


# ---------------------------------------------------------------------- WM: registered needs


FREE = policy(prohibit="cost:fixed cost:variable")


def priced(lab: Lab, **costs: str) -> Configuration:
    """The lab's PvDs with these costs."""
    found = configuration(lab)
    pvds = tuple(
        replace(pvd, cost=CostClass(costs[pvd.name])) if pvd.name in costs else pvd for pvd in found.pvds
    )
    return replace(found, pvds=pvds)


@pytest.mark.row("3.20")
async def test_a_task_that_waits_for_an_unmetered_pvd_resumes(
    t2: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WM: apps register connectivity needs: `prohibit metered` resumes ≤ 1 s after an unmetered PvD appears.

    Waiters share one wake-up: the kernel is read no more often for five of them than it is for one.
    """
    await anyio.to_thread.run_sync(t2["wB"].link_down)
    reads: list[float] = []
    read = Kernel.dump

    async def counted(kernel: Kernel) -> KernelState:
        reads.append(anyio.current_time())
        return await read(kernel)

    monkeypatch.setattr(Kernel, "dump", counted)
    resumed: list[tuple[float, tuple[str, ...]]] = []

    async def wait(connector: pvdrace.Connector) -> None:
        pvds = await connector.wait_for(FREE, timeout=10)
        resumed.append((anyio.current_time(), tuple(pvd.name for pvd in pvds)))

    counts = []
    for waiters in (1, 5):
        resumed.clear()
        async with opened(t2, priced(t2, wA="variable", wB="unmetered")) as connector:
            async with anyio.create_task_group() as tasks:
                for _ in range(waiters):
                    tasks.start_soon(wait, connector)
                await anyio.sleep(0.1)
                assert resumed == []
                reads.clear()
                began = anyio.current_time()
                await anyio.to_thread.run_sync(t2["wB"].link_up)
                up = anyio.current_time()
            assert [names for _, names in resumed] == [("wB",)] * waiters
            assert max(at for at, _ in resumed) - up <= 1.0
            assert min(at for at, _ in resumed) >= began
            counts.append(len(reads))
            assert reads
        await anyio.to_thread.run_sync(t2["wB"].link_down)
    alone, together = counts
    assert together <= alone + 1, "a link comes up in steps, each of which may be one look: for all of them"


@pytest.mark.row("3.20")
async def test_nobody_came_in_time(t2: Lab) -> None:
    """WM: apps register connectivity needs: the wait has an end, and says why nobody would do."""
    async with opened(t2, priced(t2, wA="variable", wB="fixed")) as connector:
        with pytest.raises(pvdrace.WaitTimeout) as caught:
            await connector.wait_for(FREE, host=t2.name, timeout=0.1)
        assert isinstance(caught.value, TimeoutError)
        assert "wA skipped (prohibited by cost:variable (call))" in str(caught.value)
        pvds = await connector.wait_for(policy(prefer="pvd:wB"), timeout=0)
        assert [pvd.name for pvd in pvds] == ["wB", "wA"], "what is there already is not waited for"
    assert sent(t2["wA"]) == []
    assert sent(t2["wB"]) == []


# ---------------------------------------------------------------------- S60: a better one is there


async def talk(connection: pvdrace.Connection) -> str:
    await connection.send(b"who\n")
    with anyio.fail_after(5):
        return (await connection.receive()).decode().strip()


@pytest.mark.row("3.8", "5.7")
async def test_a_better_pvd_is_told_and_the_stream_stays_where_it_is(t2: Lab) -> None:
    """S60 "preferred IAP available": link up in mid-run ⇒ event ≤ 1 s, existing stream untouched.

    BlackBerry, moving user: the stream on B goes on while A becomes the first choice; the next one is on A.
    """
    await anyio.to_thread.run_sync(t2["wA"].link_down)
    told: list[tuple[float, str]] = []

    async def listen(connector: pvdrace.Connector) -> None:
        async with aclosing(connector.watch()) as changes:
            async for change in changes:
                told.append((anyio.current_time(), str(change)))
                if change.kind == "better":
                    return

    async with (
        opened(t2, priced(t2, wA="unmetered", wB="variable")) as connector,
        await connector.open_connection(t2.name, 80, timeout=5) as stream,
    ):
        assert await talk(stream) == "wB"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen, connector)
            await anyio.sleep(0.1)
            assert told == []
            await anyio.to_thread.run_sync(t2["wA"].link_up)
            up = anyio.current_time()
        assert told[-1][1] == "wA better"
        assert told[-1][0] - up <= 1.0
        assert await talk(stream) == "wB"
        async with await connector.open_connection(t2.name, 80, timeout=5) as another:
            assert await talk(another) == "wA"
        assert await talk(stream) == "wB"


@pytest.mark.row("3.38")
async def test_every_packet_of_a_stream_is_on_its_link_while_the_choice_flips(t2: Lab) -> None:
    """AMSS model 2: routing per packet breaks TCP; here every packet of one stream is on one link.

    The other link becomes the better one, and the worse one, again and again while the stream talks.
    """
    async with opened(t2, priced(t2, wA="variable", wB="unmetered")) as connector:
        await anyio.to_thread.run_sync(t2["wB"].link_down)
        async with await connector.open_connection(t2.name, 80, timeout=5) as stream:
            sock = stream.extra(SocketAttribute.local_address)
            firsts = []
            for _ in range(3):
                for step in (t2["wB"].link_up, t2["wB"].link_down):
                    await anyio.to_thread.run_sync(step)
                    pvds = await connector.wait_for(timeout=5)
                    firsts.append(pvds[0].name)
                    assert await talk(stream) == "wA"
            assert firsts == ["wB", "wA"] * 3
    ports = {link.name: {packet.source_port for packet in sent(link)} for link in t2}
    assert sock[1] in ports["wA"]
    assert sock[1] not in ports["wB"]


# ---------------------------------------------------------------------- WM: priority


def urgent(priority: int, **lists: str) -> pvdrace.Policy:
    """A policy with a priority."""
    words: Any = {name: selectors.split() for name, selectors in lists.items()}
    return pvdrace.Policy(priority=priority, **words)


@pytest.mark.row("3.17")
async def test_a_higher_priority_takes_an_exclusive_pvd_and_the_lower_falls_back(t2: Lab) -> None:
    """WM: priority. Exclusive PvD: low priority gets the event and falls back to B, until A is free again."""
    told: list[str] = []

    async def listen(connector: pvdrace.Connector) -> None:
        async with aclosing(connector.watch()) as changes:
            async for change in changes:
                told.append(str(change))  # noqa: PERF401

    config = with_keys(t2, "wA", exclusive=True)
    async with opened(t2, config) as connector, anyio.create_task_group() as tasks:
        tasks.start_soon(listen, connector)
        await anyio.sleep(0.05)
        async with (
            await connector.open_connection(t2.name, 80, timeout=5) as low,
            await connector.open_connection(t2.name, 80, timeout=5, policy=urgent(0)) as same,
        ):
            assert (await talk(low), await talk(same)) == ("wA", "wA")
            assert not low.preempted.is_set()
            async with await connector.open_connection(t2.name, 80, timeout=5, policy=urgent(7)) as high:
                assert await talk(high) == "wA"
                with anyio.fail_after(1):
                    await low.preempted.wait()
                    await same.preempted.wait()
                assert not high.preempted.is_set()
                async with await connector.open_connection(t2.name, 80, timeout=5) as again:
                    assert await talk(again) == "wB"
                    (left_out,) = again.report.ranking.excluded
                    assert str(left_out.excluded) == "in use by a higher priority"
                with pytest.raises(pvdrace.NoUsablePvd, match="in use by a higher priority"):
                    await connector.connect(t2.name, 80, timeout=5, policy=policy(require="pvd:wA"))
        await anyio.lowlevel.checkpoint()
        async with await connector.open_connection(t2.name, 80, timeout=5) as free:
            assert await talk(free) == "wA"
        tasks.cancel_scope.cancel()
    assert told == ["wA preempted"]


@pytest.mark.row("3.17")
async def test_without_priorities_an_exclusive_pvd_is_shared(t2: Lab) -> None:
    """WM: priority, the default: nothing is taken from anybody; raw sockets and TLS streams count as well."""
    async with opened(t2, with_keys(t2, "wA", exclusive=True)) as connector:
        sock, _ = await connector.connect(t2.name, 80, timeout=5)
        word, report = await reach(connector, t2)
        assert word == "wA"
        async with await connector.open_connection(
            t2.name, 443, tls=trusting(t2), timeout=5, policy=urgent(1)
        ) as high:
            assert report.winner is not None
            word, _ = await reach(connector, t2)
            assert word == "wB", "a TLS stream holds it too"
            assert not high.preempted.is_set()
        sock.close()
        higher, _ = await connector.connect(t2.name, 80, timeout=5, policy=urgent(1))
        word, _ = await reach(connector, t2)
        assert word == "wB", "so does a raw socket"
        higher.close()
        word, _ = await reach(connector, t2)
        assert word == "wA"


async def test_whether_something_has_changed_is_known_without_waiting(t2: Lab) -> None:
    async with opened(t2) as connector:
        assert not connector.stale()
        await anyio.to_thread.run_sync(t2["wA"].link_down)
        assert connector.stale()
        assert connector.stale(), "until somebody looks"
        await connector.snapshot()
        with anyio.fail_after(5):
            while connector.stale():  # what came meanwhile
                await connector.snapshot()
