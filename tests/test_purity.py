"""The house rule: a file decides or does, never both. Each file of the package is on exactly one side."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pvdrace

ROOT = Path(pvdrace.__file__).parent

#: What does: sockets, clocks, loops, files, processes. A folder stands for all that is in it.
DOERS = (
    "__init__.py",  # imports lazily, by name
    "cli",
    "connection.py",
    "connector.py",
    "discovery",
    "dns",
    "drivers/aio.py",
    "drivers/stages.py",
    "integrations",
    "monitor.py",
    "net",
    "probes",
    "proxy",
    "telemetry",
)

#: Deciders that live among doers.
PURE_AMONG_DOERS = (
    "discovery/merge.py",
    "dns/answer.py",
    "dns/cache.py",
    "net/failures.py",
)

#: The lab stands apart: it is a tool, with a structure of its own.
APART = ("lab",)

IMPURE = frozenset(
    {
        "anyio",
        "asyncio",
        "ctypes",
        "dns",
        "logging",
        "multiprocessing",
        "os",
        "pyroute2",
        "random",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
        "trio",
        "uuid",
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})


def files() -> list[str]:
    found = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
    return sorted(name for name in found if not is_in(name, APART))


def is_in(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def is_decider(name: str) -> bool:
    return name in PURE_AMONG_DOERS or not is_in(name, DOERS)


DECIDERS = [name for name in files() if is_decider(name)]


def test_the_core_is_among_the_deciders() -> None:
    known = {name.removesuffix(".py") for name in DECIDERS}
    assert {"model", "policy", "zones", "ranking", "errors", "membership", "drivers/virtual"} <= known
    assert {f"race/{name}" for name in ("actions", "branch", "events", "ordering", "race", "report")} <= known


@pytest.mark.parametrize("name", DECIDERS)
def test_a_decider_is_pure(name: str) -> None:
    assert impurities((ROOT / name).read_text("utf-8")) == []


def impurities(source: str) -> list[str]:
    """What a decider must not hold, as ``line: what``; imports for the type checker alone are fine."""
    tree = ast.parse(source)
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        what = None
        if isinstance(node, ast.Import):
            impure = [alias.name for alias in node.names if alias.name.partition(".")[0] in IMPURE]
            what = f"import {', '.join(impure)}" if impure else None
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and (node.module or "").partition(".")[0] in IMPURE:
                what = f"from {node.module} import"
            elif node.level and imports_a_doer(node):
                what = f"imports a doer: {ast.unparse(node)}"
        elif isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
            what = type(node).__name__
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            what = f"{node.func.id}()"
        if what is not None:
            found.append(f"{node.lineno}: {what}")
    return found


def imports_a_doer(node: ast.ImportFrom) -> bool:
    """Whether a relative import reaches for a file of the other side."""
    module = (node.module or "").replace(".", "/")
    return any(module == place.removesuffix(".py") or module.endswith("drivers/aio") for place in DOERS[1:])


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import os.path",
        "from time import monotonic",
        "def f():\n    import random",
        "if True:\n    from asyncio import sleep",
        "async def f(): pass",
        "def f():\n    open('x')",
        "print(1)",
        "from ..connector import Connector",
    ],
)
def test_the_check_sees(source: str) -> None:
    assert len(impurities(source)) == 1


def test_the_check_lets_the_type_checker_import() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\nelse:\n    import time"
    assert impurities(source) == ["5: import time"]


def test_every_name_in_the_lists_is_a_place_of_the_project() -> None:
    """A doer's file that was renamed would fall among the deciders; one that was named wrong, nowhere."""
    planned = {"probes", "proxy", "monitor.py"}
    for place in (*DOERS, *PURE_AMONG_DOERS, *APART):
        assert (ROOT / place).exists() or place in planned or is_planned(place), place


def is_planned(place: str) -> bool:
    """Its folder is there but empty yet."""
    folder = (ROOT / place).parent
    return folder != ROOT and [p.name for p in folder.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("name", files())
def test_a_file_can_be_read_in_one_sitting(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= 350
