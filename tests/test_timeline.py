"""What a race looks like: golden pictures on virtual time, and what holds for every picture."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pvdrace.pictures.timeline import say_seconds
from pvdrace.pictures.waterfall import ASCII, UNICODE, glyphs_for, plain, waterfall
from pvdrace.policy import Policy
from pvdrace.race.lanes import timeline
from pvdrace.race.report import RaceReport
from pvdrace.telemetry.terminal import STYLES, LiveRace, console_for, draw
from pvdrace.testing.scenario import blackhole, impostor, nodata, ok, pvd, refused, scenario, servfail, silent

if TYPE_CHECKING:
    from pvdrace.pictures.timeline import Row, Timeline

HOST = "www.example.test"


def troubled() -> RaceReport:
    """Everything at once: a black hole, a wrong certificate, a winner, one in reserve, one prohibited."""
    race = scenario(
        HOST,
        eth=pvd(dns=11, v6=blackhole, v4=impostor(11, 13)),
        wifi=pvd(dns=31, v6=ok(31, tls=32), v4=refused(30)),
        lte=pvd(dns=60, v6=ok(60), cost="variable"),
        vpn=pvd(dns=40, v4=ok(3)),
        policy=Policy(prohibit=["pvd:vpn"], capacity_profile="capacity-seeking"),
    )
    return replace(race.report, ready="tls")


def in_progress(now: float) -> RaceReport:
    """The same race as it was so many seconds after its start."""
    whole = troubled()
    return replace(whole, log=[entry for entry in whole.log if entry[0] <= now], result=None, ended=None)


def rows(drawn: Timeline, name: str) -> dict[str, Row]:
    return {row.label: row for lane in drawn.lanes if lane.pvd == name for row in lane.rows}


# ---------------------------------------------------------------------- golden pictures


def test_a_won_race_at_80_columns() -> None:
    expected = """\
www.example.test:443 over TLS  won by wifi in 313 ms

                         0       100      200      300 ms
eth      AAAA            ─       ┊        ┊        ┊    11 ms  1 address
         A               ─       ┊        ┊        ┊    11 ms  1 address
         2001:db8:99::1   ━━━━━━━━━━━━━━━━━━━━━━━━━╸   302 ms  cancelled
         198.51.100.1            ┊        ┊    ╺■■✗┊    24 ms  wrong certificate
wifi     AAAA                    ┊        ╶──      ┊    31 ms  1 address
+250 ms  A                       ┊        ╶──      ┊    31 ms  1 address
         2001:db8:99::1          ┊        ┊   ╺━━■■■✓   63 ms  won
lte                              ┊        ┊        ┊           not needed
reserve                          ┊        ┊        ┊

vpn      left out: prohibited by pvd:vpn (call)

order  eth (cost unknown, metric 100), wifi (cost unknown, metric 200),
       lte (cost variable)

── lookup   ━━ TCP   ■■ TLS"""
    assert plain(waterfall(timeline(troubled()), 80)) == expected


def test_a_won_race_at_120_columns_without_footnotes() -> None:
    expected = """\
www.example.test:443 over TLS  won by wifi in 313 ms

                         0         50         100        150        200       250        300 ms
eth      AAAA            ──╴       ┊          ┊          ┊          ┊         ┊          ┊      11 ms  1 address
         A               ──╴       ┊          ┊          ┊          ┊         ┊          ┊      11 ms  1 address
         2001:db8:99::1    ╺━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸   302 ms  cancelled
         198.51.100.1              ┊          ┊          ┊          ┊         ┊  ━━■■■✗  ┊      24 ms  wrong certificate
wifi     AAAA                      ┊          ┊          ┊          ──────╴   ┊          ┊      31 ms  1 address
+250 ms  A                         ┊          ┊          ┊          ──────╴   ┊          ┊      31 ms  1 address
         2001:db8:99::1            ┊          ┊          ┊          ┊         ╺━━━━━━■■■■■■■✓   63 ms  won
lte                                ┊          ┊          ┊          ┊         ┊          ┊             not needed
reserve                            ┊          ┊          ┊          ┊         ┊          ┊

