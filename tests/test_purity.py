"""The house rule: a file decides or does, never both. Each file of the package is on exactly one side."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import pvdrace

ROOT = Path(pvdrace.__file__).parent
#: Where the public names come from, which are loaded when they are first used.
HOMES = pvdrace._HOMES

#: What does: sockets, clocks, loops, files, processes. All other files decide, also those that are new.
DOERS = frozenset(
    {
        "__main__.py",
        "changes.py",
        "choosing.py",
        "connection.py",
        "connector.py",
        "course.py",
        "provisional.py",
        "default.py",
        "discovery/kernel.py",
        "discovery/source.py",
        "discovery/system_dns.py",
        "dns/__init__.py",
        "dns/asking.py",
        "dns/conversations.py",
        "dns/memory.py",
        "dns/resolver.py",
        "drivers/aio.py",
        "drivers/asking.py",
        "drivers/blocking.py",
        "drivers/blocking_stages.py",
        "drivers/offers.py",
        "drivers/performing.py",
        "drivers/watching.py",
        "drivers/roles.py",
        "drivers/stages.py",
        "drivers/tunnel.py",
        "drivers/warmup.py",
        "files.py",
        "following.py",
        "history_file.py",
        "history_store.py",
        "monitor.py",
        "net/admission.py",
        "net/lingering.py",
        "net/rule_manager.py",
        "net/sockets.py",
        "net/tcp_sockets.py",
        "probes/runner.py",
        "probing.py",
        "proxy/__init__.py",
        "proxy/dialling.py",
        "proxy/first_flight.py",
        "proxy/guard.py",
        "proxy/http_session.py",
        "proxy/relay.py",
        "proxy/server.py",
        "proxy/session.py",
        "resolving.py",
        "seen.py",
        "telemetry/live.py",
        "telemetry/log_lines.py",
        "telemetry/opentelemetry.py",
        "telemetry/prometheus.py",
        "telemetry/terminal.py",
        "testing/sources.py",
    }
)

#: Rooms of which every file may do: the edges of the program.
DOING_ROOMS = ("cli", "integrations", "sync")

#: The lab stands apart: it is a tool, with a structure of its own.
APART = "lab"

#: What a decider may have of a library that can also do: constants, conversions, codecs. Nothing else of it.
ALLOWED = {
    "__init__.py": {"importlib.import_module"},  # of our own modules, when a public name is first used
    "discovery/decode.py": {"pyroute2.netlink.rtnl.marshal.MarshalRtnl", "sys.byteorder"},
    "dns/wire.py": {"dns.name", "socket.AF_INET", "socket.AF_INET6", "socket.inet_ntop"},
    "net/failures.py": {"os.strerror"},
    "config/probe_settings.py": {"urllib.parse.urlsplit"},
    "probes/http204.py": {"urllib.parse.urljoin"},
}

IMPURE_MODULES = frozenset(
    {
        "_socket",
        "_thread",
        "anyio",
        "asyncio",
        "atexit",
        "builtins",
        "click",
        "concurrent",
        "contextvars",
        "ctypes",
        "datetime",
        "dns",
        "faulthandler",
        "fcntl",
        "fileinput",
        "ftplib",
        "getpass",
        "glob",
        "http",
        "imaplib",
        "importlib",
        "io",
        "linecache",
        "logging",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "pkgutil",
        "platform",
        "poplib",
        "posix",
        "pwd",
        "pyroute2",
        "queue",
        "random",
        "resource",
        "rich",
        "runpy",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shelve",
        "shutil",
        "signal",
        "smtplib",
        "sniffio",
        "socket",
        "socketserver",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "syslog",
        "tempfile",
        "threading",
        "time",
        "trio",
        "urllib",
        "uuid",
        "uvloop",
        "warnings",
        "webbrowser",
    }
)
IMPURE_NAMES = frozenset({"__import__", "breakpoint", "eval", "exec", "input", "open", "print"})
#: Methods that read a file or a clock, whatever they are called on.
IMPURE_METHODS = frozenset(
    {
        "exists",
        "is_dir",
        "is_file",
        "iterdir",
        "mkdir",
        "now",
        "open",
        "read_bytes",
        "read_text",
        "readlink",
        "stat",
        "today",
        "touch",
        "unlink",
        "utcnow",
        "write_bytes",
        "write_text",
    }
)
ASYNCHRONOUS = ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith


def files() -> list[str]:
    found = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
    return sorted(name for name in found if name.partition("/")[0] != APART)


def does(name: str) -> bool:
    """Whether a file of the package is on the side of the doers."""
    return name in DOERS or name.partition("/")[0] in (*DOING_ROOMS, APART)


DECIDERS = [name for name in files() if not does(name)]


def test_the_core_is_among_the_deciders() -> None:
    known = {name.removesuffix(".py") for name in DECIDERS}
    assert {
        "model",
        "policy",
        "zones",
        "ranking/order",
        "config/configuration",
        "errors",
        "membership",
        "history/history",
        "drivers/virtual",
        "dns/wire",
        "net/failures",
        "net/tunnel",
        "proxies",
        "proxy/client_hello",
        "proxy/http_messages",
        "proxy/socks5",
        "proxy/targets",
        "discovery/decode",
        "probes/verdict",
        "probes/schedule",
    } <= known
    assert {f"race/{name}" for name in ("actions", "branch", "events", "ordering", "race", "report")} <= known


@pytest.mark.parametrize("name", DECIDERS)
def test_a_decider_is_pure(name: str) -> None:
    assert impurities((ROOT / name).read_text("utf-8"), name) == []


@pytest.mark.parametrize(
    ("name", "allowed"), [(name, one) for name, all in ALLOWED.items() for one in sorted(all)]
)
def test_an_allowance_is_a_deciders_and_is_needed(name: str, allowed: str) -> None:
    assert name in DECIDERS
    without = ALLOWED | {name: ALLOWED[name] - {allowed}}
    assert impurities((ROOT / name).read_text("utf-8"), name, without)


def impurities(source: str, name: str = "model.py", allowed: Mapping[str, set[str]] = ALLOWED) -> list[str]:
    """What the decider ``name`` must not hold, as ``line: what``.

    Imports for the type checker alone are fine.
    """
    tree = ast.parse(source)
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    seen = [node for node in ast.walk(tree) if id(node) not in typing_only]
    may = allowed.get(name, set())
    found = [f"{line}: {what}" for node in seen for line, what in imported(node, name, may)]
    found += [f"{line}: {what}" for node in seen for line, what in done(node)]
    modules = {
        alias.name.partition(".")[0] for node in seen if isinstance(node, ast.Import) for alias in node.names
    } & {one.partition(".")[0] for one in may}
    found += [f"{line}: {what}" for line, what in used(tree, modules) if not covers(may, what)]
    return found


def imported(node: ast.AST, name: str, may: set[str]) -> Iterator[tuple[int, str]]:
    """The imports of a statement that are a doer's."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.partition(".")[0]
            if root == "pvdrace":
                file = file_of(alias.name)
                if alias.name == "pvdrace" or file is None or does(file):
                    yield node.lineno, f"import {alias.name}"
            elif root in IMPURE_MODULES:
                # Plain, so that what is used of it can be told by its name: see `used`.
                plain = alias.asname is None and any(one.partition(".")[0] == root for one in may)
                if not plain or ("." in alias.name and not covers(may, alias.name)):
                    yield node.lineno, f"import {alias.name}"
    elif isinstance(node, ast.ImportFrom):
        module = absolute(node, name)
        for alias in node.names:
            full = f"{module}.{alias.name}"
            if module.partition(".")[0] == "pvdrace":
                home = HOMES.get(alias.name) if module == "pvdrace" else None
                file = file_of(f"pvdrace.{home}" if home else full) or file_of(module)
                if alias.name == "*" or file is None or does(file):
                    yield node.lineno, f"from {module} import {alias.name}"
            elif module.partition(".")[0] in IMPURE_MODULES and not covers(may, full):
                yield node.lineno, f"from {module} import {alias.name}"


