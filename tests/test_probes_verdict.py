"""What the probes of one family say together, and the families of a PvD."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvdrace.model import LocalAddress, ProvisioningDomain, PvdSet, Reachability, Reached
from pvdrace.probes.judgement import Finding, Judgement
from pvdrace.probes.verdict import Findings, limited, settled, verdict
from pvdrace.reachability import (
    overlay,
    portal_page,
    portal_words,
    same_verdict,
    summed_up,
    with_reached,
)

UNKNOWN, VALIDATED = Reachability.UNKNOWN, Reachability.VALIDATED
PORTAL, PARTIAL, NONE = Reachability.PORTAL, Reachability.PARTIAL, Reachability.NONE

PAGE = "https://portal.example/login"
API = Judgement(Finding.PORTAL, "API: captive", portal=PAGE)
FREE = Judgement(Finding.NOTHING, "API: not captive", "free")
NO_API = Judgement(Finding.NOTHING, "API: HTTP 404")
HTTP_OK, HTTPS_OK = Judgement(Finding.OK, "HTTP 204"), Judgement(Finding.OK, "HTTPS 204")
LOGIN = Judgement(Finding.PORTAL, "HTTP 302 to http://10.0.0.1/", portal="http://10.0.0.1/")
SILENT = Judgement(Finding.FAILED, "HTTP: no answer in 10 s", "timeout")
PRIVATE = Judgement(Finding.FAILED, "HTTP: probe.example has a private address here", "private")
NO_NAME = Judgement(Finding.FAILED, "HTTP: no answer from the resolvers", "dns")
NO_ADDRESS = Judgement(Finding.FAILED, "HTTP: no address", "no address")
HERE = Judgement(Finding.FAILED, "HTTP: too many open files", "here")
BROKEN = Judgement(Finding.FAILED, "HTTPS: no answer in 10 s", "timeout")
FORGED = Judgement(Finding.FAILED, "HTTPS: wrong certificate", "certificate")
CLOCK = Judgement(Finding.FAILED, "HTTPS: certificate has expired", "clock")
ODD = Judgement(Finding.FAILED, "HTTPS 302", "answer")

VERDICTS = [
    ("all is well", {"http": HTTP_OK, "https": HTTPS_OK}, VALIDATED, (80, 443)),
    ("HTTPS alone is asked", {"https": HTTPS_OK}, VALIDATED, (443,)),
    ("HTTP alone is asked", {"http": HTTP_OK}, VALIDATED, (80,)),
    ("HTTPS proves, whatever HTTP lacks", {"http": SILENT, "https": HTTPS_OK}, VALIDATED, (443,)),
    ("the API says captive", {"api": API, "http": HTTP_OK, "https": HTTPS_OK}, PORTAL, ()),
    ("the API alone says captive", {"api": API}, PORTAL, ()),
    ("HTTP meets a portal, whatever HTTPS says", {"http": LOGIN, "https": HTTPS_OK}, PORTAL, ()),
    ("HTTP meets a portal", {"http": LOGIN, "https": FORGED}, PORTAL, ()),
    ("the API never says 'no portal'", {"api": FREE, "http": LOGIN, "https": FORGED}, PORTAL, ()),
    ("the API alone proves nothing", {"api": FREE}, UNKNOWN, ()),
    ("an API that is none", {"api": NO_API, "http": HTTP_OK, "https": HTTPS_OK}, VALIDATED, (80, 443)),
    ("an API that is none, alone", {"api": NO_API}, UNKNOWN, ()),
    ("HTTP passes, HTTPS does not", {"http": HTTP_OK, "https": BROKEN}, PARTIAL, (80,)),
    ("HTTPS is intercepted", {"http": HTTP_OK, "https": FORGED}, PARTIAL, (80,)),
    ("HTTPS is answered oddly", {"http": HTTP_OK, "https": ODD}, PARTIAL, (80,)),
    ("a wrong clock is no portal", {"http": HTTP_OK, "https": CLOCK}, PARTIAL, ()),
    ("a wrong clock alone proves nothing", {"https": CLOCK}, UNKNOWN, ()),
    ("a wrong clock, and HTTP fails", {"http": SILENT, "https": CLOCK}, NONE, ()),
    ("silence", {"http": SILENT, "https": BROKEN}, NONE, ()),
    ("a private address is no portal", {"http": PRIVATE, "https": BROKEN}, NONE, ()),
    ("no DNS", {"http": NO_NAME}, NONE, ()),
    ("a wrong certificate alone", {"https": FORGED}, NONE, ()),
    ("no address in this family", {"http": NO_ADDRESS, "https": NO_ADDRESS}, UNKNOWN, ()),
    ("HTTPS has no address in this family", {"http": HTTP_OK, "https": NO_ADDRESS}, VALIDATED, (80,)),
    ("this host is to blame", {"http": HERE}, UNKNOWN, ()),
    ("nothing asked", {}, UNKNOWN, ()),
    ("ports that pass", {"https": HTTPS_OK, "ports": {22: True}}, VALIDATED, (22, 443)),
    (
        "80 and 443 and nothing else",
        {"http": HTTP_OK, "https": HTTPS_OK, "ports": {22: False, 993: False}},
        PARTIAL,
        (80, 443),
    ),
    ("some ports", {"https": HTTPS_OK, "ports": {22: False, 993: True}}, PARTIAL, (443, 993)),
    ("HTTP and a port", {"http": HTTP_OK, "https": BROKEN, "ports": {22: True}}, PARTIAL, (22, 80)),
    ("a port is nothing without an answer", {"http": SILENT, "ports": {22: True}}, NONE, ()),
]


@pytest.mark.parametrize(
    ("found", "state", "ports"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS]
)
def test_verdict(found: dict[str, Judgement], state: Reachability, ports: tuple[int, ...]) -> None:
    reached = verdict(Findings(4, **found), 12.5)  # type: ignore[arg-type]
    assert (reached.family, reached.state, reached.ports, reached.at) == (4, state, ports, 12.5)
    assert reached.evidence
    assert (reached.portal is not None) == (state is PORTAL)


def test_a_portal_is_settled_and_nothing_else_is() -> None:
    """Nothing can follow that would change it; all else may yet turn out to be a portal."""
    for _, found, state, _ in VERDICTS:
        assert settled(Findings(4, **found)) is (state is PORTAL)  # type: ignore[arg-type]


def test_the_evidence_says_what_every_probe_said() -> None:
    reached = verdict(Findings(6, API, LOGIN, FORGED, {22: False, 25: False, 993: True}), 0)
    assert reached.evidence == (
        "API: captive, HTTP 302 to http://10.0.0.1/, HTTPS: wrong certificate, ports 22, 25 blocked"
    )
    assert reached.portal == PAGE, "the API's page comes before a redirect"
    assert verdict(Findings(4), 0).evidence == "nothing asked"


def test_the_ports_of_the_urls_count_where_they_are_others() -> None:
    found = Findings(4, http=HTTP_OK, https=HTTPS_OK, ports={22: False}, http_port=8080, https_port=8443)
    assert verdict(found, 0).ports == (8080, 8443)


@pytest.mark.parametrize(
    ("found", "ports", "blocked"),
    [
        ({"http": HTTP_OK, "https": BROKEN}, (80,), (443,)),
        ({"http": HTTP_OK, "https": HTTPS_OK, "ports": {22: False, 993: True}}, (80, 443, 993), (22,)),
        ({"http": HTTP_OK, "https": FORGED, "ports": {22: False}}, (80,), (22, 443)),
        ({"http": HTTP_OK, "https": CLOCK, "ports": {22: False}}, (), ()),
        ({"http": HTTP_OK, "https": HTTPS_OK}, (80, 443), ()),
        ({"http": SILENT, "https": BROKEN, "ports": {22: False}}, (), ()),
    ],
)
def test_a_port_that_was_tried_in_vain_is_not_one_that_was_never_tried(
    found: dict[str, Judgement], ports: tuple[int, ...], blocked: tuple[int, ...]
) -> None:
    reached = verdict(Findings(4, **found), 0)  # type: ignore[arg-type]
    assert (reached.ports, reached.blocked, reached.lost) == (ports, blocked, ())


@pytest.mark.parametrize(
    ("state", "ports", "passed", "blocked", "expected"),
    [
        (VALIDATED, (), [], [], (VALIDATED, ())),
        (VALIDATED, (), [80, 443], [22], (PARTIAL, (80, 443))),
        (VALIDATED, (), [443], [22, 443], (PARTIAL, (443,))),
        (VALIDATED, (), [22], [22], (VALIDATED, ())),
        (PARTIAL, (80,), [443], [22], (PARTIAL, (80, 443))),
        (PARTIAL, (80,), [], [80], (PARTIAL, (80,))),
        (PORTAL, (), [80], [22], (PORTAL, ())),
        (NONE, (), [80], [22], (NONE, ())),
        (UNKNOWN, (), [80], [22], (UNKNOWN, ())),
    ],
)
def test_what_races_and_history_know_of_ports(
    state: Reachability,
    ports: tuple[int, ...],
    passed: list[int],
    blocked: list[int],
    expected: tuple[Reachability, tuple[int, ...]],
) -> None:
    reached = limited(Reached(4, state, "HTTP 204", 0, ports=ports), passed, blocked)
    assert (reached.state, reached.ports) == expected
    lost = expected[0] is PARTIAL and 22 in blocked
    assert reached.lost == ((22,) if lost else ())
    assert ("22 blocked in races" in reached.evidence) == lost
    assert limited(reached._replace(lost=()), (), ()).state is reached.state


def test_what_a_probe_has_tried_in_vain_is_left_to_the_next_probe() -> None:
    """A handshake on 443 does not say that HTTPS is not tampered with."""
    probed = verdict(Findings(4, http=HTTP_OK, https=FORGED), 0)
    assert limited(probed, [443], []) == limited(probed, [443], [443]) == probed
    reached = limited(probed, [443, 993], [22, 443])
    assert (reached.ports, reached.blocked, reached.lost) == ((80, 993), (443,), (22,))


# ---------------------------------------------------------------------- families

WIFI = ProvisioningDomain(
    "wifi", addresses=(LocalAddress("10.0.1.2", 24), LocalAddress("2001:db8::2", 64)), attachment=3
)
ONLY4 = replace(WIFI, addresses=WIFI.addresses[:1])


def states(**of: Reachability) -> tuple[Reached, ...]:
    return tuple(Reached(int(name[1:]), state, "", 0) for name, state in of.items())


@pytest.mark.parametrize(
    ("reached", "total"),
    [
        ({}, UNKNOWN),
        ({"v4": VALIDATED}, VALIDATED),
        ({"v4": VALIDATED, "v6": NONE}, VALIDATED),
        ({"v4": VALIDATED, "v6": PARTIAL}, VALIDATED),
        ({"v4": PORTAL, "v6": VALIDATED}, VALIDATED),
        ({"v4": VALIDATED, "v6": PORTAL}, VALIDATED),
        ({"v4": PORTAL, "v6": PARTIAL}, PARTIAL),
        ({"v4": PORTAL, "v6": PORTAL}, PORTAL),
        ({"v4": PORTAL, "v6": NONE}, PORTAL),
        ({"v4": PORTAL, "v6": UNKNOWN}, PORTAL),
        ({"v4": PORTAL}, PORTAL),
        ({"v4": PARTIAL, "v6": NONE}, PARTIAL),
        ({"v4": NONE, "v6": NONE}, NONE),
        ({"v4": NONE}, UNKNOWN),
        ({"v4": NONE, "v6": UNKNOWN}, UNKNOWN),
    ],
)
def test_families_sum_up(reached: dict[str, Reachability], total: Reachability) -> None:
    assert with_reached(WIFI, states(**reached)).reachability is total


def test_a_family_that_a_pvd_does_not_have_is_not_missed() -> None:
    assert with_reached(ONLY4, states(v4=NONE)).reachability is NONE
    assert summed_up(states(v4=NONE)) is UNKNOWN


def test_the_words_for_a_portal() -> None:
    assert portal_words(WIFI) == "behind a captive portal"
    known = with_reached(WIFI, (Reached(4, PORTAL, "", 0, portal=PAGE),))
    assert portal_words(known) == f"behind a captive portal ({PAGE})"
    assert portal_page(known) == PAGE


def test_what_is_known_lies_over_a_snapshot_as_long_as_the_attachment_lasts() -> None:
    reached = states(v4=VALIDATED, v6=VALIDATED)
    plain = PvdSet((WIFI, replace(WIFI, name="lte")), 7)
    shown = overlay(plain, {"wifi": (3, reached), "gone": (0, reached)}, 9)
    assert (shown.generation, shown["wifi"].reached, shown["wifi"].reachability) == (9, reached, VALIDATED)
    assert shown["lte"] is plain["lte"]
    anew = PvdSet((replace(WIFI, attachment=4),))
    assert overlay(anew, {"wifi": (3, reached)}, 1)["wifi"].reachability is UNKNOWN
    down = PvdSet((replace(WIFI, unusable="no carrier"),))
    assert overlay(down, {"wifi": (3, reached)}, 1)["wifi"].reached == ()


def test_a_verdict_is_the_same_whatever_its_words_and_time() -> None:
    one = Reached(4, PORTAL, "HTTP 302", 1.0, PAGE)
    assert same_verdict((one,), (one._replace(at=2.0, evidence="API: captive"),))
    assert not same_verdict((one,), (one._replace(portal=None),))
    assert not same_verdict((one,), (one._replace(state=VALIDATED),))
    assert not same_verdict((one,), (one._replace(blocked=(22,)),))
    assert not same_verdict((one,), (one._replace(lost=(22,)),))
    assert not same_verdict((one,), (one, one._replace(family=6)))
