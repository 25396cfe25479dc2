"""Races to draw: of every kind, of every size, and with what nobody would call a PvD."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pvdrace.policy import Policy
from pvdrace.race.report import RaceReport
from pvdrace.testing.scenario import (
    blackhole,
    build_pvds,
    impostor,
    nodata,
    ok,
    pvd,
    refused,
    scenario,
    servfail,
    silent,
)

HOST = "www.example.test"


def troubled() -> RaceReport:
    """Everything at once: a black hole, a wrong certificate, a winner, one in reserve, one prohibited."""
    race = scenario(
        HOST,
        eth=pvd(dns=11, v6=blackhole, v4=impostor(11, 13)),
        wifi=pvd(dns=31, v6=ok(31, tls=32), v4=refused(30)),
        lte=pvd(dns=60, v6=ok(60), cost="variable"),
        vpn=pvd(dns=40, v4=ok(3)),
        policy=Policy(prohibit=["pvd:vpn"], capacity_profile="capacity-seeking"),
    )
    return replace(race.report, ready="tls")


def cancelled() -> RaceReport:
    """The same, ended by its caller after 270 ms."""
    whole = troubled()
    return replace(whole, log=[entry for entry in whole.log if entry[0] <= 0.27], result=None, ended=None)


def crowded() -> RaceReport:
    """30 PvDs of seven addresses each, and nobody answers: 210 attempts."""
    addresses = [blackhole] + [refused(3 * n) for n in range(1, 7)]
    pvds: dict[str, Any] = {f"provider-{n}": pvd(dns=n, v4=addresses) for n in range(30)}
    return scenario(HOST, timeout=60.0, **pvds).report


def moving() -> RaceReport:
    """PvDs come and go while it runs, and an address has no route."""
    return scenario(
        HOST,
        eth=pvd(dns=10, v6=blackhole),
        add={"wifi": (120, pvd(dns=20, v6=ok(30)))},
        withdraw={"eth": 100},
        lan=pvd(dns=silent, cost="unmetered"),
    ).report


RACES: dict[str, RaceReport] = {
    "won": troubled(),
    "lost": scenario(HOST, eth=pvd(dns=11, v4=refused(4)), wifi=pvd(aaaa=nodata(3), a=servfail(3))).report,
    "cancelled": cancelled(),
    "crowded": crowded(),
    "moving": moving(),
    "nobody": scenario(HOST, eth=pvd(unusable="no address")).report,
    "at-once": scenario(HOST, eth=pvd(dns=0, v4=ok(0))).report,
    "one-millisecond": scenario(HOST, eth=pvd(dns=0.3, v4=ok(0.7))).report,
    "a-minute": scenario(HOST, eth=pvd(dns=20, v4=blackhole), lte=pvd(v6=blackhole), timeout=60.0).report,
    "a-skipped-address": scenario(
        HOST,
        wifi=pvd(v6=refused(10), v4=ok(30), routes=build_pvds({"x": pvd()})["x"].routes[1:]),
        lte=pvd(v6=ok(60)),
    ).report,
}

#: Words of `troubled` that come from outside: the network's, the provider's, the user's.
OUTSIDE = ("wifi", HOST, "wrong certificate", "metric 200", "prohibited by pvd:vpn (call)")

HOSTILE = (
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "\"><img src=x onerror='alert(1)'>",
    "'--><!--<![CDATA[ ]]>&amp;&#x3c;&lt;",
    "\u202egnp.exe\u2066\u200f",
    "\N{ARABIC LETTER ALEF}\N{HEBREW LETTER SHIN}\N{ARABIC LETTER BEH}" * 4,
    "\x00\x07\x1b[31m\x1e\r\n\t\x85\u2028",
    "\ud800 and \udfff",
    "\N{CJK UNIFIED IDEOGRAPH-6C34}" * 90,
    "x" * 4000,
    "no-break-" * 300,
)


def hostile(text: str) -> RaceReport:
    """The race of `troubled`, with this text wherever words come from outside."""
    value = troubled().to_json()
    for word in OUTSIDE:
        value = value.replace(json.dumps(word)[1:-1], json.dumps(text)[1:-1])
    if json.loads(value)["endpoint"]["host"] != text:
        raise AssertionError("nothing was put in")
    return RaceReport.from_json(value)


def with_secrets() -> RaceReport:
    """A proxy with a password, a portal's page with a token, an error that quotes both: ``s3cret``."""
    value = troubled().to_dict()
    proxy = "http://alice:s3cret@10.0.0.1:3128"
    for kind, entry in ((kind, entry) for _, kind, entry in value["log"]):
        if kind == "Connect":
            entry["through"] = proxy
        elif kind == "Failed":
            entry["error"] = f"the proxy {proxy} said 407 for https://{HOST}/login?token=s3cret#s3cret"
    left_out = value["ranking"][-1]
    left_out["excluded"] = "behind a captive portal (https://portal.example/in?session=s3cret&mac=s3cret)"
    value["ranking"][1]["because"] = [f"as alice:s3cret@10.0.0.1 has it, {proxy}/?s3cret"] * 2
    return RaceReport.from_json(json.dumps(value))
