"""What decides a blocking race: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..calls import readiness as asynchronous

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Check = Callable[[socket.socket], Any]
    Readiness = Literal["tcp", "tls"] | Check | None


def readiness(ready: Readiness, *, secure: bool) -> tuple[str, Check | None]:
    """What decides (``tcp``, ``tls`` or the check's name), and the check. Raises ValueError."""
    if callable(ready):
        return getattr(ready, "__name__", type(ready).__name__), ready
    level, _ = asynchronous(ready, secure=secure)
    return level, None
