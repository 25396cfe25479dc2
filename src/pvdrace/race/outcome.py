"""How a race ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .actions import Connect


@dataclass(slots=True)
class Won:
    """The race has a winner: the attempt that first did what was asked."""

    attempt: Connect


@dataclass(slots=True)
class Lost:
    """Nobody won; ``reason`` in a few words."""

    reason: str
