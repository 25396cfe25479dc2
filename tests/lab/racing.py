"""How the acceptance tests race, and how they ask the ordinary stack to do the same."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

import pvdrace
from pvdrace.config import Configuration, parse
from pvdrace.lab import Lab, Link, Packet
from pvdrace.race.pacing import Pacing
from pvdrace.race.report import AttemptRecord, LookupRecord

PATH_DELAY = Pacing().path_delay
ATTEMPT_DELAY = Pacing().connection_attempt_delay
# So long a head start that only the end of the first PvD can bring in the second.
PATIENT = Pacing(path_delay=20.0)
# The same where times are known already: a head start of 2 s, however fast the first is expected to be.
STEADY = Pacing(path_delay=20.0, connection_attempt_delay=2.0, minimum_connection_attempt_delay=2.0)
SLACK = 0.5  # seconds that a busy machine may add to anything

Fault = Callable[[Link], object]
# What keeps an attempt in one stage for good.
AT_STAGE: Mapping[str, Fault] = {"lookup": Link.dead, "handshake": Link.blackhole, "TLS": Link.stall}


def configuration(lab: Lab, **zones: list[str]) -> Configuration:
    """The lab's PvDs as configured ones; ``wA=["corp.example", "."]`` gives one its zones."""
    parsed = parse(lab.config())
    pvds = tuple(
        replace(pvd, zones=tuple(zones[pvd.name])) if pvd.name in zones else pvd for pvd in parsed.pvds
    )
    return replace(parsed, pvds=pvds)


def described(lab: Lab, **pvds: Mapping[str, Any]) -> Configuration:
    """The lab's PvDs with more said of some: ``wA={"cost": CostClass.VARIABLE}``, by the keys of a PvD."""
    parsed = parse(lab.config())
    return replace(parsed, pvds=tuple(replace(pvd, **pvds.get(pvd.name, {})) for pvd in parsed.pvds))


@contextlib.asynccontextmanager
async def opened(
    lab: Lab, config: Configuration | None = None, **options: Any
) -> AsyncIterator[pvdrace.Connector]:
    """A connector over the lab's PvDs, which must leave no task behind."""
    before = {task.id for task in anyio.get_running_tasks()}
    async with pvdrace.Connector(config or configuration(lab), **options) as connector:
        yield connector
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    left = [task for task in anyio.get_running_tasks() if task.id not in before]
    assert not left, f"left running: {left}"


def trusting(lab: Lab) -> ssl.SSLContext:
    """A TLS context that trusts the lab's authority alone."""
    return ssl.create_default_context(cafile=lab.ca_file)


async def reach(
    connector: pvdrace.Connector,
    lab: Lab,
    host: str | pvdrace.Answer | None = None,
    port: int = 443,
    **options: Any,
) -> tuple[str, pvdrace.RaceReport]:
    """Race to a verified TLS stream (443) or a TCP one; the server's word, and the report.

    The word is the name of the provider through which the server saw the client come.
    """
    if port == 443:
        options.setdefault("tls", trusting(lab))
    options.setdefault("timeout", 10)
    connection = await connector.open_connection(host or lab.name, port, **options)
    async with connection:
        with anyio.fail_after(10):
            return (await connection.receive()).decode().strip(), connection.report


async def race(
    lab: Lab, host: str | None = None, port: int = 443, **options: Any
) -> tuple[str, pvdrace.RaceReport]:
    """`reach` with a connector of its own, so that nothing is known before."""
    async with opened(lab) as connector:
        return await reach(connector, lab, host, port, **options)


async def race_and_lose(
    lab: Lab, name: str, lose: Callable[[], object], **options: Any
) -> tuple[float, pvdrace.RaceReport]:
    """Race patiently, and take a link away while its lookups or attempts are under way.

    The seconds from asking for that to the end of the last of them, by the report's own times; the report.
    """
    reports: list[pvdrace.RaceReport] = []

    async def run(connector: pvdrace.Connector) -> None:
        _, report = await reach(connector, lab, **options)
        reports.append(report)

    async with opened(lab, pacing=PATIENT) as connector:
        with anyio.fail_after(15):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, connector)
                await anyio.sleep(ATTEMPT_DELAY + 0.15)
                before = anyio.current_time()
                await anyio.to_thread.run_sync(lose)
    (report,) = reports
    lost = [record for record in records(report) if record.pvd == name and record.outcome == "cancelled"]
    ends = [report.started + record.ended for record in lost if record.ended is not None]
    assert len(ends) == len(lost) > 0
    assert min(ends) > before, "it was under way when the link went"
    return max(ends) - before, report


def policy(**lists: str) -> pvdrace.Policy:
    """``policy(require="pvd:wA family:ipv4")``."""
    words: Any = {name: selectors.split() for name, selectors in lists.items()}
    return pvdrace.Policy(**words)


def records(report: pvdrace.RaceReport) -> list[LookupRecord | AttemptRecord]:
    """Every lookup and every attempt."""
    return [*report.lookups, *report.attempts]


def pvds_of(report: pvdrace.RaceReport) -> set[str]:
    """The PvDs in which anything was sent."""
    return {record.pvd for record in records(report)}


def sent(link: Link) -> list[Packet]:
    """What the client has sent into a link since the test began; empty is "zero packets".

    Counted at the wire, before any fault. ARP and neighbour discovery are not meant; nor is the kernel's
    farewell to a connection of an earlier test: TCP that begins with no SYN.
    """
    packets = [packet for packet in link.packets() if packet.kind != "link"]
    begun = {(packet.source, packet.source_port) for packet in packets if packet.kind == "syn"}
    return [
        packet for packet in packets if packet.kind != "tcp" or (packet.source, packet.source_port) in begun
    ]


@dataclass(frozen=True)
class Outcome:
    """What the ordinary stack brought: the server's word or an error, and how long it took in seconds."""

    word: str | None
    error: str | None
    seconds: float


def ordinary(
    lab: Lab,
    host: str | None = None,
    port: int = 443,
    *,
    how: str = "asyncio",
    limit: float = 0.7,
    source: str | None = None,
    device: str | None = None,
    eyeballs: bool = False,
    dns_timeout: int | None = None,
) -> Outcome:
    """Do with the standard library what the race has done, in a process of its own in the same place.

    ``dns_timeout`` shortens the C library's 5 s a server, to a whole number of seconds.
    """
    options = {
        "how": how,
        "host": host or lab.name,
        "port": port,
        "limit": limit,
        "tls": port == 443,
        "source": source,
        "device": device,
        "eyeballs": eyeballs,
    }
    env = {**os.environ, **lab.environment}
    if dns_timeout:
        env["RES_OPTIONS"] = f"timeout:{dns_timeout} attempts:1"
    program = str(Path(__file__).with_name("ordinary.py"))
    done = lab.run([sys.executable, program, json.dumps(options)], env=env, check=True, timeout=60)
    return Outcome(**json.loads(done.stdout))
