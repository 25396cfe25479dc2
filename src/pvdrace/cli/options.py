"""Options that several commands share."""

from __future__ import annotations

import os
from contextlib import suppress
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.configuration import Configuration
    from ..policy import Policy

    Command = TypeVar("Command", bound=Callable[..., Any])

_CONFIG = "pvdrace.config"


def config_option(command: Command) -> Command:
    """``--config FILE``, before or after the command's name; read it with `config_file`."""

    def keep(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta[_CONFIG] = value

    return click.option(
        "--config",
        metavar="FILE",
        callback=keep,
        expose_value=False,
        help="The configuration. Default: $PVDRACE_CONFIG, then ./pvdrace.toml.",
    )(command)


def config_file() -> str | None:
    """The configuration file to use: as told, by the environment, or the one that lies here; else None."""
    told = click.get_current_context().meta.get(_CONFIG) or os.environ.get("PVDRACE_CONFIG")
    if told:
        return str(told)
    return "pvdrace.toml" if Path("pvdrace.toml").is_file() else None


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def history_option(text: str, *, serves: bool = False) -> Callable[[Command], Command]:
    """``--history FILE``, and what the command does with it.

    Somebody else's file is an error, as it was mistyped; but for what ``serves``, which sets it aside as
    every program does, and begins a new one.
    """
    return click.option(
        "--history",
        metavar="FILE",
        envvar="PVDRACE_HISTORY",
        callback=None if serves else _check_history,
        help=f"{text} Default: $PVDRACE_HISTORY.",
    )


def policy_options(command: Command) -> Command:
    """``--require`` and all else that a call may want of its path.

    Give ``profile`` to `configuration_from`, ``label`` to the call, and the others to `policy_from`.
    """
    from ..policy import CapacityProfile

    for option in reversed(
        (
            click.option(
                "--capacity-profile",
                metavar="WORD",
                type=click.Choice([kind.value for kind in CapacityProfile]),
                help="What it is for: default, scavenger, interactive, ...",
            ),
            click.option(
                "--latency-budget",
                metavar="SECONDS",
                type=Seconds(min=0),
                callback=_check_number,
                help="Wait so long for what costs less.",
            ),
            click.option(
                "--profile",
                metavar="NAME",
                callback=_check_profile,
                help="Choose as another system does.",
            ),
            click.option(
                "--label", metavar="WORD", callback=_check_label, help="What rules may know this use by."
            ),
        )
    ):
        command = option(command)
    helps = {
        "require": "Use nothing else.",
        "prefer": "Try it first.",
        "avoid": "Only if all others fail.",
        "prohibit": "Never use it, not for DNS either.",
    }
    for name in reversed(helps):
        command = click.option(
            f"--{name}",
            metavar="SELECTOR",
            multiple=True,
            callback=_check_selectors,
            help=f"{helps[name]} Repeatable.",
        )(command)
    return command


def policy_from(**preferences: Any) -> Policy | None:
    """The policy that the options spell, None for none."""
    from ..policy import Policy

    return Policy(**preferences) or None


def configuration_from(profile: str | None) -> Configuration | str | None:
    """What to give a `Connector`: the file, or with ``--profile`` what is in it, but for its own profile."""
    if profile is None:
        return config_file()
    from ..files import read_configuration

    return read_configuration(config_file(), instead=profile)


class Port(click.IntRange):
    """A port that can be connected to."""

    name = "port"

    def __init__(self) -> None:
        super().__init__(1, 65535)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the error."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a port from 1 to 65535", param, ctx)


class Seconds(click.FloatRange):
    """A number of seconds; help leaves its range out, and errors have it in words."""

    name = "number of seconds"

    def _describe_range(self) -> str:
        return ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the error."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            least = "above 0" if self.min_open else f"of at least {self.min:g}"
            self.fail(f"{value!r} is not a number of seconds {least}", param, ctx)


def _check_label(context: click.Context, parameter: click.Parameter, label: str | None) -> str | None:
    if label == "":
        raise click.BadParameter("a label is a word, not ''", context, parameter)
    return label


def _check_profile(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    from ..config.configuration import PROFILES
    from ..selectors import near

    if name is not None and name not in PROFILES:
        raise click.BadParameter(f"no profile {name!r}{near(name, PROFILES)}", context, parameter)
    return name


def timeout_option(text: str, default: float | None = None) -> Callable[[Command], Command]:
    """``--timeout SECONDS``."""
    kind = Seconds(min=0, min_open=True)
    return click.option(
        "--timeout", metavar="SECONDS", type=kind, callback=_check_finite, default=default, help=text
    )


def _check_history(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    if name is not None:
        from ..history_file import HistoryFile

        kept = HistoryFile(name)
        with suppress(OSError):  # one that cannot be read is not renamed either
            if kept.path.is_file() and kept.is_something_else():
                raise click.BadParameter(f"{kept.path} is not a history of pvdrace", context, parameter)
    return name


def _check_number(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and isnan(value):
        raise click.BadParameter(f"{value} is no number of seconds", context, parameter)
    return value


def _check_finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds", context, parameter)
    return value


def _check_selectors(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    from ..selectors import Selector

    for value in values:
        try:
            Selector.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None
    return values