def done(node: ast.AST) -> Iterator[tuple[int, str]]:
    """What an expression or a statement does that no decider does."""
    if isinstance(node, ASYNCHRONOUS):
        yield node.lineno, type(node).__name__
    elif isinstance(node, ast.Name) and node.id in IMPURE_NAMES and isinstance(node.ctx, ast.Load):
        yield node.lineno, node.id
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in IMPURE_METHODS
    ):
        yield node.lineno, f".{node.func.attr}()"


def used(tree: ast.AST, modules: set[str]) -> Iterator[tuple[int, str]]:
    """The dotted names that begin with one of these modules, each as long as it is written."""
    within = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in within:
            root: ast.AST = node
            while isinstance(root, ast.Attribute):
                root = root.value
            dotted = ast.unparse(node) if isinstance(root, ast.Name) else ""
            if dotted.partition(".")[0] in modules:
                yield node.lineno, dotted


def covers(may: set[str], dotted: str) -> bool:
    return any(dotted == one or dotted.startswith(f"{one}.") for one in may)


def absolute(node: ast.ImportFrom, name: str) -> str:
    """The module that a statement in the file ``name`` imports from."""
    package = ["pvdrace", *name.split("/")[:-1]]
    parts = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*parts, *(node.module or "").split(".")] if node.module else parts)


