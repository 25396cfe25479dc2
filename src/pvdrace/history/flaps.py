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


class Flaps:
    """The comings and goings of PvDs, by name: another attachment is no other cable."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._last: dict[str, tuple[bool, int]] = {}

    def __len__(self) -> int:
        """How many PvDs have come or gone at all."""
        return len(self._times)

    def moved(self, changes: Sequence[PvdChange], now: float) -> bool:
        """Take in what happened; whether anything came or went.

        Coming and going is: added, withdrawn, able or unable to carry anything, attached anew.
        """
        counted = False
        for kind, pvd in changes:
            state = (kind != "withdrawn" and pvd.unusable is None, pvd.attachment)
            last = self._last.get(pvd.name)
            self._last[pvd.name] = state
            if kind == "changed" and (state == last or (last is None and state[0])):
                continue
            self._times.setdefault(pvd.name, deque(maxlen=FLAPS_KEPT)).append(now)
            counted = True
        if counted:
            for name in [name for name, times in self._times.items() if times[-1] + FLAP_WINDOW <= now]:
                del self._times[name]
                self._last.pop(name, None)
        return counted

    def of(self, pvd: ProvisioningDomain, now: float) -> tuple[int, float]:
        """How often this one came or went in the window, and when that will be less."""
        times = self._times.get(pvd.name)
        if times is None:
            return 0, inf
        recent = [time for time in times if now < time + FLAP_WINDOW]
        return len(recent), min(recent, default=inf) + FLAP_WINDOW
