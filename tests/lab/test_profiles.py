"""The shipped profiles in the lab: what each system did is there, and what did harm is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import pvdrace
from lab.conftest import PRIVATE, visit
from lab.racing import (
    PATH_DELAY,
    SLACK,
    configuration,
    opened,
    ordinary,
    policy,
    pvds_of,
    reach,
    sent,
)
from pvdrace.config import Configuration, parse
from pvdrace.discovery.system_dns import DnsFiles
from pvdrace.lab import Lab, Link, Provider
from pvdrace.model import CostClass, Resolver
from pvdrace.race.pacing import Pacing

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

WHO = 17
CORPORATE = "intranet.corp.example"
EXEMPT = "www.corp.example"


def told(lab: Lab, **said: dict[str, Any]) -> Configuration:
    """The lab's configuration, with more said of some PvDs: ``told(lab, wA={"groups": ("mms",)})``."""
    config = configuration(lab)
    pvds = tuple(replace(pvd, **said.get(pvd.name, {})) for pvd in config.pvds)
    return replace(config, pvds=pvds)


def groups(**named: str) -> dict[str, dict[str, Any]]:
    """``groups(wA="mms")`` for `told`."""
    return {name: {"groups": tuple(words.split())} for name, words in named.items()}


def ranked(report: pvdrace.RaceReport) -> list[str]:
    return [one.pvd.name for one in report.ranking.ranked]


def silent(lab: Lab, *names: str) -> bool:
    """Whether the client has sent nothing at all into these links."""
    return not any(sent(lab[name]) for name in names)


# ---------------------------------------------------------------------- S60: access points

BY_HAND = """
discover = []
profile = "s60-iap"

[[pvd]]
name = "Operator MMS"
interface = "cell"
addresses = ["{cell.address4}"]
resolvers = ["{cell.gateway4}"]
groups = ["mms"]
type = "cellular"
cost = "variable"

[[pvd]]
name = "Home"
interface = "wifi"
resolvers = ["{wifi.gateway4}", "{wifi.gateway6}"]
"""


@pytest.mark.row("3.1", "3.4")
async def test_an_access_point_is_made_by_hand_and_an_application_is_bound_to_it(t3: Lab) -> None:
    """S60 IAP, S60 static selection: PvDs by file alone; the rule that was hit is in the report.

    The application that says ``mms`` is bound to the operator's access point; one that says nothing is bound
    to that of the Internet. The third link is in no file, so it is no PvD.
    """
    async with opened(t3, parse(BY_HAND.format(cell=t3["cell"], wifi=t3["wifi"]))) as connector:
        word, report = await reach(connector, t3, port=WHO, label="mms")
        assert (word, ranked(report)) == ("cell", ["Operator MMS"])
        (left_out,) = report.ranking.excluded
        assert str(left_out.excluded) == "not group:mms, which is required (profile s60-iap rule 1)"
        assert {packet.source for packet in sent(t3["cell"])} == {t3["cell"].address4}
        assert silent(t3, "wifi", "wired")
        word, report = await reach(connector, t3, port=WHO)
        assert (word, ranked(report)) == ("wifi", ["Home"])
        assert silent(t3, "wired")


@pytest.mark.row("3.1")
async def test_a_bound_application_has_no_other_access_point(t3: Lab) -> None:
    """S60 IAP: when the access point is dead its application fails, and no other hears of it."""
    t3["cell"].dead()
    async with opened(t3, parse(BY_HAND.format(cell=t3["cell"], wifi=t3["wifi"]))) as connector:
        with pytest.raises(pvdrace.PvdRaceError):
            await connector.connect(t3.name, WHO, label="mms", timeout=0.5)
    assert silent(t3, "wifi", "wired")


@pytest.mark.row("3.2")
async def test_two_applications_are_bound_to_two_access_points_at_once(t2o: Lab) -> None:
    """S60 app↔IAP binding: by their labels, concurrently, T2o; what S60 could do with one at a time."""
    config = told(t2o, **groups(wA="mms", wB="intranet"))
    words: dict[str, str] = {}

    async def one(connector: pvdrace.Connector, label: str) -> None:
        words[label], _ = await reach(connector, t2o, port=WHO, label=label)

    profile = pvdrace.profile("s60-iap")
    async with opened(t2o, config, policy=profile) as connector, anyio.create_task_group() as tasks:
        for label in ("mms", "intranet"):
            tasks.start_soon(one, connector, label)
    assert words == {"mms": "wA", "intranet": "wB"}


