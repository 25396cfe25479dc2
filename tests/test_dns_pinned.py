"""Lookups leave by the PvD's device only: two links, the same server address on both, different answers."""

from __future__ import annotations

import socket

import anyio
import pytest

from forked_namespace import drop_all_capabilities, far_end, in_namespace
from pvdrace.dns import PvdResolver
from pvdrace.model import LocalAddress, ProvisioningDomain, Resolver
from scripted_dns import Asked, ScriptedDns

LINKS = (
    "link set dev lo up",
    "link add name wa type veth peer name wb",
    "link add name wc type veth peer name wd",
    *(f"link set dev {name} up" for name in ("wa", "wc")),
    # The same address and subnet twice: only the device tells them apart.
    *(f"addr add 192.168.1.2/24 dev {name}" for name in ("wa", "wc")),
    *(f"addr add fe80::2/64 dev {name} nodad" for name in ("wa", "wc")),
)
OWN = (LocalAddress("192.168.1.2", 24), LocalAddress("fe80::2", 64))


def provider(device: str) -> list[str]:
    return [
        f"link set dev {device} up",
        f"addr add 192.168.1.1/24 dev {device}",
        f"addr add fe80::1/64 dev {device} nodad",
    ]


def says(answer: str) -> ScriptedDns:
    """A server that gives its answer over TCP alone, so that both ways out are tried."""

    def script(asked: Asked) -> list[tuple[float, bytes]]:
        return [(0, asked.reply(f"A {answer}") if asked.tcp else asked.reply(flags=0x0200))]

    return ScriptedDns(script, "::", 53)


@pytest.mark.parametrize("privileged", [True, False])
@pytest.mark.parametrize("server", ["192.168.1.1", "fe80::1"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@in_namespace(*LINKS)
def test_each_pvd_asks_its_own_server(server: str, backend: str, privileged: bool) -> None:
    with (
        far_end("wb", *provider("wb"), serve=lambda: says("203.0.113.1")),
        far_end("wd", *provider("wd"), serve=lambda: says("203.0.113.3")),
    ):
        if not privileged:
            drop_all_capabilities()
        wifi, lte = (
            ProvisioningDomain(name, name, socket.if_nametoindex(name), OWN, resolvers=(Resolver(server),))
            for name in ("wa", "wc")
        )

        async def both() -> list[tuple[str, ...]]:
            resolver = PvdResolver(timeout=10.0)
            return [(await resolver.lookup(pvd, "www.example", "A")).addresses for pvd in (wifi, lte, wifi)]

        assert anyio.run(both, backend=backend) == [("203.0.113.1",), ("203.0.113.3",), ("203.0.113.1",)]
