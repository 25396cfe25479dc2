"""Every file in examples/ runs: in the lab where it needs PvDs, by itself where it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvdrace.lab import Lab
from pvdrace.lab.scenarios import build

EXAMPLES = Path(__file__).parents[1] / "examples"
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
in_lab = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """eth is the default, wifi the second, lte costs money."""
    with build("good") as running:
        yield running


@pytest.fixture
def fresh_lab() -> Iterator[Lab]:
    """One that nothing was sent in: the kernel may still say good-bye to connections of an earlier test."""
    with build("good") as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames:
        lab: Lab = request.getfixturevalue("lab")
        for link in lab:
            link.heal()


def command(example: str, *arguments: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / example), *arguments]


def run_inside(lab: Lab, example: str, *arguments: str) -> str:
    """What an example prints inside; the words of its errors too where it fails."""
    process = lab.run(command(example, *arguments))
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stderr == ""
    return process.stdout


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [path.name for path in sorted(EXAMPLES.glob("*.py")) if f'"{path.name}"' not in text] == []


@in_lab
@BACKENDS
def test_hello(lab: Lab, backend: str) -> None:
    printed = run_inside(lab, "hello.py", lab.name, "443", "--backend", backend)
    assert printed.startswith("HTTP/1.1 200 OK\n")
    assert "eth won 2001:db8:99::1" in printed


@in_lab
@BACKENDS
def test_hello_where_the_default_link_loses_everything(lab: Lab, backend: str) -> None:
    lab["eth"].blackhole()
    printed = run_inside(lab, "hello.py", lab.name, "443", "--backend", backend)
    assert "wifi won" in printed


@in_lab
@BACKENDS
def test_hello_where_a_portal_stands_before_the_default_link(lab: Lab, backend: str) -> None:
    """TLS with a verified certificate decides: the portal answers first and does not win."""
    lab["eth"].portal()
    printed = run_inside(lab, "hello.py", lab.name, "443", "--backend", backend)
    assert "eth connected" in printed
    assert "wrong certificate" in printed
    assert "wifi won" in printed


@in_lab
@BACKENDS
def test_raw_socket(lab: Lab, backend: str) -> None:
    printed = run_inside(lab, "raw_socket.py", lab.name, "80", "--backend", backend)
    assert printed.startswith(f"{lab['eth'].address6} -> {lab.address6} through eth\n")
    assert "ms for the handshake" in printed


@in_lab
@BACKENDS
def test_policy_prohibited_means_zero_packets(fresh_lab: Lab, backend: str) -> None:
    lab = fresh_lab
    printed = run_inside(
        lab,
        "policy.py",
        lab.name,
        "443",
        "--prohibit",
        "pvd:eth",
        "--prefer",
        "cost:variable",
        "--backend",
        backend,
    )
    assert printed.splitlines() == [
        "lte runs: preferred: cost:variable (application)",
        "wifi runs: not preferred",
        "eth is left out: prohibited by pvd:eth (application)",
        "lte won",
    ]
    assert lab["eth"].counters().packets == 0
    assert lab["lte"].counters().syn > 0


@in_lab
@BACKENDS
def test_policy_required_means_no_other(fresh_lab: Lab, backend: str) -> None:
    """RFC 9622 s6.2: a requirement that cannot be met is an error, never another path."""
    lab = fresh_lab
    lab["eth"].reset()
    process = lab.run(command("policy.py", lab.name, "443", "--require", "pvd:eth", "--backend", backend))
    assert process.returncode == 1
    assert process.stderr.startswith("ConnectFailed: www.example.test:443: eth v6 refused, eth v4 refused, ")
    assert "not pvd:eth, which is required (application)" in process.stderr
    assert lab["wifi"].counters().packets == lab["lte"].counters().packets == 0


@in_lab
@BACKENDS
def test_application_check(lab: Lab, backend: str) -> None:
    """On port 80 there is no certificate to tell a portal from the server: the check does."""
    lab["eth"].portal()
    printed = run_inside(lab, "application_check.py", lab.name, "80", "--backend", backend)
    assert printed.startswith("decided by answers\n")
    assert "the check said no" in printed
    assert "wifi won" in printed


@in_lab
@BACKENDS
def test_watch(lab: Lab, backend: str) -> None:
    """A link that goes down is a change, and says so."""
    with lab.popen(
        command("watch.py", "--changes", "1", "--backend", backend), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            first = [process.stdout.readline() for _ in lab]
            assert first == ["eth: usable\n", "lte: usable\n", "wifi: usable\n"]
            lab["wifi"].link_down()
            assert process.stdout.read() == "wifi changed: link down\n"
        finally:
            process.kill()


@in_lab
def test_asyncio_streams(lab: Lab) -> None:
    printed = run_inside(lab, "asyncio_streams.py", lab.name, "443")
    assert printed.startswith("HTTP/1.1 200 OK\n")
    assert "eth won 2001:db8:99::1" in printed


@in_lab
@pytest.mark.parametrize("full", [[], ["--full"]], ids=["public", "full"])
def test_aiohttp_client(lab: Lab, full: list[str]) -> None:
    lab["eth"].portal()
    printed = run_inside(lab, "aiohttp_client.py", f"https://{lab.name}/", *full)
    assert "wrong certificate" in printed
    assert "wifi won" in printed
    assert printed.endswith("200 OK\n")


@in_lab
def test_replay(lab: Lab, tmp_path: Path) -> None:
    lab["eth"].ipv6_broken()
    program = """
import sys, anyio, pvdrace

async def main():
    connection = await pvdrace.open_connection(sys.argv[1], 443, tls=True)
    await connection.aclose()
    print(connection.report.to_json())

anyio.run(main)
"""
    recorded = lab.run([sys.executable, "-c", program, lab.name], check=True).stdout
    file = tmp_path / "report.json"
    file.write_text(recorded, "utf-8")
    printed = subprocess.run(
        command("replay.py", str(file)), capture_output=True, text=True, check=True
    ).stdout
    assert printed.endswith("the same again\n")
    assert json.loads(recorded)["winner"]["pvd"] in printed


def test_scenarios() -> None:
    """The file is a test file; its tests fail where they should."""
    arguments = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(EXAMPLES / "scenario_test.py"),
    ]
    process = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout
    assert "2 passed" in process.stdout


@in_lab
def test_in_the_lab() -> None:
    inner = command("hello.py", "www.example.test", "443")
    process = subprocess.run(command("in_the_lab.py", *inner), capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "wifi won" in process.stdout
    assert process.stderr.startswith("eth: 2 TCP SYNs, 2 DNS queries\nwifi: 1 TCP SYNs, 2 DNS queries")
