"""Race once, and draw what happened: a page, a drawing for documents, a trace for Perfetto, a qlog.

    python examples/draw_a_race.py www.example.com 443 pictures/

A race that was lost is drawn, too: every error carries its report.
"""

import argparse
import sys
from pathlib import Path

import anyio

import pvdrace


async def race(host: str, port: int) -> pvdrace.RaceReport:
    """The report of one race for a verified TLS stream, whoever won it."""
    try:
        connection = await pvdrace.open_connection(host, port, tls=True, timeout=10)
    except pvdrace.PvdRaceError as error:
        if error.report is None:
            raise
        return error.report
    await connection.aclose()
    return connection.report


def main(host: str, port: int, directory: Path, backend: str) -> int:
    """Race, draw, and say where; the exit code is 1 if nobody won."""
    report = anyio.run(race, host, port, backend=backend)
    directory.mkdir(exist_ok=True)
    pictures = {
        "race.html": report.to_html(),
        "race.svg": report.to_svg(),
        "race.perfetto.json": report.to_perfetto(),
        "race.sqlog": report.to_sqlog(),
    }
    for name, text in pictures.items():
        (directory / name).write_text(text, "utf-8")
        print(directory / name)
    return 0 if report.outcome == "won" else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    sys.exit(main(arguments.host, arguments.port, arguments.directory, arguments.backend))
