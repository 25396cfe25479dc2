"""A blocking program that knows nothing of PvDs, and one block around it: its HTTPS request races.

Run it: python examples/blocking.py www.example.com [--prohibit SELECTOR]
"""

import argparse
import ssl
import urllib.error
import urllib.request

import pvdrace
import pvdrace.sync


def fetch(url: str) -> str:
    """The program as it was."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    with urllib.request.urlopen(url, timeout=10, context=context) as response:
        return str(response.read().decode().strip())


def main(host: str, prohibit: list[str]) -> None:
    """Say what came, and how: the hook gets the report of each race."""
    hooks = [lambda report: print(report)]
    with (
        pvdrace.sync.Connector(hooks=hooks) as connector,
        pvdrace.sync.installed(connector, pvdrace.Policy(prohibit=prohibit)),
    ):
        try:
            print(fetch(f"https://{host}/"))
        except urllib.error.URLError as error:
            report = pvdrace.report_of(error)
            print(f"{error.reason}" if report is None else report.summary())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("--prohibit", metavar="SELECTOR", action="append", default=[])
    arguments = parser.parse_args()
    main(arguments.host, arguments.prohibit)
