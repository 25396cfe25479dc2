"""The house rule: a file decides or does, never both. Each file of the package is on exactly one side."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pvdrace

ROOT = Path(pvdrace.__file__).parent

#: What does: sockets, clocks, loops, files, processes. All other files decide.
DOERS = frozenset(
    {
        "changes.py",
        "connection.py",
        "connector.py",
        "discovery/decode.py",
        "discovery/kernel.py",
        "discovery/source.py",
        "discovery/system_dns.py",
        "dns/__init__.py",
        "dns/resolver.py",
        "dns/wire.py",
        "drivers/aio.py",
        "drivers/stages.py",
        "monitor.py",
        "net/admission.py",
        "net/failures.py",
        "net/lingering.py",
        "net/sockets.py",
        "telemetry/terminal.py",
        "testing/sources.py",
    }
)

#: Rooms of which every file may do: the edges of the program.
DOING_ROOMS = ("cli", "integrations", "probes", "proxy")

#: The lab stands apart: it is a tool, with a structure of its own.
APART = "lab/"

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
    return sorted(name for name in found if not name.startswith(APART))


DECIDERS = [name for name in files() if name not in DOERS and name.partition("/")[0] not in DOING_ROOMS]


def test_the_core_is_among_the_deciders() -> None:
    known = {name.removesuffix(".py") for name in DECIDERS}
    assert {
        "model",
        "policy",
        "zones",
        "ranking",
        "config",
        "errors",
        "membership",
        "drivers/virtual",
    } <= known
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
            found.append(f"{getattr(node, 'lineno', 0)}: {what}")
    return found


def imports_a_doer(node: ast.ImportFrom) -> bool:
    """Whether a relative import reaches for a file of the other side (by the end of its name)."""
    module = (node.module or "").replace(".", "/")
    names = {f"{module}.py", *(f"{module}/{alias.name}.py".lstrip("/") for alias in node.names)}
    return any(doer == name or doer.endswith(f"/{name}") for doer in DOERS for name in names)


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


@pytest.mark.parametrize("name", sorted(DOERS))
def test_a_doer_does_something(name: str) -> None:
    """Else it belongs among the deciders, and a name that is no file belongs nowhere."""
    assert impurities((ROOT / name).read_text("utf-8"))


@pytest.mark.parametrize("name", files())
def test_a_file_can_be_read_in_one_sitting(name: str) -> None:
    """Aim at 150 lines, be suspicious past 350."""
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= 400
