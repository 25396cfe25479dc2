"""Programs that know nothing of us: their blocking connections race, for as long as a block lasts.

The names that they really call are replaced, and put back: `socket.create_connection` (http.client,
urllib.request, smtplib, ftplib, imaplib, poplib, httpcore, ...), that of ``urllib3.util.connection``
(urllib3, requests, botocore) and `ssl.SSLContext.wrap_socket`, which makes TLS a stage of the race that was
begun before. asyncio, trio and anyio call none of them.
"""

from __future__ import annotations

import inspect
import os
import socket
import ssl
import sys
import threading
from contextlib import contextmanager
from functools import partial, wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from ..calls import check_policy
from .connector import Connector
from .default import default_connector
from .leaving import LeavingSocket, quiet
from .paused import PausedSocket, check_option
from .sockets import DEFAULT_TIMEOUT, dial, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from ..net.lingering import Lingering
    from ..policy import Policy

URLLIB3 = "urllib3.util.connection"
#: The parameters of urllib3's function; urllib3-future's has others, and a resolver of its own.
URLLIB3_PARAMETERS = ("address", "timeout", "source_address", "socket_options")


class _Setting(NamedTuple):
    connector: Connector | None
    policy: Policy | None

    def dial(self, address: Any, timeout: Any, source_address: Any, all_errors: bool = False) -> PausedSocket:
        connector = self.connector or default_connector()
        race = dial(connector, self.policy, address, timeout, source_address, all_errors, "tls")
        try:
            return PausedSocket(race, seconds(timeout))
        except BaseException:
            race.close()
            raise


@contextmanager
def installed(connector: Connector | None = None, policy: Policy | None = None) -> Iterator[None]:
    """Inside the block, blocking connections of other libraries race: by this connector, under this policy.

    It holds for the whole process: a thread that has entered no such block follows the oldest one that is
    still open anywhere, a thread that has follows its own innermost one, whatever others do meanwhile. When
    the last block is left, everything is as it was before. ``connector``: the default one
    (`default_connector`) if None. Raises TypeError for a connector of another kind,
    and ValueError for what is no policy.
    """
    if connector is not None and not isinstance(connector, Connector):
        raise TypeError(f"connector must be a pvdrace.sync.Connector, not {connector!r}")
    setting = _Setting(connector, check_policy(policy))
    own = _own()
    with _lock:
        if not _open:
            _install()
        _open.append(setting)
        own.append(setting)
    try:
        yield
    finally:
        with _lock:
            _remove(_open, setting)
            _remove(own, setting)
            if not _open:
                _uninstall()


_lock = threading.RLock()
_open: list[_Setting] = []
_threads = threading.local()
_undo: list[Callable[[], None]] = []


def _own() -> list[_Setting]:
    """The blocks of this thread, the innermost last."""
    found: list[_Setting] | None = getattr(_threads, "settings", None)
    if found is None:
        found = _threads.settings = []
    return found


def _remove(settings: list[_Setting], setting: _Setting) -> None:
    """By identity, the newest: equal ones may have been entered too."""
    for place in reversed(range(len(settings))):
        if settings[place] is setting:
            del settings[place]
            return


def _current() -> _Setting | None:
    own = _own()
    if own:
        return own[-1]
    return next(iter(_open), None)


