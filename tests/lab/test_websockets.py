"""websockets where it matters: several links, a portal in front. The lab's server only says who it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import websockets.asyncio.client
from websockets.exceptions import InvalidStatus

import pvdrace
import pvdrace.integrations.websockets
import pvdrace.integrations.websockets_trio
from lab.racing import opened, policy, sent, trusting
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

CONNECT: dict[str, Any] = {
    "asyncio": pvdrace.integrations.websockets.connect,
    "trio": pvdrace.integrations.websockets_trio.connect,
}


async def server(lab: Lab, backend: str, uri: str, **options: Any) -> str:
    """Through which provider the server was asked; it speaks HTTP, and refuses to become a WebSocket."""
    if uri.startswith("wss"):
        options["ssl"] = trusting(lab)
        options["ssl"].set_alpn_protocols(["http/1.1"])
    async with opened(lab) as connector:
        with pytest.raises(InvalidStatus) as raised:
            async with CONNECT[backend](uri, connector=connector, proxy=None, **options):
                pass
        await asyncio.sleep(0) if backend == "asyncio" else None
    return str(raised.value.response.headers["Server"]).removeprefix("pvdrace-lab/")


async def test_a_dead_default_link_is_survived(t2: Lab, anyio_backend: str) -> None:
    t2["wA"].blackhole()
    for scheme in ("ws", "wss"):
        assert await server(t2, anyio_backend, f"{scheme}://{t2.name}/") == "wB"


@pytest.mark.parametrize("fault", ["portal", "stall"])
async def test_what_goes_wrong_at_tls_does_not_win(t2: Lab, anyio_backend: str, fault: str) -> None:
    getattr(t2["wA"], fault)()
    assert await server(t2, anyio_backend, f"wss://{t2.name}/") == "wB"


async def test_require_sends_nothing_elsewhere(t2: Lab, anyio_backend: str) -> None:
    required = policy(require="pvd:wB")
    for scheme in ("ws", "wss"):
        assert await server(t2, anyio_backend, f"{scheme}://{t2.name}/", policy=required) == "wB"
    assert sent(t2["wA"]) == []


async def test_require_fails_closed(t2: Lab, anyio_backend: str) -> None:
    t2["wB"].blackhole()
    async with opened(t2) as connector:
        with pytest.raises(TimeoutError) as raised:
            async with CONNECT[anyio_backend](
                f"wss://{t2.name}/",
                connector=connector,
                policy=policy(require="pvd:wB"),
                open_timeout=0.7,
                proxy=None,
            ):
                pass
    assert pvdrace.report_of(raised.value) is not None
    assert sent(t2["wA"]) == []


async def test_without_pvdrace_the_portal_is_an_error(t2: Lab, anyio_backend_name: str) -> None:
    """The control, on asyncio; the address is given, as the ordinary resolver is not the lab's."""
    if anyio_backend_name != "asyncio":
        return
    t2["wA"].portal()
    with pytest.raises(OSError, match="certificate verify failed"):
        async with websockets.asyncio.client.connect(
            f"wss://{t2.name}/", ssl=trusting(t2), proxy=None, host=t2.address4
        ):
            pass
