"""draft-ietf-mif-current-practices s2 (RFC 6419 s2), the generic approaches: the rows of what must work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from errno import EINPROGRESS
from itertools import permutations, product
from socket import SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

import anyio
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import (
    PATH_DELAY,
    SLACK,
    configuration,
    described,
    opened,
    ordinary,
    policy,
    pvds_of,
    race,
    reach,
    records,
    sent,
)
from pvdrace.config import Configuration
from pvdrace.lab import Lab
from pvdrace.model import is_link_local
from pvdrace.net.sockets import open_pinned, start_connect

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")


# ---------------------------------------------------------------------- D2.1 overlapping address spaces


@pytest.mark.row("2.2")
async def test_overlapping_private_spaces_reach_the_right_server(t2o: Lab) -> None:
    """D2.1 overlapping private v4 spaces, T2o: all four flows reach the right server, all at once."""
    words: dict[tuple[str, str], str] = {}

    async def one(connector: pvdrace.Connector, name: str, family: str) -> None:
        required = policy(require=f"pvd:{name} family:{family}")
        words[name, family], _ = await reach(connector, t2o, policy=required)

    async with opened(t2o) as connector, anyio.create_task_group() as tasks:
        for name, family in product(NAMES, ("ipv4", "ipv6")):
            tasks.start_soon(one, connector, name, family)
    assert words == {(name, family): name for name, family in product(NAMES, ("ipv4", "ipv6"))}


@pytest.mark.row("2.2", "3.35")
async def test_the_same_local_address_and_port_on_both_links_at_once(t2o: Lab) -> None:
    """D2.1 overlapping: the same local ip:port to the same remote ip:port, on two links at once."""
    async with opened(t2o) as connector:
        snapshot = await connector.snapshot()
    with ExitStack() as stack:
        socks: dict[str, socket] = {}
        for name in NAMES:
            sock = stack.enter_context(open_pinned(snapshot[name], SOCK_STREAM, t2o.address4, 17))
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)  # the other backend may just have been here
            sock.bind((t2o[name].address4, 40017))
            assert start_connect(sock, snapshot[name], t2o.address4, 17) == EINPROGRESS
            socks[name] = sock
        for name, sock in socks.items():
            with anyio.fail_after(5):
                await anyio.wait_readable(sock)
            assert sock.recv(64).decode().strip() == name
        assert len({sock.getsockname() for sock in socks.values()}) == 1
        assert len({sock.getpeername() for sock in socks.values()}) == 1


@pytest.mark.row("2.2")
async def test_control_the_routing_table_cannot_tell_overlapping_links_apart(t2o: Lab) -> None:
    """D2.1 overlapping, "prefix routing can't decide": whatever source is bound, the lowest metric wins."""
    for name in NAMES:
        plain = ordinary(t2o, t2o.address4, 17, how="blocking", source=t2o[name].address4)
        assert plain.word == "wA"
    assert sent(t2o["wB"]) == []


# ---------------------------------------------------------------------- D2.2 names of interfaces


@pytest.mark.row("2.3")
@pytest.mark.parametrize("by", ["type:office", "group:work", "interface:wA"])
async def test_what_is_configured_by_a_tag_survives_a_new_name(t2: Lab, by: str) -> None:
    """D2.2 the application names an interface or an abstract need: the need survives wA→foo0.

    The PvD is known by its addresses; who asks for the interface by name is told that there is none.
    """
    addresses = (str(t2["wA"].address4),)
    tags = {"addresses": addresses, "interface": None, "type": "office", "groups": ("work",)}
    async with opened(t2, described(t2, wA=tags), policy=policy(require=by)) as connector:
        assert (await reach(connector, t2, t2.address4, 17))[0] == "wA"
        rename(t2, "wA", "foo0")
        try:
            if by == "interface:wA":
                with pytest.raises(pvdrace.NoUsablePvd, match="not interface:wA, which is required"):
                    await reach(connector, t2, t2.address4, 17)
            else:
                word, report = await reach(connector, t2, t2.address4, 17)
                assert word == "wA"
                assert report.ranking.ranked[0].pvd.interface == "foo0"
        finally:
            rename(t2, "foo0", "wA")
            t2["wA"].remove()
            t2["wA"].link_up()


def rename(lab: Lab, name: str, new: str) -> None:
    """A device must be down for that; its IPv4 address stays, its routes go and are made again."""
    gateway = str(lab["wA"].gateway4)
    for command in (
        f"link set {name} down",
        f"link set {name} name {new}",
        f"link set {new} up",
        f"route replace {gateway} dev {new}",
        f"route replace default via {gateway} dev {new} metric 100",
    ):
        lab.run(["ip", *command.split()], check=True)


# ---------------------------------------------------------------------- D2.3.1 DNS

ZONE = "corp.example"
OWNED = {"wA": [ZONE, "."], "wB": ["."]}


@pytest.mark.row("2.5")
async def test_a_dead_name_server_costs_the_path_delay_and_no_more(t2: Lab) -> None:
    """D2.3.1 first server on primary, back-off to others: with A's DNS dead the name resolves via B.

    The resolution budget is the path delay and B's own time; the ordinary stack backs off for seconds.
    """
    t2["wA"].dns("dead")
    word, report = await race(t2)
    assert word == "wB"
    answered = [lookup for lookup in report.lookups if lookup.outcome == "answered"]
    assert {lookup.pvd for lookup in answered} == {"wB"}
    ended = answered[0].ended
    assert ended is not None
    assert ended < PATH_DELAY + SLACK
    plain = ordinary(t2, limit=3.0, dns_timeout=1)
    assert plain.seconds > 1.0


@pytest.mark.row("2.5")
async def test_the_names_of_a_zone_are_asked_at_their_owner_alone(t2: Lab) -> None:
    """D2.3.1, A's zone names are *not* asked at B, though A's DNS is dead: fail, rather than leak."""
    t2["wA"].dns("dead")
    async with opened(t2, configuration(t2, **OWNED), dns_timeout=0.6) as connector:
        with pytest.raises(pvdrace.ResolutionFailed) as caught:
            await reach(connector, t2, PRIVATE, 17)
        assert f"wB skipped ({ZONE} belongs to wA)" in str(caught.value)
        assert sent(t2["wB"]) == []
        word, report = await reach(connector, t2)
        assert word == "wB", "all other names are B's to answer"
        assert "wA" in pvds_of(report)


@pytest.mark.row("2.5")
async def test_the_names_of_a_zone_are_asked_elsewhere_only_if_the_configuration_says_so(t2: Lab) -> None:
    """D2.3.1, ... unless policy says: without the zone B may answer the same name, with its own answer."""
    t2["wA"].dns("dead")
    word, report = await race(t2, PRIVATE, 17)
    assert word == "wB"
    assert report.winner is not None
    assert report.winner.remote in ("198.51.100.22", "2001:db8:99::22")


@pytest.mark.row("2.5")
async def test_control_the_ordinary_stack_asks_everybody(t2: Lab) -> None:
    """D2.3.1, "leaks, wrong answers": after a timeout the next server hears of the private name."""
    t2["wA"].dns("dead")
    ordinary(t2, PRIVATE, 17, limit=2.5, dns_timeout=1)
    assert any(packet.dns_name == PRIVATE for packet in t2["wB"].packets())


@pytest.mark.row("2.6")
async def test_the_bring_up_order_does_not_show(t2: Lab) -> None:
    """D2.3.1 single list: first / last / primary source wins. Links up in both orders ⇒ the same snapshot."""
    seen = [await snapshots_after_bring_up(t2, order) for order in permutations(NAMES)]
    assert seen[0] == seen[1]
    assert [pvd.name for pvd in seen[0][0]] == ["wA", "wB"]
    assert all(pvd.unusable is None for pvds in seen[0] for pvd in pvds)


async def snapshots_after_bring_up(
    lab: Lab, order: Sequence[str]
) -> list[tuple[pvdrace.ProvisioningDomain, ...]]:
    """The PvDs, configured and discovered, after the devices were made anew in this order.

    But for the index and the link-local address: a device made anew has a new one of each.
    """
    for name in NAMES:
        lab[name].remove()
    for name in order:
        lab[name].link_up()
    seen = []
    for config in (configuration(lab), Configuration(discover=("netlink",))):
        async with opened(lab, config) as connector:
            snapshot = await connector.snapshot()
        seen.append(tuple(map(without_the_devices_own, snapshot)))
    return seen


def without_the_devices_own(pvd: pvdrace.ProvisioningDomain) -> pvdrace.ProvisioningDomain:
    kept = tuple(address for address in pvd.addresses if not is_link_local(address.address))
    return replace(pvd, ifindex=0, addresses=kept)


# ---------------------------------------------------------------------- D2.3.2 first hop


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.row("2.7", "3.21", "4.1")
async def test_the_metric_orders_and_does_not_decide(t2: Lab, first: str) -> None:
    """D2.3.2 lowest metric: a prior only. The first by metric wins while it works, and only then."""
    second = "wB" if first == "wA" else "wA"
    for family, gateway in (("-4", t2[first].gateway4), ("-6", t2[first].gateway6)):
        for metric in (10, 20):  # first or last default route: two of them, so that neither is the rule
            command = ["ip", family, "route", "add", "default", "via", str(gateway), "dev", first]
            t2.run([*command, "metric", str(metric)], check=True)
    try:
        word, report = await race(t2)
        assert word == first
        assert [str(reason) for reason in report.ranking.ranked[0].because] == ["metric 10"]
        t2[first].blackhole()
        plain = ordinary(t2, eyeballs=True)
        assert plain.word is None, "the ordinary stack follows the metric into the black hole"
        word, report = await race(t2)
        assert word == second
        assert report.ranking.ranked[0].pvd.name == first
    finally:
        for family in ("-4", "-6"):
            for metric in (10, 20):
                t2.run(["ip", family, "route", "del", "default", "dev", first, "metric", str(metric)])


# ---------------------------------------------------------------------- D2.3.3 source addresses


@pytest.mark.parametrize("fault", ["none", "blackhole", "reset", "ipv6_broken"])
@pytest.mark.row("2.8")
async def test_device_source_and_destination_are_of_one_domain(t2: Lab, fault: str) -> None:
    """D2.3.3 route first or source first gives inconsistent pairs: here (device, source, destination) agree.

    Every attempt and every packet on the wire, whatever goes wrong (RFC 7556 s5.2.2: next hop, then source).
    """
    if fault != "none":
        getattr(t2["wA"], fault)()
    async with opened(t2) as connector:
        for host in (t2.name, PRIVATE, "local.example.test", "several.example.test"):
            word, report = await reach(connector, t2, host, 17)
            assert word == getattr(report.winner, "pvd", None)
            for attempt in report.attempts:
                link = t2[attempt.pvd]
                assert attempt.local in (link.address4, link.address6)
                answers = {a for x in report.lookups if x.pvd == attempt.pvd for a in x.addresses}
                assert attempt.remote in answers
    for link in t2:
        assert {packet.source for packet in sent(link)} <= {link.address4, link.address6}


@pytest.mark.row("2.8")
async def test_the_source_is_the_domains_own_where_the_kernel_would_choose_another(t2: Lab) -> None:
    """D2.3.3: a PvD that is configured with one of two addresses of its device uses that one, for DNS too."""
    second = ("192.168.2.7", "2001:db8:2:1::7")
    for address, length in zip(second, (24, 64), strict=True):
        change(t2, "add", f"{address}/{length}")
    config = configuration(t2)
    pvds = tuple(replace(pvd, addresses=second) if pvd.name == "wB" else pvd for pvd in config.pvds)
    try:
        async with opened(t2, replace(config, pvds=pvds)) as connector:
            for family in ("ipv4", "ipv6"):
                word, _ = await reach(connector, t2, policy=policy(require=f"pvd:wB family:{family}"))
                assert word == "wB"
        assert {packet.source for packet in sent(t2["wB"])} == set(second)
        ordinary(t2, t2["wB"].gateway4, 53, how="blocking")
        assert t2["wB"].address4 in {packet.source for packet in sent(t2["wB"])}, (
            "control: the kernel's choice"
        )
    finally:
        for address, length in zip(second, (24, 64), strict=True):
            change(t2, "del", f"{address}/{length}")


def change(lab: Lab, what: str, address: str) -> None:
    command = ["ip", "address", what, address, "dev", "wB"]
    lab.run([*command, "nodad"] if what == "add" and ":" in address else command, check=True)


@pytest.mark.row("2.8")
async def test_control_a_source_of_one_link_leaves_by_the_other(t2: Lab) -> None:
    """D2.3.3, what the ordinary stack puts on the wire: wB's source on wA."""
    ordinary(t2, t2.address6, 17, how="blocking", source=t2["wB"].address6)
    assert {packet.source for packet in sent(t2["wA"])} == {t2["wB"].address6}


