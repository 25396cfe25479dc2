"""What each probe makes of each answer: the table of how the operating systems judge, row by row."""

from __future__ import annotations

import json

import pytest

from pvdrace.config.probe_settings import DETECTORS, Expected, Target
from pvdrace.probes import capport, http204, https
from pvdrace.probes.judgement import Finding, Judgement
from pvdrace.probes.messages import Failure, Outcome, Response

URL = Target.parse("http://probe.example/generate_204")
OK, PORTAL, FAILED, NOTHING = Finding.OK, Finding.PORTAL, Finding.FAILED, Finding.NOTHING
LOGIN = "http://192.168.1.1/login"


def response(status: int, body: str = "", /, whole: bool = True, **headers: str) -> Response:
    fields = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Response(status, fields, body.encode(), whole)


PAGE = response(200, "<html>Please sign in</html>", content_length="27")

# ---------------------------------------------------------------------- HTTP, 204 expected (Android)

HTTP = [
    ("204", response(204), OK, "HTTP 204", None),
    ("a redirect", response(302, location=LOGIN), PORTAL, f"HTTP 302 to {LOGIN}", LOGIN),
    (
        "a redirect to a path",
        response(307, location="/login"),
        PORTAL,
        "HTTP 307 to http://probe.example/login",
        "http://probe.example/login",
    ),
    ("a redirect to nowhere", response(302), PORTAL, "HTTP 302", None),
    ("a redirect to an app", response(302, location="market://x"), PORTAL, "HTTP 302", None),
    ("a redirect with a trap", response(302, location="http://[x/"), PORTAL, "HTTP 302", None),
    ("a page", PAGE, PORTAL, "HTTP 200 with another page", str(URL)),
    ("a page of no length", response(200, "<html>"), PORTAL, "HTTP 200 with another page", str(URL)),
    (
        "a page cut short",
        response(200, "<html>", whole=False),
        PORTAL,
        "HTTP 200 with another page",
        str(URL),
    ),
    ("201 with a page", response(201, "<html>"), PORTAL, "HTTP 201 with another page", str(URL)),
    ("511 (RFC 6585)", response(511, "<html>"), PORTAL, "HTTP 511", None),
    ("an empty 200", response(200), FAILED, "HTTP 200 with nothing in it", None),
    (
        "200 with Content-Length 0",
        response(200, content_length="0"),
        FAILED,
        "HTTP 200 with nothing in it",
        None,
    ),
    (
        "200 with a short body",
        response(200, "OK\r\n", content_length="4"),
        FAILED,
        "HTTP 200 with nothing in it",
        None,
    ),
    (
        "200 with five bytes",
        response(200, "hello", content_length="5"),
        PORTAL,
        "HTTP 200 with another page",
        str(URL),
    ),
    ("404", response(404, "no"), FAILED, "HTTP 404", None),
    ("500", response(500, "no"), FAILED, "HTTP 500", None),
    ("503", response(503, "no"), FAILED, "HTTP 503", None),
    ("101", response(101), FAILED, "HTTP 101", None),
    ("silence", Failure("timeout", "no answer in 10 s"), FAILED, "HTTP: no answer in 10 s", None),
    ("refused", Failure("connect", "refused"), FAILED, "HTTP: refused", None),
    (
        "a private address",
        Failure("private", "probe.example has a private address here, 10.0.0.1"),
        FAILED,
        "HTTP: probe.example has a private address here, 10.0.0.1",
        None,
    ),
    ("no HTTP at all", Failure("protocol", "no HTTP: 'SSH-2.0'"), FAILED, "HTTP: no HTTP: 'SSH-2.0'", None),
]


@pytest.mark.parametrize(
    ("outcome", "finding", "text", "portal"), [row[1:] for row in HTTP], ids=[row[0] for row in HTTP]
)
def test_http(outcome: Outcome, finding: Finding, text: str, portal: str | None) -> None:
    judged = http204.judge(outcome, Expected(), URL)
    assert (judged.finding, judged.text, judged.portal) == (finding, text, portal)


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (response(503, retry_after="120"), 120.0),
        (response(429, retry_after="7"), 7.0),
        (response(503, retry_after="99999999"), http204.MAX_RETRY_AFTER),
        (response(503, retry_after="Fri, 31 Dec 1999 23:59:59 GMT"), None),
        (response(503, retry_after="-1"), None),
        (response(404, retry_after="120"), None),
    ],
)
def test_retry_after(outcome: Response, seconds: float | None) -> None:
    assert http204.judge(outcome, Expected(), URL).retry_after == seconds


