"""Smoothed measurements that grow old: times and shares. Pure: time comes in.

Each shows a value that stays what it is until the measurement has moved away from it by a noticeable step:
whoever decides by it need not decide anew for every microsecond.
"""

from __future__ import annotations

#: Seconds in which what was measured loses half of its say against a new measurement.
TIMES_HALF_LIFE = 600.0
#: RFC 9623 s4: success rates hold for hours, times for less.
RATES_HALF_LIFE = 3600.0
#: A time that was last measured so long ago counts for nothing, in seconds.
TIMES_MAX_AGE = 3600.0

#: RFC 6298 s2: alpha and beta, and K mean deviations above the mean.
_ALPHA, _BETA, _K = 1 / 8, 1 / 4, 4
#: The least distance from the mean to `Times.soon`, in seconds: RFC 6298 s2's clock granularity G.
_GRANULARITY = 0.010
#: Seconds without a measurement from which on the next one counts for more.
_PAUSE = 100.0
#: What is shown moves when what is measured is away by this share of it, and by this many seconds.
_STEP, _LEAST_STEP = 0.25, 0.002


class Times:
    """The estimator of RFC 6298 s2 for times in seconds, with an age.

    ``ready``: the smoothed time. ``soon``: four mean deviations above it, by which it probably is over.
    Both are what was shown last, see the module. ``at``: when it was last measured. ``bound``: the last was
    no measurement but a lower bound; the first measurement after one replaces everything.
    """

    __slots__ = ("at", "bound", "deviation", "mean", "ready", "soon")

    def __init__(self, seconds: float, now: float, *, bound: bool = False) -> None:
        self.mean = seconds
        self.deviation = seconds / 2
        self.at = now
        self.bound = bound
        self.ready = seconds
        self.soon = self._high()

    @classmethod
    def restored(cls, mean: float, deviation: float, at: float, *, bound: bool = False) -> Times:
        """As it was when it was put away."""
        times = cls(mean, at, bound=bound)
        times.deviation = deviation
        times.soon = times._high()
        return times

    def measured(self, seconds: float, now: float, *, bound: bool = False) -> bool:
        """Take in a measurement, or a lower ``bound``; whether what is shown has moved.

        After a pause a measurement counts for more than RFC 6298's eighth, and what has expired for nothing.
        """
        age = now - self.at
        if age >= TIMES_MAX_AGE or (self.bound and not bound):
            self.mean, self.deviation = seconds, seconds / 2
        else:
            alpha, beta = _ALPHA, _BETA
            if age > _PAUSE:
                faded = 1 - 0.5 ** (age / TIMES_HALF_LIFE)
                alpha, beta = max(alpha, faded), max(beta, faded)
            difference = seconds - self.mean
            self.deviation += beta * (abs(difference) - self.deviation)
            self.mean += alpha * difference
        self.bound = bound
        if age > 0:
            self.at = now
        if age >= TIMES_MAX_AGE:
            self.ready, self.soon = self.mean, self._high()
        elif not self._has_moved():
            return False
        elif bound:  # which makes nothing look better
            self.ready, self.soon = max(self.mean, self.ready), max(self._high(), self.soon)
        else:
            self.ready, self.soon = self.mean, self._high()
        return True

    def expires(self) -> float:
        """When it counts for nothing any more."""
        return self.at + TIMES_MAX_AGE

    def _has_moved(self) -> bool:
        return noticeable(self.ready, self.mean) or noticeable(self.soon, self._high())

    def _high(self) -> float:
        return self.mean + max(_GRANULARITY, _K * self.deviation)


def noticeable(shown: float, measured: float) -> bool:
    """Whether what is measured is so far from what is shown that it has to be shown."""
    away = abs(measured - shown)
    return away >= _LEAST_STEP and away >= _STEP * shown


class Rate:
    """The share of failures, 0.0 to 1.0, weighed with one success that nobody has seen: so it fades."""

    __slots__ = ("at", "bad", "good")

    def __init__(self, now: float) -> None:
        self.good = self.bad = 0.0
        self.at = now

    @classmethod
    def restored(cls, good: float, bad: float, at: float) -> Rate:
        """As it was when it was put away."""
        rate = cls(at)
        rate.good, rate.bad = good, bad
        return rate

    def count(self, good: int, bad: int, now: float) -> None:
        """Take in what went well and what did not."""
        age = now - self.at
        if age > 0:
            fade = 0.5 ** (age / RATES_HALF_LIFE)
            self.good *= fade
            self.bad *= fade
            self.at = now
        self.good += good
        self.bad += bad

    def share(self, now: float) -> float:
        """The share of failures in steps of 0.1; what has faded away is 0.0."""
        if self.bad == 0.0:
            return 0.0
        fade = 0.5 ** (max(now - self.at, 0.0) / RATES_HALF_LIFE)
        return float(round(self.bad * fade / ((self.good + self.bad) * fade + 1), 1))
