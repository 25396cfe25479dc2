"""Real servers on the loopback, each in a thread, for tests that need no namespaces."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dns.flags
import dns.message
import dns.rrset
import trustme

import pvdrace
from pvdrace.config import Configuration, parse

HOST = "www.example.test"


class Dns:
    """A DNS server on the loopback that answers from a table, silent on names that are not in it."""

    def __init__(self, answers: Mapping[tuple[str, str], Sequence[str]], address: str = "127.0.0.1") -> None:
        self.answers = dict(answers)
        self.address = address
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.socket(self.family, socket.SOCK_DGRAM)
        self.sock.bind((address, 0))
        self.port: int = self.sock.getsockname()[1]
        self.asked: list[tuple[str, str]] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            query = dns.message.from_wire(data)
            question = query.question[0]
            key = (question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name)
            self.asked.append(key)
            if key not in self.answers:
                continue
            response = dns.message.make_response(query, recursion_available=True)
            if self.answers[key]:
                response.answer.append(
                    dns.rrset.from_text_list(question.name, 60, "IN", key[1], self.answers[key])
                )
            self.sock.sendto(response.to_wire(want_shuffle=False), peer)

    def close(self) -> None:
        with socket.socket(self.family, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"", (self.address, self.port))
        self.thread.join(5)
        self.sock.close()


class Server:
    """A TCP server on one address and port that says its word to everybody, inside TLS if it has a context.

    ``mute``: it completes the TCP handshake and never says a word.
    """

    def __init__(
        self,
        address: str,
        port: int = 0,
        *,
        word: bytes = b"hello\n",
        context: ssl.SSLContext | None = None,
        mute: bool = False,
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.create_server((address, port), family=family, backlog=1024)
        self.port: int = self.sock.getsockname()[1]
        self.word = word
        self.context = context
        self.mute = mute
        self.kept: list[socket.socket] = []
        self.closing = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            peer, _ = self.sock.accept()
            if self.closing:
                peer.close()
                return
            if self.mute:
                self.kept.append(peer)
                continue
            with contextlib.suppress(OSError), peer:
                peer.settimeout(5)
                if self.context is None:
                    peer.sendall(self.word)
                else:
                    with self.context.wrap_socket(peer, server_side=True) as secure:
                        secure.sendall(self.word)

    def close(self) -> None:
        self.closing = True
        with contextlib.suppress(OSError):
            socket.create_connection(self.sock.getsockname()[:2], 5).close()
        self.thread.join(10)
        for peer in self.kept:
            peer.close()
        self.sock.close()


class BlackHole:
    """An address and port that swallow every SYN: a listener whose backlog is full and stays so."""

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socks = [socket.create_server((address, port), family=family, backlog=0)]
        for _ in range(4):
            filler = socket.socket(family)
            filler.setblocking(False)
            filler.connect_ex(self.socks[0].getsockname())
            self.socks.append(filler)

    def close(self) -> None:
        for sock in self.socks:
            sock.close()


def pvds(*servers: Dns | tuple[Dns, ...]) -> Configuration:
    """One PvD on the loopback for each name server, or each pair of them: a, b, ..."""
    text = "discover = []\n"
    for name, several in zip("abc", servers, strict=False):
        resolvers = [
            f"[{dns.address}]:{dns.port}" if ":" in dns.address else f"{dns.address}:{dns.port}"
            for dns in (several if isinstance(several, tuple) else (several,))
        ]
        text += f'[[pvd]]\nname = "{name}"\ninterface = "lo"\nresolvers = {resolvers}\n'
    return parse(text)


def connector(*servers: Dns | tuple[Dns, ...], **options: Any) -> pvdrace.Connector:
    """A connector over `pvds`."""
    return pvdrace.Connector(pvds(*servers), **options)


def certificate_for(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@contextlib.contextmanager
def closing(*things: Dns | Server | BlackHole) -> Iterator[None]:
    try:
        yield
    finally:
        for thing in things:
            thing.close()
