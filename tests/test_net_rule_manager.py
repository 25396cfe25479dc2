"""The rule manager and the kernel: what it installs, that it takes it away, and nothing else."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest

from forked_namespace import drop_all_capabilities, in_namespace
from namespaces import add_link, network_namespace, run
from pvdrace.config import Configuration, parse
from pvdrace.discovery.system_dns import DnsFiles
from pvdrace.model import ProvisioningDomain, PvdSet, Route
from pvdrace.monitor import Monitor
from pvdrace.net.failures import RuleError
from pvdrace.net.rule_manager import RuleManager
from pvdrace.net.rule_plan import PROTOCOL, table_numbers

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

CONFIGURATION = parse('discover = []\n[[pvd]]\nname = "eth0"\n[[pvd]]\nname = "wlan0"\npin = "mark:7"')
NAMES = ("eth0", "wlan0")


@pytest.fixture
def two_links() -> Iterator[None]:
    """Two links, and in every corner something that is somebody else's."""
    with network_namespace():
        add_link("eth0", 1, metric=100)
        add_link("wlan0", 2, metric=600)
        run(
            "ip rule add from 10.9.9.9 lookup 77 priority 31001",
            "ip rule add fwmark 7 lookup 77 priority 100 protocol 4",
            "ip route add default via 10.1.0.1 dev eth0 table 77 proto 4",
            "ip route add 198.51.100.0/24 via 10.2.0.1 dev wlan0 proto 186",
        )
        run("ip -6 rule add from 2001:db8:9::9 lookup 77")
        yield


async def discovered(configuration: Configuration = CONFIGURATION) -> PvdSet:
    monitor = Monitor(configuration, dns=DnsFiles(same_namespace=lambda: False))
    try:
        return await monitor.open()
    finally:
        monitor.close()


def everything() -> str:
    return "".join(
        run(f"ip -d -{family} {what}") for family in (4, 6) for what in ("rule", "route show table all")
    )


def ours(family: int = 4) -> tuple[list[str], list[str]]:
    """Our rules and routes, as ``ip`` words them; tables by the names of their PvDs."""
    found = []
    for what in ("rule", "route show table all"):
        text = run(f"ip -{family} {what}")
        for name, number in table_numbers(NAMES).items():
            text = text.replace(str(number), name)
        lines = [line for line in text.splitlines() if f"proto {PROTOCOL}" in line]
        words = [line.replace(f" proto {PROTOCOL}", "").replace(" pref medium", "").split() for line in lines]
        found.append(sorted(" ".join(line) for line in words))
    return found[0], found[1]


@pytest.mark.row("3.30", "4.13")
async def test_what_is_installed_and_that_nothing_else_changes(two_links: None) -> None:
    pvds = await discovered()
    before = everything()
    async with RuleManager(pvds) as manager:
        assert ours(4) == (
            [
                "31000: from all fwmark 0x7 lookup wlan0",
                "31001: from 10.1.0.2 lookup eth0",
                "31001: from 10.2.0.2 lookup wlan0",
            ],
            [
                "10.1.0.0/24 dev eth0 table eth0 scope link src 10.1.0.2",
                "10.2.0.0/24 dev wlan0 table wlan0 scope link src 10.2.0.2",
                "198.51.100.0/24 via 10.2.0.1 dev wlan0 table wlan0",
                "default via 10.1.0.1 dev eth0 table eth0 metric 100",
                "default via 10.2.0.1 dev wlan0 table wlan0 metric 600",
            ],
        )
        assert ours(6) == (
            [
                "31000: from all fwmark 0x7 lookup wlan0",
                "31001: from 2001:db8:1::2 lookup eth0",
                "31001: from 2001:db8:2::2 lookup wlan0",
            ],
            [
                "2001:db8:1::/64 dev eth0 table eth0 metric 256",
                "2001:db8:2::/64 dev wlan0 table wlan0 metric 256",
                "default via 2001:db8:1::1 dev eth0 table eth0 metric 100",
                "default via 2001:db8:2::1 dev wlan0 table wlan0 metric 600",
                "fe80::/64 dev eth0 table eth0 metric 256",
                "fe80::/64 dev wlan0 table wlan0 metric 256",
            ],
        )
        during = everything()
        assert not await manager.apply(pvds), "idempotent"
        assert everything() == during
    assert everything() == before


async def test_what_is_not_wanted_any_more_goes(two_links: None) -> None:
    pvds = await discovered()
    async with RuleManager(pvds) as manager:
        assert await manager.apply([pvds["eth0"], replace(pvds["wlan0"], pin="device", addresses=())])
        assert ours(4)[0] == ["31001: from 10.1.0.2 lookup eth0"]
        routes = (Route("0.0.0.0/0", "10.1.0.9", 100),)
        assert await manager.apply([replace(pvds["eth0"], routes=routes)])
        assert ours() == (
            ["31001: from 10.1.0.2 lookup eth0"],
            ["default via 10.1.0.9 dev eth0 table eth0 metric 100"],
        )
        assert ours(6) == ([], [])


