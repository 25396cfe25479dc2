"""A client of botocore, unchanged, inside a block in which blocking connections race.

Run it: python examples/botocore_client.py https://s3.example.com/ bucket key --prohibit cost:variable
"""

import argparse

import botocore.config
import botocore.session

import pvdrace
import pvdrace.sync


def main(url: str, bucket: str, key: str, prohibit: list[str], ca_file: str | None) -> None:
    """One object, by a client that is made and let go inside the block."""
    session = botocore.session.get_session()
    config = botocore.config.Config(
        signature_version=botocore.UNSIGNED,
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
    )
    with pvdrace.sync.installed(policy=pvdrace.Policy(prohibit=prohibit)):
        client = session.create_client(
            "s3", region_name="us-east-1", endpoint_url=url, verify=ca_file, config=config
        )
        print(client.get_object(Bucket=bucket, Key=key)["Body"].read().decode().strip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("bucket")
    parser.add_argument("key")
    parser.add_argument("--prohibit", action="append", default=[], metavar="SELECTOR")
    parser.add_argument("--ca-file", help="trust only this authority")
    arguments = parser.parse_args()
    main(arguments.url, arguments.bucket, arguments.key, arguments.prohibit, arguments.ca_file)
