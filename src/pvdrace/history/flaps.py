"""How often a PvD came and went lately. Pure: time comes in."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..discovery.diff import PvdChange
    from ..model import ProvisioningDomain

#: Seconds for which a coming or going counts: after so long a quiet period a PvD is stable again.
FLAP_WINDOW = 60.0
#: The most that is counted.
FLAPS_KEPT = 32
#: Names of PvDs whose last state is known.
NAMES_KEPT = 256


class Flaps:
    """The comings and goings of PvDs, by name: another attachment is no other cable."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._last: dict[str, tuple[bool, int]] = {}
        self.came_at = -inf  # when one last came, came back, or was attached anew

    def __len__(self) -> int:
        """How many PvDs have gone lately."""
        return len(self._times)

    def moved(self, changes: Sequence[PvdChange], now: float) -> bool:
        """Take in what happened; whether anything came or went.

        Coming and going is: added, withdrawn, able or unable to carry anything; or attached anew, where
        nobody has looked while it was away.
        """
        moved = False
        for kind, pvd in changes:
            here = kind != "withdrawn" and pvd.unusable is None
            was_here, attachment = self._last.get(pvd.name, (kind != "added", pvd.attachment))
            self._last[pvd.name] = here, pvd.attachment
            if here == was_here and (not here or pvd.attachment == attachment):
                continue
            self._times.setdefault(pvd.name, deque(maxlen=FLAPS_KEPT)).append(now)
            moved = True
            if here:
                self.came_at = now
        for name in [name for name, times in self._times.items() if times[-1] + FLAP_WINDOW <= now]:
            del self._times[name]
        if len(self._last) > NAMES_KEPT:
            for name in [name for name in self._last if name not in self._times]:
                del self._last[name]
        return moved

    def of(self, pvd: ProvisioningDomain, now: float) -> tuple[int, float]:
        """How often this one came or went in the window, and when that will be less."""
        times = self._times.get(pvd.name)
        if times is None:
            return 0, inf
        recent = [time for time in times if now < time + FLAP_WINDOW]
        return len(recent), min(recent, default=inf) + FLAP_WINDOW
