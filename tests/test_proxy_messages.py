"""What the proxy decides without a socket: SOCKS, HTTP, first flights, users, targets, answers."""

from __future__ import annotations

import base64
import ssl

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.config.proxy_settings import Listen, ProxySettings, User, Way
from pvdrace.errors import ConnectFailed, NoUsablePvd, PolicyProhibited, ResolutionFailed
from pvdrace.proxy.accounts import Accounts, basic, parse_passwords
from pvdrace.proxy.client_hello import Answer, Hello, answer, hello
from pvdrace.proxy.http_messages import BadRequest, Target, target, to_client, to_origin
from pvdrace.proxy.replies import http_answer, refusal
from pvdrace.proxy.socks5 import Socks5
from pvdrace.proxy.targets import TargetRefused, address_refused, name_refused
from pvdrace.testing.scenario import blackhole, pvd, refused, scenario

SALT = b"salt"
USERS = (User("work", Way(profile="linux")), User("free", Way(label="free")))
ACCOUNTS = Accounts(USERS, {"work": "secret", "other": "pässword"}, SALT)

# ---------------------------------------------------------------------- SOCKS 5

HELLO = b"\x05\x01\x00"
CONNECT_NAME = b"\x05\x01\x00\x03\x0bexample.org\x01\xbb"
CONNECT_4 = b"\x05\x01\x00\x01\xc6\x33\x64\x01\x00\x50"
CONNECT_6 = b"\x05\x01\x00\x04" + bytes.fromhex("20010db8000000000000000000000001") + b"\x00\x16"
LOGIN = b"\x01\x04work\x06secret"
NO = b"\x00\x01\x00\x00\x00\x00\x00\x00"


def socks(*, anonymous: bool = True) -> Socks5:
    return Socks5(ACCOUNTS.login(anonymous=anonymous), anonymous=anonymous)


