"""What a probe found, in one value. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Finding(enum.StrEnum):
    """What one probe says of one family of a PvD."""

    OK = "ok"
    """The server that was meant has answered."""
    PORTAL = "portal"
    """A captive portal has answered in its place, or the network says that there is one."""
    FAILED = "failed"
    """No answer, or one that proves nothing."""
    NOTHING = "nothing"
    """It says nothing about reachability, for or against it."""


class Judgement(NamedTuple):
    """A finding and the words for it.

    ``kind`` is the `Failure`'s, where there was one. ``portal`` is the page to show to the user.
    ``retry_after``: seconds in which the server does not want to be asked again. ``expires``: seconds after
    which the network has said that this ends.
    """

    finding: Finding
    text: str
    kind: str | None = None
    portal: str | None = None
    retry_after: float | None = None
    expires: float | None = None
