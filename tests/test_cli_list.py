"""``pvdrace list``: what it shows, in a pipe, on a terminal, as JSON, and while PvDs come and go."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli_program import in_the_lab
from pvdrace.cli.app import app
from pvdrace.cli.describe import NARROW, WIDE, as_json, differences, differing_keys, narrow_row, wide_row
from pvdrace.cli.output import aligned, cell, print_table
from pvdrace.discovery.diff import PvdChange
from pvdrace.model import (
    Cost,
    CostClass,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Reachability,
    Reached,
    Resolver,
    Route,
)
from pvdrace.reachability import with_reached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Self

WIFI = ProvisioningDomain(
    "home",
    interface="wlan0",
    ifindex=3,
    addresses=(LocalAddress("2001:db8::2", 64, deprecated=True), LocalAddress("192.168.1.100", 24)),
    routes=(Route("0.0.0.0/0", "192.168.1.1", 600),),
    resolvers=(Resolver("192.168.1.1"), Resolver("2001:db8::53", 5353, scoped=False)),
    zones=("corp.example", "lab.example"),
    type="wifi",
    cost=Cost(CostClass.FIXED, frozenset({"roaming", "congested"})),
    groups=("internet",),
    reachability=Reachability.VALIDATED,
    reached=(Reached(4, Reachability.VALIDATED, "HTTP 204", 10.0),),
    notes=("10.0.0.9 is not on wlan0",),
    sources=("configuration", "netlink"),
)
TUN = ProvisioningDomain("tun0", interface="tun0", unusable="link down", sources=("netlink",))


class FakeConnector:
    """Has these PvDs, and then sees ``changes``."""

    pvds: PvdSet = PvdSet((WIFI, TUN))
    changes: tuple[PvdChange, ...] = ()

    def __init__(self, config: str | None, **_: Any) -> None:
        self.config = config

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    async def snapshot(self) -> PvdSet:
        return self.pvds

    async def watch(self) -> AsyncIterator[PvdChange]:
        for change in self.changes:
            yield change


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch) -> type[FakeConnector]:
    class Connector(FakeConnector):
        pass

    monkeypatch.setattr("pvdrace.connector.Connector", Connector)
    return Connector


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["list", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.usefixtures("connector")
def test_in_a_pipe_each_pvd_is_one_line() -> None:
    lines = [line.split("  ") for line in run().splitlines()]
    cells = [[text.strip() for text in line if text.strip()] for line in lines]
    assert cells == [
        ["PVD", "INTERFACE", "TYPE", "ADDRESSES", "RESOLVERS", "COST", "ZONES", "METRIC", "STATE"],
        [
            "home",
            "wlan0",
            "wifi",
            "2001:db8::2/64 deprecated,192.168.1.100/24",
            "192.168.1.1,[2001:db8::53]:5353 (unscoped)",
            "fixed congested roaming",
            "corp.example,lab.example",
            "600",
            "usable,IPv4 validated,10.0.0.9 is not on wlan0",
        ],
        ["tun0", "tun0", "-", "-", "-", "-", "-", "-", "link down"],
    ]


@pytest.mark.usefixtures("connector")
def test_json() -> None:
    value = json.loads(run("--json"))
    assert value["schema"] == "pvdrace.list/1"
    home, tun = value["pvds"]
    assert home == {
        "name": "home",
        "interface": "wlan0",
        "type": "wifi",
        "addresses": ["2001:db8::2/64", "192.168.1.100/24"],
        "families": ["ipv6", "ipv4"],
        "resolvers": [
            {"address": "192.168.1.1", "port": 53, "scoped": True},
            {"address": "2001:db8::53", "port": 5353, "scoped": False},
        ],
        "zones": ["corp.example", "lab.example"],
        "search": [],
        "cost": "fixed",
        "cost_flags": ["congested", "roaming"],
        "groups": ["internet"],
        "metric": 600,
        "reachability": "validated",
        "reached": [
            {
                "family": "ipv4",
                "state": "validated",
                "evidence": "HTTP 204",
                "age": home["reached"][0]["age"],
                "portal": None,
                "ports": [],
                "blocked": [],
                "lost": [],
            }
        ],
        "usable": True,
        "unusable": None,
        "notes": ["10.0.0.9 is not on wlan0"],
        "sources": ["configuration", "netlink"],
    }
    assert (tun["usable"], tun["unusable"]) == (False, "link down")
    assert home["reached"][0]["age"] >= 0
    home["reached"][0]["age"] = 2.5
    assert home == as_json(WIFI, 12.5)


@pytest.mark.parametrize(
    ("reached", "lines"),
    [
        ((), ("usable",)),
        (
            (Reached(6, Reachability.VALIDATED, "", 0), Reached(4, Reachability.VALIDATED, "", 0)),
            ("usable", "validated"),
        ),
        (
            (
                Reached(6, Reachability.VALIDATED, "", 0),
                Reached(4, Reachability.PORTAL, "", 0, portal="http://192.0.2.1/"),
            ),
            ("usable", "IPv6 validated", "IPv4 portal http://192.0.2.1/"),
        ),
        (
            (Reached(4, Reachability.PORTAL, "", 0, portal="http://192.0.2.1/"),),
            ("IPv4 portal http://192.0.2.1/",),
        ),
        ((Reached(4, Reachability.PARTIAL, "", 0, ports=(80, 443)),), ("usable", "IPv4 partial (80 443)")),
        ((Reached(6, Reachability.NONE, "", 0), Reached(4, Reachability.NONE, "", 0)), ("none",)),
    ],
)
def test_what_it_reaches_stands_in_its_state(reached: tuple[Reached, ...], lines: tuple[str, ...]) -> None:
    pvd = with_reached(replace(WIFI, notes=()), reached)
    assert wide_row(pvd)[-1].lines == narrow_row(pvd)[-1].lines == lines


def test_no_pvd_is_an_empty_list_and_a_remark(connector: type[FakeConnector]) -> None:
    connector.pvds = PvdSet()
    result = CliRunner().invoke(app, ["list"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no provisioning domains" in result.stderr
    assert json.loads(run("--json"))["pvds"] == []


def test_watch_json_is_a_line_for_each_pvd_and_each_change(connector: type[FakeConnector]) -> None:
    connector.changes = (PvdChange("withdrawn", TUN), PvdChange("added", TUN), PvdChange("changed", WIFI))
    events = [json.loads(line) for line in run("--watch", "--json").splitlines()]
    assert [(e["schema"], e["change"], e["pvd"]["name"]) for e in events] == [
        ("pvdrace.change/1", "present", "home"),
        ("pvdrace.change/1", "present", "tun0"),
        ("pvdrace.change/1", "withdrawn", "tun0"),
        ("pvdrace.change/1", "added", "tun0"),
        ("pvdrace.change/1", "changed", "home"),
    ]
    assert all(isinstance(e["time"], float) for e in events)
    assert [e.get("differs") for e in events] == [None, None, None, None, []]


def test_watch_in_a_pipe_is_the_table_and_then_a_line_for_each_change(connector: type[FakeConnector]) -> None:
    lost = "-2001:db8::2/64 deprecated"
    down = replace(WIFI, unusable="link down", addresses=WIFI.addresses[1:])
    connector.changes = (
        PvdChange("withdrawn", TUN),
        PvdChange("changed", down),
        PvdChange("changed", replace(down, attachment=7)),
        PvdChange("added", TUN),
        PvdChange("better", TUN),
    )
    printed = run("--watch")
    table = run()
    assert printed.startswith(table)
    lines = [line.split("  ", 1) for line in printed.removeprefix(table).splitlines()]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", time) for time, _ in lines)
    assert [line for _, line in lines] == [
        "withdrawn  tun0  tun0  link down",
        f"changed    home  state usable, IPv4 validated, {WIFI.notes[0]} -> link down; addresses {lost}",
        "changed    home  attached anew",
        "added      tun0  tun0  link down",
        "better     tun0  tun0  link down",
    ]


def test_what_differs_in_words() -> None:
    plain = replace(WIFI, notes=(), reached=(), reachability=Reachability.UNKNOWN)
    assert differences(plain, plain) == []
    assert differences(plain, replace(plain, unusable="link down")) == ["state usable -> link down"]
    assert differences(plain, replace(plain, zones=())) == ["zones -corp.example -lab.example"]
    assert differences(plain, replace(plain, cost=Cost())) == ["cost fixed congested roaming -> -"]
    assert differences(plain, replace(plain, addresses=plain.addresses[::-1])) == [
        "addresses in another order"
    ]
    assert differing_keys(plain, replace(plain, unusable="x"), 0) == ["usable", "unusable"]
    assert differing_keys(plain, replace(plain, attachment=9), 0) == []


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_cells_have_lines_that_fit(width: int) -> None:
    on = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_table(NARROW, [narrow_row(WIFI), narrow_row(TUN)], on)
    assert isinstance(on.file, io.StringIO)
    lines = on.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["pvd", "addresses", "resolvers", "cost", "state"]
    assert lines[1].split()[0] == "home"
    assert lines[2].split()[0] == "wlan0"
    assert lines[3].split()[0] == "wifi"


def test_rows_have_a_cell_for_each_header() -> None:
    assert len(wide_row(WIFI)) == len(WIDE)
    assert len(narrow_row(WIFI)) == len(NARROW)


def test_columns_line_up() -> None:
    rows = [[cell("a"), cell("1")], [cell("bb", "c"), cell("100")], [cell(), cell()]]
    assert aligned(("x", "n"), rows, right=("n",)) == "X       N\na       1\nbb,c  100\n-       -"


@pytest.mark.lab
def test_a_real_host_and_no_packet() -> None:
    """`list` sees the lab's PvDs by itself; what it says agrees with the configuration of the lab."""
    done = in_the_lab("vpn", "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    pvds = {pvd["name"]: pvd for pvd in json.loads(done.stdout)["pvds"]}
    assert list(pvds) == ["eth", "wifi", "vpn"]
    assert all(pvd["usable"] for pvd in pvds.values())
    assert [pvd["metric"] for pvd in pvds.values()] == [100, 200, 50]
    assert pvds["vpn"]["zones"] == ["corp.example"]
    assert "192.168.2.2/24" in pvds["wifi"]["addresses"]
