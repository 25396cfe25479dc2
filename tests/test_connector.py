"""The connector's manners: arguments, errors, lifetime. On the loopback."""

from __future__ import annotations

import gc
import socket
import ssl
import struct
import subprocess
import sys
import threading
from typing import Any

import anyio
import pytest
import trustme

import pvdrace
from loopback import Server, certificate_for, closing, trusting
from pvdrace.calls import failure, forbids, tls_name
from pvdrace.config import Configuration, parse
from pvdrace.connection import Connection
from pvdrace.default import default_connector
from pvdrace.model import Endpoint, PvdSet
from pvdrace.net.lingering import Lingering
from pvdrace.ranking import rank
from pvdrace.testing.scenario import blackhole, build_pvds, ok, pvd, scenario, silent

pytestmark = pytest.mark.anyio

NOTHING = Configuration(discover=())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": ""}, "host must be a name or an address, not ''"),
        ({"host": " a"}, "host must be a name or an address, not ' a'"),
        ({"host": ["x"]}, "host must be a name or an address, not ['x']"),
        ({"host": "a b.test"}, "'a b.test' is neither a host name nor an IP address"),
        ({"host": "a.test:443"}, "'a.test:443' is neither a host name nor an IP address"),
        ({"host": "https://a.test"}, "'https://a.test' is neither a host name nor an IP address"),
        ({"host": "a..b"}, "'a..b' is no host name: a label is empty or too long (RFC 1035 s2.3.4)"),
        (
            {"host": "999.1.1.1"},
            "'999.1.1.1' is no IPv4 address, and no host name ends in a number (RFC 1123 s2.1)",
        ),
        ({"server_hostname": "a.test"}, "server_hostname is for tls=True or a context"),
        ({"port": 0}, "port must be a number from 1 to 65535, not 0"),
        ({"port": True}, "port must be a number from 1 to 65535, not True"),
        ({"port": "443"}, "port must be a number from 1 to 65535, not '443'"),
        ({"timeout": "5"}, "timeout must be a number of at least 0, not '5'"),
        ({"timeout": -1}, "timeout must be a number of at least 0, not -1"),
        ({"timeout": float("nan")}, "timeout must be a number of at least 0, not nan"),
        ({"policy": {"require": ["pvd:x"]}}, "policy must be a pvdrace.Policy, not {'require': ['pvd:x']}"),
        ({"policy": "pvd:x"}, "policy must be a pvdrace.Policy, not 'pvd:x'"),
        ({"label": ""}, "label must be a word, not ''"),
        ({"label": ["mms"]}, "label must be a word, not ['mms']"),
        ({"tls": None}, "tls must be True, False or an ssl.SSLContext, not None"),
        ({"tls": "yes"}, "tls must be True, False or an ssl.SSLContext, not 'yes'"),
        ({"tls": 1}, "tls must be True, False or an ssl.SSLContext, not 1"),
        ({"ready": "tls"}, "ready='tls' asks for tls=True or a context"),
        ({"ready": "udp"}, "ready must be 'tcp', 'tls' or an asynchronous function, not 'udp'"),
    ],
)
async def test_an_argument_that_makes_no_sense_is_a_value_error(
    arguments: dict[str, Any], message: str
) -> None:
    """Before anything is sent."""
    given: dict[str, Any] = {"host": "127.0.0.1", "port": 9, **arguments}
    async with pvdrace.Connector(NOTHING) as connector:
        with pytest.raises(ValueError) as raised:
            await connector.open_connection(**given)
    assert str(raised.value) == message


@pytest.mark.parametrize("seconds", [float("nan"), -1, 0, "5", float("inf")])
def test_the_resolvers_time_is_a_time(seconds: Any) -> None:
    with pytest.raises(ValueError, match="dns_timeout must be a number"):
        pvdrace.Connector(NOTHING, dns_timeout=seconds)


def test_a_wrong_configuration_of_the_module_is_one_error_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setenv("PVDRACE_CONFIG", "/none/pvdrace.toml")

    def begin() -> None:
        with pytest.raises(pvdrace.ConfigurationError):
            default_connector()

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    gc.collect()
    assert unraisable == []


@pytest.mark.parametrize("name", ["observe", "on_ambiguous", "on_need", "pacing"])
def test_what_is_no_function_and_no_pacing(name: str) -> None:
    wanted: dict[str, Any] = {name: 3}
    with pytest.raises(ValueError, match=f"^{name} must be a .*, not 3$"):
        pvdrace.Connector(NOTHING, **wanted)


def test_what_a_connector_was_given_is_for_good() -> None:
    """A prohibition that is set later would fail open for destinations ranked before."""
    connector = pvdrace.Connector(NOTHING, policy=pvdrace.Policy(prohibit=["pvd:lte"]))
    for name in ("policy", "pacing", "configuration"):
        with pytest.raises(AttributeError):
            setattr(connector, name, None)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("www.example.com.", "www.example.com"),
        ("a.test", "a.test"),
    ],
)
def test_the_name_to_verify(host: str, name: str) -> None:
    """RFC 6066 s3: no final dot; and an address is verified as an address."""
    assert tls_name(host) == name


