"""Network namespaces without names: held by descriptors, so that they are gone with the processes that hold
them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

from .errors import LabError
from .syscalls import CLONE_NEWNET, unshare

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_RTM_GETLINK = 18
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4


def new_network_namespace() -> int:
    """Move the calling thread into a new namespace; a descriptor of it."""
    unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def set_sysctls(values: Mapping[str, str]) -> None:
    """Write below /proc/sys/net, which is the calling thread's namespace."""
    for path, value in values.items():
        try:
            with open(f"/proc/sys/net/{path}", "w", encoding="ascii") as file:
                file.write(value + "\n")
        except FileNotFoundError:
            if path.startswith("ipv6/conf/"):
                raise LabError(
                    "this kernel runs without IPv6 (no /proc/sys/net/ipv6): the lab needs it"
                ) from None
        except OSError as error:
            raise LabError(
                f"can't write /proc/sys/net/{path} ({error.strerror}): in a container,"
                " run it with --privileged"
            ) from None


def set_loopback_up() -> None:
    """The loopback of a new namespace is down; ``ip link set lo up`` without the program."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def ask_for_links() -> None:
    """Ask the kernel for each link once, which makes it notice at once that a new one has carrier.

    Else a fresh veth takes up to a second until its IPv6 is ready.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.bind((0, 0))
        for index, _name in socket.if_nameindex():
            body = struct.pack("BxHiII", 0, 0, index, 0, 0)
            header = struct.pack("IHHII", 16 + len(body), _RTM_GETLINK, _NLM_F_REQUEST | _NLM_F_ACK, index, 0)
            netlink.send(header + body)
            with contextlib.suppress(OSError):
                netlink.recv(65536)
