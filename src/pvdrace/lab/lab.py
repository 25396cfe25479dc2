"""A multi-homed host in network namespaces, as a context manager."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import plan as addresses
from .blueprint import Blueprint
from .certificates import certificates
from .channel import Channel, channel_pair
from .configuration import configuration
from .errors import LabError
from .link import Link
from .plan import make_plan
from .privileges import require_privilege
from .programs import find_program
from .records import NAME
from .spawner import InsideThread
from .syscalls import CLONE_FS, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, setns, unshare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from .provider import Provider

_PATIENCE = 30.0  # seconds for the keeper to do anything at all


class Lab:
    """A client with one link per provider, and one internet behind them all.

    ``overlapping`` gives every provider the same addresses towards the client. ``rp_filter`` is the
    client's. ``seed`` makes jitter and loss repeatable. Use it in a ``with`` statement; everything is gone
    afterwards, also when this process is killed. LabError where it can't be built.
    """

    name = NAME
    address4 = addresses.ADDRESS4
    address6 = addresses.ADDRESS6
    dead4 = addresses.DEAD4
    dead6 = addresses.DEAD6
    ports: Mapping[str, int] = addresses.PORTS

    def __init__(
        self, providers: Sequence[Provider], *, overlapping: bool = False, rp_filter: int = 0, seed: int = 0
    ) -> None:
        names = [provider.name for provider in providers]
        if not providers or len(providers) > addresses.MAX_PROVIDERS:
            raise LabError(f"a lab has 1 to {addresses.MAX_PROVIDERS} providers, not {len(providers)}")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise LabError(f"two providers have the name {twice[0]!r}")
        if rp_filter not in (0, 1, 2):
            raise LabError(f"rp_filter is {rp_filter!r}: it is 0, 1 or 2")
        self.providers = tuple(providers)
        self.overlapping = overlapping
        self.rp_filter = rp_filter
        self.seed = seed
        plans = [make_plan(number, overlapping=overlapping) for number in range(1, len(providers) + 1)]
        self._links = {p.name: Link(i, p, plans[i], self._ask) for i, p in enumerate(self.providers)}
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._inside: InsideThread | None = None
        self._namespaces: list[int] = []
        self._started: list[subprocess.Popen[Any]] = []

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Lab:
        require_privilege()
        for program in ("ip", "nft", *{p.dns for p in self.providers} - {"own"}):
            find_program(program)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything that runs inside and take the network away."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._keeper is not None:
            self._wait_for_the_end(self._keeper)
            self._keeper = None
        if self._inside is not None:
            self._inside.close()
            self._inside = None
        while self._namespaces:
            os.close(self._namespaces.pop())
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    # ------------------------------------------------------------------ being inside

    @contextlib.contextmanager
    def enter(self, *, resolv_conf: bool = False) -> Iterator[None]:
        """The calling thread is in the client's network namespace within the block.

        Threads and processes that it starts there are too, for good. With ``resolv_conf`` it sees the
        client's ``/etc/resolv.conf`` as well, which separates its working directory from that of other
        threads.
        """
        network, mounts, _ = self._namespaces or self._not_running()
        with contextlib.ExitStack() as stack:
            kinds = [("net", network, CLONE_NEWNET)]
            if resolv_conf:
                unshare(CLONE_FS)
                kinds.append(("mnt", mounts, CLONE_NEWNS))
                directory = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, directory)
                stack.callback(os.fchdir, directory)
            for kind, inside, flag in kinds:
                outside = os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, outside)
                setns(inside, flag)
                stack.callback(setns, outside, flag)
            if resolv_conf:  # a thread that was started inside shares it again, and is there still
                stack.callback(unshare, CLONE_FS)
            yield

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start any command inside; options as for :class:`subprocess.Popen`. It dies with the lab.

        It gets :attr:`environment` over this process's own; an ``env`` that is given goes over both.
        """
        inside = self._inside or self._not_running()
        given = options.get("env")
        options["env"] = (
            self.environment | dict(given) if given is not None else dict(os.environ) | self.environment
        )
        options.setdefault("cwd", os.getcwd())
        process = inside.call(lambda: subprocess.Popen(command, **options))
        self._started = [*(each for each in self._started if each.returncode is None), process]
        return process

    def run(
        self, command: Sequence[str], *, timeout: float | None = 60.0, check: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; its output is captured as text unless told otherwise."""
        given = options.pop("input", None)
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        options.setdefault("stdin", subprocess.DEVNULL if given is None else subprocess.PIPE)
        with self.popen(command, **options) as process:
            try:
                output, errors = process.communicate(given, timeout=timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, output, errors)
        return subprocess.CompletedProcess(list(command), process.returncode, output, errors)

    @property
    def environment(self) -> dict[str, str]:
        """What makes common programs trust the lab's CA, and pvdrace know the PvDs."""
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, self.ca_file) | {"PVDRACE_CONFIG": self.config_file}

    # ------------------------------------------------------------------ what there is

    @property
    def ca_file(self) -> str:
        """PEM of the CA that signed the public server's certificate."""
        return str((self._directory or self._not_running()) / "ca.pem")

    @property
    def config_file(self) -> str:
        """A file with :meth:`config` in it."""
        return str((self._directory or self._not_running()) / "pvdrace.toml")

    @property
    def files(self) -> Path:
        """A directory whose files the public server shows below ``/files/``."""
        return (self._directory or self._not_running()) / "files"

    def __getitem__(self, name: str) -> Link:
        try:
            return self._links[name]
        except KeyError:
            raise LabError(f"no provider {name!r} in this lab, there is {', '.join(self._links)}") from None

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    def config(self) -> str:
        """The text of a ``pvdrace.toml`` that describes these PvDs."""
        return configuration(list(self))

    def reset_counters(self) -> None:
        """All links' counters to zero."""
        self._ask("reset")

    # ------------------------------------------------------------------ the keeper

    def _start(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="pvdrace-lab-"))
        self._directory.chmod(0o755)
        self.files.mkdir()
        self._channel, theirs = channel_pair()
        self._channel.socket.settimeout(_PATIENCE)
        owner = os.pidfd_open(os.getpid())
        try:
            self._keeper = _spawn_keeper(theirs.fileno(), owner, self._directory / "keeper.log")
        finally:
            theirs.close()
            os.close(owner)
        certificates().write(self._directory)
        (self._directory / "pvdrace.toml").write_text(self.config(), encoding="utf-8")
        blueprint = Blueprint(
            self.providers, self.overlapping, self.rp_filter, str(self._directory), self.seed
        )
        with self._plain_errors():
            state, problem = self._channel.ask(blueprint)
            if state != "ready":
                raise LabError(problem)
            _, self._namespaces, _, _ = socket.recv_fds(self._channel.socket, 1, 3)
        self._inside = InsideThread(*self._namespaces)

    def _ask(self, command: str, *arguments: object) -> Any:
        with self._lock, self._plain_errors():
            channel = self._channel or self._not_running()
            state, answer = channel.ask((command, *arguments))
        if state == "error":
            raise LabError(answer)
        return answer

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            log = self._directory / "keeper.log" if self._directory else None
            said = log.read_text(errors="replace").strip().splitlines()[-1:] if log and log.exists() else []
            raise LabError(
                f"the lab's keeper does not answer ({error}); it said: {' '.join(said) or 'nothing'}"
            ) from None

    def _wait_for_the_end(self, keeper: subprocess.Popen[bytes]) -> None:
        """Process 1 of a PID namespace ends after all others there, and those that we started are ours to
        collect."""
        deadline = time.monotonic() + _PATIENCE
        while keeper.poll() is None:
            for process in self._started:
                process.poll()
            if time.monotonic() > deadline:
                raise LabError(f"the lab's processes do not end: look for those below process {keeper.pid}")
            time.sleep(0.001)
        for process in self._started:
            process.poll()
        self._started = []

    def _not_running(self) -> Any:
        raise LabError("this lab is not running: use it inside its with statement")


def _spawn_keeper(channel: int, owner: int, log: Path) -> subprocess.Popen[bytes]:
    """Start the keeper as process 1 of a new PID namespace."""
    root = str(Path(__file__).parents[2])
    program = f"""
import sys
sys.path.insert(0, {root!r})
from pvdrace.lab.keeper import main
main({channel}, {owner})
"""
    started: list[subprocess.Popen[bytes]] = []
    problems: list[OSError] = []

    def spawn() -> None:
        # In a thread of its own: the next child of *this thread* is process 1 of a new namespace.
        try:
            unshare(CLONE_NEWPID)
            with open(log, "wb") as output:
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-c", program],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        pass_fds=(channel, owner),
                        start_new_session=True,
                    )
                )
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=spawn, name="lab-spawn")
    thread.start()
    thread.join()
    if problems:
        raise LabError(f"can't start the lab's keeper: {problems[0]}")
    return started[0]
