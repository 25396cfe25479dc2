"""The functions of `pvdrace.sync` itself, and the connector that they share, one a process."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from .connector import Connector

if TYPE_CHECKING:
    import socket

    from ..answers import Answer
    from ..course import Hook
    from ..policy import Policy
    from ..race.report import RaceReport
    from .connection import Connection
    from .connector import TlsSetting
    from .readiness import Readiness


def open_connection(
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
    """`Connector.open_connection` of the default connector (see `default_connector`)."""
    return default_connector().open_connection(
        host,
        port,
        tls=tls,
        server_hostname=server_hostname,
        ready=ready,
        policy=policy,
        label=label,
        timeout=timeout,
    )


def connect(
    host: str | Answer,
    port: int,
    *,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
) -> tuple[socket.socket, RaceReport]:
    """`Connector.connect` of the default connector (see `default_connector`)."""
    return default_connector().connect(host, port, policy=policy, label=label, timeout=timeout)


_lock = threading.Lock()
_default: Connector | None = None


def default_connector() -> Connector:
    """The connector that the functions of this package share, one a process; closed at its exit.

    Not one a thread, as the asynchronous default is: it is safe from several, and the threads of a pool come
    and go, so what one of them learns is for all. Its network namespace is that of the thread that uses it
    first. Its configuration is the file that ``$PVDRACE_CONFIG`` names, if it is set. Where ``$PVDRACE_LIVE``
    is set it tells ``pvdrace top`` of its races. The child of a fork gets another one.
    """
    global _default
    with _lock:
        if _default is None:
            hooks: tuple[Hook, ...] = ()
            if os.environ.get("PVDRACE_LIVE"):
                from ..telemetry.live import live_sinks

                hooks = live_sinks()
            _default = Connector(os.environ.get("PVDRACE_CONFIG") or None, hooks=hooks)
        return _default


def _close_at_exit() -> None:
    global _default
    connector, _default = _default, None
    if connector is not None:
        connector.close()


def _forget_default() -> None:
    """After a fork: the connector is the parent's; the child would take events that are for the parent."""
    global _default, _lock
    connector, _default, _lock = _default, None, threading.Lock()
    if connector is not None:
        connector._races.abandon()


atexit.register(_close_at_exit)
os.register_at_fork(after_in_child=_forget_default)