@pytest.mark.parametrize("host", ["[::1]", "localhost."])
async def test_tls_to_an_address_in_brackets_and_to_a_name_with_its_final_dot(host: str) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "::1", "127.0.0.1").configure_cert(context)
    server = Server("::1", context=context)
    with closing(server):
        async with pvdrace.Connector(NOTHING) as connector:
            connection = await connector.open_connection(host, server.port, tls=trusting(authority))
            async with connection:
                assert await connection.receive() == b"hello\n"


async def test_a_check_that_is_not_asynchronous_says_so() -> None:
    server = Server("127.0.0.1")
    with closing(server):
        async with pvdrace.Connector(NOTHING) as connector:
            with pytest.raises(pvdrace.ConnectFailed, match="ready must be an asynchronous function"):
                await connector.open_connection("127.0.0.1", server.port, ready=lambda stream: True)  # type: ignore[arg-type, return-value]


class TestLayers:
    """On the loopback, which policy may forbid as any other PvD."""

    BY_LABEL = parse(
        'discover = []\n[[rule]]\nmatch = { label = ["mms"] }\nprohibit = ["type:loopback"]\n'
        '[[rule]]\nmatch = { label = ["vpn*"] }\nrequire = ["type:vpn"]\n'
    )

    @pytest.mark.parametrize(
        ("own", "label", "said"),
        [
            (None, "mms", "prohibited by type:loopback (rule 1)"),
            ("mms", None, "prohibited by type:loopback (rule 1)"),
            (None, "vpn-office", "not type:vpn, which is required (rule 2)"),
            ("mms", "web", None),  # the call's own counts
            (None, None, None),
        ],
    )
    async def test_a_label_finds_its_rule(self, own: str | None, label: str | None, said: str | None) -> None:
        server = Server("127.0.0.1")
        with closing(server):
            async with pvdrace.Connector(self.BY_LABEL, label=own) as connector:
                if said is None:
                    sock, report = await connector.connect("127.0.0.1", server.port, label=label)
                    sock.close()
                    assert report.outcome == "won"
                else:
                    with pytest.raises(pvdrace.PolicyProhibited) as caught:
                        await connector.connect("127.0.0.1", server.port, label=label)
                    assert said in str(caught.value)

    @pytest.mark.parametrize(
        ("call", "system", "kind"),
        [
            ({"prohibit": ["type:loopback"]}, {}, pvdrace.PolicyProhibited),
            ({"require": ["type:wifi"]}, {}, pvdrace.NoUsablePvd),
            ({"require": ["type:wifi"]}, {"prohibit": ["type:wifi"]}, pvdrace.NoUsablePvd),
            ({"require": ["type:loopback"]}, {"prohibit": ["cost:unmetered"]}, pvdrace.PolicyProhibited),
            ({}, {"require": ["type:wifi"]}, pvdrace.PolicyProhibited),
        ],
    )
    async def test_it_is_policy_that_left_nobody_where_somebody_had_all_that_the_call_requires(
        self, call: dict[str, list[str]], system: dict[str, list[str]], kind: type[Exception]
    ) -> None:
        file = pvdrace.PolicyFile("etc", policy=pvdrace.Policy(**system))  # type: ignore[arg-type]
        async with pvdrace.Connector(NOTHING, system=file) as connector:
            with pytest.raises(pvdrace.NoUsablePvd) as caught:
                await connector.connect("127.0.0.1", 9, policy=pvdrace.Policy(**call))  # type: ignore[arg-type]
        assert type(caught.value) is kind
        assert ("(system)" if "unmetered" in str(system) else "(") in str(caught.value)

    async def test_nobody_there_is_no_prohibition(self) -> None:
        file = pvdrace.PolicyFile("etc", policy=pvdrace.Policy(prohibit=["type:wifi"]))
        async with pvdrace.Connector(NOTHING, system=file) as connector:
            with pytest.raises(pvdrace.NoUsablePvd) as caught:
                await connector.connect("192.0.2.1", 9)
        assert not isinstance(caught.value, pvdrace.PolicyProhibited)


class TestErrors:
    def test_time_that_ran_out_in_the_lookups_is_a_connect_failure(self) -> None:
        """`ConnectFailed`: "or time ran out first"; the name may well exist."""
        lost = scenario(wifi=pvd(dns=silent), timeout=0.5)
        error = failure(lost.report)
        assert isinstance(error, pvdrace.ConnectFailed)
        assert isinstance(error, OSError)
        assert error.report is not None

    def test_a_name_without_addresses(self) -> None:
        assert isinstance(failure(scenario(wifi=pvd()).report), pvdrace.ResolutionFailed)

    def test_nobody_left(self) -> None:
        lost = scenario(wifi=pvd(dns=silent), withdraw={"wifi": 5})
        assert isinstance(failure(lost.report), pvdrace.NoUsablePvd)

    def test_every_attempt_failed(self) -> None:
        lost = scenario(wifi=pvd(v4=blackhole), timeout=1)
        assert isinstance(failure(lost.report), pvdrace.ConnectFailed)


