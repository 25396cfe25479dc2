"""``pvdrace resolve``: what each PvD answers, side by side."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from cli_program import in_the_lab
from pvdrace.cli.app import app
from pvdrace.config import Configuration
from pvdrace.dns.resolver import Answer, DnsFailure
from pvdrace.model import LocalAddress, ProvisioningDomain, PvdSet
from pvdrace.policy import Policy
from pvdrace.rules import Match, Rule

if TYPE_CHECKING:
    from typing import Self

    from click.testing import Result


def host_pvd(name: str, number: int, **attributes: Any) -> ProvisioningDomain:
    addresses = (LocalAddress(f"2001:db8:{number}::2", 64), LocalAddress(f"10.0.{number}.2", 24))
    return ProvisioningDomain(name, interface=name, addresses=addresses, **attributes)


ETH = host_pvd("eth", 1)
WIFI = host_pvd("wifi", 2)
V4 = ProvisioningDomain("v4", interface="v4", addresses=(LocalAddress("10.0.3.2", 24),))
VPN = host_pvd("vpn", 4, zones=("corp.example",))
DOWN = ProvisioningDomain("down", interface="down", unusable="link down")


class Resolver:
    """Answers from a table, once everybody has asked who is expected to ask."""

    def __init__(self, table: dict[tuple[str, str], Answer | DnsFailure], expected: int) -> None:
        self.table = table
        self.asked: list[tuple[str, str]] = []
        self.families: set[tuple[int, ...]] = set()
        self.all_here = asyncio.Barrier(max(expected, 1))

    async def lookup(
        self, pvd: ProvisioningDomain, name: str, type: str, *, families: tuple[int, ...]
    ) -> Answer:
        self.asked.append((pvd.name, type))
        self.families.add(families)
        await asyncio.wait_for(self.all_here.wait(), 10)
        found = self.table[pvd.name, type]
        if isinstance(found, DnsFailure):
            raise found
        return found


def answer(
    *addresses: str, server: str = "10.0.1.1", negative: str | None = None, ttl: float = 300
) -> Answer:
    return Answer(addresses, ttl, server, "www.example.com", negative)


class World:
    """The PvDs and rules of a host, and what their resolvers say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pvds: tuple[ProvisioningDomain, ...] = (ETH, WIFI)
        self.rules: tuple[Rule, ...] = ()
        self.table: dict[tuple[str, str], Answer | DnsFailure] = {}
        self.resolver: Resolver | None = None
        world = self

        class Connector:
            def __init__(self, config: str | None, *, dns_timeout: float) -> None:
                self.configuration = Configuration(rules=world.rules)
                self.resolver = world.resolver = Resolver(world.table, len(world.table))

            async def __aenter__(self) -> Self:
                return self

            async def __aexit__(self, *_: object) -> None:
                pass

            async def snapshot(self) -> PvdSet:
                return PvdSet(world.pvds)

        monkeypatch.setattr("pvdrace.connector.Connector", Connector)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["resolve", *arguments])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(monkeypatch)
    world.table = {
        ("eth", "AAAA"): answer("2001:db8:99::1", server="2001:db8:1::1"),
        ("eth", "A"): answer("198.51.100.1", "198.51.100.2"),
        ("wifi", "AAAA"): answer(negative="NODATA", server="10.0.2.1"),
        ("wifi", "A"): DnsFailure("10.0.2.1: SERVFAIL", "10.0.2.1"),
    }
    return world


def test_a_line_for_each_pvd_and_type_all_asked_at_once(world: World) -> None:
    """No answer comes before the last question: asking one after the other would never end."""
    done = world.run("www.example.com")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["PVD", "TYPE", "ANSWER", "SERVER", "TIME", "TTL"]
    assert [line[:4] for line in lines[1:]] == [
        ["eth", "AAAA", "2001:db8:99::1", "2001:db8:1::1"],
        ["eth", "A", "198.51.100.1,198.51.100.2", "10.0.1.1"],
        ["wifi", "AAAA", "NODATA", "10.0.2.1"],
        ["wifi", "A", "10.0.2.1:", "SERVFAIL"],
    ]
    assert lines[1][-2:] == ["300", "s"]
    assert lines[3][-1] == "-"


