"""``pvdrace connect``: the timeline, the JSON, the exit codes; by fakes, on the loopback, in the lab."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from click.testing import CliRunner

from cli_program import PROGRAM, environment, in_the_lab, pvdrace_program
from loopback import Server, certificate_for
from pvdrace.calls import failure
from pvdrace.cli.app import app
from pvdrace.config import parse
from pvdrace.errors import PvdRaceError
from pvdrace.files import profile as load_profile
from pvdrace.model import Reachability
from pvdrace.policy import Policy
from pvdrace.race.report import RaceReport
from pvdrace.selectors import Selector
from pvdrace.testing.scenario import Scenario, impostor, nodata, ok, pvd, refused, scenario, servfail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

PORTAL = Reachability.PORTAL


class FakeConnector:
    """Its races are over before they begin: they are those of a scenario."""

    race: Scenario
    calls: list[dict[str, Any]]
    probes = False

    def __init__(self, config: str | None, **_: Any) -> None:
        self.config = config

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def open_connection(self, host: str, port: int, **options: Any) -> FakeConnection:
        self.calls.append({"host": host, "port": port, "config": self.config, **options})
        if not self.race.won:
            raise failure(self.race.report)
        return FakeConnection(self.race.report)


class FakeConnection:
    def __init__(self, report: RaceReport) -> None:
        self.report = report

    async def aclose(self) -> None:
        pass


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeConnector]:
    class Connector(FakeConnector):
        race = scenario(eth=pvd(v4=ok(5)))
        calls = []  # noqa: RUF012 (each test has a class of its own)

    monkeypatch.setattr("pvdrace.connector.Connector", Connector)
    monkeypatch.delenv("PVDRACE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return Connector


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--prohibit", "pvd:wiffi"],
            "--prohibit pvd:wiffi: none is here, did you mean 'wifi'?; there are eth, wifi",
        ),
        (["--prefer", "pvd:x*"], "--prefer pvd:x*: none is here; there are eth, wifi"),
        (["--prefer", "pvd:w*", "--avoid", "type:nothing", "--prohibit", "cost:variable"], ""),
    ],
)
def test_a_pvd_that_is_named_and_not_here_is_remarked(
    connector: type[FakeConnector], arguments: list[str], line: str
) -> None:
    """It may yet come, so it is no error; who has mistyped what to prohibit wants to know."""
    connector.race = scenario(eth=pvd(v4=ok(5)), wifi=pvd(v4=ok(9)))
    result = CliRunner().invoke(app, ["connect", "host", "443", *arguments])
    assert result.exit_code == 0
    assert result.stderr == (f"pvdrace: {line}\n" if line else "")


@pytest.mark.parametrize(
    ("race", "code"),
    [
        (scenario(eth=pvd(v4=ok(5))), 0),
        (scenario(eth=pvd(unusable="no address")), 3),
        (scenario(eth=pvd(v4=ok(1)), policy=Policy(require=["pvd:wifi"])), 3),
        (scenario(eth=pvd(v4=refused(5))), 4),
        (scenario(eth=pvd(dns=servfail(5))), 4),
        (scenario(eth=pvd(dns=nodata(5))), 4),
        (scenario(eth=pvd(v4=ok(5), reachability=PORTAL)), 5),
        (scenario(eth=pvd(v4=ok(5), reachability=PORTAL), lte=pvd(unusable="no address")), 5),
        (
            scenario(eth=pvd(v4=impostor(1, 2), reachability=PORTAL), policy=Policy(require=["pvd:eth"])),
            5,
        ),
        (scenario(eth=pvd(reachability=PORTAL), lte=pvd(v4=refused(5))), 4),
    ],
)
def test_exit_codes(connector: type[FakeConnector], race: Scenario, code: int) -> None:
    """And with each the timeline on stdout, and where it failed one line on stderr."""
    connector.race = race
    result = CliRunner().invoke(app, ["connect", "www.example.com", "443"])
    assert result.exit_code == code
    assert result.stdout.startswith("www.example.com:443  " + ("won" if code == 0 else "lost"))
    assert result.stderr == ("" if code == 0 else f"pvdrace: {race.report.summary()}\n")


def test_json_is_the_report(connector: type[FakeConnector]) -> None:
    connector.race = scenario(eth=pvd(v4=refused(5)), wifi=pvd(v6=ok(3)))
    result = CliRunner().invoke(app, ["connect", "www.example.com", "443", "--json"])
    assert result.exit_code == 0
    report = connector.race.report
    assert json.loads(result.stdout) == report.to_dict()
    assert str(RaceReport.from_json(result.stdout)) == str(report)


def test_json_of_a_race_that_was_lost(connector: type[FakeConnector]) -> None:
    connector.race = scenario(eth=pvd(unusable="no address"))
    result = CliRunner().invoke(app, ["connect", "www.example.com", "443", "--json"])
    value = json.loads(result.stdout)
    assert (result.exit_code, value["outcome"], value["winner"]) == (3, "lost", None)
    assert value["ranking"][0]["excluded"] == "no address"


def test_options_reach_the_connector(connector: type[FakeConnector]) -> None:
    options = "--timeout 2.5 --require pvd:a --require pvd:b* --prefer type:wifi --avoid cost:fixed"
    options += " --capacity-profile interactive --latency-budget 1.5 --label mail"
    arguments = ["--config", "c.toml", "connect", "::1", "80", *options.split(), "--prohibit", "group:x"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (call,) = connector.calls
    policy = call.pop("policy")
    assert call == {
        "host": "::1",
        "port": 80,
        "config": "c.toml",
        "tls": False,
        "label": "mail",
        "timeout": 2.5,
    }
    assert policy.require == (Selector("pvd", "a"), Selector("pvd", "b*"))
    assert policy.prefer == (Selector("type", "wifi"),)
    assert policy.avoid == (Selector("cost", "fixed"),)
    assert policy.prohibit == (Selector("group", "x"),)
    assert (policy.capacity_profile, policy.latency_budget) == ("interactive", 1.5)


def test_a_profile_takes_the_place_of_the_files_own(connector: type[FakeConnector], tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('profile = "linux"\n[[rule]]\nprefer = ["type:wired"]\n', "utf-8")
    arguments = ["connect", "--config", str(file), "host", "80", "--profile", "s60-snap"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (call,) = connector.calls
    config = call["config"]
    assert (config.profile, config.files) == ("s60-snap", (load_profile("s60-snap"),))
    assert config.rules == parse(file.read_text("utf-8")).rules
    assert config.address_tables == ()  # nothing is left of the other


def test_a_profile_that_is_none_is_a_usage_error() -> None:
    result = CliRunner().invoke(app, ["connect", "host", "80", "--profile", "s60"])
    assert result.exit_code == 2
    assert "no profile 's60', did you mean" in result.stderr


def test_without_options_there_is_no_policy_and_no_timeout(connector: type[FakeConnector]) -> None:
    assert CliRunner().invoke(app, ["connect", "host", "80"]).exit_code == 0
    (call,) = connector.calls
    assert (call["policy"], call["label"], call["timeout"], call["config"]) == (None, None, None, None)


@pytest.mark.parametrize("width", ["80", "120"])
def test_a_pipe_has_the_width_of_columns(connector: type[FakeConnector], width: str) -> None:
    connector.race = scenario(eth=pvd(v4=ok(50)))
    done = CliRunner(env={"COLUMNS": width}).invoke(app, ["connect", "host", "80"])
    longest = max(map(len, done.stdout.splitlines()))
    assert int(width) - 25 < longest <= int(width)


# ---------------------------------------------------------------------- the loopback


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, str(path)


@pytest.fixture
def secure(authority: tuple[trustme.CA, str]) -> Iterator[Server]:
    server = Server("127.0.0.1", context=certificate_for(authority[0], "localhost"))
    yield server
    server.close()


def test_tls_with_an_authority_of_ones_own(secure: Server, authority: tuple[trustme.CA, str]) -> None:
    done = pvdrace_program(
        "connect", "localhost", str(secure.port), "--tls", "--ca-file", authority[1], "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    assert (value["schema"], value["outcome"]) == ("pvdrace.report/1", "won")
    assert (value["winner"]["pvd"], value["winner"]["ready"]) == ("loopback", "tls")


def test_tls_with_the_systems_authorities(secure: Server) -> None:
    """Who signed it is unknown to the system: that is this attempt's failure, and code 4."""
    done = pvdrace_program("connect", "localhost", str(secure.port), "--tls", "--timeout", "20")
    assert done.returncode == 4
    assert "127.0.0.1" in done.stdout
    assert done.stderr.startswith(f"pvdrace: localhost:{secure.port}: ")
    assert "wrong certificate" in done.stderr
    assert done.stderr.count("\n") == 1


