"""The exceptions that people meet. ``str()`` of each fits on one line; each carries its report.

::

    PvdRaceError
    ├── ConfigurationError   a file, key or argument is wrong (names file, key and line)
    ├── NoUsablePvd          policy and reachability leave nobody to run (also an OSError)
    │   ├── PolicyProhibited  it is policy that leaves nobody
    │   └── WaitTimeout      nobody came in time (also a TimeoutError)
    ├── ResolutionFailed     no PvD that ran has an address for the name (also an OSError)
    └── ConnectFailed        every attempt failed (also an OSError)

All that a race can come to is an OSError: a program that knows nothing of this package, but of connections
that fail, has caught it already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .race.report import RaceReport


class PvdRaceError(Exception):
    """The root of all errors of this package. ``report`` is None where no race was run."""

    def __init__(self, message: str, report: RaceReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class ConfigurationError(PvdRaceError):
    """A configuration, a policy or an argument is wrong: ``pvdrace.toml:12: pvd[1].cost: …``."""


class NoUsablePvd(PvdRaceError, OSError):
    """No provisioning domain may or can run; ``require`` never falls back (RFC 9622 s6.2)."""


class PolicyProhibited(NoUsablePvd):
    """Somebody could run who has all that the call requires, but policy forbids it: RFC 9622's reason.

    A prohibition of any layer, or a requirement of another layer than the call; the text says which.
    """


class WaitTimeout(NoUsablePvd, TimeoutError):
    """No provisioning domain that policy leaves could be used in time (`Connector.wait_for`)."""


class ResolutionFailed(PvdRaceError, OSError):
    """The name has no address in any PvD that ran."""


class ConnectFailed(PvdRaceError, OSError):
    """Every attempt failed, or time ran out first."""


def report_of(error: BaseException | None) -> RaceReport | None:
    """The report in an exception, or in one that caused it, however deep; None if there is none.

    Clients raise exceptions of their own; ours is among the causes of those that came from a race.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, PvdRaceError) and one.report is not None:
            return one.report
        inner = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        arguments = [argument for argument in one.args if isinstance(argument, BaseException)]
        reason = getattr(one, "reason", None)  # urllib3 and requests put the cause there
        arguments += [reason] if isinstance(reason, BaseException) else []
        waiting += [one.__cause__, one.__context__, *inner, *arguments]
    return None
