"""One form for every spelling of a host name (IDNA 2008, UTS 46), and that all who compare names use it."""

# ruff: noqa: RUF001  # the look-alikes are meant

from __future__ import annotations

import subprocess
import sys

import dns.exception
import dns.name
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pvdrace.config.values import as_domain
from pvdrace.dns.exchange import search_names
from pvdrace.model import Endpoint, ProvisioningDomain, PvdSet, is_loopback
from pvdrace.names import fold, pattern_to_ascii, to_ascii
from pvdrace.ranking import rank
from pvdrace.rules import Match
from pvdrace.zones import match

SPELLINGS = [
    "intern.bücher.example",
    "INTERN.BÜCHER.EXAMPLE",
    "intern.bu\N{COMBINING DIAERESIS}cher.example",
    "ｉｎｔｅｒｎ.bücher.example",
    "intern。bücher．example",
    "intern.xn--bcher-kva.example",
    "intern.bücher.example.",
]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("www.Example.com.", "www.Example.com."),
        ("bücher.example", "xn--bcher-kva.example"),
        ("bücher.example.", "xn--bcher-kva.example."),
        ("bücher.example。", "xn--bcher-kva.example."),
        ("faß.example", "xn--fa-hia.example"),
        ("_srv.bücher.example", "_srv.xn--bcher-kva.example"),
        ("ｗｗｗ．ｅｘａｍｐｌｅ", "www.example"),
        ("１９２.０.２.１", "192.0.2.1"),
    ],
)
def test_to_ascii(host: str, expected: str) -> None:
    """IDNA 2008: ß is a letter (RFC 5892 s2.6), where IDNA 2003 made ss of it."""
    assert to_ascii(host) == expected


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("a..ü", "an empty label"),
        ("\N{SOFT HYPHEN}", "an empty label"),
        ("\N{SNOWMAN}.example", "U\\+2603"),
        ("ü/x", "U\\+002F"),
        ("a／b.ü", "'a/b' cannot be a part of one"),
        ("ü" * 80, "Label too long"),
        ("x" * 64 + ".ü", "cannot be a part of one"),
        ("ü." * 127, "longer than 253"),
        (".".join(["ü" * 40] * 6), "longer than 253 characters in ASCII"),
    ],
)
def test_what_is_no_name_says_so_in_one_line(host: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"is not a domain name: .*{why}") as caught:
        to_ascii(host)
    assert "\n" not in str(caught.value)
    assert fold(host) == host.lower().removesuffix(".")


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), min_size=1, max_size=3))
@example(["ΒΌΛΟΣ", "example"])
@example(["\N{SOFT HYPHEN}a", "\N{COMBINING ACUTE ACCENT}"])
def test_it_is_the_mapping_of_dnspython(labels: list[str]) -> None:
    """What both take for a name is the same name."""
    host = ".".join(labels)
    if host.isascii() or "\\" in host:
        return
    try:
        theirs = dns.name.from_text(host, idna_codec=dns.name.IDNA_2008_UTS_46)
        ours = to_ascii(host)
    except (dns.exception.DNSException, UnicodeError, ValueError):
        return
    assert fold(ours) == theirs.to_text(omit_final_dot=True).lower()


class TestEverybodyComparesThatForm:
    """Every spelling is the name that the zone owns, the rule speaks of, and the wire asks for."""

    @pytest.mark.parametrize("host", SPELLINGS)
    @pytest.mark.parametrize("zone", ["xn--bcher-kva.example", "Bücher.example", "XN--BCHER-KVA.example."])
    def test_zones(self, host: str, zone: str) -> None:
        vpn, wifi = ProvisioningDomain("vpn", zones=(zone,)), ProvisioningDomain("wifi")
        assert match(vpn, host).labels == 2
        excluded = rank(PvdSet((wifi, vpn)), Endpoint(host, 443)).excluded
        assert [str(left_out.excluded) for left_out in excluded if left_out.pvd.name == "wifi"] == [
            "xn--bcher-kva.example belongs to vpn"
        ]

    @pytest.mark.parametrize("host", SPELLINGS)
    @pytest.mark.parametrize(
        "pattern", ["*.bücher.example", ".Bücher。example", "*.xn--bcher-kva.example", SPELLINGS[0]]
    )
    def test_rules(self, host: str, pattern: str) -> None:
        assert Match(host=[pattern]).matches(Endpoint(host, 443))

    @pytest.mark.parametrize("name", ["faß.example", "FAß.example."])
    def test_the_configuration(self, name: str) -> None:
        assert as_domain(name) == "xn--fa-hia.example"

    def test_a_dot_of_another_script_is_a_dot_for_the_search_domains(self) -> None:
        pvd = ProvisioningDomain("wifi", search=("lan",))
        assert search_names(pvd, "printer。example") == ["printer.example"]

    def test_localhost(self) -> None:
        assert is_loopback("ｌｏｃａｌｈｏｓｔ")


def test_a_wildcard_inside_a_label_beyond_ascii_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a \* cannot stand for a part of 'bü\*', which is not ASCII"):
        Match(host=["bü*.example"])
    assert pattern_to_ascii("b*.ü.example") == "b*.xn--tda.example"


def test_an_ascii_name_does_not_load_idna() -> None:
    program = "import sys; from pvdrace import names; names.fold('www.example'); print('idna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
