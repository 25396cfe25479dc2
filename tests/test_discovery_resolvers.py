"""Where a PvD's resolvers come from: resolv.conf(5), systemd-resolved, and who gets what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.discovery.resolvconf import NameServer, ResolvConf, parse_resolv_conf
from pvdrace.discovery.resolved import (
    LinkDns,
    parse_dump,
    parse_networkd_file,
    parse_resolved_file,
    parse_server,
)
from pvdrace.discovery.resolvers import DnsSettings, SystemDns, settings_for
from pvdrace.model import Resolver


class TestResolvConf:
    TEXTS = (
        ("", ResolvConf()),
        ("nameserver 192.0.2.1\n", ResolvConf((NameServer("192.0.2.1"),))),
        ("nameserver\t2001:DB8::1   # the good one\n", ResolvConf((NameServer("2001:db8::1"),))),
        ("nameserver fe80::1%eth0", ResolvConf((NameServer("fe80::1", "eth0"),))),
        ("nameserver 192.0.2.1\nnameserver 192.0.2.1", ResolvConf((NameServer("192.0.2.1"),))),
        ("# nameserver 192.0.2.1\n;nameserver 192.0.2.2\n", ResolvConf()),
        ("search Corp.Example. example. corp.example", ResolvConf(search=("corp.example", "example"))),
        ("search .", ResolvConf()),
        ("domain corp.example other", ResolvConf(search=("corp.example",))),
        ("search a b\ndomain c", ResolvConf(search=("c",))),
        ("domain c\nsearch a b", ResolvConf(search=("a", "b"))),
        ("options edns0 ndots:3 trust-ad", ResolvConf(ndots=3)),
        ("options ndots:99", ResolvConf(ndots=15)),
        ("sortlist 130.155.160.0", ResolvConf()),
        ("options ndots:x", ResolvConf(problems=("line 1: 'ndots:x' is not a number of dots",))),
        ("nameserver", ResolvConf(problems=("line 1: 'nothing' is not an IP address",))),
        ("\nnamserver 192.0.2.1", ResolvConf(problems=("line 2: unknown keyword 'namserver'",))),
        (
            "nameserver dns.example\nnameserver 192.0.2.1\n",
            ResolvConf((NameServer("192.0.2.1"),), problems=("line 1: 'dns.example' is not an IP address",)),
        ),
    )

    @pytest.mark.parametrize(("text", "expected"), TEXTS)
    def test_resolv_conf_5(self, text: str, expected: ResolvConf) -> None:
        assert parse_resolv_conf(text) == expected

    def test_deliberate_more_than_three_nameservers(self) -> None:
        text = "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6))
        assert len(parse_resolv_conf(text).nameservers) == 5

    @given(st.text(alphabet="nameserchdoi 1.:%#;\n\t", max_size=80))
    def test_nothing_in_the_file_is_fatal(self, text: str) -> None:
        parse_resolv_conf(text)


class TestSystemd:
    SERVERS = (
        ("192.0.2.1", Resolver("192.0.2.1")),
        ("192.0.2.1:5353", Resolver("192.0.2.1", 5353)),
        ("2001:db8::1", Resolver("2001:db8::1")),
        ("[2001:db8::1]:5353", Resolver("2001:db8::1", 5353)),
        ("[2001:db8::1]:853%eth0#dns.example", Resolver("2001:db8::1", 853)),
        ("fe80::1%3", Resolver("fe80::1")),
        ("192.0.2.1#dns.example", Resolver("192.0.2.1")),
        ("dns.example", None),
        ("192.0.2.1:x", None),
        ("192.0.2.1:0", None),
        ("", None),
    )

    @pytest.mark.parametrize(("text", "expected"), SERVERS)
    def test_a_server(self, text: str, expected: Resolver | None) -> None:
        assert parse_server(text) == expected

    def test_resolveds_file_of_a_link(self) -> None:
        text = (
            "# This is private data. Do not parse.\nLLMNR=yes\nMDNS=no\nDEFAULT_ROUTE=no\n"
            'SERVERS=192.0.2.1 "bad" [2001:db8::1]:5353\nDOMAINS=home.example ~corp.example ~.\n'
        )
        assert parse_resolved_file(text, 4) == LinkDns(
            4,
            servers=(Resolver("192.0.2.1"), Resolver("2001:db8::1", 5353)),
            search=("home.example",),
            routing=("corp.example", "."),
            default_route=False,
        )

    def test_networkds_file_of_a_link(self) -> None:
        text = (
            "ADMIN_STATE=configured\nDNS=10.0.0.1 fe80::1%3\nDOMAINS=lan\nROUTE_DOMAINS=corp.example\n"
            "DNS_DEFAULT_ROUTE=yes\n"
        )
        assert parse_networkd_file(text, 3) == LinkDns(
            3,
            servers=(Resolver("10.0.0.1"), Resolver("fe80::1")),
            search=("lan",),
            routing=("corp.example",),
            default_route=True,
            source="networkd",
        )

    @pytest.mark.parametrize("text", ["", "# This is private data\nLLMNR=yes\n", "SERVERS=\nDOMAINS=\n"])
    def test_a_file_without_dns_settings(self, text: str) -> None:
        assert parse_resolved_file(text, 1) is None

    ZONES = (
        # routing, search, default route; the zones
        ((), (), None, ()),
        ((), ("lan",), None, ("lan", ".")),
        (("corp",), (), None, ("corp",)),
        (("corp",), ("lan",), None, ("corp", "lan")),
        (("corp", "."), (), None, ("corp", ".")),
        ((".",), (), None, (".",)),
        (("corp",), (), True, ("corp", ".")),
        ((), ("lan",), False, ("lan",)),
        ((), (), True, ()),
    )

    @pytest.mark.parametrize(("routing", "search", "default_route", "zones"), ZONES)
    def test_resolved_8_routing_domains_are_zones(
        self,
        routing: tuple[str, ...],
        search: tuple[str, ...],
        default_route: bool | None,
        zones: tuple[str, ...],
    ) -> None:
        assert LinkDns(1, routing=routing, search=search, default_route=default_route).zones == zones

    def test_the_varlink_dump(self) -> None:
        reply = {
            "parameters": {
                "configuration": [
                    {"servers": [{"address": [9, 9, 9, 9], "family": 2}], "searchDomains": []},
                    {
                        "ifname": "wlan0",
                        "ifindex": 3,
                        "defaultRoute": False,
                        "servers": [
                            {"addressString": "192.0.2.1", "address": [192, 0, 2, 1], "port": 5353},
                            {"address": [0x20, 1, 0xD, 0xB8, *[0] * 11, 1], "family": 10, "port": 53},
                        ],
                        "searchDomains": [
                            {"name": "lan", "routeOnly": False},
                            {"name": "Corp.Example", "routeOnly": True},
                        ],
                    },
                    {"ifname": "eth0", "ifindex": 2, "defaultRoute": True},
                ]
            }
        }
        assert parse_dump(json.dumps(reply).encode() + b"\0") == (
            LinkDns(
                3,
                "wlan0",
                servers=(Resolver("192.0.2.1", 5353), Resolver("2001:db8::1")),
                search=("lan",),
                routing=("corp.example",),
                default_route=False,
            ),
            LinkDns(2, "eth0", default_route=True),
        )

    @pytest.mark.parametrize(
        "reply",
        [
            b'{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"DumpDNSConfiguration"}}\0',
            b"",
            b"\0",
            b"[]\0",
            b'{"parameters":{}}\0',
            b'{"parameters":{"configuration":[{"ifindex":1,"servers":[1]}]}}\0',
        ],
    )
    def test_a_resolved_that_is_too_old_or_makes_no_sense(self, reply: bytes) -> None:
        assert parse_dump(reply) is None


class TestSettings:
    LINK = LinkDns(3, "wlan0", servers=(Resolver("192.0.2.1"),), search=("lan",), routing=("corp",))
    HOST = ResolvConf((NameServer("192.0.2.53"), NameServer("2001:db8::53")), search=("example",))

    def test_the_links_own_come_first(self) -> None:
        found = settings_for(SystemDns((self.LINK,), self.HOST), "wlan0", 3, (6, 4))
        assert found == DnsSettings((Resolver("192.0.2.1"),), ("lan",), ("corp", "lan"))

    @pytest.mark.parametrize(("interface", "ifindex"), [("wlan0", 4), ("eth0", 3)])
    def test_another_links_are_not_ours(self, interface: str, ifindex: int) -> None:
        """Neither index nor name alone is the link: indexes are used again, names change hands."""
        found = settings_for(SystemDns((self.LINK,), self.HOST), interface, ifindex, (6, 4))
        assert [r.address for r in found.resolvers] == ["192.0.2.53", "2001:db8::53"]

    def test_the_hosts_list_is_unscoped(self) -> None:
        found = settings_for(SystemDns(host=self.HOST), "eth0", 2, (6, 4))
        assert found.resolvers == (
            Resolver("192.0.2.53", scoped=False),
            Resolver("2001:db8::53", scoped=False),
        )
        assert (found.search, found.zones) == (("example",), ())

    @pytest.mark.parametrize(("families", "address"), [((4,), "192.0.2.53"), ((6,), "2001:db8::53")])
    def test_a_resolver_of_a_family_that_the_pvd_lacks_is_not_its(
        self, families: tuple[int, ...], address: str
    ) -> None:
        found = settings_for(SystemDns(host=self.HOST), "eth0", 2, families)
        assert found.resolvers == (Resolver(address, scoped=False),)

    @pytest.mark.parametrize("zone", ["eth0", "2"])
    def test_rfc_8106_a_link_local_resolver_belongs_to_its_link(self, zone: str) -> None:
        dns = SystemDns(host=ResolvConf((NameServer("fe80::53", zone),)))
        assert settings_for(dns, "eth0", 2, (4,)).resolvers == (Resolver("fe80::53"),)
        assert settings_for(dns, "wlan0", 3, (6, 4)).resolvers == ()

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "::1"])
    def test_a_resolver_on_the_loopback_cannot_be_asked_over_a_device(self, address: str) -> None:
        dns = SystemDns(host=ResolvConf((NameServer(address),), search=("example",)))
        found = settings_for(dns, "eth0", 2, (6, 4))
        assert (found.resolvers, found.search) == ((), ())
        assert found.notes == (
            f"resolver {address} of /etc/resolv.conf left out: only the host itself can ask it",
        )
        assert settings_for(dns, "lo", 1, (), is_loopback=True).resolvers == (
            Resolver(address, scoped=False),
        )

    def test_the_stub_is_nobodys_resolver_where_links_have_their_own(self) -> None:
        dns = SystemDns((self.LINK,), ResolvConf((NameServer("127.0.0.53"),)))
        found = settings_for(dns, "tun0", 7, (4,))
        assert found.resolvers == ()
        assert found.notes == ("resolver 127.0.0.53 left out: systemd-resolved has no server for this link",)
