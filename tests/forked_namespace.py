"""Run a test inside a network namespace of its own, made for it and gone with it.

The test runs in a forked child: with rights in a network namespace, without in a user namespace around one.
Nothing that it sends can leave.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import time
import traceback
import warnings
from typing import TYPE_CHECKING, ParamSpec

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def in_namespace(*commands: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate a test: run these ``ip`` commands in a fresh network namespace, then the test in it.

    Those that start with ``-6`` come after the others.
    """

    def decorate(test: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(test)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            reader, writer = os.pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # fork() beside threads
                pid = os.fork()
            if pid == 0:
                complaint = ""
                try:
                    _enter()
                    _configure(commands)
                    test(*args, **kwargs)
                except BaseException:
                    complaint = traceback.format_exc()
                os.write(writer, complaint.encode()[:60000])
                os._exit(bool(complaint))
            os.close(writer)
            with os.fdopen(reader, "rb") as pipe:
                complaint = pipe.read().decode()
            _, status = os.waitpid(pid, 0)
            if complaint or status:
                pytest.fail(complaint or f"the child ended with status {status}", pytrace=False)

        return wrapper

    return decorate


def _configure(commands: tuple[str, ...]) -> None:
    plain = [command for command in commands if not command.startswith("-6 ")]
    ipv6 = [command.removeprefix("-6 ") for command in commands if command.startswith("-6 ")]
    for arguments, batch in (([], plain), (["-6"], ipv6)):
        subprocess.run(["ip", *arguments, "-batch", "-"], input="\n".join(batch), text=True, check=True)


def _enter() -> None:
    if _LIBC.unshare(_CLONE_NEWNET) == 0:
        return
    uid, gid = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


@contextlib.contextmanager
def far_end(device: str, *commands: str, serve: Callable[[], object]) -> Iterator[None]:
    """Move ``device`` to a namespace of its own, run ``ip`` commands and ``serve`` there, until the end."""
    ready, go = socket.socketpair()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            _check(_LIBC.prctl(1, 9), "prctl")  # PR_SET_PDEATHSIG: SIGKILL
            _check(_LIBC.unshare(_CLONE_NEWNET), "unshare")
            go.send(b"1")
            go.recv(1)
            _configure(commands)
            serve()
            go.send(b"2")
            time.sleep(60)
        os._exit(1)
    try:
        go.close()
        assert ready.recv(1) == b"1"
        _configure((f"link set dev {device} netns {pid}",))
        ready.send(b"1")
        assert ready.recv(1) == b"2", "the far end did not come up"
        yield
    finally:
        ready.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def drop_all_capabilities() -> None:
    """Go on as a plain user would."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _check(_LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
