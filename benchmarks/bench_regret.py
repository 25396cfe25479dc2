"""What choosing costs: the first and the tenth connection across PvDs, beside the best path alone.

In the lab, world by world, in one run: the time from a name to verified TLS, ours on asyncio and trio, the
*oracle* (the best working PvD alone, found by trying each) and the plain default route. Ten connections in a
row by one connector that knows nothing at first; medians over the rounds, in milliseconds. Packets into the
metered link are counted at its wire. ``--check`` exits with 1 if a target of the project is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pvdrace.lab import Lab, Provider, become_root_inside
from pvdrace.lab.scenarios import ETH, LTE, WIFI

#: Seconds by which a first connection may be later than the best path alone: one head start.
HEAD_START = 0.250
BACKENDS = ("asyncio", "trio")
METERED = "lte"
LINKS = (replace(ETH, cost="unmetered"), replace(WIFI, cost="unmetered"), replace(LTE, cost="variable"))
SLOW_AND_FAST = (
    replace(WIFI, cost="unmetered", delay=0.040, metric=100),
    replace(LTE, cost="variable", delay=0.005, metric=200),
)


@dataclass(frozen=True)
class World:
    name: str
    spoil: Callable[[Lab], object] = lambda lab: None
    port: str = "https"
    providers: Sequence[Provider] = LINKS


WORLDS = (
    World("all good"),
    World("default dead", lambda lab: lab["eth"].blackhole()),
    World("default slow", lambda lab: lab["eth"].set(delay=0.15)),
    World("default lossy", lambda lab: lab["eth"].set(loss=0.3)),
    World("default DNS dead", lambda lab: lab["eth"].dns("dead")),
    World("default portal", lambda lab: lab["eth"].portal()),
    World("only 80 and 443", lambda lab: lab["eth"].ports([80, 443]), "https-alt"),
    World("default IPv6 broken", lambda lab: lab["eth"].ipv6_broken()),
    World("fast is metered", providers=SLOW_AND_FAST),
)


@dataclass(frozen=True)
class Runs:
    """Ten connections a round."""

    rounds: list[list[tuple[float, str | None, str | None]]]

    @property
    def success(self) -> float:
        every = [error is None for round_ in self.rounds for _, _, error in round_]
        return sum(every) / len(every)

    @property
    def mean(self) -> float:
        return statistics.fmean(seconds for round_ in self.rounds for seconds, _, _ in round_)

    def median(self, which: int) -> float:
        return statistics.median(round_[which][0] for round_ in self.rounds)

    def spread(self, which: int) -> str:
        if self.success < 1:
            return "FAIL"
        return f"{self.median(which) * 1000:.1f}"


def run(
    lab: Lab, client: str, world: World, rounds: int, *, limit: float = 12, backend: str = "asyncio"
) -> Runs:
    script = str(Path(__file__).with_name("regret_clients.py"))
    port = str(lab.ports[world.port])
    command = [
        sys.executable, script, client, backend, lab.name, port, str(rounds), str(limit), lab.config_file
    ]  # fmt: skip
    done = lab.run(command, timeout=rounds * 10 * (limit + 2) + 30)
    if done.returncode:
        raise RuntimeError(f"{client}: {done.stderr}")
    return Runs([[(a, b, c) for a, b, c in round_] for round_ in json.loads(done.stdout)])


def oracle_of(lab: Lab, world: World, rounds: int) -> tuple[str, Runs]:
    """The free PvD that is quickest on average when it is used alone, of those that do not fail at once."""
    alone = {}
    for name in (provider.name for provider in world.providers if provider.name != METERED):
        if run(lab, f"only:{name}", world, 1, limit=4).success == 1:
            alone[name] = run(lab, f"only:{name}", world, rounds)
    best = min(alone, key=lambda name: alone[name].mean)
    return best, alone[best]


@dataclass(frozen=True)
class Row:
    world: World
    best: str
    oracle: Runs
    ours: dict[str, Runs]
    default: Runs
    metered: int

    def misses(self) -> list[str]:
        found = []
        for backend, runs in self.ours.items():
            first = self.oracle.median(0) + HEAD_START
            tenth = self.oracle.median(-1) * 1.05 + 0.003
            if runs.success < 1:
                found.append(f"{backend}: {runs.success:.0%} success")
            if runs.median(0) > first:
                found.append(f"{backend}: first {runs.median(0) * 1000:.1f} (at most {first * 1000:.1f})")
            if runs.median(-1) > tenth:
                found.append(f"{backend}: tenth {runs.median(-1) * 1000:.1f} (at most {tenth * 1000:.1f})")
        if self.metered:
            found.append(f"{self.metered} packets on the metered link")
        return found


def measure(world: World, rounds: int) -> Row:
    with Lab(world.providers) as lab:
        world.spoil(lab)
        best, oracle = oracle_of(lab, world, rounds)
        default = run(lab, "default", world, 3, limit=6)
        lab.reset_counters()
        ours = {backend: run(lab, "pvdrace", world, rounds, backend=backend) for backend in BACKENDS}
        metered = sum(packet.kind != "link" for packet in lab[METERED].packets())
    return Row(world, best, oracle, ours, default, metered)


def head() -> str:
    heads = ["oracle", "first", "tenth"] + [f"{b} {n}" for b in BACKENDS for n in ("first", "tenth")]
    return f"{'ms, medians':22}" + "".join(f"{name:>15}" for name in [*heads, "default route", METERED])


def line(row: Row) -> str:
    cells = [row.best, row.oracle.spread(0), row.oracle.spread(-1)]
    cells += [runs.spread(n) for runs in row.ours.values() for n in (0, -1)]
    cells += [row.default.spread(0), f"{row.metered} packets"]
    return f"{row.world.name:22}" + "".join(f"{cell:>15}" for cell in cells)


def show(rows: Sequence[Row]) -> None:
    for row in rows:
        print(
            f"{'ok' if not row.misses() else 'MISSED':7} {row.world.name}: {'; '.join(row.misses()) or 'all'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--world", action="append", help="only this one; repeatable")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    wanted = [world for world in WORLDS if not options.world or world.name in options.world]
    if not wanted:
        parser.error(f"there are the worlds {', '.join(repr(world.name) for world in WORLDS)}")
    become_root_inside()
    rows = []
    print(head(), flush=True)
    for world in wanted:
        rows.append(measure(world, options.rounds))
        print(line(rows[-1]), flush=True)
    show(rows)
    missed = any(row.misses() for row in rows)
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