# ---------------------------------------------------------------------- S60: service network access points


@pytest.mark.row("3.7")
async def test_the_best_of_a_service_network_is_chosen(t3: Lab) -> None:
    """S60 SNAP (3.2), T3: the best member is chosen, the next when it is dead; other groups: 0 packets."""
    config = told(t3, **groups(wired="internet", wifi="internet", cell="operator"))
    async with opened(t3, config, policy=pvdrace.profile("s60-snap")) as connector:
        word, report = await reach(connector, t3)
        assert (word, ranked(report)) == ("wired", ["wired", "wifi"])
        t3["wired"].blackhole()
        assert (await reach(connector, t3))[0] == "wifi"
        assert silent(t3, "cell")
        t3.reset_counters()
        word, report = await reach(connector, t3, port=WHO, label="operator")
        assert (word, ranked(report)) == ("cell", ["cell"])
        assert silent(t3, "wired", "wifi")


@pytest.mark.row("3.11")
async def test_the_first_syn_is_ipv4(t2: Lab) -> None:
    """S60 dual-stack: IPv4 preferred. With the profile the first SYN is v4; without, it is v6."""
    for name, family in (("s60-snap", "ipv4"), (None, "ipv6")):
        t2.reset_counters()
        config = replace(configuration(t2), profile=name)
        async with opened(t2, config) as connector:
            word, report = await reach(connector, t2, port=WHO)
        assert (word, report.winner and f"ipv{report.winner.family}") == ("wA", family)
        (syn,) = [packet for packet in sent(t2["wA"]) if packet.kind == "syn"]
        assert (":" in syn.address) is (family == "ipv6")


# ---------------------------------------------------------------------- Windows Mobile, Windows Phone 7

VARIABLE, UNMETERED = {"cost": CostClass.VARIABLE}, {"cost": CostClass.UNMETERED}


@pytest.mark.row("3.15")
async def test_the_cheapest_that_leads_to_the_destination_network(t2d: Lab) -> None:
    """WM: destination network → candidate connections → cheapest, T2d; an unmapped one: the default group.

    wA needs 80 ms and costs nothing, wB needs 10 ms and costs.
    """
    config = told(t2d, wA=UNMETERED, wB=VARIABLE)
    async with opened(t2d, config, policy=pvdrace.profile("windows-mobile")) as connector:
        for _ in range(3):
            assert (await reach(connector, t2d, port=WHO))[0] == "wA"
    assert silent(t2d, "wB")
    t2d.reset_counters()
    config = told(t2d, wA={**UNMETERED, "groups": ("work",)}, wB=VARIABLE)
    async with opened(t2d, config, policy=pvdrace.profile("windows-mobile")) as connector:
        assert (await reach(connector, t2d, port=WHO, label="work"))[0] == "wA"
        assert silent(t2d, "wB")
        assert (await reach(connector, t2d, port=WHO))[0] == "wB"


@pytest.mark.row("3.22")
async def test_the_list_is_by_type_and_the_default_by_cost(t3: Lab) -> None:
    """WP7 ordered list: wired > WLAN > cellular. T3: metered wifi and unmetered cell, metrics upside down.

    By default cost wins, and the type says nothing; in the profile the type does.
    """
    config = told(
        t3,
        wired={"metric": 3, "cost": CostClass.VARIABLE},
        wifi={"metric": 2, "cost": CostClass.FIXED},
        cell={"metric": 1, "cost": CostClass.UNMETERED},
    )
    for name, order in ((None, ["cell", "wifi", "wired"]), ("windows-phone-7", ["wired", "wifi", "cell"])):
        t3.reset_counters()
        async with opened(t3, replace(config, profile=name)) as connector:
            word, report = await reach(connector, t3, port=WHO)
        assert ranked(report) == order
        assert word == order[0]
        assert silent(t3, *order[1:])