vpn      left out: prohibited by pvd:vpn (call)"""  # noqa: E501
    assert plain(waterfall(timeline(troubled()), 120, footnotes=False)) == expected


def test_a_won_race_in_ascii() -> None:
    expected = """\
www.example.test:443 over TLS  won by wifi in 313 ms

                         0       100      200      300 ms
eth      AAAA            -       :        :        :    11 ms  1 address
         A               -       :        :        :    11 ms  1 address
         2001:db8:99::1   ==========================   302 ms  cancelled
         198.51.100.1            :        :    =##x:    24 ms  wrong certificate
wifi     AAAA                    :        ---      :    31 ms  1 address
+250 ms  A                       :        ---      :    31 ms  1 address
         2001:db8:99::1          :        :   ===###*   63 ms  won
lte                              :        :        :           not needed
reserve                          :        :        :

vpn      left out: prohibited by pvd:vpn (call)

order  eth (cost unknown, metric 100), wifi (cost unknown, metric 200),
       lte (cost variable)

-- lookup   == TCP   ## TLS"""
    assert plain(waterfall(timeline(troubled()), 80, ASCII)) == expected


def test_a_race_in_progress() -> None:
    """290 ms after the start: what is pending grows to the present, the scale ends at a round time."""
    expected = """\
www.example.test:443 over TLS  racing, 290 ms

                         0        100      200 ms
eth      AAAA            ─        ┊        ┊            11 ms  1 address
         A               ─        ┊        ┊            11 ms  1 address
         2001:db8:99::1   ━━━━━━━━━━━━━━━━━━━━━━━━━▸   279 ms  connecting
         198.51.100.1             ┊        ┊    ╺━━▸    29 ms  connecting
wifi     AAAA                     ┊        ───          31 ms  1 address
+250 ms  A                        ┊        ───          31 ms  1 address
         2001:db8:99::1           ┊        ┊   ╺━━━▸    40 ms  connecting
lte                               ┊        ┊                   if all else fails
reserve                           ┊        ┊

vpn      left out: prohibited by pvd:vpn (call)"""
    assert plain(waterfall(timeline(in_progress(0.270), 0.290), 80, footnotes=False)) == expected


def test_a_lost_race() -> None:
    race = scenario(HOST, eth=pvd(dns=11, v4=refused(4)), wifi=pvd(aaaa=nodata(3), a=servfail(3)))
    expected = """\
www.example.test:443  lost after 18 ms: all attempts failed

                       0         5         10        15 ms
eth      AAAA          ──────────────────────        ┊         11 ms  no address
         A             ──────────────────────        ┊         11 ms  1 address
         198.51.100.1            ┊         ┊ ━━━━━━━━✗        4.0 ms  refused
wifi     AAAA                    ┊         ┊         ─────╴   3.0 ms  no address
+250 ms  A                       ┊         ┊         ─────╴✗  3.0 ms  SERVFAIL"""
    assert plain(waterfall(timeline(race.report), 80, footnotes=False)) == expected


def test_nobody_to_run() -> None:
    race = scenario(HOST, eth=pvd(unusable="no address"))
    expected = """\
www.example.test:443  lost: no usable provisioning domain

eth  left out: no address"""
    assert plain(waterfall(timeline(race.report), 80)) == expected


# ---------------------------------------------------------------------- rows


def test_the_bars_are_the_report() -> None:
    """A row's bars are the record's own times: lookup; handshake, then TLS without a gap."""
    report = troubled()
    drawn = timeline(report)
    winner = report.winner
    assert winner is not None
    handshake, after = rows(drawn, "wifi")[winner.remote].bars
    assert (handshake.kind, handshake.start, handshake.end) == ("handshake", winner.started, winner.connected)
    assert (after.kind, after.start, after.end) == ("ready", winner.connected, winner.ended)
    (lookup,) = rows(drawn, "eth")["AAAA"].bars
    assert (lookup.kind, lookup.start) == ("lookup", 0.0)
    assert lookup.end == pytest.approx(0.011)
    assert drawn.until == report.elapsed


def test_without_tls_the_winner_is_one_bar() -> None:
    drawn = timeline(scenario(HOST, eth=pvd(v4=ok(10))).report)
    assert [bar.kind for bar in rows(drawn, "eth")["198.51.100.1"].bars] == ["handshake"]
    assert "TLS" not in plain(waterfall(drawn))


