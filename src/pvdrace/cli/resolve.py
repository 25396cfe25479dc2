"""``pvdrace resolve NAME``: what each PvD answers, all of them asked at once."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .exits import FAILED, NO_PVD, OK, complain
from .options import config_file, config_option, json_option, timeout_option

if TYPE_CHECKING:
    from ..dns.resolver import Answer, PvdResolver
    from ..model import Ranked, Ranking
    from .output import Cell

SCHEMA = "pvdrace.resolve/1"
HEADERS = ("pvd", "type", "answer", "server", "time", "ttl")


@click.command()
@click.argument("name")
@timeout_option("For each question.", 5.0)
@json_option
@config_option
def resolve(name: str, timeout: float, as_json: bool) -> int:
    """What each PvD answers for NAME.

    A PvD that a rule of the configuration prohibits for NAME, or whose zones do not hold it, is not asked.
    """
    import anyio

    from ..calls import check_endpoint
    from ..model import is_loopback, parse_literal
    from .output import stderr

    if parse_literal(name) is not None or is_loopback(name):
        raise click.UsageError(f"{name} needs no lookup: no PvD is asked for it")
    try:
        check_endpoint(name, 1)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with stderr().status(f"asking for {name}, {timeout:g} s at most"):  # seen on a terminal only
        found = anyio.run(_resolve, name, config_file(), timeout)
    if as_json:
        click.echo(json.dumps(_as_json(name, found), indent=2))
    else:
        _print(found)
    if not found.ranking.ranked:
        return complain(f"{name}: no usable PvD", NO_PVD)
    if not any(question.answer and question.answer.addresses for question in found.questions):
        return complain(f"{name}: no PvD has an address for it", FAILED)
    return OK


@dataclass
class Question:
    """One type, asked in one PvD: an answer, or the error."""

    pvd: str
    type: str
    answer: Answer | None = None
    error: str | None = None
    server: str | None = None
    elapsed: float = 0.0


@dataclass
class Found:
    """Who may be asked, and what came of it, in the order of the ranking."""

    ranking: Ranking
    questions: list[Question]


async def _resolve(name: str, config: str | None, timeout: float) -> Found:
    import anyio

    from ..connector import Connector
    from ..model import Endpoint
    from ..race.branch import record_types
    from ..ranking.order import rank

    # No port: rules for a port do not apply to a mere question, those for a host alone do.
    endpoint = Endpoint(name, 0)
    async with Connector(config, dns_timeout=timeout) as connector:
        pvds = await connector.snapshot()
        ranking = rank(pvds, endpoint, connector.configuration.layers(endpoint))
        questions: list[Question] = []
        async with anyio.create_task_group() as tasks:
            for ranked in ranking.ranked:
                for type_ in record_types(ranked):
                    questions.append(Question(ranked.pvd.name, type_))
                    tasks.start_soon(_ask, connector.resolver, ranked, name, questions[-1])
    return Found(ranking, questions)


async def _ask(resolver: PvdResolver, ranked: Ranked, name: str, question: Question) -> None:
    from ..dns.resolver import DnsFailure

    started = time.monotonic()
    try:
        question.answer = await resolver.lookup(ranked.pvd, name, question.type, families=ranked.families)
        question.server = question.answer.server
    except (DnsFailure, OSError, ValueError) as error:
        question.error = str(error)
        question.server = getattr(error, "server", None)
    question.elapsed = time.monotonic() - started


def _print(found: Found) -> None:
    from .output import cell, print_table, stdout

    rows = [_row(question) for question in found.questions]
    for left_out in found.ranking.excluded:
        reason = cell(f"not asked: {left_out.excluded}", style="dim")
        rows.append([cell(left_out.pvd.name, style="dim"), cell(), reason, cell(), cell(), cell()])
    if rows:
        print_table(HEADERS, rows, stdout(), right=("time", "ttl"))


def _row(question: Question) -> list[Cell]:
    from ..pictures.timeline import say_seconds
    from .output import cell

    answer = question.answer
    ttl = ""
    if answer is None:
        said = cell(question.error or "failed", style="red")
    elif answer.addresses:
        said = cell(*answer.addresses)
        ttl = f"{answer.ttl:.0f} s"
    else:
        said = cell(answer.negative or "no address", style="yellow")
    return [
        cell(question.pvd, style="bold"),
        cell(question.type),
        said,
        cell(question.server or ""),
        cell(say_seconds(question.elapsed)),
        cell(ttl),
    ]


def _as_json(name: str, found: Found) -> dict[str, Any]:
    asked = [r.pvd.name for r in found.ranking.ranked]
    pvds: list[dict[str, Any]] = [
        {"pvd": pvd, "lookups": [_lookup_json(q) for q in found.questions if q.pvd == pvd]} for pvd in asked
    ]
    pvds += [{"pvd": r.pvd.name, "excluded": str(r.excluded), "lookups": []} for r in found.ranking.excluded]
    return {"schema": SCHEMA, "name": name, "pvds": pvds}


def _lookup_json(question: Question) -> dict[str, Any]:
    answer = question.answer
    value: dict[str, Any] = {
        "type": question.type,
        "server": question.server,
        "elapsed": question.elapsed,
        "outcome": "failed" if answer is None else "answered",
        "error": question.error,
        "addresses": [] if answer is None else list(answer.addresses),
    }
    if answer is not None:
        value |= {"ttl": answer.ttl, "canonical_name": answer.canonical_name, "negative": answer.negative}
    return value
