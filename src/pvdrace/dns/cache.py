"""Answers that were given before, per provisioning domain and attachment, for as long as they may be used.

Pure: the time comes in as an argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .messages import Answer

if TYPE_CHECKING:
    from ..model import ProvisioningDomain

MAX_TTL = 86400.0
"""The longest time in seconds that an answer is kept, whatever its TTL says."""


class AnswerCache:
    """At most ``size`` answers; the one that was used longest ago makes room. Failures are not kept.

    The key holds the PvD and its attachment: an answer from one network is never used in another.
    """

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._entries: dict[tuple[str, int, str, str], tuple[float, Answer]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, pvd: ProvisioningDomain, name: str, type: str, now: float) -> Answer | None:
        """The answer, with the TTL that is left of it, or None."""
        key = (pvd.name, pvd.attachment, name.lower(), type)
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, answer = entry
        if now >= expires:
            del self._entries[key]
            return None
        if len(self._entries) >= self._size:
            self._entries[key] = self._entries.pop(key)  # used: to the end of the queue
        return Answer(
            answer.addresses,
            expires - now,
            answer.server,
            answer.canonical_name,
            answer.negative,
            cached=True,
        )

    def put(self, pvd: ProvisioningDomain, name: str, type: str, answer: Answer, now: float) -> None:
        """Keep an answer for its TTL; one with a TTL of 0 is for its asker only (RFC 1035 s3.2.1)."""
        if answer.ttl <= 0.0:
            return
        key = (pvd.name, pvd.attachment, name.lower(), type)
        self._entries.pop(key, None)
        while len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = now + min(answer.ttl, MAX_TTL), answer

    def forget(self, pvd_name: str) -> None:
        """Drop all answers of a PvD."""
        for key in [key for key in self._entries if key[0] == pvd_name]:
            del self._entries[key]
