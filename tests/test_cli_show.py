"""``pvdrace show``, and the pictures that ``connect`` draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli_program import in_the_lab, pvdrace_program
from loopback import Server
from pictured import RACES, troubled
from pvdrace.cli.app import app
from pvdrace.race.report import RaceReport

DRAWN = {
    "html": RaceReport.to_html,
    "svg": RaceReport.to_svg,
    "perfetto": RaceReport.to_perfetto,
    "sqlog": RaceReport.to_sqlog,
}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "report.json"
    file.write_text(troubled().to_json(), "utf-8")
    return file


def run(*arguments: str | Path, input: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], input=input)


def test_a_report_is_shown_as_connect_shows_it(kept: Path) -> None:
    result = run("show", kept)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("www.example.test:443 over TLS  won by wifi in 313 ms\n")
    assert "vpn      left out: prohibited by pvd:vpn (call)" in result.stdout


def test_a_report_that_was_lost_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(RACES["lost"].to_json(), "utf-8")
    assert run("show", file).exit_code == 0


def test_every_picture_into_its_file(kept: Path, tmp_path: Path) -> None:
    options = [part for name in DRAWN for part in (f"--{name}", str(tmp_path / name))]
    result = run("show", kept, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("www.example.test:443")  # the waterfall is printed besides
    for name, draw in DRAWN.items():
        assert (tmp_path / name).read_bytes().decode() == draw(troubled())


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_to_stdout_is_all_that_is_there(kept: Path, name: str) -> None:
    result = run("show", kept, f"--{name}", "-")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout_bytes.decode() == DRAWN[name](troubled())


def test_a_report_from_stdin(kept: Path) -> None:
    result = run("show", "-", "--svg", "-", input=kept.read_bytes())
    assert result.stdout.startswith("<svg ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{}/report.json", "--html", "-", "--svg", "-"], "stdout takes one of these: --html -, --svg -"),
        (["{}/report.json", "--html", "{}/none/x"], "--html {}/none/x: there is no such directory"),
        (["{}/report.json", "--sqlog", "{}"], "--sqlog {}: is a directory"),
        (["{}/none.json"], "{}/none.json: No such file or directory"),
        (["{}"], "{}: Is a directory"),
        (["{}/broken"], "{}/broken: report: not JSON: Expecting value: line 1 column 1 (char 0)"),
        (["{}/other"], "{}/other: report.schema: 'x/1' is not 'pvdrace.report/1'"),
    ],
)
def test_usage_errors(kept: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "broken").write_text("<html>", "utf-8")
    (tmp_path / "other").write_text(json.dumps({"schema": "x/1"}), "utf-8")
    result = run("show", *(one.format(tmp_path) for one in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said.format(tmp_path) in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_cannot_be_written_loses_nothing_else(kept: Path, tmp_path: Path) -> None:
    result = run("show", kept, "--html", "/dev/full", "--svg", tmp_path / "race.svg")
    assert result.exit_code == 1
    assert result.stderr == "pvdrace: --html /dev/full: No space left on device\n"
    assert result.stdout.startswith("www.example.test:443")
    assert (tmp_path / "race.svg").read_text("utf-8") == troubled().to_svg()


# ---------------------------------------------------------------------- connect


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("127.0.0.1")
    yield made
    made.close()


def test_connect_draws_what_it_has_just_run(server: Server, tmp_path: Path) -> None:
    page, trace = tmp_path / "race.html", tmp_path / "race.json"
    done = pvdrace_program(
        "connect", "127.0.0.1", str(server.port), "--html", str(page), "--perfetto", str(trace), "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = RaceReport.from_json(done.stdout)
    assert page.read_text("utf-8") == report.to_html()
    assert trace.read_text("utf-8") == report.to_perfetto()


def test_a_race_that_is_lost_is_drawn_too(tmp_path: Path) -> None:
    server = Server("127.0.0.1")
    server.close()
    page = tmp_path / "race.html"
    done = pvdrace_program("connect", "127.0.0.1", str(server.port), "--html", str(page))
    assert done.returncode == 4
    assert "refused" in page.read_text("utf-8")
    assert "lost after" in done.stdout


def test_a_picture_that_cannot_be_written_hides_no_failure() -> None:
    server = Server("127.0.0.1")
    server.close()
    done = pvdrace_program("connect", "127.0.0.1", str(server.port), "--svg", "/dev/full")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 2


def test_connect_has_one_stdout(tmp_path: Path) -> None:
    """And says so before it races."""
    result = run("connect", "192.0.2.1", "80", "--json", "--html", "-")
    assert result.exit_code == 2
    assert "stdout takes one of these: --json, --html -" in result.stderr


@pytest.mark.lab
def test_connect_draws_in_the_lab() -> None:
    done = in_the_lab("eth-blackhole", "connect", "www.example.test", "443", "--tls", "--svg", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<svg ") and done.stdout.endswith("</svg>\n")
    assert "won by wifi" in done.stdout