@pytest.mark.row("3.21")
@pytest.mark.parametrize("fault", [Link.blackhole, Link.dead, Link.no_arp, Link.reset])
async def test_the_first_of_the_list_may_be_dead(t3: Lab, fault: Callable[[Link], object]) -> None:
    """WP7 first hop lowest metric, "as desktop: blind to liveness": T2x, here the next of the list."""
    fault(t3["wired"])
    pacing = Pacing(attempt_timeout=0.3)
    config = replace(configuration(t3), profile="windows-phone-7")
    async with opened(t3, config, pacing=pacing, dns_timeout=0.3) as connector:
        word, report = await reach(connector, t3, port=WHO)
    assert (word, ranked(report)) == ("wifi", ["wired", "wifi", "cell"])
    assert silent(t3, "cell")


FORBIDDING = pvdrace.PolicyFile("etc", policy=pvdrace.Policy(prohibit=["type:cellular"]))


@pytest.mark.row("3.23")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "wired"),
        ({"label": "cellular"}, "cell"),
        ({"label": "wlan"}, "wifi"),
        ({"label": "broadband"}, "wifi"),  # wired is known to be slow
        ({"policy": policy(require="type:cellular")}, "cell"),
        ({"policy": policy(require="pvd:wif*")}, "wifi"),
        ({"policy": pvdrace.Policy(min_rate=20e6)}, "wifi"),
    ],
    ids=repr,
)
async def test_an_application_asks_for_another_one(t3: Lab, options: dict[str, Any], expected: str) -> None:
    """WP7 per-app override via API or operator provisioning: by type, by minimum speed, by name."""
    config = told(t3, wired={"rate": 64e3}, wifi={"rate": 50e6}, cell={"rate": 5e6})
    async with opened(t3, config, policy=pvdrace.profile("windows-phone-7")) as connector:
        word, _ = await reach(connector, t3, port=WHO, **options)
    assert word == expected


@pytest.mark.row("3.23")
async def test_what_nobody_has_and_what_the_operator_forbids(t3: Lab) -> None:
    """WP7 per-app override: unsatisfied ⇒ NoUsablePvd; forbidden by the system layer ⇒ PolicyProhibited."""
    config, profile = told(t3, wired={"rate": 64e3}), pvdrace.profile("windows-phone-7")
    async with opened(t3, config, policy=profile, system=FORBIDDING) as connector:
        with pytest.raises(pvdrace.NoUsablePvd) as nobody:
            await connector.connect(t3.name, WHO, policy=policy(require="type:satellite"))
        assert not isinstance(nobody.value, pvdrace.PolicyProhibited)
        with pytest.raises(pvdrace.NoUsablePvd, match="64000 bit/s") as nobody:
            await connector.connect(t3.name, WHO, policy=pvdrace.Policy(require=["type:wired"], min_rate=1e6))
        assert not isinstance(nobody.value, pvdrace.PolicyProhibited)
        with pytest.raises(pvdrace.PolicyProhibited, match=r"prohibited by type:cellular \(system\)"):
            await connector.connect(t3.name, WHO, policy=policy(require="type:cellular"))
        with pytest.raises(pvdrace.PolicyProhibited, match=r"prohibited by type:cellular \(system\)"):
            await connector.connect(t3.name, WHO, label="cellular")
    assert silent(t3, "wired", "wifi", "cell")


# ---------------------------------------------------------------------- Android


@pytest.mark.row("3.34")
async def test_the_next_network_when_one_is_lost(t3: Lab) -> None:
    """Android 2.2: Wi-Fi before cellular, whatever the metrics; the next when it is lost, and not before."""
    t3["wired"].link_down()
    config = replace(told(t3, wifi={"metric": 900}), profile="android-2.2")
    async with opened(t3, config) as connector:
        word, report = await reach(connector, t3, port=WHO)
        assert (word, ranked(report)) == ("wifi", ["wifi", "cell"])
        assert {pvd.address_table for pvd in await connector.snapshot()} == {"android-2.2"}
        t3["wifi"].set(delay=0.2)
        assert (await reach(connector, t3, port=WHO))[0] == "wifi"
        assert silent(t3, "cell")
        t3["wifi"].remove()
        assert (await reach(connector, t3, port=WHO))[0] == "cell"
    t3["wifi"].link_up()
    t3["wired"].link_up()


# ---------------------------------------------------------------------- BlackBerry, AMSS, Arena


@pytest.mark.row("3.27")
async def test_the_users_preference_then_cost_then_the_type_of_service(t2d: Lab) -> None:
    """BlackBerry single stack, several interfaces: user preference, cost, type of service."""
    config = told(t2d, wA=UNMETERED, wB=VARIABLE)
    profile = pvdrace.profile("blackberry")
    async with opened(t2d, config, policy=profile) as connector:
        assert (await reach(connector, t2d, port=WHO))[0] == "wA"
        t2d["wA"].blackhole()
        with pytest.raises(pvdrace.ConnectFailed):
            await reach(connector, t2d, port=WHO, label="backup", timeout=0.6)
        assert silent(t2d, "wB")
        assert (await reach(connector, t2d, port=WHO, label="voice"))[0] == "wB"
    t2d["wA"].heal()
    mine = replace(config, policy=pvdrace.Policy(prefer=["pvd:wB"]))
    async with opened(t2d, mine, policy=profile) as connector:
        assert (await reach(connector, t2d, port=WHO))[0] == "wB"


@pytest.mark.row("3.36")
async def test_a_netpolicy_matches_or_nobody_runs(t3: Lab) -> None:
    """Brew AMSS netpolicy: a group of technologies expands, with version and profile; no match: nobody."""
    config = told(t3, cell={"groups": ("apn-internet",)}, wifi=VARIABLE)
    async with opened(t3, config, policy=pvdrace.profile("amss-netpolicy")) as connector:
        for label, expected in (
            ("ANY_CELLULAR", ["cell"]),
            ("ANY_WIRELESS", ["cell", "wifi"]),
            ("WLAN", ["wifi"]),
        ):
            word, report = await reach(connector, t3, port=WHO, label=label)
            assert (word, ranked(report)) == (expected[0], expected)
        word, report = await reach(
            connector, t3, port=WHO, label="ANY_WIRELESS", policy=policy(require="group:apn-* family:ipv4")
        )
        assert (word, report.winner and report.winner.family) == ("cell", 4)
        assert silent(t3, "wired")
        t3.reset_counters()
        with pytest.raises(pvdrace.NoUsablePvd):
            await connector.connect(t3.name, WHO, label="CDMA")
        assert silent(t3, "wired", "wifi", "cell")


# ---------------------------------------------------------------------- Windows: suffixes and the NRPT

VPN_ZONES = {CORPORATE: ["198.51.100.31", "2001:db8:99::31"], EXEMPT: ["198.51.100.32", "2001:db8:99::32"]}


@pytest.fixture(scope="module")
def office_lab() -> Iterator[Lab]:
    lan = Provider("lan", delay=0.005, metric=100, zones={EXEMPT: ["198.51.100.33", "2001:db8:99::33"]})
    vpn = Provider("vpn", delay=0.010, metric=50, type="vpn", zones=VPN_ZONES)
    with Lab([lan, vpn]) as lab:
        yield lab


@pytest.fixture
def office(office_lab: Lab) -> Iterator[Lab]:
    """A LAN, and a VPN with the better metric that takes everything: T2v."""
    yield from visit(office_lab)


NRPT = parse(
    'profile = "windows"\n'
    f'[[rule]]\nmatch = {{ host = ["{EXEMPT}"] }}\nprohibit = ["type:vpn"]\n'
    '[[rule]]\nmatch = { host = [".corp.example"] }\nrequire = ["type:vpn"]\n'
)


def with_nrpt(lab: Lab) -> Configuration:
    return replace(configuration(lab), rules=NRPT.rules, profile=NRPT.profile)


def asked(lab: Lab, name: str) -> set[str]:
    """The names that were asked for on a link."""
    return {packet.dns_name.lower() for packet in sent(lab[name]) if packet.dns_name}


@pytest.mark.row("4.6")
async def test_a_suffix_is_tried_in_the_pvd_that_supplied_it(office: Lab) -> None:
    """Windows DNS suffix 1: search list. "intranet" resolves via the VPN, and with no other suffix there."""
    config = told(
        office,
        lan={"search": ("home.example",)},
        vpn={"search": ("corp.example",), "zones": ("corp.example", ".")},
    )
    async with opened(office, config, policy=pvdrace.profile("windows")) as connector:
        word, _ = await reach(connector, office, "intranet", WHO)
    assert word == "vpn"
    assert asked(office, "vpn") == {CORPORATE}
    assert not any("corp" in name for name in asked(office, "lan"))