def test_on_a_terminal_the_race_is_shown_while_it_runs() -> None:
    """A server that never finishes TLS: the live view draws on stderr, and is gone in the end."""
    server = Server("127.0.0.1", mute=True)
    try:
        screen, output = on_a_terminal("connect", "127.0.0.1", str(server.port), "--tls", "--timeout", "1")
    finally:
        server.close()
    assert "racing" in screen
    assert "handshaking" in screen
    assert "\x1b[2K" in screen  # lines were erased
    assert output.startswith("127.0.0.1:") and "lost after 1.0" in output  # a busy machine is late
    assert screen.rpartition("\x1b[2K")[2].startswith("pvdrace: 127.0.0.1:")


def on_a_terminal(*arguments: str) -> tuple[str, str]:
    """What a terminal on stderr sees, and what a pipe on stdout gets."""
    primary, secondary = pty.openpty()
    os.set_blocking(primary, False)
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=secondary,
        env=environment(TERM="xterm-256color", COLUMNS="100"),
    ) as process:
        os.close(secondary)
        output, _ = process.communicate(timeout=60)
    seen = b""
    try:
        while chunk := os.read(primary, 65536):
            seen += chunk
    except OSError:
        pass  # the other end is closed, and all of it read
    os.close(primary)
    return seen.decode().replace("\r\n", "\n"), output.decode()


