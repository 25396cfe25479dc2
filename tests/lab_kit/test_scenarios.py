"""Named scenarios, and running a command in one."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from lab_kit.client import connect
from lab_kit.names import ask, reply_of
from pvdrace.lab import Lab, LabError, run_command, scenarios

pytestmark = pytest.mark.lab

# What the default link does with "who" over IPv4 and IPv6, and with DNS: what the description promises.
EXPECTED = {
    "good": ("eth", "eth"),
    "eth-blackhole": ("timeout", "timeout"),
    "eth-dead": ("timeout", "timeout"),
    "eth-no-arp": ("timeout", "timeout"),
    "eth-dns-dead": ("eth", "eth"),
    "eth-dns-slow-aaaa": ("eth", "eth"),
    "eth-dns-lying": ("eth", "eth"),
    "eth-reset": ("ECONNREFUSED", "ECONNREFUSED"),
    "eth-unreachable": ("EHOSTUNREACH", "EHOSTUNREACH"),
    "eth-portal": ("timeout", "timeout"),
    "eth-ipv6-broken": ("eth", "timeout"),
    "eth-stall": ("timeout", "timeout"),
    "eth-lossy": None,
    "overlap": ("eth", "eth"),
    "hotel": ("timeout", "timeout"),
    "metered": ("wifi", "wifi"),
    "vpn": ("eth", "eth"),
    "all-dead": ("timeout", "timeout"),
    "all-portals": ("timeout", "timeout"),
}


def test_every_scenario_is_in_the_table() -> None:
    assert list(EXPECTED) == list(scenarios.SCENARIOS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_scenario_is_as_described(name: str) -> None:
    with scenarios.build(name) as lab:
        if EXPECTED[name] is not None:
            assert (
                tuple(connect(lab, family=family, timeout=0.25).what for family in (4, 6)) == EXPECTED[name]
            )
        else:
            assert lab["eth"].wire.loss == 0.2
        pvds = tomllib.loads(lab.config())["pvd"]
        assert [pvd["name"] for pvd in pvds] == [link.name for link in lab]


@pytest.mark.parametrize(
    ("name", "question", "expected"),
    [
        ("eth-dns-dead", "A", []),
        ("eth-dns-slow-aaaa", "A", ["198.51.100.1"]),
        ("eth-dns-slow-aaaa", "AAAA", []),
        ("eth-dns-lying", "A", ["203.0.113.66"]),
        ("eth-dead", "A", []),
        ("good", "AAAA", ["2001:db8:99::1"]),
    ],
)
def test_its_name_server_is_as_described(name: str, question: str, expected: list[str]) -> None:
    with scenarios.build(name) as lab:
        assert ask(lab, "192.168.1.1", lab.name, question, timeout=1) == expected


def test_the_hotel_passes_the_web_and_lte_the_rest() -> None:
    with scenarios.build("hotel") as lab:
        assert connect(lab, lab["wifi"], port="https").what == "wifi"
        assert connect(lab, lab["wifi"], port="ssh", timeout=0.25).what == "timeout"
        assert "lte" in connect(lab, lab["lte"], port="ssh").what


def test_the_vpn_knows_the_intranet_and_nobody_else_does() -> None:
    with scenarios.build("vpn") as lab:
        assert lab.run(["curl", "-sS", "http://intranet.corp.example/"]).stdout == "vpn\n"
        reply = reply_of(lab, lab["eth"].gateway4, "intranet.corp.example", "A")
        assert reply.rcode() == dns.rcode.NXDOMAIN


def test_no_such_scenario_lists_those_there_are() -> None:
    with pytest.raises(LabError, match="no scenario 'nowhere', there is good, eth-blackhole"):
        scenarios.build("nowhere")


def test_a_scenario_that_fails_to_spoil_leaves_nothing() -> None:
    made: list[Lab] = []

    def spoil(lab: Lab) -> None:
        made.append(lab)
        raise RuntimeError("as asked")

    with pytest.raises(RuntimeError, match="as asked"), scenarios.Scenario("x", "", spoil).build():
        pass
    with pytest.raises(LabError, match="not running"):
        made[0].run(["true"])


class TestRun:
    """``run_command`` is a shell's ``COMMAND``, elsewhere."""

    def run(self, *command: str, scenario: str = "good", **options: Any) -> subprocess.CompletedProcess[str]:
        code = (
            "import sys; from pvdrace.lab import run_command as run; sys.exit(run(sys.argv[1], sys.argv[2:]))"
        )
        outer = [sys.executable, "-c", code, scenario, *command]
        options["env"] = os.environ | {"PYTHONPATH": str(Path(scenarios.__file__).parents[2])}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            outer, capture_output=True, text=True, check=False, timeout=60, **options
        )
        return done

    def test_it_has_our_input_and_output(self) -> None:
        done = self.run("sh", "-c", "cat; echo problem >&2", input="hello")
        assert (done.stdout, done.stderr) == ("hello", "problem\n")

    def test_it_is_inside(self) -> None:
        done = self.run("curl", "-sS", "https://www.example.test/", scenario="metered")
        assert done.stdout == "wifi\n"

    @pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)])
    def test_its_exit_code_is_ours(self, script: str, code: int) -> None:
        assert run_command("good", ["sh", "-c", script]) == code

    def test_it_keeps_the_working_directory(self, tmp_path: os.PathLike[str]) -> None:
        assert self.run("pwd", cwd=tmp_path).stdout.strip() == str(tmp_path)

    def test_it_finds_the_configuration(self) -> None:
        done = self.run("sh", "-c", "cat $PVDRACE_CONFIG", scenario="hotel")
        assert [pvd["name"] for pvd in tomllib.loads(done.stdout)["pvd"]] == ["wifi", "lte"]

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ([], "no command"),
            (["no-such-program"], "can't run no-such-program: No such file"),
            (["/etc"], "can't run /etc"),
        ],
    )
    def test_what_can_t_be_run_is_named(self, command: list[str], message: str) -> None:
        with pytest.raises(LabError, match=message):
            run_command("good", command)

    def test_ctrl_c_in_a_terminal_is_the_command_s(self) -> None:
        code = "import sys; from pvdrace.lab import run_command; sys.exit(run_command('good', sys.argv[1:]))"
        script = "trap 'echo interrupted; exit 5' INT; echo waiting; while :; do sleep 0.05; done"
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", code, "sh", "-c", script])
        seen = b""
        deadline = time.monotonic() + 20
        while b"waiting" not in seen and time.monotonic() < deadline:
            seen += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        _, status = os.waitpid(pid, 0)
        seen += os.read(terminal, 1000)
        os.close(terminal)
        assert b"interrupted" in seen
        assert os.waitstatus_to_exitcode(status) == 5

    def test_a_command_that_dies_of_ctrl_c_says_so(self) -> None:
        assert run_command("good", ["sh", "-c", "kill -INT $$"]) == 128 + signal.SIGINT
