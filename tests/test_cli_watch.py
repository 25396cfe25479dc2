"""``pvdrace list --watch`` where people look at it: in a terminal, in a pipe; and how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from cli_program import PROGRAM, environment
from pvdrace.cli.staying import Picture
from pvdrace.lab.scenarios import build
from terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pvdrace.lab import Lab

WATCH = [*PROGRAM, "list", "--watch"]
CONFIG = """
discover = []
[[pvd]]
name = "home"
interface = "nosuch0"
addresses = ["192.0.2.2"]
resolvers = ["192.0.2.1"]
cost = "unmetered"
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """One PvD, of which nothing changes: what is looked at is the program, not the host."""
    path = tmp_path / "pvdrace.toml"
    path.write_text(CONFIG, "utf-8")
    return str(path)


def is_drawn(lines: list[str]) -> bool:
    return any(line.startswith("home ") for line in lines)


def frame(config: str, width: int) -> list[str]:
    """What a terminal of this width shows from the start."""
    with Terminal([*WATCH, "--config", config], width=width) as terminal:
        return terminal.until(is_drawn)


def test_the_table_is_drawn_in_place_in_every_width(config: str) -> None:
    frames = {width: frame(config, width) for width in (60, 80, 120, 140)}
    assert [len(re.split(" {2,}", lines[0].strip())) for lines in frames.values()] == [5, 5, 5, 9]
    with Terminal([*WATCH, "--config", config], width=80) as terminal:
        terminal.until(is_drawn)
        for width in (60, 120, 140, 80, 60, 140):
            terminal.resize(width)
            lines = terminal.until(partial(ends_with, frames[width]))
            assert sum(line.startswith("pvd ") for line in lines) == 1, "\n".join(lines)
        assert not terminal.alternate
        terminal.press("C-c")
        lines = terminal.until_it_says("[code 130]")
        assert lines[: len(frames[140])] == frames[140]  # the last picture stays
        assert "^C" not in "".join(lines).partition("[code")[0]
        assert terminal.shows_a_cursor


def ends_with(expected: list[str], lines: list[str]) -> bool:
    return lines[-len(expected) :] == expected


def test_a_picture_is_at_most_a_screenful_and_takes_the_place_of_the_last() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=20, height=5, force_terminal=True, color_system=None)
    picture = Picture(console)
    picture.draw("one\ntwo   ")
    assert screen.getvalue() == "\r\x1b[J\x1b[2Kone\n\x1b[2Ktwo\n\x1b[J"
    screen.truncate(0)
    screen.seek(0)
    picture.draw("\n".join("abcdefgh"))
    assert screen.getvalue() == ("\x1b[2A\r\x1b[2Ka\n\x1b[2Kb\n\x1b[2Kc\n\x1b[2K(5 more lines)\n\x1b[J")


def test_what_a_narrower_terminal_has_wrapped_is_erased_with_the_rest() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=20, height=30, force_terminal=True, color_system=None)
    picture = Picture(console)
    picture.draw(f"{'x' * 19}\nshort")
    console.width = 8
    screen.truncate(0)
    screen.seek(0)
    picture.draw("new")
    assert screen.getvalue() == "\x1b[4A\r\x1b[J\x1b[2Knew\n\x1b[J"  # three rows of x, one more


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_it_and_leaves_a_sane_terminal(config: str, number: int, code: int) -> None:
    with Terminal([*WATCH, "--config", config]) as terminal:
        terminal.until(is_drawn)
        os.kill(terminal.pid, number)
        lines = terminal.until_it_says("; line = 0;")
        assert f"[code {code}]" in lines, "\n".join(lines)
        assert is_drawn(lines)
        assert terminal.shows_a_cursor
        assert " echo " in " ".join(lines)
        assert " icanon " in " ".join(lines)


def test_without_colours_it_is_drawn_without_them(config: str) -> None:
    with Terminal([*WATCH, "--config", config], NO_COLOR="1") as terminal:
        terminal.until(is_drawn)
        assert "\x1b[" not in terminal.colours()
    with Terminal([*WATCH, "--config", config]) as terminal:
        terminal.until(is_drawn)
        assert "\x1b[" in terminal.colours()


def test_a_dumb_terminal_gets_lines(config: str) -> None:
    with Terminal([*WATCH, "--config", config], TERM="dumb") as terminal:
        terminal.until(is_drawn)
        assert "\x1b[" not in terminal.colours()
        terminal.press("C-c")
        terminal.until_it_says("[code 130]")


# ---------------------------------------------------------------------- pipes


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_pipe_a_signal_ends_it_quietly(config: str, options: list[str], number: int) -> None:
    with watching(["--config", config, *options]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() != ""
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (130 if number == signal.SIGINT else -signal.SIGTERM, "")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_ends_it_also_while_nothing_happens(config: str, options: list[str]) -> None:
    with watching(["--config", config, *options]) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() != ""
        process.stdout.close()
        assert process.wait(timeout=30) == 1
        assert process.stderr.read() == ""


def test_into_a_file_it_goes_on(config: str, tmp_path: Path) -> None:
    """There nobody can tell whether it is read."""
    path = tmp_path / "out"
    with path.open("w") as file:
        process = subprocess.Popen([*WATCH, "--config", config], stdout=file, env=environment())
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.5)
        assert "home" in path.read_text("utf-8")
    finally:
        process.kill()
        process.wait()


def watching(options: list[str], **popen: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*WATCH, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **popen,
    )


# ---------------------------------------------------------------------- the lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with build("good") as running:
        yield running


@pytest.mark.lab
def test_a_link_that_goes_down_is_one_line_at_once_and_no_packet(lab: Lab) -> None:
    before = {link.name: link.counters().packets for link in lab}
    with lab.popen(WATCH, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            table = [process.stdout.readline().split()[0] for _ in range(4)]
            assert table == ["PVD", "eth", "wifi", "lte"]
            lab["wifi"].link_down()
            words = process.stdout.readline().split()
            assert words[1:4] == ["changed", "wifi", "state"]
            assert "usable -> link down" in " ".join(words)
        finally:
            process.kill()
            lab["wifi"].heal()
    sent = {link.name: link.counters().packets - before[link.name] for link in lab if link.name != "wifi"}
    assert sent == {"eth": 0, "lte": 0}


@pytest.mark.lab
def test_json_is_an_object_a_line_with_what_differs(lab: Lab) -> None:
    with lab.popen([*WATCH, "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            present = [json.loads(process.stdout.readline()) for _ in lab]
            assert [(each["change"], each["pvd"]["name"]) for each in present] == [
                ("present", "eth"),
                ("present", "wifi"),
                ("present", "lte"),
            ]
            lab["lte"].link_down()
            change = json.loads(process.stdout.readline())
            assert (change["schema"], change["change"]) == ("pvdrace.change/1", "changed")
            assert {"usable", "unusable"} <= set(change["differs"])
            assert (change["pvd"]["name"], change["pvd"]["unusable"]) == ("lte", "link down")
        finally:
            process.kill()
            lab["lte"].heal()


def test_the_keys_are_documented(config: str) -> None:
    from test_docs import CLI, code

    with watching(["--config", config, "--json"]) as process:
        assert process.stdout is not None
        keys = list(json.loads(process.stdout.readline()))
        process.kill()
    documented = [code(row[0]) for row in table_with(CLI, "key of `pvdrace.change/1`")]
    assert [key for key in documented if key != "differs"] == keys


def table_with(path: Path, head: str) -> list[list[str]]:
    """The rows of the table whose first column has this head."""
    lines = path.read_text("utf-8").splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(f"| {head} |")) + 2
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows
