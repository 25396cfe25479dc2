"""The proxy on the loopback beside other SOCKS5 proxies in Python: throughput, and connections per second.

One run, one table: each proxy is a process of its own, the rounds are interleaved, the figures are medians.
The processor time is that of the proxy's process alone, and hardly depends on what else the machine does. The
second table is why our relay is `recv_into` and `send`: against splice(2) through a pipe, without a proxy
around it. ``--check`` exits with 1 if ours is below 0.9 of the best of the others, or if
none of them is installed.

The others are taken if they are installed (dependency group ``bench``).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from pvdrace.proxy.relay import Flow, Relay

TARGET = 0.9
MIB = 1 << 20

OURS = """
import anyio
from pvdrace.config import Configuration
from pvdrace.proxy import Listen, Proxy, ProxySettings
settings = ProxySettings(listen=(Listen(port={port}),), allow_local=True)
proxy = Proxy(settings, config=Configuration(discover=()))
anyio.run(proxy.run, backend={backend!r}, backend_options={options})
"""
# pproxy installs uvloop where it is there, in a way that newer versions of both do not like.
PPROXY = """
import asyncio, sys
{loop}
from pproxy.server import main
sys.argv = ["pproxy", "-l", "socks5://127.0.0.1:{port}"]
main()
"""
WITHOUT_UVLOOP = "sys.modules['uvloop'] = None; asyncio.set_event_loop(asyncio.new_event_loop())"
WITH_UVLOOP = "import uvloop; uvloop.install = lambda: None; asyncio.set_event_loop(uvloop.new_event_loop())"
TINY = """
import anyio
from tiny_proxy import Socks5ProxyHandler

async def main():
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port={port})
    await listener.serve(Socks5ProxyHandler().handle)

anyio.run(main)
"""


@dataclass
class Contender:
    """A proxy: how to start it on a port, and what was measured."""

    name: str
    module: str
    command: Callable[[int], list[str]]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    rates: list[float] = field(default_factory=list)
    seconds_a_gib: list[float] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    seconds_a_connection: list[float] = field(default_factory=list)

    @property
    def ours(self) -> bool:
        return self.module == "pvdrace"

    def cpu(self) -> float:
        """Processor seconds of its process so far."""
        assert self.process is not None
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def script(text: str, **words: object) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-c", text.format(port=port, **words)]


def module(*arguments: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", *(a.format(port=port) for a in arguments)]


def contenders() -> tuple[list[Contender], list[Contender]]:
    """Those that are installed, and those that are not."""
    found = [
        Contender("pvdrace, asyncio", "pvdrace", script(OURS, backend="asyncio", options={})),
        Contender(
            "pvdrace, uvloop",
            "pvdrace",
            script(OURS, backend="asyncio", options={"use_uvloop": True}),
        ),
        Contender("pvdrace, trio", "pvdrace", script(OURS, backend="trio", options={})),
        Contender("pproxy", "pproxy", script(PPROXY, loop=WITHOUT_UVLOOP)),
        Contender("pproxy, uvloop", "pproxy", script(PPROXY, loop=WITH_UVLOOP)),
        Contender("tiny-proxy", "tiny_proxy", script(TINY)),
        Contender(
            "asyncio-socks-server",
            "asyncio_socks_server",
            module("asyncio_socks_server", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "ERROR"),
        ),
    ]
    there = [each for each in found if importlib.util.find_spec(each.module)]
    return there, [each for each in found if each not in there]


@contextlib.contextmanager
def target() -> Iterator[int]:
    """In a process of its own: 8 bytes with a length are answered with so many; 0 is answered with one."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port: int = listener.getsockname()[1]
    block = bytes(MIB)

    def work(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            left = int.from_bytes(peer.recv(8, socket.MSG_WAITALL), "big") or 1
            while left:
                left -= peer.send(block[:left])

    pid = os.fork()
    if pid == 0:
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=work, args=(peer,), daemon=True).start()
    listener.close()
    try:
        yield port
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def through(proxy: int, port: int, size: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"\x05\x01\x00")
    assert sock.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
    sock.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
    assert sock.recv(10, socket.MSG_WAITALL)[:2] == b"\x05\x00"
    sock.sendall(size.to_bytes(8, "big"))
    return sock


def drain(sock: socket.socket, buffer: bytearray) -> int:
    total = 0
    while count := sock.recv_into(buffer):
        total += count
    return total


def download(each: Contender, port: int, size: int, buffer: bytearray) -> None:
    cpu = each.cpu()
    with through(each.port, port, size) as sock:
        before = time.perf_counter()
        total = drain(sock, buffer)
        elapsed = time.perf_counter() - before
    assert total == size, f"{each.name}: {total} of {size} bytes"
    each.rates.append(size / MIB / elapsed)
    each.seconds_a_gib.append((each.cpu() - cpu) / size * (1 << 30))


