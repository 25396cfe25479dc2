"""Files of the host that commands inside must not use: resolver configuration, and sockets that lead out.

A Unix socket knows no network namespace: a command that asks nscd or systemd-resolved would have the *host*
send queries.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import LabError
from .syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, mount

_DATABASES = ("passwd", "group", "shadow", "networks", "protocols", "services")
_ESCAPES = ("/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/run/avahi-daemon", "/run/dbus")


def cover_host_files(directory: str, resolv_conf: str) -> None:
    """In a mount namespace of our own, entered already: cover what would lead out. The network namespace is
    the client's."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    texts = {
        "/etc/resolv.conf": resolv_conf,
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
        "/etc/nsswitch.conf": "".join(f"{key}: files\n" for key in _DATABASES) + "hosts: files dns\n",
    }
    for escape in {os.path.realpath(path) for path in _ESCAPES if os.path.isdir(path)}:
        mount("none", escape, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=64k")
    for path, text in texts.items():
        source = Path(directory, Path(path).name)
        source.write_text(text, encoding="ascii")
        target = _existing(path)
        mount(str(source), target, None, MS_BIND)
    # Shows the devices of the namespace of who mounts it; commands that look there would see the host's.
    with contextlib.suppress(OSError):
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _existing(path: str) -> str:
    """Where a file can be covered; a link into a place that is empty now is filled first."""
    real = Path(os.path.realpath(path))
    if real.is_file():
        return str(real)
    nearest = next(parent for parent in real.parents if parent.is_dir())
    if str(nearest) in ("/", "/etc"):
        raise LabError(
            f"{path} does not exist, so it can't be covered for commands inside: create an empty one"
        )
    mount("none", str(nearest), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=64k")
    real.parent.mkdir(parents=True, exist_ok=True)
    real.touch()
    return str(real)
