"""Becoming root where it is safe to be: in a user namespace, where the system allows one."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from .errors import LabError
from .namespaces import set_loopback_up
from .syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, unshare

_CAP_SYS_ADMIN = 21
_CAP_NET_ADMIN = 12


def may_build() -> bool:
    """Whether this process can make namespaces and networks as it is."""
    for line in Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return all(effective >> capability & 1 for capability in (_CAP_SYS_ADMIN, _CAP_NET_ADMIN))
    return False


def become_root_inside() -> bool:
    """Move this process into a user namespace where it is root, unless it may build a lab already.

    Call it early: the kernel refuses once there are threads. ``python -m pvdrace.lab COMMAND`` does it
    before it becomes the command. Afterwards the process has no network but the lab's. Returns whether it
    moved; LabError, in one line, where the system forbids it.
    """
    if may_build():
        return False
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise LabError(
            f"can't enter a user namespace with {threads} threads running:"
            " call become_root_inside() first of all, or be root"
        )
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET)
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise LabError(refusal(error)) from None
    if not may_build():
        raise LabError(refusal(None))
    set_loopback_up()
    return True


def refusal(error: OSError | None, sysctl_root: str = "/proc/sys") -> str:
    """Why the system gives no user namespace, and what to do: one line."""
    reason = f" ({os.strerror(error.errno)})" if error is not None and error.errno else ""
    start = (
        f"the lab needs root or an unprivileged user namespace, and this system forbids the latter{reason}: "
    )

    def sysctl(name: str) -> str | None:
        with contextlib.suppress(OSError):
            return Path(sysctl_root, *name.split(".")).read_text().strip()
        return None

    if sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
        return (
            start + "AppArmor restricts them (Ubuntu);"
            " run as root, or 'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0'"
        )
    if sysctl("kernel.unprivileged_userns_clone") == "0":
        return start + "run as root, or 'sudo sysctl kernel.unprivileged_userns_clone=1'"
    if sysctl("user.max_user_namespaces") == "0":
        return start + "run as root, or 'sudo sysctl user.max_user_namespaces=10000'"
    return start + "run as root; in a container, start it with --privileged"


def require_privilege() -> None:
    """LabError, or the right to build; enters a user namespace where that is still possible."""
    if may_build():
        return
    if threading.active_count() > 1:
        raise LabError(
            "the lab needs root; unprivileged, call pvdrace.lab.become_root_inside() before any thread starts"
        )
    become_root_inside()
