"""Network namespaces for tests: the calling thread moves into a fresh one, and back."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network_namespace() -> Iterator[None]:
    """Run the body in a network namespace of its own, with nothing in it but the loopback."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNET))
        try:
            run("ip link set lo up")
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET))
    finally:
        os.close(home)


def run(*commands: str) -> str:
    """Run one command, or several of ``ip`` in one go, in the calling thread's namespace; what it printed."""
    argv, text = commands[0].split(), None
    if len(commands) > 1:
        argv, text = ["ip", "-batch", "-"], "\n".join(command.removeprefix("ip ") for command in commands)
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{commands}: {done.stderr.strip()}"
    return done.stdout


def add_link(name: str, prefix: int, metric: int, *, up: bool = True) -> None:
    """A veth with 10.PREFIX.0.2/24, 2001:db8:PREFIX::2/64, fe80::PREFIX, and default routes by .1 and ::1."""
    # No address that the kernel makes itself, in its own time: a namespace is at rest as soon as it is made.
    run(
        f"ip link add {name} type veth peer name {name}-far",
        f"ip link set {name} addrgenmode none",
        f"ip link set {name}-far addrgenmode none",
        f"ip link set {name}-far up",
    )
    if not up:
        return
    run(
        f"ip link set {name} up",
        f"ip address add 10.{prefix}.0.2/24 dev {name}",
        f"ip address add 2001:db8:{prefix}::2/64 dev {name} nodad",
        f"ip address add fe80::{prefix}/64 dev {name} nodad",
        f"ip route add default via 10.{prefix}.0.1 dev {name} metric {metric}",
        f"ip route add default via 2001:db8:{prefix}::1 dev {name} metric {metric}",
    )
    settle()


def settle() -> None:
    """Wait for what the kernel does in its own time, up to a second, after a veth has got its carrier."""
    for _ in range(500):
        links = json.loads(run("ip -j link"))
        if all(
            link["operstate"] == "UP"
            for link in links
            if "LOWER_UP" in link["flags"] and link["ifname"] != "lo"
        ):
            return
        # To ask for one link hurries the kernel up.
        run(*(f"ip link show dev {link['ifname']}" for link in links))
        time.sleep(0.01)
    raise AssertionError(f"links do not come up: {links}")


def sysctl(path: str, value: int) -> None:
    """Set a sysctl of this namespace, e.g. ``net/ipv4/conf/all/rp_filter``."""
    Path("/proc/sys", path).write_text(str(value))


def _check(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
