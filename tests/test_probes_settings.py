"""The table ``[probe]`` of `pvdrace.toml`."""

from __future__ import annotations

import pytest

from pvdrace.config import Configuration, parse
from pvdrace.config.probe_settings import DETECTORS, INTERVAL, Expected, ProbeSettings, Target
from pvdrace.errors import ConfigurationError


def settings(text: str) -> ProbeSettings:
    found = parse(f"[probe]\n{text}").probe
    assert found is not None
    return found


def test_off_unless_configured() -> None:
    assert Configuration().probe is None
    assert parse("").probe is None
    assert settings("") == ProbeSettings()
    assert settings("").http is settings("").https is None


def test_everything_that_can_be_said() -> None:
    found = settings(
        'http = "http://probe.example:8080/a?b"\nhttps = "https://bücher.example"\n'
        'status = 200\nbody = "fine"\n'
        'ports = [22, 993]\ninterval = 300\nrecheck = 5.5\ntimeout = 3\nca_file = "/etc/ca.pem"\n'
        "private_addresses = true\n"
    )
    assert found == ProbeSettings(
        http=Target(False, "probe.example", 8080, "/a?b"),
        https=Target(True, "xn--bcher-kva.example", 443, "/"),
        http_expected=Expected(200, "fine"),
        https_expected=Expected(200, "fine"),
        ports=(22, 993),
        interval=300.0,
        recheck=5.5,
        timeout=3.0,
        ca_file="/etc/ca.pem",
        private_addresses=True,
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_a_choice_by_name(name: str) -> None:
    found = settings(f'detector = "{name}"')
    assert str(found.http) == DETECTORS[name].http
    assert (str(found.https) if found.https else None) == DETECTORS[name].https
    assert found.http_expected == DETECTORS[name].expected
    assert found.https is None or found.https_expected == DETECTORS[name].expected
    assert found.interval == INTERVAL


def test_what_stands_beside_a_detector_outdoes_it() -> None:
    found = settings('detector = "android"\nhttps = "https://own.example/204"')
    assert str(found.http) == DETECTORS["android"].http
    assert str(found.https) == "https://own.example/204"
    assert settings('detector = "firefox"\nstatus = 204').http_expected == Expected(204)
    assert settings('http = "http://a.example"\nbody = "x"').http_expected == Expected(200, "x")
    both = settings('detector = "firefox"\nhttps = "https://own.example/204"')
    assert (both.http_expected, both.https_expected) == (DETECTORS["firefox"].expected, Expected(204))


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://a.example/", "a.example"),
        ("https://a.example:443/", "a.example"),
        ("http://a.example:443/", "a.example:443"),
        ("http://[2001:db8::1]/", "[2001:db8::1]"),
        ("http://192.0.2.1:8080/", "192.0.2.1:8080"),
    ],
)
def test_a_target_is_a_url_taken_apart(url: str, authority: str) -> None:
    target = Target.parse(url)
    assert target.authority == authority
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("probe = 1", "probe: a table [probe] is wanted, not a number"),
        ('[probe]\nhtttp = "x"', "probe.htttp: unknown key; did you mean 'http'?"),
        (
            '[probe]\nhttp = "https://a.example/"',
            "probe.http: 'https://a.example/' is not a URL that begins with http://",
        ),
        (
            '[probe]\nhttps = "a.example"',
            "probe.https: 'a.example' is not a URL that begins with http:// or https://",
        ),
        (
            '[probe]\nhttp = "http://me@a.example/"',
            "probe.http: 'http://me@a.example/': a URL that is probed has no user and no fragment",
        ),
        (
            '[probe]\nhttp = "http://a.example/ä"',
            "probe.http: 'http://a.example/ä': blanks and what is not ASCII are written as %XX",
        ),
        ('[probe]\nhttp = "http://a.example:x/"', "probe.http: 'http://a.example:x/' is not a URL: "),
        (
            '[probe]\ndetector = "google"',
            "probe.detector: 'google' is not one of android, chrome, firefox, networkmanager, windows, apple",
        ),
        ("[probe]\nstatus = 99", "probe.status: 99 is not a status from 200 to 599"),
        ("[probe]\nstatus = 204", "probe: status belongs to a probe: http, https or detector is missing"),
        ("[probe]\nports = [22]", "probe: ports belongs to a probe: http, https or detector is missing"),
        ('[probe]\nhttp = "http://a.example"\nports = [0]', "probe.ports[0]: port 0 is not a number from 1"),
        ("[probe]\ninterval = 0", "probe.interval: 0 s is no time to wait"),
        ("[probe]\ntimeout = 4000", "probe.timeout: 4000 s is more than an hour"),
        ("[probe]\nprivate_addresses = 1", "probe.private_addresses: true or false is wanted, not a number"),
        (
            '[[pvd]]\nname = "a"\ncaptive_api = "http://a.example/"',
            "pvd[0].captive_api: 'http://a.example/' is not a URL that begins with https://",
        ),
    ],
)
def test_an_error_says_where_and_what(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("pvdrace.toml:")


def test_a_network_may_say_that_it_has_no_portal() -> None:
    text = '[[pvd]]\nname = "a"\ncaptive_api = "urn:ietf:params:capport:unrestricted"'
    assert parse(text).pvds[0].captive_api == "urn:ietf:params:capport:unrestricted"