@pytest.mark.row("4.9")
async def test_a_corporate_zone_goes_to_the_vpn_and_an_exempt_host_to_the_lan(office: Lab) -> None:
    """Windows suffix 4: NRPT. The zone only to the VPN; the exempt host to the LAN; all else by metric."""
    async with opened(office, with_nrpt(office)) as connector:
        word, report = await reach(connector, office, CORPORATE, WHO)
        assert (word, pvds_of(report)) == ("vpn", {"vpn"})
        assert silent(office, "lan")
        office.reset_counters()
        word, report = await reach(connector, office, EXEMPT, WHO)
        assert (word, pvds_of(report)) == ("lan", {"lan"})
        assert silent(office, "vpn")
        assert (await reach(connector, office, port=WHO))[0] == "vpn"


@pytest.mark.row("4.9")
@pytest.mark.parametrize("how", [Link.link_down, Link.remove, Link.dead])
async def test_with_the_vpn_down_the_zone_fails_closed(office: Lab, how: Callable[[Link], object]) -> None:
    """Windows suffix 4: NRPT. VPN down ⇒ fails closed, 0 packets elsewhere; the exempt host goes on."""
    how(office["vpn"])
    async with opened(office, with_nrpt(office), dns_timeout=0.2) as connector:
        with pytest.raises(pvdrace.PvdRaceError):
            await connector.connect(CORPORATE, WHO, timeout=0.6)
        assert silent(office, "lan")
        assert (await reach(connector, office, EXEMPT, WHO))[0] == "lan"
    office["vpn"].link_up()


@pytest.mark.row("4.9")
async def test_control_with_the_vpn_down_the_ordinary_stack_asks_the_lan(office: Lab) -> None:
    """Windows suffix 4, without one: the LAN's server hears of the corporate name."""
    office["vpn"].dead()
    assert ordinary(office, CORPORATE, WHO, how="blocking", limit=2, dns_timeout=1).word is None
    assert CORPORATE in asked(office, "lan")


# ---------------------------------------------------------------------- Windows: escalation


@pytest.mark.row("4.12")
async def test_a_dead_server_costs_a_second_in_windows_and_a_head_start_here(t2: Lab) -> None:
    """Windows escalation 1 s / +2 / +4 / +8: A's DNS dead; an answer here < 0.4 s, with the profile ≥ 1 s.

    And a name that is marked as A's appears in no other capture, not even with the profile.
    """
    t2["wA"].dns("dead")
    answered: dict[str | None, float] = {}
    for name in (None, "windows"):
        for _ in range(3):  # a busy machine gets another chance to be fast
            async with opened(t2, replace(configuration(t2), profile=name)) as connector:
                word, report = await reach(connector, t2, port=WHO)
            assert word == "wB"
            answered[name] = min(x.ended for x in report.lookups if x.addresses and x.ended is not None)
            if name or answered[name] < 0.4:
                break
    assert answered[None] < 0.4
    assert 1.0 <= answered["windows"] < 1.0 + SLACK
    assert answered[None] < answered["windows"] - 0.5

    t2.reset_counters()
    config = replace(configuration(t2, wA=["corp.example", "."]), profile="windows")
    async with opened(t2, config) as connector:
        with pytest.raises(pvdrace.PvdRaceError):
            await connector.connect(PRIVATE, WHO, timeout=1.2)
    assert PRIVATE in asked(t2, "wA")
    assert silent(t2, "wB")


@pytest.mark.row("4.12")
async def test_control_escalation_tells_the_other_network_the_private_name(t2: Lab) -> None:
    """Windows escalation "leaks every name to every network": what a stub resolver with a timeout does."""
    t2["wA"].dns("dead")
    ordinary(t2, PRIVATE, WHO, how="blocking", limit=3, dns_timeout=1)
    assert PRIVATE in asked(t2, "wB")


# ---------------------------------------------------------------------- DHCP clients

Root = Callable[..., Path]


