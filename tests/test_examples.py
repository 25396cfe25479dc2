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
from resp import Redis, serving

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
    """Or beside the server that it needs, or where its client is: `tests/apart`."""
    here = Path(__file__)
    texts = [here, here.with_name("test_examples_servers.py"), *here.with_name("apart").glob("*.py")]
    text = "".join(path.read_text("utf-8") for path in texts)
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
def test_blocking_where_a_portal_stands_before_the_default_link(lab: Lab) -> None:
    """The program makes its TLS after it has connected; the portal does not win all the same."""
    lab["eth"].portal()
    printed = run_inside(lab, "blocking.py", lab.name)
    assert "eth connected" in printed
    assert "wrong certificate" in printed
    assert "wifi won" in printed
    assert printed.endswith("wifi\n")


@in_lab
def test_blocking_where_policy_leaves_nobody(lab: Lab) -> None:
    printed = run_inside(lab, "blocking.py", lab.name, "--prohibit", "interface:*")
    assert "prohibited" in printed.splitlines()[-1]


@in_lab
@BACKENDS
def test_httpx2_where_a_portal_stands_before_the_default_link(lab: Lab, backend: str) -> None:
    lab["eth"].portal()
    printed = run_inside(lab, "httpx2_client.py", f"https://{lab.name}/", "--backend", backend)
    assert printed.startswith("200 wifi\n200 wifi\n")
    assert "wrong certificate" in printed


@in_lab
@BACKENDS
def test_httpx2_where_policy_leaves_nobody(lab: Lab, backend: str) -> None:
    arguments = (f"https://{lab.name}/", "--prohibit", "interface:*", "--backend", backend)
    process = lab.run(command("httpx2_client.py", *arguments))
    assert process.returncode == 1
    assert process.stderr.startswith(f"ConnectError: {lab.name}:443: ")
    assert "prohibited by interface:*" in process.stderr


@in_lab
@BACKENDS
def test_httpx_where_a_portal_stands_before_the_default_link(lab: Lab, backend: str) -> None:
    """The blocking client, then the asynchronous one."""
    lab["eth"].portal()
    printed = run_inside(lab, "httpx_client.py", f"https://{lab.name}/", "--backend", backend)
    assert printed == "200 wifi through wifi\n" * 2


@in_lab
def test_httpx_where_nothing_works(lab: Lab) -> None:
    for link in lab:
        link.reset()
    process = lab.run(command("httpx_client.py", f"https://{lab.name}/"))
    assert process.returncode == 1
    assert "all attempts failed" in process.stderr
    assert process.stderr.splitlines()[-1].startswith(f"ConnectError: {lab.name}:443: ")


@in_lab
def test_httpx2_blocking_where_the_default_link_loses_everything(lab: Lab) -> None:
    lab["eth"].blackhole()
    urls = [f"https://{lab.name}/{path}" for path in "ab"]
    printed = run_inside(lab, "httpx2_blocking.py", *urls, "--avoid", "pvd:wifi")
    assert printed.splitlines() == [f"{url}: 200 lte" for url in urls]


@in_lab
def test_httpx2_blocking_where_nothing_works(lab: Lab) -> None:
    for link in lab:
        link.reset()
    printed = run_inside(lab, "httpx2_blocking.py", f"https://{lab.name}/")
    assert printed.startswith(f"https://{lab.name}/: ")
    assert "wifi v6 refused" in printed


@in_lab
@BACKENDS
def test_httpcore2_pool(lab: Lab, backend: str) -> None:
    """What policy forbids meanwhile is closed in the pool, and the next race goes elsewhere."""
    lab["eth"].portal()
    printed = run_inside(lab, "httpcore2_pool.py", f"https://{lab.name}/", "--backend", backend)
    assert printed == "200 wifi through wifi\n200 lte through lte\n"


@in_lab
def test_urllib3_pool_where_a_portal_stands_before_the_default_link(lab: Lab) -> None:
    lab["eth"].portal()
    printed = run_inside(lab, "urllib3_pool.py", f"https://{lab.name}/")
    assert printed.startswith("200 wifi\n200 wifi\n")
    assert "wrong certificate" in printed
    assert "wifi won" in printed