# ---------------------------------------------------------------------- D3.1 needs that differ


@pytest.mark.row("2.9")
async def test_three_connections_on_three_links_at_once(t3: Lab) -> None:
    """D3.1 MMS + web; VoIP + web; Internet + VPN in parallel: three connections, three links, disjoint.

    Each link's capture holds one destination port, that of its own connection.
    """
    needs = {"wired": ("type:wired", 17), "wifi": ("type:wifi", 22), "cell": ("type:cellular", 443)}
    words: dict[str, str] = {}

    async def one(connector: pvdrace.Connector, name: str) -> None:
        selector, port = needs[name]
        word, report = await reach(connector, t3, port=port, policy=policy(require=selector))
        words[name] = word
        assert {record.pvd for record in records(report)} == {name}

    async with opened(t3) as connector, anyio.create_task_group() as tasks:
        for name in needs:
            tasks.start_soon(one, connector, name)
    assert words == {"wired": "wired", "wifi": "SSH-2.0-lab_wifi", "cell": "cell"}
    for name, (_, port) in needs.items():
        assert {packet.port for packet in sent(t3[name]) if packet.kind == "syn"} == {port}


@pytest.mark.row("2.9")
async def test_control_the_ordinary_stack_has_one_link_for_all_needs(t3: Lab) -> None:
    """D3.1, the control: every connection leaves by the first default route."""
    assert [ordinary(t3, port=port).word for port in (17, 443)] == ["wired", "wired"]
    assert sent(t3["wifi"]) == sent(t3["cell"]) == []
