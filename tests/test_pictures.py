"""What the page and the drawing of a race are made of: structure, geometry, words; and what never gets in."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import telling_reports
from pictured import HOSTILE, RACES, hostile, troubled, with_secrets
from pvdrace.pictures.clean import clean
from pvdrace.pictures.colours import BARS, DARK, LIGHT, TEXT
from pvdrace.pictures.markup import Markup, tag
from pvdrace.pictures.page import STEPS
from pvdrace.pictures.scale import SHORTEST, labels, ticks
from pvdrace.pictures.words import columns, cut, cut_middle
from pvdrace.race.lanes import timeline
from pvdrace.race.report import RaceReport

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta"}
every_race = pytest.mark.parametrize("report", RACES.values(), ids=RACES)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, *tags: str) -> list[Element]:
        own = [self] if self.tag in tags or not tags else []
        return own + [found for child in self.children for found in child.all(*tags)]

    def words(self) -> str:
        """All text in it, in no particular order."""
        return " ".join([self.text, *(child.words() for child in self.children)])

    def classed(self, name: str) -> list[Element]:
        return [e for e in self.all() if name in (e.attributes.get("class") or "").split()]


class Tree(HTMLParser):
    """A parser for pages that close what they open, and that complains of others."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root], f"never closed: {[e.tag for e in self.open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice: {attrs}"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def parsed(report: RaceReport) -> Element:
    return Tree(report.to_html()).root


# ---------------------------------------------------------------------- the page


@every_race
def test_the_page_is_one_file_that_loads_and_runs_nothing(report: RaceReport) -> None:
    page = parsed(report)
    assert report.to_html().startswith('<!doctype html>\n<html lang="en">')
    assert not page.all("script", "link", "img", "iframe", "object", "embed", "base", "form", "foreignobject")
    for element in page.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on"), name
            assert name not in ("style", "src", "srcset", "xlink:href", "action"), name
            assert name != "href" or value == "#order"
    (style,) = page.all("style")
    assert "@import" not in style.text
    assert set(re.findall(r"url\(([^)]*)\)", style.text)) <= {"#pvdrace-stripes"}
    (policy,) = [
        e.attributes["content"] or ""
        for e in page.all("meta")
        if e.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")


@every_race
def test_the_page_has_a_structure_to_find_ones_way_by(report: RaceReport) -> None:
    page = parsed(report)
    assert [len(page.all(name)) for name in ("h1", "main", "header", "footer", "title")] == [1] * 5
    (title,) = page.all("h1")
    assert title.words().split() == f"{report.endpoint}{' over TLS' * (report.ready == 'tls')}".split()
    ids = [e.attributes["id"] for e in page.all() if "id" in e.attributes]
    assert len(set(ids)) == len(ids)
    for element in page.all():
        for name in ("aria-labelledby", "href"):
            if (target := element.attributes.get(name)) is not None:
                assert {part.removeprefix("#") for part in target.split()} <= set(ids)
    for section in page.all("section"):
        assert section.attributes["aria-labelledby"]
        assert section.children[0].tag == "h2"
    for table in page.all("table"):
        assert table.all("caption")[0].words().strip()
        head = table.all("thead")[0].all("th")
        assert [th.attributes["scope"] for th in head] == ["col"] * len(head)
        for row in table.all("tbody")[0].all("tr"):
            assert [th.attributes["scope"] for th in row.all("th")] == ["row"]
            assert len(row.children) == len(head)
    for row in page.classed("row"):
        assert (row.attributes["role"], row.attributes["tabindex"]) == ("img", "0")
        assert row.attributes["aria-label"]


@every_race
def test_a_lane_for_each_pvd_and_a_row_for_each_thing(report: RaceReport) -> None:
    page, drawn = parsed(report), timeline(report)
    assert [h3.words().strip() for h3 in page.all("h3")] == [lane.pvd for lane in drawn.lanes]
    rows = [row for lane in drawn.lanes for row in lane.rows]
    assert len(page.classed("row")) == len(rows)
    bars = [bar for row in rows for bar in row.bars]
    tracks = [e for row in page.classed("row") for e in row.classed("bar")]
    assert [e.attributes["class"] for e in tracks] == [f"bar {bar.kind}" for bar in bars]
    for e, bar in zip(tracks, bars, strict=True):
        x, width = (float((e.attributes[name] or "").removesuffix("%")) for name in ("x", "width"))
        assert x == pytest.approx(bar.start / max(drawn.until, SHORTEST) * 95, abs=0.01)
        assert width > 0 and x + width <= 100
    assert len(page.classed("yes")) == (report.outcome == "won")
    steps = page.all("table")[1].all("tbody")[0].all("tr") if len(page.all("table")) > 1 else []
    assert len(steps) == len([row for row in rows if row.state != "idle"])


@every_race
def test_every_reason_is_there_on_hover_and_in_the_table(report: RaceReport) -> None:
    page = parsed(report)
    tips = [tip.words() for tip in page.classed("tip")]
    table = page.all("table")[0].all("tbody")[0].all("tr")
    words = {" ".join(row.children[0].words().split()): row.words() for row in table}
    assert len(table) == len(timeline(report).lanes) + len(report.ranking.excluded)
    for ranked in report.ranking.excluded:
        assert ranked.excluded is not None
        assert any(ranked.pvd.name in tip and ranked.excluded.text in tip for tip in tips)
        assert ranked.excluded.text in words[ranked.pvd.name]
        assert ranked.excluded.rule in words[ranked.pvd.name]
    for place, lane in enumerate(timeline(report).lanes, 1):
        for rule, text in lane.because:
            assert any(lane.pvd in tip and text in tip for tip in tips)
            assert text in words[f"{place}. {lane.pvd}"] and rule in words[f"{place}. {lane.pvd}"]
    for attempt in report.attempts:
        if attempt.outcome == "failed":
            assert any(attempt.remote in tip and (attempt.error or "") in tip for tip in tips)


@every_race
def test_the_story_is_there_word_by_word(report: RaceReport) -> None:
    (pre,) = parsed(report).all("pre")
    assert pre.text.strip("\n") == str(report).strip("\n")


def test_the_wait_for_ones_turn_is_drawn_up_to_the_first_action() -> None:
    lanes = parsed(RACES["won"]).classed("lane")
    waits = [[e.attributes["x2"] for e in lane.classed("wait")] for lane in lanes]
    until = RACES["won"].elapsed
    assert waits == [[], [f"{0.2 / until * 95:.3f}%"], ["95%"]]  # lookups have 50 ms of the 250 to themselves
    assert "after a head start of 250 ms" in lanes[1].classed("tip")[0].words()
    assert "began at 200 ms" in lanes[1].classed("tip")[0].words()


# ---------------------------------------------------------------------- the drawing


@every_race
@pytest.mark.parametrize("width", [480, 960, 1600])
def test_the_drawing_is_xml_that_stands_alone(report: RaceReport, width: int) -> None:
    root = ET.fromstring(report.to_svg(width=width))
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    assert [root.find(f"{SVG}{name}") is not None for name in ("title", "desc")] == [True, True]
    known = {
        "svg",
        "title",
        "desc",
        "style",
        "defs",
        "pattern",
        "clipPath",
        "g",
        "rect",
        "line",
        "path",
        "text",
    }
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= known
    height = float(root.get("height", "0"))
    assert root.get("viewBox") == f"0 0 {width} {height:g}"
    for rect in root.iterfind(f".//{SVG}rect[@class]"):
        if rect.get("class") == "stripes":
            continue  # of the pattern
        x, y = float(rect.get("x", "0")), float(rect.get("y", "0"))
        assert 0 <= x <= x + float(rect.get("width", "0")) <= width
        assert 0 <= y <= y + float(rect.get("height", "0")) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.get("x", "-1")) <= width and 0 < float(text.get("y", "-1")) <= height


@every_race
def test_the_bars_of_the_drawing_are_to_scale(report: RaceReport) -> None:
    root, drawn = ET.fromstring(report.to_svg()), timeline(report)
    rects = [e for e in root.iter(f"{SVG}rect") if "bar" in e.get("class", "").split()]
    bars = [bar for lane in drawn.lanes for row in lane.rows for bar in row.bars]
    rects = rects[: len(bars)]  # the legend's come last
    assert [rect.get("class") for rect in rects] == [f"bar {bar.kind}" for bar in bars]
    places = {bar.start: float(rect.get("x", "")) for bar, rect in zip(bars, rects, strict=True)}
    first, last = min(places, default=0), max(places, default=0)
    if last > first:
        scale = (places[last] - places[first]) / (last - first)
        for start, x in places.items():
            assert x == pytest.approx(places[first] + (start - first) * scale, abs=0.01)


def test_what_has_no_room_in_the_drawing_is_in_its_titles() -> None:
    long = "a-provider-with-a-name-that-no-column-has-room-for " * 3
    root = ET.fromstring(hostile(long).to_svg())
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert sum(long in title for title in titles) >= 4
    assert all(columns(text.text or "") < 150 for text in root.iter(f"{SVG}text"))


def test_the_scheme_of_a_drawing() -> None:
    report = RACES["won"]
    assert "prefers-color-scheme" in report.to_svg()
    for scheme, there, away in (("light", LIGHT, DARK), ("dark", DARK, LIGHT)):
        drawn = report.to_svg(scheme=scheme)  # type: ignore[arg-type]
        assert "prefers-color-scheme" not in drawn
        assert there["ink"] in drawn and away["ink"] not in drawn
    with pytest.raises(ValueError, match="scheme: 'blue' is not one of auto, light, dark"):
        report.to_svg(scheme="blue")  # type: ignore[arg-type]
    for width in (479, 4001):
        with pytest.raises(ValueError, match=f"width: {width} is not from 480 to 4000 pixels"):
            report.to_svg(width=width)


# ---------------------------------------------------------------------- what never gets in

PICTURES: dict[str, Callable[[RaceReport], str]] = {
    "html": RaceReport.to_html,
    "svg": RaceReport.to_svg,
    "perfetto": RaceReport.to_perfetto,
    "sqlog": RaceReport.to_sqlog,
}


def outline(element: Element) -> list[tuple[str, tuple[str, ...]]]:
    return [(e.tag, tuple(e.attributes)) for e in element.all()]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_words_from_outside_change_no_structure(text: str) -> None:
    check_harmless(text)


@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=60))
@settings(max_examples=30)
def test_no_word_at_all_changes_the_structure(text: str) -> None:
    check_harmless(text)


