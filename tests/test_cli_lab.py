"""``pvdrace lab`` and ``pvdrace demo``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cli_program import PROGRAM, environment, pvdrace_program
from pvdrace.cli import demo as demonstration
from pvdrace.cli.app import app
from pvdrace.lab import LabError
from pvdrace.lab.scenarios import SCENARIOS, build
from pvdrace.testing.scenario import ok, pvd, refused, scenario

if TYPE_CHECKING:
    from pvdrace.lab import Lab


# ---------------------------------------------------------------------- lab


def test_list_names_every_scenario_with_its_description() -> None:
    result = CliRunner().invoke(app, ["lab", "list"])
    assert result.exit_code == 0
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert told == {name: each.description for name, each in SCENARIOS.items()}


@pytest.mark.parametrize("command", [["lab", "run", "good", "true"], ["lab", "shell", "good"], ["demo"]])
def test_where_there_can_be_no_lab_one_line_says_why(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise LabError("the lab needs root: become it")

    monkeypatch.setattr("pvdrace.lab.run.run_command", refuse)
    monkeypatch.setattr("pvdrace.lab.become_root_inside", refuse)
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "pvdrace: the lab needs root: become it"


@pytest.mark.lab
@pytest.mark.parametrize("dashes", [["--"], []])
def test_run_is_transparent(dashes: list[str]) -> None:
    """Arguments, input, output and exit code are the command's own."""
    script = "import sys; print(sys.argv[1:], input()); print('!', file=sys.stderr); sys.exit(7)"
    done = subprocess.run(
        [*PROGRAM, "lab", "run", "good", *dashes, sys.executable, "-c", script, "--json", "--", "-h"],
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "['--json', '--', '-h'] hello\n", "!\n")


@pytest.mark.lab
def test_run_a_command_that_is_none() -> None:
    done = pvdrace_program("lab", "run", "good", "--", "no-such-command")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pvdrace: can't run no-such-command")
    assert done.stderr.count("\n") == 1


@pytest.mark.lab
def test_shell_is_the_users_and_inside() -> None:
    done = subprocess.run(
        [*PROGRAM, "lab", "shell", "vpn"],
        input="ip -br link show\necho config $PVDRACE_CONFIG\nexit 3\n",
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(SHELL="/bin/sh"),
    )
    assert done.returncode == 3
    devices = {line.split("@")[0].split()[0] for line in done.stdout.splitlines() if "link" not in line}
    assert {"lo", "eth", "wifi", "vpn"} <= devices
    assert "config /" in done.stdout
    assert "eth, wifi, vpn" in done.stderr


# ---------------------------------------------------------------------- demo


def scene(times: list[float], problem: str | None = None) -> demonstration.Scene:
    won = scenario(eth=pvd(v4=ok(5))) if problem is None else scenario(eth=pvd(v4=refused(5)))
    return demonstration.Scene(
        "eth-portal",
        "eth has a portal",
        times,
        [won.report] * max(len(times), 1),
        {
            "asyncio": demonstration.Control(0.038, "wrong certificate"),
            "asyncio + RFC 8305": demonstration.Control(0.2871, None),
        },
        problem,
    )


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> list[demonstration.Scene]:
    """The demo with its scenes played already."""
    played: list[demonstration.Scene] = []
    monkeypatch.setattr("pvdrace.lab.become_root_inside", lambda: False)
    monkeypatch.setattr(demonstration, "_scenes", lambda _: ((each, None) for each in played))

    def run(each: demonstration.Scene, number: int, console: object, lab: Lab) -> demonstration.Scene:
        return each

    monkeypatch.setattr(demonstration, "_run", run)
    return played


def test_the_table_has_the_median_beside_the_controls(scenes: list[demonstration.Scene]) -> None:
    scenes.append(scene([0.4, 0.152, 0.1]))
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0
    cells = [[c.strip() for c in line.split("  ") if c.strip()] for line in result.stdout.splitlines()]
    assert cells == [
        ["WHAT IS WRONG", "PVDRACE", "BY", "ASYNCIO", "ASYNCIO + RFC 8305"],
        ["eth has a portal", "152 ms", "eth", "wrong certificate", "287 ms"],
    ]


def test_a_scene_that_was_lost_is_code_4(scenes: list[demonstration.Scene]) -> None:
    scenes += [scene([0.1]), scene([], "www.example.test:443: eth v4 refused")]
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 4
    assert "failed" in result.stdout
    assert result.stderr.splitlines()[-1].startswith(
        "pvdrace: eth has a portal: www.example.test:443: eth v4"
    )


def test_demo_json(scenes: list[demonstration.Scene]) -> None:
    scenes += [scene([0.3, 0.1, 0.2]), scene([], "lost")]
    result = CliRunner().invoke(app, ["demo", "--json"])
    value = json.loads(result.stdout)
    assert (value["schema"], value["won"]) == ("pvdrace.demo/1", False)
    first, second = value["scenes"]
    assert (first["pvdrace"]["elapsed"], first["pvdrace"]["runs"]) == (0.2, [0.3, 0.1, 0.2])
    assert first["pvdrace"]["report"]["schema"] == "pvdrace.report/1"
    assert first["controls"]["asyncio"] == {"elapsed": 0.038, "error": "wrong certificate"}
    assert (second["pvdrace"]["elapsed"], second["pvdrace"]["error"]) == (None, "lost")


QUICK_DEMO = """
import sys
from pvdrace.cli import demo, main
demo.LIMIT, demo.REPEATS = 1.5, 1
sys.argv[1:] = ["demo", *sys.argv[1:]]
sys.exit(main())
"""


@pytest.mark.lab
def test_the_demo_is_won_and_the_control_is_not() -> None:
    """All of it in the lab, with less patience. Only a portal, a black hole and dead DNS need another PvD."""
    done = subprocess.run(
        [sys.executable, "-c", QUICK_DEMO, "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["won"]
    scenes = {each["name"]: each for each in value["scenes"]}
    assert {name: each["pvdrace"]["report"]["winner"]["pvd"] for name, each in scenes.items()} == {
        "good": "eth",
        "eth-blackhole": "wifi",
        "eth-dns-dead": "wifi",
        "eth-portal": "wifi",
        "eth-ipv6-broken": "eth",
    }
    errors = {name: each["controls"]["asyncio"]["error"] for name, each in scenes.items()}
    assert errors == {
        "good": None,
        "eth-blackhole": "gave up after 1.5 s",
        "eth-dns-dead": "gave up after 1.5 s",
        "eth-portal": "wrong certificate",
        "eth-ipv6-broken": "gave up after 1.5 s",
    }
    assert scenes["eth-ipv6-broken"]["controls"]["asyncio + RFC 8305"]["error"] is None
    assert "won by wifi" in done.stderr  # each with its waterfall


@pytest.mark.lab
def test_ctrl_c_ends_the_demo_quietly() -> None:
    with subprocess.Popen(
        [*PROGRAM, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stderr is not None
        while "2/5" not in process.stderr.readline():
            pass
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "")
    assert "Traceback" not in errors
    assert "pvdrace:" not in errors


def test_ctrl_c_shows_where_a_race_hung() -> None:
    """Who interrupts a race wants to see it: the timeline so far is on stdout, and the code is 130."""
    with build("all-dead") as lab:
        process = lab.popen(
            [*PROGRAM, "connect", "www.example.test", "443"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "AAAA" in output
    assert "Traceback" not in errors
