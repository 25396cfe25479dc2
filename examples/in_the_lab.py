"""Run any command on a multi-homed host whose default link is a black hole. As root, or unprivileged.

    python examples/in_the_lab.py curl -sS -m 5 https://www.example.test/
    python examples/in_the_lab.py python examples/hello.py www.example.test 443

The host is made of network namespaces: two providers, each with its own DNS, and one internet behind them.
The command finds the host's PvDs by $PVDRACE_CONFIG, and trusts the certificate of www.example.test.
"""

import argparse
import sys

from pvdrace.lab import Lab, Provider, become_root_inside


def main(command: list[str]) -> int:
    """Build the host, break its default link, run the command there; its exit code."""
    become_root_inside()  # does nothing for root
    with Lab([Provider("eth", delay=0.005, metric=100), Provider("wifi", delay=0.015, metric=200)]) as lab:
        lab["eth"].blackhole()
        code: int = lab.popen(command).wait()
        for link in lab:
            sent = link.counters()
            print(f"{link.name}: {sent.syn} TCP SYNs, {sent.dns} DNS queries", file=sys.stderr)
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("which command? For instance: curl -sS -m 5 https://www.example.test/")
    sys.exit(main(arguments.command))