@pytest.fixture
def networks(t2: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """What networkd says of each link's servers, and a resolv.conf with those of some links."""

    def write(*resolv_conf: str) -> Path:
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "run/systemd/netif/links").mkdir(parents=True, exist_ok=True)
        for link in t2:
            index = ifindex(t2, link.interface)
            text = f"DNS={' '.join(link.resolvers)}\nDOMAINS={link.name.lower()}.example\n"
            (tmp_path / f"run/systemd/netif/links/{index}").write_text(text)
        servers = [server for name in resolv_conf for server in t2[name].resolvers]
        (tmp_path / "etc/resolv.conf").write_text("".join(f"nameserver {server}\n" for server in servers))
        return tmp_path

    monkeypatch.setattr("pvdrace.seen.DnsFiles", partial(DnsFiles, tmp_path, lambda: True))
    return write


def ifindex(lab: Lab, interface: str) -> int:
    return int(lab.run(["cat", f"/sys/class/net/{interface}/ifindex"], check=True).stdout)


DISCOVERED = Configuration()


@pytest.mark.row("2.4", "3.32", "4.18", "4.19", "4.22")
async def test_the_last_that_was_configured_wins_nothing(t2: Lab, networks: Root) -> None:
    """ISC dhclient, OpenBSD dhclient, udhcpc: each lease rewrites resolv.conf, the last one wins.

    resolv.conf written from B last: A still asks A's servers; the snapshot is the same in both orders.
    """
    snapshots = []
    for last in ("wA", "wB"):
        networks(last)
        async with opened(t2, DISCOVERED, policy=pvdrace.profile("dhclient")) as connector:
            snapshots.append((await connector.snapshot()).pvds)
            word, report = await reach(connector, t2, PRIVATE, WHO, policy=policy(require="pvd:wA"))
            assert (word, {x.server for x in report.lookups} <= set(t2["wA"].resolvers)) == ("wA", True)
            assert silent(t2, "wB")
    assert snapshots[0] == snapshots[1]


@pytest.mark.row("4.20")
async def test_no_networks_servers_are_used(t2: Lab, networks: Root) -> None:
    """Phystech dhcpcd, -R global: with the profile no network's servers count, but for configured ones."""
    networks("wA", "wB")
    config = parse(f'profile = "dhcpcd-r"\n[[pvd]]\nname = "wB"\nresolvers = ["{t2["wB"].gateway4}"]')
    async with opened(t2, config) as connector:
        pvds = await connector.snapshot()
        assert (pvds["wA"].resolvers, pvds["wA"].search) == ((), ())
        assert pvds["wB"].resolvers == (Resolver(str(t2["wB"].gateway4)),)
        assert (await reach(connector, t2, port=WHO))[0] == "wB"
    assert {packet.kind for packet in sent(t2["wA"])} <= {"syn", "tcp"}


@pytest.mark.row("4.20", "4.21", "4.23")
@pytest.mark.parametrize(("profile", "group"), [("pump-nodns", "nodns"), ("peerdns-no", "peerdns-no")])
async def test_the_servers_of_some_networks_are_ignored(
    t2: Lab, networks: Root, profile: str, group: str
) -> None:
    """pump ``nodns``, PEERDNS=no: A's servers are ignored, B's are kept, which dhcpcd -R could not do.

    A's routes are good: its names come from the configured resolver, which is asked over A.
    """
    networks("wA", "wB")
    configured = str(t2["wA"].gateway6)
    tagged = f'profile = "{profile}"\n[[pvd]]\nname = "wA"\ngroups = ["{group}"]\n'
    async with opened(t2, parse(tagged)) as connector:
        pvds = await connector.snapshot()
        assert (pvds["wA"].resolvers, pvds["wA"].search) == ((), ())
        assert {str(server) for server in pvds["wB"].resolvers} == set(t2["wB"].resolvers)
        assert pvds["wB"].search == ("wb.example",)
        assert (await reach(connector, t2, PRIVATE, WHO))[0] == "wB"
    assert silent(t2, "wA")  # nobody to ask there
    async with opened(t2, parse(tagged)) as connector:
        assert (await reach(connector, t2, t2.address4, WHO))[0] == "wA"  # but a way
    t2.reset_counters()
    async with opened(t2, parse(f'{tagged}resolvers = ["{configured}"]')) as connector:
        word, report = await reach(connector, t2, PRIVATE, WHO, policy=policy(require="pvd:wA"))
    assert (word, {x.server for x in report.lookups}) == ("wA", {configured})
    assert {packet.address for packet in sent(t2["wA"]) if packet.kind == "dns"} == {configured}
    assert silent(t2, "wB")