def connect(each: Contender, port: int, number: int, at_once: int) -> None:
    """Connections of one byte, so many threads at once."""
    left = iter(range(number))
    lock = threading.Lock()

    def work() -> None:
        buffer = bytearray(64)
        while True:
            with lock:
                if next(left, None) is None:
                    return
            with through(each.port, port, 0) as sock:
                assert drain(sock, buffer) == 1

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    cpu, before = each.cpu(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    each.connections.append(number / (time.perf_counter() - before))
    each.seconds_a_connection.append((each.cpu() - cpu) / number)


@contextlib.contextmanager
def started(found: list[Contender]) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        try:
            for each in found:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    each.port = free.getsockname()[1]
                each.process = subprocess.Popen(each.command(each.port), stdout=log, stderr=log)
            for each in found:
                wait_for(each)
            yield
        finally:
            for each in found:
                if each.process is not None:
                    each.process.kill()
                    each.process.wait()


def wait_for(each: Contender) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", each.port), 1).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"{each.name} does not listen")


# ---------------------------------------------------------------------- why the relay is as it is


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    other.setblocking(False)
    return one, other


async def splice(source: socket.socket, sink: socket.socket) -> None:
    """The kernel's way: no byte comes into this process."""
    into, out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)[::-1]
    size = fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, MIB)
    held = 0
    try:
        while True:
            try:
                if not held and not (held := os.splice(source.fileno(), into, size, flags=3)):
                    break
            except BlockingIOError:
                await anyio.wait_readable(source)
                continue
            try:
                held -= os.splice(out, sink.fileno(), held, flags=3)
            except BlockingIOError:
                await anyio.wait_writable(sink)
        sink.shutdown(socket.SHUT_WR)
    finally:
        os.close(into)
        os.close(out)


def relay_alone(how: str, backend: str, size: int) -> tuple[float, float]:
    """MiB a second and processor seconds a GiB of one direction, with nothing around it."""
    sender, source = pair()
    receiver, sink = pair()
    received: list[int] = []

    def send() -> None:
        block, left = bytes(MIB), size
        while left:
            left -= sender.send(block[:left])
        sender.shutdown(socket.SHUT_WR)

    pid = os.fork()
    if pid == 0:
        send()
        os._exit(0)
    drained = os.fork()
    if drained == 0:
        for sock in (sink, source, sender):
            sock.close()
        os._exit(0 if drain(receiver, bytearray(MIB)) == size else 1)
    sender.close()
    receiver.close()

    async def run() -> None:
        if how == "splice":
            await splice(source, sink)
        else:
            await Relay()._pump(source, sink, Flow(), "down")

    cpu, before = time.process_time(), time.perf_counter()
    anyio.run(run, backend=backend)
    elapsed, used = time.perf_counter() - before, time.process_time() - cpu
    for sock in (source, sink):
        sock.close()
    os.waitpid(pid, 0)
    assert os.waitpid(drained, 0)[1] == 0
    del received
    return size / MIB / elapsed, used / size * (1 << 30)


# ---------------------------------------------------------------------- the tables


def show(found: list[Contender]) -> bool:
    """Print the table; whether ours is good enough."""
    others = [each for each in found if not each.ours]
    best = {
        name: max((statistics.median(getattr(each, name)) for each in others), default=0.0)
        for name in ("rates", "connections")
    }
    print(f"{'':22}{'MiB/s':>8}{'of best':>9}{'CPU s/GiB':>11}{'conn/s':>8}{'of best':>9}{'CPU µs/conn':>13}")
    good = True
    for each in found:
        rate, number = statistics.median(each.rates), statistics.median(each.connections)
        ratios = [
            f"{v / best[n]:9.2f}" if best[n] else f"{'-':>9}"
            for n, v in (("rates", rate), ("connections", number))
        ]
        cpu, one = statistics.median(each.seconds_a_gib), statistics.median(each.seconds_a_connection)
        print(f"{each.name:22}{rate:8.0f}{ratios[0]}{cpu:11.2f}{number:8.0f}{ratios[1]}{one * 1e6:13.0f}")
        if each.name == "pvdrace, asyncio":
            good = rate >= TARGET * best["rates"]
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=256, help="of one download")
    parser.add_argument("--connections", type=int, default=400, help="of one round")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the target is missed")
    options = parser.parse_args()
    buffer = bytearray(MIB)
    found, missing = contenders()
    alone = all(each.ours for each in found)
    if options.check and alone:
        raise SystemExit("no other proxy is installed to check against: pip install --group bench")
    for each in missing:
        print(f"{each.name} is not installed: left out", file=sys.stderr)
    with target() as port, started(found):
        for each in found:
            download(each, port, 16 * MIB, buffer)
            connect(each, port, 50, 8)
            for samples in (each.rates, each.seconds_a_gib, each.connections, each.seconds_a_connection):
                samples.clear()
        for number in range(options.rounds):
            print(f"round {number + 1} ...", file=sys.stderr)
            for each in found:
                download(each, port, options.mib * MIB, buffer)
                connect(each, port, options.connections, 8)
    good = show(found)
    print(f"\n{'the relay alone':22}{'MiB/s':>8}{'CPU s/GiB':>20}")
    for backend in ("asyncio", "trio"):
        for how in ("recv and send", "splice"):
            measured = [relay_alone(how, backend, options.mib * MIB) for _ in range(3)]
            rate, cpu = (statistics.median(values) for values in zip(*measured, strict=True))
            print(f"{how + ', ' + backend:22}{rate:8.0f}{cpu:20.2f}")
    verdict = "unknown, as no other is here" if alone else "met" if good else "MISSED"
    print(f"\nthe target, {TARGET} of the best other's throughput, is {verdict}")
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