async def test_a_link_that_goes_down_takes_its_routes_along(two_links: None) -> None:
    pvds = await discovered()
    async with RuleManager(pvds) as manager:
        run("ip link del wlan0")
        assert await manager.apply(await discovered())
        assert not any("wlan0" in line for line in [*ours(4)[0], *ours(4)[1], *ours(6)[0], *ours(6)[1]])
        assert len(ours(4)[1]) + 1 == len(ours(6)[1]) == 3
    assert ours(4) == ours(6) == ([], [])


async def test_the_snapshot_says_the_same_while_rules_are_there(two_links: None) -> None:
    """A copy of a route is no news: neither while it is there nor when the original has gone."""
    before = await discovered()
    rules = RuleManager()
    monitor = Monitor(CONFIGURATION, dns=DnsFiles(same_namespace=lambda: False), rules=rules)
    try:
        found = await monitor.open()
        assert [replace(pvd, pin="device") for pvd in found] == [replace(pvd, pin="device") for pvd in before]
        run("ip route del 198.51.100.0/24")
        assert monitor.stale()
        found = await monitor.refresh()
        assert not any(route.destination == "198.51.100.0/24" for route in found["wlan0"].routes)
        assert not any("198.51.100.0" in line for line in ours()[1])
        monitor.stale()
        assert not monitor.stale(), "its own changes are no reason to look again for ever"
    finally:
        monitor.close()
    assert ours() == ([], [])


async def test_one_at_a_time_in_a_namespace(two_links: None) -> None:
    pvds = await discovered()
    async with RuleManager(pvds):
        there = ours()
        with pytest.raises(RuleError, match="another process manages the rules of PvDs") as caught:
            RuleManager().open()
        assert caught.value.errno == errno.EBUSY
        assert ours() == there
    async with RuleManager(pvds):
        assert ours() == there


KILLED = """
import anyio, sys
from pvdrace.config import parse
from pvdrace.discovery.system_dns import DnsFiles
from pvdrace.monitor import Monitor
from pvdrace.net.rule_manager import RuleManager

async def main():
    await Monitor(parse(sys.argv[1]), dns=DnsFiles(same_namespace=lambda: False), rules=RuleManager()).open()
    print("ready", flush=True)
    await anyio.sleep(60)

anyio.run(main)
"""
ANOTHER = 'discover = []\n[[pvd]]\nname = "vpn"\ninterface = "wlan0"\n[[pvd]]\nname = "eth0"\npin = "mark:9"'


@pytest.mark.row("3.30")
async def test_what_a_killed_process_left_is_swept_by_the_next(two_links: None) -> None:
    pvds = await discovered()
    before = everything()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, ANOTHER], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        killed.send_signal(signal.SIGKILL)
    left = everything()
    assert f"proto {PROTOCOL}" in left
    assert "fwmark 0x9" in left
    async with RuleManager(pvds):
        assert "fwmark 0x9" not in everything()
        assert len(ours()[0]) == 3
    assert everything() == before


async def test_what_the_kernel_does_not_take_is_logged_and_the_rest_done(
    two_links: None, caplog: pytest.LogCaptureFixture
) -> None:
    pvds = await discovered()
    odd = replace(pvds["eth0"], routes=(*pvds["eth0"].routes, Route("203.0.113.0/24", "192.0.2.99")))
    with caplog.at_level(logging.WARNING, "pvdrace"):
        async with RuleManager([odd]):
            assert "default via 10.1.0.1 dev eth0 table eth0 metric 100" in ours()[1]
            assert ours()[0] == ["31001: from 10.1.0.2 lookup eth0"]
    (record,) = caplog.records
    assert "203.0.113.0/24" in record.message
    assert "Network is unreachable" in record.message or "Nexthop has invalid gateway" in record.message


async def test_the_child_of_a_fork_leaves_the_rules_alone(two_links: None) -> None:
    async with RuleManager(await discovered()) as manager:
        there = ours()
        with pytest.warns(DeprecationWarning) if sys.version_info >= (3, 12) else _nothing():
            pid = os.fork()
        if pid == 0:
            manager.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert ours() == there


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *args: object) -> None: ...


ONE_LINK = (
    "link add name wa type veth peer name wb",
    "link set dev wa up",
    "link set dev wb up",
    "addr add 10.1.0.2/24 dev wa",
    "route add default via 10.1.0.1 dev wa",
)


def test_without_the_privilege(anyio_backend: str) -> None:
    @in_namespace(*ONE_LINK)
    def alone() -> None:
        drop_all_capabilities()

        async def main() -> None:
            monitor = Monitor(Configuration(), rules=RuleManager())
            with pytest.raises(RuleError, match="policy routing takes CAP_NET_ADMIN"):
                await monitor.open()
            async with RuleManager():
                pass  # nothing is wanted, nothing is there: nothing to be said

        anyio.run(main, backend=anyio_backend)

    alone()


def test_a_manager_that_is_not_open(anyio_backend: str) -> None:
    manager = RuleManager([ProvisioningDomain("a")])
    manager.close()
    with pytest.raises(RuntimeError, match="not open"):
        anyio.run(manager.apply, (), backend=anyio_backend)
