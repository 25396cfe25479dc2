"""HTML and XML that is written with everything escaped. Pure.

Text is text: only what `tag` has made is markup, and what comes from outside never gets there unescaped.
"""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


#: HTML's elements without content, of those that are used here.
VOID = frozenset({"meta"})


def tag(name: str, /, *children: str | Markup | None, **attributes: str | float | bool | None) -> Markup:
    """An element. Children that are no `Markup` are escaped; None is left out.

    The names of attributes lose an underscore at their end, and others become hyphens. True is an attribute
    without a value, None and False are none; numbers are written short.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{written}>")
    if not children:
        return Markup(f"<{name}{written}></{name}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | Markup | None) -> Markup:
    """Children one after the other, without an element around them."""
    return Markup(
        "".join(c if isinstance(c, Markup) else escape(c, quote=False) for c in children if c is not None)
    )


def number(value: float) -> str:
    """A number with at most three digits after its point."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, int | float) else escape(value)
    return f' {name}="{text}"'
