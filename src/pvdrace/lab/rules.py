"""The nftables rules of a provider. Pure: faults in, text for ``nft -f -`` out.

The base rules stand for the whole life of the lab; the faults are chains that one script empties and fills
again, so that a change is one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import plan as addresses
from .errors import LabError

if TYPE_CHECKING:
    from .plan import Plan
    from .provider import Faults, Provider

# What --icmp may say: (reason in IPv4, reason in IPv6).
ICMP_REASONS = {
    "net-unreach": ("net-unreachable", "no-route"),
    "host-unreach": ("host-unreachable", "addr-unreachable"),
    "port-unreach": ("port-unreachable", "port-unreachable"),
    "net-prohibited": ("net-prohibited", "admin-prohibited"),
    "host-prohibited": ("host-prohibited", "admin-prohibited"),
    "admin-prohibited": ("admin-prohibited", "admin-prohibited"),
}


def base_rules(provider: Provider, plan: Plan, others: list[Plan], *, overlapping: bool) -> str:
    """NAT, the hooks that the faults hang on, and what a provider does not route."""
    foreign = [prefix for prefix in addresses.PRIVATE4 if prefix not in provider.routes]
    hidden4 = ", ".join(other.local4 for other in others)
    hidden6 = ", ".join(other.local6 for other in others)
    unrouted = f'iifname "lan" ip daddr {{ {", ".join(foreign)} }} drop' if foreign else ""
    nat66 = 'oifname "up" meta nfproto ipv6 masquerade' if overlapping else ""
    hide = (
        f'iifname "lan" ip daddr {{ {hidden4} }} drop\n        iifname "lan" ip6 daddr {{ {hidden6} }} drop'
        if others
        else ""
    )
    return f"""
table inet lab {{
    chain own_dns {{ }}
    chain fault_input {{ }}
    chain fault_forward {{ }}
    chain fault_portal {{ }}
    chain before_routing {{
        type filter hook prerouting priority raw; policy accept;
        iifname "lan" meta l4proto {{ tcp, udp }} th dport 53 notrack
        iifname "lan" meta l4proto {{ tcp, udp }} th dport 53 jump own_dns
    }}
    chain answers {{
        type filter hook output priority raw; policy accept;
        oifname "lan" meta l4proto {{ tcp, udp }} th sport {{ 53, {addresses.OWN_DNS_PORT} }} notrack
        oifname "lan" udp sport {addresses.OWN_DNS_PORT} udp sport set 53
        oifname "lan" tcp sport {addresses.OWN_DNS_PORT} tcp sport set 53
    }}
    chain portal {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "lan" jump fault_portal
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "lan" jump fault_input
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {unrouted}
        {hide}
        iifname "lan" jump fault_forward
    }}
    chain translate {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "up" meta nfproto ipv4 masquerade
        {nat66}
    }}
}}
"""


def fault_rules(faults: Faults, *, own_dns: bool) -> str:
    """One transaction that makes these faults, and no others, hold. ``own_dns``: the lab's own server
    answers."""
    lines = [
        f"flush chain inet lab {chain}"
        for chain in ("own_dns", "fault_input", "fault_forward", "fault_portal")
    ]
    if own_dns:
        lines += [
            f"add rule inet lab own_dns {l4} dport 53 {l4} dport set {addresses.OWN_DNS_PORT}"
            for l4 in ("udp", "tcp")
        ]
    lines += [f"add rule inet lab fault_input {rule}" for rule in _input(faults)]
    lines += [f"add rule inet lab fault_forward {rule}" for rule in _forward(faults)]
    if faults.portal:
        lines += [
            f"add rule inet lab fault_portal meta nfproto ipv{family} tcp dport {port} redirect to :{to}"
            for family in faults.portal_families
            for port, to in ((80, addresses.PORTAL_HTTP_PORT), (443, addresses.PORTAL_TLS_PORT))
        ]
    return "\n".join(lines) + "\n"


def check_icmp(reason: str | None) -> None:
    """LabError unless the reason is one that the rules know."""
    if reason is not None and reason not in ICMP_REASONS:
        raise LabError(f"icmp({reason!r}): it is one of {', '.join(ICMP_REASONS)}, or None")


def _input(faults: Faults) -> list[str]:
    # The own server listens on another port; both forms are the same service.
    ports = f"{{ 53, {addresses.OWN_DNS_PORT} }}"
    if faults.dns.mode == "dead":
        return [f"meta l4proto {{ tcp, udp }} th dport {ports} drop"]
    if faults.dns.mode == "closed":
        return [f"udp dport {ports} reject", f"tcp dport {ports} reject with tcp reset"]
    return []


def _forward(faults: Faults) -> list[str]:
    rules: list[str] = []
    if faults.blackhole:
        rules.append("drop")
    if faults.portal:
        rules += [f"meta nfproto ipv{family} drop" for family in faults.portal_families]
    if faults.ipv6_broken:
        rules.append("meta nfproto ipv6 drop")
    if faults.icmp is not None:
        four, six = ICMP_REASONS[faults.icmp]
        rules += [f"meta nfproto ipv4 reject with icmp {four}", f"meta nfproto ipv6 reject with icmpv6 {six}"]
    if faults.ports is not None:
        rules += _port_list(faults.ports, faults.ports_how)
    if faults.reset:
        rules.append("tcp flags & (syn | ack) == syn reject with tcp reset")
    return rules


def _port_list(ports: tuple[int, ...], how: str) -> list[str]:
    allowed = f"th dport != {{ {', '.join(str(port) for port in ports)} }} " if ports else ""
    if how == "drop":
        return [f"meta l4proto {{ tcp, udp }} {allowed}drop", "meta l4proto != { tcp, udp } drop"]
    return [
        f"meta l4proto tcp {allowed}reject with tcp reset",
        f"meta l4proto udp {allowed}reject with icmpx port-unreachable",
        "meta l4proto != { tcp, udp } reject with icmpx admin-prohibited",
    ]
