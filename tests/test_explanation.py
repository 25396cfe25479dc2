"""What an explanation says, as text, as values and on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

import pvdrace
from cli_program import in_the_lab, pvdrace_program
from pvdrace.config import parse
from pvdrace.model import Endpoint, ProvisioningDomain, PvdSet, Resolver
from pvdrace.policy import Policy
from pvdrace.ranking import rank
from pvdrace.ranking.explanation import Explanation, explain
from pvdrace.testing.scenario import build_pvds, pvd

PVDS = build_pvds({"wifi": pvd(cost="unmetered"), "lte": pvd(cost="variable"), "vpn": pvd(zones=("corp",))})
ASKS = {"wifi": (Resolver("2001:db8::53"), Resolver("10.0.1.1", 5353)), "lte": (Resolver("10.0.2.1"),)}


def explained(host: str = "www.example.com", pvds: PvdSet = PVDS, **policy: Any) -> Explanation:
    layers = [("call", Policy(**policy))] if policy else []
    endpoint = Endpoint(host, 443)

    def servers(pvd: ProvisioningDomain, families: tuple[int, ...]) -> tuple[Resolver, ...]:
        assert families == (6, 4)
        return ASKS[pvd.name]

    return explain(endpoint, rank(pvds, endpoint, layers), [name for name, _ in layers], servers)


def test_as_text_it_is_a_table() -> None:
    assert (
        str(explained(prefer=["pvd:wifi"], capacity_profile="capacity-seeking"))
        == """\
www.example.com:443  policy: call
PVD   STARTS             FAMILIES    ASKS                         BECAUSE
wifi  at once            IPv6; IPv4  2001:db8::53; 10.0.1.1:5353  preferred: pvd:wifi (call)
lte   if all else fails  IPv6; IPv4  10.0.2.1                     not preferred
vpn   left out           -           -                            the name is outside its zones corp"""
    )
    lines = str(explained(pvds=PvdSet((PVDS["lte"], PVDS["wifi"])))).splitlines()
    assert lines[3].split()[1:3] == ["+2.00", "s"]


def test_as_json() -> None:
    value = json.loads(explained().to_json())
    assert value["schema"] == "pvdrace.explain/1"
    assert value["endpoint"] == {"host": "www.example.com", "port": 443}
    assert value["layers"] == []
    assert value["pvds"][1:] == [
        {
            "pvd": "lte",
            "head_start": 2.0,
            "families": ["ipv6", "ipv4"],
            "resolvers": ["10.0.2.1"],
            "because": ["cost: variable"],
            "rules": ["cost"],
        },
        {
            "pvd": "vpn",
            "head_start": None,
            "families": [],
            "resolvers": [],
            "because": [],
            "rules": [],
            "excluded": "the name is outside its zones corp",
            "excluded_by": "zone",
        },
    ]


def test_who_needs_no_name_asks_nobody() -> None:
    assert all(pvd.resolvers == () for pvd in explained("203.0.113.1").pvds)
    assert explained("localhost", PvdSet()).pvds[0].resolvers == ()


def test_it_says_whether_anybody_would_run() -> None:
    assert explained().usable
    assert not explained(require=["pvd:nobody"]).usable


CONFIG = """
discover = []
[[pvd]]
name = "home"
interface = "lo"
resolvers = ["192.0.2.1"]
cost = "unmetered"
[[pvd]]
name = "mobile"
interface = "lo"
resolvers = ["192.0.2.2", "192.0.2.3"]
cost = "variable"
[[rule]]
match = { port = [22] }
prohibit = ["pvd:mobile"]
"""


@pytest.mark.anyio
async def test_a_connector_explains_by_all_its_layers() -> None:
    application = Policy(capacity_profile="interactive")
    async with pvdrace.Connector(parse(CONFIG), policy=application) as connector:
        web = await connector.explain("www.example.com", 443)
        ssh = await connector.explain("www.example.com", 22, policy=Policy(avoid=["pvd:home"]))
        with pytest.raises(ValueError, match="port must be a number"):
            await connector.explain("www.example.com", 0)
    assert [(p.pvd, p.head_start, p.resolvers) for p in web.pvds] == [
        ("home", 0.0, ("192.0.2.1",)),
        ("mobile", 0.3, ("192.0.2.2", "192.0.2.3")),
    ]
    assert web.layers == ("application",)
    assert ssh.layers == ("call", "rule 1", "application")
    assert str(ssh.pvds[1].excluded) == "prohibited by pvd:mobile (rule 1)"


# ---------------------------------------------------------------------- the command


def test_the_command_says_who_would_run(tmp_path: Any) -> None:
    file = tmp_path / "pvdrace.toml"
    file.write_text(CONFIG)
    told = pvdrace_program(
        "explain", "www.example.com", "443", "--config", str(file), "--latency-budget", "0.5"
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert [line.split()[:3] for line in told.stdout.splitlines()] == [
        ["www.example.com:443", "policy:", "call"],
        ["PVD", "STARTS", "FAMILIES"],
        ["home", "at", "once"],
        ["mobile", "+500", "ms"],
    ]
    asked = pvdrace_program(
        "explain", "www.example.com", "22", "--json", "--prohibit", "pvd:home", "--config", str(file)
    )
    assert asked.returncode == 3
    value = json.loads(asked.stdout)
    assert [pvd["excluded"] for pvd in value["pvds"]] == [
        "prohibited by pvd:home (call)",
        "prohibited by pvd:mobile (rule 1)",
    ]


def test_the_command_refuses_what_is_no_host() -> None:
    told = pvdrace_program("explain", "a b", "443")
    assert told.returncode == 2
    assert "is neither a host name nor an IP address" in told.stderr


def test_the_command_in_the_lab() -> None:
    told = in_the_lab("good", "explain", "www.example.test", "443")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[2].startswith("eth   at once")


def test_a_layer_that_is_there_twice_is_named_once() -> None:
    endpoint = Endpoint("example.com", 443)
    explanation = explain(endpoint, rank(PVDS, endpoint, []), ["application", "application"], lambda *_: ())
    assert explanation.heading() == "example.com:443  policy: application"
