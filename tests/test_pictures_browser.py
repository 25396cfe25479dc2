"""The page and the drawing in headless Chromium: by day and by night, on a desk, on a phone, on paper, aloud.

It runs in a namespace where nothing is but the loopback: a page that loaded anything would say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, browser
from namespaces import network_namespace
from pictured import HOSTILE, RACES, hostile
from pvdrace.pictures.colours import DARK, LIGHT
from pvdrace.race.lanes import timeline
from pvdrace.race.report import RaceReport

pytestmark = pytest.mark.lab
WIDTHS = (320, 360, 767, 770, 1023, 1025, 1280)  # on both sides of where the layout changes
DESK, PHONE = (1280, 800), (360, 740)
GROUNDS = {"light": LIGHT["ground"], "dark": DARK["ground"]}


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with network_namespace(), browser() as running:
        yield running


def page_of(report: RaceReport, tmp_path: Path, suffix: str = "html") -> Path:
    file = tmp_path / f"race.{suffix}"
    file.write_text(report.to_html() if suffix == "html" else report.to_svg(), "utf-8")
    return file


def rgb(colour: str) -> str:
    return ",".join(str(int(colour[n : n + 2], 16)) for n in (1, 3, 5))


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["won", "lost", "nobody"])
def test_a_page_is_seen(
    window: Browser, tmp_path: Path, name: str, scheme: str, size: tuple[int, int]
) -> None:
    """A screenshot has the ground of the scheme and the colours of the bars on it."""
    window.open(page_of(RACES[name], tmp_path), *size, scheme)
    assert window.run("return [...document.querySelectorAll('.bar')].length") == sum(
        len(row.bars) for lane in timeline(RACES[name]).lanes for row in lane.rows
    ) + len(timeline(RACES[name]).kinds)
    assert window.complaints() == []
    seen = window.pixels(window.screenshot())
    assert seen["most"] == rgb(GROUNDS[scheme])
    assert seen["colours"] > (40 if name == "nobody" else 100)
    assert seen["width"] == size[0] * (2 if size == PHONE else 1)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", RACES)
def test_a_page_is_never_wider_than_its_window(
    window: Browser, tmp_path: Path, name: str, width: int
) -> None:
    window.open(page_of(RACES[name], tmp_path), width, 740)
    assert window.run(OVERFLOW) == [width, []]


@pytest.mark.parametrize("name", RACES)
def test_the_labels_of_the_scale_stand_apart(window: Browser, tmp_path: Path, name: str) -> None:
    file = page_of(RACES[name], tmp_path)
    for width in WIDTHS[1::2]:
        window.open(file, width, 740)
        boxes = window.run(
            "return [...document.querySelectorAll('.axis text')].map(e => e.getBoundingClientRect())"
            ".filter(b => b.width).map(b => [b.left, b.right])"
        )
        assert len(boxes) >= 2 or name == "nobody"
        for (_, end), (start, _) in pairwise(boxes):
            assert start - end >= 4, width
        assert all(start >= 0 and end <= width for start, end in boxes)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("width", [360, 1280])
def test_no_name_makes_it_wider_or_runs(window: Browser, tmp_path: Path, number: int, width: int) -> None:
    window.open(page_of(hostile(HOSTILE[number]), tmp_path), width, 740)
    assert window.run(OVERFLOW) == [width, []]
    assert window.run("return document.querySelectorAll('script,img').length") == 0
    assert window.run("return getComputedStyle(document.querySelector('.lane')).display") == "list-item"
    assert window.complaints() == []


#: The page's width, and what stands out of it on the right. What may be scrolled by itself is left alone.
OVERFLOW = """
    const wide = [...document.querySelectorAll('body *')].filter(
        e => !e.closest('pre, .scroll, svg, .skip, .unseen, thead') && e.getClientRects().length
            && e.getBoundingClientRect().right > innerWidth + 0.5);
    return [document.documentElement.scrollWidth, wide.map(e => e.outerHTML.slice(0, 200))];
