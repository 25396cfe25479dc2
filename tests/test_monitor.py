"""`pvdrace.monitor`: the set of PvDs stays up to date, in real namespaces, on asyncio and trio."""

from __future__ import annotations

import gc
import os
import select
import subprocess
import sys
import time
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from namespaces import add_link, network_namespace, run, settle, sysctl
from pvdrace.config import Configuration, parse
from pvdrace.discovery.system_dns import DnsFiles
from pvdrace.model import ProvisioningDomain, Reachability, Reached
from pvdrace.monitor import Monitor, PvdChange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

#: Seconds after which a test gives up; what it waits for takes some hundredths.
PATIENCE = 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with a resolv.conf."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 192.0.2.53\n")
    return tmp_path


@pytest.fixture
def two_links() -> Iterator[None]:
    with network_namespace():
        add_link("eth0", 1, metric=100)
        add_link("wlan0", 2, metric=600)
        yield


@contextmanager
def monitoring(
    root: Path, configuration: Configuration | None = None, **options: object
) -> Iterator[Monitor]:
    """A monitor of the two links; the far ends of the veths are nobody's PvDs."""
    configuration = configuration or parse(
        'discover = []\n[[pvd]]\nname = "eth0"\n[[pvd]]\nname = "wlan0"\n[[pvd]]\nname = "tun0"\n'
    )
    monitor = Monitor(configuration, dns=DnsFiles(root, same_namespace=lambda: False), **options)  # type: ignore[arg-type]
    try:
        yield monitor
    finally:
        monitor.close()


def readable(monitor: Monitor) -> bool:
    return bool(select.select([monitor.fileno()], [], [], 0)[0])


async def test_the_first_snapshot(two_links: None, root: Path) -> None:
    with monitoring(root, Configuration()) as monitor:
        found = await monitor.open()
        assert monitor.snapshot is found
        assert [pvd.name for pvd in found if not pvd.unusable] == ["eth0", "wlan0"]
        assert [str(server) for server in found["eth0"].resolvers] == ["192.0.2.53"]
        assert not monitor.stale()


async def test_before_open_and_after_close_there_is_no_snapshot_to_refresh(root: Path) -> None:
    monitor = Monitor(Configuration(), dns=DnsFiles(root))
    with pytest.raises(RuntimeError, match="not open"):
        _ = monitor.snapshot
    with pytest.raises(RuntimeError, match="not open"):
        await monitor.refresh()
    assert monitor.fileno() == -1
    assert not monitor.stale()
    await monitor.open()
    monitor.close()
    monitor.close()
    assert monitor.fileno() == -1
    assert not monitor.stale()
    with pytest.raises(RuntimeError, match="not open"):
        await monitor.refresh()


