"""What `logging` gets of a race; and what no sink may pass on."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from pvdrace.policy import Policy
from pvdrace.race.report import RaceReport
from pvdrace.redaction import redact
from pvdrace.telemetry.log_lines import LoggingSink
from pvdrace.testing.scenario import blackhole, impostor, ok, pvd, refused, scenario
from telling_reports import SECRETS, with_secrets

RACE = scenario(
    eth=pvd(v6=blackhole, v4=refused(10)),
    wifi=pvd(v6=impostor(10, 20), v4=ok(30)),
    lte=pvd(v4=ok(1)),
    policy=Policy(prohibit=["pvd:lte"]),
)
LINES = """\
DEBUG www.example.com:443: 1. eth at once: metric 100
DEBUG www.example.com:443: 2. wifi +250 ms: metric 200
DEBUG www.example.com:443: lte left out: prohibited by pvd:lte (call)
DEBUG www.example.com:443: 0.0 ms eth ? AAAA
DEBUG www.example.com:443: 0.0 ms eth ? A
DEBUG www.example.com:443: 20.0 ms eth AAAA 2001:db8:99::1
DEBUG www.example.com:443: 20.0 ms eth A 198.51.100.1
DEBUG www.example.com:443: 20.0 ms eth -> 2001:db8:99::1
DEBUG www.example.com:443: 200.0 ms wifi ? AAAA
DEBUG www.example.com:443: 200.0 ms wifi ? A
DEBUG www.example.com:443: 220.0 ms wifi AAAA 2001:db8:99::1
DEBUG www.example.com:443: 220.0 ms wifi A 198.51.100.1
DEBUG www.example.com:443: 250.0 ms wifi -> 2001:db8:99::1
DEBUG www.example.com:443: 260.0 ms wifi connected 2001:db8:99::1
DEBUG www.example.com:443: 270.0 ms eth -> 198.51.100.1
DEBUG www.example.com:443: 280.0 ms wifi x 2001:db8:99::1 wrong certificate
DEBUG www.example.com:443: 280.0 ms eth x 198.51.100.1 refused
DEBUG www.example.com:443: 280.0 ms wifi -> 198.51.100.1
DEBUG www.example.com:443: 310.0 ms wifi won 198.51.100.1
DEBUG www.example.com:443: 310.0 ms eth cancelled 2001:db8:99::1
INFO www.example.com:443: won by wifi 198.51.100.1 in 310 ms, eth v6 another won, wifi v6 wrong certificate, \
eth v4 refused, lte skipped (prohibited by pvd:lte (call))"""


def logged(report: RaceReport, caplog: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> list[str]:
    with caplog.at_level(level, "pvdrace"):
        LoggingSink()(report)
    lines = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    caplog.clear()
    return lines


def test_a_line_an_event_and_one_for_the_outcome(caplog: pytest.LogCaptureFixture) -> None:
    assert "\n".join(logged(RACE.report, caplog)) == LINES


def test_at_info_there_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(RACE.report, caplog, logging.INFO) == LINES.splitlines()[-1:]
    assert logged(RACE.report, caplog, logging.WARNING) == []


def test_what_is_not_asked_for_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RaceReport, "summary", lambda _: pytest.fail("was made"))
    logger = logging.getLogger("pvdrace.test")
    logger.setLevel(logging.WARNING)
    LoggingSink(logger)(RACE.report)
    LoggingSink("pvdrace.test")(RACE.report)


@pytest.mark.parametrize(
    ("report", "end"),
    [
        (scenario(eth=pvd(v4=refused(5))).report, "eth v4 refused; lost after 25 ms: all attempts failed"),
        (replace(RACE.report, result=None, ended=None), "; cancelled after 310 ms"),
    ],
)
def test_a_race_without_a_winner_says_so(
    report: RaceReport, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert logged(report, caplog)[-1].endswith(end)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("refused", "refused"),
        ("a?b=c, x@y", "a?b=c, x@y"),
        ("http://192.0.2.1:3128", "http://192.0.2.1:3128"),
        ("http://user:secret@192.0.2.1:3128", "http://***@192.0.2.1:3128"),
        ("socks5://token@[2001:db8::1]:1080/", "socks5://***@[2001:db8::1]:1080/"),
        ("http://user:pa?ss/w#rd@192.0.2.1:80", "http://***@192.0.2.1:80"),
        ("behind a captive portal (http://192.0.2.1/in?mac=1&t=2)", "behind a captive portal (http://192.0.2.1/in?***)"),
        ("https://a.example/b#token, then more", "https://a.example/b#***, then more"),
        ("https://h/?next=http://u:p@h2/?x", "https://h/?***"),
        ("two: http://a:b@c/ https://d?e", "two: http://***@c/ https://d?***"),
        ("a\nb\x1b[2J", "a b [2J"),
        ("x" * 501, "x" * 497 + "..."),
    ],
)  # fmt: skip
def test_no_secret_and_no_query_is_passed_on(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_the_lines_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    text = "\n".join(logged(with_secrets(), caplog))
    assert "https://api.example/x?***" in text
    assert "http://192.0.2.1/in?***" in text
    assert [secret for secret in SECRETS if secret in text] == []
