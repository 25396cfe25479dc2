"""``pvdrace top``: what it shows in a terminal and in a pipe, how it ends, and that it is true."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli_program import PROGRAM, environment, pvdrace_program
from pvdrace.cli.app import app
from pvdrace.cli.top_rows import (
    NOBODY,
    as_json,
    headers,
    narrow_headers,
    narrow_row_of,
    picture_of,
    row_of,
    summary,
)
from pvdrace.lab.scenarios import build
from pvdrace.model import Cost, CostClass, Reachability
from pvdrace.telemetry.counting import PvdCounts, Told
from pvdrace.telemetry.overview import Look, Overview, Volume
from pvdrace.testing.scenario import build_pvds, pvd
from terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pvdrace.lab import Lab

TOP = [*PROGRAM, "top"]
PVDS = build_pvds({"eth": pvd(), "lte": pvd(cost="variable"), "tun0": pvd(unusable="link down")})
ETH = replace(PVDS["eth"], cost=Cost(CostClass.UNMETERED), reachability=Reachability.VALIDATED)
LOOK = Look(
    1_800_000_000.0,
    [
        Overview(
            "eth",
            ETH,
            1,
            ("unmetered", "metric 100"),
            0.0312,
            PvdCounts(41, 63, 40, 3, 20),
            Volume(3, 12_345_678, 34_567, 1234.0, 0.0),
        ),
        Overview("lte", PVDS["lte"], 2, ("cost: variable",), None, PvdCounts(1, 1, 1), Volume(0, 999, 10)),
        Overview("tun0", PVDS["tun0"], None, ("link down",), None, PvdCounts(), Volume()),
        Overview("old", None, None, ("gone",), None, PvdCounts(2, 2, 2), Volume()),
    ],
    [Told(12, 1, 5.0, last=7.0, won=43, lost=1), Told(13, 1, 6.0, cancelled=1)],
)


def shown(width: int, *, latency: bool) -> list[str]:
    """The lines of the picture on a terminal of this width."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(picture_of(LOOK, latency, width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_on_eighty_columns_what_belongs_to_a_pvd_stands_below_its_name() -> None:
    assert shown(80, latency=False) == [
        "pvd        rank               races  tries  won  failed  open        in    out",
        "eth        1. unmetered          41     63   40       3     3     12 MB  35 kB",
        "validated  metric 100                                          1.2 kB/s",
        "unmetered",
        "lte        2. cost: variable      1      1    1                   999 B   10 B",
        "variable",
        "tun0",
        "link down",
        "old        gone                   2      2    2",
        "",
        "2 processes tell of 45 races: 43 won, 1 lost, 1 cancelled; q quits",
    ]


@pytest.mark.parametrize(
    ("width", "latency"), [(80, True), (120, False), (120, True), (200, True), (60, False)]
)
def test_a_line_is_never_wider_than_the_terminal(width: int, latency: bool) -> None:
    lines = shown(width, latency=latency)
    assert max(map(len, lines)) <= width
    assert any("31 ms" in line for line in lines) is latency
    assert any("reaches" in line for line in lines) is (width >= 118)


def test_on_a_wide_terminal_a_pvd_is_a_line_but_for_its_reasons() -> None:
    lines = shown(130, latency=False)
    assert lines[0].split() == [*headers(False)]
    numbers = "41 63 40 3 3 12 MB 35 kB 1.2 kB/s"
    assert " ".join(lines[1].split()) == f"eth validated 1 unmetered unmetered {numbers}"
    assert lines[2].split() == ["metric", "100"]


def test_rows_have_a_cell_for_each_header() -> None:
    for latency in (False, True):
        for row in LOOK.rows:
            assert len(row_of(row, latency)) == len(headers(latency))
            assert len(narrow_row_of(row, latency)) == len(narrow_headers(latency))


def test_the_line_below() -> None:
    assert summary(LOOK._replace(tolds=[])) == NOBODY
    assert summary(LOOK._replace(trouble="nothing")).endswith("1 cancelled; nothing")
    assert summary(LOOK._replace(tolds=LOOK.tolds[1:])) == (
        "1 process tells of 1 races: 0 won, 0 lost, 1 cancelled"
    )


def test_json() -> None:
    value = as_json(LOOK, 10.0)
    assert value["schema"] == "pvdrace.top/1"
    assert value["trouble"] is None
    assert value["processes"] == [
        {"pid": 12, "since": 5.0, "last": 7.0, "won": 43, "lost": 1, "cancelled": 0},
        {"pid": 13, "since": 6.0, "last": None, "won": 0, "lost": 0, "cancelled": 1},
    ]
    eth = value["pvds"][0]
    assert eth.pop("pvd")["name"] == "eth"
    assert eth == {
        "name": "eth",
        "rank": 1,
        "because": ["unmetered", "metric 100"],
        "latency": 0.0312,
        "races": 41,
        "attempts": 63,
        "won": 40,
        "failed": 3,
        "cancelled": 20,
        "open": 3,
        "received": 12_345_678,
        "sent": 34_567,
        "receiving": 1234.0,
        "sending": 0.0,
    }
    assert value["pvds"][3]["pvd"] is None


