"""A blocking httpx2 client that several threads share: each new connection is a race.

Run it: python examples/httpx2_blocking.py https://www.example.com/ [URL ...] [--avoid SELECTOR]
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

import httpx2

import pvdrace
from pvdrace.integrations.httpx2 import client


def fetch(shared: httpx2.Client, url: str) -> str:
    """One request; what it could not do is httpx2's own error, with the report of the race."""
    try:
        response = shared.get(url)
    except httpx2.TransportError as error:
        report = pvdrace.report_of(error)
        return f"{url}: {report.summary() if report else error}"
    return f"{url}: {response.status_code} {response.text.strip()}"


def main(urls: list[str], avoid: list[str]) -> None:
    """All of them at once. `client` also heeds the proxies of the environment, each by a race of its own."""
    policy = pvdrace.Policy(avoid=avoid)
    with client(policy=policy, timeout=10) as shared, ThreadPoolExecutor(4) as threads:
        for line in threads.map(lambda url: fetch(shared, url), urls):
            print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("urls", nargs="+", metavar="url")
    parser.add_argument("--avoid", action="append", default=[], metavar="SELECTOR")
    arguments = parser.parse_args()
    main(arguments.urls, arguments.avoid)
