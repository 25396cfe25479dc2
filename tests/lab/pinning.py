"""How the tests of pins make rules in the lab by hand, and put a packet in where it does not belong."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lab.racing import configuration
from namespaces import run
from pvdrace.config import Configuration
from pvdrace.lab import Lab, Link
from pvdrace.lab.syscalls import CLONE_NEWNET, setns

_ALL = 3  # ETH_P_ALL: what leaves is seen by these alone
MARKS = {"wA": 7, "wB": 8}


def pinned(lab: Lab, pin: str | None, *names: str) -> Configuration:
    """The lab's PvDs, these of them (or all) pinned that way; ``mark`` is each one's own."""
    config = configuration(lab)
    pvds = []
    for pvd in config.pvds:
        own = f"mark:{MARKS[pvd.name]}" if pin == "mark" else pin
        pvds.append(replace(pvd, pin=own) if pvd.name in (names or MARKS) else pvd)
    return replace(config, pvds=tuple(pvds))


@contextlib.contextmanager
def rules_for(lab: Lab, pin: str) -> Iterator[None]:
    """What an administrator sets up for such pins: a table and a rule for each link, in both families."""
    routes: dict[int, list[str]] = {4: [], 6: []}
    rules: dict[int, list[str]] = {4: [], 6: []}
    for table, link in enumerate(lab, 100):
        for family, gateway, own in ((4, link.gateway4, link.address4), (6, link.gateway6, link.address6)):
            if own is not None and pin != "device":
                what = f"from {own}" if pin == "source" else f"fwmark {MARKS[link.name]}"
                routes[family].append(f"default via {gateway} dev {link.name} table {table}")
                rules[family].append(f"{what} lookup {table}")
    for family in routes:
        ip(family, *(f"route add {route}" for route in routes[family]))
        ip(family, *(f"rule add {rule}" for rule in rules[family]))
    try:
        yield
    finally:
        for family in routes:
            ip(family, *(f"rule del {rule}" for rule in rules[family]))
            ip(family, *(f"route del {route}" for route in routes[family]))


def ip(family: int, *commands: str) -> None:
    """Commands of ``ip`` in the calling thread's namespace."""
    text = "\n".join(commands)
    subprocess.run(
        ["ip", f"-{family}", "-batch", "-"], input=text, text=True, check=True, capture_output=True
    )


@contextlib.contextmanager
def rp_filter(value: int) -> Iterator[None]:
    """The reverse path filter of the client, for all its links."""
    setting = Path("/proc/sys/net/ipv4/conf/all/rp_filter")
    before = setting.read_text()
    setting.write_text(str(value))
    try:
        yield
    finally:
        setting.write_text(before)


def routing() -> str:
    """``ip rule`` and ``ip route show table all`` of both families, as they are."""
    return "".join(run(f"ip -{n} {what}") for n in (4, 6) for what in ("rule", "route show table all"))


# ---------------------------------------------------------------------- a packet where it does not belong


@contextlib.contextmanager
def wire(device: str) -> Iterator[socket.socket]:
    """What leaves and comes in at a device of the client."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL)) as sock:
        sock.bind((device, _ALL))
        sock.settimeout(2.0)
        yield sock


def next_syn(capture: socket.socket) -> bytes:
    """The next SYN of IPv4 on a wire, from its IP header on."""
    while True:
        frame = capture.recv(2048)
        packet = frame[14:]
        if frame[12:14] == b"\x08\x00" and packet[9] == socket.IPPROTO_TCP and packet[33] & 0x12 == 0x02:
            return packet


def syn_ack(syn: bytes) -> bytes:
    """The answer that the server would give to a SYN of IPv4."""
    source, destination = syn[16:20], syn[12:16]
    client_port, server_port, sequence = struct.unpack_from("!HHI", syn, 20)
    tcp = struct.pack(
        "!HHIIBBHHH", server_port, client_port, 1000, sequence + 1 & 0xFFFFFFFF, 5 << 4, 0x12, 65535, 0, 0
    )
    pseudo = source + destination + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, source, destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + tcp


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def inject(lab: Lab, link: Link, packet: bytes) -> None:
    """Send an IPv4 packet to the client from the provider's end of a link."""
    (client,) = json.loads(run(f"ip -j link show dev {link.name}"))
    with provider_namespace(lab, link):
        (lan,) = json.loads(run("ip -j link show dev lan"))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("lan", 0x0800))
            frame = bytes.fromhex((client["address"] + lan["address"]).replace(":", "")) + b"\x08\x00"
            sock.send(frame + packet)


@contextlib.contextmanager
def provider_namespace(lab: Lab, link: Link) -> Iterator[None]:
    """The calling thread is in a provider's network namespace, which the lab's keeper holds."""
    assert lab._keeper is not None
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for entry in sorted(os.scandir(f"/proc/{lab._keeper.pid}/fd"), key=lambda entry: int(entry.name)):
            if not os.readlink(entry.path).startswith("net:["):
                continue
            namespace = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(namespace, CLONE_NEWNET)
            finally:
                os.close(namespace)
            devices = {one["ifname"]: one for one in json.loads(run("ip -j -4 address"))}
            addresses = {one["local"] for one in devices.get("lan", {"addr_info": []})["addr_info"]}
            if link.gateway4 in addresses:
                yield
                return
        raise AssertionError(f"no namespace of the provider {link.name}")
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)