# ---------------------------------------------------------------------- the lab


@pytest.mark.lab
@pytest.mark.parametrize(
    ("where", "options", "code", "winner"),
    [
        ("good", [], 0, "eth"),
        ("eth-blackhole", [], 0, "wifi"),
        ("eth-portal", ["--prefer", "pvd:lte"], 0, "lte"),
        ("eth-blackhole", ["--require", "pvd:eth", "--timeout", "0.5"], 4, None),
        ("good", ["--require", "pvd:satellite"], 3, None),
        ("good", ["--profile", "windows-phone-7", "--label", "cellular"], 0, "lte"),
        ("good", ["--profile", "s60-iap", "--label", "mms"], 3, None),
        ("metered", ["--capacity-profile", "scavenger", "--prohibit", "pvd:wifi"], 3, None),
        ("all-dead", ["--timeout", "0.5"], 4, None),
    ],
)
def test_in_the_lab(where: str, options: list[str], code: int, winner: str | None, tmp_path: Path) -> None:
    """To a TLS stream that the lab's authority vouches for, which the lab makes the system's."""
    done = in_the_lab(where, "connect", "www.example.test", "443", "--tls", "--json", *options)
    assert done.returncode == code, done.stderr
    value = json.loads(done.stdout)
    assert (value["winner"] or {}).get("pvd") == winner
    assert bool(done.stderr) == (code != 0)


def test_every_error_of_a_race_has_its_report() -> None:
    """So that `connect` can print it."""
    lost = failure(scenario(eth=pvd(unusable="x")).report)
    assert isinstance(lost, PvdRaceError)
    assert lost.report is not None
