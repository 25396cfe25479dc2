"""``pvdrace history``: what is kept of past connections, shown or forgotten. It sends no packet."""

from __future__ import annotations

import json
import os
import time
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from .exits import OTHER, complain
from .options import config_option, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ..history.facts import Fact
    from .output import Cell

SCHEMA = "pvdrace.history/1"
HEADERS = ("pvd", "network", "host", "port", "ready", "dns", "failures", "last success", "learnt")
NARROW = ("pvd", "host", "times", "failures", "learnt")
WIDE_ENOUGH = 140
FAMILIES = {"0": "all", "4": "ipv4", "6": "ipv6"}


@click.command("history", short_help="Show or clear what past connections taught.")
@click.argument("action", type=click.Choice(["show", "clear"]), default="show")
@click.argument("pvd", required=False)
@click.option(
    "--file",
    metavar="FILE",
    help="The file. Default: $PVDRACE_HISTORY, then pvdrace/history.db in $XDG_STATE_HOME or ~/.local/state.",
)
@json_option
@config_option
def history(action: str, pvd: str | None, file: str | None, as_json: bool) -> int:
    """Show what past connections taught, of PVD or of all PvDs; or clear it.

    A program that runs keeps what it knows in memory, and writes what it learns from then on.
    """
    from ..history_file import HistoryFile

    kept = HistoryFile(file or default_file())
    there = os.path.lexists(kept.path)
    if there and kept.is_something_else():  # a program would set it aside; who looks may have mistyped
        return complain(f"{kept.path} is not a history of pvdrace", OTHER)
    if action == "clear":
        rows = kept.clear(pvd) if there else 0
        click.echo(json.dumps({"schema": SCHEMA, "cleared": rows}) if as_json else f"{rows} cleared")
        return 0
    facts = [fact for fact in (kept.read() if there else []) if pvd in (None, fact.pvd)]
    places = summary(facts, time.time())
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "file": os.fspath(kept.path), "known": places}, indent=2))
    else:
        _print(places, kept.path, there)
    return 0


def default_file() -> str:
    """Where history is looked for if nobody says where."""
    if named := os.environ.get("PVDRACE_HISTORY"):
        return named
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return f"{state}/pvdrace/history.db"


def summary(facts: Iterable[Fact], now: float) -> list[dict[str, Any]]:
    """What is known, as plain values: one for each PvD, host and port. Times and ages are seconds."""
    return [
        _place(key, list(group), now) for key, group in groupby(sorted(facts), key=lambda fact: fact.key[:4])
    ]


def _place(key: tuple[Any, ...], facts: list[Fact], now: float) -> dict[str, Any]:
    from ..history.estimates import Rate, Times

    pvd, network, host, port = key
    found: dict[str, Any] = {
        "pvd": pvd,
        "network": network,
        "host": host or None,
        "port": port or None,
        "ready": {},
        "dns": None,
        "failures": {},
        "errors": 0.0,
        "success": None,
        "age": round(max(0.0, now - max(fact.at for fact in facts)), 1),
    }
    for fact in facts:
        word, _, rest = fact.kind.partition(":")
        if word == "ready":
            times = Times.restored(fact.x, fact.y, fact.at)
            found["ready"][rest] = {
                "usually": round(times.ready, 4),
                "probably_by": round(times.soon, 4),
                "at_least": fact.z > 0,
            }
        elif word == "dns":
            found["dns"] = round(fact.x, 4)
        elif word == "rate":
            found["errors"] = Rate.restored(fact.x, fact.y, fact.at).share(now)
        elif word == "hole" and fact.x:
            found["failures"][FAMILIES[rest]] = {
                "count": fact.x,
                "age": round(max(0.0, now - fact.at), 1),
                "blocked_for": round(max(0.0, fact.z - now), 1),
            }
        elif word == "won" and rest == "0":
            found["success"] = round(max(0.0, now - fact.at), 1)
    return found


def _print(places: list[dict[str, Any]], path: Path, there: bool) -> None:
    from .output import print_table, stderr, stdout

    console, rows = stdout(), [_row(place) for place in places]
    if not rows:
        nothing = f"nothing is known in {path}" if there else f"nothing is known: there is no {path}"
        stderr().print(nothing, soft_wrap=True, markup=False, highlight=False)
    elif console.is_terminal and console.width < WIDE_ENOUGH:
        print_table(NARROW, [_narrow(row) for row in rows], console)
    else:
        print_table(HEADERS, rows, console, right=("port",))


def _narrow(row: list[Cell]) -> list[Cell]:
    """The same with fewer columns, some things below each other."""
    from .output import cell

    pvd, network, host, port, ready, dns, failures, success, learnt = row
    return [
        cell(*pvd.lines, *(line.partition(" ")[2] or line for line in network.lines)),
        cell(*host.lines, *(f"port {line}" for line in port.lines)),
        cell(
            *(line.replace("at least", ">") for line in ready.lines), *(f"dns {line}" for line in dns.lines)
        ),
        cell(*(line.replace(" blocked", "\nblocked") for line in failures.lines)),
        cell(*learnt.lines, *(f"won {line}" for line in success.lines)),
    ]


def _row(place: dict[str, Any]) -> list[Cell]:
    from .output import cell

    ready = [
        f"{name} {'at least ' if times['at_least'] else ''}{times['usually'] * 1000:.0f} ms"
        for name, times in place["ready"].items()
    ]
    failures = [
        f"{family} {failed['count']:g}x"
        + (f" blocked {failed['blocked_for']:.0f} s" * (failed["blocked_for"] > 0))
        for family, failed in place["failures"].items()
    ]
    if place["errors"]:
        failures.append(f"{place['errors']:.0%} failed")
    return [
        cell(place["pvd"], style="bold"),
        cell(place["network"]),
        cell(place["host"] or "any"),
        cell(str(place["port"] or "any")),
        cell(*ready),
        cell(f"{place['dns'] * 1000:.0f} ms" if place["dns"] is not None else ""),
        cell(*failures),
        cell(ago(place["success"]) if place["success"] is not None else ""),
        cell(ago(place["age"])),
    ]


def ago(seconds: float) -> str:
    """An age in one unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