def check_harmless(text: str) -> None:
    if any(word in text for word in ("won", "failed", "cancelled", "answered")) or text.isspace():
        return  # said once, not twice: that is no matter of markup
    report = hostile(text)
    page = parsed(report)
    assert outline(page) == outline(parsed(hostile("harmless")))
    said = [h3.words().strip() for h3 in page.all("h3")]
    assert said == ["eth", clean(text).strip(), "lte"]
    known = {e.tag for e in ET.fromstring(hostile("harmless").to_svg()).iter()}
    assert {e.tag for e in ET.fromstring(report.to_svg()).iter()} == known
    for draw in PICTURES.values():
        drawn = draw(report)
        drawn.encode()
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b\x85\u2028]", drawn)


@pytest.mark.parametrize("name", PICTURES)
def test_no_password_and_no_query_string_is_drawn(name: str) -> None:
    report = with_secrets()
    assert report.to_json().count("s3cret") >= 6
    drawn = PICTURES[name](report)
    assert "s3cret" not in drawn and "alice" not in drawn
    assert "10.0.0.1:3128" in drawn and "portal.example/in?" in drawn


@pytest.mark.parametrize("name", PICTURES)
def test_no_secret_is_drawn_wherever_it_stands(name: str) -> None:
    drawn = PICTURES[name](telling_reports.with_secrets())
    assert [secret for secret in telling_reports.SECRETS if secret in drawn] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("refused", "refused"),
        ("http://10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("socks5://[2001:db8::1]:1080/", "socks5://[2001:db8::1]:1080/"),
        ("http://user:pass@10.0.0.1:3128/", "http://***@10.0.0.1:3128/"),
        ("via http://token@[2001:db8::1]:1 and", "via http://***@[2001:db8::1]:1 and"),
        ("http://us@er:pa@ss@proxy:80", "http://***@proxy:80"),
        ("http://user:pa/ss@proxy:80/x", "http://***@proxy:80/x"),
        ("http://user:pa?ss@proxy:80", "http://***@proxy:80"),
        ("http://user:p'{a}|ss@proxy:80", "http://***@proxy:80"),
        ("http://host/path?q=1", "http://host/path?***"),
        ("http://host/path#part?x", "http://host/path#***"),
        ("http://host?mail=a@b", "http://***@b"),
        ('said "http://u:p@h/?q" twice', 'said "http://***@h/?***" twice'),
        ("'http://u:p@h/?q' is no URL", "'http://***@h/?***' is no URL"),
        ("user:pass@10.0.0.1 refused", "***@10.0.0.1 refused"),
        ("(user:pass@[::1]:80)", "(***@[::1]:80)"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("ask admin@example.com", "ask admin@example.com"),
        ("a\tb\x1b[1m\u202e", "a\\tb\\x1b[1m\\u202e"),
        ("\ud800", "\\ud800"),
        ("Zürich 東京", "Zürich 東京"),
    ],
)
def test_what_is_left_of_a_text(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert clean(shown) == shown


@pytest.mark.parametrize(
    "piece", ["http://", "a:b@", "x:", "?", "@", '"', "://", "aaaa", "a+a.", "((", "\x00"]
)
def test_a_long_text_is_read_once(piece: str) -> None:
    """No quadratic search: a hundred thousand characters would take minutes."""
    assert clean(piece * (200_000 // len(piece)))


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("b", "<&>\"'", title='"<&') == '<b title="&quot;&lt;&amp;">&lt;&amp;&gt;"\'</b>'
    assert tag("p", tag("i", "x"), None, Markup("&lt;"), class_="a", hidden=True, lang=None) == (
        '<p class="a" hidden><i>x</i>&lt;</p>'
    )
    assert tag("line", x1=0.1 + 0.2, x2=3) == '<line x1="0.3" x2="3"></line>'


# ---------------------------------------------------------------------- scale, colours, room


@given(st.floats(0, 100_000), st.integers(1, 20))
def test_ticks_are_round_few_and_within(until: float, most: int) -> None:
    until = max(until, SHORTEST)
    times = ticks(until, most)
    assert times[0] == 0 and times == sorted(set(times))
    assert len(times) <= most + 1 and times[-1] <= until * 1.000001
    texts = labels(times, until)
    assert len(set(texts)) == len(texts) and texts[-1].endswith(("ms", " s"))


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (1e-4, ["0", "0.02", "0.04", "0.06", "0.08", "0.1 ms"]),
        (0.001, ["0", "0.2", "0.4", "0.6", "0.8", "1 ms"]),
        (0.313, ["0", "50", "100", "150", "200", "250", "300 ms"]),
        (1.9, ["0", "250", "500", "750", "1000", "1250", "1500", "1750 ms"]),
        (60.0, ["0", "10", "20", "30", "40", "50", "60 s"]),
        (61.0, ["0", "10", "20", "30", "40", "50", "60 s"]),
    ],
)
def test_the_scale_of_short_and_long_races(until: float, expected: list[str]) -> None:
    assert labels(ticks(until, STEPS), until) == expected


@every_race
def test_the_scale_has_its_zero_and_its_unit_on_a_phone_too(report: RaceReport) -> None:
    for axis in parsed(report).classed("axis"):
        shown = [text.words() for text in axis.all("text")]
        phone = [text.words() for text in axis.all("text") if text not in axis.classed("minor")]
        for texts in (shown, phone):
            assert texts[0] == "0" and all(text.endswith((" ms", " s")) for text in texts[1:])
        assert 2 <= len(phone) <= 5


@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_the_contrast_of_every_colour(scheme: str, palette: dict[str, str]) -> None:
    """WCAG 2.2: 4.5 to 1 for text (1.4.3), 3 to 1 for bars (1.4.11), on every ground there is."""
    for ground in ("ground", "panel", "glow"):
        for names, least in ((TEXT, 4.5), (BARS, 3.0)):
            for name in names:
                assert contrast(palette[name], palette[ground]) >= least, (scheme, name, ground)
    assert set(LIGHT) == set(DARK)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@given(st.text(max_size=50), st.integers(2, 40))
def test_what_is_cut_fits(text: str, width: int) -> None:
    for short in (cut(text, width), cut_middle(text, width)):
        assert columns(short) <= width
        assert short == text or "…" in short


def test_an_address_keeps_both_its_ends() -> None:
    assert cut_middle("2001:db8:1234:5678:9abc:def0:1234:5678", 15) == "2001:db…34:5678"


def test_a_picture_is_the_same_every_time() -> None:
    for draw in PICTURES.values():
        assert draw(troubled()) == draw(RaceReport.from_json(troubled().to_json()))
