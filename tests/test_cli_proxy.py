"""``pvdrace proxy`` as a process: how it listens, who comes in, how it ends."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_program import PROGRAM, environment, pvdrace_program
from pvdrace.cli.proxy import PASSWORDS, _listen, _user
from pvdrace.proxy import Listen, User, Way

SECRET = "open-sesame"
LOGIN = b"\x01\x04work" + bytes([len(SECRET)]) + SECRET.encode()


class Running:
    """A proxy, where it listens, and what it says."""

    def __init__(self, process: subprocess.Popen[str], address: tuple[str, int]) -> None:
        self.process = process
        self.address = address
        self.said = ""

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, 10)

    def end(self, *signals: signal.Signals) -> int:
        """Send signals, each after a line that says that the last one was heard; the exit code."""
        assert self.process.stderr is not None
        for number, each in enumerate(signals):
            if number:
                while not (line := self.process.stderr.readline()).startswith("pvdrace: ending"):
                    assert line
                    self.said += line
            self.process.send_signal(each)
        self.said += self.process.communicate(timeout=20)[1]
        return self.process.returncode


@contextlib.contextmanager
def running(tmp_path: Path, *options: str, **variables: str) -> Iterator[Running]:
    config = tmp_path / "pvdrace.toml"
    config.write_text("discover = []\n", "utf-8")
    command = [
        *PROGRAM,
        "--config",
        str(config),
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--allow-local",
        *options,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(**variables))
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("pvdrace: listening on 127.0.0.1:"), line
        yield Running(process, ("127.0.0.1", int(line.rsplit(":", 1)[1])))
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def tunnel(proxy: Running) -> Iterator[socket.socket]:
    """A connection through the proxy to a listener that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, proxy.connect() as client:
        port = server.getsockname()[1]
        client.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
        assert client.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
        assert client.recv(10, socket.MSG_WAITALL)[:2] == b"\x05\x00"
        with server.accept()[0]:
            yield client


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_the_connections_have_ended(tmp_path: Path, how: signal.Signals) -> None:
    with running(tmp_path) as proxy:
        with tunnel(proxy):
            proxy.process.send_signal(how)
            assert proxy.process.stderr is not None
            said = proxy.process.stderr.readline()
            assert said == "pvdrace: ending: 1 connection, 10 s to drain\n"
            with pytest.raises(subprocess.TimeoutExpired):
                proxy.process.wait(0.3)
        assert proxy.end() == 0
        assert proxy.said == ""


def test_it_does_not_drain_for_ever(tmp_path: Path) -> None:
    with running(tmp_path, "--drain-timeout", "0.2") as proxy, tunnel(proxy) as client:
        assert proxy.end(signal.SIGTERM) == 0
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, second: signal.Signals, code: int) -> None:
    with running(tmp_path, "--drain-timeout", "60") as proxy, tunnel(proxy):
        assert proxy.end(signal.SIGTERM, second) == code


@pytest.mark.parametrize("where", ["file", "environment"])
def test_passwords_come_from_a_file_or_the_environment_and_are_never_shown(
    tmp_path: Path, where: str
) -> None:
    lines = f"work:{SECRET}\n"
    file = tmp_path / "passwords"
    file.write_text(lines, "utf-8")
    file.chmod(0o600)
    options = ["--passwords", str(file)] if where == "file" else []
    variables = {PASSWORDS: lines} if where == "environment" else {}
    with running(tmp_path, "--authenticate", "-v", *options, **variables) as proxy:
        for login, answer in ((LOGIN, b"\x01\x00"), (LOGIN[:-1] + b"!", b"\x01\x01")):
            with proxy.connect() as client:
                client.sendall(b"\x05\x01\x02" + login)
                assert client.recv(4, socket.MSG_WAITALL) == b"\x05\x02" + answer
        with proxy.connect() as client:
            client.sendall(b"\x05\x01\x00")
            assert client.recv(2, socket.MSG_WAITALL) == b"\x05\xff"
        shown = Path(f"/proc/{proxy.process.pid}/cmdline").read_text()
        assert proxy.end(signal.SIGTERM) == 0
        assert "unknown user or wrong password" in proxy.said
        assert SECRET not in proxy.said + shown


def test_a_file_of_passwords_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text(f"work:{SECRET}\n", "utf-8")
    file.chmod(0o640)
    done = pvdrace_program("proxy", "--listen", "127.0.0.1:0", "--passwords", str(file))
    assert done.returncode == 2
    assert "others can read it: chmod 600" in done.stderr
    assert SECRET not in done.stderr


def test_the_options_outdo_the_file(tmp_path: Path) -> None:
    """Two addresses in the file, one option; what else the file says stays."""
    config = tmp_path / "other.toml"
    config.write_text(
        'discover = []\n[proxy]\ndrain_timeout = 3\n[[proxy.listen]]\naddress = "127.0.0.2:0"\n'
        '[[proxy.listen]]\naddress = "127.0.0.3:0"\n',
        "utf-8",
    )
    for options, addresses in (
        ([], ["127.0.0.2", "127.0.0.3"]),
        (["--listen", "127.0.0.4:0"], ["127.0.0.4"]),
    ):
        command = [*PROGRAM, "--config", str(config), "proxy", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
            assert process.stderr is not None
            lines = [process.stderr.readline() for _ in addresses]
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=20)[1]
        assert [line.split()[-1].rsplit(":", 1)[0] for line in lines] == addresses
        assert rest == "pvdrace: ending: 0 connections, 3 s to drain\n"
        assert process.returncode == 0


def test_what_follows_a_comma() -> None:
    way = Way(profile="linux", label="a")
    assert _listen("[::1]:1080,profile=linux,label=a") == Listen("::1", 1080, way)
    assert _listen("127.0.0.1:0") == Listen("127.0.0.1", 0)
    assert _user("work,policy=/a/b.toml") == User("work", Way(policy="/a/b.toml"))


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = pvdrace_program("proxy", "--listen", f"127.0.0.1:{port}", env=environment(PVDRACE_CONFIG=""))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"cannot listen on 127.0.0.1:{port}: Address already in use\n")
    assert done.stderr.count("\n") == 1
