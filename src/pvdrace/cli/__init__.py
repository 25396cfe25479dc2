"""The command line: parse, call, print. ``main`` is the program; the commands are one file each."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> int:
    """Run the program ``pvdrace`` with the arguments of the process; returns its exit code."""
    missing = [package for package in ("click", "rich") if find_spec(package) is None]
    if missing:
        needed = " and ".join(missing)
        sys.stderr.write(f"pvdrace: the command line needs {needed}: pip install 'pvdrace[cli]'\n")
        return 2
    from .app import app

    return app.run()


__all__ = ["main"]