def _new_lock() -> None:
    """In the child of a fork: whoever held the lock is not there any more."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_new_lock)


def _install() -> None:
    try:
        _replace_all()
    except BaseException:
        _uninstall()
        raise


def _replace_all() -> None:
    _replace(socket, "create_connection", _create_connection(socket.create_connection))
    _replace(ssl.SSLContext, "wrap_socket", _wrap_socket(ssl.SSLContext.wrap_socket))
    if URLLIB3 in sys.modules:
        _replace_in_urllib3(sys.modules[URLLIB3])
    finder = _Finder()
    sys.meta_path.insert(0, finder)

    def remove() -> None:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)

    _undo.append(remove)


def _uninstall() -> None:
    while _undo:
        _undo.pop()()


def _replace(owner: Any, name: str, ours: Any) -> None:
    theirs = owner.__dict__[name]
    setattr(owner, name, ours)

    def put_back() -> None:
        # Who has replaced ours meanwhile keeps what is his; ours, if he calls it, does what theirs did.
        if owner.__dict__.get(name) is ours:
            setattr(owner, name, theirs)

    _undo.append(put_back)


def _create_connection(original: Callable[..., socket.socket]) -> Callable[..., socket.socket]:
    @wraps(original)
    def create_connection(
        address: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        source_address: Any = None,
        *,
        all_errors: bool = False,
    ) -> socket.socket:
        setting = _current()
        if setting is None:
            return original(address, timeout, source_address, all_errors=all_errors)
        return setting.dial(address, timeout, source_address, all_errors)

    return create_connection


def _wrap_socket(original: Callable[..., ssl.SSLSocket]) -> Callable[..., ssl.SSLSocket]:
    @wraps(original)
    def wrap_socket(
        self: ssl.SSLContext,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: Any = None,
        session: Any = None,
    ) -> ssl.SSLSocket:
        if isinstance(sock, PausedSocket) and sock.paused and not server_side and sock.gettimeout() != 0:
            if self.check_hostname and not server_hostname:
                raise ValueError("check_hostname requires server_hostname")
            return sock.secure(
                self,
                server_hostname,
                wrap=partial(original, self),
                suppress_ragged_eofs=suppress_ragged_eofs,
                session=session,
            )
        wrap = partial(
            original,
            self,
            sock,
            server_side,
            do_handshake_on_connect,
            suppress_ragged_eofs,
            server_hostname,
            session,
        )
        if isinstance(sock, PausedSocket):
            sock.settle()  # who makes no handshake here cannot wait for another connection's
        lingering = sock.lingering if isinstance(sock, LeavingSocket) else None
        return wrap() if lingering is None else _wrap_quietly(wrap, sock, lingering)

    return wrap_socket


def _wrap_quietly(
    wrap: Callable[[], ssl.SSLSocket], sock: socket.socket, lingering: Lingering
) -> ssl.SSLSocket:
    """Make TLS of a socket that has to leave quietly, also where that fails: then ``ssl`` just closes it."""
    spare = socket.socket(fileno=os.dup(sock.fileno()))
    try:
        made = wrap()
    except BaseException:
        if sock.fileno() < 0:
            lingering.release(spare)
        else:
            spare.close()
        raise
    spare.close()
    quiet(made, lingering)
    return made


def _replace_in_urllib3(module: ModuleType) -> None:
    original = module.__dict__.get("create_connection")
    if not callable(original) or tuple(inspect.signature(original).parameters) != URLLIB3_PARAMETERS:
        return
    absent = inspect.signature(original).parameters["timeout"].default

    @wraps(original)
    def create_connection(
        address: Any, timeout: Any = absent, source_address: Any = None, socket_options: Any = None
    ) -> socket.socket:
        setting = _current()
        if setting is None:
            return original(address, timeout, source_address, socket_options)  # type: ignore[no-any-return]
        for option in socket_options or ():
            check_option(option)
        timeout = DEFAULT_TIMEOUT if timeout is absent else timeout
        host = address[0].strip("[]") if isinstance(address[0], str) else address[0]
        sock = setting.dial((host, address[1]), timeout, source_address)
        try:
            for option in socket_options or ():
                sock.setsockopt(*option)
        except BaseException:
            sock.close()
            raise
        return sock

    _replace(module, "create_connection", create_connection)


class _Finder(MetaPathFinder):
    """Sees urllib3 come, when it is imported in the midst of it."""

    def __init__(self) -> None:
        self._looking = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The same module, and we are told when it has been loaded."""
        if fullname != URLLIB3 or getattr(self._looking, "now", False):
            return None
        self._looking.now = True
        try:
            spec = find_spec(fullname)
        finally:
            self._looking.now = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        with _lock:
            if _open:
                _replace_in_urllib3(module)
