"""Say which way a connection may go: require and prohibit always hold, prefer and avoid order the rest.

Run it: python examples/policy.py www.example.com 443 --prefer pvd:wifi --prohibit cost:variable
"""

import argparse
import sys

import anyio

import pvdrace


async def main(host: str, port: int, policy: pvdrace.Policy) -> int:
    """Race under a policy; print who ran, who was left out and why, and who won."""
    try:
        connection = await pvdrace.open_connection(host, port, tls=True, policy=policy, timeout=10)
    except pvdrace.PvdRaceError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # a required PvD that is dead: no fallback
        return 1
    async with connection:
        ranking, winner = connection.report.ranking, connection.report.winner
    for ranked in ranking.ranked:
        print(f"{ranked.pvd} runs: {', '.join(map(str, ranked.because)) or 'alone'}")
    for left_out in ranking.excluded:
        print(f"{left_out.pvd} is left out: {left_out.excluded}")
    print(f"{winner.pvd if winner else '?'} won")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    for preference in ("require", "prefer", "avoid", "prohibit"):
        parser.add_argument(f"--{preference}", metavar="SELECTOR", action="append", default=[])
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    wanted = pvdrace.Policy(arguments.require, arguments.prefer, arguments.avoid, arguments.prohibit)
    sys.exit(anyio.run(main, arguments.host, arguments.port, wanted, backend=arguments.backend))
