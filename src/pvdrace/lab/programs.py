"""The programs that the lab starts, and the Debian packages that have them."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from pathlib import Path

from .errors import LabError

PACKAGES = {"ip": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base"}


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


def start_program(command: list[str], text: str, descriptors: list[int]) -> subprocess.Popen[bytes]:
    """Start a program where the calling thread is, with ``text`` as its input and these descriptors kept."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended before it read: its status says why
        process.stdin.write(text.encode())
        process.stdin.close()
    process.stdin = None
    return process


def finish_programs(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for programs that ran side by side; LabError with what they said if one failed."""
    problems = []
    for process in processes:
        _, errors = process.communicate()
        if process.returncode:
            problems.append(f"{process.args!r}: {errors.decode(errors='replace').strip()}")
    if problems:
        raise LabError("; ".join(problems))
