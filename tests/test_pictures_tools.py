"""What is written for other tools: Chrome's trace events, and qlog."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pictured import HOSTILE, RACES, hostile, with_secrets
from pvdrace.race import qlog
from pvdrace.race.lanes import timeline
from pvdrace.race.report import RaceReport
from pvdrace.testing.scenario import pvd, scenario, silent

every_race = pytest.mark.parametrize("report", RACES.values(), ids=RACES)
QLOG = Path(__file__).parents[1] / "docs" / "qlog.md"

# ---------------------------------------------------------------------- Chrome's trace events


def trace(report: RaceReport) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(report.to_perfetto())
    return value


@every_race
def test_every_event_of_a_trace_is_one(report: RaceReport) -> None:
    """The fields that each phase has to have (Trace Event Format, "Event Descriptions")."""
    value = trace(report)
    assert value["displayTimeUnit"] == "ms"
    before, described = 0, True
    for event in value["traceEvents"]:
        assert event["pid"] == 1 and type(event["tid"]) is int and event["tid"] > 0
        assert event["name"] and isinstance(event["args"], dict)
        if event["ph"] == "M":
            assert described, "names come first"
            names = ("process_name", "process_labels", "thread_name", "thread_sort_index")
            assert event["name"] in names
            continue
        described = False
        assert event["ph"] in ("X", "i") and event["cat"]
        assert type(event["ts"]) is int and event["ts"] >= before, "in order of time"
        before = event["ts"]
        if event["ph"] == "X":
            assert type(event["dur"]) is int and event["dur"] >= 0
        else:
            assert event["s"] == "t" and "dur" not in event


@every_race
def test_on_a_thread_one_thing_comes_after_the_other(report: RaceReport) -> None:
    """Viewers take what begins inside another slice for a part of it: only the parts of attempts are that."""
    threads: dict[int, list[tuple[int, int]]] = defaultdict(list)
    parts: list[tuple[int, int, int]] = []
    for event in trace(report)["traceEvents"]:
        if event["ph"] == "X":
            start, end = event["ts"], event["ts"] + event["dur"]
            if event["cat"] in ("handshake", "ready"):
                parts.append((event["tid"], start, end))
            else:
                threads[event["tid"]].append((start, end))
    for slices in threads.values():
        for (_, over), (start, _) in pairwise(slices):
            assert over <= start
    for thread, start, end in parts:
        assert any(begun <= start and end <= over for begun, over in threads[thread])
    bars = [bar for lane in timeline(report).lanes for row in lane.rows for bar in row.bars]
    assert len(parts) == len([bar for bar in bars if bar.kind != "lookup"])


@every_race
def test_a_thread_for_each_pvd_and_a_slice_for_each_record(report: RaceReport) -> None:
    events = trace(report)["traceEvents"]
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(threads) == {e["tid"] for e in events}
    pvds = {re.sub(r" \(\d+\)$", "", name) for tid, name in threads.items() if tid != 1}
    assert pvds == {lane.pvd for lane in timeline(report).lanes}
    found = sorted((e["cat"], e["ts"]) for e in events if e.get("cat") in ("lookup", "attempt"))
    found += [("outcome", e["ts"]) for e in events if e["name"] == "won"]
    begun = [("lookup", lookup.started) for lookup in report.lookups]
    begun += [("attempt", attempt.started) for attempt in report.attempts]
    expected = sorted((kind, round(at * 1e6)) for kind, at in begun)
    if report.winner is not None:
        assert report.winner.ended is not None
        expected.append(("outcome", round(report.winner.ended * 1e6)))
    assert found == expected


def test_a_trace_says_who_was_left_out_and_why() -> None:
    value = trace(RACES["won"])
    (event,) = [e for e in value["traceEvents"] if e["name"] == "vpn left out"]
    assert event["args"] == {"reason": "prohibited by pvd:vpn (call)", "rule": "prohibit"}
    (failed,) = [e for e in value["traceEvents"] if e["name"] == "attempt to 198.51.100.1"]
    assert failed["args"]["outcome"] == "failed"
    assert failed["args"]["reason"] == "failed: wrong certificate"


# ---------------------------------------------------------------------- qlog


def records(report: RaceReport) -> list[dict[str, Any]]:
    """The records of a JSON text sequence (RFC 7464 s2.1)."""
    text = report.to_sqlog()
    assert text[0] == "\x1e" and text[-1] == "\n"
    parts = text[1:].split("\x1e")
    assert all(part.endswith("}\n") and part.count("\n") == 1 for part in parts)
    return [json.loads(part) for part in parts]


@every_race
def test_the_head_of_a_sqlog(report: RaceReport) -> None:
    head = records(report)[0]
    start = report.to_sqlog().encode()[:256].decode()
    assert '"file_schema": "urn:ietf:params:qlog:file:sequential"' in start
    assert '"serialization_format": "application/qlog+json-seq"' in start
    assert set(head) == {"file_schema", "serialization_format", "title", "trace"}
    assert head["trace"]["vantage_point"]["type"] == "client"
    assert head["trace"]["event_schemas"] == [qlog.SCHEMA]
    common = head["trace"]["common_fields"]
    assert common["time_format"] == "relative_to_epoch"
    assert common["reference_time"] == {"clock_type": "monotonic", "epoch": "unknown"}


def test_the_uri_of_the_schema_is_what_the_draft_asks_for() -> None:
    """Section 7.1: absolute, with the namespace in it, and none of those that RFCs define."""
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\?=pvdrace", qlog.SCHEMA)
    assert qlog.NAMESPACE in qlog.SCHEMA


@every_race
def test_the_events_of_a_sqlog_are_the_report(report: RaceReport) -> None:
    _, *events = records(report)
    assert all(set(event) == {"time", "name", "data"} for event in events)
    times = [event["time"] for event in events]
    assert times == sorted(times) and times[0] == 0
    assert all(key == key.lower() for event in events for key in event["data"])
    names = [event["name"] for event in events]
    assert (names[0], names[-1]) == ("pvdrace:race_started", "pvdrace:race_ended")
    assert len(events) == len(report.log) + 2
    assert events[-1]["time"] == pytest.approx(report.elapsed * 1000)
    assert events[-1]["data"]["outcome"] == report.outcome
    for kind, all_ in (("lookup", report.lookups), ("attempt", report.attempts)):
        begun = [event for event in events if event["name"] == f"pvdrace:{kind}_started"]
        assert [event["time"] for event in begun] == pytest.approx([r.started * 1000 for r in all_])
        fates: dict[int, str] = {}
        for event in events:
            if event["name"].startswith(f"pvdrace:{kind}_"):
                fates[event["data"]["id"]] = event["name"].rpartition("_")[2]
        words = {"started": "pending", "connected": "pending"}
        assert [words.get(fates[event["data"]["id"]], fates[event["data"]["id"]]) for event in begun] == [
            record.outcome for record in all_
        ]


def test_an_event_that_was_on_its_way_comes_after_the_end() -> None:
    """The core takes late events, and logs them."""
    report = RACES["won"]
    late = [(at + 1.0 if n == len(report.log) - 1 else at, e) for n, (at, e) in enumerate(report.log)]
    times = [e["time"] for e in records(replace(report, log=late))[1:]]
    assert times == sorted(times)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_word_breaks_a_record(text: str) -> None:
    assert len(records(hostile(text))) == len(records(hostile("harmless")))
    assert len(trace(hostile(text))["traceEvents"]) == len(trace(hostile("harmless"))["traceEvents"])


# ---------------------------------------------------------------------- the documentation


def tables(heading: str) -> list[list[str]]:
    section = QLOG.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_event_and_every_key_is_documented() -> None:
    documented = {
        row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in tables("The event schema")
    }
    more = [with_secrets(), scenario(eth=pvd(dns=silent), timeout=12.0).report]
    seen: dict[str, set[str]] = defaultdict(set)
    ranked: set[str] = set()
    for report in (*RACES.values(), *more, *map(with_round_trips, RACES.values())):
        for event in records(report)[1:]:
            seen[event["name"].removeprefix("pvdrace:")] |= set(event["data"])
            for entry in event["data"].get("ranking", ()):
                ranked |= set(entry)
    assert seen == documented
    keys = {key for row in tables("Keys") for key in re.findall(r"`(\w+)`", row[0])}
    assert keys == ranked.union(*documented.values())
    (ranking,) = [row[1] for row in tables("Keys") if row[0] == "`ranking`"]
    assert set(re.findall(r"`(\w+)`", ranking)) == ranked
    assert f"`{qlog.SCHEMA}`" in QLOG.read_text("utf-8")
    assert {row[1] for row in tables("The event schema")} == {"Core", "Base", "Extra"}


def with_round_trips(report: RaceReport) -> RaceReport:
    """With what only real sockets say: round trips, our address, who answered."""
    value = report.to_dict()
    for _, kind, entry in value["log"]:
        if kind in ("Connected", "Ready"):
            entry["rtt"] = 0.01
        if kind == "Ready":
            entry["local"] = "192.0.2.1"
        if kind in ("LookupAnswered", "LookupFailed"):
            entry["server"] = "192.0.2.53"
    return RaceReport.from_json(json.dumps(value))


def test_the_reader_of_the_qlog_page() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", QLOG.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"report": RACES["won"]}
    exec(compile(block, "qlog.md", "exec"), names)
    assert [names["head"], *names["events"]] == records(RACES["won"])
