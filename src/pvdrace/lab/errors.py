"""The one exception of the lab."""

from __future__ import annotations


class LabError(Exception):
    """The lab can't be built or driven; one line says why and what to do about it."""
