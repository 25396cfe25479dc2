"""The scripts in tools/."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "tools"


def test_a_machine_without_python_fails_test_all(tmp_path: Path) -> None:
    """Nothing tested is nothing proved: no Python on the PATH, none below the home directory."""
    for program in ("sh", "dirname"):
        found = shutil.which(program)
        assert found is not None
        os.symlink(found, tmp_path / program)
    process = subprocess.run(
        [str(tmp_path / "sh"), str(TOOLS / "test-all.sh")],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    assert process.stdout.count("not found") == 3
    assert process.stderr == "test-all: no Python from 3.11 to 3.13 was found, so nothing was tested\n"
