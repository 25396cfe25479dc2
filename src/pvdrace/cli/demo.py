"""``pvdrace demo``: three PvDs in the lab, what goes wrong with them, and what the race does about it."""

from __future__ import annotations

import json
import ssl
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import plain_client
from .exits import FAILED, OK, complain
from .lab import guarded_by_lab
from .options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ..config.configuration import Configuration
    from ..lab import Lab
    from ..race.report import RaceReport
    from .output import Cell

SCHEMA = "pvdrace.demo/1"
PORT = 443
REPEATS = 3
LIMIT = 6.0
#: What people write today: as it comes, and with RFC 8305 switched on.
CONTROLS = {"asyncio": "", "asyncio + RFC 8305": "0.25"}
SCENES = {
    "good": "all good",
    "eth-blackhole": "eth is a black hole",
    "eth-dns-dead": "eth's DNS is dead",
    "eth-portal": "eth has a portal",
    "eth-ipv6-broken": "eth's IPv6 is broken",
}


@click.command(short_help="Watch three PvDs go wrong, and what a race does about it.")
@json_option
def demo(as_json: bool) -> int:
    """Three PvDs in a lab, what goes wrong with them, and what the race does about it.

    Takes half a minute. The time is that from a name to a TLS stream with a verified certificate: of
    pvdrace the median of three, each with nothing learnt, beside what asyncio does in the same place.

    Exit code 0 only if pvdrace connected everywhere.
    """
    return guarded_by_lab(lambda: _demo(as_json))


@dataclass
class Control:
    """What `plain_client` came to: seconds, and the error that ended it."""

    elapsed: float
    error: str | None


@dataclass
class Scene:
    """One thing that goes wrong, and what came of it."""

    name: str
    title: str
    times: list[float] = field(default_factory=list)
    reports: list[RaceReport] = field(default_factory=list)
    controls: dict[str, Control] = field(default_factory=dict)
    problem: str | None = None

    @property
    def median(self) -> float:
        """Seconds from the name to the verified stream."""
        return statistics.median(self.times)

    @property
    def report(self) -> RaceReport:
        """The report of the race that took the median, or of the one that went wrong."""
        if self.problem is not None:
            return self.reports[-1]
        return self.reports[self.times.index(statistics.median_low(self.times))]


def _demo(as_json: bool) -> int:
    from ..lab import become_root_inside
    from .output import stderr

    become_root_inside()  # before anything here starts a thread
    console = stderr()
    scenes = [_run(scene, n, console, lab) for n, (scene, lab) in enumerate(_scenes(console), 1)]
    if as_json:
        click.echo(json.dumps(_as_json(scenes), indent=2))
    else:
        _print(scenes)
    lost = [f"{scene.title}: {scene.problem}" for scene in scenes if scene.problem is not None]
    return complain("; ".join(lost), FAILED) if lost else OK


def _scenes(console: Console) -> Iterator[tuple[Scene, Lab]]:
    """One lab, that goes wrong in one way after the other."""
    from ..lab.scenarios import SCENARIOS, build

    with build("good") as lab:
        console.print("[bold]A host with three ways out[/bold], each with its own DNS, IPv4 and IPv6:")
        for link in lab:
            provider = link.provider
            default = "the default route" if link is next(iter(lab)) else ""
            facts = [
                f"{provider.delay * 2000:.0f} ms",
                default,
                "metered" if provider.cost == "variable" else "",
            ]
            console.print(f"  {link.name:<5}{', '.join(filter(None, facts))}")
        for name, title in SCENES.items():
            SCENARIOS[name].spoil(lab)
            yield Scene(name, title), lab
            for link in lab:
                link.heal()


