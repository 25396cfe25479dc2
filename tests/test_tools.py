"""The scripts in tools/."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
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


def test_the_oldest_clients_are_the_lower_bounds() -> None:
    """The adapters are tested with them as well: every client has one."""
    done = subprocess.run(
        [sys.executable, str(TOOLS / "lowest.py"), "clients"], capture_output=True, text=True, check=True
    )
    pins = done.stdout.split()
    project = tomllib.loads((TOOLS.parent / "pyproject.toml").read_text())
    assert len(pins) == len(project["dependency-groups"]["clients"])
    assert all(re.fullmatch(r"[\w,\[\]-]+==[\d.]+", pin) for pin in pins)
    extras = project["project"]["optional-dependencies"]
    for pin in pins:
        name, version = re.sub(r"\[.*\]", "", pin).split("==")
        if name in extras:
            assert f"{name}>={version}" in extras[name], "the extra says the same"
