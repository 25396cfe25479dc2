"""The colours of a race, by day and by night. Pure.

Text has a contrast of 4.5 to 1 or more to both grounds, bars 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11): a test
counts. No colour is the only sign of anything: bars differ in shape, and what came of a row stands beside it.
"""

from __future__ import annotations

from typing import Literal

Scheme = Literal["auto", "light", "dark"]

LIGHT = {
    "ground": "#ffffff",
    "panel": "#f5f7f9",
    "ink": "#1b2229",
    "muted": "#56616d",
    "rule": "#dce1e6",
    "lookup": "#2f6fd6",
    "handshake": "#b26a00",
    "ready": "#7a4fc9",
    "wait": "#76818c",
    "won": "#157a3c",
    "failed": "#c62a36",
    "glow": "#e3f5e9",
}
DARK = {
    "ground": "#11161c",
    "panel": "#1a2129",
    "ink": "#e8edf2",
    "muted": "#a3afbb",
    "rule": "#323c47",
    "lookup": "#6ea8ff",
    "handshake": "#f0a63a",
    "ready": "#b99aff",
    "wait": "#7f8b97",
    "won": "#4cc878",
    "failed": "#ff7b80",
    "glow": "#17301f",
}
#: Those that text is written in, and those that bars have.
TEXT = ("ink", "muted", "won", "failed")
BARS = ("lookup", "handshake", "ready", "wait", "won", "failed")


def variables(selector: str, scheme: Scheme = "auto") -> str:
    """CSS that sets ``--ink`` and the others on a selector: one scheme, or by what the reader prefers."""
    if scheme != "auto":
        return _rule(selector, DARK if scheme == "dark" else LIGHT)
    night = _rule(selector, DARK)
    return f"{_rule(selector, LIGHT)}@media (prefers-color-scheme:dark){{{night}}}"


def _rule(selector: str, colours: dict[str, str]) -> str:
    return f"{selector}{{{''.join(f'--{name}:{value};' for name, value in colours.items())}}}"
