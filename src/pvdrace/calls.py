"""What a call may ask for, and what it gets to hear when it fails. Pure."""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from .errors import ConnectFailed, NoUsablePvd, PolicyProhibited, ResolutionFailed, WaitTimeout
from .model import Endpoint, parse_literal
from .names import to_ascii
from .policy import Policy
from .race.actions import TIMEOUT
from .race.events import PvdWithdrawn
from .race.outcome import NOBODY
from .race.pacing import Pacing
from .reachability import BEHIND_PORTAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import ByteStream

    from .model import Ranking
    from .race.report import RaceReport

    ReadyCheck = Callable[[ByteStream], Awaitable[Any]]
    Readiness = Literal["tcp", "tls"] | ReadyCheck | None


def check_endpoint(host: object, port: object) -> Endpoint:
    """The endpoint, or ValueError."""
    if not isinstance(host, str):
        raise ValueError(f"host must be a name or an address, not {host!r}")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"port must be a number from 1 to 65535, not {port!r}")
    return _endpoint(host, port)


@lru_cache(maxsize=1024)
def _endpoint(host: str, port: int) -> Endpoint:
    if not host or host != host.strip():
        raise ValueError(f"host must be a name or an address, not {host!r}")
    literal = parse_literal(host)
    if literal is not None:
        return Endpoint(host.strip("[]"), port)
    if any(character in ":%/@[]" or character.isspace() for character in host):
        raise ValueError(f"{host!r} is neither a host name nor an IP address")
    host = to_ascii(host)
    labels = host.removesuffix(".").split(".")
    if not all(labels) or any(len(label) > 63 for label in labels) or len(host) > 254:
        raise ValueError(f"{host!r} is no host name: a label is empty or too long (RFC 1035 s2.3.4)")
    if labels[-1].isdigit():
        raise ValueError(f"{host!r} is no IPv4 address, and no host name ends in a number (RFC 1123 s2.1)")
    return Endpoint(host, port)


def check_timeout(timeout: object, name: str = "timeout") -> float | None:
    """A time in seconds, None for no limit, or ValueError."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ValueError(f"{name} must be a number of at least 0, not {timeout!r}")
    return None if timeout == inf else timeout


def check_policy(policy: object) -> Policy | None:
    """A policy, or ValueError."""
    if policy is None or isinstance(policy, Policy):
        return policy
    raise ValueError(f"policy must be a pvdrace.Policy, not {policy!r}")


def check_settings(dns_timeout: object, pacing: object) -> None:
    """ValueError for what is no time above 0, or no pacing."""
    if not check_timeout(dns_timeout, "dns_timeout"):
        raise ValueError(f"dns_timeout must be a number above 0, not {dns_timeout!r}")
    if pacing is not None and not isinstance(pacing, Pacing):
        raise ValueError(f"pacing must be a pvdrace.Pacing, not {pacing!r}")


def check_functions(**functions: object) -> None:
    """Functions or None, by the names of the arguments; or ValueError."""
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise ValueError(f"{name} must be a function, not {function!r}")


def check_label(label: object) -> str | None:
    """What the application calls a use, or ValueError."""
    if label is None or (isinstance(label, str) and label):
        return label
    raise ValueError(f"label must be a word, not {label!r}")


def check_kind(connector: object, kind: type) -> None:
    """TypeError for a connector that is not of this kind; None is one of every kind."""
    if connector is not None and not isinstance(connector, kind):
        wanted = f"{kind.__module__.removesuffix('.connector')}.{kind.__name__}"
        raise TypeError(f"connector must be a {wanted}, not {connector!r}")


def requirements(policy: Policy | None) -> list[tuple[str, Policy]]:
    """What the call itself requires, as the only layer: whoever could run then is kept off by policy."""
    return [("call", Policy(require=policy.require, min_rate=policy.min_rate))] if policy else []


def readiness(ready: Readiness, *, secure: bool) -> tuple[str, ReadyCheck | None]:
    """What decides (``tcp``, ``tls`` or the check's name), and the check. Raises ValueError."""
    if ready is None:
        return ("tls" if secure else "tcp"), None
    if ready == "tls" and not secure:
        raise ValueError("ready='tls' asks for tls=True or a context")
    if ready in ("tcp", "tls"):
        return str(ready), None
    if not callable(ready):
        raise ValueError(f"ready must be 'tcp', 'tls' or an asynchronous function, not {ready!r}")
    return getattr(ready, "__name__", type(ready).__name__), ready


def tls_name(host: str) -> str:
    """The name to verify: an address without its zone, a name without its final dot (RFC 6066 s3)."""
    literal = parse_literal(host)
    return literal.address if literal else host.removesuffix(".")


def forbids(policies: Sequence[tuple[str, Policy]], ranking: Ranking) -> bool:
    """Whether policy keeps traffic off some PvD, so that not even the kernel may send a packet into it.

    Also one that is not there yet, or that pvdrace does not know: hence the policies, not who was excluded.
    """
    return any(policy.require or policy.prohibit for _, policy in policies) or any(
        r.excluded is not None and r.excluded.rule == "zone" for r in ranking.excluded
    )


def nobody_yet(endpoint: Endpoint | None, ranking: Ranking, timeout: float | None) -> WaitTimeout:
    """The exception for one who has waited for a PvD in vain; None: for general traffic."""
    reasons = [f"{r.pvd.name} skipped ({r.excluded})" for r in ranking.excluded]
    where = f"{endpoint}: " if endpoint else ""
    return WaitTimeout(f"{where}{NOBODY} within {timeout} s{''.join(f', {each}' for each in reasons)}")


def failure(
    report: RaceReport, *, prohibited: bool = False
) -> NoUsablePvd | ResolutionFailed | ConnectFailed:
    """The exception for a lost race. ``prohibited``: where nobody ran, it is policy that left nobody."""
    kind: type[NoUsablePvd | ResolutionFailed | ConnectFailed]
    reason = report.failure or ""
    if reason == NOBODY and _left_to_portals(report):
        kind = NoUsablePvd
    elif reason == NOBODY and not report.attempts:
        kind = PolicyProhibited if prohibited else NoUsablePvd
    elif timed_out(report) or report.attempts or report.skipped or not report.lookups:
        kind = ConnectFailed
    else:
        kind = ResolutionFailed
    return kind(report.summary(), report)


def timed_out(report: RaceReport | None) -> bool:
    """Whether a race was lost because its time was over."""
    return report is not None and (report.failure or "").startswith(TIMEOUT)


def _left_to_portals(report: RaceReport) -> bool:
    """Whether all that ran have left the race for the same reason: a captive portal."""
    gone = [entry.reason for _, entry in report.log if isinstance(entry, PvdWithdrawn)]
    return bool(gone) and all(reason.startswith(BEHIND_PORTAL) for reason in gone)
