"""What the owner of a lab asks the keeper for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .provider import Provider


@dataclass(frozen=True)
class Blueprint:
    """``directory`` is where files are, the certificates among them; ``seed`` is for jitter and loss."""

    providers: tuple[Provider, ...]
    overlapping: bool
    rp_filter: int
    directory: str
    seed: int