async def test_a_refresh_without_a_change_is_the_same_object(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        found = await monitor.open()
        assert await monitor.refresh() is found
        run("ip address add 10.7.0.2/24 dev eth0-far")  # a change, but not of a PvD of ours
        assert monitor.stale()
        assert await monitor.refresh() is found
        assert not monitor.stale()


async def test_check_8_a_removed_link_is_seen_at_once(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        before = await monitor.open()
        assert not readable(monitor)
        run("ip link delete wlan0")
        assert readable(monitor)
        assert monitor.stale()
        assert not readable(monitor), "stale() drains the socket"
        assert monitor.stale(), "until the refresh it remains stale"
        after = await monitor.refresh()
        assert not monitor.stale()
        assert (before["wlan0"].unusable, after["wlan0"].unusable) == (
            None,
            "no interface given, and none is called wlan0",
        )
        assert after["eth0"] is not before["wlan0"]
        assert after.generation == before.generation + 1


async def test_a_link_that_comes_back_is_another_attachment(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        first = await monitor.open()
        run("ip link delete wlan0")
        await monitor.refresh()
        add_link("wlan0", 2, metric=600)
        again = await monitor.refresh()
        assert again["wlan0"].addresses == first["wlan0"].addresses
        assert again["wlan0"].attachment > first["wlan0"].attachment
        assert again["eth0"] == first["eth0"]


BOUNCES = {
    "cable": ("ip link set wlan0-far down", "ip link set wlan0-far up"),
    "administrator": (
        "ip link set wlan0 down",
        "ip link set wlan0 up",
        "ip address replace 2001:db8:2::2/64 dev wlan0 nodad",
        "ip address replace fe80::2/64 dev wlan0 nodad",
        "ip route replace default via 10.2.0.1 dev wlan0 metric 600",
        "ip route replace default via 2001:db8:2::1 dev wlan0 metric 600",
    ),
}


@pytest.mark.parametrize("bounce", BOUNCES)
async def test_a_link_that_bounced_while_nobody_looked_is_another_attachment(
    two_links: None, root: Path, bounce: str
) -> None:
    """Between the two looks it may have been in another network."""
    with monitoring(root) as monitor:
        first = await monitor.open()
        run(*BOUNCES[bounce])
        settle()
        again = await monitor.refresh()
        assert again["wlan0"] == replace(first["wlan0"], attachment=1)
        assert again["eth0"] == first["eth0"]
        assert await monitor.refresh() is again


async def test_rp_filter_set_while_it_runs(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        await monitor.open()
        sysctl("net/ipv4/conf/wlan0/rp_filter", 1)
        assert monitor.stale()
        assert (await monitor.refresh())["wlan0"].families == (6,)


async def test_a_changed_resolv_conf_is_seen_by_the_next_refresh(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        await monitor.open()
        (root / "etc/resolv.conf").write_text("nameserver 192.0.2.54\nsearch lan\n")
        found = await monitor.refresh()
        assert [server.address for server in found["eth0"].resolvers] == ["192.0.2.54"]
        assert found["eth0"].search == ("lan",)
        assert found["eth0"].attachment == 1


async def test_a_changed_resolv_conf_makes_it_stale(
    two_links: None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no event for it, so it is looked at: once in a while, when somebody asks."""
    monkeypatch.setattr("pvdrace.seen.DNS_INTERVAL", 3600)  # however slow the machine is
    with monitoring(root) as monitor:
        await monitor.open()
        assert not monitor.stale()
        (root / "etc/resolv.conf").write_text("nameserver 192.0.2.54\n")
        assert not monitor.stale()
        monkeypatch.setattr("pvdrace.seen.DNS_INTERVAL", 0)
        assert monitor.stale()
        await monitor.refresh()
        assert not monitor.stale()


async def test_watchers_see_what_somebody_elses_refresh_found(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        await monitor.open()
        seen: list[str] = []

        async def watch() -> None:
            async with aclosing(monitor.changes()) as changes:
                async for change in changes:
                    seen.append(str(change))
                    if len(seen) == 2:
                        return

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await anyio.sleep(0.02)
                (root / "etc/resolv.conf").write_text("nameserver 192.0.2.54\n")
                await monitor.refresh()
        assert seen == ["eth0 changed", "wlan0 changed"]


CHANGES = [
    ("ip link delete wlan0", [("changed", "wlan0", "no interface given, and none is called wlan0")]),
    ("ip link set wlan0 down", [("changed", "wlan0", "link down")]),
    ("ip link set wlan0-far down", [("changed", "wlan0", "no carrier")]),
    ("ip address add 10.2.0.9/24 dev wlan0", [("changed", "wlan0", None)]),
    ("ip route del default dev eth0", [("changed", "eth0", None)]),
]


@pytest.mark.parametrize(("command", "expected"), CHANGES)
async def test_changes(
    two_links: None, root: Path, command: str, expected: list[tuple[str, str, str | None]]
) -> None:
    with monitoring(root) as monitor:
        await monitor.open()
        seen = await changes_after(monitor, command)
        assert [(change.kind, change.pvd.name, change.pvd.unusable) for change in seen] == expected


async def test_changes_before_anybody_waits_are_not_lost(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        await monitor.open()
        async with aclosing(monitor.changes()) as changes:
            run("ip link set wlan0 down")
            with anyio.fail_after(PATIENCE):
                change = await anext(changes)
            assert (str(change), change.pvd.unusable) == ("wlan0 changed", "link down")


async def test_implicit_pvds_come_and_go(two_links: None, root: Path) -> None:
    with monitoring(root, Configuration()) as monitor:
        await monitor.open()
        seen = await changes_after(monitor, "ip link delete wlan0", count=2)
        assert [str(change) for change in seen] == ["wlan0 withdrawn", "wlan0-far withdrawn"]
        seen = await changes_after(monitor, "ip link add tun0 type veth peer name tun0-far", count=2)
        assert [str(change) for change in seen] == ["tun0 added", "tun0-far added"]


async def changes_after(monitor: Monitor, command: str, count: int = 1) -> list[PvdChange]:
    """The changes that a command makes."""
    seen: list[PvdChange] = []
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                async with aclosing(monitor.changes()) as changes:
                    async for change in changes:
                        seen.append(change)
                        if len(seen) == count:
                            return

            tasks.start_soon(watch)
            await anyio.sleep(0.02)
            run(command)
    return seen


async def test_everybody_who_watches_sees_what_connections_have_drained(two_links: None, root: Path) -> None:
    """A race drains `fileno` and refreshes; watchers have sockets of their own and miss nothing."""
    seen: list[str] = []
    with monitoring(root) as monitor:
        await monitor.open()

        async def watch(name: str) -> None:
            async with aclosing(monitor.changes()) as changes:
                async for change in changes:
                    seen.append(f"{name}: {change}")
                    return

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, "a")
                tasks.start_soon(watch, "b")
                await anyio.sleep(0.02)
                run("ip link set wlan0 down")
                assert monitor.stale()
                await monitor.refresh()
    assert sorted(seen) == ["a: wlan0 changed", "b: wlan0 changed"]


@pytest.mark.parametrize("when", ["waiting", "between"])
async def test_close_ends_changes(two_links: None, root: Path, when: str) -> None:
    with monitoring(root) as monitor:
        await monitor.open()
        ended = anyio.Event()

        async def watch() -> None:
            async for _ in monitor.changes():
                monitor.close()  # while nobody waits
            ended.set()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await anyio.sleep(0.02)
                if when == "waiting":
                    monitor.close()
                else:
                    run("ip link set wlan0 down")
                await ended.wait()


async def test_refreshes_at_the_same_time_agree(two_links: None, root: Path) -> None:
    found = []
    with monitoring(root) as monitor:
        await monitor.open()
        run("ip link set wlan0 down")

        async def refresh() -> None:
            found.append(await monitor.refresh())

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(refresh)
        assert len(found) == 5
        assert all(each is monitor.snapshot for each in found)
        assert monitor.snapshot.generation == 1


async def test_a_cancelled_refresh_leaves_the_monitor_stale(two_links: None, root: Path) -> None:
    """What was drained for a dump that nobody got is not forgotten."""
    run(*(f"ip route add 172.16.{n}.0/24 via 10.1.0.1" for n in range(250)))
    with monitoring(root) as monitor:
        await monitor.open()
        run("ip link set wlan0 down")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await monitor.refresh()
        assert monitor.stale()
        assert (await monitor.refresh())["wlan0"].unusable == "link down"


class Inventory:
    """A further source, as a user would write one."""

    name = "inventory"

    def __init__(self) -> None:
        self.type = "modem"
        self.changed = anyio.Event()

    def change(self, kind: str) -> None:
        self.type = kind
        self.changed.set()

    async def snapshot(self) -> tuple[ProvisioningDomain, ...]:
        self.changed = anyio.Event()
        return (ProvisioningDomain("lte", interface="wwan0", type=self.type, sources=("inventory",)),)

    async def changes(self) -> AsyncGenerator[None, None]:
        await self.changed.wait()
        yield


async def test_a_further_source(two_links: None, root: Path) -> None:
    source = Inventory()
    noticed = anyio.Event()
    seen: list[str] = []
    with monitoring(root, sources=[source]) as monitor:
        assert (await monitor.open())["lte"].type == "modem"

        async def watch() -> None:
            async with aclosing(monitor.changes()) as changes:
                async for change in changes:
                    seen.append(f"{change}: {change.pvd.type} {change.pvd.unusable}")
                    noticed.set()
                    if len(seen) == 2:
                        return

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await anyio.sleep(0.02)
                source.change("5g")
                await noticed.wait()
                run("ip link set wlan0 down")
    assert seen == ["lte changed: 5g None", "wlan0 changed: unknown link down"]


async def test_an_error_of_a_further_source_is_its_own(two_links: None, root: Path) -> None:
    class Failing(Inventory):
        async def changes(self) -> AsyncGenerator[None, None]:
            raise OSError("modem unplugged")
            yield

    with monitoring(root, sources=[Failing()]) as monitor:
        await monitor.open()
        with pytest.raises(OSError, match="modem unplugged"):
            async for change in monitor.changes():
                raise AssertionError(change)


async def test_no_descriptor_is_left(two_links: None, root: Path) -> None:
    async def once() -> None:
        with monitoring(root) as monitor:
            await monitor.open()
            await monitor.refresh()
            with anyio.move_on_after(0.01):
                async with aclosing(monitor.changes()) as changes:
                    async for _ in changes:
                        pass

    await once()
    gc.collect()  # what other tests have left behind goes before, and may go meanwhile
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        await once()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_an_open_that_fails_leaves_no_descriptor(root: Path) -> None:
    class Broken(Inventory):
        async def snapshot(self) -> tuple[ProvisioningDomain, ...]:
            raise OSError("no modem")

    with monitoring(root) as warm:
        await warm.open()
    before = sorted(os.listdir("/proc/self/fd"))
    with monitoring(root, sources=[Broken()]) as monitor:
        with pytest.raises(OSError, match="no modem"):
            await monitor.open()
        assert monitor.fileno() == -1
        assert sorted(os.listdir("/proc/self/fd")) == before


async def test_waiting_is_not_polling(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        await monitor.open()
        before = time.process_time()
        with anyio.move_on_after(1):
            async for change in monitor.changes():
                raise AssertionError(f"{change}, though nothing has happened")
        assert time.process_time() - before < 0.2


def test_pyroute2_is_not_loaded_before_open() -> None:
    program = (
        "import sys, anyio, pvdrace.monitor, pvdrace.config\n"
        "print([name for name in ('pyroute2', 'dns', 'trio') if name in sys.modules])\n"
        "monitor = pvdrace.monitor.Monitor(pvdrace.config.Configuration())\n"
        "anyio.run(monitor.open)\n"
        "monitor.close()\n"
        "print('pyroute2' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.stdout, done.stderr) == ("[]\nTrue\n", "")


FOUND = (Reached(4, Reachability.PORTAL, "HTTP 302", 1.0, "http://10.0.1.1/login"),)


async def test_what_probes_find_lies_over_the_snapshot(two_links: None, root: Path) -> None:
    """A new verdict is a new snapshot, rings the bells, and stays; the same one is none."""
    with monitoring(root) as monitor:
        before = await monitor.open()
        bell = monitor.bell(before)
        try:
            assert monitor.learn(before["wlan0"], FOUND)
            assert select.select([bell], [], [], 0)[0]
            shown = monitor.snapshot
            assert shown["wlan0"].reached == FOUND
            assert shown["wlan0"].reachability is Reachability.PORTAL
            assert shown.generation > before.generation
            assert shown["eth0"] is before["eth0"]
            monitor.heard(bell)
            assert not monitor.learn(before["wlan0"], (FOUND[0]._replace(at=2.0, evidence="HTTP 511"),))
            assert monitor.snapshot is shown
            assert not select.select([bell], [], [], 0)[0]
        finally:
            monitor.mute(bell)
        assert await monitor.refresh() is shown
        run("ip address add 10.0.1.77/24 dev eth0")
        after = await monitor.refresh()
        assert after["wlan0"].reached == FOUND
        assert after["eth0"].addresses != shown["eth0"].addresses
        assert after.generation > shown.generation
        with pytest.raises(RuntimeError, match="not open"):
            Monitor(Configuration(), dns=DnsFiles(root)).learn(before["wlan0"], FOUND)


async def test_what_was_found_of_another_attachment_is_forgotten(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        before = await monitor.open()
        assert monitor.learn(before["wlan0"], FOUND)
        run("ip link set wlan0 down")
        down = await monitor.refresh()
        assert (down["wlan0"].reached, down["wlan0"].reachability) == ((), Reachability.UNKNOWN)
        run("ip link set wlan0 up")
        settle()
        again = await monitor.refresh()
        assert again["wlan0"].attachment > before["wlan0"].attachment
        assert again["wlan0"].reached == ()
        assert not monitor.learn(before["wlan0"], FOUND), "of an older attachment"
        assert monitor.snapshot is again


async def test_who_watches_hears_of_a_verdict(two_links: None, root: Path) -> None:
    with monitoring(root) as monitor:
        before = await monitor.open()
        async with aclosing(monitor.changes()) as changes:

            async def find() -> None:
                await anyio.sleep(0.02)
                monitor.learn(before["eth0"], FOUND)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(find)
                with anyio.fail_after(PATIENCE):
                    change = await anext(changes)
        assert (change.kind, change.pvd.name, change.pvd.reached) == ("changed", "eth0", FOUND)
