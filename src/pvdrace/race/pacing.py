"""The timers of a race, in seconds, with the bounds that the standards set them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

#: RFC 8305 s5: "MUST NOT start within 10 ms of the previous attempt".
ATTEMPT_FLOOR = 0.010


@dataclass(frozen=True, slots=True)
class Pacing:
    """When things may start. The defaults are RFC 8305 s8's; all times are seconds.

    ``resolution_delay``: how long a first A answer waits for AAAA (RFC 8305 s3).
    ``connection_attempt_delay``: between two attempts inside a PvD where no round-trip time is known (s5);
    ``minimum_`` and ``maximum_connection_attempt_delay`` bound it, and the delay where one is known.
    ``preferred_address_family_count``: addresses of the first family before one of the other (s4).
    ``path_delay``: the head start of one PvD over the next (RFC 9623 s4.1: its own timer per level).
    ``resolution_lead``: how much sooner than its first attempt a waiting PvD asks its resolvers, so that
    the head start buys a dialled address and not a question.
    ``attempts_in_flight``: at most so many unfinished attempts in a race.
    ``attempt_timeout``: an attempt that makes no progress for so long has failed.

    Raises ValueError for a number that is out of its bounds.
    """

    resolution_delay: float = 0.050
    connection_attempt_delay: float = 0.250
    minimum_connection_attempt_delay: float = 0.100
    maximum_connection_attempt_delay: float = 2.0
    preferred_address_family_count: int = 1
    path_delay: float = 0.250
    resolution_lead: float = 0.050
    attempts_in_flight: int = 6
    attempt_timeout: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not math.isfinite(value)
                or value < 0
            ):
                raise ValueError(f"{field.name} must be a finite number of at least 0, not {value!r}")
        for name in ("preferred_address_family_count", "attempts_in_flight"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1")
        for name in ("minimum_connection_attempt_delay", "attempt_timeout"):
            if getattr(self, name) < ATTEMPT_FLOOR:
                raise ValueError(f"{name} must be at least {ATTEMPT_FLOOR} s (RFC 8305 s5)")
        least, most = self.minimum_connection_attempt_delay, self.maximum_connection_attempt_delay
        if most < least:
            raise ValueError("maximum_connection_attempt_delay is below minimum_connection_attempt_delay")
        if not least <= self.connection_attempt_delay <= most:
            raise ValueError(
                f"connection_attempt_delay is {self.connection_attempt_delay} s: it must be from "
                f"minimum_connection_attempt_delay ({least} s) to "
                f"maximum_connection_attempt_delay ({most} s)"
            )
        if self.path_delay < self.connection_attempt_delay:
            raise ValueError(
                "path_delay is below connection_attempt_delay: a PvD would not get to its second address"
            )

    def attempt_delay(self, rtt: float | None) -> float:
        """How long to leave an attempt alone whose round-trip time is expected to be ``rtt`` (RFC 8305 s5).

        Two round trips are one handshake and as much again for a slow day.
        """
        if rtt is None:
            return self.connection_attempt_delay
        return min(max(2 * rtt, self.minimum_connection_attempt_delay), self.maximum_connection_attempt_delay)

    def progress_allowance(self, handshake: float) -> float:
        """How long the handshakes after TCP may take before the timer stops waiting for them (HEv3 s6.1).

        TLS 1.3 takes one more round trip, TLS 1.2 two; ``handshake`` is the one just measured.
        """
        return min(2 * handshake, self.maximum_connection_attempt_delay)