@in_lab
def test_urllib3_pool_where_policy_leaves_nobody(lab: Lab) -> None:
    process = lab.run(command("urllib3_pool.py", f"https://{lab.name}/", "--prohibit", "interface:*"))
    assert process.returncode == 1
    assert process.stdout.endswith("lost: no usable provisioning domain\n")
    assert process.stderr.startswith("NewConnectionError: ")


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
def test_requests_session(lab: Lab) -> None:
    """Behind a portal that plain requests calls a wrong certificate."""
    lab["eth"].portal()
    printed = run_inside(lab, "requests_session.py", f"https://{lab.name}/", "--avoid", "cost:variable")
    assert printed.startswith("200 wifi\n200 wifi\n")
    assert "wrong certificate" in printed
    assert "wifi won" in printed


@in_lab
def test_requests_session_where_nothing_works(lab: Lab) -> None:
    for link in lab:
        link.reset()
    process = lab.run(command("requests_session.py", f"https://{lab.name}/"))
    assert process.returncode == 1, process.stderr
    assert "all attempts failed" in process.stdout


@in_lab
def test_botocore_client(fresh_lab: Lab) -> None:
    lab = fresh_lab
    lab["eth"].portal()
    asked = [f"https://{lab.name}", "bucket", "key", "--prohibit", "cost:variable", "--ca-file", lab.ca_file]
    printed = run_inside(lab, "botocore_client.py", *asked)
    assert printed == "wifi\n"
    assert lab["lte"].counters().packets == 0


@in_lab
@BACKENDS
def test_otel(lab: Lab, backend: str) -> None:
    """Each span is one line: the parent of the race last, the losers cancelled."""
    lab["eth"].portal()
    lines = run_inside(lab, "otel.py", lab.name, "443", "--backend", backend).splitlines()
    told = [line.split("ms", 1)[1].split() for line in lines]
    assert told[-1] == ["-", "fetch"]
    assert told[-2] == ["wifi", "connection_setup", f"{lab.name}:443", "won"]
    handshakes = [words for words in told if words[1:4] == ["TLS", "client", "handshake"]]
    assert ["eth", "TLS", "client", "handshake", lab.name, "failed"] in handshakes
    assert handshakes[-1] == ["wifi", "TLS", "client", "handshake", lab.name, "won"]


@in_lab
@BACKENDS
def test_connectable(lab: Lab, backend: str) -> None:
    lab["eth"].blackhole()
    printed = run_inside(lab, "connectable.py", lab.name, "443", "--backend", backend)
    assert printed == "HTTP/1.1 200 OK\n"


@in_lab
def test_trio_streams(lab: Lab) -> None:
    lab["eth"].portal()
    printed = run_inside(lab, "trio_streams.py", lab.name, "443")
    assert printed.startswith("HTTP/1.1 200 OK\n")
    assert "wrong certificate" in printed
    assert "wifi won" in printed


@in_lab
@BACKENDS
def test_draw_a_race(lab: Lab, tmp_path: Path, backend: str) -> None:
    lab["eth"].blackhole()
    printed = run_inside(lab, "draw_a_race.py", lab.name, "443", str(tmp_path / "out"), "--backend", backend)
    names = ["race.html", "race.svg", "race.perfetto.json", "race.sqlog"]
    assert printed.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert all("wifi" in (tmp_path / "out" / name).read_text("utf-8") for name in names)


def test_websocket() -> None:
    """A server of websockets' own on the loopback."""
    program = """
import asyncio, runpy, sys
from websockets.asyncio.server import serve

async def main():
    async def echo(connection):
        async for message in connection:
            await connection.send(message.upper())
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await runpy.run_path(sys.argv[1])["main"](f"ws://127.0.0.1:{port}/", None)

asyncio.run(main())
"""
    arguments = [sys.executable, "-c", program, str(EXAMPLES / "websocket.py")]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert "won 127.0.0.1" in printed
    assert printed.endswith("HELLO\n")


@in_lab
def test_websocket_behind_a_portal(lab: Lab) -> None:
    """The lab's server does not speak WebSocket, which it says behind TLS, in the PvD that works."""
    lab["eth"].portal()
    process = lab.run(command("websocket.py", f"wss://{lab.name}/"))
    assert process.returncode == 1
    assert process.stderr.startswith(("InvalidStatus: ", "InvalidMessage: "))


def test_redis_pool() -> None:
    with serving(Redis("127.0.0.1")) as server:
        url = f"redis://127.0.0.1:{server.server_address[1]}/?protocol=2"
        printed = subprocess.run(
            command("redis_pool.py", url), capture_output=True, text=True, check=True
        ).stdout
    assert printed == "hello\n"
    process = subprocess.run(
        command("redis_pool.py", "redis://127.0.0.1:1/"), capture_output=True, text=True, check=False
    )
    assert process.stderr.startswith("ConnectionError: ")
    assert "refused" in process.stderr


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
