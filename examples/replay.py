"""Run a recorded race again, without a network: the core is pure, so a report is a test case.

    pvdrace connect www.example.com 443 --tls --json > report.json
    python examples/replay.py report.json

The exit code is 1 if the core now does something else with the same events.
"""

import argparse
import sys
from pathlib import Path

from pvdrace import RaceReport


def main(file: Path) -> int:
    """Print the timeline of a report, and whether a fresh core does the same with the same events."""
    report = RaceReport.from_json(file.read_bytes())
    again = report.replay()
    print(again)
    same = list(again.actions()) == list(report.actions()) and again.outcome == report.outcome
    print("the same again" if same else "DIFFERENT: another version of the core, or a bug")
    return 0 if same else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    sys.exit(main(parser.parse_args().file))
