"""HTTP clients with and without their adapter: requests a second, and the time to the first byte.

All in the lab, one run, one table each. On one good provisioning domain: what the adapter costs on a new
connection for each request, and on one that is used again; the two sides take turns. Once 10 ms away, as a
network is, and once no way at all, where a request is nothing but processor time: that is the price in
microseconds. With the default link dead: how long the first byte takes, if it comes. ``--check`` exits with 1
where, 10 ms away, a new connection costs more than 5 %, or a reused one more than the noise of the run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
from pathlib import Path
from typing import Any

from http_clients import CLIENTS

from pvdrace.lab import Lab, Provider

NEW, REUSED = 1.05, 1.01
AWAY = 0.005  # seconds each way
TWO = (Provider("dead", delay=0.005, metric=100), Provider("good", delay=0.005, metric=200))
Results = dict[str, list[Any]]


def run(lab: Lab, client: str, url: str, mode: str, rounds: int, each: int, limit: float) -> Results:
    """One client, both sides, inside the lab."""
    program = str(Path(__file__).with_name("http_clients.py"))
    arguments = [client, url, mode, str(rounds), str(each), str(limit), lab.ca_file, lab.config_file]
    environment = {**os.environ, **lab.environment}
    done = lab.run([sys.executable, program, *arguments], env=environment, check=True, timeout=600)
    found: Results = json.loads(done.stdout)
    return found


def ratio(found: Results, each: int, column: int) -> tuple[float, float, float]:
    """Ours to plain, median of rounds; and the bounds that 95 of 100 re-drawings of the rounds keep to."""

    def of_rounds(side: str) -> list[float]:
        values = [result[column] for result in found[side]]
        rounds = [values[n : n + each] for n in range(0, len(values), each)]
        return [statistics.median(one) for one in rounds[1:]]  # the first one is for imports and caches

    pairs = [ours / plain for ours, plain in zip(of_rounds("ours"), of_rounds("plain"), strict=True)]
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(pairs, k=len(pairs))) for _ in range(500))
    return statistics.median(pairs), medians[12], medians[-13]


def good_path(clients: list[str], delay: float, rounds: int, each: int) -> list[str]:
    """What an adapter costs where nothing is wrong."""
    missed = []
    where = f"{2 * delay * 1e3:.0f} ms away" if delay else "no way at all"
    print(f"One good provisioning domain, {where}: {rounds} rounds of {each} requests a side, taking turns")
    print(f"{'client':26} {'requests/s':>20} {'first byte, ms':>17}", end="")
    print(f" {'ratio of a request':>20} {'95 %':>14} {'us more':>9}")
    with Lab([Provider("good", delay=delay, metric=100)]) as lab:
        for client in clients:
            for scheme in ("http", "https"):
                for mode in ("new", "reused"):
                    url = f"{scheme}://{lab.address4}/"
                    found = run(lab, client, url, mode, rounds, each, 10.0)
                    if errors := [result[2] for side in found.values() for result in side if result[2]]:
                        raise SystemExit(f"{client} {url}: {errors[0]}")
                    middle, low, high = ratio(found, each, 1)
                    rates = [1 / statistics.median(r[1] for r in found[side]) for side in ("plain", "ours")]
                    price = (1 / rates[1] - 1 / rates[0]) * 1e6
                    first = [statistics.median(r[0] for r in found[s]) * 1e3 for s in ("plain", "ours")]
                    print(
                        f"{client:15} {scheme:5} {mode:6}"
                        f" {rates[0]:8.0f} -> {rates[1]:7.0f} {first[0]:7.2f} -> {first[1]:5.2f}"
                        f" {middle:20.3f} {low:6.3f} - {high:5.3f} {price:9.0f}",
                        flush=True,
                    )
                    if middle > NEW if mode == "new" else low > 1.0 and middle > REUSED:
                        missed.append(f"{client} {scheme} {mode}: {middle:.3f}")
    return missed


def dead_link(clients: list[str], limit: float) -> list[str]:
    """What an adapter is for."""
    missed = []
    print(f"\nThe default link is dead (accepts packets and drops all); each client gives up after {limit} s")
    print(f"{'client':15} {'':6} {'without':>24} {'with, first':>14} {'with, third':>14}")
    with Lab(TWO) as lab:
        lab["dead"].blackhole()
        for client in clients:
            for scheme in ("http", "https"):
                found: Any = run(lab, client, f"{scheme}://{lab.name}/", "new", 3, 1, limit)
                words = [
                    f"{error} after {seconds:.1f} s" if error else f"{seconds * 1e3:.0f} ms"
                    for seconds, _, error in (found["plain"][0], found["ours"][0], found["ours"][2])
                ]
                print(f"{client:15} {scheme:6} {words[0]:>24} {words[1]:>14} {words[2]:>14}", flush=True)
                if any(error for _, _, error in found["ours"]):
                    missed.append(f"{client} {scheme}: {words[1]}")
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", choices=sorted(CLIENTS), action="append")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--limit", type=float, default=2.0, help="seconds, where the link is dead")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    clients = options.client or list(CLIENTS)
    missed = good_path(clients, AWAY, options.rounds, options.each // 2)
    print()
    good_path(clients, 0.0, options.rounds, options.each)
    missed += dead_link(clients, options.limit)
    if missed:
        print("\nmissed: " + "; ".join(missed))
    if options.check and missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