# ---------------------------------------------------------------------- the well-known detectors

FIREFOX = '<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>'
APPLE = "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>"
WELL_KNOWN = [
    ("android", response(204), OK),
    ("android", response(200), FAILED),
    ("android", PAGE, PORTAL),
    ("chrome", response(204), OK),
    ("chrome", response(200), OK),
    ("chrome", response(200, "x"), OK),
    ("chrome", PAGE, PORTAL),
    ("chrome", response(511), PORTAL),
    ("chrome", response(404), FAILED),
    ("firefox", response(200, FIREFOX), OK),
    ("firefox", response(200, f"{FIREFOX}\n"), OK),
    ("firefox", response(200, f"{FIREFOX}<script>"), PORTAL),
    ("firefox", PAGE, PORTAL),
    ("firefox", response(302, location=LOGIN), PORTAL),
    ("firefox", response(204), FAILED),
    ("firefox", response(200, FIREFOX[:20], whole=False), FAILED),
    ("firefox", response(200, "<html>", whole=False), PORTAL),
    ("networkmanager", response(200, "NetworkManager is online\n"), OK),
    ("networkmanager", response(200, "anything", x_networkmanager_status="online"), OK),
    ("networkmanager", response(200, "NetworkManager is not online"), PORTAL),
    ("windows", response(200, "Microsoft Connect Test"), OK),
    ("windows", response(200, "Microsoft Connect Test."), PORTAL),
    ("windows", response(302, location=LOGIN), PORTAL),
    ("apple", response(200, APPLE), OK),
    ("apple", PAGE, PORTAL),
    ("apple", response(500), FAILED),
]


@pytest.mark.parametrize(("name", "outcome", "finding"), WELL_KNOWN)
def test_the_well_known_detectors(name: str, outcome: Response, finding: Finding) -> None:
    detector = DETECTORS[name]
    assert http204.judge(outcome, detector.expected, Target.parse(detector.http)).finding is finding


def test_every_detector_has_a_row_for_success_and_one_for_a_portal() -> None:
    assert {(name, finding) for name, _, finding in WELL_KNOWN} >= {
        (name, finding) for name in DETECTORS for finding in (OK, PORTAL)
    }


# ---------------------------------------------------------------------- HTTPS

HTTPS = [
    ("204", response(204), OK, "HTTPS 204", None),
    ("a page", PAGE, FAILED, "HTTPS 200", "answer"),
    ("a redirect", response(302, location=LOGIN), FAILED, "HTTPS 302", "answer"),
    (
        "a certificate of somebody else",
        Failure("certificate", "wrong certificate: self-signed certificate"),
        FAILED,
        "HTTPS: wrong certificate: self-signed certificate",
        "certificate",
    ),
    (
        "a certificate that is not valid yet: the clock",
        Failure("clock", "certificate is not yet valid"),
        FAILED,
        "HTTPS: certificate is not yet valid",
        "clock",
    ),
    ("silence", Failure("timeout", "no answer"), FAILED, "HTTPS: no answer", "timeout"),
]


@pytest.mark.parametrize(
    ("outcome", "finding", "text", "kind"), [row[1:] for row in HTTPS], ids=[row[0] for row in HTTPS]
)
def test_https(outcome: Outcome, finding: Finding, text: str, kind: str | None) -> None:
    judged = https.judge(outcome, Expected())
    assert (judged.finding, judged.text, judged.kind, judged.portal) == (finding, text, kind, None)


# ---------------------------------------------------------------------- the API (RFC 8908)


def api(value: object, media_type: str | None = "application/captive+json", status: int = 200) -> Response:
    headers = {} if media_type is None else {"content-type": media_type}
    return Response(status, headers, json.dumps(value).encode())


