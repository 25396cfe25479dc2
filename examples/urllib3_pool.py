"""A pool manager of urllib3 whose connections are races.

Run it: python examples/urllib3_pool.py https://www.example.com/ [--prohibit SELECTOR]
"""

import argparse

import urllib3

import pvdrace
from pvdrace.integrations.urllib3 import PvdPoolManager


def main(url: str, prohibit: list[str]) -> None:
    """Two requests by one connection, and what its race was like."""
    policy = pvdrace.Policy(prohibit=prohibit)
    with PvdPoolManager(policy=policy, timeout=urllib3.Timeout(connect=10, read=30), retries=False) as http:
        for _ in range(2):
            try:
                response = http.request("GET", url)
            except urllib3.exceptions.HTTPError as error:
                print(pvdrace.report_of(error) or error)
                raise SystemExit(f"{type(error).__name__}: {error}") from None
            print(response.status, response.data.decode().strip())
        print(response.report)  # type: ignore[attr-defined] # of the connection that it came by


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--prohibit", action="append", default=[], metavar="SELECTOR")
    arguments = parser.parse_args()
    main(arguments.url, arguments.prohibit)
