"""The same races for blocking code: no event loop, no threads of its own, and safe from several at once.

::

    with pvdrace.sync.open_connection("www.example.com", 443, tls=True) as connection:
        connection.send(b"...")
"""

from __future__ import annotations

from .connection import Connection as Connection
from .connector import Connector as Connector
from .default import connect as connect
from .default import default_connector as default_connector
from .default import open_connection as open_connection
from .installing import installed as installed
from .provisional import Provisional as Provisional
from .sockets import create_connection as create_connection

__all__ = [
    "Connection",
    "Connector",
    "Provisional",
    "connect",
    "create_connection",
    "default_connector",
    "installed",
    "open_connection",
]
