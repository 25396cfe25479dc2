"""The commands that build the network. Pure: providers and plans in, text for ``ip -batch`` and sysctls
out.

Namespaces: ``client``; ``wires`` (both ends of every link, no addresses, a forwarder between them); one per
provider; ``internet`` with the servers. Interfaces: the provider's name at the client, ``lan`` and ``up``
in the provider, ``cN`` and ``pN`` among the wires, ``uN`` in the internet.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from . import plan as addresses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .plan import Plan
    from .provider import Provider

# A wire carries packets as the network would see them, not the 64 kB bundles of one host.
_NO_BUNDLES = "gso_max_segs 1"


def metric(provider: Provider, plan: Plan) -> int:
    """The metric of the client's routes through this provider."""
    return provider.metric if provider.metric is not None else plan.number * 100


def sysctls(namespace: str, rp_filter: int) -> Mapping[str, str]:
    """What to write below /proc/sys/net in a new namespace, before it has devices."""
    quiet = {
        f"ipv6/conf/{scope}/{key}": "0"
        for scope in ("all", "default")
        for key in ("accept_dad", "dad_transmits", "accept_ra", "autoconf", "router_solicitations")
    }
    if namespace == "wires":
        return {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}
    if namespace == "client":
        return quiet | {
            "ipv4/conf/all/rp_filter": str(rp_filter),
            "ipv4/conf/default/rp_filter": str(rp_filter),
            # Strict about ARP, or overlapping links answer for each other.
            "ipv4/conf/all/arp_ignore": "1",
            "ipv4/conf/all/arp_announce": "2",
        }
    return quiet | {
        "ipv4/ip_forward": "1",
        "ipv6/conf/all/forwarding": "1",
        "ipv6/conf/default/forwarding": "1",
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/default/rp_filter": "0",
        # A fault must strike every time, not only as often as a polite router would report it.
        "ipv4/icmp_ratelimit": "0",
        "ipv6/icmp/ratelimit": "0",
        "ipv6/icmp/ratemask": "",
    }


def link_commands(provider: Provider, plan: Plan, client_namespace: str) -> list[str]:
    """In the wires' namespace: the client's half of one link."""
    n = plan.number
    return [
        (
            f"link add name c{n} {_NO_BUNDLES} type veth"
            f" peer name {provider.name} {_NO_BUNDLES} netns {client_namespace}"
        ),
        f"link set dev c{n} up",
    ]


def lan_commands(plan: Plan, provider_namespace: str) -> list[str]:
    """In the wires' namespace: the provider's half of one link."""
    n = plan.number
    return [
        f"link add name p{n} {_NO_BUNDLES} type veth peer name lan {_NO_BUNDLES} netns {provider_namespace}",
        f"link set dev p{n} up",
    ]


def client_commands(provider: Provider, plan: Plan) -> list[str]:
    """In the client's namespace: addresses and routes of one link (also again after it was down)."""
    name, cost = provider.name, metric(provider, plan)
    commands = [f"link set dev {name} up"]
    if provider.ipv4:
        commands += [
            f"addr replace {plan.address4}/24 dev {name} noprefixroute",
            f"route replace {_network(plan.address4, 24)} dev {name} src {plan.address4} metric {cost}",
        ]
    if provider.ipv6:
        commands += [
            f"addr replace {plan.address6}/64 dev {name} nodad noprefixroute",
            f"route replace {_network(plan.address6, 64)} dev {name} metric {cost}",
        ]
    for prefix in _prefixes(provider):
        four = ipaddress.ip_network(prefix).version == 4
        source = f" src {plan.address4}" if four else f" src {plan.address6}"
        gateway = plan.gateway4 if four else plan.gateway6
        commands.append(f"route replace {prefix} via {gateway} dev {name}{source} metric {cost}")
    return commands


def provider_commands(provider: Provider, plan: Plan) -> list[str]:
    """In the provider's namespace: gateway, second address for odd answers, the way up."""
    commands = ["link set dev lo up", "link set dev lan up", "link set dev up up"]
    if provider.ipv4:
        commands += [f"addr add {plan.gateway4}/24 dev lan", f"addr add {plan.odd4}/32 dev lan"]
    if provider.ipv6:
        commands += [f"addr add {plan.gateway6}/64 dev lan nodad", f"addr add {plan.odd6}/128 dev lan nodad"]
    commands += [
        f"addr add {plan.public4}/32 dev up",
        f"route add {addresses.INTERNET_ROUTER4}/32 dev up",
        f"route add default via {addresses.INTERNET_ROUTER4} dev up src {plan.public4}",
        f"addr add {plan.public6}/128 dev up nodad",
        "addr add fe80::2/64 dev up nodad",
        f"route add default via fe80::1 dev up src {plan.public6}",
    ]
    return commands


def internet_commands(plans: Sequence[Plan], namespaces: Sequence[str]) -> list[str]:
    """In the internet's namespace: ways to the providers, and every server address at once (AnyIP)."""
    commands = ["link set dev lo up", f"addr add {addresses.INTERNET_ROUTER4}/32 dev lo"]
    for plan, namespace in zip(plans, namespaces, strict=True):
        n = plan.number
        commands += [
            f"link add name u{n} type veth peer name up netns {namespace}",
            f"link set dev u{n} up",
            f"addr add fe80::1/64 dev u{n} nodad",
            f"route add {plan.public4}/32 dev u{n}",
            f"route add {plan.prefix6} via fe80::2 dev u{n}",
        ]
    return [
        *commands,
        *(
            f"route add local {prefix} dev lo"
            for prefix in (addresses.SERVERS4, addresses.SERVERS6, addresses.CORPORATE4)
        ),
        # What nobody has is lost in silence, as on the real internet.
        "route add blackhole 0.0.0.0/0 metric 4000",
        "route add blackhole ::/0 metric 4000",
    ]


def _prefixes(provider: Provider) -> list[str]:
    defaults = (["0.0.0.0/0"] if provider.ipv4 else []) + (["::/0"] if provider.ipv6 else [])
    wanted = (defaults if provider.default_route else []) + list(provider.routes)
    return [prefix for prefix in wanted if provider.ipv4 or ":" in prefix]


def _network(address: str, length: int) -> str:
    return str(ipaddress.ip_interface(f"{address}/{length}").network)
