"""The command line and probes, in the lab: `pvdrace probe`, `list`, and `connect` behind portals."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cli_program import PROGRAM, environment
from lab.racing import sent
from pvdrace.cli.probe import NOTHING
from pvdrace.lab import Lab

pytestmark = pytest.mark.lab

LOGIN = "http://192.168.1.1/login"


@pytest.fixture
def config(t2: Lab, tmp_path: Path) -> Path:
    """The lab's PvDs, and what to ask: its public server."""
    path = tmp_path / "pvdrace.toml"
    urls = "".join(f'{scheme} = "{scheme}://{t2.name}/generate_204"\n' for scheme in ("http", "https"))
    path.write_text(f'{t2.config()}\n[probe]\n{urls}timeout = 1.5\nca_file = "{t2.ca_file}"\n', "utf-8")
    return path


def pvdrace(lab: Lab, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return lab.run([*PROGRAM, *map(str, arguments)], env=environment())


def test_probe_says_what_each_pvd_reaches(t2: Lab, config: Path) -> None:
    t2["wA"].portal()
    done = pvdrace(t2, "probe", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = [line.split("  ") for line in done.stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in (header, *rows)]
    assert cells[0] == ["PVD", "FAMILY", "REACHES", "EVIDENCE", "AGE"]
    assert [row[:3] for row in cells[1:]] == [
        ["wA", "IPv6", f"portal {LOGIN}"],
        ["wA", "IPv4", f"portal {LOGIN}"],
        ["wB", "IPv6", "validated"],
        ["wB", "IPv4", "validated"],
    ]
    assert [row[3] for row in cells[3:]] == ["HTTP 204, HTTPS 204"] * 2
    assert all(row[3].startswith(f"HTTP 302 to {LOGIN}") for row in cells[1:3])


def test_probe_as_json(t2: Lab, config: Path) -> None:
    t2["wA"].ports([80])
    t2["wB"].link_down()
    value = json.loads(pvdrace(t2, "probe", "--json", "--config", config).stdout)
    assert value["schema"] == "pvdrace.probe/1"
    first, second = value["pvds"]
    assert (first["name"], first["reachability"], first["unusable"]) == ("wA", "partial", None)
    assert [(one["family"], one["state"], one["ports"], one["blocked"]) for one in first["reached"]] == [
        ("ipv6", "partial", [80], [443]),
        ("ipv4", "partial", [80], [443]),
    ]
    assert all(0 <= one["age"] < 5 for one in first["reached"])
    assert (second["name"], second["reachability"], second["reached"]) == ("wB", "unknown", [])
    assert second["unusable"]


def test_probe_without_anything_to_ask(t2: Lab) -> None:
    done = pvdrace(t2, "probe", "--config", t2.config_file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"pvdrace: {NOTHING}\n"
    assert [sent(link) for link in t2] == [[], []]


def test_list_shows_it_and_sends_nothing_unless_told_to(t2: Lab, config: Path) -> None:
    t2["wA"].portal()
    quiet = pvdrace(t2, "list", "--config", config)
    assert "portal" not in quiet.stdout
    assert [sent(link) for link in t2] == [[], []]
    told = pvdrace(t2, "list", "--probe", "--config", config)
    lines = {line.split()[0]: line for line in told.stdout.splitlines()}
    assert lines["wA"].endswith(f"  portal {LOGIN}")
    assert lines["wB"].endswith("  usable,validated")


@pytest.mark.parametrize("port", ["443", "22"])
def test_connect_behind_nothing_but_portals_has_an_exit_code_of_its_own(
    t2: Lab, config: Path, port: str
) -> None:
    """443 meets wrong certificates, 22 silence; the race waits for no probe, and who has lost it may."""
    for link in t2:
        link.portal()
    tls = ["--tls", "--ca-file", t2.ca_file] if port == "443" else []
    done = pvdrace(t2, "connect", t2.name, port, *tls, "--timeout", "2", "--config", config)
    assert done.returncode == 5, done.stderr
    assert f"behind a captive portal ({LOGIN})" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_connect_with_one_portal_and_one_dead_link_is_a_failure(t2: Lab, config: Path) -> None:
    t2["wA"].portal()
    t2["wB"].reset()
    done = pvdrace(t2, "connect", t2.name, "443", "--tls", "--timeout", "2", "--config", config)
    assert done.returncode == 4, done.stderr
