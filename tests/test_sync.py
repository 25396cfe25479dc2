"""`pvdrace.sync` on the loopback: the connector, the paused connection, `create_connection`, `installed`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import importlib
import inspect
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import trustme

import pvdrace
import pvdrace.sync
from loopback import BlackHole, Server, certificate_for, closing, trusting
from pvdrace.net import lingering
from pvdrace.sync import Connector, installed
from pvdrace.sync.errors import as_os_error
from pvdrace.sync.paused import PausedSocket
from test_blocking_driver import settled
from test_driver import descriptors

NAME = "localhost"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def connector() -> Iterator[Connector]:
    with Connector() as made:
        yield made


@pytest.fixture(autouse=True)
def no_descriptor_left(connector: Connector) -> Iterator[None]:
    before = descriptors()
    yield
    assert settled(before) <= before


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("127.0.0.1")
    with closing(made):
        yield made


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Server]:
    made = Server("127.0.0.1", context=certificate_for(authority, NAME))
    with closing(made):
        yield made


@pytest.fixture
def portal_first(authority: trustme.CA, secure: Server) -> Iterator[Server]:
    """The IPv6 address of localhost, which is tried first, has a wrong certificate."""
    made = Server("::1", secure.port, context=certificate_for(trustme.CA(), NAME))
    with closing(made):
        yield secure


# The connector


def test_a_connection_and_its_report(connector: Connector, secure: Server, authority: trustme.CA) -> None:
    with connector.open_connection(NAME, secure.port, tls=trusting(authority)) as connection:
        assert connection.recv() == b"hello\n"
        assert connection.recv() == b""
        assert connection.sock.gettimeout() is None
        assert connection.preempted is False
        assert repr(connection).startswith("<Connection localhost:")
    assert connection.sock.fileno() == -1
    assert connection.report.outcome == "won"
    assert connector.objection(connection.path) is None


def test_the_hooks_are_told_in_the_thread_that_asked(server: Server) -> None:
    heard: list[tuple[str, threading.Thread]] = []

    def hook(report: pvdrace.RaceReport) -> None:
        heard.append((report.outcome, threading.current_thread()))
        if len(heard) == 1:  # it may connect itself
            made.connect("127.0.0.1", server.port)[0].close()

    seen: list[object] = []
    with Connector(hooks=[hook], observe=seen.append) as made:
        made.connect("127.0.0.1", server.port)[0].close()
    assert {thread for _, thread in heard} == {threading.current_thread()}
    assert len(seen) == len(heard) == 2


def test_a_hook_that_fails_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def hook(report: pvdrace.RaceReport) -> None:
        raise ValueError("no")

    with Connector(hooks=[hook]) as connector:
        connector.connect("127.0.0.1", server.port)[0].close()
    assert "failed on the report of" in caplog.text


def test_the_default_timeout_of_sockets_holds(connector: Connector, server: Server) -> None:
    socket.setdefaulttimeout(7.5)
    try:
        sock, _ = connector.connect("127.0.0.1", server.port)
    finally:
        socket.setdefaulttimeout(None)
    with sock:
        assert sock.gettimeout() == 7.5


def test_a_check_that_waits_is_a_generator(connector: Connector, server: Server) -> None:
    def says_hello(sock: socket.socket) -> Generator[int, None, bool]:
        yield select.EPOLLIN
        return sock.recv(100, socket.MSG_PEEK) == b"hello\n"

    with connector.open_connection("127.0.0.1", server.port, ready=says_hello) as connection:
        assert connection.recv() == b"hello\n"
    assert connection.report.ready == "says_hello"


@pytest.mark.parametrize(
    "options",
    [
        {"ready": "tls"},
        {"ready": "quic"},
        {"server_hostname": "x"},
        {"tls": "yes"},
        {"timeout": -1},
        {"policy": "wifi"},
        {"label": ""},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(connector: Connector, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        connector.open_connection("127.0.0.1", 9, **options)


def test_explain_says_what_a_race_would_do(connector: Connector) -> None:
    assert "loopback" in str(connector.explain(NAME, 443))


def test_it_opens_again_after_it_was_closed(server: Server) -> None:
    connector = Connector()
    for _ in range(2):
        connector.snapshot()
        connector.close()
    connector.close()


def test_from_inside_a_running_event_loop(connector: Connector, server: Server) -> None:
    async def main() -> bytes:
        with connector.open_connection("127.0.0.1", server.port) as connection:
            return connection.recv()

    assert asyncio.run(main()) == b"hello\n"


def test_history_is_kept_in_a_file(tmp_path: Any) -> None:
    with Connector(history=tmp_path / "history.db") as connector:
        connector.snapshot()
    with Connector(history=tmp_path / "history.db") as connector:
        connector.snapshot()


def test_a_race_that_is_out_of_time_leaves_nothing(connector: Connector) -> None:
    with swallowing() as port, pytest.raises(pvdrace.ConnectFailed, match="timeout"):
        connector.connect("127.0.0.5", port, timeout=0.05)


@contextlib.contextmanager
def swallowing() -> Iterator[int]:
    """A port of 127.0.0.5 that answers nobody."""
    with socket.create_server(("127.0.0.5", 0)) as listening:
        port: int = listening.getsockname()[1]
    with closing(BlackHole("127.0.0.5", port)):
        yield port


# Several threads


def test_threads_of_one_connector(connector: Connector, server: Server) -> None:
    words: list[bytes] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                with connector.open_connection(NAME, server.port) as connection:
                    words.append(connection.recv())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert words == [b"hello\n"] * 250


def test_one_default_connector_a_process_and_another_after_a_fork() -> None:
    program = """
