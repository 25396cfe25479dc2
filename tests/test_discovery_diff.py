"""`pvdrace.discovery.diff`: what happened between two sets."""

from __future__ import annotations

from pvdrace.discovery.diff import PvdChange, diff
from pvdrace.model import ProvisioningDomain, PvdSet

WIFI = ProvisioningDomain("wifi", interface="wlan0")
LTE = ProvisioningDomain("lte", interface="wwan0")
LTE_DOWN = ProvisioningDomain("lte", interface="wwan0", unusable="link down")
WIRED = ProvisioningDomain("wired", interface="eth0")


def test_nothing_happened() -> None:
    assert diff(PvdSet((WIFI, LTE)), PvdSet((WIFI, LTE), generation=1)) == ()


def test_the_withdrawn_come_first_then_the_others_in_their_order() -> None:
    old, new = PvdSet((WIFI, LTE)), PvdSet((WIRED, LTE_DOWN), generation=1)
    assert diff(old, new) == (
        PvdChange("withdrawn", WIFI),
        PvdChange("added", WIRED),
        PvdChange("changed", LTE_DOWN),
    )


def test_a_change_is_one_line_for_people() -> None:
    assert str(PvdChange("withdrawn", WIFI)) == "wifi withdrawn"
