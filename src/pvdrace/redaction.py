"""What no sink and no picture may pass on is taken out of texts: secrets, and where they hide in URLs. Pure.

A proxy's URL may hold a password (RFC 3986 s3.2.1), a portal's page the token of a guest, and an error quotes
somebody else's words.
"""

from __future__ import annotations

import re

MASK = "***"
#: Any scheme; up to what ends a URL for those who write one into a sentence. A password may hold the rest.
_URL = re.compile(r"(?<![a-zA-Z0-9+.-])([a-zA-Z][a-zA-Z0-9+.-]*)://([^\s\"<>]*)")
#: ``user:password@host``, without a scheme.
_NAKED = re.compile(r"""(?<![^\s("'])[^\s:/@"'()]+:[^\s/@]+@(?=[\w\[])""")
_LONGEST = 500


def redact(text: str) -> str:
    """The text without what a URL in it may hide: ``http://***@192.0.2.1:3128/login?***``.

    Control characters become blanks, so that one event stays one line; at most 500 characters are kept.
    """
    text = without_secrets(text)
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def without_secrets(text: str) -> str:
    """The text without user information, queries and fragments of URLs; all else is as it was."""
    if "://" in text:
        text = _URL.sub(_cleaned, text)
    return _NAKED.sub(f"{MASK}@", text) if "@" in text else text


def _cleaned(url: re.Match[str]) -> str:
    scheme, rest = url.groups()
    # What a user or password holds may itself look like the end of the authority: the last @ before the
    # query counts, so that rather too much is masked than too little.
    before, mark, after = _split(rest)
    userinfo, at, host = before.rpartition("@")
    kept = f"{MASK}{at}{host}" if at and userinfo else before
    return f"{scheme}://{kept}" + (f"{mark}{MASK}{_tail(after)}" if mark else "")


def _split(rest: str) -> tuple[str, str, str]:
    """What stands before the query or fragment, its mark, and what stands after it."""
    where = min((place for place in (rest.find("?"), rest.find("#")) if place >= 0), default=-1)
    # "http://user:pa?ss@host": no query begins before the last @ of an authority without a slash.
    at = rest.rfind("@")
    if 0 <= where < at and "/" not in rest[:where]:
        where = min((p for p in (rest.find("?", at), rest.find("#", at)) if p >= 0), default=-1)
    if where < 0:
        return rest, "", ""
    return rest[:where], rest[where], rest[where + 1 :]


def _tail(masked: str) -> str:
    """The brackets and stops around a URL are the sentence's."""
    kept = ""
    while masked and masked[-1] in ").,;]'":
        kept = masked[-1] + kept
        masked = masked[:-1]
    return kept
