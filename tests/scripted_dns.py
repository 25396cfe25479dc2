"""A DNS server on loopback, UDP and TCP on one port, that misbehaves as a test tells it to."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from pvdrace.model import ProvisioningDomain, Resolver


@dataclass
class Asked:
    """A question as it came in."""

    message: bytes
    tcp: bool
    peer: tuple[str, int]

    @property
    def name(self) -> str:
        """The name as it was written in the question, upper and lower case."""
        return dns.message.from_wire(self.message).question[0].name.to_text(omit_final_dot=True)

    def reply(
        self, *records: str, rcode: int = 0, flags: int = 0, authority: str = "", ttl: int = 60
    ) -> bytes:
        """A reply; a record is ``"A 192.0.2.1"``, for the name that was asked, or ``"name A 192.0.2.1"``."""
        query = dns.message.from_wire(self.message)
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(dns.rcode.Rcode(rcode))
        reply.flags |= flags
        for record in records:
            *owner, rdtype, data = record.split(" ")
            name = dns.name.from_text(owner[0]) if owner else query.question[0].name
            reply.answer.append(dns.rrset.from_text(name, ttl, "IN", rdtype, data))
        if authority:
            reply.authority.append(dns.rrset.from_text(authority, 60, "IN", "SOA", "ns. host. 1 2 3 4 30"))
        return reply.to_wire(max_size=65535)


#: What comes back, with the seconds to wait before each; over TCP the bytes get their length in front.
Script = Callable[[Asked], "list[tuple[float, bytes]]"]


class ScriptedDns:
    """Runs in a thread until closed. ``asked`` lists all questions in the order in which they came."""

    def __init__(self, script: Script, address: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script
        self.address = address
        self.udp, self.tcp = _sockets_of_one_port(address, port)
        self.port: int = self.udp.getsockname()[1]
        self.asked: list[Asked] = []
        self.timers: list[threading.Timer] = []
        self.streams: list[socket.socket] = []
        self.stop, self.stopped = socket.socketpair()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def resolver(self) -> Resolver:
        return Resolver(self.address, self.port)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self.udp, self.tcp, self.stopped, *self.streams], [], [])
            if self.stopped in ready:
                return
            for sock in ready:
                if sock is self.tcp:
                    self.streams.append(self.tcp.accept()[0])
                elif sock is self.udp:
                    message, peer = self.udp.recvfrom(4096)
                    self._answer(self.udp, Asked(message, False, peer))
                else:
                    self._stream(sock)

    def _stream(self, stream: socket.socket) -> None:
        head = stream.recv(2)
        if not head:
            self.streams.remove(stream)
            stream.close()
            return
        message = stream.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        self._answer(stream, Asked(message, True, stream.getpeername()))

    def _answer(self, sock: socket.socket, asked: Asked) -> None:
        self.asked.append(asked)
        for delay, data in self.script(asked):
            if delay == 0:
                self._send(sock, asked, data)
            else:
                timer = threading.Timer(delay, self._send, (sock, asked, data))
                self.timers.append(timer)
                timer.start()

    @staticmethod
    def _send(sock: socket.socket, asked: Asked, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if asked.tcp:
                framed = len(data).to_bytes(2, "big") + data
                sock.sendall(framed[:1])  # in pieces, as TCP may
                sock.sendall(framed[1:])
            else:
                sock.sendto(data, asked.peer)

    def close(self) -> None:
        self.stop.send(b"x")
        self.thread.join(10)
        for timer in self.timers:
            timer.cancel()
            timer.join()
        for sock in (self.udp, self.tcp, self.stop, self.stopped, *self.streams):
            sock.close()


def _sockets_of_one_port(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP; without a given port, one that happens to be free in both."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for attempts_left in reversed(range(50)):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((address, port))
            both_families = address == "::"
            tcp = socket.create_server(udp.getsockname()[:2], family=family, dualstack_ipv6=both_families)
        except OSError:
            udp.close()
            if port or not attempts_left:
                raise
        else:
            return udp, tcp
    raise AssertionError


@contextlib.contextmanager
def serving(*scripts: Script, address: str = "127.0.0.1") -> Iterator[list[ScriptedDns]]:
    """One server for each script."""
    servers = [ScriptedDns(script, address) for script in scripts]
    try:
        yield servers
    finally:
        for server in servers:
            server.close()


def pvd_of(
    *servers: ScriptedDns | Resolver, name: str = "wifi", search: tuple[str, ...] = ()
) -> ProvisioningDomain:
    """A PvD on the loopback device with these resolvers, in this order."""
    resolvers = tuple(server.resolver if isinstance(server, ScriptedDns) else server for server in servers)
    return ProvisioningDomain(name, "lo", 1, resolvers=resolvers, search=search)


def answering(*records: str, delay: float = 0.0) -> Script:
    return lambda asked: [(delay, asked.reply(*records))]


def silent(asked: Asked) -> list[tuple[float, bytes]]:
    return []
