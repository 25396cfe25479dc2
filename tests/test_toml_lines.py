"""`pvdrace.config.toml_lines`: the line of every key, whatever TOML 1.0 allows around it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.config.toml_lines import LineIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

# The number in each value is the line on which its key stands, so a text is its own expectation.
TEXTS = {
    "bare, quoted and dotted keys": "a = 1\n\"b.c\" = 2\n'd' = 3\ne . f.\"g h\" = 4\n\"\\u0041\" = 5\n",
    "comments with brackets and quotes": "# [x]\na = 2 # ' \" [[\n[t] # ]]\nb = 4\n",
    "strings that look like something else": (
        "a = [1, 'x']\nb = [2, \"# [x] \\\" ]\"]\nc = [3, '\\']\nd = [4, \"\"]\ne = 5\n"
    ),
    "multi-line basic strings": (
        'a = [1, """\n[x]\nb = 9\n\\""" still\n"""]\nc = 6\nd = [7, """""two""""", ""]\ne = 8\n'
    ),
    "multi-line literal strings": (
        "a = [1, '''\n'a' = 1 \\\n''', \"x\"]\nc = 4\nd = [5, ''''quoted'''']\ne = 6\n"
    ),
    "arrays over several lines": "a = [\n2, # one\n  [3,\n4 ]\n,\n6,\n]\nb = 8\n",
    "inline tables": (
        'a = { b = 1, c = { "d" = 1, e.f = [ 1, { g = 1 } ] } }\nh = [{}, { i = 2 },\n{ i = 3 }]\nj = 4\n'
    ),
    "tables in tables": "[a]\nb = 2\n[a.c]\nd = 4\n[ e . 'f g' ]\nh = 6\n",
    "arrays of tables": (
        "[[p]]\na = 2\n[[p]]\n[p.q]\na = 5\n[[p.r]]\na = 7\n[[p.r]]\na = 9\n[p.r.s]\na = 11\n"
        "[[p]]\na = 13\n[[p.r]]\na = 15\n"
    ),
    "an implicit table before its own": "[a.b]\nc = 2\n[a]\nd = 4\n",
    "carriage returns": "a = 1\r\n\r\n[t]\r\nb = 4\r\nc = [\r\n6\r\n]\r\n",
    "no line end at the end": "a = 1\n[t]\nb = 3",
    "other values": "a = [1, 1979-05-27T07:32:00Z, 1979-05-27 07:32:00, 1e5, +inf, 0x1, true]\nb = 2",
    "nothing": "",
    "only a comment": "# x",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_value_is_found_on_its_line(text: str) -> None:
    index = LineIndex(text)
    for path, value in leaves(tomllib.loads(text)):
        if type(value) is int:
            assert index.line_of(*path) == value, path


def test_tables_and_elements_have_lines_too() -> None:
    index = LineIndex('x = 1\n[[p]]\na = 3\n\n[[p]]\nb = [\n  1,\n\n  "two",\n]\n')
    assert [index.line_of("p", 0), index.line_of("p", 1)] == [2, 5]
    assert [index.line_of("p", 1, "b"), index.line_of("p", 1, "b", 0), index.line_of("p", 1, "b", 1)] == [
        6,
        7,
        9,
    ]


def test_what_does_not_stand_there_has_the_line_of_what_is_around_it() -> None:
    index = LineIndex("x = 1\n[[p]]\na = 3\n")
    assert index.line_of("p", 0, "name") == 2
    assert index.line_of("q") == 1


words = st.text(alphabet="ab#[]{}=,.'\\ ", max_size=6)
strings = words.filter(lambda w: "'" not in w).map(lambda w: f"'{w}'") | words.filter(
    lambda w: "'''" not in w and not w.endswith("'")
).map(lambda w: f"'''\n{w}\n'''")
values = st.recursive(
    strings | st.just("1") | st.just('"\\"#\\\\"'),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ", # ]\n".join([*items, ""]) + "]")
        | st.lists(inner.filter(lambda v: "\n" not in v), max_size=3).map(
            lambda items: "{" + ", ".join(f"k{n} = {v}" for n, v in enumerate(items)) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.lists(values, max_size=6))
def test_a_key_is_found_after_any_value(texts: list[str]) -> None:
    lines: list[str] = []
    expected = []
    for n, text in enumerate(texts):
        lines.append(f"[[t]]\nkey = {text}")
        expected.append(("\n".join(lines[:-1]).count("\n") + 1 if n else 0) + 2)
    document = "\n".join(lines)
    tomllib.loads(document)
    index = LineIndex(document)
    assert [index.line_of("t", n, "key") for n in range(len(texts))] == expected


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from leaves(inner, (*path, n))
    else:
        yield path, value
