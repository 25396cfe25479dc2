"""Blocking races in the lab: what the suite of the clients does not ask (`test_clients` runs them all)."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import anyio
import pytest

import pvdrace
import pvdrace.sync
from lab.clients.base import trusting as trusting_http
from lab.racing import PATIENT, SLACK, configuration, policy, records, sent, trusting
from pvdrace.lab import Lab, Link, Provider
from pvdrace.sync import Connector

pytestmark = pytest.mark.lab

#: Quick staggers and slow links: losers are cancelled before their SYN-ACK is here.
IMPATIENT = pvdrace.Pacing(
    resolution_delay=0.001,
    connection_attempt_delay=0.01,
    minimum_connection_attempt_delay=0.01,
    path_delay=0.01,
    resolution_lead=0,
)
NO_ETH = pvdrace.Policy(prohibit=["pvd:eth"])


def word(connection: pvdrace.sync.Connection) -> str:
    connection.sock.settimeout(10)
    return connection.recv().decode().strip()


@pytest.mark.parametrize("fault", [Link.blackhole, Link.dead, Link.stall, Link.portal])
def test_the_first_link_is_broken(t2: Lab, fault: Callable[[Link], object]) -> None:
    fault(t2["wA"])
    with Connector(configuration(t2)) as connector:
        with connector.open_connection(t2.name, 443, tls=trusting(t2), timeout=10) as connection:
            assert word(connection) == "wB"
        assert connection.report.ready == "tls"
        assert connector.objection(connection.path) is None


FAULTS: dict[str, Callable[[Link], object]] = {
    "none": lambda link: None,
    "no answer to ARP": Link.no_arp,
    "packets are lost": Link.blackhole,
    "everything is lost": Link.dead,
    "silence after TCP": Link.stall,
    "a portal": Link.portal,
    "ICMP unreachable": lambda link: link.icmp("host-unreach"),
    "DNS is dead": lambda link: link.dns("dead"),
    "DNS says SERVFAIL": lambda link: link.dns("servfail"),
    "no such name": lambda link: link.dns("nxdomain"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("secure", [True, False], ids=["tls", "tcp"])
def test_the_same_timeline_as_on_an_event_loop(t2: Lab, fault: str, secure: bool) -> None:
    """What became of every lookup and attempt, in the same order, at about the same times."""
    FAULTS[fault](t2["wA"])
    config, context = configuration(t2), trusting(t2) if secure else False

    async def on_a_loop() -> pvdrace.RaceReport:
        async with (
            pvdrace.Connector(config) as connector,
            await connector.open_connection(t2.name, 443, tls=context, timeout=10) as connection,
        ):
            return connection.report

    theirs = anyio.run(on_a_loop)
    with (
        Connector(config) as connector,
        connector.open_connection(t2.name, 443, tls=context, timeout=10) as connection,
    ):
        ours = connection.report
    assert told(ours) == told(theirs)
    for one, other in zip(records(ours), records(theirs), strict=True):
        assert abs(one.started - other.started) < SLACK


def told(report: pvdrace.RaceReport) -> object:
    """A report without its times."""
    lookups = [(r.pvd, r.type, r.outcome, r.addresses, r.error) for r in report.lookups]
    attempts = [(a.pvd, a.remote, a.outcome, a.connected is not None, a.error) for a in report.attempts]
    return lookups, attempts, report.outcome, report.ready


def test_all_are_silent_and_the_callers_time_holds(t2: Lab) -> None:
    for link in t2:
        link.blackhole()
    with Connector(configuration(t2)) as connector:
        began = time.monotonic()
        with pytest.raises(pvdrace.ConnectFailed) as raised:
            connector.connect(t2.name, 443, timeout=0.5)
        assert 0.4 < time.monotonic() - began < 0.5 + SLACK
    assert raised.value.report is not None
    assert raised.value.report.failure == "timeout 0.5 s"


def test_a_link_that_goes_in_mid_race(t2: Lab) -> None:
    """The first PvD is silent, and only its end brings in the second."""
    t2["wA"].dead()
    timer = threading.Timer(0.4, t2["wA"].link_down)
    with Connector(configuration(t2), pacing=PATIENT) as connector:
        timer.start()
        try:
            with connector.open_connection(t2.name, 443, tls=trusting(t2), timeout=10) as connection:
                assert word(connection) == "wB"
        finally:
            timer.join()
    assert connection.report.elapsed < 3
    assert {r.outcome for r in connection.report.lookups if r.pvd == "wA"} <= {"cancelled", "failed"}


def test_a_link_that_goes_makes_its_connections_objectionable(t2: Lab) -> None:
    with (
        Connector(configuration(t2)) as connector,
        connector.open_connection(t2.name, 443, tls=trusting(t2), timeout=10) as connection,
    ):
        assert connector.objection(connection.path) is None
        assert connector.objection(connection.path.under(policy(prohibit="pvd:wA"))) is not None
        t2["wA"].link_down()
        assert connector.objection(connection.path) is not None


def test_an_answer_of_the_connector_of_an_event_loop_is_dialled_where_it_came_from(t2: Lab) -> None:
    with Connector(configuration(t2)) as connector:
        pvd = connector.snapshot()["wB"]
        answer = pvdrace.Answer(t2.name, "198.51.100.1", "wB", pvd.attachment, None, 60.0)
        with connector.open_connection(answer, 443, tls=trusting(t2), timeout=10) as connection:
            assert word(connection) == "wB"
    assert not [packet for packet in sent(t2["wA"]) if packet.kind == "syn"]


def test_a_source_address_keeps_the_race_in_its_pvd(t2: Lab) -> None:
    source = str(t2["wB"].address4)
    with Connector(configuration(t2)) as connector, pvdrace.sync.installed(connector):
        context = trusting_http(t2.ca_file)
        request = http.client.HTTPSConnection(
            t2.name, timeout=10, context=context, source_address=(source, 0)
        )
        with contextlib.closing(request):
            request.request("GET", "/")
            assert request.sock.getsockname()[0] == source
            assert request.getresponse().read() == b"wB\n"
        nobody = http.client.HTTPSConnection(t2.name, context=context, source_address=("192.0.2.99", 0))
        with pytest.raises(OSError, match=r"192\.0\.2\.99 is no address of it"):
            nobody.connect()
    assert sent(t2["wA"]) == []


@pytest.mark.parametrize("count", [50])
def test_many_threads_share_one_connector(t2: Lab, count: int) -> None:
    """Each in a PvD of its own choosing; nobody's lookup is another's, and nothing is left."""
    words: list[tuple[str, str]] = []
    errors: list[BaseException] = []

    def work(number: int) -> None:
        name = "wA" if number % 2 else "wB"
        try:
            with t2.enter():
                for _ in range(3):
                    with connector.open_connection(
                        t2.name, 443, tls=context, policy=policy(require=f"pvd:{name}"), timeout=20
                    ) as connection:
                        words.append((name, word(connection)))
        except BaseException as error:
            errors.append(error)

    context = trusting(t2)
    with Connector(configuration(t2)) as connector:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not errors
    assert sorted(set(words)) == [("wA", "wA"), ("wB", "wB")]
    assert len(words) == 3 * count


def test_an_interrupt_ends_a_race_and_leaves_nothing(t2: Lab) -> None:
    """Control C while everything is silent; `no_descriptor_left` looks at the rest."""
    for link in t2:
        link.blackhole()
    with Connector(configuration(t2)) as connector:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            connector.connect(t2.name, 443, timeout=10)
        timer.join()
        for link in t2:
            link.heal()
        connector.connect(t2.name, 443, timeout=10)[0].close()


def test_closing_the_connector_while_another_thread_races(t2: Lab) -> None:
    for link in t2:
        link.blackhole()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with t2.enter():
                connector.connect(t2.name, 443, timeout=0.6)
        except BaseException as error:
            errors.append(error)

    connector = Connector(configuration(t2))
    connector.snapshot()
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    connector.close()
    thread.join(10)
    assert [type(error) for error in errors] == [pvdrace.ConnectFailed]
    assert "timeout 0.6 s" in str(pvdrace.report_of(errors[0]))
    connector.close()


# Not a packet where policy forbids it, to the last


@pytest.fixture
def quiet_lab() -> Iterator[Lab]:
    links = [
        Provider("eth", delay=0.001, metric=100),
        Provider("wifi", delay=0.02, metric=200),
        Provider("lte", delay=0.04, metric=300),
    ]
    with Lab(links) as lab, lab.enter():
        lab.reset_counters()
        yield lab


def connect_and_close(lab: Lab) -> None:
    """In every way there is, under a prohibition of the default link."""
    context = trusting(lab)
    with Connector(lab.config_file, pacing=IMPATIENT) as connector:
        for _ in range(2):
            connector.open_connection(lab.name, 443, tls=context, policy=NO_ETH).close()
            connector.connect(lab.name, 443, policy=NO_ETH)[0].close()
            connector.begin(lab.name, 443, policy=NO_ETH).secure(context, lab.name)[0].close()
            connector.begin(lab.name, 443, policy=NO_ETH).settle()[0].close()
            connector.begin(lab.name, 443, policy=NO_ETH).close()
            with pvdrace.sync.installed(connector, NO_ETH):
                for secure in (True, False):
                    ask(lab, secure)
                later = socket.create_connection((lab.name, 443))  # STARTTLS is like this
                assert later.getpeername()
                context.wrap_socket(later, server_hostname=lab.name).close()
    time.sleep(0.3)  # whatever is still on its way


def ask(lab: Lab, secure: bool) -> None:
    connection = (
        http.client.HTTPSConnection(lab.name, context=trusting_http(lab.ca_file))
        if secure
        else http.client.HTTPConnection(lab.name)
    )
    with contextlib.closing(connection):
        connection.request("GET", "/pattern/100000", headers={"Connection": "close"})
        assert len(connection.getresponse().read()) == 100000


def test_a_prohibited_default_link_sees_no_packet_at_all(quiet_lab: Lab) -> None:
    connect_and_close(quiet_lab)
    assert quiet_lab["wifi"].counters().syn > 3
    assert quiet_lab["eth"].counters().packets == 0


def test_control_a_plain_close_sends_some(quiet_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvdrace.decisions.forbids", lambda policies, ranking: False)
    monkeypatch.setattr("pvdrace.net.lingering.PATIENCE", 0.0)
    connect_and_close(quiet_lab)
    assert quiet_lab["eth"].counters().packets > 0
