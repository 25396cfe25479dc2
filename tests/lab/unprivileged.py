"""A client without any privilege: a program of its own, that races for the tests inside the lab.

It starts as root, loads what it needs, gives everything up for good, and then answers one JSON object a
line: ``{"backend": "trio", "host": ..., "require": "pvd:wA"}`` -> ``{"word": "wA", "error": null, ...}``.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import anyio

import pvdrace
from pvdrace.config import parse

NOBODY = 65534
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38


def main() -> None:
    config, ca_file = sys.argv[1:]
    tls = ssl.create_default_context(cafile=ca_file)
    for backend in ("asyncio", "trio"):
        # What is loaded when it is first used is loaded now: nobody may be forbidden to read it.
        ask({"backend": backend, "host": "www.example.test"}, config, tls)
    give_up_everything()
    reply(what_is_left())
    for line in sys.stdin:
        reply(ask(json.loads(line), config, tls))


def give_up_everything() -> None:
    """Be nobody, without a capability and without a way to get one (where nobody is unknown, only that)."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:  # in a user namespace that maps one user alone
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def what_is_left() -> dict[str, Any]:
    """Its own capability sets, and what privileged calls give: the proof that there is nothing left."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    refused = []
    for name, attempt in {"mark": set_mark, "raw": raw_socket, "packet": packet_socket}.items():
        try:
            attempt()
        except PermissionError:
            refused.append(name)
    sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    return {"uid": os.getresuid(), "capabilities": sets, "refused": refused}


def set_mark() -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)


def raw_socket() -> None:
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6).close()


def packet_socket() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


def ask(request: dict[str, Any], config: str, tls: ssl.SSLContext) -> dict[str, Any]:
    return anyio.run(race, request, config, tls, backend=request["backend"])


async def race(request: dict[str, Any], config: str, tls: ssl.SSLContext) -> dict[str, Any]:
    lists = {name: request[name].split() for name in ("require", "prefer", "prohibit") if name in request}
    port = request.get("port", 443)
    async with pvdrace.Connector(parse(config)) as connector:
        try:
            connection = await connector.open_connection(
                request["host"],
                port,
                tls=tls if port == 443 else False,
                policy=pvdrace.Policy(**lists),
                timeout=5,
            )
        except pvdrace.PvdRaceError as error:
            return {"word": None, "error": str(error), "kind": type(error).__name__}
        async with connection:
            word = (await connection.receive()).decode().strip()
    winner = connection.report.winner
    assert winner is not None
    return {"word": word, "error": None, "kind": None, "pvd": winner.pvd, "family": winner.family}


def reply(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