PAGE_URL = "https://portal.example/login"
CAPTIVE = {"captive": True, "user-portal-url": PAGE_URL}
API = [
    ("captive", api(CAPTIVE), PORTAL, "API: captive", PAGE_URL),
    ("captive, unknown keys ignored", api({**CAPTIVE, "x": 1}), PORTAL, "API: captive", PAGE_URL),
    ("RFC 8910's media type", api(CAPTIVE, "application/capport+json"), PORTAL, "API: captive", PAGE_URL),
    ("with a parameter", api(CAPTIVE, "Application/JSON; charset=utf-8"), PORTAL, "API: captive", PAGE_URL),
    ("without a media type", api(CAPTIVE, None), PORTAL, "API: captive", PAGE_URL),
    ("never 'no portal'", api({"captive": False}), NOTHING, "API: not captive", None),
    ("no page", api({"captive": True}), NOTHING, "API: captive, without a user-portal-url", None),
    (
        "a page without TLS",
        api({"captive": True, "user-portal-url": LOGIN}),
        NOTHING,
        "API: captive, without a user-portal-url",
        None,
    ),
    ("'captive' missing", api({"user-portal-url": PAGE_URL}), NOTHING, "API: no 'captive' in it", None),
    ("'captive' no boolean", api({**CAPTIVE, "captive": 1}), NOTHING, "API: no 'captive' in it", None),
    ("no object", api([CAPTIVE]), NOTHING, "API: no 'captive' in it", None),
    ("no JSON", Response(200, {}, b"<html>"), NOTHING, "API: not JSON", None),
    ("not UTF-8", Response(200, {}, json.dumps(CAPTIVE).encode("utf-16")), NOTHING, "API: not JSON", None),
    ("nested without end", Response(200, {}, b"[" * 60000), NOTHING, "API: not JSON", None),
    ("cut short", api(CAPTIVE)._replace(whole=False), NOTHING, "API: cut short", None),
    ("a page", api(CAPTIVE, "text/html"), NOTHING, "API: 'text/html' is not application/captive+json", None),
    ("a redirect", api(CAPTIVE, status=302), NOTHING, "API: HTTP 302", None),
    ("404", api(CAPTIVE, status=404), NOTHING, "API: HTTP 404", None),
    (
        "a certificate of somebody else",
        Failure("certificate", "wrong certificate: x"),
        NOTHING,
        "API: wrong certificate: x",
        None,
    ),
    ("silence", Failure("timeout", "no answer"), NOTHING, "API: no answer", None),
]


@pytest.mark.parametrize(
    ("outcome", "finding", "text", "portal"), [row[1:] for row in API], ids=[row[0] for row in API]
)
def test_the_api(outcome: Outcome, finding: Finding, text: str, portal: str | None) -> None:
    judged = capport.judge(outcome)
    assert (judged.finding, judged.text, judged.portal) == (finding, text, portal)


@pytest.mark.parametrize(
    ("value", "seconds"), [(600, 600.0), (0, 0.0), (-1, None), (True, None), ("600", None), (1 << 40, None)]
)
def test_what_the_api_says_of_the_end_of_a_session(value: object, seconds: float | None) -> None:
    assert capport.judge(api({"captive": False, "seconds-remaining": value})).expires == seconds


def test_the_last_valid_answer_of_the_api_stays_in_force() -> None:
    """RFC 8908 s5: an answer that is none is discarded; one that cannot be had is as if there were no API."""
    last = capport.judge(api(CAPTIVE))
    assert capport.is_valid(last)
    assert capport.judge(Response(200, {}, b"<html>"), last) == last
    assert capport.judge(Failure("timeout", "no answer"), last).finding is NOTHING
    free = capport.judge(api({"captive": False}), last)
    assert free.finding is NOTHING
    assert capport.is_valid(free)
    assert not capport.is_valid(Judgement(NOTHING, "API: not JSON"))


def test_what_is_asked_for() -> None:
    target = Target.parse("https://api.example/capport?x")
    assert capport.request(target).encode().count(b"Accept: application/captive+json\r\n") == 1
    assert http204.request(URL).target == https.request(URL).target == URL
