"""The lab's PvDs as a ``pvdrace.toml``. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .link import Link


def configuration(links: Sequence[Link]) -> str:
    """One table per link, discovery off."""
    return "\n".join(["discover = []", *(_table(link) for link in links)])


def _table(link: Link) -> str:
    provider = link.provider
    values: dict[str, object] = {
        "name": link.name,
        "interface": link.interface,
        "resolvers": list(link.resolvers),
    }
    if provider.domains:
        values["zones"] = list(provider.domains)
    if provider.type is not None:
        values["type"] = provider.type
    if provider.cost is not None:
        values["cost"] = provider.cost
    # Strings and lists of strings look the same in TOML and JSON.
    return "\n[[pvd]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
