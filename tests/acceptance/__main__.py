"""``python -m acceptance JUNIT.XML``: write the page from a run's results."""

from __future__ import annotations

import sys
from pathlib import Path

from . import marks, page, rows

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "acceptance.md"

if __name__ == "__main__":
    results = page.read_junit(Path(sys.argv[1]).read_text("utf-8"))
    sections, all_rows = rows.read(rows.FILE.read_text("utf-8"))
    PAGE.write_text(page.render(sections, all_rows, marks.collect(TESTS), results), "utf-8")
