"""What must work: the rows of ``rows.toml``, as values."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("rows.toml")


@dataclass(frozen=True)
class Row:
    """One system, habit or example, and what its tests show.

    ``later`` says why it has no test here, ``missing`` what it waits for; None for a row that is proven.
    """

    id: str
    item: str
    proof: str
    control: bool = False
    later: str | None = None
    missing: str | None = None

    @property
    def section(self) -> str:
        return self.id.partition(".")[0]


def read(text: str) -> tuple[Mapping[str, str], Sequence[Row]]:
    """The titles of the sections, and the rows; ValueError, TypeError for what is no row."""
    document = tomllib.loads(text)
    rows = [Row(**table) for table in document["row"]]
    expected = [
        f"{section}.{n}" for section in document["sections"] for n in range(1, 1 + _last(rows, section))
    ]
    if [row.id for row in rows] != expected:
        raise ValueError("rows are numbered from 1 in each section, in order")
    return document["sections"], rows


def _last(rows: Sequence[Row], section: str) -> int:
    return sum(row.section == section for row in rows)
