"""A client for the tests: one connection on one link, and what became of it."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pvdrace.lab import Lab, Link


@dataclass(frozen=True)
class Outcome:
    """``what`` is the line that the server sent, or the name of the error."""

    what: str
    connected: float | None
    elapsed: float


def connect(
    lab: Lab,
    link: Link | None = None,
    *,
    family: int = 4,
    port: str | int = "who",
    address: str | None = None,
    timeout: float = 1.0,
) -> Outcome:
    """Connect on a link, read one line, with TLS on port ``https``."""
    target = address or (lab.address4 if family == 4 else lab.address6)
    number = lab.ports[port] if isinstance(port, str) else port
    start = time.monotonic()
    connected = None
    with lab.enter(), socket.socket(socket.AF_INET if ":" not in target else socket.AF_INET6) as sock:
        sock.settimeout(timeout)
        if link is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.interface.encode())
        try:
            sock.connect((target, number))
            connected = time.monotonic() - start
            if port == "https":
                context = ssl.create_default_context(cafile=lab.ca_file)
                with context.wrap_socket(sock, server_hostname=lab.name) as tls:
                    what = tls.recv(200).decode().strip()
            else:
                what = sock.recv(200).decode().strip()
        except ssl.SSLCertVerificationError:
            what = "wrong certificate"
        except TimeoutError:
            what = "timeout"
        except OSError as error:
            what = errno.errorcode.get(error.errno or 0, repr(error))
    return Outcome(what, connected, time.monotonic() - start)