@pytest.mark.row("4.21")
async def test_the_default_routes_of_some_networks_are_ignored(t2: Lab, networks: Root) -> None:
    """pump ``nogateway`` per interface: A is for its own link, everything else goes by B."""
    networks("wA", "wB")
    config = parse('profile = "pump-nogateway"\n[[pvd]]\nname = "wA"\ngroups = ["nogateway"]\n')
    gateway = str(t2["wA"].gateway4)
    async with opened(t2, config) as connector:
        assert (await connector.snapshot())["wA"].unusable is None
        for host in (t2.name, t2.address4, t2.address6):
            assert (await reach(connector, t2, host, WHO))[0] == "wB"
        assert not [packet for packet in sent(t2["wA"]) if packet.kind == "syn"]
        with pytest.raises(pvdrace.ConnectFailed, match="wA v4 refused"):
            await connector.connect(gateway, 9, policy=policy(require="pvd:wA"), timeout=2)
    assert {packet.address for packet in sent(t2["wA"]) if packet.kind == "syn"} == {gateway}


@pytest.mark.row("4.24")
async def test_there_is_no_primary_interface(t2: Lab, networks: Root) -> None:
    """ "primary interface only" fails when the set changes: wA removed entirely, B works with no reconfig."""
    networks("wA")
    async with opened(t2, DISCOVERED) as connector:
        assert (await reach(connector, t2, port=WHO))[0] == "wA"
        t2["wA"].remove()
        assert (await reach(connector, t2, port=WHO))[0] == "wB"
    t2["wA"].link_up()


# ---------------------------------------------------------------------- access-network selection


@pytest.mark.row("5.1")
async def test_one_success_elsewhere_is_no_preference(t2: Lab) -> None:
    """HTC: the preferred list is "last successfully attached first". Here not: A (better) is still first.

    The profile has the habit, for comparison: there the success on B makes it the first.
    """
    for name, after in ((None, "wA"), ("htc-wlan", "wB")):
        config = replace(told(t2, wA={"type": "wifi"}, wB={"type": "wifi"}), profile=name)
        async with opened(t2, config) as connector:
            assert (await reach(connector, t2, port=WHO))[0] == "wA"
            assert (await reach(connector, t2, port=WHO, policy=policy(require="pvd:wB")))[0] == "wB"
            assert (await reach(connector, t2, port=WHO))[0] == after, name
            if name is None:
                t2["wA"].link_down()
                assert (await reach(connector, t2, port=WHO))[0] == "wB"
                t2["wA"].link_up()
                assert (await reach(connector, t2, port=WHO))[0] == "wA"


@pytest.mark.row("5.2")
async def test_a_new_network_comes_last_and_only_when_all_others_have_failed(t3: Lab) -> None:
    """BlackBerry: user-defined list, new SSIDs appended at the end: C is never before the ranked ones."""
    config = told(t3, **groups(cell="wlan-1", wifi="wlan-2"))
    pacing = Pacing(attempt_timeout=0.3)
    async with opened(t3, config, policy=pvdrace.profile("blackberry-wlan"), pacing=pacing) as connector:
        word, report = await reach(connector, t3, port=WHO)
        assert (word, ranked(report)) == ("cell", ["cell", "wifi", "wired"])
        t3["cell"].blackhole()
        word, report = await reach(connector, t3, port=WHO)
        assert (word, ranked(report)[-1]) == ("wifi", "wired")
        assert silent(t3, "wired")
        t3["wifi"].blackhole()
        assert (await reach(connector, t3, port=WHO))[0] == "wired"


@pytest.mark.row("5.3")
async def test_the_next_begins_after_the_configured_time(t2: Lab) -> None:
    """both: L2 attach failure ⇒ next after a configurable timeout. No ARP: the path delay, not 3 s."""
    t2["wA"].no_arp()
    for pacing in (Pacing(), Pacing(path_delay=0.6)):
        async with opened(t2, pacing=pacing) as connector:
            word, report = await reach(connector, t2, t2.address4, WHO)
        assert word == "wB"
        began = min(attempt.started for attempt in report.attempts if attempt.pvd == "wB")
        assert pacing.path_delay <= began + 0.001
        assert began < pacing.path_delay + SLACK


