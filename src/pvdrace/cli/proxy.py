"""``pvdrace proxy``: SOCKS 5 and HTTP CONNECT for any program."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from .exits import INTERRUPTED, OK
from .options import Seconds, config_option, configuration_from, history_option, policy_from, policy_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskStatus

    from ..config.configuration import Configuration
    from ..config.proxy_settings import Listen, ProxySettings, User, Way
    from ..policy import Policy
    from .options import Command

PASSWORDS = "PVDRACE_PROXY_PASSWORDS"
_TIMES = ("handshake_timeout", "connect_timeout", "idle_timeout", "drain_timeout")


def _time(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(f"--{name}", metavar="SECONDS", type=Seconds(min=0), help=text)


@click.command(short_help="SOCKS5 and HTTP CONNECT for any program.")
@click.option(
    "--listen",
    metavar="ADDRESS:PORT[,KEY=WORD...]",
    multiple=True,
    help="Default: 127.0.0.1:1080. KEY: profile, policy (a file), label. Repeatable.",
)
@click.option(
    "--user",
    metavar="NAME[,KEY=WORD...]",
    multiple=True,
    help="A user's name chooses what KEY says, as above. Repeatable.",
)
@click.option("--passwords", metavar="FILE", help=f"Lines NAME:PASSWORD. Default: those in ${PASSWORDS}.")
@click.option("--authenticate", is_flag=True, help="Serve nobody without a user's name and password.")
@click.option("--allow-remote", is_flag=True, help="Listening beyond loopback is meant.")
@click.option("--allow-local", is_flag=True, help="So are targets on this host, and link-local ones.")
@click.option("--max-connections", metavar="NUMBER", type=click.IntRange(min=1), help="At once; others wait.")
@_time("handshake-timeout", "For a client to say what it wants.")
@_time("connect-timeout", "For a race.")
@_time("idle-timeout", "Without a byte either way.")
@_time("drain-timeout", "For connections to end when the proxy is stopped.")
@policy_options
@history_option("Begin with what past connections taught, and learn.", serves=True)
@click.option("--verbose", "-v", is_flag=True, help="A line on stderr for each connection, with its host.")
@config_option
def proxy(
    listen: tuple[str, ...],
    user: tuple[str, ...],
    passwords: str | None,
    authenticate: bool,
    allow_remote: bool,
    allow_local: bool,
    history: str | None,
    verbose: bool,
    profile: str | None,
    label: str | None,
    max_connections: int | None,
    handshake_timeout: float | None,
    connect_timeout: float | None,
    idle_timeout: float | None,
    drain_timeout: float | None,
    **preferences: Any,
) -> int:
    """Serve SOCKS5 and HTTP CONNECT (and http:// URLs) on one port; each connection is a race.

    Ends on SIGTERM or Ctrl-C: no new clients, then time to drain; a second one ends it at once.
    """
    import anyio

    if find_spec("h11") is None:
        raise click.UsageError("this takes h11: pip install 'pvdrace[proxy]'")
    from ..files import read_configuration

    configuration = read_configuration(configuration_from(profile))
    times = dict(zip(_TIMES, (handshake_timeout, connect_timeout, idle_timeout, drain_timeout), strict=True))
    changes: dict[str, Any] = {
        key: value
        for key, value in (*times.items(), ("max_connections", max_connections))
        if value is not None
    }
    changes |= {key: True for key, on in (("allow_remote", allow_remote), ("allow_local", allow_local)) if on}
    try:
        settings = _settings(configuration, listen, user, label, authenticate, changes)
        secrets = _passwords(passwords or settings.passwords)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _raise_descriptor_limit()
    return anyio.run(_run, settings, configuration, policy_from(**preferences), secrets, history, verbose)


def _settings(
    configuration: Configuration,
    listen: tuple[str, ...],
    user: tuple[str, ...],
    label: str | None,
    authenticate: bool,
    changes: dict[str, Any],
) -> ProxySettings:
    from ..config.proxy_settings import ProxySettings, Way

    settings = configuration.proxy or ProxySettings()
    if listen:
        changes["listen"] = tuple(_listen(text) for text in listen)
    if user:
        changes["users"] = tuple(_user(text) for text in user)
    settings = replace(settings, **changes)
    fallback = Way(label=label)
    return replace(
        settings,
        listen=tuple(
            replace(each, way=each.way.over(fallback), authenticate=each.authenticate or authenticate)
            for each in settings.listen
        ),
    )


def _listen(text: str) -> Listen:
    from ..config.proxy_settings import Listen

    address, way = _way(text)
    return Listen.parse(address, way)


def _user(text: str) -> User:
    from ..config.proxy_settings import User, as_user

    name, way = _way(text)
    return User(as_user(name), way)


def _way(text: str) -> tuple[str, Way]:
    """``WORD,KEY=WORD,...``."""
    from ..config.configuration import PROFILES
    from ..config.proxy_settings import WAY_KEYS, Way
    from ..selectors import near

    first, *others = text.split(",")
    says: dict[str, str] = {}
    for other in others:
        key, equals, word = other.partition("=")
        if key not in WAY_KEYS or not equals or not word or key in says:
            raise ValueError(
                f"{text!r}: after the comma comes one of {', '.join(f'{k}=WORD' for k in WAY_KEYS)}"
            )
        says[key] = word
    if (name := says.get("profile")) is not None and name not in PROFILES:
        raise ValueError(f"{text!r}: no profile {name!r}{near(name, PROFILES)}")
    try:
        return first, Way(**says)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _passwords(file: str | None) -> dict[str, str]:
    """Of a file that others cannot read, else of the environment."""
    from ..proxy.accounts import parse_passwords

    if file is None:
        return parse_passwords(os.environ.get(PASSWORDS, ""), f"${PASSWORDS}")
    try:
        with open(file, encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise ValueError(f"{file}: others can read it: chmod 600")
            return parse_passwords(opened.read(), file)
    except UnicodeDecodeError:
        raise ValueError(f"{file}: not UTF-8") from None
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None


def _raise_descriptor_limit() -> None:
    """Two descriptors a connection: as many as this user may have, not as many as it has by default."""
    import contextlib
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(
    settings: ProxySettings,
    configuration: Configuration,
    policy: Policy | None,
    passwords: dict[str, str],
    history: str | None,
    verbose: bool,
) -> int:
    import anyio

    from ..drivers.performing import sole
    from ..proxy import Proxy
    from ..telemetry.live import live_sinks

    given: dict[str, Any] = {"policy": policy, "passwords": passwords, "history": history}
    proxy = Proxy(settings, config=configuration, hooks=live_sinks(), **given)
    _log(verbose)
    code = OK
    try:
        async with anyio.create_task_group() as tasks:

            async def ending() -> None:
                nonlocal code
                with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                    async for number in signals:
                        if proxy.stopped:
                            code = INTERRUPTED if number == signal.SIGINT else OK
                            tasks.cancel_scope.cancel()
                            return
                        many = "" if proxy.connections == 1 else "s"
                        _say(
                            f"ending: {proxy.connections} connection{many},"
                            f" {settings.drain_timeout:g} s to drain"
                        )
                        proxy.stop()

            async def serving(*, task_status: TaskStatus[Any]) -> None:
                await proxy.run(task_status=task_status)
                tasks.cancel_scope.cancel()

            tasks.start_soon(ending)
            for address, port in await tasks.start(serving):
                _say(
                    f"listening on [{address}]:{port}" if ":" in address else f"listening on {address}:{port}"
                )
    except BaseExceptionGroup as group:
        raise sole(group) from None
    return code


def _say(text: str) -> None:
    click.echo(f"pvdrace: {text}", err=True)


def _log(verbose: bool) -> None:
    """What the proxy logs, on stderr: warnings, or with ``-v`` a line for each connection too."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("pvdrace")
    logger.addHandler(handler)
    logging.getLogger("pvdrace.proxy").setLevel(logging.DEBUG if verbose else logging.WARNING)
