"""What is to be probed, and how often: the table ``[probe]`` of `pvdrace.toml`. Pure.

Off unless it is configured: the library calls home to nobody by itself. The well-known detectors are there
by name, as a choice of the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ..model import parse_literal
from ..names import to_ascii
from .values import as_bool, as_port, as_seconds, as_text, as_word, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .toml_reader import TomlReader

#: RFC 8910 s2: a network that says this of itself has no captive portal.
UNRESTRICTED = "urn:ietf:params:capport:unrestricted"
#: The seconds between two looks at a PvD that is fine, and the longest between two at one that is not.
INTERVAL = 600.0
#: The seconds after which a PvD behind a portal is looked at again: so long after a login it is back.
RECHECK = 60.0
#: Seconds for one probe of one PvD with all that belongs to it, DNS too: Android's patience with a socket.
TIMEOUT = 10.0


class Target(NamedTuple):
    """Where a probe goes: a URL taken apart. ``path`` has the query, too; ``host`` is in ASCII."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Take an ``http://`` or ``https://`` URL apart; ValueError for what is none."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{url!r} is not a URL: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL that begins with http:// or https://")
        if parts.username is not None or parts.fragment:
            raise ValueError(f"{url!r}: a URL that is probed has no user and no fragment")
        if " " in url or not parts.path.isascii() or not parts.query.isascii() or not url.isprintable():
            raise ValueError(f"{url!r}: blanks and what is not ASCII are written as %XX")
        secure = parts.scheme == "https"
        host = parts.hostname if parse_literal(parts.hostname) else to_ascii(parts.hostname)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(secure, host, port or (443 if secure else 80), path)

    @property
    def authority(self) -> str:
        """Host and port as the ``Host`` field has them (RFC 9110 s7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"http{'s' if self.secure else ''}://{self.authority}{self.path}"


class Expected(NamedTuple):
    """What a probe's server answers where nothing stands in between.

    ``body`` is compared as ``match`` says: ``equal`` (without white space around it), ``prefix``. ``header``
    is a field and its value that do as well. ``empty``: a 200 without a body does, too.
    """

    status: int = 204
    body: str | None = None
    match: str = "prefix"
    header: tuple[str, str] | None = None
    empty: bool = False


class Detector(NamedTuple):
    """A well-known detector: the URLs that it asks, and what they answer."""

    http: str
    https: str | None
    expected: Expected


#: What a generate_204 answers.
NO_CONTENT = Expected()

DETECTORS = {
    "android": Detector(
        "http://connectivitycheck.gstatic.com/generate_204", "https://www.google.com/generate_204", NO_CONTENT
    ),
    "chrome": Detector("http://www.gstatic.com/generate_204", None, Expected(empty=True)),
    "firefox": Detector(
        "http://detectportal.firefox.com/canonical.html",
        None,
        Expected(
            200,
            '<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>',
            "equal",
        ),
    ),
    "networkmanager": Detector(
        "http://nmcheck.gnome.org/check_network_status.txt",
        None,
        Expected(200, "NetworkManager is online", header=("x-networkmanager-status", "online")),
    ),
    "windows": Detector(
        "http://www.msftconnecttest.com/connecttest.txt",
        None,
        Expected(200, "Microsoft Connect Test", "equal"),
    ),
    "apple": Detector(
        "http://captive.apple.com/hotspot-detect.html",
        None,
        Expected(200, "<HTML><HEAD><TITLE>Success</TITLE>"),
    ),
}


@dataclass(frozen=True)
class ProbeSettings:
    """The table ``[probe]``. Times are in seconds; ``ports`` are tried by TCP at the hosts of the URLs.

    ``private_addresses``: the hosts may well have private addresses. Otherwise such an answer is taken for
    what it is with a public name: not the host that was meant.
    """

    http: Target | None = None
    https: Target | None = None
    http_expected: Expected = NO_CONTENT
    https_expected: Expected = NO_CONTENT
    ports: tuple[int, ...] = ()
    interval: float = INTERVAL
    recheck: float = RECHECK
    timeout: float = TIMEOUT
    ca_file: str | None = None
    private_addresses: bool = False


def as_captive_api(value: object) -> str:
    """The URI of a Captive Portal API: ``https://`` and a name (RFC 8908 s4), or that there is no portal.

    The latter is ``urn:ietf:params:capport:unrestricted`` (RFC 8910 s2).
    """
    text = as_text(value)
    if text != UNRESTRICTED:
        as_probe_url("https")(text)
    return text


def as_probe_url(scheme: str) -> Callable[[object], Target]:
    """A reader of a URL with this scheme."""

    def convert(value: object) -> Target:
        text = as_text(value)
        target = Target.parse(text)
        if target.secure != (scheme == "https"):
            raise ValueError(f"{text!r} is not a URL that begins with {scheme}://")
        return target

    return convert


def as_status(value: object) -> int:
    """A status of HTTP."""
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value < 600:
        raise ValueError(f"{value!r} is not a status from 200 to 599")
    return value


def as_period(value: object) -> float:
    """A time above 0, in seconds."""
    seconds = as_seconds(value)
    if seconds <= 0:
        raise ValueError(f"{value} s is no time to wait")
    return seconds


def as_probe_port(value: object) -> int:
    """A port."""
    port = as_port(value)
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is not a number from 1 to 65535")
    return port


#: The keys of ``[probe]`` that have one value, and how each is read.
PROBE_VALUES: Mapping[str, Callable[[object], object]] = {
    "detector": one_of(DETECTORS),
    "http": as_probe_url("http"),
    "https": as_probe_url("https"),
    "status": as_status,
    "body": as_text,
    "interval": as_period,
    "recheck": as_period,
    "timeout": as_period,
    "ca_file": as_word,
    "private_addresses": as_bool,
}
#: Those that have a list, and how each element is read.
PROBE_LISTS: Mapping[str, Callable[[object], object]] = {"ports": as_probe_port}


def read_probe(reader: TomlReader) -> ProbeSettings | None:
    """The table ``[probe]``; None where it is left out."""
    table, path = reader.table("probe"), ("probe",)
    if table is None:
        return None
    reader.check_keys(table, path, (*PROBE_VALUES, *PROBE_LISTS))
    values: dict[str, object] = {}
    for key in table:
        if key in PROBE_VALUES:
            values[key] = reader.value(table, path, key, PROBE_VALUES[key])
        else:
            values[key] = reader.values(table, path, key, PROBE_LISTS[key])
    return reader.attempt(path, lambda: probe_settings(values))


def probe_settings(values: Mapping[str, object]) -> ProbeSettings:
    """The settings from the values of the keys that are there. What stands beside ``detector`` outdoes it.

    ``status`` and ``body`` are what both URLs answer; without them, one of the detector's answers as the
    detector expects, and any other 204. Raises ValueError for keys that make no sense together.
    """
    given = dict(values)
    detector = DETECTORS.get(str(given.pop("detector", "")))
    of_detector = {} if detector is None else {"http": detector.http, "https": detector.https}
    for key in ("status", "body", "ports"):
        if key in given and not ({"http", "https"} & given.keys() or of_detector):
            raise ValueError(f"{key} belongs to a probe: http, https or detector is missing")
    body, status = given.pop("body", None), given.pop("status", None)
    own = NO_CONTENT
    if body is not None or status is not None:
        own = Expected(200 if status is None else int(str(status)), None if body is None else str(body))
    for key in ("http", "https"):
        url = of_detector.get(key)
        given[f"{key}_expected"] = own
        if url is not None and key not in given:
            given[key] = Target.parse(url)
            if detector is not None and own is NO_CONTENT:
                given[f"{key}_expected"] = detector.expected
    return ProbeSettings(**given)  # type: ignore[arg-type]