@pytest.mark.parametrize(
    ("race", "lane", "label", "state", "note"),
    [
        (scenario(HOST, eth=pvd(v4=refused(4))), "eth", "198.51.100.1", "failed", "refused"),
        (scenario(HOST, eth=pvd(a=servfail(4))), "eth", "A", "failed", "SERVFAIL"),
        (scenario(HOST, eth=pvd(v4=refused(4))), "eth", "AAAA", "answered", "no address"),
        (scenario(HOST, eth=pvd(v4=[ok(4), ok(4)])), "eth", "A", "answered", "2 addresses"),
        (
            scenario(HOST, eth=pvd(v4=blackhole), timeout=0.5),
            "eth",
            "198.51.100.1",
            "failed",
            "timeout 0.5 s",
        ),
        (scenario(HOST, eth=pvd(v4=ok(4)), lte=pvd(v4=ok(4))), "lte", "", "idle", "not needed"),
        (
            scenario(HOST, eth=pvd(v4=blackhole), lte=pvd(v4=ok(4)), timeout=0.1),
            "lte",
            "",
            "idle",
            "not tried",
        ),
        (
            scenario(HOST, a=pvd(dns=silent), b=pvd(v6=ok(4)), withdraw={"a": 100}),
            "a",
            "AAAA",
            "cancelled",
            "link removed",
        ),
    ],
)
def test_what_came_of_it(race: object, lane: str, label: str, state: str, note: str) -> None:
    row = rows(timeline(race.report), lane)[label]  # type: ignore[attr-defined]
    assert (row.state, row.note) == (state, note)


def test_a_pvd_that_joins_and_one_that_goes_in_mid_race() -> None:
    race = scenario(
        HOST,
        eth=pvd(dns=10, v6=blackhole),
        add={"wifi": (120, pvd(dns=20, v6=ok(30)))},
        withdraw={"eth": 100},
        lan=pvd(dns=silent, cost="unmetered"),
    )
    drawn = timeline(race.report)
    assert [lane.pvd for lane in drawn.lanes] == ["lan", "eth", "wifi"]
    assert drawn.lanes[1].rows[-1].note == "gone at 100 ms: link removed"
    assert drawn.lanes[2].rows[0].note == "came up at 120 ms"
    assert drawn.lanes[2].won


def test_the_wait_of_those_that_have_not_begun() -> None:
    drawn = timeline(in_progress(0.1), 0.15)
    assert {lane.pvd: lane.rows[0].note for lane in drawn.lanes if lane.pvd != "eth"} == {
        "wifi": "from 250 ms on",
        "lte": "if all else fails",
    }
    assert {lane.pvd: lane.delay for lane in drawn.lanes} == {"eth": "", "wifi": "+250 ms", "lte": "reserve"}