class TestForbids:
    """Whether sockets have to go quietly is read from the policy, not from who happened to be excluded."""

    def forbids(self, *policies: pvdrace.Policy, **scripts: Any) -> bool:
        layers = [("call", policy) for policy in policies]
        return forbids(layers, rank(build_pvds(scripts), Endpoint("www.example.com", 443), layers))

    def test_a_requirement_forbids_what_is_not_even_known(self) -> None:
        assert self.forbids(pvdrace.Policy(require=["pvd:wifi"]), wifi=pvd(v4=ok(1)))

    def test_a_prohibition_of_what_is_not_there_yet(self) -> None:
        assert self.forbids(pvdrace.Policy(prohibit=["pvd:eth"]), wifi=pvd(v4=ok(1)))

    def test_a_zone_of_anothers(self) -> None:
        assert self.forbids(wifi=pvd(), vpn=pvd(zones=("example.com",)))

    def test_a_preference_forbids_nothing(self) -> None:
        assert not self.forbids(pvdrace.Policy(prefer=["pvd:wifi"], avoid=["pvd:lte"]), wifi=pvd(), lte=pvd())


async def test_aclose_does_not_hide_the_error_of_a_connection_that_was_reset() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    farewell = Lingering(anyio.current_time)
    async with pvdrace.Connector(NOTHING) as connector:
        plain = await connector.open_connection("127.0.0.1", listener.getsockname()[1])
    connection = Connection(plain.stream, plain.report, farewell)
    peer, _ = listener.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(anyio.BrokenResourceError):
        async with connection:
            while True:
                await connection.receive()
    assert len(farewell) == 0
    listener.close()


async def test_a_quiet_close_is_a_close() -> None:
    """The peer hears of it, and no descriptor is left when aclose() is back."""
    authority = trustme.CA()
    server = Server("127.0.0.1", context=certificate_for(authority, "localhost"))
    farewell = Lingering(anyio.current_time)
    with closing(server):
        async with pvdrace.Connector(NOTHING) as connector:
            plain = await connector.open_connection("localhost", server.port, tls=trusting(authority))
        connection = Connection(plain.stream, plain.report, farewell)
        with anyio.fail_after(10):
            await connection.aclose()
        assert len(farewell) == 0


async def test_hooks_and_observers_see_the_race_and_cannot_break_it(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def broken(report: pvdrace.RaceReport) -> None:
        raise RuntimeError("a sink that fails")

    server = Server("127.0.0.1")
    with closing(server):
        async with pvdrace.Connector(
            NOTHING, hooks=[broken, lambda report: seen.append(report.outcome)]
        ) as connector:
            sock, _ = await connector.connect("127.0.0.1", server.port)
            await connector.release(sock)
    assert seen == ["won"]
    assert "a sink that fails" in caplog.text


def run(program: str) -> str:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_default_connector_leaves_nothing_behind_at_exit(backend: str) -> None:
    """Nobody closes it, so it does so itself: no ResourceWarning."""
    run(
        "import anyio, pvdrace\n"
        "async def main():\n"
        "    try: await pvdrace.connect('127.0.0.1', 9)\n"
        "    except pvdrace.ConnectFailed: pass\n"
        "    from pvdrace.default import default_connector\n"
        "    await default_connector().snapshot()\n"
        f"anyio.run(main, backend={backend!r})\n"
    )


def test_a_fork_gets_a_default_connector_of_its_own() -> None:
    """Sockets that both share would let one take the other's events."""
    printed = run(
        "import os, anyio, pvdrace\n"
        "from pvdrace.default import default_connector\n"
        "async def look(): return await default_connector().snapshot()\n"
        "anyio.run(look)\n"
        "mine = default_connector()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    fresh = default_connector() is not mine\n"
        "    os._exit(0 if fresh else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "anyio.run(look)\n"
    )
    assert printed == "0\n"


def test_each_thread_has_its_own() -> None:
    found: list[pvdrace.Connector] = []
    thread = threading.Thread(target=lambda: found.append(default_connector()))
    thread.start()
    thread.join()
    assert found[0] is not default_connector()
    assert default_connector() is default_connector()


async def test_one_connector_serves_many_calls_at_once() -> None:
    server = Server("127.0.0.1")
    winners: list[str] = []
    with closing(server):
        async with pvdrace.Connector(NOTHING) as connector:

            async def call(host: str) -> None:
                sock, report = await connector.connect(host, server.port)
                sock.close()
                winners.append(report.outcome)

            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(call, "127.0.0.1" if number % 2 else "localhost")
    assert winners == ["won"] * 100


def test_an_empty_snapshot_is_no_usable_pvd() -> None:
    ranking = rank(PvdSet(), Endpoint("www.example.com", 443))
    assert ranking.ranked == ()
