"""Not even the kernel sends a packet into a PvD that policy forbids (`pvdrace.net.lingering`).

Section 6 check 1, to the last packet: what peers send to a socket that is gone is answered by the kernel
(RST, ICMP), by the routing table, and so out of the default link, pinned or not. The control shows it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import anyio
import pytest
import trio

import pvdrace
import pvdrace.integrations.trio as trio_streams
from pvdrace.integrations.asyncio import open_connection as asyncio_open_connection
from pvdrace.lab import Lab, Provider

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

#: Quick staggers and slow links: losers are cancelled before their SYN-ACK is here.
IMPATIENT = pvdrace.Pacing(
    resolution_delay=0.001,
    connection_attempt_delay=0.01,
    minimum_connection_attempt_delay=0.01,
    path_delay=0.01,
    resolution_lead=0,
)
NO_ETH = pvdrace.Policy(prohibit=["pvd:eth"])


@pytest.fixture
def lab() -> Iterator[Lab]:
    with (
        Lab(
            [
                Provider("eth", delay=0.001, metric=100),
                Provider("wifi", delay=0.02, metric=200),
                Provider("lte", delay=0.04, metric=300),
            ]
        ) as lab,
        lab.enter(),
    ):
        lab.reset_counters()
        yield lab


async def connect_and_close(lab: Lab, policy: pvdrace.Policy, config: str | None = None) -> None:
    context = ssl.create_default_context(cafile=lab.ca_file)
    async with pvdrace.Connector(config or lab.config_file, pacing=IMPATIENT) as connector:
        for _ in range(3):
            connection = await connector.open_connection(lab.name, 443, tls=context, policy=policy)
            await connection.aclose()
            sock, report = await connector.connect(lab.name, 443, policy=policy)
            assert {attempt.pvd for attempt in report.attempts} <= {"wifi", "lte"}
            await connector.release(sock)
    await anyio.sleep(0.3)  # whatever is still on its way


@pytest.mark.row("6.1")
async def test_a_prohibited_default_link_sees_no_packet_at_all(lab: Lab) -> None:
    await connect_and_close(lab, NO_ETH)
    assert lab["wifi"].counters().syn > 3
    assert lab["eth"].counters().packets == 0


@pytest.mark.row("6.1")
async def test_control_a_plain_close_sends_some(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvdrace.decisions.forbids", lambda policies, ranking: False)
    monkeypatch.setattr("pvdrace.net.lingering.PATIENCE", 0.0)
    await connect_and_close(lab, NO_ETH)
    assert lab["eth"].counters().packets > 0


@pytest.mark.row("6.1")
async def test_a_default_link_that_pvdrace_does_not_know_sees_none_either(lab: Lab, tmp_path: object) -> None:
    """A file that lists wifi alone, and wifi required: nobody is excluded, and all else is forbidden."""
    text = lab.config().split("[[pvd]]")
    config = f"{tmp_path}/wifi.toml"
    async with await anyio.open_file(config, "w") as file:
        await file.write("[[pvd]]".join([text[0], next(part for part in text if '"wifi"' in part)]))
    await connect_and_close(lab, pvdrace.Policy(require=["pvd:wifi"]), config)
    assert lab["eth"].counters().packets == 0


async def test_many_at_once_are_as_quiet(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # Peers are asked for no second that a busy machine does not have: it is the mechanism that is tested.
    monkeypatch.setattr("pvdrace.net.lingering.PATIENCE", 15.0)
    async with pvdrace.Connector(lab.config_file, pacing=IMPATIENT) as connector:

        async def one() -> None:
            sock, _ = await connector.connect(lab.name, 443, policy=NO_ETH)
            await connector.release(sock)

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(one)
    await anyio.sleep(0.3)
    assert lab["eth"].counters().packets == 0


@pytest.mark.parametrize("port", [80, 443])
async def test_the_drop_ins_are_as_quiet(lab: Lab, anyio_backend_name: str, port: int) -> None:
    """Each on its own backend."""
    context = ssl.create_default_context(cafile=lab.ca_file) if port == 443 else None
    async with pvdrace.Connector(lab.config_file, pacing=IMPATIENT) as connector:
        for _ in range(3):
            if anyio_backend_name == "asyncio":
                _, writer = await asyncio_open_connection(
                    lab.name, port, ssl=context, policy=NO_ETH, connector=connector
                )
                writer.close()
                await writer.wait_closed()
            elif context is not None:
                secure = await trio_streams.open_ssl_over_tcp_stream(
                    lab.name, port, ssl_context=context, policy=NO_ETH, connector=connector
                )
                await trio.aclose_forcefully(secure)
            else:
                plain = await trio_streams.open_tcp_stream(lab.name, port, policy=NO_ETH, connector=connector)
                await plain.aclose()
    await anyio.sleep(0.3)
    assert lab["eth"].counters().packets == 0


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def loop_of_asyncio(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("port", [80, 443])
@pytest.mark.parametrize("how", ["close", "abort"])
def test_asyncios_transports_are_as_quiet(
    lab: Lab, loop_of_asyncio: tuple[str, dict[str, bool]], how: str, port: int
) -> None:
    """However they are closed; uvloop closes the descriptor itself, behind the socket's back."""
    context = ssl.create_default_context(cafile=lab.ca_file) if port == 443 else None

    async def run() -> None:
        async with pvdrace.Connector(lab.config_file, pacing=IMPATIENT) as connector:
            for _ in range(3):
                _, writer = await asyncio_open_connection(
                    lab.name, port, ssl=context, policy=NO_ETH, connector=connector
                )
                if how == "abort":
                    writer.transport.abort()
                else:
                    writer.close()
                await writer.wait_closed()
        await anyio.sleep(0.3)  # whatever is still on its way

    backend, options = loop_of_asyncio
    anyio.run(run, backend=backend, backend_options=options)
    assert lab["wifi"].counters().syn > 0
    assert lab["eth"].counters().packets == 0
