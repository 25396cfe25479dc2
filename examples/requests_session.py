"""A session of requests, with one adapter mounted: every new connection is a race.

Run it: python examples/requests_session.py https://www.example.com/ --avoid cost:variable
"""

import argparse

import requests

import pvdrace
from pvdrace.integrations.requests import PvdAdapter


def main(url: str, avoid: list[str]) -> None:
    """Two requests by one connection, and what its race was like."""
    adapter = PvdAdapter(policy=pvdrace.Policy(avoid=avoid))
    with requests.Session() as session:
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        for _ in range(2):
            try:
                response = session.get(url, timeout=(10, 30))
            except requests.ConnectionError as error:  # also ConnectTimeout and SSLError
                print(pvdrace.report_of(error) or error)
                raise SystemExit(1) from None
            print(response.status_code, response.text.strip())
        print(response.report)  # type: ignore[attr-defined] # of the connection that it came by


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--avoid", action="append", default=[], metavar="SELECTOR")
    arguments = parser.parse_args()
    main(arguments.url, arguments.avoid)
