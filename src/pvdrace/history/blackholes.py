"""What does not work in a PvD: learnt from failures, unlearnt by trying again. Pure: time comes in.

The detector of mobile stacks for UDP that is swallowed (probing, allowed, blocked), for any port and family.
It is never certain: what is *blocked* comes later than the others, in the same race, and is in its place
again after a while. That race is its probe, and costs a head start at most.
"""

from __future__ import annotations

import enum
from math import inf

#: How long something is blocked, in seconds: at first, and at the longest; each repetition doubles it. So
#: this is the exploration interval: after it a PvD is tried in its place again, and one that works is back.
FIRST_BLOCK = 10.0
LONGEST_BLOCK = 300.0
#: After so many seconds without another failure, those that were count for nothing.
FORGOTTEN_AFTER = 3600.0


class State(enum.StrEnum):
    """What is known. PROBING: too little, or it is time to try again."""

    PROBING = "probing"
    ALLOWED = "allowed"
    BLOCKED = "blocked"


class BlackHole:
    """The detector for one thing. It blocks after ``needed`` failures without a success between them.

    ``failed_at``, ``worked_at``: the last ones, -inf if there were none. ``until``: the end of the block.
    """

    __slots__ = ("failed_at", "failures", "needed", "span", "until", "worked_at")

    def __init__(self, needed: float = 1.0) -> None:
        self.needed = needed
        self.failures = 0.0
        self.span = 0.0
        self.until = -inf
        self.failed_at = -inf
        self.worked_at = -inf

    def failed(self, began: float, now: float, weight: float = 1.0) -> bool:
        """It failed ``now``, in a race that ``began`` then; whether that changes anything.

        What began before the last failure was known adds nothing: many races at once are one piece of
        evidence.
        """
        if began < self.until or began < self.failed_at:
            return False
        if now - self.failed_at >= FORGOTTEN_AFTER:
            self.failures = self.span = 0.0
        self.failures += weight
        self.failed_at = now
        self.span = min(2 * self.span, LONGEST_BLOCK) if self.span else FIRST_BLOCK
        if self.failures < self.needed:
            return False
        self.until = now + self.span
        return True

    def worked(self, now: float) -> bool:
        """It worked ``now``; whether that changes anything."""
        self.worked_at = max(now, self.worked_at)
        if not self.failures:
            return False
        self.failures = self.span = 0.0
        self.until = -inf
        return True  # also where the block had run out: it need not be tried again

    def blocked(self, now: float) -> bool:
        """Whether it should be tried later than the others."""
        return now < self.until

    def state(self, now: float) -> State:
        """In a word, for people."""
        if now < self.until:
            return State.BLOCKED
        return State.ALLOWED if not self.failures and self.worked_at > -inf else State.PROBING

    def on_probation(self, now: float) -> bool:
        """Whether it was blocked, and has not worked since."""
        return self.until > -inf and now - self.failed_at < FORGOTTEN_AFTER