import os, threading, pvdrace.sync as sync
first = sync.default_connector()
first.snapshot()
found = []
thread = threading.Thread(target=lambda: found.append(sync.default_connector()))
thread.start(); thread.join()
assert found == [first]
child = os.fork()
if child == 0:
    other = sync.default_connector()
    os._exit(0 if other is not first and other.snapshot() is not None else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert first.snapshot() is not None
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_event_loop_and_no_thread_is_started(server: Server) -> None:
    before = threading.active_count()
    with Connector() as connector:
        connector.connect(NAME, server.port)[0].close()
        assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_race_loads_no_event_loop() -> None:
    program = """
import socket, sys
import pvdrace.sync
server = socket.create_server(("127.0.0.1", 0))
pvdrace.sync.connect("localhost", server.getsockname()[1])[0].close()
loaded = [name for name in ("asyncio", "trio", "dns", "pyroute2") if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# The paused race


def test_a_provisional_connection_is_secured_elsewhere(
    connector: Connector, portal_first: Server, authority: trustme.CA
) -> None:
    provisional = connector.begin(NAME, portal_first.port)
    assert provisional.leader().getpeername()[0] == "::1"
    assert provisional.report.outcome == "cancelled"  # as of now
    sock, report = provisional.secure(trusting(authority))
    with sock:
        assert sock.getpeername()[0] == "127.0.0.1"
        assert sock.recv(100) == b"hello\n"
    assert [attempt.outcome for attempt in report.attempts] == ["failed", "won"]
    assert provisional.path.ready == "tls"
    assert provisional.over


def test_a_provisional_connection_is_used_once(connector: Connector, server: Server) -> None:
    with connector.begin(NAME, server.port) as provisional:
        sock, report = provisional.settle()
        with sock:
            assert sock.recv(100) == b"hello\n"
        assert report.ready == "tcp"
        for again in (provisional.settle, provisional.leader):
            with pytest.raises(RuntimeError, match="over"):
                again()


def test_a_provisional_connection_that_nobody_wants(connector: Connector, server: Server) -> None:
    before = descriptors()
    with connector.begin(NAME, server.port):
        assert descriptors() > before
    connector.begin(NAME, server.port).close()
    forgotten = connector.begin(NAME, server.port)
    del forgotten
    assert settled(before) == before


class Forgotten:
    """A race that nobody has a name for any more."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_what_the_garbage_collector_finds_waits_for_nobody(connector: Connector) -> None:
    """It comes in the midst of anything: when another thread is at work, or this one is."""
    races: Any = connector._races
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with races.lock:
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    elsewhere, here = Forgotten(), Forgotten()
    races.forget(elsewhere)
    assert not done.is_set()
    assert not elsewhere.closed
    done.set()
    holder.join()
    with races.lock:
        races.forget(here)
        assert not here.closed
    connector.snapshot()
    assert elsewhere.closed
    assert here.closed


def test_to_close_waits_no_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another thread goes on releasing."""
    monkeypatch.setattr(lingering, "PATIENCE", 0.2)
    hole = BlackHole("127.0.0.2", 0)
    connector = Connector()
    connector.snapshot()
    begun, over = threading.Event(), threading.Event()

    def release() -> None:
        while not over.wait(0.02):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(hole.socks[0].getsockname())
            connector._races.lingering.release(sock)
            begun.set()

    with closing(hole):
        releasing = threading.Thread(target=release)
        releasing.start()
        assert begun.wait(10)
        closing_it = threading.Thread(target=connector._races.lingering.wait)
        closing_it.start()
        closing_it.join(5)
        waits = closing_it.is_alive()
        over.set()
        for thread in (releasing, closing_it):
            thread.join()
        connector.close()
    assert not waits


def test_tls_that_fails_everywhere_says_why(connector: Connector, portal_first: Server) -> None:
    with pytest.raises(pvdrace.ConnectFailed, match="wrong certificate") as raised:
        connector.begin(NAME, portal_first.port).secure(ssl.create_default_context())
    assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
    report = pvdrace.report_of(raised.value)
    assert report is not None
    assert len(report.attempts) == 2


def test_tls_has_the_time_that_is_left_for_it(connector: Connector, authority: trustme.CA) -> None:
    mute = Server("127.0.0.1", mute=True)
    with closing(mute), pytest.raises(pvdrace.ConnectFailed, match="timeout"):
        connector.begin("127.0.0.1", mute.port).secure(trusting(authority), timeout=0.05)


def test_begin_raises_for_a_race_that_is_lost_before(connector: Connector) -> None:
    with pytest.raises(pvdrace.ConnectFailed, match="refused"):
        connector.begin("127.0.0.1", 9)


# create_connection


def test_the_functions_take_what_those_of_a_connector_take() -> None:
    for name in ("open_connection", "connect"):
        of_module = inspect.signature(getattr(pvdrace.sync, name)).parameters
        of_connector = inspect.signature(getattr(Connector, name)).parameters
        assert list(of_module.values()) == list(of_connector.values())[1:]


def test_the_signature_is_the_standard_librarys() -> None:
    ours = inspect.signature(pvdrace.sync.create_connection)
    theirs = inspect.signature(socket.create_connection)
    assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]


Create = Callable[..., socket.socket]


@pytest.fixture(params=["pvdrace", "socket"])
def create(request: pytest.FixtureRequest) -> Create:
    """Ours, and the control."""
    found: Create = (pvdrace.sync if request.param == "pvdrace" else socket).create_connection
    return found


@pytest.mark.parametrize(
    ("options", "timeout"), [({}, None), ({"timeout": None}, None), ({"timeout": 3}, 3.0)], ids=str
)
def test_what_create_connection_gives(
    create: Create, server: Server, options: dict[str, Any], timeout: float | None
) -> None:
    with create(("127.0.0.1", server.port), **options) as sock:
        assert sock.gettimeout() == timeout
        assert sock.getblocking() is True
        assert sock.recv(100) == b"hello\n"


def test_create_connection_has_the_default_timeout(create: Create, server: Server) -> None:
    socket.setdefaulttimeout(4.5)
    try:
        with create((NAME, server.port)) as sock:
            assert sock.gettimeout() == 4.5
    finally:
        socket.setdefaulttimeout(None)


def test_create_connection_to_no_name_and_a_port_in_words(create: Create, server: Server) -> None:
    with create((None, str(server.port))) as sock:
        assert sock.getpeername()[1] == server.port


def test_create_connection_from_an_address(create: Create, server: Server) -> None:
    with create(("127.0.0.1", server.port), source_address=("127.0.0.7", 0)) as sock:
        assert sock.getsockname()[0] == "127.0.0.7"


@pytest.mark.parametrize(
    ("address", "options", "kind", "number"),
    [
        (("127.0.0.1", 9), {}, ConnectionRefusedError, errno.ECONNREFUSED),
        (("no..name", 80), {}, (socket.gaierror, UnicodeError), None),
        (("127.0.0.1", 9), {"timeout": 0}, BlockingIOError, errno.EINPROGRESS),
        (("127.0.0.1", 9), {"source_address": ("192.0.2.9", 0)}, OSError, None),
        (("127.0.0.1", 9), {"all_errors": True}, ExceptionGroup, None),
    ],
    ids=str,
)
def test_what_create_connection_raises(
    create: Create, address: Any, options: dict[str, Any], kind: Any, number: int | None
) -> None:
    with pytest.raises(kind) as raised:
        create(address, **options)
    if number is not None:
        assert raised.value.errno == number


def test_create_connection_raises_a_timeout(create: Create) -> None:
    with swallowing() as port, pytest.raises(TimeoutError):
        create(("127.0.0.5", port), 0.05)


def test_a_negative_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        pvdrace.sync.create_connection(("127.0.0.1", 9), -1)


def test_a_source_port_is_refused(server: Server) -> None:
    with pytest.raises(OSError, match="source port 5000"):
        pvdrace.sync.create_connection((NAME, server.port), source_address=("127.0.0.1", 5000))


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        (pvdrace.ResolutionFailed("x"), socket.gaierror, socket.EAI_NONAME),
        (pvdrace.PolicyProhibited("x"), PermissionError, errno.EACCES),
        (pvdrace.NoUsablePvd("x"), OSError, errno.ENETUNREACH),
        (pvdrace.ConnectFailed("x"), OSError, None),
    ],
    ids=str,
)
def test_each_error_is_also_one_that_callers_catch(
    error: pvdrace.PvdRaceError, kind: type[OSError], number: int | None
) -> None:
    made = as_os_error(error)
    assert isinstance(made, kind)
    assert isinstance(made, type(error))
    assert (str(made), made.errno) == ("x", number)
    assert pvdrace.report_of(made) is error.report


# installed


REPLACED: tuple[tuple[Any, str], ...] = (
    (socket, "create_connection"),
    (ssl.SSLContext, "wrap_socket"),
    (importlib.import_module("urllib3.util.connection"), "create_connection"),
)


def as_they_are() -> list[object]:
    return [owner.__dict__[name] for owner, name in REPLACED] + list(sys.meta_path)


@pytest.fixture(autouse=True)
def everything_is_put_back() -> Iterator[None]:
    before = as_they_are()
    yield
    after = as_they_are()
    assert len(before) == len(after)
    assert all(one is other for one, other in zip(before, after, strict=True))


def get(server: Server, context: ssl.SSLContext, **options: Any) -> bytes:
    """By the standard library; the server says its word to whoever asks."""
    connection = http.client.HTTPSConnection(NAME, server.port, context=context, timeout=5, **options)
    with contextlib.closing(connection):
        connection.connect()
        return bytes(connection.sock.recv(100))


def test_installed_a_wrong_certificate_is_not_the_end(
    connector: Connector, portal_first: Server, authority: trustme.CA
) -> None:
    with installed(connector):
        assert get(portal_first, trusting(authority)) == b"hello\n"
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        contextlib.closing(socket.create_connection(("::1", portal_first.port))) as sock,
    ):
        trusting(authority).wrap_socket(sock, server_hostname=NAME)


def test_installed_an_error_is_what_the_program_expects(connector: Connector, portal_first: Server) -> None:
    with installed(connector), pytest.raises(ssl.SSLCertVerificationError) as raised:
        get(portal_first, ssl.create_default_context())
    assert raised.value.verify_code
    assert isinstance(raised.value, pvdrace.ConnectFailed)
    assert raised.value.report is not None


def test_installed_policy_holds(connector: Connector, server: Server) -> None:
    with (
        installed(connector, pvdrace.Policy(prohibit=["pvd:loopback"])),
        pytest.raises(PermissionError, match="prohibited"),
    ):
        socket.create_connection((NAME, server.port))


def test_installed_is_nested(connector: Connector, server: Server) -> None:
    ban = pvdrace.Policy(prohibit=["pvd:loopback"])
    with installed(connector):
        with installed(connector, ban), pytest.raises(PermissionError):
            socket.create_connection((NAME, server.port))
        socket.create_connection((NAME, server.port)).close()
        with pytest.raises(KeyError), installed(connector, ban):
            raise KeyError
        socket.create_connection((NAME, server.port)).close()


def test_installed_by_several_threads_each_has_its_own(connector: Connector, server: Server) -> None:
    """One that has entered no block follows the first; leaving in any order puts everything back."""
    ban = pvdrace.Policy(prohibit=["pvd:loopback"])
    barrier, outcomes = threading.Barrier(3, timeout=60), {}

    def outcome() -> str:
        try:
            socket.create_connection((NAME, server.port)).close()
        except PermissionError:
            return "prohibited"
        return "connected"

    def strict() -> None:
        with installed(connector, ban):
            barrier.wait()
            outcomes["strict"] = outcome()
            barrier.wait()
            barrier.wait()

    def bystander() -> None:
        barrier.wait()
        outcomes["bystander"] = outcome()
        barrier.wait()
        barrier.wait()

    threads = [threading.Thread(target=work) for work in (strict, bystander)]
    with installed(connector):
        for thread in threads:
            thread.start()
        barrier.wait()
        outcomes["first"] = outcome()
        barrier.wait()  # all three have connected
    barrier.wait()  # the first is out, another is still in
    for thread in threads:
        thread.join(10)
    assert outcomes == {"strict": "prohibited", "bystander": "connected", "first": "connected"}


def test_installed_many_threads_come_and_go(connector: Connector, server: Server) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with installed(connector):
                    socket.create_connection(("127.0.0.1", server.port)).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors


def test_installed_takes_no_connector_of_another_kind() -> None:
    with pytest.raises(TypeError, match=r"pvdrace\.sync\.Connector"), installed(pvdrace.Connector()):  # type: ignore[arg-type]
        pass


def test_installed_takes_no_policy_of_another_kind() -> None:
    """Said when the block is entered: inside, clients would take it for a failure of the name."""
    with pytest.raises(ValueError, match=r"policy must be a pvdrace\.Policy"), installed(policy="pvd:a"):  # type: ignore[arg-type]
        pass


def test_installed_urllib3_may_set_options_but_no_device(connector: Connector, server: Server) -> None:
    module: Any = importlib.import_module("urllib3.util.connection")
    with installed(connector):
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        with module.create_connection((NAME, server.port), 5, None, options) as sock:
            assert sock.gettimeout() == 5
            assert sock.recv(100) == b"hello\n"
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(ValueError, match="behind the race's back"):
            module.create_connection(
                (NAME, server.port), socket_options=[(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")]
            )
        with module.create_connection(("[127.0.0.1]", server.port)) as sock:
            assert sock.gettimeout() is None


def test_installed_sees_urllib3_come() -> None:
    program = """
import sys, socket
import pvdrace.sync
assert "urllib3" not in sys.modules
with pvdrace.sync.installed():
    import urllib3.util.connection as module
    assert module.create_connection.__wrapped__.__module__ == "urllib3.util.connection"
    assert type(module.__spec__.loader).__name__ == "SourceFileLoader"
assert not hasattr(module.create_connection, "__wrapped__")
with pvdrace.sync.installed():
    assert hasattr(module.create_connection, "__wrapped__")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_installed_leaves_what_another_has_put_in_its_place(connector: Connector, server: Server) -> None:
    theirs = socket.create_connection
    with installed(connector):
        ours = socket.create_connection

        def another(*arguments: Any, **options: Any) -> socket.socket:
            return ours(*arguments, **options)

        socket.create_connection = another
    try:
        assert socket.create_connection is another
        with socket.create_connection((NAME, server.port)) as sock:  # and ours does what theirs did
            assert type(sock) is socket.socket
    finally:
        socket.create_connection = theirs


def test_installed_does_not_touch_event_loops(connector: Connector, server: Server) -> None:
    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said

    with installed(connector):
        assert asyncio.run(main()) == b"hello\n"


# The socket that carries its race


@pytest.fixture
def carrying(connector: Connector, server: Server) -> Iterator[PausedSocket]:
    with installed(connector):
        sock = socket.create_connection((NAME, server.port), 5)
        assert isinstance(sock, PausedSocket)
        with sock:
            yield sock


@pytest.mark.parametrize(
    "use",
    [
        lambda sock: sock.sendall(b"x"),
        lambda sock: sock.recv(1),
        lambda sock: sock.fileno(),
        lambda sock: sock.getpeername(),
        lambda sock: sock.makefile("rb").close(),
        lambda sock: select.select([], [sock], [], 1),
        lambda sock: sock.dup().close(),
    ],
    ids=["send", "recv", "fileno", "getpeername", "makefile", "select", "dup"],
)
def test_the_first_use_settles_the_race(carrying: PausedSocket, use: Callable[[PausedSocket], Any]) -> None:
    assert carrying.paused
    use(carrying)
    assert not carrying.paused
    assert carrying.gettimeout() == 5.0
    assert carrying.fileno() >= 0


def test_looking_at_it_does_not(carrying: PausedSocket) -> None:
    assert "race goes on" in repr(carrying)
    carrying.settimeout(2)
    carrying.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert carrying.gettimeout() == 2
    carrying.setblocking(True)
    assert carrying.getblocking()
    carrying.settimeout(3)
    assert carrying.paused
    assert carrying.recv(100) == b"hello\n"
    assert carrying.gettimeout() == 3
    assert carrying.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert carrying.family == socket.AF_INET


def test_what_was_set_before_holds_for_the_winner(
    connector: Connector, portal_first: Server, authority: trustme.CA
) -> None:
    with installed(connector):
        sock = socket.create_connection((NAME, portal_first.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(5)
        with trusting(authority).wrap_socket(sock, server_hostname=NAME) as winner:
            assert winner.getpeername()[0] == "127.0.0.1"
            assert winner.gettimeout() == 5
            assert winner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ((socket.SOL_SOCKET, socket.SO_BINDTODEVICE), b"lo\0"),
        ((socket.SOL_SOCKET, socket.SO_MARK), 7),
        ((socket.IPPROTO_IP, 50), 1 << 24),
    ],
    ids=["SO_BINDTODEVICE", "SO_MARK", "IP_UNICAST_IF"],
)
def test_no_option_moves_it_out_of_its_path(
    carrying: PausedSocket, option: tuple[int, int], value: Any, request: pytest.FixtureRequest
) -> None:
    """A connected socket may be bound anew by who may do so: what it says then leaves by that device."""
    name = request.node.callspec.id
    with pytest.raises(ValueError, match=f"{name} chooses a path behind the race's back"):
        carrying.setsockopt(*option, value)
    assert carrying.paused


def test_who_does_not_block_makes_its_own_handshake(
    connector: Connector, secure: Server, authority: trustme.CA
) -> None:
    with installed(connector):
        sock = socket.create_connection((NAME, secure.port))
        sock.setblocking(False)
        made = trusting(authority).wrap_socket(sock, server_hostname=NAME, do_handshake_on_connect=False)
        with made:
            assert made.gettimeout() == 0
            made.settimeout(10)
            made.do_handshake()
            assert made.recv(100) == b"hello\n"


class Kept:
    """Takes over what has to leave quietly."""

    def __init__(self) -> None:
        self.socks: list[socket.socket] = []

    def release(self, sock: socket.socket, replies: int = 1) -> None:
        self.socks.append(sock)


@pytest.mark.parametrize("fails", ["the handshake", "an argument"])
def test_tls_that_fails_later_leaves_quietly_where_it_has_to(
    connector: Connector, server: Server, fails: str
) -> None:
    """The module ``ssl`` just closes a socket when the handshake fails, and that of the caller with it."""
    kept: Any = Kept()
    with installed(connector):
        sock: Any = socket.create_connection((NAME, server.port), 10)
        assert sock.recv(100) == b"hello\n"
        sock.lingering = kept
        name = NAME if fails == "the handshake" else ""
        with pytest.raises((ssl.SSLError, OSError, ValueError)):
            ssl.create_default_context().wrap_socket(sock, server_hostname=name)
    if fails == "an argument":
        assert not kept.socks
        sock.close()
    (left,) = kept.socks
    assert left.fileno() >= 0
    left.close()


def test_closed_before_it_was_used_it_leaves_nothing(connector: Connector, server: Server) -> None:
    before = descriptors()
    with installed(connector):
        socket.create_connection((NAME, server.port)).close()
        detached = socket.create_connection((NAME, server.port)).detach()
    os.close(detached)
    assert settled(before) == before


def test_a_server_of_ours_is_not_touched(
    connector: Connector, carrying: PausedSocket, authority: trustme.CA
) -> None:
    """Whoever is the server on it, or has no name to verify, gets what the standard library does."""
    with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
        trusting(authority).wrap_socket(carrying)
    assert carrying.paused
