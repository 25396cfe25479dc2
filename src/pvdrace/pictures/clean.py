"""What may stand in a picture that is handed on: no password, no query string, no trick of writing. Pure.

Pictures are shown to others. A report, which replays, keeps everything.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

#: What stands where something was taken out.
MASK = "\N{HORIZONTAL ELLIPSIS}"

_URL = re.compile(r"""(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*://)([^\s"'<>]+)""")
_NAKED = re.compile(r"""(?<![^\s("'])[^\s:/@"'()]+:[^\s/@]+@(?=[\w\[])""")
_PORT = re.compile(r"(\[[^]]*\]|[^:]*)(:\d*)?")


def clean(text: str) -> str:
    """Text without the secrets of its URLs; what cannot be printed is written as an escape.

    Of a URL (RFC 3986 s3) the user information, the query and the fragment are taken out, and of
    ``user:password@host`` that of the user. Control characters, lone surrogates and what turns the direction
    of writing become ``\\x1b``, ``\\ud800``, ``\\u202e``: none of them is text, and XML forbids some.
    """
    if "://" in text:
        text = _URL.sub(lambda found: found[1] + _without_secrets(found[2]), text)
    if "@" in text:
        text = _NAKED.sub(f"{MASK}@", text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cleaned(value: T) -> T:
    """A value, plain or of dataclasses, with all its texts `clean`; the keys of a dict are left alone."""
    found: T = _cleaned(value)
    return found


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        items = map(_cleaned, value)
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _cleaned(getattr(value, f.name)) for f in fields(value)})
    return value


def _without_secrets(rest: str) -> str:
    """What follows the ``//`` of a URL."""
    end = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    authority, tail = rest[:end], rest[end:]
    if "@" in authority:
        authority = f"{MASK}@{authority.rpartition('@')[2]}"
    elif "@" in tail and not _PORT.fullmatch(authority):
        # No host and port: a password that nobody has escaped.
        authority, tail = f"{MASK}@", tail.rpartition("@")[2]
    cut = min((at for mark in "?#" if (at := tail.find(mark)) >= 0), default=-1)
    return authority + (tail if cut < 0 else tail[: cut + 1] + MASK)
