"""``python -m acceptance [JUNIT.XML ...]``: write the page from the results of a run, or of several.

Without one: after a change of marks or rows. The results of rows that have not changed stay.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from . import marks, page, rows

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "acceptance.md"

if __name__ == "__main__":
    results: dict[tuple[str, str], Sequence[tuple[str, str]]] = {}
    for file in sys.argv[1:]:
        results |= page.read_junit(Path(file).read_text("utf-8"))
    sections, all_rows = rows.read(rows.FILE.read_text("utf-8"))
    text = page.render(sections, all_rows, marks.collect(TESTS), results)
    PAGE.write_text(text if results else page.with_results_of(PAGE.read_text("utf-8"), text), "utf-8")
