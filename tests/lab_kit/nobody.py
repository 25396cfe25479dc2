"""Run a command as nobody, in a mount namespace where nobody can reach this Python.

``python nobody.py COMMAND...``, as root. A Python below /root is of no use to anybody else; so the closed
directory is covered by an empty one, with nothing but this Python in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NOBODY = 65534


def main() -> None:
    os.execvp("unshare", ["unshare", "--mount", sys.executable, __file__, "--inside", *sys.argv[1:]])


def inside(command: list[str]) -> None:
    open_the_way(Path(sys.base_prefix).resolve())
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execvp(command[0], command)


def open_the_way(prefix: Path) -> None:
    for closed in reversed(prefix.parents):
        if closed.stat().st_mode & 0o001:
            continue
        with tempfile.TemporaryDirectory() as aside:
            mount("--bind", str(prefix), aside)
            mount("-t", "tmpfs", "-o", "mode=755", "none", str(closed))
            prefix.mkdir(parents=True)
            mount("--move", aside, str(prefix))
        return


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        inside(sys.argv[2:])
    else:
        main()
