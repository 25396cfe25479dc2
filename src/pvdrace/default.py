"""The functions of the package itself, and the connector that they share, one a thread."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING

from .calls import check_kind
from .connector import Connector

if TYPE_CHECKING:
    import socket

    from .answers import Answer
    from .calls import Readiness
    from .connection import Connection
    from .connector import TlsSetting
    from .course import Hook
    from .policy import Policy
    from .race.report import RaceReport


async def open_connection(
    host: str | Answer,
    port: int,
    *,
    tls: TlsSetting = False,
    server_hostname: str | None = None,
    ready: Readiness = None,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
) -> Connection:
    """`Connector.open_connection` of the default connector of this thread (see `default_connector`)."""
    return await default_connector().open_connection(
        host,
        port,
        tls=tls,
        server_hostname=server_hostname,
        ready=ready,
        policy=policy,
        label=label,
        timeout=timeout,
    )


async def connect(
    host: str | Answer,
    port: int,
    *,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
) -> tuple[socket.socket, RaceReport]:
    """`Connector.connect` of the default connector of this thread (see `default_connector`)."""
    return await default_connector().connect(host, port, policy=policy, label=label, timeout=timeout)


def given_or_default(connector: Connector | None) -> Connector:
    """What an adapter uses: the connector that it was given, else this thread's default one.

    Raises TypeError for what is no `pvdrace.Connector`, such as one that blocks.
    """
    check_kind(connector, Connector)
    return connector or default_connector()


_defaults = threading.local()


def default_connector() -> Connector:
    """The connector that the module's functions share, one a thread; it is closed with its thread.

    Its configuration is the file that ``$PVDRACE_CONFIG`` names, if it is set. Never a file that happens to
    lie in the working directory: a library does not take orders from there. Where ``$PVDRACE_LIVE`` is set it
    tells ``pvdrace top`` of its races.
    """
    connector: Connector | None = getattr(_defaults, "connector", None)
    if connector is None:
        config = os.environ.get("PVDRACE_CONFIG") or None
        hooks: tuple[Hook, ...] = ()
        if os.environ.get("PVDRACE_LIVE"):
            from .telemetry.live import live_sinks

            hooks = live_sinks()
        connector = _defaults.connector = _DefaultConnector(config, hooks=hooks)
        weak = weakref.ref(connector)

        def close_at_exit() -> None:
            left = weak()
            if left is not None:
                left.close()

        atexit.register(close_at_exit)
    return connector


class _DefaultConnector(Connector):
    """Nobody closes it, so it does so itself."""

    def __del__(self) -> None:
        if hasattr(self, "_decisions"):  # else its configuration is wrong, and there is nothing to close
            self.close()


def _forget_default() -> None:
    """After a fork: the connector is the parent's; the child would take events that are for the parent."""
    connector: Connector | None = getattr(_defaults, "connector", None)
    if connector is not None:
        connector._lingering.abandon()
    _defaults.__dict__.clear()


os.register_at_fork(after_in_child=_forget_default)
