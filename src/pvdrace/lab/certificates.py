"""The lab's certificates: a CA that its clients trust, and one they don't, for the portal."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("example.test", "*.example.test", "*.corp.example", "198.51.100.1", "2001:db8:99::1")


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts; the servers' have key and chain in one."""

    ca: bytes
    server: bytes
    portal: bytes

    def write(self, directory: Path) -> None:
        """``ca.pem``, ``server.pem``, ``portal.pem``."""
        for name, text in (("ca", self.ca), ("server", self.server), ("portal", self.portal)):
            (directory / f"{name}.pem").write_bytes(text)


@functools.cache
def certificates() -> Certificates:
    """Made once per process: keys cost more than namespaces."""
    try:
        import trustme
    except ImportError:
        raise LabError("the lab needs the Python package trustme: pip install 'pvdrace[lab]'") from None
    trusted, other = (
        trustme.CA(organization_name="pvdrace lab"),
        trustme.CA(organization_name="Captive portal"),
    )
    return Certificates(
        ca=trusted.cert_pem.bytes(),
        server=trusted.issue_cert(*NAMES).private_key_and_cert_chain_pem.bytes(),
        portal=other.issue_cert("portal.example.test").private_key_and_cert_chain_pem.bytes(),
    )
