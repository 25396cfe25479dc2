"""The programs that the lab starts, and the Debian packages that have them."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from .errors import LabError

PACKAGES = {"ip": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base", "unbound": "unbound"}


@functools.cache
def find_program(name: str) -> str:
    """The path of a program; LabError names the package that has it."""
    tools = [
        str(parent / ".tools" / below)
        for parent in Path(__file__).parents
        for below in ("usr/sbin", "usr/bin", "sbin", "bin")
    ]
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin", "/bin", *tools])
    found = shutil.which(name, path=path)
    if found is None:
        raise LabError(f"the lab needs the program '{name}': apt-get install {PACKAGES[name]}")
    return found