def test_the_keys_are_documented() -> None:
    from test_cli_watch import table_with
    from test_docs import DOCS, code

    keys = list(as_json(LOOK, 0.0))
    assert [code(row[0]) for row in table_with(DOCS / "top.md", "key of `pvdrace.top/1`")] == keys
    keys = list(as_json(LOOK, 0.0)["pvds"][0])
    assert [code(row[0]) for row in table_with(DOCS / "top.md", "key of `pvds`")] == keys
    keys = list(as_json(LOOK, 0.0)["processes"][0])
    assert [code(row[0]) for row in table_with(DOCS / "top.md", "key of `processes`")] == keys


# ---------------------------------------------------------------------- how it ends


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Nothing of this host is in it, and nobody tells."""
    config = tmp_path / "pvdrace.toml"
    config.write_text('discover = []\n[[pvd]]\nname = "home"\ninterface = "nosuch0"\n', "utf-8")
    return ["--config", str(config), "--live", str(tmp_path / "live"), "--interval", "0.2"]


def is_drawn(lines: list[str]) -> bool:
    return any(line.startswith("home") for line in lines) and any("no process" in line for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_q_ends_it(options: list[str], width: int) -> None:
    with Terminal([*TOP, *options], width=width) as terminal:
        terminal.until(is_drawn)
        assert not terminal.alternate
        terminal.press("x")
        terminal.press("q")
        lines = terminal.until_it_says("; line = 0;")
        assert "[code 0]" in lines
        assert is_sane(terminal, lines)
        assert sum(line.startswith("pvd ") for line in lines) == 1, "\n".join(lines)


def is_sane(terminal: Terminal, lines: list[str]) -> bool:
    """The keys echo again, and lines are read as lines."""
    text = " ".join(lines)
    return terminal.shows_a_cursor and " echo " in text and " icanon " in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_leaves_a_sane_terminal(options: list[str], number: int, code: int) -> None:
    with Terminal([*TOP, *options]) as terminal:
        terminal.until(is_drawn)
        os.kill(terminal.pid, number)
        lines = terminal.until_it_says("; line = 0;")
        assert f"[code {code}]" in lines, "\n".join(lines)
        assert is_sane(terminal, lines)


def test_ctrl_c_ends_it(options: list[str]) -> None:
    with Terminal([*TOP, *options], NO_COLOR="1") as terminal:
        terminal.until(is_drawn)
        assert "\x1b[" not in terminal.colours()
        terminal.press("C-c")
        lines = terminal.until_it_says("; line = 0;")
        assert "[code 130]" in lines
        assert is_sane(terminal, lines)


def test_a_dumb_terminal_gets_lines(options: list[str]) -> None:
    with Terminal([*TOP, *options, "--count", "3"], width=120, TERM="dumb") as terminal:
        lines = terminal.until_it_says("[code 0]")
        assert sum("home" in line for line in lines) == 3
        assert sum("RACES" in line for line in lines) == 1
        assert "\x1b[" not in terminal.colours()


def test_in_a_pipe_a_line_for_each_pvd_and_look(options: list[str]) -> None:
    done = pvdrace_program("top", *options, "--count", "3")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split()[:5] == ["TIME", "PVD", "REACHES", "RANK", "BECAUSE"]
    assert len(rows) == 3
    assert all(re.match(r"\d\d:\d\d:\d\d  home  no such interface", row) for row in rows), rows


def test_json_in_a_pipe_is_an_object_a_line_at_once(options: list[str]) -> None:
    command = [*TOP, *options, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        times = [json.loads(process.stdout.readline())["time"] for _ in range(2)]
        process.stdout.close()
        assert process.wait(timeout=30) == 1
    assert 0.1 < times[1] - times[0] < 30


def test_where_the_kernel_tells_of_no_sockets_all_else_is_shown(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pids: object) -> None:
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr("pvdrace.cli.looker.tcp_sockets_of", refuse)
    result = CliRunner().invoke(app, ["top", *options, "--count", "1", "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    value = json.loads(result.stdout)
    assert value["trouble"] == "the kernel does not tell of connections: No such file or directory"
    assert [row["name"] for row in value["pvds"]] == ["home"]


@pytest.mark.parametrize("wrong", [["--interval", "0"], ["--count", "0"], ["--sort", "size"]])
def test_an_option_that_makes_no_sense_is_a_usage_error(options: list[str], wrong: list[str]) -> None:
    done = pvdrace_program("top", *options, *wrong)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# ---------------------------------------------------------------------- that it is true

BUSY = """
import os, sys, anyio, pvdrace
from pvdrace.telemetry.live import LiveSink

