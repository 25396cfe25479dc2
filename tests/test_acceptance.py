"""Every row of what must work has its test, and the page says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance import marks, page, rows
from acceptance.__main__ import PAGE, TESTS

SECTIONS, ROWS = rows.read(rows.FILE.read_text("utf-8"))
PROOFS = marks.collect(TESTS)
OURS = [row for row in ROWS if row.later is None]


@pytest.mark.parametrize("row", OURS, ids=lambda row: row.id)
def test_a_row_has_a_test_or_says_that_it_has_none(row: rows.Row) -> None:
    tests = [proof for proof in PROOFS if row.id in proof.rows]
    assert bool(tests) is (row.missing is None), [proof.id for proof in tests]
    if tests and row.control:
        assert any(proof.control for proof in tests), "no test shows what the ordinary stack does"


def test_a_mark_names_a_row() -> None:
    known = {row.id for row in ROWS}
    assert [proof for proof in PROOFS if not set(proof.rows) <= known] == []


def test_the_page_has_the_rows_and_the_tests_that_there_are() -> None:
    fresh = page.render(SECTIONS, ROWS, PROOFS, {})
    assert page.without_results(PAGE.read_text("utf-8")) == page.without_results(fresh), (
        "make acceptance, or PYTHONPATH=tests python -m acceptance"
    )


def test_the_marks_that_were_read_are_those_that_pytest_sees(request: pytest.FixtureRequest) -> None:
    read = {proof.id: set(proof.rows) for proof in PROOFS}
    seen: dict[tuple[str, str], set[str]] = {}
    for item in request.session.items:
        assert isinstance(item, pytest.Function)
        words = {str(row) for mark in item.iter_markers("row") for row in mark.args}
        if words:
            file = Path(item.path).relative_to(TESTS).as_posix()
            seen.setdefault((file, item.originalname), set()).update(words)
    assert seen == {key: read.get(key) for key in seen}


# ---------------------------------------------------------------------- the tool itself

MARKED = """
pytestmark = [pytest.mark.lab, pytest.mark.row("6.11")]

@pytest.mark.row("1.1", "6.11")
@pytest.mark.parametrize("x", [1])
async def test_one(x): ordinary(x)

def test_two():
    def ordinary_people(): ...

def test_1_control_three(): ...
def helper(): ...
"""


def test_marks_are_read_of_decorators_and_of_whole_files() -> None:
    one, two, three = marks.read(MARKED, "lab/test_it.py")
    assert (one.name, one.rows, one.control) == ("test_one", ("6.11", "1.1"), True)
    assert (two.name, two.rows, two.control) == ("test_two", ("6.11",), False)
    assert (three.rows, three.control) == (("6.11",), True)


@pytest.mark.parametrize("words", ["", "*ROWS", "ROW", 'id="1.1"'])
def test_a_mark_whose_rows_cannot_be_read_is_an_error(words: str) -> None:
    with pytest.raises(ValueError, match=r"test_it.py:1: a mark has its rows written out"):
        list(marks.read(f"@pytest.mark.row({words})\ndef test_it(): ...", "test_it.py"))


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.lab.test_it" name="test_one[asyncio-wA]"/>
<testcase classname="tests.lab.test_it" name="test_one[rp_filter=0-trio-wB]">{}</testcase>
<testcase classname="tests.test_that" name="test_two"/>
</testsuite></testsuites>"""
ONE = marks.Proof("lab/test_it.py", "test_one", ("1.1",), control=True)
TWO = marks.Proof("test_that.py", "test_two", ("1.1", "1.2"), control=False)
THREE = marks.Proof("test_that.py", "test_three", ("1.2",), control=False)


@pytest.mark.parametrize(
    ("proofs", "child", "result"),
    [
        ([ONE, TWO], "", "3 passed on asyncio and trio, control"),
        ([ONE, TWO], "<failure/>", "**1 failure**"),
        ([ONE, TWO], "<skipped/>", "**1 skipped**"),
        ([TWO], "", "1 passed"),
        ([TWO, THREE], "", "`test_three` not run"),
        ([THREE], "", "all not run"),
        ([], "", "no test yet: its time"),
    ],
)
def test_the_result_of_a_row(proofs: list[marks.Proof], child: str, result: str) -> None:
    row = rows.Row("1.2", "an item", "a proof", missing=None if proofs else "its time")
    proofs = [marks.Proof(p.file, p.name, ("1.2",), p.control) for p in proofs]
    text = page.render({"1": "One"}, [row], proofs, page.read_junit(JUNIT.format(child)))
    line = next(line for line in text.splitlines() if line.startswith("| 1.2"))
    assert line.endswith(f" | {result} |")
    assert page.without_results(text) == page.without_results(page.render({"1": "One"}, [row], proofs, {}))


def test_a_page_keeps_the_results_of_rows_that_have_not_changed() -> None:
    row, changed = rows.Row("1.1", "an item", "a proof"), rows.Row("1.2", "another", "another")
    old = page.render({"1": "One"}, [row, changed], [ONE, TWO], page.read_junit(JUNIT.format("")))
    fresh = page.render({"1": "One"}, [row, changed], [ONE, TWO, THREE], {})
    assert "| 3 passed on asyncio and trio, control |" not in fresh
    kept = page.with_results_of(old, fresh)
    assert "| 3 passed on asyncio and trio, control |" in kept
    assert "| all not run |" in kept
    assert page.with_results_of(old + fresh, fresh) == page.with_results_of(fresh + old, fresh) == kept
    assert page.without_results(kept) == page.without_results(fresh)


def test_rows_are_numbered_in_order() -> None:
    text = '[sections]\n1 = "One"\n[[row]]\nid = "1.2"\nitem = ""\nproof = ""\n'
    with pytest.raises(ValueError, match="in order"):
        rows.read(text)
    with pytest.raises(TypeError, match="wrong"):
        rows.read(text + "wrong = 1\n")
