"""The examples whose clients want a server that the lab has not: with one on the loopback, in the second PvD.

In the first PvD, the default one, the same name has an address that swallows every SYN.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import asyncssh
import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
import pytest
import trustme
from aiosmtpd import smtp as smtpd

import pvdrace
from loopback import HOST, BlackHole, Dns, certificate_for, closing
from postgres import postgres
from pvdrace.config import parse
from pvdrace.proxy import Listen, Proxy, ProxySettings

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[1] / "examples"
DEAD, ALIVE = "127.0.0.3", "127.0.0.2"


@dataclass
class Host:
    """Two PvDs, and whom their programs trust."""

    files: Path
    config: str
    authority: trustme.CA

    async def run(self, example: str, *arguments: object) -> tuple[int, str, str]:
        """Exit code, output and errors of an example as a process of its own."""
        environment = {
            **os.environ,
            "HOME": str(self.files),
            "PVDRACE_CONFIG": str(self.files / "pvdrace.toml"),
        }
        for name in ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
            environment[name] = str(self.files / "ca.pem")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLES / example),
            *map(str, arguments),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def anyio_backend() -> str:
    """Of the servers: the examples are processes of their own."""
    return "asyncio"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    servers = [Dns({(HOST, "AAAA"): [], (HOST, "A"): [address]}) for address in (DEAD, ALIVE)]
    config = "discover = []\n" + "".join(
        f'[[pvd]]\nname = "{name}"\ninterface = "lo"\nresolvers = ["127.0.0.1:{dns.port}"]\n'
        for name, dns in zip(("dead", "alive"), servers, strict=True)
    )
    (tmp_path / "pvdrace.toml").write_text(config, "utf-8")
    with closing(*servers):
        yield Host(tmp_path, config, authority)


def told(result: tuple[int, str, str]) -> str:
    """What an example that did its work has printed."""
    code, out, err = result
    assert (code, err) == (0, ""), out + err
    return out


async def test_aiosmtplib_mail(host: Host) -> None:
    received: list[Any] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            received.append((session.ssl is not None, envelope.rcpt_tos, envelope.content))
            return "250 taken"

    context = certificate_for(host.authority, HOST)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: smtpd.SMTP(Handler(), tls_context=context), ALIVE, 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with closing(BlackHole(DEAD, port)):
            mail = (HOST, "a@example.test", "b@example.test", "--port", port)
            printed = told(await host.run("aiosmtplib_mail.py", *mail))
    assert f"alive won {ALIVE}" in printed
    assert printed.endswith("taken\n")
    [(secure, recipients, content)] = received
    assert (secure, recipients) == (True, ["b@example.test"])
    assert b"Subject: hello" in content


class Anybody(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


@pytest.fixture
async def ssh_port(host: Host) -> AsyncIterator[int]:
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def talk(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write(f"did {process.command}")
        process.exit(0)

    async with asyncssh.listen(
        ALIVE, 0, server_factory=Anybody, server_host_keys=[key], process_factory=talk
    ) as server:
        known = host.files / ".ssh" / "known_hosts"
        known.parent.mkdir()
        known.write_text(f"[{HOST}]:{server.get_port()} {key.export_public_key().decode()}", "utf-8")
        yield server.get_port()


@pytest.mark.parametrize("how", [[], ["--tunnel"]], ids=["sock", "tunnel"])
async def test_asyncssh_session(host: Host, ssh_port: int, how: list[str]) -> None:
    with closing(BlackHole(DEAD, ssh_port)):
        printed = told(await host.run("asyncssh_session.py", HOST, "uptime", "--port", ssh_port, *how))
    assert f"alive won {ALIVE}" in printed
    assert printed.endswith("did uptime\n")


async def test_asyncssh_session_where_the_host_key_is_another(host: Host, ssh_port: int) -> None:
    """By a tunnel too: the name is what asyncssh looks up in known_hosts."""
    known = host.files / ".ssh" / "known_hosts"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"[{HOST}]:{ssh_port} {other}", "utf-8")
    for how in ([], ["--tunnel"]):
        code, _, err = await host.run("asyncssh_session.py", HOST, "uptime", "--port", ssh_port, *how)
        assert code == 1
        assert err.startswith("HostKeyNotVerifiable: ")


async def test_asyncpg_query(host: Host) -> None:
    async with postgres() as port:
        dsn = f"postgresql://test:none@{HOST}:{port}/test"
        with closing(BlackHole(DEAD, port)):
            printed = told(await host.run("asyncpg_query.py", dsn, "SELECT 1"))
    assert f"alive won {ALIVE}" in printed
    assert printed.endswith("\n1\n")
    code, _, err = await host.run("asyncpg_query.py", f"postgresql://{HOST}:1/", "SELECT 1")
    assert code == 1
    assert "alive v4 refused" in err


async def test_grpc_channel(host: Host) -> None:
    async def check(request: bytes, context: Any) -> bytes:
        return b"\x08\x01"

    certificate = host.authority.issue_cert(HOST)
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    server = grpc.aio.server()
    methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    port = server.add_secure_port(f"{ALIVE}:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    reports: list[pvdrace.RaceReport] = []
    settings = ProxySettings(listen=(Listen(port=0),), allow_local=True, drain_timeout=0.2)
    proxy = Proxy(settings, config=parse(host.config), hooks=[reports.append])
    async with anyio.create_task_group() as tasks:
        await tasks.start(proxy.run)
        option = ("--proxy", f"http://127.0.0.1:{proxy.addresses[0][1]}")
        with closing(BlackHole(DEAD, port)):
            ran = await host.run("grpc_channel.py", f"{HOST}:{port}", *option)
        await server.stop(0)
        nobody = await host.run("grpc_channel.py", f"{HOST}:{port}", *option)
        proxy.stop()
    assert ran[:2] == (0, "serving\n"), ran
    assert reports[0].winner is not None
    assert reports[0].winner.pvd == "alive"
    assert nobody[0] == 1
    assert "UNAVAILABLE: " in nobody[2]
