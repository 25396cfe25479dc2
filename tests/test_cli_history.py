"""``pvdrace history``: shown, as a table and as JSON, and cleared."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pvdrace.cli.app import app
from pvdrace.cli.history import ago, default_file
from pvdrace.history.facts import Fact
from pvdrace.history_file import HistoryFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "history.db"
    now = time.time()
    known = ("wifi", "prefix 2001:db8:1::/64", "www.example.com", 443)
    HistoryFile(path).write(
        [
            Fact(*known, "ready:tls", 0.048, 0.010, 0.0, now - 30),
            Fact(*known, "rate", 2.0, 1.0, 0.0, now - 30),
            Fact(*known, "hole:6", 2.0, 20.0, now + 100, now - 20),
            Fact(*known, "won:0", 0.0, 0.0, 0.0, now - 30),
            Fact(*known, "won:4", 0.0, 0.0, 0.0, now - 30),
            Fact("lte", "router 02:00:00:00:00:01", "", 0, "dns", 0.020, 0.010, 0.0, now - 7200),
            Fact("lte", "router 02:00:00:00:00:01", "", 22, "ready:tcp", 0.3, 0.1, 1.0, now - 7200),
        ],
        0.0,
    )
    return path


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["history", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_json_has_all_that_is_known_of_each_pvd_host_and_port(path: Path) -> None:
    code, out, _ = invoke("--file", str(path), "--json")
    shown = json.loads(out)
    assert (code, shown["schema"], shown["file"]) == (0, "pvdrace.history/1", str(path))
    lte, port_22, wifi = shown["known"]
    assert (lte["pvd"], lte["host"], lte["port"], lte["dns"]) == ("lte", None, None, 0.02)
    assert port_22["ready"]["tcp"]["at_least"] is True
    assert wifi["ready"] == {"tls": {"usually": 0.048, "probably_by": 0.088, "at_least": False}}
    assert wifi["failures"]["ipv6"]["count"] == 2
    assert 90 < wifi["failures"]["ipv6"]["blocked_for"] <= 100
    assert 0 < wifi["errors"] < 1
    assert 30 <= wifi["success"] < 60
    assert 20 <= wifi["age"] < 50


def test_a_table_has_a_line_for_each(path: Path) -> None:
    code, out, _ = invoke("show", "--file", str(path))
    header, lte, port_22, wifi = out.splitlines()
    assert code == 0
    assert header.split()[:4] == ["PVD", "NETWORK", "HOST", "PORT"]
    assert "any" in lte
    assert "2 h ago" in lte
    assert "tcp at least 300 ms" in port_22
    for text in ("wifi", "prefix 2001:db8:1::/64", "www.example.com", "443", "tls 48 ms", "ipv6 2x blocked"):
        assert text in wifi


def test_one_pvd_alone(path: Path) -> None:
    _, out, _ = invoke("show", "wifi", "--file", str(path), "--json")
    assert {place["pvd"] for place in json.loads(out)["known"]} == {"wifi"}


def test_clear_forgets_one_or_all(path: Path) -> None:
    assert invoke("clear", "lte", "--file", str(path)) == (0, "2 cleared\n", "")
    code, out, _ = invoke("clear", "--file", str(path), "--json")
    assert (code, json.loads(out)["cleared"]) == (0, 5)
    code, out, err = invoke("--file", str(path))
    assert (code, out) == (0, "")
    assert "nothing is known" in err


@pytest.mark.parametrize("action", ["show", "clear"])
def test_where_there_is_no_file_none_is_made(tmp_path: Path, action: str) -> None:
    code, _, _ = invoke(action, "--file", str(tmp_path / "none.db"))
    assert code == 0
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    code, out, err = invoke("--file", str(tmp_path))
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert str(tmp_path) in err


@pytest.mark.parametrize("action", ["show", "clear"])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, action: str) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes")
    code, out, err = invoke(action, "--file", str(notes))
    assert (code, out, err) == (1, "", f"pvdrace: {notes} is not a history of pvdrace\n")
    assert [(path, path.read_text()) for path in tmp_path.iterdir()] == [(notes, "my notes")]


def test_an_unknown_action_is_a_usage_error() -> None:
    code, _, err = invoke("burn")
    assert code == 2
    assert "burn" in err


def test_the_file_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PVDRACE_HISTORY", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_file() == "~/.local/state/pvdrace/history.db"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_file() == "/state/pvdrace/history.db"
    monkeypatch.setenv("PVDRACE_HISTORY", "/somewhere.db")
    assert default_file() == "/somewhere.db"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (59, "59 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (1e6, "12 d ago")],
)
def test_ages(seconds: float, words: str) -> None:
    assert ago(seconds) == words
