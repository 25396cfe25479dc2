"""The PvDs of this host, and what happens to them. Nothing is sent: all of it comes from the kernel.

    python examples/watch.py               # for ever
    python examples/watch.py --changes 2   # until two things have happened

A PvD that is still there and can carry nothing any more has changed: the line says why.
"""

import argparse
from contextlib import aclosing

import anyio

import pvdrace


async def main(changes: int) -> None:
    """Print a line for each PvD there is, then one for each change."""
    async with pvdrace.Connector() as connector:
        for pvd in await connector.snapshot():
            print(f"{pvd}: {pvd.unusable or 'usable'}", flush=True)
        async with aclosing(connector.watch()) as watching:
            async for change in watching:
                print(f"{change}: {change.pvd.unusable or 'usable'}", flush=True)
                changes -= 1
                if changes == 0:
                    break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--changes", type=int, default=-1, help="stop after so many")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.changes, backend=arguments.backend)
