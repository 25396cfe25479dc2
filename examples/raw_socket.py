"""A connected socket and nothing around it: what a client library of your own would take.

Run it: python examples/raw_socket.py www.example.com 80
"""

import argparse

import anyio

import pvdrace


async def main(host: str, port: int) -> None:
    """Race for a TCP connection; the socket is non-blocking, pinned to its PvD, and now yours."""
    sock, report = await pvdrace.connect(host, port, timeout=10)
    with sock:
        winner = report.winner
        assert winner is not None  # a lost race raises
        print(f"{sock.getsockname()[0]} -> {sock.getpeername()[0]} through {winner.pvd}")
        if winner.rtt is not None:
            print(f"the kernel measured {winner.rtt * 1000:.1f} ms for the handshake")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.host, arguments.port, backend=arguments.backend)