def test_a_race_that_its_caller_ended() -> None:
    drawn = timeline(in_progress(0.27))
    assert drawn.state == "cancelled"
    assert {row.state for lane in drawn.lanes for row in lane.rows} <= {"answered", "cancelled", "idle"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.0084, "8.4 ms"),
        (0.00996, "10 ms"),
        (0.346, "346 ms"),
        (0.9996, "1.00 s"),
        (2.05, "2.05 s"),
        (9.996, "10.0 s"),
        (133.6, "133.6 s"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert say_seconds(seconds) == text


# ---------------------------------------------------------------------- every picture

fates = st.one_of(
    st.just(blackhole),
    st.integers(1, 3000).map(ok),
    st.integers(1, 3000).map(refused),
    st.builds(impostor, st.integers(1, 900), st.integers(0, 900)),
    st.builds(ok, st.integers(1, 900), st.integers(0, 900)),
)
replies = st.one_of(
    st.just(silent), st.integers(0, 4000), st.integers(0, 500).map(servfail), st.integers(0, 500).map(nodata)
)
scripts = st.builds(
    pvd,
    aaaa=replies,
    a=replies,
    v6=st.lists(fates, max_size=3),
    v4=st.lists(fates, max_size=3),
    cost=st.sampled_from(["unmetered", "variable", "unknown"]),
    unusable=st.sampled_from([None, None, "no route beyond the link, and a long word about that"]),
)
names = st.sampled_from(["eth", "wifi", "a-name-that-goes-on-and-on-and-on"])


@given(st.dictionaries(names, scripts, min_size=1), st.integers(0, 200), st.floats(0, 5), st.booleans())
def test_no_line_is_wider_than_the_terminal(
    pvds: dict[str, object], width: int, now: float, ascii_only: bool
) -> None:
    """Whatever happens and at every moment of it, lines fit, and ASCII is ASCII."""
    whole = scenario(HOST, timeout=5.0, **pvds).report  # type: ignore[arg-type]
    partial = replace(whole, log=[e for e in whole.log if e[0] <= now], result=None, ended=None)
    for drawn in (timeline(whole), timeline(partial, now)):
        text = plain(waterfall(drawn, width, ASCII if ascii_only else UNICODE))
        assert max(map(len, text.splitlines())) <= max(width, 50)
        assert not ascii_only or text.isascii()
        for lane in drawn.lanes:
            assert lane.pvd[:5] in text


def test_longer_takes_more_columns() -> None:
    """A bar's length is its share of the race: 50 ms of 200 ms are a quarter of the columns."""
    race = scenario(HOST, eth=pvd(dns=50, v4=ok(150)))
    lines = plain(waterfall(timeline(race.report), 100, footnotes=False)).splitlines()
    lookup = next(line for line in lines if " A " in line).count("─")
    attempt = next(line for line in lines if " 198" in line).count("━")
    assert attempt == pytest.approx(3 * lookup, abs=3)
    assert lookup > 10


# ---------------------------------------------------------------------- on a terminal


def console(width: int = 80, **options: object) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, highlight=False, **options)  # type: ignore[arg-type]


def printed(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def test_colours_change_nothing_but_the_colours() -> None:
    coloured, colourless = console(color_system="standard"), console(color_system=None)
    for each in (coloured, colourless):
        each.print(draw(troubled(), each))
    assert "\x1b[" in printed(coloured)
    assert "\x1b" not in printed(colourless)
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed(coloured)) == printed(colourless)
    assert printed(colourless).rstrip() == plain(waterfall(timeline(troubled()), 80))


def test_every_style_has_a_colour_scheme() -> None:
    used = {
        piece.style
        for report, now in ((troubled(), None), (in_progress(0.27), 0.29), (in_progress(0.27), None))
        for line in waterfall(timeline(report, now))
        for piece in line
        if piece.style
    }
    assert used <= STYLES.keys()
    assert {"won", "failed", "pending", "lookup", "handshake", "ready", "cancelled"} <= used


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [
        ("utf-8", UNICODE),
        ("UTF8", UNICODE),
        ("ascii", ASCII),
        ("latin-1", ASCII),
        (None, ASCII),
        ("x", ASCII),
    ],
)
def test_glyphs_are_those_that_the_encoding_has(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs


def test_no_colour_where_the_user_or_a_pipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console_for(Tty()).color_system is not None
    assert console_for(io.StringIO()).color_system is None
    monkeypatch.setenv("NO_COLOR", "")  # https://no-color.org: "when present and not an empty string"
    assert console_for(Tty()).color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert console_for(Tty()).color_system is None


@pytest.mark.anyio
async def test_the_live_view_shows_a_race_and_leaves_nothing() -> None:
    from pvdrace.race.race import Race

    on = console()
    report = troubled()
    race = Race(report.endpoint, report.ranking)
    live = LiveRace(on, "tls")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live.show)
        live.observe(race)
        race.start(anyio.current_time())
        with anyio.fail_after(20):
            while "racing" not in printed(on):  # noqa: ASYNC110 (a file has no event to wait for)
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert "www.example.test:443 over TLS" in printed(on)
    assert printed(on).count("\x1b[2K") >= len(printed(on).split("racing")[1].splitlines()) - 1  # erased
    assert race.outcome is None


@pytest.mark.anyio
async def test_the_live_view_is_silent_in_a_pipe() -> None:
    on = Console(file=io.StringIO())
    live = LiveRace(on, "tcp")
    with anyio.fail_after(5):
        await live.show()
    assert printed(on) == ""
