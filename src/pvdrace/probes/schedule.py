"""When to probe which PvD. Pure: ``now`` is in seconds, always on the same clock."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from ..model import Reachability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..config.probe_settings import ProbeSettings
    from ..model import ProvisioningDomain
    from .suspicion import Suspect

#: Seconds after a first probe that was no success; doubles up to the interval.
FIRST_WAIT = 1.0
#: The least seconds between two probes of one PvD that changes again and again.
CHANGE_GAP = 1.0
#: The least seconds between two probes of one PvD that is suspected again and again.
SUSPICION_GAP = 10.0


@dataclass(slots=True)
class _Entry:
    key: tuple[int, str | None]  # the attachment and the API's URI: of another one nothing is known
    due: float
    wait: float
    began: float = -inf
    running: bool = False
    asked_to_wait: float = -inf  # until then the server wants no more questions (RFC 9110 s10.2.3)


class Schedule:
    """One entry a PvD. Say who there is (`keep`), ask who is due, say when a probe begins and ends.

    At once: at the start, and on change. While there is no success: after 1 s, doubling up to the interval.
    When validated: after the interval. Behind a portal: after the recheck, so that a login is noticed. On
    suspicion at once, but for the gap, and not before a server's Retry-After. One probe of a PvD runs at a
    time.
    """

    def __init__(self, settings: ProbeSettings) -> None:
        self._settings = settings
        self._first = min(FIRST_WAIT, settings.interval)
        self._entries: dict[str, _Entry] = {}
        self._blamed: set[tuple[str, int]] = set()  # names and ports of failures that were followed up

    @property
    def deadline(self) -> float:
        """When somebody is due next; infinity if nobody is, as long as nothing happens."""
        return min((e.due for e in self._entries.values() if not e.running), default=inf)

    def keep(self, pvds: Iterable[ProvisioningDomain], now: float) -> None:
        """These are to be probed from now on, and no others."""
        before, self._entries = self._entries, {}
        for pvd in pvds:
            key = pvd.attachment, pvd.captive_api
            entry = before.get(pvd.name)
            if entry is None:
                entry = _Entry(key, now, self._first)
            elif entry.key != key:
                gap = min(CHANGE_GAP, self._settings.interval)
                entry = _Entry(key, max(now, entry.began + gap), self._first, entry.began, entry.running)
                self._blamed = {blame for blame in self._blamed if blame[0] != pvd.name}
            self._entries[pvd.name] = entry
        self._blamed = {blame for blame in self._blamed if blame[0] in self._entries}

    def due(self, now: float) -> list[str]:
        """Whom to probe now."""
        return [name for name, e in self._entries.items() if e.due <= now and not e.running]

    def begin(self, name: str, now: float) -> None:
        """A probe of this PvD has begun."""
        if entry := self._entries.get(name):
            entry.began, entry.running, entry.due = now, True, inf

    def end(
        self,
        name: str,
        state: Reachability,
        now: float,
        *,
        retry_after: float | None = None,
        expires: float | None = None,
    ) -> None:
        """A probe has ended with this verdict. ``retry_after``, ``expires``: see `Judgement`."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.running = False
        if entry.due < inf:
            return  # it has changed meanwhile, and is due for that
        if state in (Reachability.VALIDATED, Reachability.PORTAL):
            wait = self._settings.interval if state is Reachability.VALIDATED else self._settings.recheck
            entry.wait = self._first
        else:
            wait = entry.wait
            entry.wait = min(2 * wait, self._settings.interval)
        wait = max(wait, retry_after or 0.0)
        entry.asked_to_wait = now + (retry_after or 0.0)
        if expires is not None:
            wait = min(wait, expires + self._first)
        entry.due = now + wait

    def suspect(self, suspects: Iterable[Suspect], now: float) -> None:
        """Races speak against these: probe them soon. The same failure on the same port counts once."""
        for suspect in suspects:
            entry = self._entries.get(suspect.pvd)
            blame = suspect.pvd, suspect.port
            if entry is None or entry.running or (not suspect.certificate and blame in self._blamed):
                continue
            self._blamed.add(blame)
            soonest = max(now, entry.began + min(SUSPICION_GAP, self._settings.interval))
            entry.due = min(entry.due, max(soonest, entry.asked_to_wait))

    def trust(self, name: str, port: int) -> None:
        """A race was won by this PvD on this port: the next failure there is a first one again."""
        self._blamed.discard((name, port))
