"""Host names beyond ASCII, made into one form before anything compares them or asks for them. Pure.

``bücher.example``, ``BÜCHER。example`` and ``xn--bcher-kva.example`` are one name. Zones, rules and the wire
have to agree on that: else a name slips past the zone that owns it.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_LENGTH = 253
"""Characters of a name without its final dot: 255 bytes on the wire (RFC 1035 s2.3.4)."""

_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 s3.1: what is to be recognised as a dot
_LABEL = re.compile("[A-Za-z0-9_-]{1,63}")


def to_ascii(host: str) -> str:
    """A host name in ASCII: A-labels for what is not, by IDNA 2008 after the mapping of UTS 46.

    What is ASCII already is returned as it is, and not checked; a final dot stays. Raises ValueError, one
    line for people, for what is not a name.
    """
    return host if host.isascii() else _international(host)


def pattern_to_ascii(pattern: str) -> str:
    """The same for a pattern such as ``*.bücher.example``, whose wildcards are labels or parts of ASCII ones.

    Raises ValueError for a wildcard inside a label that is not ASCII: the A-label has nothing for it to
    stand for.
    """
    if pattern.isascii():
        return pattern
    labels = []
    for label in _DOTS.split(pattern):
        if "*" in label and not label.isascii():
            raise ValueError(
                f"host {pattern!r}: a * cannot stand for a part of {label!r}, which is not ASCII"
            )
        labels.append(to_ascii(label))
    return ".".join(labels)


def ascii_or_itself(name: str) -> str:
    """The same for names that were not checked: one that is none equals none, and who asks for it is told."""
    try:
        return to_ascii(name)
    except ValueError:
        return name


def fold(name: str) -> str:
    """A name as it is compared: in ASCII if it can be, lower case (RFC 4343), without its final dot."""
    return ascii_or_itself(name).removesuffix(".").lower()


@lru_cache(maxsize=1024)
def _international(host: str) -> str:
    import idna  # 10 ms that only such a name pays for

    try:
        if len(host) > MAX_LENGTH + 1:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        labels = mapped.removesuffix(".").split(".")
        name = ".".join(
            [_a_label(label) if label.isascii() else idna.alabel(label).decode() for label in labels]
        )
        if len(name) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters in ASCII")
    except ValueError as error:  # idna.IDNAError is one
        raise ValueError(f"{_shortened(host)} is not a domain name: {' '.join(str(error).split())}") from None
    return f"{name}." if mapped.endswith(".") else name


def _a_label(label: str) -> str:
    """A label of an international name that is ASCII: UTS 46 makes a slash of U+FF0F, and leaves it in."""
    if not _LABEL.fullmatch(label):
        raise ValueError(f"{label!r} cannot be a part of one" if label else "an empty label")
    return label


def _shortened(host: str) -> str:
    return repr(host) if len(host) <= 80 else f"{host[:40]!r}..."
