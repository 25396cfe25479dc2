"""From a name to a verified TLS stream on a multi-homed host in trouble: ours beside today's clients.

One lab (default eth with 10 ms of round trip, wifi 30, lte 60; a DNS server at each gateway; resolv.conf
lists eth, wifi, lte), one run, one table: medians in milliseconds, or how it failed. Every one of our runs
starts with a new connector: nothing learnt, nothing cached. Cells in which a client waits for seconds are
run side by side, the others one after the other. ``--check`` exits with 1 if a target of the project is
missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pvdrace.lab import Lab, become_root_inside
from pvdrace.lab.link import Link
from pvdrace.lab.scenarios import ETH, LTE, WIFI

CLIENTS = [
    "asyncio, happy_eyeballs_delay=.25",
    "asyncio plain",
    "aiohappyeyeballs",
    "anyio.connect_tcp",
    "trio.open_ssl_over_tcp_stream",
    "curl",
    "pvdrace on asyncio",
    "pvdrace on trio",
    "(pvdrace, require wifi)",
]
OURS = ("pvdrace on asyncio", "pvdrace on trio")
TROUBLES: dict[str, Callable[[Link], None]] = {
    "good": lambda eth: None,
    "IPv6 broken": lambda eth: eth.ipv6_broken(),
    "portal": lambda eth: eth.portal(),
    "black hole": lambda eth: eth.blackhole(),
    "reset all": lambda eth: eth.reset(),
    "DNS dead": lambda eth: eth.dns("dead"),
    "all dead": lambda eth: eth.dead(),
}
#: Milliseconds that ours may take where the peers fail or take 5 s; refused connections are told at once.
TARGETS = {name: 350.0 for name in TROUBLES if name not in ("good", "IPv6 broken")} | {"reset all": 140.0}


@dataclass
class Cell:
    results: list[tuple[float, str | None]]

    @property
    def good(self) -> bool:
        return all(error is None for _, error in self.results)

    @property
    def median(self) -> float:
        return statistics.median(seconds for seconds, _ in self.results) * 1000

    def __str__(self) -> str:
        failed = [error for _, error in self.results if error is not None]
        if not failed:
            return f"{self.median:.1f}"
        share = "" if len(failed) == len(self.results) else f" {len(failed)}/{len(self.results)}"
        return f"FAIL{share} {'limit' if 'limit' in failed else f'{self.median:.0f}'}"


def run(lab: Lab, client: str, runs: int, limit: float, together: bool) -> list[tuple[float, str | None]]:
    if client == "curl":
        return by_curl(lab, runs, limit, together)
    script = str(Path(__file__).with_name("lab_clients.py"))
    arguments = [client, lab.name, str(lab.ports["https"]), str(runs), str(limit), str(int(together))]
    command = [sys.executable, script, *arguments, lab.config_file]
    done = lab.run(command, timeout=runs * (limit + 2) + 30)
    if done.returncode:
        raise RuntimeError(f"{client}: {done.stderr}")
    return [(seconds, error) for seconds, error in json.loads(done.stdout)]


def by_curl(lab: Lab, runs: int, limit: float, together: bool) -> list[tuple[float, str | None]]:
    command = ["curl", "-sS", "-o", "/dev/null", "-m", str(limit), "-w", "%{time_appconnect} %{time_total}"]
    command.append(f"https://{lab.name}/")
    results: list[tuple[float, str | None]] = []
    pending: list[subprocess.Popen[str]] = []
    for number in range(runs):
        pending.append(lab.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        if together and number < runs - 1:
            continue
        for process in pending:
            output, errors = process.communicate()
            secure, total = (float(word) for word in output.split()[-2:])
            if process.returncode == 28:
                results.append((total, "limit"))
            else:
                results.append((secure or total, errors.strip()[:80] if process.returncode else None))
        pending = []
    return results


def measure(lab: Lab, client: str, runs: int, limit: float) -> Cell:
    """Try once; what took seconds once is repeated side by side."""
    first = run(lab, client, 1, limit, False)
    slow = first[0][0] > 1
    if slow:
        return Cell(first + run(lab, client, runs - 1, limit, True))
    return Cell(run(lab, client, runs, limit, False))


def show(table: dict[str, dict[str, Cell]]) -> None:
    width = max(len(client) for client in CLIENTS)
    print(" " * width + "".join(f"{trouble:>14}" for trouble in TROUBLES))
    for client in CLIENTS:
        print(f"{client:{width}}" + "".join(f"{table[t][client]!s:>14}" for t in TROUBLES))


def check(table: dict[str, dict[str, Cell]]) -> bool:
    good = True
    peers = [client for client in CLIENTS if client not in OURS and not client.startswith("(")]
    best = min(table["good"][client].median for client in peers if table["good"][client].good)
    targets = TARGETS | {"good": best + 2}
    for trouble, limit in targets.items():
        for client in OURS:
            cell = table[trouble][client]
            met = cell.good and cell.median <= limit
            good = good and met
            verdict = "ok" if met else "MISSED"
            print(f"{verdict:7} {trouble}: {client} {cell} ms (at most {limit:.1f})")
    alone = table["good"]["(pvdrace, require wifi)"].median
    for trouble in ("black hole", "DNS dead", "all dead"):
        extra = table[trouble][OURS[0]].median - alone - 250
        met = extra <= 25
        good = good and met
        print(
            f"{'ok' if met else 'MISSED':7} {trouble}: head start + wifi alone {extra:+.1f} ms (at most +25)"
        )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--limit", type=float, default=12.0, help="seconds after which a client has failed")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    become_root_inside()
    table: dict[str, dict[str, Cell]] = {}
    with Lab([ETH, WIFI, LTE]) as lab:
        for trouble, spoil in TROUBLES.items():
            spoil(lab["eth"])
            row = table[trouble] = {}
            for client in CLIENTS:
                row[client] = measure(lab, client, options.runs, options.limit)
                print(f"{trouble}: {client}: {row[client]}", file=sys.stderr)
            lab["eth"].heal()
    show(table)
    good = check(table)
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
