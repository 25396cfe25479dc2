"""What the shared suite needs of a client library: get and put, over a connector of pvdrace's.

A module beside this one has ``CLIENTS``, a list of `Client`. One that does not block is asynchronous: its
`open` is an asynchronous context manager, and what its session does is awaited.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import ssl
from collections.abc import Sequence
from typing import Any, Protocol

import pvdrace


class Session(Protocol):
    """The client, open: it keeps connections if the client does, and takes any URL of the lab's server."""

    def get(self, url: str) -> Any:
        """The body of the answer, as bytes."""

    def put(self, url: str, body: bytes) -> Any:
        """Send a body; that of the answer, as bytes."""

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        """From now on this is the policy of the client. Only where it ``pools``."""


class Client(Protocol):
    """One client library, or one way to use it."""

    @property
    def name(self) -> str:
        """What the tests are called by."""

    @property
    def blocking(self) -> bool:
        """Whether what a session does is not awaited."""

    @property
    def backends(self) -> Sequence[str]:
        """``asyncio``, ``trio``; what blocks runs on the first."""

    @property
    def pools(self) -> bool:
        """Whether it keeps connections for later requests."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What it raises for a connection that cannot be made: its own types, not ours."""

    @property
    def timeouts(self) -> tuple[type[Exception], ...]:
        """What it raises when the time is over; may be among `errors`."""

    @property
    def watches(self) -> bool:
        """Whether what is idle is closed as soon as its PvD may not be used, not with the next request."""

    @property
    def resumes_tls(self) -> bool:
        """Whether TLS is part of the race: not where the client's hook ends before it."""

    @property
    def proxied(self) -> bool:
        """Whether it only comes through `pvdrace.proxy`.

        There ``open`` takes the configuration in the place of a connector, as the proxy has its own; no
        report is in an exception; and a wrong certificate is for the client alone to see, after the race.
        """

    def open(self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float) -> Any:
        """A context manager that gives a `Session`; ``timeout`` is for making a connection, in seconds.

        ``connector`` is a `pvdrace.Connector`, or a `pvdrace.sync.Connector` for a client that blocks.
        ``ca_file`` is the only authority to trust.
        """


def trusting(ca_file: str) -> ssl.SSLContext:
    """A context for HTTP/1.1; without ALPN the lab's server takes whoever is silent for no client of HTTP."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def all_clients() -> list[Client]:
    """Every client of every module beside this one; of one module, if ``$PVDRACE_CLIENTS`` has its name."""
    wanted = os.environ.get("PVDRACE_CLIENTS")
    package = importlib.import_module(__package__)
    found: list[Client] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        if module != "base" and wanted in (None, module):
            found += getattr(importlib.import_module(f"{__package__}.{module}"), "CLIENTS", [])
    return found
