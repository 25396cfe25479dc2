"""What may stand in a picture that is handed on: no password, no query string, no trick of writing. Pure.

Pictures are shown to others. A report, which replays, keeps everything.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ..redaction import without_secrets

T = TypeVar("T")


def clean(text: str) -> str:
    """Text `without_secrets`; what cannot be printed is written as an escape.

    Control characters, lone surrogates and what turns the direction of writing become ``\\x1b``, ``\\ud800``,
    ``\\u202e``: none of them is text, and XML forbids some.
    """
    text = without_secrets(text)
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
