"""What is said to a proxy, and what its answers mean, byte by byte: HTTP CONNECT and SOCKS 5."""

from __future__ import annotations

import pytest

from pvdrace.model import Endpoint
from pvdrace.net.tunnel import LONGEST_REPLY, TunnelFailed, tunnel
from pvdrace.proxies import Proxy, parse_proxy

HTTP, SOCKS = "http://192.0.2.1:3128", "socks5://192.0.2.1:1080"
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
CHOSEN = b"\x05\x00"
GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def converse(
    proxy: str, said: bytes, host: str = "www.example.com", piece: int = 65536
) -> tuple[bytes, bytes]:
    """Talk to a proxy that says all this, ``piece`` bytes at a time; what it hears, and what is left over."""
    conversation = tunnel(proxy, Endpoint(host, 443))
    heard = conversation.begin()
    while not conversation.done:
        assert said, "it waits for more"
        taken = conversation.take(said[:piece])
        assert 1 <= taken <= piece
        heard += conversation.feed(said[:taken])
        said = said[taken:]
    return heard, said


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 65536])
@pytest.mark.parametrize(
    "said",
    [
        OK,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",  # RFC 9110 s9.3.6
        b"HTTP/1.1 200 OK\nVia: x\n\n",  # RFC 9112 s2.2
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 \xfcber\r\n\r\n",
    ],
)
def test_http_grants_the_tunnel(said: bytes, piece: int) -> None:
    heard, left = converse(HTTP, said + b"\r\n\r\nserver", piece=piece)
    assert heard == b"CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n\r\n"
    assert left == b"\r\n\r\nserver", "not a byte of the server's is taken"


@pytest.mark.parametrize("piece", [1, 2, 3, 65536])
@pytest.mark.parametrize(
    "bound",
    [
        GRANTED,
        b"\x05\x00\x00\x04" + bytes(18),
        b"\x05\x00\x00\x03\x05proxy\x04\x38",
        b"\x05\x00\x00\x03\x00\x00\x00",
    ],
    ids=["IPv4", "IPv6", "name", "empty name"],
)
def test_socks_grants_the_tunnel(bound: bytes, piece: int) -> None:
    heard, left = converse(SOCKS, CHOSEN + bound + b"server", piece=piece)
    assert heard == b"\x05\x01\x00" + b"\x05\x01\x00\x03\x0fwww.example.com\x01\xbb"
    assert left == b"server"


@pytest.mark.parametrize(
    ("host", "http", "socks"),
    [
        ("198.51.100.1", b"198.51.100.1:443", b"\x01\xc6\x33\x64\x01"),
        ("2001:db8::1", b"[2001:db8::1]:443", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("2001:DB8:0::1", b"[2001:db8::1]:443", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("a" * 255, b"a" * 255 + b":443", b"\x03\xff" + b"a" * 255),
        ("xn--bcher-kva.example", b"xn--bcher-kva.example:443", b"\x03\x15xn--bcher-kva.example"),
    ],
)
def test_the_destination_as_each_writes_it(host: str, http: bytes, socks: bytes) -> None:
    heard, _ = converse(HTTP, OK, host)
    assert heard == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (http, http)
    heard, _ = converse(SOCKS, CHOSEN + GRANTED, host)
    assert heard == b"\x05\x01\x00" + b"\x05\x01\x00" + socks + b"\x01\xbb"


@pytest.mark.parametrize("piece", [1, 65536])
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy said 403 Forbidden"),
        (b"HTTP/1.1 503\r\n\r\n", "the proxy said 503"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", "the proxy said 302 Found"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "the proxy said 101 Switching Protocols"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy asks for authentication (407)"),
        (b"HTTP/1.1 500 \x1b[31m" + b"x" * 200 + b"\r\n\r\n", f"the proxy said 500 ?[31m{'x' * 55}..."),
        (b"HTTP/1.1 two hundred\r\n\r\n", "the proxy's reply has no status (RFC 9112 s4)"),
        (b"HTTP/1.1 20\r\n\r\n", "the proxy's reply has no status (RFC 9112 s4)"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "the proxy's reply has no status (RFC 9112 s4)"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "the proxy does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.7\r\n", "the proxy does not speak HTTP"),
        (b"\x05\xff", "the proxy does not speak HTTP"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000,
            f"the proxy's reply is longer than {LONGEST_REPLY} bytes",
        ),
        (b"HTTP/1.1 102 Wait\r\n\r\n" * 2000, f"the proxy's reply is longer than {LONGEST_REPLY} bytes"),
    ],
)
def test_http_denies_it(said: bytes, error: str, piece: int) -> None:
    with pytest.raises(TunnelFailed) as caught:
        converse(HTTP, said, piece=piece)
    assert str(caught.value) == error