"""


def test_the_table_of_the_order_needs_no_scrolling_on_a_phone(window: Browser, tmp_path: Path) -> None:
    window.open(page_of(RACES["won"], tmp_path), *PHONE)
    assert window.run(
        "return [...document.querySelectorAll('.scroll')].map(e => e.scrollWidth <= e.clientWidth)"
    ) == [
        True,
        True,
    ]


def test_rows_do_not_overlap_and_bars_stay_in_their_rows(window: Browser, tmp_path: Path) -> None:
    for size in (DESK, PHONE):
        window.open(page_of(RACES["crowded"], tmp_path), *size)
        rows = window.run(
            "return [...document.querySelectorAll('.row')].map(r => {const b = r.getBoundingClientRect();"
            "return [b.left, b.right, b.top, b.bottom, ...[...r.querySelectorAll('.bar')].flatMap(e => {"
            "const c = e.getBoundingClientRect(); return [c.left, c.right, c.top, c.bottom]})]})"
        )
        assert len(rows) == sum(len(lane.rows) for lane in timeline(RACES["crowded"]).lanes)
        for (left, right, top, bottom, *bars), following in zip(rows, [*rows[1:], None], strict=True):
            assert following is None or bottom <= following[2] + 0.5
            for n in range(0, len(bars), 4):
                assert left <= bars[n] and bars[n + 1] <= right
                assert top <= bars[n + 2] and bars[n + 3] <= bottom


def test_what_is_said_on_hover_is_said_on_focus_too(window: Browser, tmp_path: Path) -> None:
    """By the keyboard alone: every row, every PvD, every one that was left out."""
    for size in (DESK, PHONE):
        window.open(page_of(RACES["won"], tmp_path), *size)
        shown = window.run(
            "const said = []; for (const e of document.querySelectorAll('[tabindex]')) {"
            "e.focus(); const tip = e.querySelector(':scope > .tip'); if (tip) {"
            "const b = tip.getBoundingClientRect(); const c = getComputedStyle(tip);"
            "said.push([tip.textContent, c.display, b.left >= 0 && b.right <= innerWidth && b.width > 0])}}"
            "document.activeElement.blur(); return said"
        )
        assert [entry[1:] for entry in shown] == [["block", True]] * len(shown)
        said = " ".join(entry[0] for entry in shown)
        for words in (
            "prohibited by pvd:vpn (call)",
            "metric 200",
            "failed: wrong certificate",
            "not needed",
        ):
            assert words in said
        hidden = window.run(
            "return [...document.querySelectorAll('.tip')].every(t => getComputedStyle(t).display === 'none')"
        )
        assert hidden is True


def accessible(window: Browser) -> dict[str, list[str]]:
    """The names in the accessibility tree, by role, in the order of reading."""
    nodes: list[dict[str, Any]] = window.cdp("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in nodes}
    found: dict[str, list[str]] = defaultdict(list)

    def walk(node: dict[str, Any]) -> None:
        if not node.get("ignored"):
            found[node["role"]["value"]].append(node.get("name", {}).get("value", ""))
        for child in node.get("childIds", ()):
            if child in by_id:
                walk(by_id[child])

    walk(nodes[0])
    return found


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_screen_reader_finds_its_way(window: Browser, tmp_path: Path, size: tuple[int, int]) -> None:
    window.open(page_of(RACES["won"], tmp_path), *size)
    tree = accessible(window)
    assert [len(tree[role]) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
    assert tree["heading"] == [
        "www.example.test:443 over TLS",
        "Waterfall",
        "eth",
        "wifi",
        "lte",
        "Who ran, and why",
        "Lookups and attempts",
        "In words",
    ]
    assert [name for name in tree["region"] if name] == [
        "Waterfall",
        "Who ran, and why",
        "Lookups and attempts",
        "In words",
        "In words",
    ]
    pictures = tree["image"] + tree["img"]
    assert pictures[0] == "AAAA lookup: from 0 ms to 11 ms, answered: 1 address, answer 2001:db8:99::1"
    assert len(pictures) == 8
    assert tree["table"] == [
        "PvDs in the order of the race, then those left out",
        "Everything that the picture shows, in the same order",
    ]
    assert [name.split() for name in tree["rowheader"][:4]] == [
        ["1.", "eth"],
        ["2.", "wifi"],
        ["3.", "lte"],
        ["vpn"],
    ]
    assert tree["columnheader"][:4] == ["PvD", "May begin", "Why", "Came to"]
    assert len(tree["row"]) == (1 + 4) + (1 + 7)
    assert any("prohibited by pvd:vpn (call)" in cell for cell in tree["cell"] + tree["gridcell"])


def test_on_paper_it_is_light_and_complete(window: Browser, tmp_path: Path) -> None:
    window.open(page_of(RACES["won"], tmp_path), *DESK, scheme="dark", media="print")
    assert window.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = window.cdp("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
    assert len(printed) > 10_000


# ---------------------------------------------------------------------- the drawing


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", RACES)
def test_a_drawing_is_seen(window: Browser, tmp_path: Path, name: str, scheme: str) -> None:
    window.open(page_of(RACES[name], tmp_path, "svg"), 960, 600, scheme)
    assert window.complaints() == []
    assert window.run(TEXTS_OUTSIDE) == []
    if name == "won":
        file = tmp_path / "page.html"
        file.write_text('<!doctype html><body style="margin:0"><img src="race.svg">', "utf-8")
        window.open(file, 960, 400, scheme)  # as documents have it
        seen = window.pixels(window.screenshot())
        panels = {"light": LIGHT["panel"], "dark": DARK["panel"]}
        assert seen["most"] in (rgb(panels[scheme]), rgb(GROUNDS[scheme]))
        assert seen["colours"] > 100


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_no_name_leaves_its_column_in_a_drawing(window: Browser, tmp_path: Path, number: int) -> None:
    """What is too wide in this font is clipped, so nothing is drawn upon anything."""
    window.open(page_of(hostile(HOSTILE[number]), tmp_path, "svg"), 960, 600)
    assert window.run(TEXTS_OUTSIDE) == []


#: The texts that end out of the drawing, or out of their column, and are not clipped there.
TEXTS_OUTSIDE = """
    const all = [...document.querySelectorAll('text')], width = document.documentElement.width.baseVal.value;
    const end = e => {
        const box = e.getBBox(), path = /#([\\w-]+)/.exec(e.getAttribute('clip-path') || '');
        const clip = path && document.getElementById(path[1]).firstElementChild;
        return clip ? Math.min(box.x + box.width, clip.x.baseVal.value + clip.width.baseVal.value)
                    : box.x + box.width;
    };
    const bad = all.filter(e => end(e) > width || e.getBBox().x < 0);
    for (const e of all) for (const other of all) {
        const a = e.getBBox(), b = other.getBBox();
        const level = Math.abs(a.y + a.height / 2 - b.y - b.height / 2) < 6;
        if (e !== other && level && a.x < b.x && end(e) > b.x + 1) bad.push(e);
    }
    return bad.map(e => e.outerHTML.slice(0, 200));
"""