def file_of(module: str) -> str | None:
    """The file of one of our modules."""
    path = module.replace(".", "/").removeprefix("pvdrace").lstrip("/")
    for candidate in (f"{path}.py", f"{path}/__init__.py".lstrip("/")):
        if (ROOT / candidate).is_file():
            return candidate
    return None


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import os.path",
        "import json, time",
        "import time as json",
        "from time import monotonic",
        "def f():\n    import random",
        "if True:\n    from asyncio import sleep",
        "async def f(): pass",
        "def f():\n    open('x')",
        "read = open",
        "print(1)",
        "hook = print",
        "eval('1')",
        "__import__('socket')",
        "from importlib import import_module",
        "import importlib",
        "import builtins",
        "from pathlib import Path",
        "import pathlib",
        "def f(path): return path.read_text()",
        "def f(path): return path.open()",
        "from datetime import datetime",
        "import datetime as d",
        "def f(datetime): return datetime.now()",
        "def f(date): return date.today()",
        "import http.client",
        "from http.client import HTTPConnection",
        "from urllib.request import urlopen",
        "import tempfile",
        "import fcntl",
        "import sys",
        "from sys import stdout",
        "import pvdrace",
        "import pvdrace.connector",
        "import pvdrace.cli.app",
        "import pvdrace.lab",
        "from pvdrace import Connector",
        "from pvdrace import connect",
        "from pvdrace import connector",
        "from pvdrace import *",
        "from pvdrace.connector import Connector",
        "from pvdrace.dns import PvdResolver",
        "from pvdrace.cli import main",
        "from pvdrace.lab import Lab",
        "from pvdrace.not_there import x",
        "from . import connector",
        "from . import Connector",
        "from .connector import Connector",
        "from .dns import resolver",
        "from .dns.resolver import PvdResolver",
    ],
)
def test_the_check_sees(source: str) -> None:
    assert len(impurities(source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("race/race.py", "from ..connector import Connector"),
        ("race/race.py", "from ..drivers import aio"),
        ("drivers/virtual.py", "from .aio import drive"),
        ("drivers/virtual.py", "from . import aio"),
        ("dns/wire.py", "import socket\nsocket.socket()"),
        ("dns/wire.py", "import socket as s"),
        ("dns/wire.py", "import socket\nlibrary = socket"),
        ("dns/wire.py", "from socket import create_connection"),
        ("dns/wire.py", "import dns.query"),
        ("dns/wire.py", "import dns.name\ndns.query.udp()"),
        ("dns/wire.py", "from dns import resolver"),
        ("dns/wire.py", "import os"),
        ("net/failures.py", "import os\nos.read(0, 1)"),
        ("net/failures.py", "from os import read"),
        ("net/failures.py", "import os.path"),
        ("discovery/decode.py", "import sys\nsys.stdout.write('')"),
        ("discovery/decode.py", "from pyroute2 import IPRoute"),
        ("__init__.py", "import importlib\nimportlib.reload"),
    ],
)
def test_the_check_sees_in_its_place(name: str, source: str) -> None:
    assert len(impurities(source, name)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("race/race.py", "from ..model import Endpoint\nfrom . import actions\nfrom .events import Ready"),
        ("race/race.py", "from pvdrace.model import Endpoint\nfrom pvdrace import Policy"),
        (
            "race/race.py",
            "import pvdrace.policy",
        ),
        ("dns/wire.py", "import socket\nsocket.inet_ntop(socket.AF_INET, b'').lower()"),
        (
            "dns/wire.py",
            "import dns.name\ndns.name.Name(())",
        ),
        ("dns/exchange.py", "from .wire import parse_reply\nimport socketless"),
        ("drivers/virtual.py", "def f(now): return now"),
    ],
)
def test_the_check_lets_pass(name: str, source: str) -> None:
    assert impurities(source, name) == []


def test_the_check_lets_the_type_checker_import() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\nelse:\n    import time"
    assert impurities(source) == ["5: import time"]


@pytest.mark.parametrize("name", sorted(DOERS))
def test_a_doer_does_something(name: str) -> None:
    """Else it belongs among the deciders, and a name that is no file belongs nowhere."""
    assert impurities((ROOT / name).read_text("utf-8"), name)


@pytest.mark.parametrize("name", files())
def test_a_file_can_be_read_in_one_sitting(name: str) -> None:
    """Aim at 150 lines, be suspicious past 350."""
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= 400
