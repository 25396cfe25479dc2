"""The error of the lab's links: how much longer a round trip takes than was asked for.

UDP datagrams are refused by the kernel of the gateway, one at a time, so that nothing but the two crossings
of the link (four wake-ups of its process) and the client's own wake-up is measured.
Usage: ``python bench_wire.py [--count N]``, as root or not.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import time

from pvdrace.lab import Lab, Provider, become_root_inside

ROUND_TRIPS = (0.0, 0.002, 0.010, 0.030, 0.060, 0.200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="datagrams for each line (default 200)")
    count = parser.parse_args().count
    moved = become_root_inside()
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()},", end=" ")
    print(
        "in a user namespace" if moved else "as root",
        f"- load {os.getloadavg()[0]:.1f} - {count} round trips each",
    )
    print("| round trip asked for | min | median | p95 | p99 | max | (added, ms)")
    with Lab([Provider("eth")]) as lab:
        for nominal in ROUND_TRIPS:
            lab["eth"].set(delay=nominal / 2)
            added = sorted((seen - nominal) * 1000 for seen in round_trips(lab, count))
            cuts = statistics.quantiles(added, n=100)
            cells = (added[0], cuts[49], cuts[94], cuts[98], added[-1])
            print(f"| {nominal * 1000:5.0f} ms | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def round_trips(lab: Lab, count: int) -> list[float]:
    with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        # The gateway itself refuses the datagram: an answer from the kernel, with no server's wake-up in it.
        sock.connect((lab["eth"].gateway4, 9))
        times = []
        for _ in range(count + 3):
            start = time.perf_counter()
            sock.send(b"x")
            try:
                sock.recv(10)
            except ConnectionRefusedError:
                times.append(time.perf_counter() - start)
            time.sleep(0.002)
    return times[3:]


if __name__ == "__main__":
    main()
