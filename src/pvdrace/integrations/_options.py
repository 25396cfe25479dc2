"""What clients may say about their sockets, and what is for policy to do. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..net.pins import CHOOSING

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_options(options: Iterable[tuple[Any, ...]] | None) -> None:
    """Refuse what would choose a path behind the policy's back: ValueError."""
    for level, option, *_ in options or ():
        if name := CHOOSING.get((level, option)):
            raise ValueError(
                f"socket_options: {name} chooses a path, and comes when the first packets have left: that is "
                "for policy to do, policy=pvdrace.Policy(require=['interface:NAME']) or ['pvd:NAME']"
            )


def check_source(address: tuple[str, int] | None) -> str | None:
    """The address that connections have to come from; ValueError for a port."""
    if address is None:
        return None
    host, port = address[:2]
    if port:
        raise ValueError("source_address: a race has several sockets, which cannot share a port; let it be 0")
    return host or None
