"""``python -m pvdrace.lab COMMAND...``: become the command, with the right to build labs.

As root that is all. Otherwise the command is root in a user namespace with no network but its loopback:
what a test suite with threads of its own needs, for it can't enter one any more.
"""

from __future__ import annotations

import os
import sys

from .errors import LabError
from .privileges import become_root_inside


def main(command: list[str]) -> None:
    """Never returns."""
    if not command:
        sys.exit("usage: python -m pvdrace.lab COMMAND...")
    try:
        become_root_inside()
        os.execvp(command[0], command)
    except LabError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"can't run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