async def main():
    hooks = [LiveSink(sys.argv[1])]
    async with pvdrace.Connector(os.environ["PVDRACE_CONFIG"], hooks=hooks, history=sys.argv[2]) as connector:
        policy = pvdrace.Policy(require=["pvd:eth"])
        over_tls = await connector.open_connection("www.example.test", 443, tls=True, policy=policy)
        await over_tls.aclose()
        for name in ("eth", "eth", "wifi"):
            policy = pvdrace.Policy(require=[f"pvd:{name}"])
            held = await connector.open_connection("www.example.test", 80, policy=policy)
            kept.append(held)
            await held.send(b"GET / HTTP/1.1\\r\\nHost: www.example.test\\r\\n\\r\\n")
            received = await held.receive()
            print(name, len(received), flush=True)
        try:
            await connector.open_connection("www.example.test", 9, policy=policy, timeout=5)
        except OSError:
            pass
        print("ready", flush=True)
    if sys.argv[3:]:
        await anyio.to_thread.run_sync(sys.stdin.read)

kept = []
anyio.run(main)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with build("good") as running:
        yield running


@pytest.mark.lab
def test_what_it_says_is_what_happened_and_it_sends_nothing(lab: Lab, tmp_path: Path) -> None:
    """The counters of two processes, and the kernel's of their connections; then one of them is gone."""
    live, history = str(tmp_path / "live"), str(tmp_path / "history.db")
    busy = [sys.executable, "-c", BUSY, live, history]
    top = [*TOP, "--live", live, "--history", history, "--json", "--count", "1"]
    with lab.popen([*busy, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            received = dict.fromkeys(("eth", "wifi"), 0)
            for line in iter(process.stdout.readline, "ready\n"):
                name, number = line.split()
                received[name] += int(number)
            before = {link.name: link.counters() for link in lab}
            look = json.loads(lab.run(top, check=True).stdout)
            after = {link.name: link.counters() for link in lab}
        finally:
            process.kill()
    assert {n: (c.syn, c.dns) for n, c in after.items()} == {n: (c.syn, c.dns) for n, c in before.items()}
    (one,) = look["processes"]
    assert (one["won"], one["lost"], one["cancelled"]) == (4, 1, 0)
    rows = {row["name"]: row for row in look["pvds"]}
    assert [row["name"] for row in look["pvds"]] == ["eth", "wifi", "lte"]
    assert rows["eth"]["rank"] == 1
    assert {name: row["open"] for name, row in rows.items()} == {"eth": 2, "wifi": 1, "lte": 0}
    request = len("GET / HTTP/1.1\r\nHost: www.example.test\r\n\r\n")
    assert [rows[name]["sent"] for name in ("eth", "wifi")] == [2 * request, request]
    assert [rows[name]["received"] >= received[name] > 0 for name in ("eth", "wifi")] == [True, True]
    assert (rows["eth"]["races"], rows["eth"]["won"], rows["eth"]["failed"]) == (3, 3, 0)
    assert (rows["wifi"]["races"], rows["wifi"]["won"]) == (2, 1)
    assert rows["wifi"]["failed"] >= 1
    assert 0 < rows["eth"]["latency"] < 5  # what history has learnt, by now
    assert rows["lte"]["latency"] is None
    gone = json.loads(lab.run(top, check=True).stdout)
    assert gone["processes"] == []
    assert all(row["races"] == row["open"] == 0 for row in gone["pvds"])


@pytest.mark.lab
def test_a_proxy_that_the_environment_asks_tells(lab: Lab, tmp_path: Path) -> None:
    live = str(tmp_path / "live")
    proxy = [*PROGRAM, "proxy", "--listen", "127.0.0.1:19081"]
    top = [*TOP, "--live", live, "--json", "--count", "1"]
    env = environment(PVDRACE_LIVE=live) | {"PVDRACE_CONFIG": "", "PATH": os.environ["PATH"]}
    config = tmp_path / "pvdrace.toml"
    config.write_text(lab.config(), "utf-8")
    env["PVDRACE_CONFIG"] = str(config)
    with lab.popen(proxy, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        try:
            process.stderr.readline()
            curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", "socks5h://127.0.0.1:19081"]
            assert lab.run([*curl, f"http://{lab.name}/"], check=True).stdout == "200"
            look = json.loads(lab.run(top, check=True).stdout)
        finally:
            process.terminate()
            process.wait(30)
    assert [told["won"] for told in look["processes"]] == [1]
    assert next(row for row in look["pvds"] if row["name"] == "eth")["won"] == 1
    assert os.listdir(live) == []  # it goes with its process