def test_json(world: World) -> None:
    value = json.loads(world.run("www.example.com", "--json").stdout)
    assert (value["schema"], value["name"]) == ("pvdrace.resolve/1", "www.example.com")
    eth, wifi = value["pvds"]
    lookup = eth["lookups"][0]
    assert lookup.pop("elapsed") >= 0
    assert lookup == {
        "type": "AAAA",
        "server": "2001:db8:1::1",
        "outcome": "answered",
        "error": None,
        "addresses": ["2001:db8:99::1"],
        "ttl": 300,
        "canonical_name": "www.example.com",
        "negative": None,
    }
    assert wifi["lookups"][0]["negative"] == "NODATA"
    assert (wifi["lookups"][1]["outcome"], wifi["lookups"][1]["error"]) == ("failed", "10.0.2.1: SERVFAIL")


def test_no_address_anywhere_is_code_4(world: World) -> None:
    world.table = {
        ("eth", "AAAA"): answer(negative="NXDOMAIN"),
        ("eth", "A"): answer(negative="NXDOMAIN"),
        ("wifi", "AAAA"): DnsFailure("no answer in 5 s"),
        ("wifi", "A"): DnsFailure("no answer in 5 s"),
    }
    done = world.run("www.example.com")
    assert done.exit_code == 4
    assert done.stderr == "pvdrace: www.example.com: no PvD has an address for it\n"
    assert "NXDOMAIN" in done.stdout


def test_nobody_to_ask_is_code_3(world: World) -> None:
    world.pvds = (DOWN,)
    world.table = {}
    done = world.run("www.example.com")
    assert (done.exit_code, done.stderr) == (3, "pvdrace: www.example.com: no usable PvD\n")
    assert "not asked: link down" in done.stdout


def test_only_the_types_that_a_pvd_can_use(world: World) -> None:
    world.pvds = (V4,)
    world.table = {("v4", "A"): answer("198.51.100.1")}
    assert world.run("www.example.com").exit_code == 0
    assert world.resolver is not None
    assert world.resolver.asked == [("v4", "A")]


@pytest.mark.parametrize(("name", "asked"), [("a.corp.example", "vpn"), ("a.example.com", "eth")])
def test_split_dns_is_kept(world: World, name: str, asked: str) -> None:
    """A name is asked where the race would ask it, and nowhere else: a question is a disclosure, too."""
    world.pvds = (ETH, VPN)
    world.table = {(asked, "AAAA"): answer("2001:db8::1"), (asked, "A"): answer("198.51.100.1")}
    done = world.run(name, "--json")
    assert done.exit_code == 0
    assert world.resolver is not None
    assert {pvd for pvd, _ in world.resolver.asked} == {asked}
    (left_out,) = (pvd for pvd in json.loads(done.stdout)["pvds"] if pvd["pvd"] != asked)
    assert "corp.example" in left_out["excluded"]


def test_rules_of_the_configuration_are_kept(world: World) -> None:
    world.rules = (
        Rule(Match(port=(443,)), Policy(prohibit=["pvd:wifi"])),
        Rule(Match(host=("*.example.com",)), Policy(prohibit=["pvd:eth"])),
    )
    world.table = {("wifi", "AAAA"): answer("2001:db8::1"), ("wifi", "A"): answer("198.51.100.1")}
    assert world.run("www.example.com").exit_code == 0
    assert world.resolver is not None
    assert {pvd for pvd, _ in world.resolver.asked} == {"wifi"}


def test_the_questions_go_out_in_the_families_that_a_rule_allows(world: World) -> None:
    world.rules = (Rule(Match(), Policy(prohibit=["family:ipv6"])),)
    world.table = {("eth", "A"): answer("198.51.100.1"), ("wifi", "A"): answer("198.51.100.1")}
    assert world.run("www.example.com").exit_code == 0
    assert world.resolver is not None
    assert world.resolver.families == {(4,)}


@pytest.mark.lab
def test_each_provider_gives_its_own_answer() -> None:
    done = in_the_lab("good", "resolve", "local.example.test", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    found = {
        pvd["pvd"]: [a for lookup in pvd["lookups"] for a in lookup["addresses"]] for pvd in value["pvds"]
    }
    assert found == {
        "eth": ["2001:db8:99::101", "198.51.100.101"],
        "wifi": ["2001:db8:99::102", "198.51.100.102"],
        "lte": ["2001:db8:99::103", "198.51.100.103"],
    }


@pytest.mark.lab
def test_a_dead_server_holds_nobody_up() -> None:
    done = in_the_lab("eth-dns-dead", "resolve", "www.example.test", "--timeout", "1", "--json")
    assert done.returncode == 0
    outcomes = {
        pvd["pvd"]: {lookup["outcome"] for lookup in pvd["lookups"]}
        for pvd in json.loads(done.stdout)["pvds"]
    }
    assert outcomes == {"eth": {"failed"}, "wifi": {"answered"}, "lte": {"answered"}}
