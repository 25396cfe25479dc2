"""Our errors as the ones that callers of `socket.create_connection` catch."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any, cast

from ..calls import timed_out
from ..errors import ConnectFailed, PolicyProhibited, PvdRaceError, ResolutionFailed
from ..net.failures import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..race.report import RaceReport


def as_os_error(error: PvdRaceError) -> OSError:
    """The same error, which is also what the standard library would have raised; ``report`` is kept.

    ================================  =======================================================
    `ResolutionFailed`                `socket.gaierror` (EAI_NONAME)
    `PolicyProhibited`                PermissionError (EACCES)
    `NoUsablePvd`                     OSError (ENETUNREACH)
    `ConnectFailed`, time is over     TimeoutError
    `ConnectFailed`, TLS has failed   `ssl.SSLError`, `ssl.SSLCertVerificationError`
    `ConnectFailed`                   ConnectionRefusedError, ... : as the first attempt failed
    ================================  =======================================================
    """
    theirs: type[OSError]
    number: int | None = None
    cause = error.__cause__
    if isinstance(error, ResolutionFailed):
        theirs, number = socket.gaierror, socket.EAI_NONAME
    elif not isinstance(error, ConnectFailed):
        number = errno.EACCES if isinstance(error, PolicyProhibited) else errno.ENETUNREACH
        theirs = type(OSError(number, ""))
    elif isinstance(cause, ssl.SSLError):
        certificate = isinstance(cause, ssl.SSLCertVerificationError)
        theirs, number = ssl.SSLCertVerificationError if certificate else ssl.SSLError, cause.errno
    else:
        number = _first_of(error.report)
        theirs = OSError if number is None else type(OSError(number, ""))
    made: Any = _both(type(error), theirs)(str(error), error.report)
    made.errno = number
    if isinstance(cause, ssl.SSLError):
        for name in ("library", "reason", "verify_code", "verify_message"):
            if hasattr(cause, name):
                setattr(made, name, getattr(cause, name))
    return cast("OSError", made)


def each_of(report: RaceReport | None) -> Sequence[OSError]:
    """One error for each attempt that failed, as ``all_errors`` wants them."""
    attempts = report.attempts if report is not None else ()
    return [
        OSError(number_of(a.error) or errno.ECONNABORTED, f"{a.pvd} {a.remote} {a.error}")
        for a in attempts
        if a.outcome == "failed" and a.error
    ]


def _first_of(report: RaceReport | None) -> int | None:
    if report is None:
        return None
    if timed_out(report):
        return errno.ETIMEDOUT
    return next((number_of(a.error) for a in report.attempts if a.outcome == "failed" and a.error), None)


def _both(ours: type[PvdRaceError], theirs: type[OSError]) -> type[PvdRaceError]:
    if issubclass(ours, theirs):
        return ours
    words = {
        "__str__": lambda self: str(self.args[0]),
        "__module__": ours.__module__,
        "__doc__": ours.__doc__,
    }
    return _MADE.setdefault((ours, theirs), type(ours.__name__, (ours, theirs), words))


_MADE: dict[tuple[type[PvdRaceError], type[OSError]], type[PvdRaceError]] = {}
