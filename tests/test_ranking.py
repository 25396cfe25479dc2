"""Who may run, in which order, with which head start, and why. Each ranking is written as it reads:

``wifi 0 ms (unmetered)``, ``lte last (cost: variable)``, ``vpn out (prohibited by pvd:vpn (call))``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from textwrap import dedent

import pytest

from pvdrace.expectation import Expectation, Expectations
from pvdrace.model import (
    COST_FLAGS,
    Cost,
    CostClass,
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranking,
    Reachability,
    Route,
)
from pvdrace.policy import Policy
from pvdrace.race.pacing import Pacing
from pvdrace.ranking import LOOPBACK_PVD, rank
from pvdrace.selectors import Selector

V6, V4 = LocalAddress("2001:db8::2", 64), LocalAddress("192.168.1.2", 24)
UNMETERED, FIXED, VARIABLE = Cost(CostClass.UNMETERED), Cost(CostClass.FIXED), Cost(CostClass.VARIABLE)
HALF = Pacing(path_delay=0.5)
WEB = Endpoint("www.example.com", 443)


def pvd(name: str, **kwargs: object) -> ProvisioningDomain:
    return replace(ProvisioningDomain(name, interface=f"{name}0", addresses=(V6, V4)), **kwargs)  # type: ignore[arg-type]


def show(ranking: Ranking) -> str:
    def line(n: int) -> str:
        entry = ranking.ranked[n]
        start = "last" if entry.head_start is None else f"{entry.head_start * 1000:.0f} ms"
        why = f" ({'; '.join(map(str, entry.because))})" if entry.because else ""
        return f"{entry.pvd} {start}{why}"

    out = [f"{entry.pvd} out ({entry.excluded})" for entry in ranking.excluded]
    return "\n".join([line(n) for n in range(len(ranking.ranked))] + out)


def against(names: Iterable[str]) -> Expectations:
    """History speaks against these."""
    return {name: Expectation(distrusted=True) for name in names}


def check(
    expected: str,
    *pvds: ProvisioningDomain,
    to: str = "www.example.com",
    call: Policy | None = None,
    application: Policy | None = None,
    distrusted: str = "",
) -> Ranking:
    layers = [(name, policy) for name, policy in (("call", call), ("application", application)) if policy]
    ranking = rank(PvdSet(pvds), Endpoint(to, 443), layers, expected=against(distrusted.split()))
    assert show(ranking) == dedent(expected).strip()
    return ranking


WIFI, ETH = pvd("wifi", cost=UNMETERED, type="wifi"), pvd("eth", cost=UNMETERED, type="wired")
LTE = pvd("lte", cost=VARIABLE, type="cellular")
VPN = pvd("vpn", type="vpn", zones=("corp.example",))


# Order and head start.


def test_one_alone_needs_no_reason() -> None:
    check("wifi 0 ms", WIFI)


def test_nobody() -> None:
    assert rank(PvdSet(), WEB) == Ranking((), ())


def test_a_dearer_pvd_waits_for_the_latency_budget() -> None:
    check(
        """
        wifi 0 ms (unmetered)
        lte 2000 ms (cost: variable)
        """,
        LTE,
        WIFI,
    )


def test_unknown_cost_comes_after_unmetered_and_is_staggered() -> None:
    check(
        """
        wifi 0 ms (unmetered)
        box 250 ms (cost: unknown)
        lte 2000 ms (cost: variable)
        """,
        pvd("box"),
        LTE,
        WIFI,
    )


def test_cost_classes_in_order_and_equals_together() -> None:
    check(
        """
        a 0 ms (unmetered; by name)
        b 250 ms (unmetered; by name)
        c 2000 ms (cost: fixed; by name)
        d 2250 ms (cost: fixed; by name)
        e 2500 ms (cost: variable)
        """,
        *(pvd("e", cost=VARIABLE), pvd("d", cost=FIXED), pvd("c", cost=FIXED)),
        *(pvd("b", cost=UNMETERED), pvd("a", cost=UNMETERED)),
    )


def test_metered_pvds_among_themselves_are_staggered() -> None:
    check(
        """
        a 0 ms (by name)
        b 250 ms (by name)
        """,
        pvd("b", cost=VARIABLE),
        pvd("a", cost=VARIABLE),
    )


@pytest.mark.parametrize("flag", sorted(COST_FLAGS - {"temp_unmetered"}))
def test_a_circumstance_makes_dearer(flag: str) -> None:
    start = "last" if flag in ("near_limit", "over_limit") else "2000 ms"
    check(
        f"""
        home 0 ms (unmetered)
        away {start} (cost: unmetered, {flag})
        """,
        pvd("away", cost=Cost(CostClass.UNMETERED, frozenset({flag}))),
        pvd("home", cost=UNMETERED),
    )


def test_temporarily_unmetered_is_unmetered() -> None:
    check(
        """
        lte 0 ms (variable, temp_unmetered)
        wifi 250 ms (cost: unknown)
        """,
        pvd("wifi"),
        pvd("lte", cost=Cost(CostClass.VARIABLE, frozenset({"temp_unmetered"}))),
    )


def test_everything_after_one_that_waits_waits_too() -> None:
    """lte costs more than wifi before it, so it waits; box, though free, is behind lte, so longer."""
    check(
        """
        wifi 0 ms (preferred: pvd:wifi (call))
        lte 2000 ms (preferred: pvd:lte (call))
        box 2250 ms (not preferred)
        """,
        pvd("box", cost=UNMETERED),
        LTE,
        WIFI,
        call=Policy(prefer=["pvd:wifi", "pvd:lte"]),
    )


def test_route_metric_then_name() -> None:
    def metric(value: int) -> tuple[Route, ...]:
        return (Route("0.0.0.0/0", "192.168.1.1", value), Route("::/0", "fe80::1", value + 5))

    check(
        """
        b 0 ms (metric 100)
        a 250 ms (metric 200; by name)
        c 500 ms (metric 200; by name)
        """,
        *(pvd("a", routes=metric(200)), pvd("b", routes=metric(100)), pvd("c", routes=metric(200))),
    )


def test_path_delay_is_the_distance_of_the_staggered() -> None:
    ranking = rank(PvdSet((WIFI, ETH, pvd("box"))), WEB, pacing=Pacing(path_delay=0.4))
    assert [entry.head_start for entry in ranking.ranked] == [0.0, 0.4, 0.8]


# Policy.


def test_prohibited_pvds_are_out_whatever_layer_says_so() -> None:
    check(
        """
        eth 0 ms
        lte out (prohibited by cost:variable (application))
        wifi out (prohibited by pvd:wifi (call))
        """,
        *(WIFI, LTE, ETH),
        call=Policy(prohibit=["pvd:wifi"]),
        application=Policy(prohibit=["cost:variable"]),
    )


def test_required_of_every_layer_holds_and_never_falls_back() -> None:
    check(
        """
        eth out (not type:wifi, which is required (application))
        lte out (not pvd:wifi or pvd:eth, which is required (call))
        """,
        *(LTE, ETH),
        call=Policy(require=["pvd:wifi", "pvd:eth"]),
        application=Policy(require=["type:wifi"]),
    )


def test_prohibit_outranks_require() -> None:
    check(
        "wifi out (prohibited by type:wifi (application))",
        WIFI,
        call=Policy(require=["pvd:wifi"]),
        application=Policy(prohibit=["type:wifi"]),
    )


def test_preferred_come_first_in_the_order_written_and_the_rest_follow() -> None:
    check(
        """
        lte 0 ms (preferred: pvd:lte (call))
        wifi 250 ms (preferred: type:wifi (call))
        eth 500 ms (not preferred)
        """,
        *(WIFI, LTE, ETH),
        call=Policy(prefer=["pvd:lte", "type:wifi"]),
    )


def test_avoided_run_only_when_all_before_have_failed() -> None:
    check(
        """
        lte 0 ms (not avoided)
        wifi last (avoided: type:wifi (call))
        """,
        *(WIFI, LTE),
        call=Policy(avoid=["type:wifi"]),
    )


def test_avoided_alone_still_run() -> None:
    check(
        """
        eth 0 ms (by name)
        wifi 250 ms (by name)
        """,
        *(WIFI, ETH),
        call=Policy(avoid=["pvd:*"]),
    )


def test_prefer_outranks_avoid_in_one_layer_and_avoid_breaks_ties() -> None:
    check(
        """
        eth 0 ms (preferred: pvd:eth (call))
        wifi last (preferred: pvd:wifi (call))
        box last (not preferred)
        """,
        *(pvd("box"), WIFI, ETH),
        call=Policy(prefer=["pvd:eth", "pvd:wifi"], avoid=["pvd:wifi"]),
    )
    check(
        """
        eth 0 ms (preferred: pvd:* (call))
        wifi last (preferred: pvd:* (call))
        """,
        *(WIFI, ETH),
        call=Policy(prefer=["pvd:*"], avoid=["pvd:wifi"]),
    )


def test_a_layer_nearer_to_the_caller_outranks_the_next() -> None:
    check(
        """
        wifi 0 ms (preferred: pvd:wifi (call))
        eth 250 ms (preferred: pvd:eth (application))
        """,
        *(WIFI, ETH),
        call=Policy(prefer=["pvd:wifi"]),
        application=Policy(prefer=["pvd:eth"], avoid=["pvd:wifi"]),
    )


# History.


def test_a_distrusted_pvd_comes_behind_the_others_with_the_usual_head_start() -> None:
    check(
        """
        wifi 0 ms (nothing known against it)
        eth 250 ms (did not work in time a moment ago)
        """,
        *(WIFI, ETH),
        distrusted="eth",
    )


def test_history_outranks_cost_so_that_a_dear_pvd_does_not_wait_for_a_dead_one() -> None:
    check(
        """
        lte 0 ms (nothing known against it)
        wifi 250 ms (did not work in time a moment ago)
        """,
        *(WIFI, LTE),
        distrusted="wifi",
    )


def test_a_dear_pvd_waits_for_the_free_ones_that_are_trusted() -> None:
    check(
        """
        wifi 0 ms (nothing known against it; unmetered)
        lte 2000 ms (nothing known against it; cost: variable)
        eth 2250 ms (did not work in time a moment ago)
        """,
        *(WIFI, LTE, ETH),
        distrusted="eth",
    )


def test_the_word_of_the_application_outranks_history() -> None:
    check(
        """
        eth 0 ms (preferred: pvd:eth (call))
        wifi 0 ms (not preferred)
        """,
        *(WIFI, ETH),
        call=Policy(prefer=["pvd:eth"]),
        distrusted="eth",
    )
    check(
        """
        eth 0 ms (not avoided)
        wifi last (avoided: pvd:wifi (call))
        """,
        *(WIFI, ETH),
        call=Policy(avoid=["pvd:wifi"]),
        distrusted="eth",
    )


@pytest.mark.parametrize("distrusted", ["wifi lte", "vpn", ""])
def test_where_all_or_none_are_distrusted_the_other_rules_decide(distrusted: str) -> None:
    check(
        """
        wifi 0 ms (unmetered)
        lte 2000 ms (cost: variable)
        """,
        *(LTE, WIFI),
        distrusted=distrusted,
    )


def test_a_distrusted_pvd_is_never_left_out() -> None:
    check("wifi 0 ms", WIFI, distrusted="wifi")
    check(
        """
        vpn 0 ms (owns corp.example)
        wifi out (corp.example belongs to vpn)
        """,
        *(WIFI, VPN),
        to="git.corp.example",
        distrusted="vpn",
    )


# State.


def test_what_cannot_work_is_out_with_its_reason() -> None:
    check(
        """
        eth 0 ms
        wifi out (strict rp_filter on wlan0)
        """,
        pvd("wifi", unusable="strict rp_filter on wlan0"),
        ETH,
    )


@pytest.mark.parametrize(
    ("require", "runs"),
    [
        ([], False),
        (["pvd:hotel"], True),
        (["pvd:Hotel"], True),
        (["pvd:hot*"], False),
        (["type:hotel"], False),
    ],
)
def test_a_portal_is_used_only_where_it_is_required_by_name(require: list[str], runs: bool) -> None:
    hotel = pvd("hotel", reachability=Reachability.PORTAL, type="hotel")
    ranking = rank(PvdSet((hotel,)), WEB, [("call", Policy(require=require))])
    assert show(ranking) == ("hotel 0 ms" if runs else "hotel out (behind a captive portal)")


@pytest.mark.parametrize("reachability", [r for r in Reachability if r is not Reachability.PORTAL])
def test_no_other_reachability_excludes(reachability: Reachability) -> None:
    check("wifi 0 ms", pvd("wifi", reachability=reachability))


# Names: split DNS.


def test_a_name_in_a_zone_belongs_to_its_pvd_alone() -> None:
    check(
        """
        vpn 0 ms (owns corp.example)
        wifi out (corp.example belongs to vpn)
        """,
        *(WIFI, VPN),
        to="git.corp.example",
    )


def test_a_name_outside_the_zones_of_a_pvd_is_not_asked_there() -> None:
    check(
        """
        wifi 0 ms
        vpn out (the name is outside its zones corp.example)
        """,
        *(WIFI, VPN),
    )


def test_the_more_specific_zone_owns_the_name() -> None:
    check(
        """
        lab 0 ms (owns lab.corp.example)
        vpn out (lab.corp.example belongs to lab)
        """,
        *(pvd("lab", zones=("lab.corp.example",)), VPN),
        to="a.lab.corp.example",
    )


def test_two_owners_of_one_zone_race() -> None:
    check(
        """
        vpn 0 ms (owns corp.example; by name)
        vpn2 250 ms (owns corp.example; by name)
        wifi out (corp.example belongs to vpn, vpn2)
        """,
        *(WIFI, VPN, replace(VPN, name="vpn2")),
        to="git.corp.example",
    )


@pytest.mark.parametrize(
    ("vpn", "policy", "why"),
    [
        (replace(VPN, unusable="no carrier"), Policy(), "no carrier"),
        (VPN, Policy(prohibit=["type:vpn"]), "prohibited by type:vpn (call)"),
    ],
)
def test_an_owner_that_may_not_run_still_owns_its_names(
    vpn: ProvisioningDomain, policy: Policy, why: str
) -> None:
    """Fail closed: names of a zone leak to no other resolver because its PvD is down or prohibited."""
    check(
        f"""
        vpn out ({why})
        wifi out (corp.example belongs to vpn)
        """,
        *(WIFI, vpn),
        to="git.corp.example",
        call=policy,
    )


def test_a_single_label_is_for_all_that_may_complete_it() -> None:
    check(
        """
        wifi 0 ms (unmetered)
        vpn 250 ms (cost: unknown)
        """,
        *(WIFI, replace(VPN, search=("corp.example",))),
        to="printer",
    )


# IP literals.

DEFAULTS = (Route("0.0.0.0/0", "192.168.1.1"), Route("::/0", "fe80::1"))
TUNNEL = pvd("vpn", addresses=(LocalAddress("10.8.0.2", 24),), routes=(Route("10.0.0.0/8"),))


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        # The more specific route comes first, as the longer zone does for a name.
        ("10.1.2.3", "vpn 0 ms (route /8)\nwifi 250 ms (no specific route)"),
        ("10.8.0.9", "vpn 0 ms (route /24)\nwifi 250 ms (no specific route)"),
        ("192.168.1.9", "wifi 0 ms\nvpn out (no route)"),
        ("203.0.113.1", "wifi 0 ms\nvpn out (no route)"),
        ("2001:db8:5::1", "wifi 0 ms\nvpn out (no IPv6 address)"),
        ("[2001:db8:5::1]", "wifi 0 ms\nvpn out (no IPv6 address)"),
        ("0.0.0.0", "vpn out (0.0.0.0 is no destination)\nwifi out (0.0.0.0 is no destination)"),
    ],
)
def test_a_literal_goes_where_there_is_a_route_and_an_address(to: str, expected: str) -> None:
    check(expected, replace(WIFI, routes=DEFAULTS, cost=Cost()), TUNNEL, to=to)


def test_a_pvd_of_unknown_routes_is_not_out_and_comes_no_later() -> None:
    check(
        """
        eth 0 ms (by name)
        wifi 250 ms (by name)
        """,
        *(replace(WIFI, routes=DEFAULTS), ETH),
        to="203.0.113.1",
    )


@pytest.mark.parametrize("zone", ["wifi0", "3"])
def test_rfc_4007_s11_a_scoped_literal_belongs_to_one_interface(zone: str) -> None:
    check(
        f"""
        wifi 0 ms
        eth out (%{zone} is another interface)
        """,
        *(replace(ETH, ifindex=2), replace(WIFI, ifindex=3, addresses=(LocalAddress("fe80::2", 64),))),
        to=f"fe80::1%{zone}",
    )


def test_rfc_8305_s7_1_an_ipv4_literal_runs_through_nat64() -> None:
    mobile = pvd("lte", addresses=(V6,), pref64=("2001:db8:64::/96",))
    ranking = check(
        "lte 0 ms\nwifi6 out (no IPv4 address)", mobile, pvd("wifi6", addresses=(V6,)), to="203.0.113.1"
    )
    assert ranking.ranked[0].families == (6, 4)


# Families.

DUAL, ONLY6, ONLY4 = pvd("dual"), pvd("only6", addresses=(V6,)), pvd("only4", addresses=(V4,))


@pytest.mark.parametrize(
    ("pvd_", "to", "families"),
    [
        (DUAL, "www.example.com", (6, 4)),
        (ONLY6, "www.example.com", (6,)),
        (ONLY4, "www.example.com", (4,)),
        (replace(ONLY6, pref64=("2001:db8:64::/96",)), "www.example.com", (6, 4)),
        (replace(DUAL, addresses=()), "www.example.com", (6, 4)),
        (replace(ONLY4, addresses=(V4, LocalAddress("fe80::2", 64))), "www.example.com", (4,)),
        (replace(ONLY4, addresses=(V4, LocalAddress("fe80::2", 64))), "fe80::1", (6, 4)),
    ],
)
def test_families_are_those_that_the_pvd_carries(
    pvd_: ProvisioningDomain, to: str, families: tuple[int, ...]
) -> None:
    (entry,) = rank(PvdSet((pvd_,)), Endpoint(to, 443)).ranked
    assert entry.families == families


@pytest.mark.parametrize(
    ("policy", "families", "why"),
    [
        (Policy(require=["family:ipv6", "pvd:*"]), (6,), "no family left: family:ipv6 is required (call)"),
        (Policy(prohibit=["family:ipv4"]), (6,), "no family left: family:ipv4 is prohibited (call)"),
    ],
)
def test_family_selectors_restrict_and_exclude_only_where_nothing_is_left(
    policy: Policy, families: tuple[int, ...], why: str
) -> None:
    ranking = check(f"dual 0 ms\nonly4 out ({why})", DUAL, ONLY4, call=policy)
    assert ranking.ranked[0].families == families
    check(f"dual out ({why})", DUAL, to="203.0.113.1", call=policy)
    check("dual 0 ms", DUAL, to="2001:db8:5::1", call=policy)


@pytest.mark.parametrize(
    ("policy", "expected", "families"),
    [
        (Policy(prohibit=["family:ipv4"]), "lte 0 ms", (6,)),
        (Policy(require=["family:ipv4"]), "lte out (no family left: family:ipv4 is required (call))", None),
    ],
)
@pytest.mark.parametrize("to", ["www.example.com", "203.0.113.1"])
def test_behind_nat64_all_packets_are_ipv6(
    to: str, policy: Policy, expected: str, families: tuple[int, ...] | None
) -> None:
    mobile = pvd("lte", addresses=(V6,), pref64=("2001:db8:64::/96",))
    ranking = check(expected, mobile, to=to, call=policy)
    assert [e.families for e in ranking.ranked] == ([families] if families else [])


def test_families_of_all_layers_hold() -> None:
    check(
        "dual out (no family left: family:ipv6 is required (call), family:ipv6 is prohibited (application))",
        DUAL,
        call=Policy(require=["family:ipv6"]),
        application=Policy(prohibit=["family:ipv6"]),
    )


def test_link_local_addresses_alone_carry_no_name() -> None:
    check("ll out (only link-local addresses)", pvd("ll", addresses=(LocalAddress("fe80::2", 64),)))


# The host itself.


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "db.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
)
def test_rfc_6761_s6_3_loopback_uses_the_host_alone(host: str) -> None:
    ranking = check("loopback 0 ms", WIFI, VPN, to=host)
    assert ranking.ranked[0].pvd is LOOPBACK_PVD


def test_loopback_goes_through_the_same_policy() -> None:
    check(
        "loopback out (prohibited by pvd:loopback (call))", to="::1", call=Policy(prohibit=["pvd:loopback"])
    )
    check(
        "loopback out (not pvd:vpn, which is required (call))",
        VPN,
        to="::1",
        call=Policy(require=["pvd:vpn"]),
    )
    (entry,) = rank(PvdSet(), Endpoint("localhost", 1), [("call", Policy(require=["family:ipv4"]))]).ranked
    assert entry.families == (4,)


def test_a_ranking_is_a_value_that_can_be_kept() -> None:
    layers_ = (("call", Policy(prefer=[Selector("pvd", "wifi")])),)
    assert hash((WEB, layers_)) == hash((WEB, (("call", Policy(prefer=["pvd:wifi"])),)))
    assert rank(PvdSet((WIFI, LTE)), WEB, layers_) == rank(PvdSet((WIFI, LTE)), WEB, layers_)
