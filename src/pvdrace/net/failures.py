"""The errors of pinned sockets, and the few words that people read for each. Pure."""

from __future__ import annotations

import errno
import os


class PinError(OSError):
    """A socket could not be pinned to its provisioning domain, so it was not opened."""


class RuleError(OSError):
    """Rules and routes for PvDs cannot be installed."""


class NoRoute(OSError):
    """The device of the provisioning domain has no route to that destination."""


def describe(error: OSError | int) -> str:
    """A few words for a failed attempt, from the exception or from the errno: ``refused``, ``timed out``.

    EACCES and EPERM are the network's doing, not a matter of local rights: during connect they are ICMPv6
    "administratively prohibited" (RFC 4443 s3.1) or a local packet filter. A `PinError` speaks for itself.
    """
    if isinstance(error, PinError):
        return error.strerror or "cannot pin the socket"
    number = error if isinstance(error, int) else error.errno
    if number is None:
        return "timed out" if isinstance(error, TimeoutError) else (str(error) or type(error).__name__)
    return _WORDS.get(number) or os.strerror(number).lower()


def number_of(words: str) -> int | None:
    """The errno behind the words of a failed attempt; None for what has none. The opposite of `describe`."""
    return errno.ETIMEDOUT if words.startswith("timeout") else _NUMBERS.get(words)


_WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timed out",
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EACCES: "prohibited by the network",
    errno.EPERM: "prohibited by a local firewall",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "aborted",
    errno.EPIPE: "closed by the peer",
    errno.ENETDOWN: "interface down",
    errno.ENODEV: "no such interface",
    errno.EADDRNOTAVAIL: "source address gone",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
}
_NUMBERS = {words: number for number, words in _WORDS.items()}