def _run(scene: Scene, number: int, console: Console, lab: Lab) -> Scene:
    from rich.text import Text

    from ..config.configuration import parse
    from ..telemetry.terminal import draw

    console.print(f"\n[bold reverse] {number}/{len(SCENES)} [/] [bold]{scene.title}[/]\n")
    configuration = parse(lab.config(), "the lab's configuration")
    trusted = ssl.create_default_context(cafile=lab.ca_file)
    if number == 1:
        with lab.enter():  # what is imported late is imported now
            _race(Scene("", ""), configuration, lab.name, trusted)
    while len(scene.times) < REPEATS and scene.problem is None:
        with lab.enter():
            _race(scene, configuration, lab.name, trusted)
    if scene.reports:
        console.print(draw(scene.report, console, footnotes=number == 1))
    with console.status(f"asyncio tries, for at most {LIMIT:g} s"):
        _run_controls(scene, lab)
    console.print()
    for name, control in scene.controls.items():
        console.print(Text(f"{name}: ").append(say_control(control), "red" if control.error else ""))
    return scene


def _race(scene: Scene, configuration: Configuration, host: str, trusted: ssl.SSLContext) -> None:
    """One race of a connector that knows nothing yet; the calling thread is inside."""
    import anyio

    from ..connector import Connector
    from ..errors import PvdRaceError

    async def race() -> None:
        async with Connector(configuration) as connector:
            started = time.perf_counter()
            try:
                connection = await connector.open_connection(host, PORT, tls=trusted, timeout=LIMIT)
            except PvdRaceError as error:
                scene.problem = str(error)
                if error.report is not None:
                    scene.reports.append(error.report)
                return
            scene.times.append(time.perf_counter() - started)
            scene.reports.append(connection.report)
            async with connection:
                # The server tells everybody through which provider they came.
                came = (await connection.receive()).decode().split()
            winner = connection.report.winner
            if winner is None or winner.pvd not in came:
                scene.problem = f"the server saw {' '.join(came)!r}, the report says {winner and winner.pvd}"

    anyio.run(race)


def _run_controls(scene: Scene, lab: Lab) -> None:
    """All at once: they mostly wait. In sessions of their own: Ctrl-C is for us, not for them."""
    script = [sys.executable, "-I", str(Path(plain_client.__file__))]
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, delay in CONTROLS.items():
            command = [*script, lab.name, str(PORT), lab.ca_file, str(LIMIT), delay]
            running[name] = lab.popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for name, process in running.items():
            output, _ = process.communicate(timeout=LIMIT + 20)
            scene.controls[name] = Control(**json.loads(output))
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def say_control(control: Control) -> str:
    """What a control came to, in a few words."""
    from ..pictures.timeline import say_seconds

    took = say_seconds(control.elapsed)
    if control.error is None:
        return took
    return control.error if control.error.startswith("gave up") else f"{control.error} after {took}"


def _print(scenes: list[Scene]) -> None:
    from .output import print_table, stderr, stdout

    stderr().print(
        "\n[bold]From a name to a verified TLS stream[/]; asyncio is asyncio.open_connection,"
        "\nas it comes, and with its happy_eyeballs_delay=0.25 (RFC 8305).\n"
    )
    headers = ("what is wrong", "pvdrace", "by", *CONTROLS)
    print_table(headers, [list(_row(scene)) for scene in scenes], stdout(), right=("pvdrace",))


def _row(scene: Scene) -> Iterator[Cell]:
    from ..pictures.timeline import say_seconds
    from .output import cell

    yield cell(scene.title, style="bold")
    if scene.problem is None and scene.report.winner is not None:
        yield cell(say_seconds(scene.median), style="bold green")
        yield cell(scene.report.winner.pvd, style="green")
    else:
        yield cell("failed", style="bold red")
        yield cell()
    for control in scene.controls.values():
        yield cell(control.error or say_control(control), style="red" if control.error else "")


def _as_json(scenes: list[Scene]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "won": all(scene.problem is None for scene in scenes),
        "scenes": [
            {
                "name": scene.name,
                "title": scene.title,
                "pvdrace": {
                    "elapsed": scene.median if scene.problem is None else None,
                    "runs": scene.times,
                    "error": scene.problem,
                    "report": scene.report.to_dict() if scene.reports else None,
                },
                "controls": {
                    name: {"elapsed": control.elapsed, "error": control.error}
                    for name, control in scene.controls.items()
                },
            }
            for scene in scenes
        ],
    }
