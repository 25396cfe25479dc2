"""What Prometheus gets of a race: bounded labels and no name of a host."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pvdrace.model import Endpoint, ProvisioningDomain, Reachability
from pvdrace.policy import Policy
from pvdrace.ranking.order import LOOPBACK_PVD
from pvdrace.telemetry.prometheus import PrometheusSink
from pvdrace.testing.scenario import blackhole, build_pvds, impostor, ok, pvd, refused, scenario, servfail
from telling_reports import SECRETS, with_secrets

REPORT = scenario(
    eth=pvd(v6=blackhole, v4=refused(10)),
    wifi=pvd(v6=impostor(10, 20), v4=ok(30, tls=15)),
    lte=pvd(v4=ok(1)),
    policy=Policy(prohibit=["pvd:lte"]),
).report


def exported(registry: CollectorRegistry) -> list[str]:
    """The lines of the text format, but for its buckets and remarks."""
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if not line.startswith("#") and "_created" not in line)


def counts(registry: CollectorRegistry) -> list[str]:
    return [line for line in exported(registry) if "_bucket" not in line and "_sum" not in line]


def test_what_a_race_adds() -> None:
    registry = CollectorRegistry()
    PrometheusSink(registry)(REPORT)
    assert counts(registry) == [
        'pvdrace_attempts_total{family="ipv4",outcome="failed",pvd="eth"} 1.0',
        'pvdrace_attempts_total{family="ipv4",outcome="won",pvd="wifi"} 1.0',
        'pvdrace_attempts_total{family="ipv6",outcome="cancelled",pvd="eth"} 1.0',
        'pvdrace_attempts_total{family="ipv6",outcome="failed",pvd="wifi"} 1.0',
        'pvdrace_connect_seconds_count{family="ipv4",pvd="wifi"} 1.0',
        'pvdrace_connect_seconds_count{family="ipv6",pvd="wifi"} 1.0',
        'pvdrace_lookups_total{family="ipv4",outcome="answered",pvd="eth"} 1.0',
        'pvdrace_lookups_total{family="ipv4",outcome="answered",pvd="wifi"} 1.0',
        'pvdrace_lookups_total{family="ipv6",outcome="answered",pvd="eth"} 1.0',
        'pvdrace_lookups_total{family="ipv6",outcome="answered",pvd="wifi"} 1.0',
        'pvdrace_pvd_up{pvd="eth"} 1.0',
        'pvdrace_pvd_up{pvd="lte"} 1.0',
        'pvdrace_pvd_up{pvd="wifi"} 1.0',
        'pvdrace_race_seconds_count{family="ipv4",pvd="wifi"} 1.0',
        'pvdrace_races_total{family="ipv4",outcome="won",pvd="wifi"} 1.0',
    ]
    assert registry.get_sample_value(
        "pvdrace_connect_seconds_sum", {"pvd": "wifi", "family": "ipv4"}
    ) == pytest.approx(0.03)
    assert registry.get_sample_value(
        "pvdrace_race_seconds_sum", {"pvd": "wifi", "family": "ipv4"}
    ) == pytest.approx(0.325)


def test_a_race_that_nobody_won_has_no_pvd() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    sink(scenario(eth=pvd(dns=servfail(5))).report)
    sink(replace(REPORT, result=None, ended=None, log=REPORT.log[:8]))
    races = [line for line in counts(registry) if "races" in line]
    assert races == [
        'pvdrace_races_total{family="",outcome="cancelled",pvd=""} 1.0',
        'pvdrace_races_total{family="",outcome="lost",pvd=""} 1.0',
    ]
    assert 'pvdrace_lookups_total{family="ipv4",outcome="failed",pvd="eth"} 1.0' in counts(registry)
    assert 'pvdrace_attempts_total{family="ipv6",outcome="cancelled",pvd="eth"} 1.0' in counts(registry)


def test_no_label_names_a_host_or_holds_a_secret() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    sink(replace(REPORT, endpoint=Endpoint("private.example", 443)))
    sink(with_secrets())
    text = generate_latest(registry).decode()
    assert [word for word in ("example", "198.51", "2001:", *SECRETS) if word in text] == []


def test_the_names_of_pvds_are_so_many_and_no_more() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry, pvds=2)
    for n in range(20):
        script: Any = {f"veth{n}": pvd(v4=ok(5))}
        sink(scenario(**script).report)
    names = {line.split('pvd="')[1].split('"')[0] for line in exported(registry)}
    assert names == {"veth0", "veth1", "other"}
    races = [line for line in counts(registry) if "races" in line]
    assert 'pvdrace_races_total{family="ipv4",outcome="won",pvd="other"} 18.0' in races


def ups(registry: CollectorRegistry, *names: str) -> list[float | None]:
    return [registry.get_sample_value("pvdrace_pvd_up", {"pvd": name}) for name in names]


def test_who_is_up() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry, pvds=4)
    pvds = build_pvds({"a": pvd(), "b": pvd(unusable="link down")})
    portal = ProvisioningDomain("c", reachability=Reachability.PORTAL)
    sink.see([*pvds, portal])
    assert ups(registry, "a", "b", "c") == [1, 0, 0]
    sink.see([replace(portal, reachability=Reachability.VALIDATED)])
    assert ups(registry, "a", "b", "c") == [0, 0, 1]  # those that are gone are not up
    sink.see([ProvisioningDomain(name, unusable=why) for name, why in (("d", None), ("e", None), ("f", "x"))])
    assert ups(registry, "d", "e", "f", "other") == [1, None, None, 1]  # one of the others is


def test_a_race_on_the_loopback_says_nothing_of_the_pvds() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    sink(REPORT)
    ranked = REPORT.ranking.ranked[0]._replace(pvd=LOOPBACK_PVD)
    sink(replace(REPORT, ranking=REPORT.ranking._replace(ranked=(ranked,), excluded=())))
    assert ups(registry, "eth", "wifi", "loopback") == [1, 1, None]


def test_threads_share_one_sink() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)

    def fifty() -> None:
        for _ in range(50):
            sink(REPORT)

    threads = [threading.Thread(target=fifty) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = {"pvd": "wifi", "family": "ipv4", "outcome": "won"}
    assert registry.get_sample_value("pvdrace_races_total", labels) == 200


def test_the_registry_of_the_process_is_the_default_and_takes_one_sink() -> None:
    """In a process of its own: what is registered there stays."""
    import subprocess
    import sys

    program = """
from prometheus_client import REGISTRY
from pvdrace.telemetry.prometheus import PrometheusSink
PrometheusSink()
print("pvdrace_races" in REGISTRY._names_to_collectors)
try:
    PrometheusSink()
except ValueError as error:
    print("Duplicated" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_the_metrics_are_those_of_the_documentation() -> None:
    from test_docs import DOCS, code, table

    registry = CollectorRegistry()
    PrometheusSink(registry)(REPORT)
    families = {metric.name: metric for metric in registry.collect()}
    rows = table(DOCS / "telemetry.md", "Prometheus")
    documented = {code(row[0]).removesuffix("_total"): row[1].partition(":")[0] for row in rows}
    assert set(documented) == set(families)
    for name, words in documented.items():
        labels = families[name].samples[0].labels.keys() - {"le"}
        assert all(f"`{label}`" in words or label == "outcome" for label in labels), name
