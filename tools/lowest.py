"""The lowest versions that pyproject.toml admits, as requirements: ``tools/lowest.py clients``."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def lowest(requirements: list[object]) -> list[str]:
    """``name>=1.2,<3`` becomes ``name==1.2``. ValueError for one without a lower bound."""
    pinned = []
    for requirement in requirements:
        found = re.fullmatch(r"([A-Za-z0-9._,\[\]-]+)>=([0-9.]+)(?:,.*)?", str(requirement))
        if found is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        pinned.append(f"{found[1]}=={found[2]}")
    return pinned


if __name__ == "__main__":
    project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text())
    print("\n".join(lowest(project["dependency-groups"][sys.argv[1]])))