@pytest.mark.row("5.4")
async def test_without_an_address_nothing_is_tried(t2: Lab) -> None:
    """both: no IP address after attach ⇒ next SSID. A's addresses removed: 0 attempts there, no wait."""
    t2.run(["ip", "address", "flush", "dev", "wA"], check=True)
    async with opened(t2, replace(configuration(t2), profile="htc-wlan")) as connector:
        word, report = await reach(connector, t2, port=WHO)
    assert word == "wB"
    assert report.elapsed < PATH_DELAY + SLACK
    assert silent(t2, "wA")
    t2["wA"].link_up()


@pytest.mark.row("5.5")
async def test_a_strong_signal_forbids_nothing(t2: Lab) -> None:
    """both, same SSID: strongest signal only. link_quality 1.0 and a black hole: B by the second connect."""
    t2["wA"].blackhole()
    same = {"metric": 1}
    config = told(t2, wA={"link_quality": 1.0, **same}, wB={"link_quality": 0.1, **same})
    async with opened(t2, config) as connector:
        first, report = await reach(connector, t2, port=WHO)
        assert ranked(report) == ["wA", "wB"]
        t2.reset_counters()
        second, report = await reach(connector, t2, port=WHO)
        assert (first, second, ranked(report)[0]) == ("wB", "wB", "wB")
    assert report.elapsed < PATH_DELAY + SLACK


@pytest.mark.row("5.7")
async def test_a_long_stream_stays_where_it_is_when_another_gets_better(t2: Lab) -> None:
    """BlackBerry: moving user, stronger AP ⇒ restarts. A long stream on A is unaffected; new ones move."""
    t2["wB"].link_down()
    config = told(t2, wB={"metric": 1})
    async with opened(t2, config) as connector:
        stream = await connector.open_connection(t2.name, 7, timeout=5)
        async with stream:
            await stream.send(b"one")
            assert await stream.receive() == b"one"
            t2["wB"].link_up()
            assert (await reach(connector, t2, port=WHO))[0] == "wB"
            await stream.send(b"two")
            with anyio.fail_after(5):
                assert await stream.receive() == b"two"


# ---------------------------------------------------------------------- D2.2: per-application settings


@pytest.mark.row("2.3")
async def test_a_tag_survives_that_the_device_is_renamed(t2: Lab) -> None:
    """D2.2 Per-application settings name interfaces, which is brittle: config by tag survives wA→foo0."""
    wa = t2["wA"]
    config = parse(
        f'discover = []\n[[pvd]]\nname = "office"\naddresses = ["{wa.address4}"]\ngroups = ["work"]\n'
        f'resolvers = ["{wa.gateway4}"]\n[[rule]]\nmatch = {{ label = ["mail"] }}\nrequire = ["group:work"]\n'
    )
    async with opened(t2, config, label="mail") as connector:
        for device in ("wA", "foo0"):
            if device == "foo0":
                rename(t2, "wA", "foo0")
            word, report = await reach(connector, t2, port=WHO)
            assert (word, ranked(report)) == ("wA", ["office"])
            assert (await connector.snapshot())["office"].interface == device
    rename(t2, "foo0", "wA")
    t2["wA"].link_up()


def rename(lab: Lab, old: str, new: str) -> None:
    """As udev does it: down, another name, up; and what DHCP would put there again."""
    link = lab["wA"]
    for command in (
        f"ip link set {old} down",
        f"ip link set {old} name {new}",
        f"ip link set {new} up",
        f"ip route replace {link.gateway4}/32 dev {new}",
        f"ip route replace default via {link.gateway4} dev {new} metric 100",
    ):
        lab.run(command.split(), check=True)
    state = Path(f"/sys/class/net/{new}/operstate")
    deadline = time.monotonic() + 5  # the kernel takes its time, up to a second, to say that it is there
    while "up" not in lab.run(["cat", str(state)], check=True).stdout and time.monotonic() < deadline:
        time.sleep(0.02)
