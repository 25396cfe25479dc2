"""httpx2 and httpx where it matters, beyond the shared suite; what the plain ones do is the control."""

from __future__ import annotations

import contextlib
import importlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

import pvdrace
from lab.racing import opened, policy, sent, trusting
from lab.test_clients import established
from lab.test_portals import probing
from pvdrace.config import Configuration
from pvdrace.lab import Lab, Link

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("httpx2", "httpx")
both = pytest.mark.parametrize("name", NAMES)


def module(name: str) -> Any:
    return importlib.import_module(name)


@contextlib.asynccontextmanager
async def client(
    lab: Lab, name: str, config: Configuration | None = None, **options: Any
) -> AsyncIterator[tuple[Any, pvdrace.Connector]]:
    adapter = importlib.import_module(f"pvdrace.integrations.{name}")
    async with opened(lab, config) as connector:
        transport = adapter.AsyncPvdTransport(connector=connector, verify=trusting(lab), **options)
        async with module(name).AsyncClient(transport=transport, timeout=10) as found:
            yield found, connector


def syns(link: Link) -> int:
    return sum(packet.kind == "syn" for packet in sent(link))


@both
async def test_a_device_as_a_socket_option_leaks_and_a_policy_does_not(t2: Lab, name: str) -> None:
    """The control: the client's own way sends its SYN by the default link, and sets the option afterwards."""
    device = t2["wB"].interface
    options = [(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())]
    plain = module(name).AsyncHTTPTransport(socket_options=options)
    async with module(name).AsyncClient(transport=plain, timeout=0.5) as leaking:
        with contextlib.suppress(module(name).HTTPError):
            await leaking.get(f"http://{t2.address4}/")
    assert syns(t2["wA"]) > 0

    t2.reset_counters()
    async with client(t2, name, policy=policy(require=f"interface:{device}")) as (ours, _):
        for url in (f"http://{t2.address4}/", f"https://{t2.name}/"):
            assert (await ours.get(url)).text.strip() == "wB"
    assert sent(t2["wA"]) == []
    assert syns(t2["wB"]) > 0


@both
async def test_behind_a_portal_the_plain_client_gets_a_wrong_certificate(t2: Lab, name: str) -> None:
    """And ours the answer, through the other link."""
    t2["wA"].portal()
    verify = trusting(t2)
    async with module(name).AsyncClient(verify=verify, timeout=5) as plain:
        with pytest.raises(module(name).ConnectError) as raised:
            await plain.get(f"https://{t2.address4}/", extensions={"sni_hostname": t2.name})
    assert any(isinstance(error, ssl.SSLCertVerificationError) for error in chain(raised.value))
    async with client(t2, name) as (ours, _):
        response = await ours.get(f"https://{t2.name}/")
        assert response.text.strip() == "wB"
        report = response.extensions["network_stream"].get_extra_info("pvdrace.report")
        assert "wrong certificate" in str(report)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def path_of(response: Any) -> pvdrace.Path:
    return pvdrace.Path.of(response.extensions["network_stream"].get_extra_info("pvdrace.report"))


def down(link: Link) -> None:
    link.link_down()


def portal(link: Link) -> None:
    link.portal()


@both
@pytest.mark.parametrize("loss", [down, portal])
async def test_idle_connections_are_closed_when_their_pvd_is_lost(
    t2: Lab, name: str, loss: Callable[[Link], None]
) -> None:
    """At once, with no request. The control: a plain client keeps them."""
    urls = (f"http://{t2.address4}/", f"https://{t2.address4}/")
    sni = {"sni_hostname": t2.name}
    async with module(name).AsyncClient(verify=trusting(t2), timeout=5) as plain:
        for url in urls:
            assert (await plain.get(url, extensions=sni)).text.strip() == "wA"
        kept = established(t2, "wA")
        assert len(kept) == len(urls)
        async with client(t2, name, probing(t2) if loss is portal else None) as (ours, connector):
            for url in (f"http://{t2.name}/", f"https://{t2.name}/"):
                response = await ours.get(url)
                assert response.text.strip() == "wA"
            assert len(established(t2, "wA")) > len(kept)
            loss(t2["wA"])
            with anyio.fail_after(5):
                # The first probe may be one that has begun before.
                while loss is portal and not connector.objection(path_of(response)):
                    await connector.probe("wA")
                while len(established(t2, "wA")) > len(kept):  # noqa: ASYNC110 - the kernel's own list
                    await anyio.sleep(0.01)
            assert (await ours.get(f"https://{t2.name}/")).text.strip() == "wB"
        assert len(established(t2, "wA")) == len(kept)
