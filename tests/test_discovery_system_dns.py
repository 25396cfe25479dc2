"""`pvdrace.discovery.system_dns`: the host's DNS files and resolved's socket, under a root of our own."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from namespaces import network_namespace
from pvdrace.discovery.resolvconf import NameServer
from pvdrace.discovery.resolved import DUMP_REQUEST, LinkDns
from pvdrace.discovery.system_dns import DnsFiles, has_stub_listener, systemd_shares_our_network
from pvdrace.model import Resolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

RESOLVED = "run/systemd/resolve/netif/3"
NETWORKD = "run/systemd/netif/links/3"
SOCKET = "run/systemd/resolve/io.systemd.Resolve"


def write(root: Path, files: dict[str, str]) -> None:
    """Write files as systemd does: beside, then renamed into place."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text)
        fresh.rename(path)


def files_of(root: Path, *, same_namespace: bool = True) -> DnsFiles:
    return DnsFiles(root, same_namespace=lambda: same_namespace)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the name of a socket has room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="pvd") as directory:
        yield Path(directory)


async def test_no_file_at_all(tmp_path: Path) -> None:
    dns = await files_of(tmp_path).read()
    assert (dns.links, dns.host.nameservers) == ((), ())


async def test_resolv_conf_alone(tmp_path: Path) -> None:
    write(tmp_path, {"etc/resolv.conf": "nameserver 192.0.2.1\n"})
    dns = await files_of(tmp_path).read()
    assert dns.host.nameservers == (NameServer("192.0.2.1"),)
    assert dns.host_file == "/etc/resolv.conf"


async def test_resolveds_word_is_above_networkds(tmp_path: Path) -> None:
    write(tmp_path, {NETWORKD: "DNS=192.0.2.1\n", RESOLVED: "SERVERS=192.0.2.2\n"})
    assert [link.servers for link in (await files_of(tmp_path).read()).links] == [(Resolver("192.0.2.2"),)]
    os.unlink(tmp_path / RESOLVED)
    assert [link.servers for link in (await files_of(tmp_path).read()).links] == [(Resolver("192.0.2.1"),)]


async def test_files_that_are_not_links_or_not_text(tmp_path: Path) -> None:
    write(tmp_path, {"run/systemd/netif/links/x": "DNS=192.0.2.1\n"})
    (tmp_path / "run/systemd/netif/links/4").write_bytes(b"DNS=\xff\xfe 192.0.2.4\n")
    links = (await files_of(tmp_path).read()).links
    assert [(link.ifindex, link.servers) for link in links] == [(4, (Resolver("192.0.2.4"),))]


async def test_in_another_network_namespace_the_links_are_not_ours(tmp_path: Path) -> None:
    """Their indexes mean other devices here: better no scope than a wrong one."""
    write(tmp_path, {RESOLVED: "SERVERS=192.0.2.2\n", "etc/resolv.conf": "nameserver 192.0.2.1\n"})
    dns = await files_of(tmp_path, same_namespace=False).read()
    assert dns.links == ()
    assert dns.host.nameservers == (NameServer("192.0.2.1"),)


@pytest.mark.parametrize("stub", ["127.0.0.53", "127.0.0.54"])
async def test_behind_the_stub_are_the_hosts_servers(tmp_path: Path, stub: str) -> None:
    write(tmp_path, {"etc/resolv.conf": f"nameserver {stub}\nsearch a\n"})
    alone = await files_of(tmp_path).read()
    assert alone.host.nameservers == (NameServer(stub),)

    write(tmp_path, {"run/systemd/resolve/resolv.conf": "nameserver 192.0.2.1\nsearch b\n"})
    dns = await files_of(tmp_path).read()
    assert dns.host.nameservers == (NameServer("192.0.2.1"),)
    assert dns.host_file == "/run/systemd/resolve/resolv.conf"


async def test_read_again_only_what_has_changed(tmp_path: Path) -> None:
    write(tmp_path, {"etc/resolv.conf": "nameserver 192.0.2.1\n", RESOLVED: "SERVERS=192.0.2.2\n"})
    files = files_of(tmp_path)
    first = await files.read()
    assert await files.read() is first

    write(tmp_path, {"etc/resolv.conf": "nameserver 192.0.2.7\n"})
    second = await files.read()
    assert second.host.nameservers == (NameServer("192.0.2.7"),)

    write(tmp_path, {RESOLVED: "SERVERS=192.0.2.8\n"})
    third = await files.read()
    assert third.links[0].servers == (Resolver("192.0.2.8"),)

    os.unlink(tmp_path / "etc/resolv.conf")
    assert (await files.read()).host.nameservers == ()


@asynccontextmanager
async def resolved(root: Path, reply: bytes | None) -> AsyncIterator[list[bytes]]:
    """A varlink server in resolved's place that gives one reply, in two pieces; None: it never answers."""
    path = root / SOCKET
    path.parent.mkdir(parents=True, exist_ok=True)
    requests: list[bytes] = []
    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:

        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                requests.append(await stream.receive())
                if reply is None:
                    await anyio.sleep_forever()
                    return
                await stream.send(reply[: len(reply) // 2])
                await anyio.sleep(0.01)
                await stream.send(reply[len(reply) // 2 :])

        tasks.start_soon(listener.serve, answer)
        yield requests
        tasks.cancel_scope.cancel()


DUMP = {
    "parameters": {
        "configuration": [
            {"ifname": "eth0", "ifindex": 2, "servers": [{"addressString": "192.0.2.9", "port": 53}]}
        ]
    }
}
TOO_OLD = {"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "DumpDNSConfiguration"}}


async def test_resolveds_socket_is_above_its_files(tmp_path: Path) -> None:
    write(tmp_path, {RESOLVED: "SERVERS=192.0.2.2\n"})
    async with resolved(tmp_path, json.dumps(DUMP).encode() + b"\0") as requests:
        dns = await files_of(tmp_path).read()
    assert requests == [DUMP_REQUEST]
    assert dns.links == (LinkDns(2, "eth0", servers=(Resolver("192.0.2.9"),)),)


@pytest.mark.parametrize("reply", [json.dumps(TOO_OLD).encode() + b"\0", b"not JSON\0", b"cut off", None])
async def test_a_resolved_that_does_not_say_leaves_the_files(tmp_path: Path, reply: bytes | None) -> None:
    write(tmp_path, {RESOLVED: "SERVERS=192.0.2.2\n"})
    with anyio.fail_after(10):
        async with resolved(tmp_path, reply):
            dns = await files_of(tmp_path).read()
    assert [link.ifindex for link in dns.links] == [3]


async def test_a_socket_that_nobody_serves_leaves_the_files(tmp_path: Path) -> None:
    write(tmp_path, {RESOLVED: "SERVERS=192.0.2.2\n"})
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET))
    assert [link.ifindex for link in (await files_of(tmp_path).read()).links] == [3]


@pytest.mark.lab
def test_a_fresh_namespace_is_not_systemds() -> None:
    with network_namespace():
        assert not systemd_shares_our_network()


@pytest.mark.lab
def test_the_stub_listener_in_proc_net_udp() -> None:
    with network_namespace():
        with open("/proc/thread-self/net/udp") as table:
            assert not has_stub_listener(table.read())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stub:
            stub.bind(("127.0.0.53", 53))
            with open("/proc/thread-self/net/udp") as table:
                assert has_stub_listener(table.read())
