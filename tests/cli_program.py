"""The program as people run it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pvdrace

PROGRAM = [sys.executable, "-m", "pvdrace"]


def environment(**changes: str) -> dict[str, str]:
    """That of the tests, without what would change what the program prints, and with this very pvdrace."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PVDRACE_CONFIG", "NO_COLOR", "COLUMNS")}
    kept["PYTHONPATH"] = str(Path(pvdrace.__file__).parents[1])
    return kept | changes


def pvdrace_program(*arguments: str, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end; output and errors as text."""
    options = {"env": environment()} | options
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )


def in_the_lab(scenario: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``pvdrace lab run SCENARIO -- pvdrace ARGUMENTS``: neither needs root, where the kernel allows it."""
    return pvdrace_program("lab", "run", scenario, "--", *PROGRAM, *arguments)
