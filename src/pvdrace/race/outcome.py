"""How a race ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .actions import Connect, Skip
from .branch import addresses_without_lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .actions import Action
    from .branch import Branch
    from .events import Event


NOBODY = "no usable provisioning domain"


@dataclass(slots=True)
class Won:
    """The race has a winner: the attempt that first did what was asked."""

    attempt: Connect


@dataclass(slots=True)
class Lost:
    """Nobody won; ``reason`` in a few words."""

    reason: str


def why_lost(host: str, branches: Sequence[Branch], log: Sequence[tuple[float, Event | Action]]) -> str:
    """Why all branches have failed, in a few words."""
    if all(branch.withdrawn for branch in branches):
        return NOBODY
    if any(type(entry) is Connect for _, entry in log):
        return "all attempts failed"
    if addresses_without_lookup(host) or any(type(entry) is Skip for _, entry in log):
        return "no usable address"
    return "no address found"