@pytest.mark.parametrize(
    ("said", "replies", "wanted"),
    [
        (HELLO + CONNECT_NAME, b"\x05\x00", ("example.org", 443)),
        (HELLO + CONNECT_4, b"\x05\x00", ("198.51.100.1", 80)),
        (HELLO + CONNECT_6, b"\x05\x00", ("2001:db8::1", 22)),
        (b"\x05\x02\x00\x02" + LOGIN + CONNECT_4, b"\x05\x02\x01\x00", ("198.51.100.1", 80)),
        (b"\x05\x03\x00\x01\x02" + LOGIN + CONNECT_4, b"\x05\x02\x01\x00", ("198.51.100.1", 80)),
        (
            b"\x05\x01\x00" + CONNECT_NAME.replace(b"\x0bexample.org", b"\x07b\xc3\xbc.org"),
            b"\x05\x00",
            ("bü.org", 443),
        ),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_socks_conversation(said: bytes, replies: bytes, wanted: tuple[str, int], piece: int) -> None:
    """However it is cut into pieces; and what is said to the target already is kept for it."""
    said += b"and more"
    conversation, heard = socks(), b""
    for at in range(0, len(said), piece):
        if conversation.target is None:
            heard += conversation.feed(said[at : at + piece])
        else:
            conversation.rest += said[at : at + piece]
    assert (heard, conversation.target, conversation.rest) == (replies, wanted, b"and more")
    assert conversation.error is None
    assert conversation.reply(0, ("192.0.2.1", 80)) == b"\x05\x00\x00\x01\xc0\x00\x02\x01\x00\x50"
    assert conversation.reply(4, ("2001:db8::1", 1))[:4] == b"\x05\x04\x00\x04"


@pytest.mark.parametrize(
    ("said", "replies", "error"),
    [
        (b"\x04\x01\x00\x50\xc6\x33\x64\x01\x00", b"\x00\x5b\0\0\0\0\0\0", "version 4"),
        (b"\x05\x01\x01", b"\x05\xff", "no method in common"),
        (b"\x05\x00", b"\x05\xff", "no method in common"),
        (b"\x05\x01\x02\x01\x04work\x05wrong", b"\x05\x02\x01\x01", "unknown user or wrong password"),
        (b"\x05\x01\x02\x01\x04nobo\x06secret", b"\x05\x02\x01\x01", "unknown user or wrong password"),
        (b"\x05\x02\x00\x02\x01\x00\x00", b"\x05\x02\x01\x01", "unknown user or wrong password"),
        (b"\x05\x01\x02\x05\x04work", b"\x05\x02\x01\x01", "version 5 of RFC 1929"),
        (HELLO + b"\x05\x02\x00\x01" + bytes(6), b"\x05\x00\x05\x07" + NO, "BIND is not supported"),
        (HELLO + b"\x05\x03\x00\x01" + bytes(6), b"\x05\x00\x05\x07" + NO, "UDP ASSOCIATE is not supported"),
        (HELLO + b"\x05\x09\x00\x01" + bytes(6), b"\x05\x00\x05\x07" + NO, "command 9 is not"),
        (HELLO + b"\x05\x01\x00\x05" + bytes(6), b"\x05\x00\x05\x08" + NO, "address type 5"),
        (HELLO + b"\x04\x01\x00\x01" + bytes(6), b"\x05\x00\x05\x01" + NO, "version 4"),
        (HELLO + b"\x05\x01\x00\x03\x01\xff\x00\x50", b"\x05\x00\x05\x01" + NO, "not UTF-8"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_a_socks_conversation_that_fails(said: bytes, replies: bytes, error: str, piece: int) -> None:
    conversation, heard = socks(), b""
    for at in range(0, len(said), piece):
        heard += conversation.feed(said[at : at + piece])
    assert heard == replies
    assert error in (conversation.error or "")
    assert conversation.target is None


def test_who_may_not_be_anonymous_has_to_log_in() -> None:
    conversation = socks(anonymous=False)
    assert conversation.feed(HELLO) == b"\x05\xff"
    assert conversation.error == "the client offers no user and password"


@given(st.binary(max_size=64))
def test_no_bytes_break_a_socks_conversation(said: bytes) -> None:
    conversation = socks()
    heard = conversation.feed(said)
    assert len(heard) <= 14
    assert conversation.target is None or conversation.error is None


# ---------------------------------------------------------------------- users


@pytest.mark.parametrize(
    ("name", "password", "anonymous", "not_anonymous"),
    [
        ("work", "secret", "work", "work"),
        ("work", "Secret", None, None),
        ("work", "", None, None),
        ("other", "pässword", "other", "other"),
        ("free", "anything", "free", None),
        ("nobody", "secret", None, None),
        ("nobody", "", None, None),
        ("", "", None, None),
    ],
)
def test_who_is_let_in(name: str, password: str, anonymous: str | None, not_anonymous: str | None) -> None:
    """A name without a password chooses, where one may come without; it never opens what is closed."""
    said = name.encode(), password.encode()
    assert ACCOUNTS.login(anonymous=True)(*said) == anonymous
    assert ACCOUNTS.login(anonymous=False)(*said) == not_anonymous


def test_how_users_are_treated() -> None:
    listen = Way(profile="windows", label="port")
    assert ACCOUNTS.way("work").over(listen) == Way(profile="linux", label="port")
    assert ACCOUNTS.way("free").over(listen) == Way(profile="windows", label="free")
    assert ACCOUNTS.way("other").over(listen) == ACCOUNTS.way(None).over(listen) == listen
    assert Way(policy="a.toml").over(listen) == Way(policy="a.toml", label="port")


def test_no_password_is_in_memory_as_text() -> None:
    assert "secret" not in repr(vars(ACCOUNTS))


def test_a_file_of_passwords() -> None:
    assert parse_passwords("# us\n\nwork:se:cret \nbü:x\n", "f") == {"work": "se:cret ", "bü": "x"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a:b\nsecret", "f:2: a line is NAME:PASSWORD"),
        ("a:", "f:1: a line is NAME:PASSWORD"),
        (":secret", "f:1: no user's name before the colon"),
        ("a:secret\na:secret", "f:2: 'a' is there twice"),
        ("a:" + "x" * 256, "f:1: a password has 255 bytes at most (RFC 1929 s2)"),
    ],
)
def test_an_error_in_a_file_of_passwords_shows_none_of_them(text: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_passwords(text, "f")
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"Basic " + base64.b64encode(b"a:b:c"), (b"a", b"b:c")),
        (b"basic  " + base64.b64encode(b"a:"), (b"a", b"")),
        (b"Basic " + base64.b64encode(b"a"), None),
        (b"Basic !", None),
        (b"Bearer YTpi", None),
        (b"", None),
    ],
)
def test_basic_authentication(field: bytes, expected: tuple[bytes, bytes] | None) -> None:
    assert basic(field) == expected


@pytest.mark.parametrize(
    ("settings", "passwords", "error"),
    [
        (ProxySettings(), set(), None),
        (ProxySettings(listen=(Listen("::1"),)), set(), None),
        (ProxySettings(listen=(Listen("127.8.0.1"),)), set(), None),
        (ProxySettings(listen=(Listen("0.0.0.0"),)), {"a"}, "allow_remote"),
        (ProxySettings(listen=(Listen("192.0.2.1"),)), {"a"}, "allow_remote"),
        (ProxySettings(listen=(Listen("::"),), allow_remote=True), set(), "no user has a password"),
        (ProxySettings(listen=(Listen("::"),), allow_remote=True), {"a"}, None),
        (ProxySettings(listen=(Listen(authenticate=True),)), set(), "no user has a password"),
    ],
)
def test_the_proxy_is_never_open_to_others(
    settings: ProxySettings, passwords: set[str], error: str | None
) -> None:
    if error is None:
        settings.check(frozenset(passwords))
    else:
        with pytest.raises(ValueError, match=error):
            settings.check(frozenset(passwords))


# ---------------------------------------------------------------------- targets

OWN = frozenset({"192.168.1.2", "2001:db8:1::2"})
PREFIXES = ("2001:db8:64::/96", "2001:db9::/32")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "this host itself"),
        ("127.255.0.9", "this host itself"),
        ("0.0.0.0", "this host itself"),
        ("0.1.2.3", "this host itself"),
        ("::", "this host itself"),
        ("::1", "this host itself"),
        ("::ffff:127.0.0.1", "this host itself"),
        ("::ffff:0.0.0.0", "this host itself"),
        ("::127.0.0.1", "this host itself"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("64:ff9b::7f00:1", "this host itself"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::7f00:1", "this host itself"),
        ("2001:db8:64::7f00:1", "this host itself"),
        ("2001:db8:7f00:1::", None),
        ("2001:db9:7f00:1::", "this host itself"),
        ("2002:7f00:1::", "this host itself"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("224.0.0.1", "for many"),
        ("ff02::1", "for many"),
        ("255.255.255.255", "for many"),
        ("192.168.1.2", "an address of this host"),
        ("::ffff:192.168.1.2", "an address of this host"),
        ("2001:db8:1::2", "an address of this host"),
        ("192.168.1.1", None),
        ("10.0.0.1", None),
        ("fd00::1", None),
        ("198.51.100.1", None),
        ("2001:db8::1", None),
        ("64:ff9b::c633:6401", None),
    ],
)
def test_which_targets_are_refused(address: str, why: str | None) -> None:
    found = address_refused(address, PREFIXES, OWN)
    assert found is None if why is None else found is not None and why in found


@pytest.mark.parametrize(
    ("host", "is_refused"),
    [("localhost", True), ("a.localhost.", True), ("LOCALHOST", True), ("local.example", False)],
)
def test_which_names_are_refused(host: str, is_refused: bool) -> None:
    assert (name_refused(host) is not None) is is_refused


# ---------------------------------------------------------------------- first flights


def client_hello() -> bytes:
    """What OpenSSL says first."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(into, out, server_hostname="www.example.test")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return out.read()


def records(message: bytes, *lengths: int) -> bytes:
    """A handshake message in records of these lengths, and the rest of it in a last one."""
    said, at = b"", 0
    for length in (*lengths, len(message) - sum(lengths)):
        said += b"\x16\x03\x01" + length.to_bytes(2, "big") + message[at : at + length]
        at += length
    return said


def test_a_client_hello_and_what_follows_it() -> None:
    said = client_hello()
    assert hello(said) == len(said)
    assert hello(said + b"\x14\x03\x03\x00\x01\x01\x17\x03\x03") == len(said)
    for length in range(len(said)):
        assert hello(said[:length]) is Hello.INCOMPLETE


@pytest.mark.parametrize("lengths", [(1,), (3,), (4,), (2, 1, 1, 1), (100, 1)])
def test_a_client_hello_in_several_records(lengths: tuple[int, ...]) -> None:
    said = records(client_hello()[5:], *lengths)
    assert hello(said + b"early data") == len(said)
    for length in range(len(said)):
        assert hello(said[:length]) is Hello.INCOMPLETE


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x02\x00\x00\x10",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x01\x00\x00",
        b"\x17\x03\x03\x00\x01\x00",
    ],
)
def test_what_is_no_client_hello_is_never_said_twice(said: bytes) -> None:
    assert hello(said) is Hello.NO_TLS


@given(st.binary(max_size=48))
def test_no_bytes_break_the_reading_of_a_client_hello(said: bytes) -> None:
    found = hello(said)
    assert isinstance(found, Hello) or 0 < found <= len(said)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (b"", Answer.INCOMPLETE),
        (b"\x16", Answer.INCOMPLETE),
        (b"\x16\x03", Answer.INCOMPLETE),
        (b"\x16\x03\x03\x00\x7a", Answer.HANDSHAKE),
        (b"\x15\x03\x01\x00\x02\x02\x28", Answer.ALERT),
        (b"\x15", Answer.INCOMPLETE),
        (b"HTTP/1.1 302 Found\r\n", Answer.PLAIN),
        (b"\x16HTTP", Answer.PLAIN),
        (b"\x17\x03\x03", Answer.PLAIN),
    ],
)
def test_what_answers_a_client_hello(said: bytes, what: Answer) -> None:
    assert answer(said) is what


# ---------------------------------------------------------------------- HTTP


def request(method: str, url: str, *fields: tuple[str, str], host: str = "proxy") -> h11.Request:
    return h11.Request(method=method, target=url, headers=[("Host", host), *fields])


@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("CONNECT", "www.example.test:443", Target("www.example.test", 443)),
        ("CONNECT", "[2001:db8::1]:22", Target("2001:db8::1", 22)),
        ("GET", "http://a.example/b?c=d", Target("a.example", 80, b"/b?c=d", b"a.example")),
        ("GET", "HTTP://a.example", Target("a.example", 80, b"/", b"a.example")),
        ("GET", "http://a.example:8080?q", Target("a.example", 8080, b"/?q", b"a.example:8080")),
        ("GET", "http://[2001:db8::1]/", Target("2001:db8::1", 80, b"/", b"[2001:db8::1]")),
        ("OPTIONS", "http://a.example", Target("a.example", 80, b"*", b"a.example")),
    ],
)
def test_where_a_request_goes(method: str, url: str, expected: Target) -> None:
    assert target(request(method, url)) == expected


@pytest.mark.parametrize(
    ("method", "url", "error"),
    [
        ("CONNECT", "www.example.test", "HOST:PORT"),
        ("CONNECT", "www.example.test:0", "port 0"),
        ("CONNECT", "www.example.test:99999", "port 99999"),
        ("CONNECT", ":443", "no host"),
        ("CONNECT", "2001:db8::1:443", "no host"),
        ("GET", "/", "this is a proxy"),
        ("OPTIONS", "*", "this is a proxy"),
        ("GET", "https://a.example/", "'https' URLs are not passed on"),
        ("GET", "ftp://a.example/", "'ftp' URLs are not passed on"),
        ("GET", "http://user:secret@a.example/", "a user in it"),
        ("GET", "http:///path", "no host"),
    ],
)
def test_a_request_that_goes_nowhere(method: str, url: str, error: str) -> None:
    with pytest.raises(BadRequest, match=error) as caught:
        target(request(method, url))
    assert caught.value.status == 400
    assert "secret" not in str(caught.value)


def test_what_the_origin_server_gets() -> None:
    asked = request(
        "POST",
        "http://a.example:8080/b",
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Connection", "keep-alive"),
        ("Connection", "close, X-Mine"),
        ("X-Mine", "1"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("Content-Length", "3"),
        ("Accept", "*/*"),
    )
    origin = to_origin(asked, target(asked))
    assert origin is not None
    assert (origin.method, origin.target) == (b"POST", b"/b")
    assert list(origin.headers) == [
        (b"host", b"a.example:8080"),
        (b"content-length", b"3"),
        (b"accept", b"*/*"),
        (b"via", b"1.1 pvdrace"),
        (b"connection", b"close"),
    ]


def test_framing_cannot_be_taken_back() -> None:
    """A Connection field that names Content-Length would make one message two."""
    asked = request(
        "POST", "http://a.example/", ("Content-Length", "3"), ("Connection", "content-length, host")
    )
    origin = to_origin(asked, target(asked))
    assert origin is not None
    assert (b"content-length", b"3") in list(origin.headers)


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        ("1.1", (("Content-Length", "3"), ("Transfer-Encoding", "chunked"))),
        ("1.1", (("Transfer-Encoding", "chunked"), ("Content-Length", "3"))),
        ("1.0", (("Transfer-Encoding", "chunked"),)),
    ],
)
def test_a_request_that_may_end_in_two_places_is_not_passed_on(
    version: str, fields: tuple[tuple[str, str], ...]
) -> None:
    """Whoever reads it behind us might take the rest of it for another request (RFC 9112 s11.2)."""
    asked = h11.Request(
        method="POST", target="http://a.example/", headers=[("Host", "x"), *fields], http_version=version
    )
    with pytest.raises(BadRequest, match=r"RFC 9112 s6\.1") as caught:
        to_origin(asked, target(asked))
    assert caught.value.status == 400


def test_max_forwards() -> None:
    """RFC 9110 s7.6.2."""
    asked = request("OPTIONS", "http://a.example", ("Max-Forwards", "2"))
    origin = to_origin(asked, target(asked))
    assert origin is not None
    assert (b"max-forwards", b"1") in list(origin.headers)
    assert to_origin(request("TRACE", "http://a.example/", ("Max-Forwards", "0")), Target("a", 80)) is None


def test_what_the_client_gets() -> None:
    response = h11.Response(
        status_code=200,
        headers=[("Connection", "close, x-hop"), ("X-Hop", "1"), ("Keep-Alive", "a"), ("Age", "1")],
        reason=b"Fine",
    )
    passed = to_client(response)
    assert list(passed.headers) == [(b"age", b"1"), (b"via", b"1.1 pvdrace")]
    assert passed.reason == b"Fine"


# ---------------------------------------------------------------------- answers


def lost(**scripts: object) -> Exception:
    report = scenario(timeout=1.0, **scripts).report  # type: ignore[arg-type]
    return ConnectFailed(report.summary(), report)


@pytest.mark.parametrize(
    ("error", "reply", "status", "kind"),
    [
        (TargetRefused("::1 is this host itself"), 2, 403, "destination_ip_prohibited"),
        (PolicyProhibited("a"), 2, 403, "http_request_denied"),
        (NoUsablePvd("a"), 3, 503, "destination_unavailable"),
        (ResolutionFailed("a"), 4, 502, "dns_error"),
        (lost(wifi=pvd(v4=refused(10))), 5, 502, "connection_refused"),
        (lost(wifi=pvd(v4=blackhole)), 6, 504, "connection_timeout"),
        (lost(wifi=pvd(v4=blackhole, v6=refused(1))), 6, 504, "connection_timeout"),
        (ValueError("no host"), 1, 400, "http_request_error"),
        (OSError("x"), 1, 502, "proxy_internal_error"),
    ],
)
def test_what_a_failure_is_called(error: Exception, reply: int, status: int, kind: str) -> None:
    found = refusal(error)
    assert (found.reply, found.status, found.error) == (reply, status, kind)
    assert "\n" not in found.why
    text = http_answer(found.status, found.why, found.error).decode()
    assert text.startswith(f"HTTP/1.1 {status} ")
    assert f"Proxy-Status: pvdrace; error={kind}\r\n" in text
    assert text.endswith(f"\r\n\r\n{found.why}\n")
