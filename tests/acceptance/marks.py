"""Which tests prove which rows: the marks ``@pytest.mark.row("1.7", "2.2")``, read from the tests' text.

From the text, and not from a run: so it is all of them, whatever part of the suite is running.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Proof:
    """A test that says that it proves something.

    ``file`` is relative to the directory of the tests. ``control``: it asks the ordinary stack as well.
    """

    file: str
    name: str
    rows: tuple[str, ...]
    control: bool

    @property
    def id(self) -> tuple[str, str]:
        return self.file, self.name


def collect(tests: Path) -> list[Proof]:
    """All marked tests below a directory, in the order of their files and lines."""
    return [
        proof
        for path in sorted(tests.rglob("test_*.py"))
        for proof in read(path.read_text("utf-8"), path.relative_to(tests).as_posix())
    ]


def read(text: str, file: str) -> Iterator[Proof]:
    """The marked tests of one file; ValueError for a mark whose rows are not written out."""
    tree = ast.parse(text, file)
    of_all: tuple[str, ...] = ()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(_is_name(target, "pytestmark") for target in node.targets):
            of_all = _rows(node.value, file)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            own = tuple(row for decorator in node.decorator_list for row in _rows(decorator, file))
            if rows := tuple(dict.fromkeys(of_all + own)):
                yield Proof(file, node.name, rows, _has_control(node))


def _rows(node: ast.AST, file: str) -> tuple[str, ...]:
    found: list[str] = []
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.row":
            words = [value.value for value in call.args if isinstance(value, ast.Constant)]
            if not words or len(words) < len(call.args) or call.keywords:
                raise ValueError(f"{file}:{call.lineno}: a mark has its rows written out")
            found += [str(word) for word in words]
    return tuple(found)


def _has_control(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a control, or has one: by its name, or because it asks `lab.racing.ordinary`."""
    if "control" in node.name.split("_"):
        return True
    return any(isinstance(call, ast.Call) and _is_name(call.func, "ordinary") for call in ast.walk(node))


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