@pytest.mark.parametrize("piece", [1, 65536])
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"\x05\xff", "the proxy asks for authentication (SOCKS)"),
        (b"\x05\x02", "the proxy chose method 2, which was not offered"),
        (b"\x04\x00", "the proxy does not speak SOCKS 5"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the proxy does not speak SOCKS 5"),
        (CHOSEN + b"\x04\x00\x00\x01", "the proxy does not speak SOCKS 5"),
        (CHOSEN + b"\x05\x01" + bytes(8), "the proxy said general failure (SOCKS 1)"),
        (CHOSEN + b"\x05\x02" + bytes(8), "the proxy said not allowed by its rules (SOCKS 2)"),
        (CHOSEN + b"\x05\x03" + bytes(8), "the proxy said network unreachable (SOCKS 3)"),
        (CHOSEN + b"\x05\x04" + bytes(8), "the proxy said host unreachable (SOCKS 4)"),
        (CHOSEN + b"\x05\x05" + bytes(8), "the proxy said connection refused (SOCKS 5)"),
        (CHOSEN + b"\x05\x06" + bytes(8), "the proxy said TTL expired (SOCKS 6)"),
        (CHOSEN + b"\x05\x07" + bytes(8), "the proxy said command not supported (SOCKS 7)"),
        (CHOSEN + b"\x05\x08" + bytes(8), "the proxy said address type not supported (SOCKS 8)"),
        (CHOSEN + b"\x05\x63" + bytes(8), "the proxy said an unknown failure (SOCKS 99)"),
        (CHOSEN + b"\x05\x00\x00\x02" + bytes(6), "the proxy's reply has an unknown address type 2"),
    ],
)
def test_socks_denies_it(said: bytes, error: str, piece: int) -> None:
    with pytest.raises(TunnelFailed) as caught:
        converse(SOCKS, said, piece=piece)
    assert str(caught.value) == error


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
@pytest.mark.parametrize("host", ["", "a b", "a\r\nX-Evil: 1", "bücher.example", "a" * 256])
def test_a_destination_that_would_break_the_request(proxy: str, host: str) -> None:
    with pytest.raises(ValueError, match="cannot be told to a proxy"):
        tunnel(proxy, Endpoint(host, 443))


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://192.0.2.1:3128", Proxy("http", "192.0.2.1", 3128)),
        ("http://192.0.2.1:3128/", Proxy("http", "192.0.2.1", 3128)),
        ("socks5://[2001:DB8::1]:1080", Proxy("socks5", "2001:db8::1", 1080)),
    ],
)
def test_the_url_of_a_proxy(url: str, proxy: Proxy) -> None:
    assert parse_proxy(url) == proxy


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("192.0.2.1:3128", "is not http://ADDRESS:PORT or socks5://ADDRESS:PORT"),
        ("https://192.0.2.1:3128", "is not http://ADDRESS:PORT or"),
        ("http://192.0.2.1", "is not http://ADDRESS:PORT or"),
        ("http://user:word@192.0.2.1:3128", "is not http://ADDRESS:PORT or"),
        ("http://192.0.2.1:3128/path", "is not http://ADDRESS:PORT or"),
        ("http://proxy.example:3128", "a proxy is given by its IP address, IPv6 in brackets"),
        ("http://[192.0.2.1]:3128", "a proxy is given by its IP address, IPv6 in brackets"),
        ("http://[fe80::1%eth0]:3128", "leave the zone out"),
        ("http://192.0.2.1:0", "0 is not a port from 1 to 65535"),
        ("http://192.0.2.1:65536", "65536 is not a port from 1 to 65535"),
    ],
)
def test_what_is_no_url_of_a_proxy(url: str, error: str) -> None:
    with pytest.raises(ValueError, match=error.replace("[", r"\[")):
        parse_proxy(url)
