"""Say which way a connection may go: require and prohibit always hold, prefer and avoid order the rest.

Run it: python examples/policy.py www.example.com 443 --prefer pvd:wifi --prohibit cost:variable
"""

import argparse
import os
import sys

import anyio

import pvdrace


async def main(host: str, port: int, policy: pvdrace.Policy) -> int:
    """Race under a policy; print who ran, who was left out and why, and who won."""
    # A connector of its own, and not the module's: leaving it waits until the sockets of the losers can be
    # closed without the kernel answering somebody over a prohibited link.
    async with pvdrace.Connector(os.environ.get("PVDRACE_CONFIG"), policy=policy) as connector:
        try:
            connection = await connector.open_connection(host, port, tls=True, timeout=10)
        except pvdrace.PvdRaceError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)  # no fallback from a requirement
            return 1
        await connection.aclose()
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
