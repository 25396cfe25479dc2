"""The scale above the bars of a race: round times, and so many that their labels have room. Pure."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The shortest race that is drawn to scale, in seconds.
SHORTEST = 1e-4


def ticks(until: float, most: float, last: float = 1.0) -> list[float]:
    """Round times from 0 on (1, 2, 2.5 or 5 times a power of ten apart), at most ``most`` steps of them.

    None is later than ``last`` times ``until``: where the last label has no room at the very end.
    """
    step = round_up(until / max(most, 1), (1, 2, 2.5, 5))
    return [n * step for n in range(floor(until / step * last + 1e-9) + 1)]


def round_up(value: float, steps: Sequence[float] = (1, 1.5, 2, 3, 4, 5, 6, 8)) -> float:
    """The next value that is one of ``steps`` times a power of ten."""
    power = 10.0 ** floor(log10(max(value, 1e-6)))
    best: float = next((s * power for s in steps if s * power >= value * 0.999999), 10 * power)
    return ceil(best * 1e9) / 1e9


def labels(times: Sequence[float], until: float, *, units: bool = False) -> list[str]:
    """What stands at each tick. The last one has the unit; with ``units`` all have it but the first."""
    unit, factor = ("s", 1.0) if until >= 2 else ("ms", 1000.0)
    texts = [f"{time * factor:g}" for time in times]
    if units:
        return [texts[0], *(f"{text} {unit}" for text in texts[1:])]
    return [*texts[:-1], f"{texts[-1]} {unit}"] if texts else []
