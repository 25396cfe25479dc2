"""Who may use the proxy, and how each is treated. Pure.

Passwords are kept as digests with a salt of this process: what is compared has one length, and no text of a
password is in memory longer than it takes to read it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from ..config.proxy_settings import User, Way, as_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Login = Callable[[bytes, bytes], str | None]

#: RFC 1929 s2: a length is one byte.
LONGEST = 255


def parse_passwords(text: str, name: str) -> dict[str, str]:
    """Lines ``NAME:PASSWORD``; blank ones and those that begin with # count for nothing.

    Raises ValueError with ``name`` (the file's) and the line, and never with what stands in it.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, password = line.partition(":")
        if not colon or not password:
            raise ValueError(f"{name}:{number}: a line is NAME:PASSWORD")
        try:
            as_user(user)
        except ValueError:
            raise ValueError(f"{name}:{number}: no user's name before the colon") from None
        if len(password.encode()) > LONGEST:
            raise ValueError(f"{name}:{number}: a password has {LONGEST} bytes at most (RFC 1929 s2)")
        if user in found:
            raise ValueError(f"{name}:{number}: {user!r} is there twice")
        found[user] = password
    return found


class Accounts:
    """The users: those with a password, and those whose name alone chooses a profile.

    ``salt`` is random. A user without a password is let in with any, and only where ``anonymous`` may.
    """

    def __init__(self, users: Sequence[User], passwords: Mapping[str, str], salt: bytes) -> None:
        self._ways = {user.name: user.way for user in users}
        self._ways |= {name: Way() for name in passwords if name not in self._ways}
        self._salt = salt
        self._digests = {name: self._digest(password.encode()) for name, password in passwords.items()}
        self.with_password = frozenset(self._digests)

    def way(self, user: str | None) -> Way:
        """How a user is treated; one without a name as nothing says."""
        return Way() if user is None else self._ways[user]

    def login(self, *, anonymous: bool) -> Login:
        """The judge of names and passwords, as bytes came; None is no."""

        def judge(name: bytes, password: bytes) -> str | None:
            user = name.decode("utf-8", "replace")
            digest = self._digests.get(user)
            # One comparison of one length, whoever it is: nothing is to be learnt from the time it takes.
            same = hmac.compare_digest(self._digest(password), digest or self._digest(b""))
            if digest is not None:
                return user if same else None
            return user if anonymous and user in self._ways else None

        return judge

    def _digest(self, password: bytes) -> bytes:
        return hmac.digest(self._salt, password, hashlib.sha256)


def basic(field: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of a ``Proxy-Authorization`` field (RFC 7617 s2); None for what is no such thing."""
    scheme, _, token = field.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
