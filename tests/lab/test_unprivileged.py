"""Check 11: everything but raw-RA and RuleManager runs unprivileged. The core rows again, as nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.racing import sent
from pvdrace.lab import Lab, Link

pytestmark = pytest.mark.lab

BACKENDS = ("asyncio", "trio")


class Nobody:
    """The unprivileged program, ready to race."""

    def __init__(self, lab: Lab) -> None:
        program = str(Path(__file__).with_name("unprivileged.py"))
        self.name = lab.name
        self.process = lab.popen(
            [sys.executable, program, lab.config(), lab.ca_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.left: dict[str, Any] = self._read()
        lab.reset_counters()

    def races(self, backend: str, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"backend": backend, "host": self.name} | request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program has ended"
        value: dict[str, Any] = json.loads(line)
        return value

    def close(self) -> None:
        self.process.communicate(timeout=10)


@pytest.fixture
def nobody(t2: Lab) -> Iterator[Nobody]:
    program = Nobody(t2)
    yield program
    program.close()


@pytest.fixture
def nobody_in_overlap(t2o: Lab) -> Iterator[Nobody]:
    program = Nobody(t2o)
    yield program
    program.close()


@pytest.mark.row("1.17", "6.11")
def test_11_there_is_no_privilege_left(nobody: Nobody) -> None:
    """Check 11, the control: what the rows below are run with. No capability, no mark, no raw socket."""
    assert set(nobody.left["capabilities"].values()) == {0}
    assert nobody.left["refused"] == ["mark", "raw", "packet"]
    assert nobody.left["uid"] in ([65534] * 3, [0] * 3), "0 is a user namespace's, where nobody is unknown"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.row("1.17", "6.11")
def test_11_use_and_try_this_provisioning_domain(nobody: Nobody, t2: Lab, backend: str) -> None:
    """Check 11: "use this provisioning domain", "try this" and "prohibited", without privileges."""
    for name in ("wA", "wB"):
        for family in (4, 6):
            answer = nobody.races(backend, require=f"pvd:{name} family:ipv{family}")
            assert (answer["word"], answer["pvd"], answer["family"]) == (name, name, family)
        assert nobody.races(backend, prefer=f"pvd:{name}")["word"] == name
    t2.reset_counters()
    assert nobody.races(backend, prohibit="pvd:wA")["word"] == "wB"
    assert sent(t2["wA"]) == []


FAULTS: dict[str, Callable[[Link], object]] = {
    "blackhole": Link.blackhole,
    "dead": Link.dead,
    "no ARP": Link.no_arp,
    "stall": Link.stall,
    "reset": Link.reset,
    "host unreachable": lambda link: link.icmp("host-unreach"),
    "DNS dead": lambda link: link.dns("dead"),
    "portal": Link.portal,
    "device gone": Link.remove,
    "link down": Link.link_down,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.row("1.17", "6.11")
def test_11_only_one_works(nobody: Nobody, t2: Lab, backend: str) -> None:
    """Check 11: "both provide default route, only one works", all variants, without privileges."""
    assert nobody.races(backend)["word"] == "wA"
    for name, spoil in FAULTS.items():
        spoil(t2["wA"])
        assert nobody.races(backend)["word"] == "wB", name
        t2["wA"].heal()
    t2["wA"].ipv6_broken()
    t2["wB"].set(delay=0.2)
    answer = nobody.races(backend)
    assert (answer["word"], answer["family"]) == ("wA", 4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.row("1.17", "6.11")
def test_11_overlapping_addresses(nobody_in_overlap: Nobody, t2o: Lab, backend: str) -> None:
    """Check 11: overlapping address spaces, all four flows, and a black hole, without privileges."""
    for name in ("wA", "wB"):
        for family in (4, 6):
            answer = nobody_in_overlap.races(backend, require=f"pvd:{name} family:ipv{family}")
            assert (answer["word"], answer["family"]) == (name, family)
    t2o["wA"].blackhole()
    assert nobody_in_overlap.races(backend)["word"] == "wB"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.row("1.17", "6.11")
def test_11_names_and_routes(nobody: Nobody, t2: Lab, backend: str) -> None:
    """Check 11: answers do not cross, and a required PvD without a route is refused, without privileges."""
    for name in ("wA", "wB"):
        assert (
            nobody.races(backend, host="local.example.test", port=17, require=f"pvd:{name}")["word"] == name
        )
    t2["wB"].link_down()
    t2.reset_counters()
    answer = nobody.races(backend, require="pvd:wB")
    assert answer["kind"] == "NoUsablePvd"
    assert "link down" in answer["error"]
    assert sent(t2["wA"]) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.row("6.11", "6.7")
def test_11_a_network_of_two_ports(nobody: Nobody, t2: Lab, backend: str) -> None:
    """Check 11: a network of ports 80 and 443 is used for those alone, without privileges."""
    for how in ("drop", "reject"):
        t2["wA"].ports([80, 443], how)
        assert nobody.races(backend)["word"] == "wA"
        assert nobody.races(backend, port=22)["word"] == "SSH-2.0-lab_wB"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.row("6.11", "1.14")
def test_11_links_that_are_well_by_turns(nobody: Nobody, t2: Lab, backend: str) -> None:
    """Check 11: two links, well by turns, without privileges."""
    for sick, well in (("wA", "wB"), ("wB", "wA"), ("wA", "wB")):
        t2[well].heal()
        t2[sick].blackhole()
        assert nobody.races(backend)["word"] == well
